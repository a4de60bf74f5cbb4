"""Probability paths: how noise x0 turns into data x1 as t goes from 0 to 1, and what a velocity says about both ends.

B = batch, T = frames, D = channels (any trailing axes work). Every path here is x_t = a(t) x1 + b(t) x0 with x0
standard normal. A conditional velocity u = a' x1 + b' x0 belongs to one pair (x0, x1); a network trained on it learns
the marginal velocity, its mean given x_t, and the conversions hold for both (they then give the mean of x1 or x0 given
x_t). Knows nothing of models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Coefficients = tuple[Tensor, Tensor, Tensor, Tensor]  # a, da/dt, b, db/dt


class Path:
    """A path given by coefficients(t); the rest follows from two equations in x0 and x1."""

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

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"need 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}; 0.1 and 20 are usual"
            )

    def coefficients(self, t: Tensor) -> Coefficients:
        s = 1 - t.clamp(max=1 - 1e-3)
        slope = self.beta_max - self.beta_min
        total, rate = s * self.beta_min + s**2 * slope / 2, self.beta_min + s * slope  # rate = dB/ds = -dB/dt
        a, b = torch.exp(-total / 2), torch.sqrt(-torch.expm1(-total))
        return a, a * rate / 2, b, -torch.exp(-total) * rate / (2 * b)


@dataclass(frozen=True)
class VEPath(Path):
    """Variance-exploding path (arXiv 2011.13456): a = 1, b = sigma_max^(1 - t) sigma_min^t. Start a solver from
    path.start(noise).
    """

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
