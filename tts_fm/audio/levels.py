"""Loudness and peaks: integrated loudness (ITU-R BS.1770-5), true peak, a limiter. S samples; waves are float32 numpy
arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tts_fm.audio.mel import as_wave

RING = 0.25  # seconds after which the loudness filters have forgotten: their slowest part falls by 240 nepers a second
OVERSAMPLED = 8

ACTIVE_LEVEL = -19.0  # dBFS of the frames with speech: what prompts and long texts of the built-in voice have
MOST_LIFT = 15.0  # dB


@lru_cache(maxsize=8)
def _k_weighting(rate: int) -> np.ndarray:
    """The two biquads of ITU-R BS.1770-5 annex 1 (high shelf, high pass) at any rate, from the analogue filters behind
    its 48 kHz table.
    """
    shelf_filter = (1681.974450955533, 3.999843853973347, 0.7071752369554196, True)
    pass_filter = (38.13547087602444, 0, 0.5003270373238773, False)
    sections = []
    for f0, gain_db, q, shelf in (shelf_filter, pass_filter):
        k = np.tan(np.pi * f0 / rate)
        high, band = (10 ** (gain_db / 20), (10 ** (gain_db / 20)) ** 0.4996667741545416) if shelf else (1.0, 0.0)
        low = 1.0 if shelf else 0.0
        a0 = 1 + k / q + k * k
        a = [1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
        b = [high + band * k / q + low * k * k, 2 * (low * k * k - high), high - band * k / q + low * k * k]
        sections.append([*(np.array(b) / a0 if shelf else b), *a])
    return np.array(sections)


def _filtered(sections: np.ndarray, wave: np.ndarray, rate: int) -> np.ndarray:
    """A wave (S,) through the biquads of `_k_weighting`, float64: by its spectrum, block by block. What the filters
    remember, RING seconds, is given in front of each block and behind it, so that nothing comes round."""
    ring, block = round(RING * rate), 1 << 18
    size = 1 << (min(block, len(wave)) + 2 * ring - 1).bit_length()
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)  # a delay of one sample at every frequency
    response = np.ones_like(z)
    for b0, b1, b2, _, a1, a2 in sections:
        response *= (b0 + b1 * z + b2 * z * z) / (1 + a1 * z + a2 * z * z)
    out = np.empty(len(wave))
    for start in range(0, len(wave), block):
        first, end = max(0, start - ring), min(len(wave), start + block)
        found = np.fft.irfft(np.fft.rfft(wave[first:end].astype(np.float64), size) * response, size)
        out[start:end] = found[start - first : end - first]
    return out


def loudness(wave: Any, rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-5: K-weighting, 400 ms blocks with 75 % overlap, gates at -70 LUFS and
    -10 LU).

    -inf for silence. A wave below 400 ms is one block.
    """
    power = np.square(_filtered(_k_weighting(rate), as_wave(wave), rate))
    size, step = round(0.4 * rate), round(0.1 * rate)
    total = np.concatenate([[0.0], np.cumsum(power)])
    starts = np.arange(0, max(len(power) - size, 0) + 1, step)
    ends = np.minimum(starts + size, len(power))
    blocks = np.maximum(total[ends] - total[starts], 0) / (ends - starts)  # mean square of each block
    blocks = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
    if not len(blocks):
        return float("-inf")
    blocks = blocks[blocks > 0.1 * blocks.mean()]
    return float(-0.691 + 10 * np.log10(blocks.mean()))


def true_peak(wave: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Largest magnitude of the signal around each sample, between samples too, (S,) -> (S,) float64, linear: 8 times
    oversampled, where ITU-R BS.1770-5 annex 2 asks for 4.

    floor: samples with none as loud as this within 10 of them show their own magnitude, which saves time.
    """
    peak, filters = np.abs(np.asarray(wave, np.float64)), oversampler()
    reach, block = len(filters) // 2, 1 << 16
    heard = np.convolve(peak >= floor, np.ones(2 * reach + 1))[reach : reach + len(peak)]
    near = np.flatnonzero(heard > 0.5)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(wave, reach), 2 * reach + 1)  # (S, 21)
    for start in range(0, len(near), block):
        at = near[start : start + block]
        between = np.abs(windows[at] @ filters).max(1)  # from sample k to before k + 1
        peak[at] = np.maximum(peak[at], between)
        behind = at[at + 1 < len(peak)] + 1
        peak[behind] = np.maximum(peak[behind], between[: len(behind)])
    return peak


@lru_cache(maxsize=1)
def oversampler() -> np.ndarray:
    """(21, 8): column j interpolates j / 8 of a sample behind the middle one of 21. A sinc in a Kaiser window (beta 5),
    the filter of scipy.signal.resample_poly."""
    at = np.arange(21 * OVERSAMPLED) - 10 * OVERSAMPLED
    window = np.kaiser(20 * OVERSAMPLED + 1, 5.0)
    sinc = np.sinc(at / OVERSAMPLED)[: len(window)] * window
    taps = np.pad(sinc * OVERSAMPLED / sinc.sum(), (0, OVERSAMPLED - 1)).reshape(21, OVERSAMPLED)
    return np.ascontiguousarray(taps[::-1])


def limit(wave: Any, rate: int, ceiling_db: float = -1.0) -> np.ndarray:
    """Bring the true peak (between samples too) to at most ceiling_db dBTP, (S,) -> (S,) float32; a wave already below
    comes back as it is.

    The needed gain is looked up 10 ms ahead and back, and smoothed by a window as long, so it moves slowly and never
    too late: nothing is ever clipped, silence and quiet parts keep their level.
    """
    wave = as_wave(wave)
    if not ceiling_db <= 0:
        raise ValueError(f"ceiling_db is {ceiling_db}; 0 or below works (dB true peak)")
    ceiling = 10 ** (ceiling_db / 20)
    if np.abs(wave).max() < 0.25 * ceiling:  # oversampling cannot find 12 dB more
        return wave
    peaks = true_peak(wave, 0.25 * ceiling)
    if peaks.max() <= ceiling:
        return wave
    reach = max(1, round(0.01 * rate))
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9))
    window = np.hanning(2 * reach + 3)[1:-1]
    least = _least_around(needed, reach)
    gain = np.convolve(np.pad(least, reach, mode="edge"), window / window.sum(), "valid")
    out = wave * gain
    over = true_peak(out, 0.25 * ceiling).max() / ceiling  # the moving gain can lift a peak between samples by a hair
    return (out / max(1.0, over * (1 + 1e-6))).astype(np.float32)


def _least_around(values: np.ndarray, reach: int) -> np.ndarray:
    """The least of the values from `reach` before each to `reach` behind it, (S,) -> (S,): from running minima of
    blocks as long as the window, forwards and backwards (van Herk 1992)."""
    size = 2 * reach + 1
    padded = np.pad(values, (reach, reach + -(len(values) + 2 * reach) % size), mode="edge")
    blocks = padded.reshape(-1, size)
    forwards = np.minimum.accumulate(blocks, axis=1).ravel()
    backwards = np.minimum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    return np.minimum(backwards[: len(values)], forwards[size - 1 : size - 1 + len(values)])


def active_level(wave: Any, rate: int) -> float:
    """Level of the speech in (S,), dBFS: the RMS of the 10 ms frames that are within 20 dB of the loud ones."""
    step = max(1, rate // 100)
    samples = np.asarray(wave, np.float64)
    frames = np.square(samples[: len(samples) // step * step].reshape(-1, step)).mean(axis=1) + 1e-12
    if not len(frames):
        return -120.0
    return float(10 * np.log10(frames[frames >= np.quantile(frames, 0.95) / 100].mean()))


def lifted(wave: np.ndarray, rate: int) -> np.ndarray:
    """(S,) speech brought up to ACTIVE_LEVEL where it is quieter, by at most MOST_LIFT dB: networks say single words,
    and anything after a narrow-band prompt, too quietly. Louder speech stays as it is.
    """
    lack = min(MOST_LIFT, ACTIVE_LEVEL - active_level(wave, rate))
    return wave * np.float32(10 ** (lack / 20)) if lack > 0 else wave


def normalise_loudness(wave: Any, rate: int, target: float = -23.0, ceiling_db: float = -1.0) -> np.ndarray:
    """Scale to `target` LUFS, then limit the true peak: (S,) -> (S,) float32. Silence comes back as it is."""
    wave = as_wave(wave)
    if not np.isfinite(target) or not -70 <= target <= 0:
        raise ValueError(f"target loudness is {target}; -70 to 0 LUFS works (-23 is broadcast, -16 podcasts)")
    now = loudness(wave, rate)
    if not np.isfinite(now):
        return wave
    return limit(wave * np.float32(10 ** ((target - now) / 20)), rate, ceiling_db)
