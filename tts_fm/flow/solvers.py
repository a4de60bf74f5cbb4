"""Solvers: carry noise at t = 0 to data at t = 1 along a velocity, on a grid given by the caller.

B = batch, T = frames, D = channels (any trailing axes work), N = intervals of the grid. Explicit Runge-Kutta methods as
tables, one loop for all of them; every item is advanced on its own, so nothing depends on the neighbours in the batch
or on padding. dopri5 (adaptive) goes through torchdiffeq, imported when asked for. Knows nothing of networks: a
velocity is any callable. Gradients flow if the caller lets them; wrap the call in torch.inference_mode() for plain
sampling.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .tables import TABLES, Table

Velocity = Callable[[Tensor, Tensor], Tensor]  # (x (B, T, D), t (B,) float32) -> (B, T, D)
OnStep = Callable[[int, Tensor, Tensor, Tensor], object]  # (i, x, t (B,), v): may raise to cancel


def nfe(method: str, steps: int) -> int:
    """Velocity evaluations of `steps` intervals. Guidance may cost more network forwards per evaluation (a CFG pair:
    two).
    """
    return len(_table(method).weights) * steps


def solve(
    velocity: Velocity,
    x0: Tensor,
    grid: Tensor | Sequence[float],
    method: str = "euler",
    on_step: OnStep | None = None,
    *,
    mask: Tensor | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from grid[0] to grid[-1]; returns x there, (B, T, D), in x0's dtype.

    x0: (B, T, D) start (noise at t = 0). grid: (N + 1,) strictly increasing times, float32 (see times.time_grid).
    method: euler, midpoint, heun, rk4 (3/8 rule), rk4_classic: one table step per interval. "dopri5": adaptive between
    the two ends of the grid, inner points have no effect; error is judged per item over real frames by mask (B, T),
    rtol and atol. Its steps are shared by the batch, so unlike the tables' an item's result moves within the tolerance
    with its neighbours. on_step(i, x, t, v): called once per interval as soon as v = velocity(x, t) at its start is
    known, so that a live preview (path.to_x1(v, x, t)) costs nothing; raise in it to cancel. For dopri5 it is called at
    every evaluation. The velocity sees x0's dtype and a float32 t; the state itself is kept in at least float32, so
    bf16 rounding does not add up. ValueError: a grid that is not increasing or is stored in 16 bits, an unknown method.
    """
    times = _checked_grid(grid)
    field = _Field(velocity, x0)
    if method == "dopri5":
        return _solve_adaptive(field, x0, times, on_step, mask, rtol, atol)
    table = _table(method)
    x = x0.to(field.state_dtype)
    for i, (start, end) in enumerate(zip(times[:-1], times[1:], strict=True)):
        h = end - start
        slopes: list[Tensor] = []
        for node, row in zip(table.nodes, table.stages, strict=True):
            slopes.append(field(_advance(x, h, row, slopes), start + node * h))
            if on_step is not None and len(slopes) == 1:
                on_step(i, x.to(x0.dtype), field.times(start), slopes[0].to(x0.dtype))
        x = _advance(x, h, table.weights, slopes)
    return x.to(x0.dtype)


def _advance(x: Tensor, h: float, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    for weight, slope in zip(weights, slopes, strict=True):
        if weight != 0:
            x = x + (h * weight) * slope
    return x


class _Field:
    """The user's velocity with dtypes settled: state in >= float32 outside, x0's dtype and float32 t inside."""

    def __init__(self, velocity: Velocity, x0: Tensor) -> None:
        if x0.ndim < 1 or not x0.is_floating_point():
            raise ValueError(f"x0 must be a floating-point tensor (B, T, D), got {x0.dtype} of shape {tuple(x0.shape)}")
        self.velocity, self.dtype, self.device, self.batch = velocity, x0.dtype, x0.device, x0.shape[0]
        self.state_dtype = torch.promote_types(x0.dtype, torch.float32)

    def times(self, t: float) -> Tensor:
        return torch.full((self.batch,), t, dtype=torch.float32, device=self.device)

    def __call__(self, x: Tensor, t: float) -> Tensor:
        v = self.velocity(x.to(self.dtype), self.times(t))
        if v.shape != x.shape:
            raise ValueError(f"the velocity of x {tuple(x.shape)} has shape {tuple(v.shape)}; the two must agree")
        return v.to(self.state_dtype)


def _table(method: str) -> Table:
    if method not in TABLES:
        raise ValueError(
            f"unknown solver {method!r}; one of {', '.join(TABLES)} (fixed grid) or dopri5 (adaptive, no fixed NFE)"
        )
    return TABLES[method]


def _checked_grid(grid: Tensor | Sequence[float]) -> list[float]:
    grid = torch.as_tensor(grid)
    if grid.dtype in (torch.bfloat16, torch.float16):
        raise ValueError(f"the time grid is {grid.dtype}: neighbouring points merge there; build it in float32")
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"a time grid has one axis and at least two points, got shape {tuple(grid.shape)}")
    times = [float(t) for t in grid.detach().cpu().to(torch.float32)]
    if not all(a < b for a, b in zip(times[:-1], times[1:], strict=True)):
        raise ValueError(f"a time grid must be strictly increasing and finite, got {times[:8]}")
    return times


# ---- adaptive: torchdiffeq's dopri5 with an error norm that respects items and padding
# -----------------------------------


def _solve_adaptive(
    field: _Field, x0: Tensor, times: list[float], on_step: OnStep | None, mask: Tensor | None, rtol: float, atol: float
) -> Tensor:
    try:
        from torchdiffeq import odeint
    except ImportError:
        raise ValueError(
            "dopri5 needs the package torchdiffeq (pip install torchdiffeq); rk4 on a fixed grid does without"
        ) from None
    count = 0

    def slope(t: Tensor, x: Tensor) -> Tensor:
        nonlocal count
        now = float(t)
        v = field(x, now)
        if on_step is not None:
            on_step(count, x.to(field.dtype), field.times(now), v.to(field.dtype))
        count += 1
        return v

    ends = torch.tensor([times[0], times[-1]], dtype=torch.float64, device=x0.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchdiffeq remarks on every unused option
        path = odeint(
            slope,
            x0.to(field.state_dtype),
            ends,
            rtol=rtol,
            atol=atol,
            method="dopri5",
            options={"norm": _item_norm(mask)},
        )
    return path[-1].to(field.dtype)


def _item_norm(mask: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Largest per-item RMS over real frames: one hard item sets the step, and padding cannot water its error down."""

    def norm(x: Tensor) -> Tensor:
        if x.ndim == 0:
            return x.abs()
        squares = x.square().reshape(x.shape[0], x.shape[1] if x.ndim > 1 else 1, -1).mean(-1)  # (B, T)
        if mask is None:
            return squares.mean(1).sqrt().max()
        real = mask.to(squares.dtype)
        return ((squares * real).sum(1) / real.sum(1).clamp(min=1)).sqrt().max()

    return norm
