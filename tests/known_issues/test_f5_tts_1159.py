"""SWivid/F5-TTS#1159: computed in bfloat16, a network of this kind gave a dirty mel and quiet, noisy speech.

A cause that we measured: rotary angles in bfloat16 are wrong by whole radians at a thousand frames. Here they are
float32 whatever the model's type.
"""

from __future__ import annotations

import torch

from tts_fm.model.layers import rotary_angles


def test_angles_are_exact_at_a_thousand_frames():
    cos, sin = rotary_angles(3000, torch.device("cpu"))
    assert cos.dtype == sin.dtype == torch.float32
    exact = torch.arange(3000, dtype=torch.float64)[:, None] * 10_000 ** (-torch.arange(32, dtype=torch.float64) / 32)
    assert (cos.double() - exact.cos()).abs().max() < 1e-3 and (sin.double() - exact.sin()).abs().max() < 1e-3
