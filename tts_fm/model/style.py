"""PromptStyle: the voice of a prompt in one vector, so that no block has to gather it by attention over distant frames.

Frame-wise convolutions, then mean and deviation over the given frames (statistics pooling, Snyder 2018, x-vectors). The result is added
to the text features of every position; its last layer starts at zero, so a network that was trained without it goes on from where it was.
B batch, T mel frames, S channels, E text width. It does not know what the vector is added to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.audio import N_MELS
from tts_fm.model.layers import masked


class PromptStyle(nn.Module):
    """Normalised mel (B, T, 100), zero where not given, and which frames are given (B, T) bool -> (B, E); nothing given -> its bias."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(N_MELS, channels, 5, padding=2), nn.Conv1d(channels, channels, 5, padding=2)])
        self.leave = nn.Linear(2 * channels, out)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, mel: Tensor, given: Tensor) -> Tensor:
        hidden = mel.to(self.leave.weight.dtype)
        for conv in self.convs:
            hidden = masked(F.gelu(conv(hidden.transpose(1, 2))).transpose(1, 2), given)  # (B, T, S)
        hidden, count = hidden.float(), given.sum(1, keepdim=True).clamp(min=1)
        mean = hidden.sum(1) / count  # (B, S)
        variance = masked(hidden - mean[:, None], given).square().sum(1) / count
        pooled = torch.cat([mean, (variance + 1e-4).sqrt()], dim=-1) * given.any(1, keepdim=True)
        return self.leave(pooled.to(self.leave.weight.dtype))  # (B, E)
