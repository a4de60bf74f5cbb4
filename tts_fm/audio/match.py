"""Speech is given the statistics of its prompt's spectrum: the colour of voice and room, which a small model copies
only in part.

Four maps of log-mels, each from what is loud in the speech and in the prompt, none of which knows a word of either:
mean and deviation of every band, voiced and unvoiced frames apart; deviation of every cepstral coefficient; how the
first coefficients vary together; the distribution of every band's level. Taken away, such statistics are classics of
robust recognition (Furui 1981, cepstral mean; Viikki 1998, variance; de la Torre 2005, histogram equalisation); here
they are given. T, Tp mel frames, N coefficients, Q quantiles. It knows no models.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import create_dct

LOUD = 4.0  # nepers under the loud frames' level (95th percentile): what is below counts as silence
# loud frames at which half of the difference is believed: what a short text happens to sound like is not the voice
ENOUGH = 15
SHIFT = 2.0  # nepers (17 dB): the most that a band's mean is moved
STRETCH = 1.6  # the most that a deviation is widened or narrowed
COMBINED = 2.0  # the same for a combination of coefficients
TOGETHER = 30  # cepstral coefficients whose covariance is moved: formants, not harmonics
QUANTILES = 25
# bands of 0.2 to 1.3 kHz and of 4 to 9 kHz: a frame with less of the former is unvoiced
LOW, HIGH = slice(5, 25), slice(60, 90)


def matched(mel: Tensor, prompt: Tensor, share: float = 1.0) -> Tensor:
    """Log-mel speech (T, 100), its statistics moved by `share` (0 to 1) of the way to those of the prompt (Tp, 100) ->
    (T, 100).

    Differences are trusted less where either has few loud frames, and are limited.
    """
    if not share:
        return mel
    result, prompt = mel.float(), prompt.to(mel.device).float()
    few = min(int(loud(result).sum()), int(loud(prompt).sum()))
    for step in (by_class, by_coefficient, by_covariance, by_level):
        result = result.lerp(step(result, prompt), share * few / (few + ENOUGH))
    return result.to(mel.dtype)


def by_class(mel: Tensor, prompt: Tensor) -> Tensor:
    """Mean and deviation of every band, of voiced and of unvoiced frames; a frame between the two gets some of both."""
    result = mel
    for of_speech, of_prompt in sorts(mel, prompt):
        mean, deviation, much = moments(mel, of_speech)
        wanted, spread, count = moments(prompt, of_prompt)
        believed = min(much, count) / (min(much, count) + ENOUGH)
        shift = smooth(wanted - mean, 1).clamp(-SHIFT, SHIFT)
        stretch = smooth((spread / deviation).clamp(1 / STRETCH**2, STRETCH**2), 2).clamp(1 / STRETCH, STRETCH)
        moved = (mel - mean) * stretch + mean + shift
        result = result + of_speech[:, None] * believed * (moved - mel)
    return result


def by_coefficient(mel: Tensor, prompt: Tensor) -> Tensor:
    """Deviation of every cepstral coefficient (DCT-II over the bands): how strongly formants and harmonics stand out
    and move.
    """
    basis = create_dct(mel.shape[1], mel.shape[1], norm="ortho").to(mel.device)  # (100, 100)
    speech, voice = mel @ basis, prompt @ basis
    mean, deviation = speech[loud(mel)].mean(0), speech[loud(mel)].std(0, correction=0)
    stretch = (voice[loud(prompt)].std(0, correction=0) / deviation.clamp(min=1e-3)).clamp(1 / STRETCH, STRETCH)
    stretch = torch.cat([stretch[:1], smooth(stretch[1:], 1)])  # the first is loudness
    return ((speech - mean) * stretch + mean) @ basis.T


def by_covariance(mel: Tensor, prompt: Tensor) -> Tensor:
    """How the first cepstral coefficients vary together, as formants do, in voiced and in unvoiced frames. The map from
    one Gaussian to another with the least change (optimal transport: Olkin and Pukelsheim 1982; for the colours of
    pictures Pitie and Kokaram 2007)."""
    basis = create_dct(TOGETHER, mel.shape[1], norm="ortho").to(mel.device)  # (100, N)
    speech, voice, result = mel @ basis, prompt @ basis, mel
    for of_speech, of_prompt in sorts(mel, prompt):
        centre, own = covariance(speech, of_speech * loud(mel))
        _, wanted = covariance(voice, of_prompt * loud(prompt))
        root, inverse = power(own, 0.5), power(own, -0.5)
        stretches, directions = torch.linalg.eigh(inverse @ power(root @ wanted @ root, 0.5) @ inverse)
        change = directions * (stretches.clamp(1 / COMBINED, COMBINED) - 1) @ directions.T  # (N, N)
        result = result + of_speech[:, None] * ((speech - centre) @ change.to(mel) @ basis.T)
    return result


def by_level(mel: Tensor, prompt: Tensor) -> Tensor:
    """The distribution of every band: levels move as the quantiles they lie between."""
    at = (torch.arange(QUANTILES, device=mel.device) + 0.5) / QUANTILES
    own = mel[loud(mel)].quantile(at, dim=0)  # (Q, 100)
    moves = torch.stack([smooth(row, 1) for row in prompt[loud(prompt)].quantile(at, dim=0) - own])
    edges = own.T.contiguous()  # (100, Q)
    above = torch.searchsorted(edges, mel.T.contiguous()).clamp(1, QUANTILES - 1)  # (100, T)
    low, high = edges.gather(1, above - 1), edges.gather(1, above)
    place = ((mel.T - low) / (high - low).clamp(min=1e-4)).clamp(0, 1)
    move = torch.lerp(moves.T.gather(1, above - 1), moves.T.gather(1, above), place)  # (100, T)
    return mel + move.T


def moments(mel: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and deviation (100,) of the loud frames, weighted, and the sum of the weights."""
    weights = weights * loud(mel)
    count = weights.sum().clamp(min=1e-3)
    mean = weights @ mel / count
    return mean, (weights @ (mel - mean).square() / count).sqrt().clamp(min=1e-3), float(weights.sum())


def covariance(points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Of points (T, N), weighted (T,): mean (N,) and covariance (N, N), the nearer to its diagonal the fewer points
    there are. The latter is float64 on the CPU: small, and to be inverted."""
    weights, width = weights.clamp(min=1e-6), points.shape[1]
    found = points.T.cov(correction=0, aweights=weights).cpu().double()
    found = found.lerp(found.diagonal().diag(), width / (width + float(weights.sum())))
    return weights @ points / weights.sum(), found + 1e-3 * torch.eye(width)


def power(matrix: Tensor, exponent: float) -> Tensor:
    """Of a symmetric positive matrix (N, N)."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=1e-6) ** exponent @ vectors.T


def smooth(bands: Tensor, deviation: int) -> Tensor:
    """Gaussian mean over neighbours, (N,) -> (N,)."""
    reach = 3 * deviation
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=bands.device) / deviation) ** 2)
    padded = F.pad(bands[None, None], (reach, reach), mode="replicate")
    return F.conv1d(padded, (weights / weights.sum())[None, None])[0, 0]


def loud(mel: Tensor) -> Tensor:
    """Which frames are not silent, (T,) bool; one at least."""
    level = mel.float().mean(-1)
    return level >= level.quantile(0.95) - LOUD


def sorts(mel: Tensor, prompt: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The voiced frames of speech and prompt, (T,) and (Tp,) in 0..1, and the unvoiced ones."""
    voices = voiced(mel), voiced(prompt)
    return [voices, (1 - voices[0], 1 - voices[1])]


def voiced(mel: Tensor) -> Tensor:
    """How voiced each frame looks, (T,) in 0..1: by the balance of low and high bands."""
    return torch.sigmoid(2 * (mel[:, LOW].mean(1) - mel[:, HIGH].mean(1) - 1.0))
