"""Log-mels as another microphone or another speaker would give them, so that training sees more voices than the corpus
has.

Applied to a whole utterance, prompt and speech alike. T mel frames, N bands. All draws come from the numpy generator
that is passed in.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from tts_fm.audio.mel import FRAMES_PER_SECOND, MEL_FLOOR, SAMPLE_RATE

ECHO = (0.15, 0.8)  # seconds in which the sound of a room falls by 60 dB, least and most
REVERBERANT = (-9.0, 4.0)  # dB, its power to that of the direct sound: mean and deviation
NOISE = (20.0, 55.0)  # dB under loud speech, least and most


def equalised(mel: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Every second log-mel (T, 100) as another microphone or mouth would give it: a smooth random curve, `deviation`
    dB, is added to it.
    """
    if rng.random() < 0.5:
        return mel
    bands, points = _places(mel.shape[1])
    curve = np.interp(bands, points, rng.normal(0, deviation, 8)) * math.log(10) / 20
    louder = mel + curve.astype(np.float32)
    return np.maximum(louder, math.log(MEL_FLOOR), out=louder)


@lru_cache
def _places(bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the bands and the equaliser's eight points lie, from 0 to 1."""
    return np.linspace(0, 1, bands), np.linspace(0, 1, 8)


def roomed(mel: np.ndarray, share: float, spoken: slice, rng: np.random.Generator) -> np.ndarray:
    """A `share` of log-mels (T, 100) as they would sound in a room: each frame's power is heard again in those after
    it, falling exponentially (Polack 1988's model of late reverberation), in low bands longer than in high ones.
    Every second one has steady noise too, but where it is `spoken`: a prompt's room is part of a voice, its noise is
    not.
    """
    if rng.random() >= share:
        return mel
    from scipy.signal import lfilter  # of the extra `train`

    bands, points = _places(mel.shape[1])
    power = np.exp(2 * mel)
    seconds = math.exp(rng.uniform(*np.log(ECHO))) * np.linspace(1, rng.uniform(0.4, 1), len(points))
    falls = np.exp(-math.log(1e6) / (seconds * FRAMES_PER_SECOND))
    colour = rng.normal(0, 3, len(points)) + np.clip(rng.normal(*REVERBERANT), -20, 0)
    gains = (10 ** (np.interp(bands, points, colour) / 10)).astype(np.float32)
    for some, fall in zip(np.array_split(np.arange(len(bands)), len(falls)), falls, strict=True):
        tail = lfilter([1 - fall], [1, -fall], power[:-1, some], axis=0)
        power[1:, some] += gains[some] * tail
    power /= 1 + gains
    if rng.random() < 0.5:
        level = np.interp(
            bands, points, rng.normal(0, 6, len(points)) + np.linspace(0, rng.uniform(-20, 0), len(points))
        )
        level += 10 * math.log10(np.quantile(power.mean(1), 0.95)) - rng.uniform(*NOISE)
        # the power of Gaussian noise in a band: the more bins, the steadier; frames overlap
        flicker = rng.gamma(1 + 3 * bands, 1 / (1 + 3 * bands), mel.shape)
        flicker[1:-1] = 0.25 * flicker[:-2] + 0.5 * flicker[1:-1] + 0.25 * flicker[2:]
        noise = 10 ** (level / 10) * flicker
        noise[spoken] = 0
        power += noise.astype(np.float32)
    return np.maximum(0.5 * np.log(power), math.log(MEL_FLOOR)).astype(np.float32)


def revoiced(mel: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Three of four log-mels (T, 100) as somebody else's: harmonics and envelope stretched in frequency, harmonics more
    or less marked.

    The factors on pitch, on formants (vocal tract length perturbation, Jaitly and Hinton 2013) and on the depth of
    harmonics are exp(N(0, d)), d = 0.1, 0.07 and 0.25 times `strength`. What the first cepstral coefficients hold is
    the envelope, the rest is harmonics. Few voices are learnt by heart; with this no two items share one, and the
    network has to look at its prompt.
    """
    if rng.random() < 0.25:
        return mel
    pitch, formants, depth = np.exp(strength * rng.normal(0, (0.1, 0.07, 0.25)))
    smooth, rest = envelope(mel.shape[1]), detail(mel.shape[1])
    change = stretched(smooth, formants) + depth * stretched(rest, pitch)  # (100, 100)
    changed = mel @ change.astype(np.float32)
    return np.maximum(changed, math.log(MEL_FLOOR), out=changed)


@lru_cache
def envelope(bands: int) -> np.ndarray:
    """(N, N): a log-mel (T, N) times this is its spectral envelope, the cepstral coefficients up to 15 and less and
    less of those to 30.
    """
    bins, orders = np.arange(bands), np.arange(bands)
    # (N, N), row times this = cepstral coefficients: the orthonormal cosine transform
    basis = np.cos(np.pi / bands * (bins[:, None] + 0.5) * orders) * np.sqrt(2 / bands)
    basis[:, 0] /= np.sqrt(2)
    share = 0.5 + 0.5 * np.cos(np.pi * np.clip((orders - 15) / 15, 0, 1))
    return basis * share @ basis.T


@lru_cache
def detail(bands: int) -> np.ndarray:
    """(N, N): a log-mel times this is what its envelope leaves, such as the harmonics."""
    return np.eye(bands) - envelope(bands)


@lru_cache
def centres(bands: int) -> np.ndarray:
    """The middle of every band of a mel on the HTK scale, Hz."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    return 700 * (10 ** (np.linspace(0, highest, bands + 2)[1:-1] / 2595) - 1)


def _neighbours(bands: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """For every band the lower one of the two between which its level is found when every frequency is multiplied by
    `factor`, and the share of the upper one.
    """
    at = np.interp(centres(bands) / factor, centres(bands), np.arange(bands))
    low = np.minimum(at.astype(int), bands - 2)
    return low, at - low


def stretched(matrix: np.ndarray, factor: float) -> np.ndarray:
    """matrix @ stretching(N, factor) for an (N, N) matrix, without the product."""
    low, share = _neighbours(matrix.shape[1], factor)
    rows = np.ascontiguousarray(matrix.T)  # whole rows are quicker to gather
    return (rows[low] * (1 - share)[:, None] + rows[low + 1] * share[:, None]).T


def stretching(bands: int, factor: float) -> np.ndarray:
    """(N, N): a log-mel (T, N) times this has every frequency times `factor`, by linear interpolation between bands."""
    return stretched(np.eye(bands), factor)
