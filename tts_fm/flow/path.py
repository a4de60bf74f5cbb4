"""Probability paths: how noise x0 turns into data x1 as t goes from 0 to 1, and what a velocity says about both ends.

B = batch, T = frames, D = channels (any trailing axes work). Every path here is x_t = a(t) x1 + b(t) x0 with x0
standard normal. A conditional velocity u = a' x1 + b' x0 belongs to one pair (x0, x1); a network trained on it learns
the marginal velocity, its mean given x_t, and the conversions hold for both (they then give the mean of x1 or x0 given
x_t). Knows nothing of models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
Coefficients = tuple[Tensor, Tensor, Tensor, Tensor]  # a, da/dt, b, db/dt


class Path:
    """A path given by coefficients(t); the rest follows from two equations in x0 and x1."""

    end: float = 1.0  # the last time at which the velocity is finite: training and solving stop there
    normalised: bool = False  # whether networks see x_t and say u brought to unit size, see `sizes`

    def sizes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Root mean square of x_t and of u at t for data and noise of unit size; ones where a path is not
        `normalised`. A network reads x_t divided by the first and says u divided by the second.
        """
        if not self.normalised:
            return torch.ones_like(t), torch.ones_like(t)
        a, da, b, db = self.coefficients(t.to(torch.promote_types(t.dtype, torch.float32)))
        return (a.square() + b.square()).sqrt(), (da.square() + db.square()).sqrt()

    def times_like(self, other: Path, t: Tensor) -> Tensor:
        """The times at which this path has the signal-to-noise ratio a / b that `other` has at t (B,); 0 or `end` where
        it never has. By bisection: a / b increases along every path.
        """
        wanted = _ratio(other.coefficients(t.double().clamp(0, other.end)))
        low, high = torch.zeros_like(wanted), torch.full_like(wanted, self.end)
        for _ in range(60):
            middle = (low + high) / 2
            above = _ratio(self.coefficients(middle)) > wanted
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2

    def coefficients(self, t: Tensor) -> Coefficients:
        """a, a', b, b' at t, each of t's shape."""
        raise NotImplementedError

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x0 noise, x1 data (B, T, D), t (B,) float32 in [0, 1] -> (x_t, u), both (B, T, D) in x1's dtype; u is d x_t /
        dt.
        """
        if x0.shape != x1.shape:
            raise ValueError(f"noise {tuple(x0.shape)} and data {tuple(x1.shape)} must have one shape")
        a, da, b, db = self._at(t, x1)
        return (a * x1 + b * x0).to(x1.dtype), (da * x1 + db * x0).to(x1.dtype)

    def to_x1(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The data that velocity v at x_t points to, (B, T, D)."""
        a, da, b, db = self._at(t, x_t)
        return ((b * v - db * x_t) / (da * b - a * db)).to(x_t.dtype)

    def to_x0(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that velocity v at x_t comes from, (B, T, D)."""
        a, da, b, db = self._at(t, x_t)
        return ((da * x_t - a * v) / (da * b - a * db)).to(x_t.dtype)

    def to_score(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """grad_x log p_t(x_t) = -E[x0 given x_t] / b (Tweedie's formula). Not finite where b is 0, that is at t = 1 of
        most paths.
        """
        return (self.to_x0(v, x_t, t) / -self._at(t, x_t)[2]).to(x_t.dtype)

    def start(self, noise: Tensor) -> Tensor:
        """Standard normal noise -> where a solver starts at t = 0: b(0) noise (noise itself except for VEPath)."""
        return float(self.coefficients(torch.zeros(1))[2]) * noise

    def _at(self, t: Tensor, like: Tensor) -> Coefficients:
        """coefficients(t), shaped (B, 1, 1...) for `like`, in at least float32."""
        if t.shape != like.shape[:1]:
            raise ValueError(f"t must have shape {tuple(like.shape[:1])}, one time per item, got {tuple(t.shape)}")
        return self.coefficients(t.to(torch.promote_types(t.dtype, torch.float32)).reshape(-1, *[1] * (like.ndim - 1)))


@dataclass(frozen=True)
class OTPath(Path):
    """The straight (optimal-transport conditional) path: x_t = (1 - (1 - s) t) x0 + t x1, u = x1 - (1 - s) x0 with s =
    sigma_min.

    Flow Matching (arXiv 2210.02747), eq. 22-23; s = 0 is rectified flow and F5-TTS. Nothing blows up at t = 1 except
    the score at s = 0. Its conversions are x1 = (1 - (1 - s) t) v + (1 - s) x_t and x0 = x_t - t v.
    """

    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must lie in [0, 1), got {self.sigma_min}; 0 is F5-TTS's, 1e-4 Matcha's")

    def coefficients(self, t: Tensor) -> Coefficients:
        one, keep = torch.ones_like(t), 1 - self.sigma_min
        return t, one, 1 - keep * t, -keep * one


@dataclass(frozen=True)
class CosinePath(Path):
    """a = sin(pi t / 2), b = cos(pi t / 2): variance-preserving, with no singular velocity (arXiv 2209.15571). For
    ablations.
    """

    def coefficients(self, t: Tensor) -> Coefficients:
        half = math.pi / 2
        a, b = torch.sin(half * t), torch.cos(half * t)
        return a, half * b, b, -half * a


@dataclass(frozen=True)
class VPPath(Path):
    """Score-based diffusion's variance-preserving path (arXiv 2011.13456) run backwards: with s = 1 - t and
    B(s) = s beta_min + s^2 (beta_max - beta_min) / 2, a = exp(-B / 2), b = sqrt(1 - exp(-B)).

    b' is infinite at t = 1, so t is capped at 1 - 1e-3; a(0) is small, not 0 (0.0066 with the usual betas). For
    ablations.
    """

    end = 1 - 1e-3
    normalised = True

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"need 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}; 0.1 and 20 are usual"
            )

    def coefficients(self, t: Tensor) -> Coefficients:
        s = 1 - t.clamp(max=self.end)
        slope = self.beta_max - self.beta_min
        total, rate = s * self.beta_min + s**2 * slope / 2, self.beta_min + s * slope  # rate = dB/ds = -dB/dt
        a, b = torch.exp(-total / 2), torch.sqrt(-torch.expm1(-total))
        return a, a * rate / 2, b, -torch.exp(-total) * rate / (2 * b)


@dataclass(frozen=True)
class VEPath(Path):
    """Variance-exploding path (arXiv 2011.13456): a = 1, b = sigma_max^(1 - t) sigma_min^t. Start a solver from
    path.start(noise).
    """

    normalised = True

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"need 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}; 0.01 and 50 are usual"
            )

    def coefficients(self, t: Tensor) -> Coefficients:
        fall = math.log(self.sigma_min / self.sigma_max)
        b = self.sigma_max * torch.exp(fall * t)
        return torch.ones_like(t), torch.zeros_like(t), b, fall * b


# ---- by name, and from one to another

PATHS: dict[str, Callable[..., Path]] = {"ot": OTPath, "vp": VPPath, "ve": VEPath, "cosine": CosinePath}


def make_path(text: str) -> Path:
    """ "ot", "ot(1e-4)" (sigma_min), "vp(0.1, 20)" (the betas), "ve(0.01, 50)" (the sigmas) or "cosine" -> the path;
    numbers are optional. ValueError lists the names, or says which number is out of range.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
    if not found or found[1] not in PATHS:
        raise ValueError(f"unknown path {text!r}; one of {', '.join(PATHS)}, with numbers as in 'ot(1e-4)'")
    try:
        numbers = [float(part) for part in (found[2] or "").split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"the path {text!r} has something other than numbers in its brackets") from None
    try:
        return PATHS[found[1]](*numbers)
    except TypeError:
        raise ValueError(f"too many numbers in the path {text!r}") from None


def path_name(path: Path) -> str:
    """The text that `make_path` reads, with all its numbers: "vp(0.1, 20)"."""
    name = next(name for name, kind in PATHS.items() if kind is type(path))
    numbers = [f"{value:g}" for value in vars(path).values()]
    return f"{name}({', '.join(numbers)})" if any(vars(path).values()) else name


def along_path(velocity: Velocity, trained: Path, wanted: Path) -> Velocity:
    """The velocity of a network trained on one path, for solving along another (change of scheduler: the score at equal
    signal-to-noise ratio is the same but for scale; arXiv 2310.19075, section 2).

    Where x = c x' with x' on the trained path at the time s of equal ratio, both ends that v'(x', s) points to are
    those of the wanted path at x. Solve it from wanted.start(noise) to wanted.end.
    """

    def along(x: Tensor, t: Tensor) -> Tensor:
        s = trained.times_like(wanted, t)
        a, _, b, _ = trained.coefficients(s)
        own_a, da, own_b, db = wanted.coefficients(t.double().clamp(0, wanted.end))
        scale = torch.where(own_a > own_b, own_a / a.clamp(min=1e-12), own_b / b.clamp(min=1e-12))
        point, time = (x / _as(scale, x)).to(x.dtype), s.to(torch.promote_types(t.dtype, torch.float32))
        v = velocity(point, time)
        x1, x0 = trained.to_x1(v, point, time), trained.to_x0(v, point, time)
        return (_as(da, x) * x1 + _as(db, x) * x0).to(x.dtype)

    return along


def _ratio(coefficients: Coefficients) -> Tensor:
    return coefficients[0] / coefficients[2].clamp(min=1e-300)


def _as(value: Tensor, like: Tensor) -> Tensor:
    return value.to(torch.promote_types(like.dtype, torch.float32)).reshape(-1, *[1] * (like.ndim - 1))
