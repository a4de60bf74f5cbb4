"""The discriminators of the vocoder's adversarial phase, small enough for a CPU, and how their gradient is weighed.

Two kinds: `Resolution` looks at a complex spectrogram (as EnCodec's, Defossez 2022, arXiv 2210.13438), `Period` at the
wave folded by a period (HiFi-GAN, Kong 2020, arXiv 2010.05646), each with at most 4 times `channels` channels. Least
squares and feature matching. B clips, S samples, T frames, F bins, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

WINDOWS, PERIODS = (512, 1024, 2048), (2, 3, 5, 7, 11)
SLOPE = 0.1  # of the leaky ReLUs
QUIET = 1e-5  # magnitudes are compressed down to here


def convolution(given: int, out: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Module:
    """A convolution that keeps the size of what it is given: the usual first weights shrink it in every layer, and a
    discriminator that hears next to nothing learns slowly.
    """
    layer = nn.Conv2d(given, out, kernel, stride, (kernel[0] // 2, kernel[1] // 2))
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return weight_norm(layer)


class Stack(nn.Module):
    """Convolutions with leaky ReLUs between them: (B, C, H, W) -> the score's map and the features below it."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer in self.layers[:-1]:
            if x.device.type == "cuda" and x.shape[1] > 1:  # a GPU's matrix units take channels that lie side by side
                x = x.contiguous(memory_format=torch.channels_last)
            x = functional.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.layers[-1](x), features


class Resolution(nn.Module):
    """A spectrogram's real and imaginary parts, with the cube root of the magnitude, so that quiet bands count too."""

    window: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.size, c = window, channels
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.stack = Stack(
            [
                convolution(2, c, (3, 5), (1, 2)),
                convolution(c, c, (3, 5), (1, 2)),
                convolution(c, 2 * c, (3, 5), (1, 2)),
                convolution(2 * c, 2 * c, (3, 5), (1, 2)),
                convolution(2 * c, 2 * c, (3, 3), (1, 1)),
                convolution(2 * c, 1, (3, 3), (1, 1)),
            ]
        )

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        spec = torch.stft(wave, self.size, self.size // 4, window=self.window, return_complex=True)  # (B, F, T)
        parts = torch.stack([spec.real, spec.imag], 1).transpose(2, 3)  # (B, 2, T, F)
        power = parts.square().sum(1, keepdim=True) + QUIET
        return self.stack(parts * power ** (-1 / 3))


class Period(nn.Module):
    """Every n-th sample beside each other: a pitch and its overtones are patterns down the columns."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period, c = period, channels
        sizes = [1, c, 2 * c, 4 * c, 4 * c]
        layers = [convolution(a, b, (5, 1), (3, 1)) for a, b in pairwise(sizes)]
        self.stack = Stack([*layers, convolution(4 * c, 4 * c, (5, 1), (1, 1)), convolution(4 * c, 1, (3, 1), (1, 1))])

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        rows = wave.shape[1] // self.period
        return self.stack(wave[:, : rows * self.period].unflatten(1, (rows, self.period))[:, None])


class Verdict(NamedTuple):
    """own: what the discriminators minimise; fool: what makes them take the copy for speech; match: mean distance of
    their features, the sum over all layers. Scalars.
    """

    own: Tensor
    fool: Tensor
    match: Tensor


class Judges(nn.Module):
    """All discriminators. One pass serves both sides: ask for the gradient of fool and match first."""

    def __init__(self, windows: Sequence[int] = WINDOWS, periods: Sequence[int] = PERIODS, channels: int = 16) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Resolution(n, channels) for n in windows])
        self.parts.extend(Period(n, channels) for n in periods)

    def forward(self, fake: Tensor, real: Tensor, sitting: Sequence[int] | None = None) -> Verdict:
        """(B, S), (R, S); sitting: which of the discriminators judge (all). The first R copies are of `real`, and their
        features are matched; the others are of nothing that was recorded. `own` reaches `fake` as well: give a
        detached one. All are brought to the level at which speech is 1.
        """
        pairs = len(real)
        level = torch.cat([real, fake[pairs:].detach()]).square().mean(1, keepdim=True).sqrt() + 1e-3
        fake, real = fake / level, real / level[:pairs]
        own, fool, match = (fake.new_zeros(()) for _ in range(3))
        for number in range(len(self.parts)) if sitting is None else sitting:
            part = self.parts[number]
            (score, wanted), (found, features) = part(real), part(fake)
            score, found = score.float(), found.float()
            own = own + (1 - score).square().mean() + found.square().mean()
            fool = fool + (1 - found).square().mean()
            for f, w in zip(features, wanted, strict=True):
                match = match + (f[:pairs].float() - w.detach().float()).abs().mean()
        return Verdict(own, fool, match)


class Balance:
    """Adds two gradients of the copy so that the second is `share` times as long as the first, whatever the scale of
    its loss (EnCodec's balancer). The lengths are averaged over steps.
    """

    def __init__(self, share: float, decay: float = 0.99) -> None:
        self.share, self.decay = share, decay
        self.lengths: Tensor | None = None  # (2,), on the device: nothing waits for it

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        now = torch.stack([first.norm(), second.norm()])
        self.lengths = now if self.lengths is None else torch.lerp(now, self.lengths, self.decay)
        return first + self.share * self.lengths[0] / self.lengths[1].clamp(min=1e-12) * second

    def state(self) -> list[float]:
        return [] if self.lengths is None else self.lengths.tolist()

    def restore(self, lengths: list[float], device: torch.device) -> None:
        self.lengths = torch.tensor(lengths, device=device) if lengths else None
