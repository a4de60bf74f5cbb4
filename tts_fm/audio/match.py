"""Speech is given the statistics of its prompt's spectrum: the colour of voice and room, which a small model copies
only in part.

Four maps of log-mels, each from what is loud in the speech and in the prompt, none of which knows a word of either:
mean and deviation of every band, voiced and unvoiced frames apart; deviation of every cepstral coefficient; how the
first coefficients vary together; the distribution of every band's level. Taken away, such statistics are classics of
robust recognition (Furui 1981, cepstral mean; Viikki 1998, variance; de la Torre 2005, histogram equalisation); here
they are given. T, Tp mel frames, N coefficients, Q quantiles. It knows no models.
"""

from __future__ import annotations

import numpy as np

LOUD = 4.0  # nepers under the loud frames' level (95th percentile): what is below counts as silence
# loud frames at which half of the difference is believed: what a short text happens to sound like is not the voice
ENOUGH = 15
SHIFT = 2.0  # nepers (17 dB): the most that a band's mean is moved
STRETCH = 1.6  # the most that a deviation is widened or narrowed
COMBINED = 2.0  # the same for a combination of coefficients
EMPTY, SILENT = 9.0, -11.0  # nepers under the loudest band, and log-mel, below which a band of a prompt holds nothing
TOGETHER = 30  # cepstral coefficients whose covariance is moved: formants, not harmonics
QUANTILES = 25
# bands of 0.2 to 1.3 kHz and of 4 to 9 kHz: a frame with less of the former is unvoiced
LOW, HIGH = slice(5, 25), slice(60, 90)


def matched(mel: np.ndarray, prompt: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Log-mel speech (T, 100), its statistics moved by `share` (0 to 1) of the way to those of the prompt (Tp, 100) ->
    (T, 100) float32.

    Differences are trusted less where either has few loud frames, and are limited.
    """
    if not share:
        return mel
    result, prompt = np.asarray(mel, np.float32), np.asarray(prompt, np.float32)
    edge = bands_within(prompt)
    if edge < prompt.shape[1]:  # a telephone: above its band the speech keeps its own spectrum
        prompt = prompt.copy()
        last = prompt[:, edge - 1 : edge] - prompt[loud(prompt), edge - 1].mean()
        prompt[:, edge:] = result[loud(result), edge:].mean(0) + last
    few = min(int(loud(result).sum()), int(loud(prompt).sum()))
    for step in (by_class, by_coefficient, by_covariance, by_level):
        result = result + share * few / (few + ENOUGH) * (step(result, prompt) - result)
    result[:, edge:] = np.asarray(mel, np.float32)[:, edge:]
    return result.astype(np.float32)


def bands_within(prompt: np.ndarray) -> int:
    """How many mel bands, from below, a prompt (Tp, 100) has anything in: fewer than 100 for a narrow-band recording.
    At least 40 (3 kHz).
    """
    peaks = np.quantile(prompt[loud(prompt)], 0.95, axis=0)
    heard = np.flatnonzero(peaks > max(SILENT, float(peaks.max()) - EMPTY))
    return max(40, int(heard[-1]) + 1) if len(heard) else prompt.shape[1]


def by_class(mel: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """Mean and deviation of every band, of voiced and of unvoiced frames; a frame between the two gets some of both."""
    result = mel
    for of_speech, of_prompt in sorts(mel, prompt):
        mean, deviation, much = moments(mel, of_speech)
        wanted, spread, count = moments(prompt, of_prompt)
        believed = min(much, count) / (min(much, count) + ENOUGH)
        shift = smooth(wanted - mean, 1).clip(-SHIFT, SHIFT)
        stretch = smooth((spread / deviation).clip(1 / STRETCH**2, STRETCH**2), 2).clip(1 / STRETCH, STRETCH)
        moved = (mel - mean) * stretch + mean + shift
        result = result + of_speech[:, None] * believed * (moved - mel)
    return result


def by_coefficient(mel: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """Deviation of every cepstral coefficient (DCT-II over the bands): how strongly formants and harmonics stand out
    and move.
    """
    basis = cosines(mel.shape[1], mel.shape[1])  # (100, 100)
    speech, voice = mel @ basis, prompt @ basis
    mean, deviation = speech[loud(mel)].mean(0), speech[loud(mel)].std(0)
    stretch = (voice[loud(prompt)].std(0) / np.maximum(deviation, 1e-3)).clip(1 / STRETCH, STRETCH)
    stretch = np.concatenate([stretch[:1], smooth(stretch[1:], 1)])  # the first is loudness
    return ((speech - mean) * stretch + mean) @ basis.T


def by_covariance(mel: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """How the first cepstral coefficients vary together, as formants do, in voiced and in unvoiced frames. The map from
    one Gaussian to another with the least change (optimal transport: Olkin and Pukelsheim 1982; for the colours of
    pictures Pitie and Kokaram 2007)."""
    basis = cosines(TOGETHER, mel.shape[1])  # (100, N)
    speech, voice, result = mel @ basis, prompt @ basis, mel
    for of_speech, of_prompt in sorts(mel, prompt):
        centre, own = covariance(speech, of_speech * loud(mel))
        _, wanted = covariance(voice, of_prompt * loud(prompt))
        root, inverse = power(own, 0.5), power(own, -0.5)
        stretches, directions = np.linalg.eigh(inverse @ power(root @ wanted @ root, 0.5) @ inverse)
        change = directions * (stretches.clip(1 / COMBINED, COMBINED) - 1) @ directions.T  # (N, N)
        result = result + of_speech[:, None] * ((speech - centre) @ change.astype(np.float32) @ basis.T)
    return result


def by_level(mel: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """The distribution of every band: levels move as the quantiles they lie between, beyond them as the outer ones."""
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    own = np.quantile(mel[loud(mel)], at, axis=0)  # (Q, 100)
    moves = np.stack([smooth(row, 1) for row in np.quantile(prompt[loud(prompt)], at, axis=0) - own])
    bands = range(mel.shape[1])
    return mel + np.stack([np.interp(mel[:, band], own[:, band], moves[:, band]) for band in bands], axis=1)


def cosines(count: int, bands: int) -> np.ndarray:
    """The first `count` functions of the orthonormal DCT-II over the bands, (bands, count) float32."""
    waves = np.cos(np.pi / bands * (np.arange(bands)[:, None] + 0.5) * np.arange(count)) * np.sqrt(2 / bands)
    waves[:, 0] /= np.sqrt(2)
    return waves.astype(np.float32)


def moments(mel: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and deviation (100,) of the loud frames, weighted, and the sum of the weights."""
    weights = weights * loud(mel)
    count = max(float(weights.sum()), 1e-3)
    mean = weights @ mel / count
    return mean, np.maximum(np.sqrt(weights @ np.square(mel - mean) / count), 1e-3), float(weights.sum())


def covariance(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of points (T, N), weighted (T,): mean (N,) and covariance (N, N), the nearer to its diagonal the fewer points
    there are. The latter is float64: small, and to be inverted."""
    weights, width = np.maximum(weights, 1e-6), points.shape[1]
    found = np.cov(points.T.astype(np.float64), ddof=0, aweights=weights)
    believed = float(weights.sum()) / (width + float(weights.sum()))
    found = believed * found + (1 - believed) * np.diag(found.diagonal())
    return weights @ points / weights.sum(), found + 1e-3 * np.eye(width)


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Of a symmetric positive matrix (N, N)."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.maximum(values, 1e-6) ** exponent @ vectors.T


def smooth(bands: np.ndarray, deviation: int) -> np.ndarray:
    """Gaussian mean over neighbours, (N,) -> (N,)."""
    reach = 3 * deviation
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2).astype(np.float32)
    return np.convolve(np.pad(bands, reach, mode="edge"), weights / weights.sum(), "valid")


def loud(mel: np.ndarray) -> np.ndarray:
    """Which frames are not silent, (T,) bool; one at least."""
    level = mel.mean(-1)
    return level >= np.quantile(level, 0.95) - LOUD


def sorts(mel: np.ndarray, prompt: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The voiced frames of speech and prompt, (T,) and (Tp,) in 0..1, and the unvoiced ones."""
    voices = voiced(mel), voiced(prompt)
    return [voices, (1 - voices[0], 1 - voices[1])]


def voiced(mel: np.ndarray) -> np.ndarray:
    """How voiced each frame looks, (T,) in 0..1: by the balance of low and high bands."""
    return 1 / (1 + np.exp(-2 * (mel[:, LOW].mean(1) - mel[:, HIGH].mean(1) - 1.0)))
