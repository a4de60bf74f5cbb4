"""Loudness and peaks: integrated loudness (ITU-R BS.1770-5), true peak, a limiter. S samples; waves are float32 numpy
arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tts_fm.audio.mel import as_wave


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


def loudness(wave: Any, rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-5: K-weighting, 400 ms blocks with 75 % overlap, gates at -70 LUFS and
    -10 LU).

    -inf for silence. A wave below 400 ms is one block.
    """
    from scipy.signal import sosfilt

    power = np.square(sosfilt(_k_weighting(rate), as_wave(wave).astype(np.float64)))
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


def true_peak(wave: np.ndarray, factor: int = 8) -> np.ndarray:
    """Largest magnitude of the oversampled signal around each sample, (S,) -> (S,), linear. In blocks, so memory stays
    small.
    """
    from scipy.signal import resample_poly

    block, overlap = 1 << 18, 32  # the interpolation filter reaches 10 samples
    around = np.empty(len(wave))
    for start in range(0, len(wave), block):
        first, end = max(0, start - overlap), min(len(wave), start + block)
        piece = np.asarray(wave[first : end + overlap], np.float64)
        fine = np.abs(resample_poly(piece, factor, 1)).reshape(-1, factor)  # (S, factor): from sample k to before k + 1
        peak = fine.max(axis=1)
        peak[1:] = np.maximum(peak[1:], fine[:-1].max(axis=1))
        around[start:end] = peak[start - first : end - first]
    return around


def limit(wave: Any, rate: int, ceiling_db: float = -1.0) -> np.ndarray:
    """Bring the true peak (between samples too) to at most ceiling_db dBTP, (S,) -> (S,) float32; a wave already below
    comes back as it is.

    The needed gain is looked up 10 ms ahead and back, and smoothed by a window as long, so it moves slowly and never
    too late: nothing is ever clipped, silence and quiet parts keep their level.
    """
    from scipy.ndimage import convolve1d, minimum_filter1d

    wave = as_wave(wave)
    if not ceiling_db <= 0:
        raise ValueError(f"ceiling_db is {ceiling_db}; 0 or below works (dB true peak)")
    ceiling = 10 ** (ceiling_db / 20)
    if np.abs(wave).max() < 0.25 * ceiling:  # oversampling cannot find 12 dB more
        return wave
    peaks = true_peak(wave)
    if peaks.max() <= ceiling:
        return wave
    reach = max(1, round(0.01 * rate))
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9))
    window = np.hanning(2 * reach + 3)[1:-1]
    gain = convolve1d(minimum_filter1d(needed, 2 * reach + 1, mode="nearest"), window / window.sum(), mode="nearest")
    out = wave * gain
    over = true_peak(out).max() / ceiling  # the moving gain can lift a peak between samples by a hair
    return (out / max(1.0, over * (1 + 1e-6))).astype(np.float32)


def normalise_loudness(wave: Any, rate: int, target: float = -23.0, ceiling_db: float = -1.0) -> np.ndarray:
    """Scale to `target` LUFS, then limit the true peak: (S,) -> (S,) float32. Silence comes back as it is."""
    wave = as_wave(wave)
    if not np.isfinite(target) or not -70 <= target <= 0:
        raise ValueError(f"target loudness is {target}; -70 to 0 LUFS works (-23 is broadcast, -16 podcasts)")
    now = loudness(wave, rate)
    if not np.isfinite(now):
        return wave
    return limit(wave * np.float32(10 ** ((target - now) / 20)), rate, ceiling_db)
