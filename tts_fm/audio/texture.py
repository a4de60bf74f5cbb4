"""Speech that a network has made is smoother than speech: harmonics stand out less and fine structure flickers less,
the more so the fewer steps were taken. What is missing can be counted and given back.

Counted is the modulation spectrum, how much each cepstral coefficient varies at each rate: of a voice's own speech and
of recordings, over a corpus (recipes/builtin/texture.py). The ratio, as amplitude, is a table of a few numbers in the
voice's config.json; a filter with these gains makes up for it (Takamichi et al. 2014, "A postfilter to modify the
modulation spectrum in HMM-based speech synthesis"). T mel frames, R rates, Q quefrencies. It knows no models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tts_fm.audio.match import cosines, loud
from tts_fm.audio.mel import N_MELS

WINDOW, EVERY = 32, 8  # mel frames: 0.34 s, so that rates lie 2.9 Hz apart
# first rate (in steps of 2.9 Hz) and first cepstral coefficient of the table's rows and columns; the coefficient 0,
# which is loudness, stays as it is
RATES = (0, 1, 2, 4, 8, 12)
QUEFRENCIES = (1, 4, 10, 20, 35, 60)
LEAST, MOST = 0.5, 2.5  # gains
PAUSE = 3.5  # nepers under the loud frames' level: where a frame is half speech and half pause
Tables = Mapping[int, Sequence[Sequence[float]]]  # number of steps -> gains (R, Q)


def modulations(mels: Iterable[np.ndarray]) -> np.ndarray:
    """(17, 100): mean power of the log-mels (T, 100) by rate and cepstral coefficient, over stretches of speech: a
    stretch with pauses counts little. ValueError where all are too short.
    """
    basis, window = cosines(N_MELS, N_MELS), np.hanning(WINDOW)[:, None]
    power, much = np.zeros((WINDOW // 2 + 1, N_MELS)), 0.0
    for mel in mels:
        cepstra, heard = mel @ basis, loud(mel)
        for start in range(0, len(mel) - WINDOW + 1, EVERY):
            part = slice(start, start + WINDOW)
            moves, weight = cepstra[part] - cepstra[part].mean(0), heard[part].mean() ** 8
            power += weight * np.abs(np.fft.rfft(moves * window, axis=0)) ** 2
            much += weight
    if not much:
        raise ValueError("no third of a second of speech to count the texture of: give longer recordings")
    return power / much


def table(own: np.ndarray, natural: np.ndarray) -> list[list[float]]:
    """Gains (R, Q), rounded, that bring the modulations (17, 100) of a voice's own speech to those of recordings."""
    sums = [np.add.reduceat(np.add.reduceat(m, RATES, axis=0), QUEFRENCIES, axis=1) for m in (own, natural)]
    return np.sqrt(sums[1] / sums[0]).clip(LEAST, MOST).round(2).tolist()


def check(found: Any) -> Tables:
    """The tables of a config.json, {number of steps: gains (R, Q)}; ValueError for anything else."""
    shape = (len(RATES), len(QUEFRENCIES))
    try:
        tables = {int(steps): np.array(gains, np.float64) for steps, gains in dict(found).items()}
    except (TypeError, ValueError):
        tables = {0: np.zeros(())}
    for steps, gains in tables.items():
        within = gains.shape == shape and ((gains >= LEAST) & (gains <= MOST)).all()
        if steps < 1 or not within:
            raise ValueError(
                f"texture holds {{number of steps: {shape[0]} rows of {shape[1]} gains from {LEAST} to {MOST}}}; "
                "python recipes/builtin/texture.py writes it"
            )
    return {steps: gains.tolist() for steps, gains in tables.items()}


def textured(mel: np.ndarray, tables: Tables, steps: int) -> np.ndarray:
    """Log-mel speech (T, 100) with its fine structure given back -> (T, 100) float32: by the table for the number of
    steps, or for the number nearest to it. Pauses keep theirs. Without tables the same array.
    """
    if not tables or not len(mel):
        return mel
    nearest = min(tables, key=lambda known: abs(math.log(known / steps)))
    taps = _filter(tuple(map(tuple, tables[nearest])))  # (31, 100)
    basis, reach = cosines(N_MELS, N_MELS), len(taps) // 2
    cepstra = np.asarray(mel, np.float32) @ basis
    mean = cepstra[loud(mel)].mean(0)
    moves = np.pad(cepstra - mean, ((reach, reach), (0, 0)), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(moves, len(taps), axis=0)  # (T, 100, 31)
    result = (np.einsum("tqk,kq->tq", views, taps) + mean) @ basis.T
    level = mel.mean(-1, keepdims=True)
    share = 1 / (1 + np.exp(-2 * (level - np.quantile(level, 0.95) + PAUSE)))  # (T, 1)
    return (mel + share * (result - mel)).astype(np.float32)


@lru_cache(16)
def _filter(gains: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """A symmetric filter over time for each cepstral coefficient, (31, 100): gains between the table's cells lie on
    straight lines.
    """
    middles = [_middles(RATES, WINDOW // 2 + 1), _middles(QUEFRENCIES, N_MELS)]
    of_rate = np.stack([np.interp(np.arange(WINDOW // 2 + 1), middles[0], column) for column in np.array(gains).T], 1)
    whole = np.stack([np.interp(np.arange(N_MELS), middles[1], row) for row in of_rate])  # (17, 100)
    whole[:, 0] = 1.0
    taps = np.roll(np.fft.irfft(whole, n=WINDOW, axis=0), WINDOW // 2, axis=0)[1:]
    return (taps * np.hanning(WINDOW + 1)[1:-1, None]).astype(np.float32)


def _middles(starts: Sequence[int], end: int) -> list[float]:
    return [(first + last - 1) / 2 for first, last in zip(starts, [*starts[1:], end], strict=True)]
