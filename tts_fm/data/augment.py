"""Log-mels as another microphone or another speaker would give them, so that training sees more voices than the corpus
has.

Applied to a whole utterance, prompt and speech alike. T mel frames, N bands. All draws come from the numpy generator
that is passed in.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from librosa import mel_frequencies
from torchaudio.functional import create_dct

from tts_fm.audio.mel import MEL_FLOOR, SAMPLE_RATE


def equalised(mel: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Every second log-mel (T, 100) as another microphone or mouth would give it: a smooth random curve, `deviation`
    dB, is added to it.
    """
    if rng.random() < 0.5:
        return mel
    curve = (
        np.interp(np.linspace(0, 1, mel.shape[1]), np.linspace(0, 1, 8), rng.normal(0, deviation, 8))
        * math.log(10)
        / 20
    )
    return np.maximum(mel + curve.astype(np.float32), math.log(MEL_FLOOR))


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
    kept = envelope(mel.shape[1])
    # (100, 100)
    change = kept @ stretching(mel.shape[1], formants) + depth * (np.eye(len(kept)) - kept) @ stretching(
        mel.shape[1], pitch
    )
    return np.maximum(mel @ change.astype(np.float32), math.log(MEL_FLOOR))


@lru_cache
def envelope(bands: int) -> np.ndarray:
    """(N, N): a log-mel (T, N) times this is its spectral envelope, the cepstral coefficients up to 15 and less and
    less of those to 30.
    """
    # (N, N), row times this = cepstral coefficients
    basis = create_dct(bands, bands, norm="ortho").numpy().astype(float)
    share = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.arange(bands) - 15) / 15, 0, 1))
    return basis * share @ basis.T


def stretching(bands: int, factor: float) -> np.ndarray:
    """(N, N): a log-mel (T, N) times this has every frequency times `factor`, by linear interpolation between bands."""
    centres = mel_frequencies(bands + 2, fmin=0, fmax=SAMPLE_RATE / 2, htk=True)[1:-1]
    at = np.interp(centres / factor, centres, np.arange(bands))  # (N,) where each band's level is found
    low = at.astype(int).clip(max=bands - 2)
    matrix = np.zeros((bands, bands))
    matrix[low, np.arange(bands)] = 1 - (at - low)
    matrix[low + 1, np.arange(bands)] = at - low
    return matrix
