"""THE mel and wav conventions: every number about audio lives here.

B batch, T mel frames, S samples. Audio is mono float32 in [-1, 1] at 24 kHz; frame k of a mel is centred on sample 256 k, so S samples
give S // 256 + 1 frames. The mel is that of Vocos and F5-TTS: magnitude (power 1) STFT, HTK mel scale, natural log of clamp(1e-5).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 24_000  # Hz
N_FFT = 1024  # samples in an analysis window (= win_length)
HOP = 256  # samples between frames
N_MELS = 100
MEL_FLOOR = 1e-5  # magnitudes below this are clamped before the logarithm
FRAMES_PER_SECOND = SAMPLE_RATE / HOP  # 93.75


@lru_cache(maxsize=1)
def _mel_transform():
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(SAMPLE_RATE, N_FFT, N_FFT, HOP, n_mels=N_MELS, power=1.0, center=True, norm=None, mel_scale="htk")


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log-mel of waveforms, (B, S) float -> (B, S // 256 + 1, 100) float32. At least 513 samples are needed."""
    transform = _mel_transform().to(wave.device)
    return transform(wave.float()).clamp(min=MEL_FLOOR).log().transpose(1, 2)  # (B, T, 100)
