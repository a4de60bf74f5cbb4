"""THE mel and wave conventions: every number about audio lives here.

B batch, T mel frames, S samples. Audio is mono float32 in [-1, 1] at 24 kHz; frame k of a mel is centred on sample 256
k, so S samples give S // 256 + 1 frames. The mel is that of Vocos and F5-TTS: magnitude (power 1) STFT, HTK mel scale,
natural log of clamp(1e-5).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 24_000  # Hz
N_FFT = 1024  # samples in an analysis window (= win_length)
HOP = 256  # samples between frames
N_MELS = 100
MEL_FLOOR = 1e-5  # magnitudes below this are clamped before the logarithm
FRAMES_PER_SECOND = SAMPLE_RATE / HOP  # 93.75
MIN_SAMPLES = N_FFT // 2 + 1  # the shortest wave that log_mel can reflect at its edges

#: What a network was trained on and a vocoder must agree with; stored beside weights.
MEL_CONVENTION: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE, "n_fft": N_FFT, "win_length": N_FFT, "hop_length": HOP, "n_mels": N_MELS,
    "mel_scale": "htk",
    "norm": None, "power": 1, "center": True, "log": "natural", "floor": MEL_FLOOR,
}  # fmt: skip


@lru_cache(maxsize=4)
def _mel_transform(device: str):
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(
        SAMPLE_RATE, N_FFT, N_FFT, HOP, n_mels=N_MELS, power=1.0, center=True, norm=None, mel_scale="htk"
    ).to(device)


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log-mel of waveforms, (B, S) float -> (B, S // 256 + 1, 100) float32. ValueError below 513 samples."""
    if wave.ndim != 2 or wave.shape[1] < MIN_SAMPLES:
        raise ValueError(
            f"log_mel takes (B, S) with S >= {MIN_SAMPLES} samples, not {tuple(wave.shape)}; pad short waves with zeros"
        )
    return _mel_transform(str(wave.device))(wave.float()).clamp(min=MEL_FLOOR).log().transpose(1, 2)  # (B, T, 100)


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
