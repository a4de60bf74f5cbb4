"""THE mel and wave conventions: every number about audio lives here.

T mel frames, S samples. Audio is mono float32 in [-1, 1] at 24 kHz; frame k of a mel is centred on sample 256
k, so S samples give S // 256 + 1 frames. The mel is that of Vocos and F5-TTS: magnitude (power 1) STFT, HTK mel scale,
natural log of clamp(1e-5).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

SAMPLE_RATE = 24_000  # Hz
N_FFT = 1024  # samples in an analysis window (= win_length)
HOP = 256  # samples between frames
N_MELS = 100
LOUDEST = 100.0  # magnitudes above this are cut before they become a wave
MEL_FLOOR = 1e-5  # magnitudes below this are clamped before the logarithm
FRAMES_PER_SECOND = SAMPLE_RATE / HOP  # 93.75
MIN_SAMPLES = N_FFT // 2 + 1  # the shortest wave that log_mel can reflect at its edges
_PIECE = 256  # frames that are transformed at once: bounds the memory, and stays in the cache

#: What a network was trained on and a vocoder must agree with; stored beside weights.
MEL_CONVENTION: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE, "n_fft": N_FFT, "win_length": N_FFT, "hop_length": HOP, "n_mels": N_MELS,
    "mel_scale": "htk",
    "norm": None, "power": 1, "center": True, "log": "natural", "floor": MEL_FLOOR,
}  # fmt: skip


@lru_cache(maxsize=1)
def mel_filters() -> np.ndarray:
    """(513, 100): triangles on the HTK mel scale, not normalised, from 0 to 12 kHz. Rounded as torchaudio's are, with
    which Vocos and F5-TTS were trained: in float32 from the corners on, these counted from the nearer end."""
    frequencies = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=np.float32)
    highest, last = np.float32(2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)), N_MELS + 1
    step, at = float(highest / np.float32(last)), np.arange(last + 1)
    mels = np.where(2 * at <= last, step * at, float(highest) - step * (last - at)).astype(np.float32)  # (102,)
    corners = 700 * ((10 ** (mels / 2595).astype(np.float64)).astype(np.float32) - 1)
    width, distance = np.diff(corners), corners - frequencies[:, None]  # (101,), (513, 102)
    rising, falling = -distance[:, :-2] / width[:-1], distance[:, 2:] / width[1:]
    return np.maximum(0, np.minimum(rising, falling))


@lru_cache(maxsize=1)
def hann_window() -> np.ndarray:
    """(1024,) float32, periodic."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Log-mel of a waveform, (S,) float -> (S // 256 + 1, 100) float32. ValueError below 513 samples."""
    wave = np.asarray(wave, np.float32)
    if wave.ndim != 1 or len(wave) < MIN_SAMPLES:
        raise ValueError(
            f"log_mel takes one wave (S,) with S >= {MIN_SAMPLES} samples, not {wave.shape}; pad short ones with zeros"
        )
    padded = np.pad(wave, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]  # (T, 1024)
    mel = np.empty((len(frames), N_MELS), np.float32)
    for start in range(0, len(frames), _PIECE):
        spectrum = np.fft.rfft(frames[start : start + _PIECE] * hann_window())
        mel[start : start + _PIECE] = mel_of(np.abs(spectrum).astype(np.float32))
    return mel


def mel_of(magnitudes: np.ndarray) -> np.ndarray:
    """Magnitudes (T, 513) float32 of a short-time spectrum -> log-mel (T, 100)."""
    return np.log(np.maximum(magnitudes @ mel_filters(), MEL_FLOOR))


def from_spectrum(spectrum: np.ndarray) -> np.ndarray:
    """The wave of a short-time spectrum as a Vocos head gives it: logarithm of the magnitude, then phase, (T, 1026) ->
    ((T - 1) * 256,) float32."""
    bins = N_FFT // 2 + 1
    magnitude = np.minimum(np.exp(spectrum[:, :bins]), LOUDEST)
    waves = np.empty(magnitude.shape, np.complex64)
    waves.real, waves.imag = magnitude * np.cos(spectrum[:, bins:]), magnitude * np.sin(spectrum[:, bins:])
    return overlapped(waves)


def overlapped(spectrum: np.ndarray) -> np.ndarray:
    """The wave of a complex short-time spectrum (T, 513) -> ((T - 1) * 256,) float32. Frames are added where they
    overlap, divided by the sum of squared windows, and what lies before the middle of the first and behind that of the
    last is cut off, as torch.istft does with center=True."""
    window, pieces = hann_window(), N_FFT // HOP
    frames = np.fft.irfft(spectrum, N_FFT).astype(np.float32) * window  # (T, 1024)
    count = len(frames)
    out, weight = np.zeros((count + pieces - 1, HOP), np.float32), np.zeros((count + pieces - 1, HOP), np.float32)
    for j in range(pieces):
        part = slice(j * HOP, (j + 1) * HOP)
        out[j : j + count] += frames[:, part]
        weight[j : j + count] += window[part] ** 2
    middle = slice(N_FFT // 2, N_FFT // 2 + (count - 1) * HOP)
    return out.ravel()[middle] / weight.ravel()[middle]


def as_wave(wave: Any, what: str = "the wave") -> np.ndarray:
    """(S,) float32 from numpy or torch, checked: one dimension, not empty, finite."""
    if hasattr(wave, "detach"):
        wave = wave.detach().cpu().float().numpy()
    array = np.ascontiguousarray(wave, dtype=np.float32)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{what} has shape {array.shape}; one mono wave (S,) with at least one sample is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinite samples")
    return array
