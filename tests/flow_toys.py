"""Closed forms for the tests of tts_fm/flow: distributions whose flow under a Gaussian path is known exactly.

Nothing here calls the code under test, except for a path's coefficients where a test hands the path in (they are
checked by jvp).
"""

from __future__ import annotations

import torch
from torch import Tensor


class Gaussian:
    """Data Normal(mean, std^2) in every coordinate, straight path with sigma_min 0: marginal velocity and exact flow
    map.
    """

    def __init__(self, mean: float = 1.5, std: float = 0.5) -> None:
        self.mean, self.std = mean, std

    def spread(self, t: Tensor) -> Tensor:
        return torch.sqrt((t * self.std) ** 2 + (1 - t) ** 2)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        t = t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        rate = (t * self.std**2 - (1 - t)) / self.spread(t) ** 2
        return self.mean + rate * (x - t * self.mean)

    def flow(self, x0: Tensor, t: float = 1.0) -> Tensor:
        return t * self.mean + self.spread(torch.tensor(t, dtype=x0.dtype)) * x0


class Mixture:
    """Three Gaussian modes in the plane and their exact marginals along x_t = a x1 + b x0."""

    def __init__(self, path) -> None:
        self.path = path
        self.means = torch.tensor([[2.0, 0.5], [-1.0, 1.5], [0.3, -1.8]], dtype=torch.float64)
        self.stds = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
        self.weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(count, 2) points and the mode (count,) of each."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        return self.means[which] + self.stds[which, None] * noise, which

    def _modes(self, x: Tensor, t: Tensor):
        a, da, b, db = self.path.coefficients(t.double()[..., None])
        var = (a * self.stds) ** 2 + b**2  # (..., K)
        rate = (a * da * self.stds**2 + b * db) / var
        away = x[..., None, :] - a[..., None] * self.means  # (..., K, 2)
        log = self.weights.log() - var.log() - torch.log(torch.tensor(2 * torch.pi)) - away.square().sum(-1) / (2 * var)
        return log, da[..., None] * self.means + rate[..., None] * away

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        """x (..., 2), t (...) -> (...)."""
        return self._modes(x, t)[0].logsumexp(-1)

    def log_posterior(self, x: Tensor, t: Tensor) -> Tensor:
        """log p(mode given x_t), (..., 3)."""
        return self._modes(x, t)[0].log_softmax(-1)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        log, each = self._modes(x, t)
        return (log.softmax(-1)[..., None] * each).sum(-2)

    def velocity_of_mode(self, x: Tensor, t: Tensor, mode: int) -> Tensor:
        return self._modes(x, t)[1][..., mode, :]
