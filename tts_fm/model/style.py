"""PromptStyle: the voice of a prompt in one vector, so that no block has to gather it by attention over distant frames.

Convolutions over frames, then mean and deviation over the given ones (statistics pooling, Snyder 2018, x-vectors). The
vector is added to the text features of every position and, through a bottleneck of R channels, to the modulation of
every block, as DiT's class embedding is (Peebles 2022, arXiv 2212.09748). Last layers start at zero, so a network that
was trained without them goes on from where it was. B batch, T mel frames, S channels, E text width, D width of the
transformer, L blocks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.audio.mel import N_MELS
from tts_fm.config import ModelConfig
from tts_fm.model.layers import masked


class PromptStyle(nn.Module):
    """Normalised mel (B, T, 100), zero where not given, and which frames are given (B, T) bool -> for the text (B, E),
    for the blocks (B, L, 6 D) or None. Nothing given -> the biases."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, rank, self.depth = config.style, config.style_rank, config.depth
        self.convs = nn.ModuleList(
            [nn.Conv1d(N_MELS, channels, 5, padding=2), nn.Conv1d(channels, channels, 5, padding=2)]
        )
        self.leave = nn.Linear(2 * channels, config.text_dim)
        self.narrow = nn.Linear(2 * channels, rank) if rank else None
        self.blocks = nn.Linear(rank, config.depth * 6 * config.dim) if rank else None
        for last in (self.leave, self.blocks):
            if last is not None:
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, mel: Tensor, given: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = mel.to(self.leave.weight.dtype)
        for conv in self.convs:
            hidden = masked(F.gelu(conv(hidden.transpose(1, 2))).transpose(1, 2), given)  # (B, T, S)
        hidden, count = hidden.float(), given.sum(1, keepdim=True).clamp(min=1)
        mean = hidden.sum(1) / count  # (B, S)
        variance = masked(hidden - mean[:, None], given).square().sum(1) / count
        pooled = torch.cat([mean, (variance + 1e-4).sqrt()], dim=-1) * given.any(1, keepdim=True)
        pooled = pooled.to(self.leave.weight.dtype)  # (B, 2 S)
        if self.narrow is None or self.blocks is None:
            return self.leave(pooled), None
        return self.leave(pooled), self.blocks(F.silu(self.narrow(pooled))).unflatten(-1, (self.depth, -1))
