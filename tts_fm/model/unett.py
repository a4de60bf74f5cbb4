"""UNetT: the flat U-Net transformer of E2-TTS (Eskimez 2024, arXiv 2406.18009), with the sizes and names of F5-TTS's
release of it.

The time enters as one more token in front; the second half of the layers also sees, last in first out, what entered the
first half. B batch, T mel frames, P positions, D width, E text width. Same calls as DiT, so FlowModel need not know
which of the two it holds.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.audio.mel import N_MELS
from tts_fm.config import ModelConfig
from tts_fm.model.dit import InputEmbedding, to_network, ungroup
from tts_fm.model.layers import Attention, FeedForward, TimeEmbedding, masked, rotary_angles
from tts_fm.model.network import Network
from tts_fm.model.text import TextConditioning


class RMSNorm(nn.Module):
    """x / |x| sqrt(D) g: (..., D) -> (..., D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * self.g


class Layer(nn.ModuleList):
    """[skip projection or None, norm, attention, norm, feed-forward]: a list, because the published names are
    numbers.
    """

    def __init__(self, config: ModelConfig, second_half: bool) -> None:
        dim = config.dim
        skip = nn.Linear(2 * dim, dim, bias=False) if second_half else None
        attention = Attention(dim, config.heads, config.dropout, config.rotary_heads)
        parts: list[Any] = [
            skip,
            RMSNorm(dim),
            attention,
            RMSNorm(dim),
            FeedForward(dim, config.ff_mult, config.dropout),
        ]
        super().__init__(parts)

    def forward(self, h: Tensor, early: Tensor | None, angles: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """h (B, P, D) and, in the second half, what entered the matching layer of the first -> (B, P, D)."""
        skip, attn_norm, attn, ff_norm, ff = list(self)
        if early is not None:
            h = skip(torch.cat([h, early], dim=-1))
        h = h + attn(attn_norm(h), angles, mask)
        return h + ff(ff_norm(h))


class UNetT(nn.Module, Network):
    """(x_t, t, given mel, text features, mask) -> velocity. Mels are normalised by the caller (FlowModel)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.depth % 2:
            raise ValueError(f"a U-Net transformer needs an even depth, got {config.depth}")
        if config.style or config.style_rank:
            raise ValueError(
                "a U-Net transformer has no modulations for a prompt's style: style and style_rank must be 0"
            )
        if config.span:
            raise ValueError("a few-step student (span) needs the dit backbone")
        self.config = config
        self.time_embed = TimeEmbedding(config.dim)
        self.text_embed, self.style = TextConditioning(config), None
        self.input_embed = InputEmbedding(config)
        self.layers = nn.ModuleList(Layer(config, second_half=i >= config.depth // 2) for i in range(config.depth))
        self.norm_out = RMSNorm(config.dim)
        self.proj_out = nn.Linear(config.dim, config.patch * N_MELS)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def at_positions(self, hidden: Tensor) -> Tensor:
        return hidden[:, 1:]  # the time token stands in front

    def runs(self, positions: int, frames: int) -> list[tuple[nn.Module | None, int]]:
        return [(self.time_embed, 1), *super().runs(positions, frames)]

    def modulations(self, t: Tensor, until: Tensor | None = None) -> list[Tensor]:
        """All that depends on the time alone: (B,) -> [(B, D)], the time token; until as in DiT.modulations, unused."""
        return [self.time_embed(t)]

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        given: Tensor,
        given_mask: Tensor,
        text: Tensor,
        mask: Tensor | None = None,
        modulations: list[Tensor] | None = None,
        voice: None = None,
    ) -> Tensor:
        """The velocity; arguments and result as in DiT.forward. There is no modulation for a voice to be added to."""
        frames = x.shape[1]
        x, given, mask = to_network(x, given, given_mask, mask, self.config)
        h = self.input_embed(x, given, text, mask)  # (B, P, D)
        (token,) = self.modulations(t) if modulations is None else modulations
        h = torch.cat([token.to(h.dtype)[:, None].expand(len(h), 1, -1), h], dim=1)  # (B, 1 + P, D)
        mask = None if mask is None else F.pad(mask, (1, 0), value=True)
        angles = rotary_angles(h.shape[1], h.device)
        skips: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if i < self.config.depth // 2:
                skips.append(h)
                h = layer(h, None, angles, mask)
            else:
                h = layer(h, skips.pop(), angles, mask)
        out = self.proj_out(self.norm_out(h))  # (B, 1 + P, patch * 100)
        return ungroup(masked(out, mask)[:, 1:], frames)
