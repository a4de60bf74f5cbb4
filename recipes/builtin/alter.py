"""Somebody else's speech, wherever the wave is: resampled, so that pitch, formants and pace move together, and through
a smooth random equaliser. The corpus has one teacher's voices only; S samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tts_fm.audio.mel import SAMPLE_RATE

FACTORS = (1.04, 1.22)  # least and most, up or down: nearer to 1 nothing is new
TILT, POINTS = 4.0, 8  # dB, deviation of each of the equaliser's points
LEVEL = (-6.0, 3.0)  # dB
BEHIND = SAMPLE_RATE // 10  # samples of silence, so that the end does not run into the beginning
FULL = 0.98


def draw(rng: np.random.Generator) -> list[float]:
    """What `alter` does to one voice: the factor, then the gains in dB, a random level among them."""
    factor = math.exp(rng.choice([-1, 1]) * rng.uniform(*np.log(FACTORS)))
    gains = rng.normal(0, TILT, POINTS)
    gains += rng.uniform(*LEVEL) - gains.mean()
    return [round(factor, 6), *np.round(gains, 4).tolist()]


def alter(wave: Tensor, change: Sequence[float]) -> Tensor:
    """(S,) -> (S factor,): `factor` times as long, so lower when > 1, at most at full scale.

    The gains stand at equal distances on the root of the frequency, about as voices differ, and are straight between.
    """
    factor, gains = change[0], torch.tensor(change[1:], device=wave.device)
    size = len(wave) + BEHIND
    longer = round(size * factor)
    bins = longer // 2 + 1
    spectrum = torch.fft.rfft(wave, size)
    out = spectrum.new_zeros(bins)
    kept = min(bins, len(spectrum))
    out[:kept] = spectrum[:kept]
    at = torch.linspace(0, 1, bins, device=wave.device).sqrt() * (len(gains) - 1)
    low = at.long().clamp(max=len(gains) - 2)
    curve = torch.lerp(gains[low], gains[low + 1], at - low)
    found = torch.fft.irfft(out * 10 ** (curve / 20) * (longer / size), longer)[: round(len(wave) * factor)]
    return found / (found.abs().max() / FULL).clamp(min=1)
