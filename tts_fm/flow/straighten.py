"""Few-step students: what a network that takes long steps has to learn, as small functions; how straight a field is.

B batch, T frames, D channels; mask and weight (B, T). A teacher is a velocity (x, t) -> (B, T, D). A student is told
where its step ends as well, (x, t, until) -> the mean velocity over the step, so that x + (until - t) u is where the
teacher would be at `until`; at until = t it is a velocity like any other. What a student learns in one step is a
Lesson; the functions that make lessons are the field's methods:

    reflow     straight lines between noise and what the teacher made of it (arXiv 2209.03003), until = t
    distilled  a few steps of the teacher: 2 is flow distillation (ZipVoice, arXiv 2506.13053), 4 to 8 mean flow
               (IntMeanFlow, arXiv 2510.07979)
    along      the same from a stored path of the teacher, without running it again
    split      two steps of the student itself make one (SplitMeanFlow, arXiv 2507.16884): no teacher, or a little of it

`rollout_loss` walks with the student's own steps and compares with the stored path at each of them: end-point and
trajectory terms in one. Knows nothing of speech or networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .solvers import Velocity, solve

Student = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x (B, T, D), t (B,), until (B,)) -> (B, T, D)


class Lesson(NamedTuple):
    """At x (B, T, D) a step from t to until (B,) has the mean velocity u (B, T, D), which carries no gradient."""

    x: Tensor
    t: Tensor
    until: Tensor
    u: Tensor


def reflow(x0: Tensor, x1: Tensor, t: Tensor) -> Lesson:
    """x0 noise and x1 what the teacher made of it, both (B, T, D), t (B,): a point of the straight line between them.
    Draw t from `u_shaped`.
    """
    at = _as(t, x0)
    return Lesson((1 - at) * x0 + at * x1, t, t, x1 - x0)


def distilled(teacher: Velocity, x: Tensor, t: Tensor, until: Tensor, steps: int = 2, method: str = "euler") -> Lesson:
    """What `steps` equal steps of the teacher make of x between t and until (B,); ValueError where until <= t."""
    if bool((until <= t).any()):
        raise ValueError("a step that is distilled must go forward: until > t for every item")
    if steps < 1:
        raise ValueError(f"a teacher takes at least one step, got {steps}; 2 is flow distillation, 4 to 8 mean flow")
    width = until - t
    with torch.no_grad():
        end = solve(  # time as a share of each item's own step
            lambda y, s: _as(width, y) * teacher(y, t + s * width), x, torch.linspace(0, 1, steps + 1).tolist(), method
        )
    return Lesson(x, t, until, (end - x) / _as(width, x))


def along(states: Tensor, times: Tensor, t: Tensor, until: Tensor) -> Lesson:
    """The same from a stored path: states (B, S, T, D) at times (S,), increasing; between two times the path is a
    straight line, as Euler's is. t < until (B,) within the times.
    """
    start = _between(states, times, t)
    return Lesson(start, t, until, (_between(states, times, until) - start) / _as(until - t, start))


def split(
    student: Student, x: Tensor, t: Tensor, until: Tensor, share: Tensor, teacher: Velocity | None = None
) -> Lesson:
    """Two steps of the student, t -> s and s -> until with s = t + share (until - t), are what one step should be.

    share (B,) in (0, 1). With a teacher its velocity takes the student's place in items whose until is t: at least half
    of a batch should be such, or the student agrees with itself on nothing.
    """
    s = t + share * (until - t)
    with torch.no_grad():
        first = student(x, t, s)
        second = student(x + _as(s - t, x) * first, s, until)
        u = _as(share, x) * first + _as(1 - share, x) * second
        if teacher is not None:
            u = torch.where(_as((until <= t).to(x.dtype), x) > 0, teacher(x, t), u)
    return Lesson(x, t, until, u)


def u_shaped(batch: int, generator: torch.Generator, sharp: float = 4.0) -> Tensor:
    """(batch,) times with density ~ e^(sharp t) + e^(-sharp t): most at both ends, where a straightened field is
    hardest (arXiv 2405.20320). Mirrored at 1/2, each half is a cut exponential.
    """
    u, side = torch.rand(2, batch, generator=generator, device=generator.device)
    near = -torch.log1p(-u * (1 - math.exp(-sharp))) / sharp
    return torch.where(side < 0.5, near, 1 - near)


def lesson_loss(student: Student, lesson: Lesson, weight: Tensor, huber: float = 0.0) -> Tensor:
    """How far the student is from the lesson, a scalar: mean over frames by weight (B, T), which may be a mask.

    huber 0: squared error. Above: sqrt(e^2 + c^2) - c of each frame's root mean square error e with c = huber, which
    cares less for what cannot be learnt (arXiv 2405.20320).
    """
    return _distance(student(lesson.x, lesson.t, lesson.until) - lesson.u, weight, huber)


def rollout_loss(
    student: Student, states: Tensor, times: Tensor, weight: Tensor, through: bool = True, huber: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The student walks by itself through the stored states (B, S, T, D) at times (S,), one step an interval; returns
    (loss, where it ends (B, T, D)).

    Every step aims at the stored state at its end from where the student really is, so later steps mend what earlier
    ones did; with `through`, gradients of later steps, and of the end, reach the earlier ones too.
    """
    batch = len(states)
    x, losses = states[:, 0], []
    for k in range(states.shape[1] - 1):
        t, until = times[k].expand(batch), times[k + 1].expand(batch)
        h = float(times[k + 1] - times[k])
        x = x if through else x.detach()
        x = x + h * student(x, t, until)
        losses.append(_distance((x - states[:, k + 1]) / h, weight, huber))
    return torch.stack(losses).mean(), x


@torch.no_grad()
def walk(student: Student, x0: Tensor, times: Sequence[float] | Tensor) -> Tensor:
    """Where the student's own steps lead from x0 (B, T, D) along times: (B, T, D)."""
    x = x0
    points = [float(t) for t in times]
    for t, until in itertools.pairwise(points):
        start = torch.full((len(x),), t, device=x.device)
        x = x + (until - t) * student(x, start, torch.full_like(start, until))
    return x


def search_times(
    error: Callable[[list[float]], float], start: Sequence[float], width: float = 0.02, rounds: int = 5
) -> tuple[list[float], float]:
    """The times of few steps that end nearest to where the teacher does (O3S: IntMeanFlow, arXiv 2510.07979).

    error(times): what is to be small, of times that increase from 0 to 1. start: the times to begin with; its ends
    stay. From the last inner time to the first, each is put where the error is least between its neighbours, by ternary
    search down to `width`, again and again while a round gains anything. Returns (times, their error), never worse than
    the start.
    """
    best, least = [float(t) for t in start], error([float(t) for t in start])
    for _ in range(rounds):
        before = least
        for i in range(len(best) - 2, 0, -1):
            low, high = best[i - 1], best[i + 1]
            while high - low > width:
                places = low + (high - low) / 3, high - (high - low) / 3
                tried = [(error(times), times) for times in ([*best[:i], t, *best[i + 1 :]] for t in places)]
                low, high = (low, places[1]) if tried[0][0] < tried[1][0] else (places[0], high)
                if min(tried)[0] < least:
                    least, best = min(tried)
        if least >= before:
            break
    return best, least


@torch.no_grad()
def straightness(
    velocity: Velocity,
    x0: Tensor,
    grid: Sequence[float] | Tensor | None = None,
    method: str = "euler",
    mask: Tensor | None = None,
) -> Tensor:
    """(B,): mean over time, real frames and channels of |v(x_t, t) - (x_1 - x_0)|^2 along the field's own paths.

    0 for paths that are straight and evenly paced, which one Euler step then follows exactly (arXiv 2209.03003, eq. 3).
    x0 (B, T, D) starts; grid: times from 0 to 1, 100 equal steps unless given.
    """
    times = torch.linspace(0, 1, 101) if grid is None else torch.as_tensor(grid, dtype=torch.float32)
    seen: list[Tensor] = []
    end = solve(velocity, x0, times, method, lambda i, x, t, v: seen.append(v), mask=mask)
    keep = torch.ones(x0.shape[:2], device=x0.device) if mask is None else mask.to(torch.float32)
    widths = (times[1:] - times[:-1]).tolist()
    total = sum(h * _per_item(v - (end - x0), keep) for h, v in zip(widths, seen, strict=True))
    return total / (float(times[-1]) - float(times[0]))


def _distance(error: Tensor, weight: Tensor, huber: float) -> Tensor:
    squares = error.float().square().flatten(2).mean(-1)  # (B, T)
    if huber > 0:
        squares = torch.sqrt(squares + huber**2) - huber
    weight = weight.to(squares.dtype)
    return (squares.masked_fill(weight == 0, 0.0) * weight).sum() / weight.sum().clamp(min=1e-8)


def _per_item(error: Tensor, keep: Tensor) -> Tensor:
    squares = error.float().reshape(*error.shape[:2], -1).square().mean(-1)
    return (squares * keep).sum(1) / keep.sum(1).clamp(min=1)


def _between(states: Tensor, times: Tensor, t: Tensor) -> Tensor:
    """The state at t (B,), linear between the stored ones."""
    if bool((t < times[0]).any()) or bool((t > times[-1]).any()):
        raise ValueError(f"times must lie in [{float(times[0])}, {float(times[-1])}], got {t.tolist()}")
    right = torch.searchsorted(times, t.contiguous(), right=True).clamp(1, len(times) - 1)
    share = _as((t - times[right - 1]) / (times[right] - times[right - 1]), states[:, 0])
    row = torch.arange(len(states), device=states.device)
    return (1 - share) * states[row, right - 1] + share * states[row, right]


def _as(t: Tensor, like: Tensor) -> Tensor:
    return t.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
