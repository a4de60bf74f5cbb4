"""Log-mels of a whole batch, made where the network is (train.mel_on_device): the loader's processes only read the
recordings. T mel frames, S = 256 (T - 1) + 1024 samples that they see, the wave's mirrored ends included.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tts_fm import devices
from tts_fm.audio.mel import HOP, MEL_FLOOR, N_FFT, hann_window, mel_filters


def samples_of(frames: int) -> int:
    """S of T."""
    return (frames - 1) * HOP + N_FFT


def mirrored(wave: np.ndarray, most: int) -> np.ndarray:
    """A wave (at least audio.MIN_SAMPLES long) as `log_mels` takes it: (S,), of its first `most` frames."""
    frames = min(most, len(wave) // HOP + 1)
    return np.pad(wave, N_FFT // 2, mode="reflect")[: samples_of(frames)]


def log_mels(waves: Tensor) -> Tensor:
    """audio.log_mel of several waves: (B, S) float32 -> (B, T, 100). In full precision, and a GPU is not waited for."""
    window, filters = (devices.send(torch.from_numpy(x), waves.device) for x in (hann_window(), mel_filters()))
    spectrum = torch.stft(waves, N_FFT, HOP, window=window, center=False, return_complex=True)  # (B, 513, T)
    with devices.precision(waves.device, tf32=False):
        mel = spectrum.abs().transpose(1, 2) @ filters
    return mel.clamp(min=MEL_FLOOR).log()
