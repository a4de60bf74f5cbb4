"""Flow times: laws that draw t for training, and grids of t for solving. Float32 always, whatever dtype the model runs
in.

t = 0 is noise, t = 1 is data. B = batch, N = steps (number of intervals, so a grid has N + 1 points). Every law and
every grid is one idea: an increasing map of [0, 1] onto itself (a warp), applied to uniform random numbers (then it is
the quantile function of the law) or to equally spaced ones (then it is a grid). Laws give torch tensors; grids are
numpy arrays and need no torch. Knows nothing of models or solvers.

Signs: papers that put the noise at t = 1 (SD3, diffusers) use the mirrored t; a logit-normal mean ported from them
changes sign.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .tables import f5_points

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Warp = Callable[[Any], Any]  # a tensor to a tensor, an array to an array
STEEPEST = 2 / (math.pi - 2)  # above this coefficient (about 1.752) sway and mode turn back on themselves


# ---- warps: increasing maps of [0, 1] onto [0, 1]
# -------------------------------------------------------------------------


def sway_warp(u: Any, coef: float = -1.0) -> Any:
    """u + coef (cos(pi u / 2) - 1 + u), F5-TTS (arXiv 2410.06885); -1 gives 1 - cos(pi u / 2), dense near the noise.

    coef lies in [-1, 1.752]: outside, the map is not increasing (ValueError). 0 is the identity.
    """
    _check_range("sway", coef, -1.0, STEEPEST)
    angle = math.pi / 2 * u
    return u + coef * ((np.cos(angle) if isinstance(u, np.ndarray) else angle.cos()) - 1 + u)


def shift_warp(u: Any, coef: float = 0.5) -> Any:
    """s u / (1 + (s - 1) u) with s = coef > 0 (ZipVoice's t_shift; SD3's shift alpha is 1 / s). Below 1: dense near the
    noise.
    """
    if not (math.isfinite(coef) and coef > 0):
        raise ValueError(f"shift must be a finite number above 0, got {coef}; 0.5 is ZipVoice's, 1 changes nothing")
    return coef * u / (1 + (coef - 1) * u)


def logit_normal_warp(u: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Quantile function of sigmoid(Normal(mean, std)) (SD3, arXiv 2403.03206, with our direction of t)."""
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ValueError(f"logit_normal needs a finite mean and std > 0, got mean {mean}, std {std}; (0, 1) is SD3's")
    import torch

    edge = 2.0**-25  # half of the spacing of float32 random numbers: keeps the end points off infinity
    return torch.sigmoid(mean + std * torch.special.ndtri(u.clamp(edge, 1 - edge)))


def mode_warp(u: Tensor, scale: float = 1.29) -> Tensor:
    """u + scale (u - sin^2(pi u / 2)): SD3's law with heavy tails (arXiv 2403.03206); scale in [-1, 1.752], > 0 prefers
    the middle.
    """
    _check_range("mode", scale, -1.0, STEEPEST)
    return u + scale * (u - (math.pi / 2 * u).sin() ** 2)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} coefficient must lie in [{low:g}, {high:.3f}], got {value}; 0 switches it off")


# ---- training: random times


def uniform_times(batch: int, generator: torch.Generator, device: torch.device | str | None = None) -> Tensor:
    """(batch,) float32 times, uniform on [0, 1). Drawn on the generator's device, then moved."""
    import torch

    u = torch.rand(batch, generator=generator, device=generator.device, dtype=torch.float32)
    return u if device is None else u.to(device)


def logit_normal(
    batch: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    mean: float = 0.0,
    std: float = 1.0,
) -> Tensor:
    """(batch,) float32 times from sigmoid(Normal(mean, std)); a mean above 0 leans to the data end."""
    return logit_normal_warp(uniform_times(batch, generator, device), mean, std)


def mode(
    batch: int, generator: torch.Generator, device: torch.device | str | None = None, scale: float = 1.29
) -> Tensor:
    """(batch,) float32 times from SD3's mode law; scale > 0 leans to the middle, < 0 to both ends, 0 is uniform."""
    return mode_warp(uniform_times(batch, generator, device), scale).clamp(0, 1)


LAWS: dict[str, Callable[..., Tensor]] = {
    "uniform": lambda u: u,
    "logit_normal": logit_normal_warp,
    "mode": mode_warp,
    "sway": sway_warp,
    "shift": shift_warp,
}


def draw_times(
    law: str | Warp,
    batch: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    stratified: bool = False,
) -> Tensor:
    """(batch,) float32 training times in [0, 1].

    law: "uniform", "logit_normal(mean, std)", "mode(scale)", "sway(coef)", "shift(coef)" (numbers optional), or your
    own increasing map of [0, 1]. stratified: one draw from each of `batch` equal slices of probability, in random
    order; the law of every single item is unchanged, the batch mean of the loss varies less.
    """
    import torch

    warp = parse_law(law) if isinstance(law, str) else law
    u = uniform_times(batch, generator)
    if stratified:
        u = (torch.randperm(batch, generator=generator, device=generator.device) + u) / batch
    t = warp(u).to(torch.float32).clamp(0, 1)
    return t if device is None else t.to(device)


def parse_law(text: str) -> Warp:
    """ "name" or "name(1, 2)" -> the warp it names. ValueError lists the known names."""
    import torch

    found = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
    if not found or found[1] not in LAWS:
        raise ValueError(
            f"unknown law of times {text!r}; one of {', '.join(LAWS)}, with numbers as in 'logit_normal(0, 1)'"
        )
    try:
        numbers = [float(part) for part in (found[2] or "").split(",") if part.strip()]
        warp = LAWS[found[1]]
        warp(torch.tensor([0.5]), *numbers)  # too many numbers or one out of range shows here, not in the first batch
    except TypeError:
        raise ValueError(f"too many numbers in {text!r}") from None
    return lambda u: warp(u, *numbers)


# ---- inference: grids


def time_grid(steps: int | None, kind: str | Sequence[float] = "uniform", coef: float | None = None) -> np.ndarray:
    """(steps + 1,) float32 grid, a numpy array, strictly increasing from 0 to 1.

    kind "uniform"; "sway" (coef -1 unless given); "shift" (coef 0.5); "epss" = F5's pruned knots, then sway by coef
    (-1; 0 leaves the knots alone); or the times themselves (steps then None or their number of intervals). Any number
    from 0 is a coef, None means the default. ValueError for steps < 1, a coef out of range, or a list that is no grid.
    """
    if not isinstance(kind, str):
        return _explicit_grid(steps, kind)
    if kind == "epss":
        return f5_grid(_checked_steps(steps), sway=-1.0 if coef is None else coef, epss=True)
    uniform = _uniform(_checked_steps(steps))
    if kind == "uniform":
        return _as_grid(uniform)
    if kind == "sway":
        return _as_grid(sway_warp(uniform, -1.0 if coef is None else coef))
    if kind == "shift":
        return _as_grid(shift_warp(uniform, 0.5 if coef is None else coef))
    raise ValueError(f"unknown grid {kind!r}; one of uniform, sway, shift, epss, or a list of times from 0 to 1")


def f5_grid(steps: int, sway: float | None = -1.0, epss: bool = True) -> np.ndarray:
    """(steps + 1,) float32, a numpy array: the grid F5-TTS solves on. EPSS knots where a table exists (5, 6, 7, 10, 12,
    16), else uniform; sway comes on top of either (None or 0: none). Equal to F5's own to float32 rounding."""
    steps = _checked_steps(steps)
    _check_range("sway", sway or 0.0, -1.0, STEEPEST)
    return _as_grid(np.array(f5_points(steps, sway, epss)))


def _uniform(steps: int) -> np.ndarray:
    return np.linspace(0, 1, steps + 1)  # float64 until the end: cos(x) - 1 cancels for small x


def _checked_steps(steps: int | None) -> int:
    if steps is None or int(steps) != steps or not 1 <= steps <= 100_000:
        raise ValueError(f"steps must be a whole number from 1 to 100000, got {steps}; 16 to 32 is usual, 7 is quick")
    return int(steps)


def _as_grid(times: np.ndarray) -> np.ndarray:
    """Round to float32, with the ends exact; ValueError where rounding or a bad list leaves two points equal."""
    grid = times.astype(np.float32)
    grid[0], grid[-1] = 0.0, 1.0
    if not bool((grid[1:] > grid[:-1]).all()):
        raise ValueError("the grid is not strictly increasing in float32; use fewer steps or a weaker coefficient")
    return grid


def _explicit_grid(steps: int | None, times: Sequence[float]) -> np.ndarray:
    grid = np.asarray(times, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or grid[0] != 0 or grid[-1] != 1:
        raise ValueError(
            f"a list of times needs at least two numbers, the first 0 and the last 1, got {list(times)[:8]}"
        )
    if steps is not None and steps != len(grid) - 1:
        raise ValueError(f"{len(grid)} times make {len(grid) - 1} steps, but steps={steps}; leave steps out")
    return _as_grid(grid)
