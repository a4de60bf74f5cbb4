"""How likely data is under a flow, in nats: the change of variables along the field's own path, backward in time.

B batch, T frames, D channels. log p(x1) = log p0(x(0)) - integral of div v dt (arXiv 1810.01367). The divergence is
exact for few coordinates (one backward pass each) or estimated by e' J e with one draw of random signs e for a whole
solve (Hutchinson), which is unbiased. Knows nothing of speech; what a score of speech is made of stands in
model/score.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .path import OTPath, Path, Velocity
from .solvers import solve
from .tables import ADAPTIVE

OnStep = Callable[[int, Tensor, Tensor], object]
LARGEST_EXACT = 512  # coordinates of an item up to which the exact divergence is offered


def log_likelihood(
    velocity: Velocity,
    x1: Tensor,
    path: Path | None = None,
    steps: int = 100,
    method: str = "midpoint",
    mask: Tensor | None = None,
    exact: bool = False,
    seed: int | Sequence[int] = 0,
    on_step: OnStep | None = None,
) -> Tensor:
    """log p(x1) under the flow of `velocity`: (B, T, D) -> (B,) nats over the real frames, in at least float32.

    velocity(x, t): the unguided field; every item must depend on itself only. path: where its noise ends and how large
    it is (default: the straight path); a path that ends before 1 is solved from there, so what is measured is x1 with
    the noise that is left. steps: equal intervals; method: a table solver of flow.solve. mask (B, T) True = counted;
    other frames stand still at their value in x1 and have no part in prior or divergence. exact: the trace by one
    backward pass for each of up to 512 coordinates; else Hutchinson's estimate. seed: one number, or one an item, of
    the signs e; the same for an item whatever its padding and neighbours, so that differences between two conditions
    share e. on_step(i, x (B, T, D), t (B,)): the states, from the data back to the noise. ValueError: a guided field
    (its solution is no density of the model), an adaptive solver (its error norm would mix items and padding), exact
    for too many coordinates.
    """
    path = path or OTPath()
    if getattr(velocity, "guided", False):
        raise ValueError("likelihood needs the unguided field: guidance 0, and no classifier")
    if method in ADAPTIVE:
        raise ValueError(f"likelihood is solved on a fixed grid: midpoint, euler, heun or rk4, not {method}")
    if x1.ndim < 2:
        raise ValueError(f"likelihood needs data (B, T, D), got {tuple(x1.shape)}")
    keep = torch.ones(x1.shape[:2], dtype=torch.bool, device=x1.device) if mask is None else mask.to(torch.bool)
    if keep.shape != x1.shape[:2]:
        raise ValueError(f"mask {tuple(keep.shape)} does not fit data {tuple(x1.shape)}")
    count = x1[0].numel()
    if exact and count > LARGEST_EXACT:
        raise ValueError(f"exact divergence of {count} coordinates costs as many backward passes; leave exact out")
    real = keep.reshape(*keep.shape, *[1] * (x1.ndim - 2)).expand(x1.shape)
    x1 = x1.to(torch.promote_types(x1.dtype, torch.float32))
    trace = _exact if exact else _hutchinson(_signs(seed, x1, keep))

    def backward(state: Tensor, s: Tensor) -> Tensor:  # (B, numbers + 1): x and what the log density has gained
        t = path.end * (1 - s)
        x = state[:, :-1].reshape(x1.shape)
        # works inside no_grad and inference_mode; those need copies
        with torch.inference_mode(False), torch.enable_grad():
            point = x.detach().clone().requires_grad_(True)
            v = velocity(point, t.clone()).to(point.dtype).masked_fill(~real, 0.0)
            divergence = trace(v, point, real)
        return -path.end * torch.cat([v.detach().flatten(1), divergence.detach()[:, None]], dim=1)

    state = torch.cat([x1.flatten(1), x1.new_zeros(len(x1), 1)], dim=1)

    def seen(i: int, state: Tensor, s: Tensor, _: Tensor) -> None:
        if on_step is not None:
            on_step(i, state[:, :-1].reshape(x1.shape), path.end * (1 - s))

    state = solve(backward, state, torch.linspace(0, 1, steps + 1), method, seen)
    seen(steps, state, torch.ones(len(x1)), state)
    return prior(state[:, :-1].reshape(x1.shape), path, real) + state[:, -1]


def prior(x0: Tensor, path: Path, real: Tensor) -> Tensor:
    """(B,) log density of Normal(0, b(0)^2) over the real coordinates of x0."""
    b = float(path.coefficients(torch.zeros(1, dtype=torch.float64))[2])
    each = -(x0 / b).square() / 2 - math.log(b) - math.log(2 * math.pi) / 2
    return each.masked_fill(~real, 0.0).flatten(1).sum(1)


def flow_error(
    velocity: Velocity, x1: Tensor, mask: Tensor, path: Path | None = None, draws: int = 8, seed: int = 0
) -> Tensor:
    """(B,) mean over frames, channels and `draws` of |v(x_t, t) - u|^2: how badly the field explains x1.

    The flow classifier: of several conditions the one with the least error fits best. Times are the middles of `draws`
    equal parts of the path, noise is drawn for each item from `seed`: both are the same whatever the condition.
    """
    path = path or OTPath()
    total = x1.new_zeros(len(x1), dtype=torch.float32)
    for k in range(draws):
        t = torch.full((len(x1),), path.end * (k + 0.5) / draws, device=x1.device)
        x_t, u = path.sample(_per_item(torch.randn, seed + k, x1, mask), x1, t)
        squares = (velocity(x_t, t) - u).float().square().flatten(2).mean(-1)
        total = total + (squares * mask).sum(1) / mask.sum(1).clamp(min=1)
    return total / draws


def _exact(v: Tensor, x: Tensor, real: Tensor) -> Tensor:
    flat, place = v.flatten(1), real.flatten(1)
    total = x.new_zeros(len(x))
    for k in range(flat.shape[1]):
        if not flat.requires_grad or not bool(place[:, k].any()):
            continue
        (row,) = torch.autograd.grad(flat[:, k].sum(), x, retain_graph=True)
        total = total + torch.where(place[:, k], row.flatten(1)[:, k], 0.0)
    return total


def _hutchinson(signs: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def trace(v: Tensor, x: Tensor, real: Tensor) -> Tensor:
        if not v.requires_grad:  # a field that does not depend on x
            return x.new_zeros(len(x))
        (product,) = torch.autograd.grad(v, x, signs)
        return (product * signs).flatten(1).sum(1)

    return trace


def _signs(seed: int | Sequence[int], like: Tensor, keep: Tensor) -> Tensor:
    """-1 or 1 for every coordinate of a real frame, 0 elsewhere."""

    def draw(*shape: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, shape, generator=generator).float() * 2 - 1

    return _per_item(draw, seed, like, keep)


def _per_item(draw: Callable[..., Tensor], seed: int | Sequence[int], like: Tensor, keep: Tensor) -> Tensor:
    """Random numbers at the real frames of each item, drawn on the CPU for itself, zero elsewhere."""
    seeds = [seed] * len(like) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(like):
        raise ValueError(f"{len(like)} items need one seed, or as many, got {len(seeds)}")
    out = torch.zeros(like.shape, dtype=like.dtype)
    for b, number in enumerate(seeds):
        where = keep[b].cpu()
        generator = torch.Generator().manual_seed(int(number))
        out[b, where] = draw(int(where.sum()), *like.shape[2:], generator=generator).to(like.dtype)
    return out.to(like.device)
