"""Solvers: carry noise at t = 0 to data at t = 1 along a velocity, on a grid given by the caller.

B = batch, T = frames, D = channels (any trailing axes work), N = intervals of the grid. Explicit Runge-Kutta methods as
tables, one loop for all of them; every item is advanced on its own, so nothing depends on the neighbours in the batch
or on padding. dopri5 (adaptive) goes through torchdiffeq, imported when asked for. Knows nothing of networks: a
velocity is any callable, of torch tensors or of numpy arrays, which need no torch. Gradients flow if the caller lets
them; wrap the call in torch.inference_mode() for plain sampling.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .tables import TABLES, Table

if TYPE_CHECKING:
    from torch import Tensor

Velocity = Callable[[Any, Any], Any]  # (x (B, T, D), t (B,) float32) -> (B, T, D), tensors or arrays
OnStep = Callable[[int, Any, Any, Any], object]  # (i, x, t (B,), v): may raise to cancel


def nfe(method: str, steps: int) -> int:
    """Velocity evaluations of `steps` intervals. Guidance may cost more network forwards per evaluation (a CFG pair:
    two).
    """
    return len(_table(method).weights) * steps


def solve(
    velocity: Velocity,
    x0: Any,
    grid: Any,
    method: str = "euler",
    on_step: OnStep | None = None,
    *,
    mask: Any = None,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> Any:
    """Integrate dx/dt = velocity(x, t) from grid[0] to grid[-1]; returns x there, (B, T, D), in x0's dtype.

    x0: (B, T, D) start (noise at t = 0), a tensor or an array; the velocity gets and gives the same kind. grid:
    (N + 1,) strictly increasing times, float32, of any kind (see times.time_grid). method: euler, midpoint, heun, rk4
    (3/8 rule), rk4_classic: one table step per interval. "dopri5": tensors only, adaptive between the two ends of the
    grid, inner points have no effect; error is judged per item over real frames by mask (B, T), rtol and atol. Its
    steps are shared by the batch, so unlike the tables' an item's result moves within the tolerance with its
    neighbours. on_step(i, x, t, v): called once per interval as soon as v = velocity(x, t) at its start is known, so
    that a live preview (path.to_x1(v, x, t)) costs nothing; raise in it to cancel. For dopri5 it is called at every
    evaluation. The velocity sees x0's dtype and a float32 t; the state itself is kept in at least float32, so bf16
    rounding does not add up. ValueError: a grid that is not increasing or is stored in 16 bits, an unknown method.
    """
    times = checked_grid(grid)
    field = Settled(velocity, x0)
    if method == "dopri5":
        return _solve_adaptive(field, x0, times, on_step, mask, rtol, atol)
    table = _table(method)
    x = field.state(x0)
    for i, (start, end) in enumerate(itertools.pairwise(times)):
        h = end - start
        slopes: list[Any] = []
        for node, row in zip(table.nodes, table.stages, strict=True):
            slopes.append(field(_advance(x, h, row, slopes), start + node * h))
            if on_step is not None and len(slopes) == 1:
                on_step(i, field.shown(x), field.times(start), field.shown(slopes[0]))
        x = _advance(x, h, table.weights, slopes)
    return field.shown(x)


def asked_times(grid: Any, method: str) -> list[float]:
    """Every time at which `solve` with a table asks for the velocity, in float32, in order, each once; none for dopri5.
    What depends on the time alone can be made for all of them beforehand."""
    times = checked_grid(grid)
    nodes = TABLES[method].nodes if method in TABLES else ()
    steps = itertools.pairwise(times)
    asked = np.array([start + node * (end - start) for start, end in steps for node in nodes], np.float32)
    return list(dict.fromkeys(asked.tolist()))


def _advance(x: Any, h: float, weights: Sequence[float], slopes: Sequence[Any]) -> Any:
    for weight, slope in zip(weights, slopes, strict=True):
        if weight != 0:
            x = x + (h * weight) * slope
    return x


class Settled:
    """The user's velocity with dtypes settled: state in >= float32 outside, x0's dtype and float32 t inside."""

    def __init__(self, velocity: Velocity, x0: Any) -> None:
        array = isinstance(x0, np.ndarray)
        if x0.ndim < 1 or not (x0.dtype.kind == "f" if array else x0.is_floating_point()):
            raise ValueError(f"x0 must be of floating point (B, T, D), got {x0.dtype} of shape {tuple(x0.shape)}")
        self.velocity, self.x0, self.state_dtype = velocity, x0, _at_least_float32(x0)
        # one that is marked so looks at t, which must not wait for a GPU
        self.clock = "cpu" if getattr(velocity, "host_times", False) else None

    def state(self, x: Any) -> Any:
        """As the solver keeps it."""
        return x.astype(self.state_dtype, copy=False) if isinstance(x, np.ndarray) else x.to(self.state_dtype)

    def shown(self, x: Any) -> Any:
        """As the caller sees it."""
        return x.astype(self.x0.dtype, copy=False) if isinstance(x, np.ndarray) else x.to(self.x0.dtype)

    def times(self, t: float) -> Any:
        """t for every item, (B,) float32, on x0's device; on the CPU for a velocity that is marked `host_times`."""
        if isinstance(self.x0, np.ndarray):
            return np.full(len(self.x0), t, np.float32)
        import torch

        return torch.full((len(self.x0),), t, dtype=torch.float32, device=self.clock or self.x0.device)

    def __call__(self, x: Any, t: float) -> Any:
        v = self.velocity(self.shown(x), self.times(t))
        if v.shape != x.shape:
            raise ValueError(f"the velocity of x {tuple(x.shape)} has shape {tuple(v.shape)}; the two must agree")
        return self.state(v)


def _at_least_float32(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return np.promote_types(x.dtype, np.float32)
    import torch

    return torch.promote_types(x.dtype, torch.float32)


def _table(method: str) -> Table:
    if method not in TABLES:
        raise ValueError(
            f"unknown solver {method!r}; one of {', '.join(TABLES)} (fixed grid) or dopri5 (adaptive, no fixed NFE)"
        )
    return TABLES[method]


def checked_grid(grid: Any) -> list[float]:
    """The times of a grid as numbers; ValueError where they do not increase or come in 16 bits."""
    if str(getattr(grid, "dtype", "")).endswith("float16"):
        raise ValueError(f"the time grid is {grid.dtype}: neighbouring points merge there; build it in float32")
    times = np.asarray(grid.detach().cpu() if hasattr(grid, "detach") else grid, np.float32)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"a time grid has one axis and at least two points, got shape {times.shape}")
    if not (times[1:] > times[:-1]).all():
        raise ValueError(f"a time grid must be strictly increasing and finite, got {times[:8].tolist()}")
    return times.tolist()


# ---- adaptive: torchdiffeq's dopri5 with an error norm that respects items and padding
# -----------------------------------


def _solve_adaptive(
    field: Settled,
    x0: Tensor,
    times: list[float],
    on_step: OnStep | None,
    mask: Tensor | None,
    rtol: float,
    atol: float,
) -> Tensor:
    if isinstance(x0, np.ndarray):
        raise ValueError("dopri5 solves for torch tensors only; rk4 on a fixed grid takes arrays")
    import torch

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
            on_step(count, field.shown(x), field.times(now), field.shown(v))
        count += 1
        return v

    ends = torch.tensor([times[0], times[-1]], dtype=torch.float64, device=x0.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchdiffeq remarks on every unused option
        path = odeint(
            slope,
            field.state(x0),
            ends,
            rtol=rtol,
            atol=atol,
            method="dopri5",
            options={"norm": _item_norm(mask)},
        )
    return field.shown(path[-1])


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
