"""Probability paths: how noise x0 turns into data x1 as t goes from 0 to 1, and what a velocity says about both ends.

B = batch, T = frames, D = channels (any trailing axes work). x_t = alpha(t) x1 + sigma(t) x0 with x0 standard normal.
A conditional velocity u belongs to one pair (x0, x1); a network trained on it learns the marginal velocity, its mean given x_t,
and the conversions hold for both (they then give the mean of x1 or x0 given x_t). Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class OTPath:
    """The straight (optimal-transport conditional) path: x_t = (1 - (1 - s) t) x0 + t x1, u = x1 - (1 - s) x0 with s = sigma_min.

    Flow Matching (arXiv 2210.02747), eq. 22-23; s = 0 is rectified flow and F5-TTS. No division anywhere, so nothing blows up at t = 1
    except the score at s = 0, which is infinite there.
    """

    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must lie in [0, 1), got {self.sigma_min}; 0 is F5-TTS's, 1e-4 Matcha's")

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x0 noise, x1 data (B, T, D), t (B,) float32 in [0, 1] -> (x_t, u), both (B, T, D) in x1's dtype; u is d x_t / dt."""
        if x0.shape != x1.shape:
            raise ValueError(f"noise {tuple(x0.shape)} and data {tuple(x1.shape)} must have one shape")
        t, b = self._coefficients(t, x1)
        return (b * x0 + t * x1).to(x1.dtype), x1 - (1 - self.sigma_min) * x0

    def to_x1(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The data a velocity points to: b v + (1 - s) x_t, b = 1 - (1 - s) t."""
        _, b = self._coefficients(t, x_t)
        return (b * v + (1 - self.sigma_min) * x_t).to(x_t.dtype)

    def to_x0(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise a velocity comes from: x_t - t v."""
        t, _ = self._coefficients(t, x_t)
        return (x_t - t * v).to(x_t.dtype)

    def to_score(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """grad_x log p_t(x_t) = (t v - x_t) / b, by Tweedie -E[x0 given x_t] / b. Not finite at t = 1 when sigma_min is 0."""
        t, b = self._coefficients(t, x_t)
        return ((t * v - x_t) / b).to(x_t.dtype)

    def _coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """t (B,) -> (t, b), each (B, 1, 1...) in at least float32."""
        if t.shape != like.shape[:1]:
            raise ValueError(f"t must have shape {tuple(like.shape[:1])}, one time per item, got {tuple(t.shape)}")
        t = t.to(torch.promote_types(t.dtype, torch.float32)).reshape(-1, *[1] * (like.ndim - 1))
        return t, 1 - (1 - self.sigma_min) * t
