"""The pitch of a wave, phases that go on steadily from one period to the next, and magnitudes that agree with the mel.

A small vocoder draws the phase of every frame from what lies near it, so that the harmonics of a held vowel jitter: the
speech sounds rough though its magnitudes are right. Here the low band of a voiced stretch is averaged over the periods
around each sample (the long-term postfilter of speech coders: Chen and Gersho 1995, "Adaptive postfiltering for quality
enhancement of coded speech"), and the phases of this average are given to the magnitudes that the wave had.

Its magnitudes are a little off too: another mel comes out than went in. They are brought nearer, but not made larger in
the lowest octaves, where a mel that was predicted has noise between the harmonics that the vocoder rightly left out
(recipes/builtin/LOG.md, seventeenth session). S samples of 24 kHz, L samples of 8 kHz, T frames, one for each 256
samples of 24 kHz. It knows no models.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tts_fm.audio.mel import HOP, N_FFT, SAMPLE_RATE, hann_window, mel_filters, mel_of, overlapped

LOW_RATE = 8000  # Hz: what the pitch is looked for in, and what is averaged
BAND = (2600.0, 3400.0)  # Hz: below the first all, above the second nothing is averaged
LOWEST, HIGHEST = 60.0, 420.0  # Hz: pitches that are looked for
WINDOW = 320  # low samples: 40 ms, two periods and a half of the lowest
OCTAVE = 0.03  # a period twice as long must be better by so much of the correlation
VOICED = (0.6, 0.9)  # correlation of a period with the next: below the first nothing, above the second all is averaged
REACH = 5  # periods on each side
SILENCE = 1e-9  # power of a window
RISING = (600.0, 150.0)  # Hz: around the first, as wide as the second, begins where magnitudes may become larger
MOST = 2.3  # nepers: a change of magnitudes


def check(found: Any) -> bool:
    """Whether a config.json asks for it; ValueError for what is neither true nor false."""
    if not isinstance(found, bool):
        raise ValueError(f"steady is {found!r}; true or false is needed")
    return found


def steadied(wave: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """A wave (S,) float32, its voiced stretches steadied -> (S,) float32. mel: the log-mel (T, 100) that it was made
    from, with which its magnitudes shall agree, pitch or not. A wave shorter than a window is returned as it is.
    """
    count = -(-len(wave) // HOP) * HOP
    if count < N_FFT:
        return wave
    whole = np.zeros(count, np.float32)
    whole[: len(wave)] = wave
    low, share = lowered(whole), SAMPLE_RATE // LOW_RATE
    pitch, voiced = pitch_of(low)  # (T,), (T,)
    frame = np.arange(len(pitch)) * HOP / share  # where frames are, in low samples
    at = np.arange(len(low))
    much, phase = np.interp(at, frame, voiced), np.cumsum(np.interp(at, frame, pitch) / LOW_RATE)  # (L,); in periods
    mean = (REACH + 1) * low
    for periods in (n for n in range(-REACH, REACH + 1) if n):
        mean += (REACH + 1 - abs(periods)) * between(low, np.interp(phase + periods, phase, at))
    mean /= (REACH + 1) ** 2
    steady = whole + raised(much * (mean - low), count)
    spectrum, phases = spectra(whole), spectra(steady)  # (T, 513)
    phases *= agreeing(np.abs(spectrum), mel) / np.maximum(np.abs(phases), 1e-12)
    return overlapped(phases)[: len(wave)]


def agreeing(size: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """Magnitudes (T, 513), each times what its bands lack of a log-mel (T', 100), on average; frames that the mel has
    not stay. Below 600 Hz none becomes larger. Changed in place, and returned.
    """
    frames = min(len(size), len(mel))
    lacking = mel[:frames] - mel_of(size[:frames].astype(np.float32))
    change = lacking.clip(-MOST, MOST) @ shares()  # (T', 513)
    size[:frames] *= np.exp(np.minimum(change, 0) + np.maximum(change, 0) * rising())
    return size


@lru_cache(maxsize=1)
def shares() -> np.ndarray:
    """(100, 513): how much of a bin lies in each band; 0 for those that lie in none."""
    filters = mel_filters()
    return (filters / np.maximum(filters.sum(1, keepdims=True), 1e-6)).T.astype(np.float32)


@lru_cache(maxsize=1)
def rising() -> np.ndarray:
    """(513,): which share of a rise is allowed."""
    frequency = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    return (1 / (1 + np.exp((RISING[0] - frequency) / RISING[1]))).astype(np.float32)


def pitch_of(low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a wave (L,) at 8 kHz: pitch in Hz (T,), and how far it may be relied on (T,), from 0 to 1. The maximum of the
    autocorrelation, divided by the window's (Boersma 1993, "Accurate short-term analysis of the fundamental
    frequency").
    """
    count = len(low) * SAMPLE_RATE // LOW_RATE // HOP + 1
    middles = np.round(np.arange(count) * HOP * LOW_RATE / SAMPLE_RATE).astype(int)
    padded = np.pad(low, WINDOW // 2 + 1)
    window = np.hanning(WINDOW).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[middles + 1]  # (T, 320)
    frames = (frames - frames.mean(1, keepdims=True)) * window
    lags = slice(int(LOW_RATE / HIGHEST) - 1, int(LOW_RATE / LOWEST) + 2)
    own, its = (np.fft.irfft(np.abs(np.fft.rfft(x, 2 * WINDOW)) ** 2)[..., : lags.stop] for x in (frames, window[None]))
    found = own / np.maximum(own[:, :1], SILENCE) / (its / its[0, 0])  # (T, lags)
    found = found[:, lags]
    lag = np.arange(lags.start, lags.stop)
    better = found[:, 1:-1] - OCTAVE * np.log2(lag[1:-1] / lag[1])
    peak = (found[:, 1:-1] > found[:, :-2]) & (found[:, 1:-1] >= found[:, 2:])
    best, rows = np.where(peak, better, -np.inf).argmax(1) + 1, np.arange(count)
    before, there, after = (found[rows, best + n] for n in (-1, 0, 1))
    bend = np.minimum(before - 2 * there + after, -1e-9)  # a parabola through the three
    period = lag[best] + np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    trust = np.where(peak.any(1), (there - VOICED[0]) / (VOICED[1] - VOICED[0]), 0.0).clip(0, 1)
    return median(LOW_RATE / period, 5), median(trust, 3)


def median(values: np.ndarray, size: int) -> np.ndarray:
    """Running median over `size` values, of the same length."""
    padded = np.pad(values, size // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, size), axis=-1)


def between(wave: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values of a wave (L,) at fractional samples (L,): cubic interpolation (Catmull and Rom 1974)."""
    at = np.clip(times.astype(np.int64), 1, len(wave) - 3)
    part = (times - at).astype(np.float32)
    a, b, c, d = (wave[at + n] for n in (-1, 0, 1, 2))
    return b + 0.5 * part * (c - a + part * (2 * a - 5 * b + 4 * c - d + part * (3 * (b - c) + d - a)))


def lowered(wave: np.ndarray) -> np.ndarray:
    """A wave (S,) at 24 kHz, S a multiple of 256 -> its low band at 8 kHz (L,)."""
    size = -(-len(wave) // (3 * HOP)) * 3 * HOP
    spectrum = np.fft.rfft(wave, size)[: size // 6 + 1]
    along = (BAND[1] - np.arange(len(spectrum)) * SAMPLE_RATE / size) / (BAND[1] - BAND[0])
    along = along.clip(0, 1)
    return np.fft.irfft(spectrum * along**2 * (3 - 2 * along), size // 3).astype(np.float32) / 3


def raised(low: np.ndarray, count: int) -> np.ndarray:
    """A wave (L,) at 8 kHz -> the same at 24 kHz, its first `count` samples."""
    return 3 * np.fft.irfft(np.fft.rfft(low), 3 * len(low))[:count].astype(np.float32)


def spectra(wave: np.ndarray) -> np.ndarray:
    """Short-time spectra (T, 513) of a wave (S,), S a multiple of 256; silence lies before and behind it."""
    padded = np.pad(wave, N_FFT // 2)
    return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP] * hann_window())
