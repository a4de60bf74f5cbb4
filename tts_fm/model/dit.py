"""DiT: the diffusion transformer of F5-TTS (Chen 2024, arXiv 2410.06885; Peebles 2022, arXiv 2212.09748).

x_t, the given mel and the text features enter side by side; blocks whose normalisation is modulated by the flow time
turn them into the velocity. B batch, T mel frames, P = ceil(T / patch) positions, D width, E text width. It does not
know tokens, solvers or guidance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.audio.mel import N_MELS
from tts_fm.config import ModelConfig
from tts_fm.model.layers import (
    Attention,
    ConvPositionEmbedding,
    FeedForward,
    SpanEmbedding,
    TimeEmbedding,
    masked,
    rotary_angles,
)
from tts_fm.model.network import Network
from tts_fm.model.style import PromptStyle
from tts_fm.model.text import TextConditioning


class Modulation(nn.Module):
    """adaLN-Zero: a time embedding (B, D) -> `parts` vectors for each block, (B, parts * D); zero at the start of
    training.
    """

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, parts * dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, time: Tensor) -> Tensor:
        return self.linear(F.silu(time))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights (eps 1e-6), then x (1 + scale) + shift, in x's type: autocast on GPUs would widen it to
    float32 for both, twice the memory for digits that the product behind them rounds off. Sums are float32 inside.
    """
    if x.is_cuda and x.dtype != torch.float32:
        with torch.autocast("cuda", enabled=False):
            normal = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    else:
        normal = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return normal * (1 + scale) + shift


class Block(nn.Module):
    """Attention and feed-forward, each between a modulated normalisation and a gate: (B, P, D) -> (B, P, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.shared_adaln:
            self.offset = nn.Parameter(torch.zeros(6 * config.dim))
        else:
            self.attn_norm = Modulation(config.dim, 6)
        self.attn = Attention(config.dim, config.heads, config.dropout, config.rotary_heads)
        self.ff = FeedForward(config.dim, config.ff_mult, config.dropout)

    def forward(self, x: Tensor, modulation: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = modulation[:, None].chunk(6, dim=-1)  # (B, 1, D) each
        x = x + gate_a * self.attn(modulate(x, shift_a, scale_a), angles, mask)
        return x + gate_f * self.ff(modulate(x, shift_f, scale_f))


class InputEmbedding(nn.Module):
    """[x_t, given mel, (given flag,) text] -> D, plus the convolutional position embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.patch * (2 * N_MELS + config.given_flag) + config.text_dim
        self.proj = nn.Linear(width, config.dim)
        self.conv_pos_embed = ConvPositionEmbedding(config.dim)

    def forward(self, x: Tensor, given: Tensor, text: Tensor, mask: Tensor | None) -> Tensor:
        return self.conv_pos_embed(self.proj(torch.cat([x, given, text], dim=-1)), mask)


class DiT(nn.Module, Network):
    """(x_t, t, given mel, text features, mask) -> velocity. Mels are normalised by the caller (FlowModel)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = TimeEmbedding(config.dim)
        self.span_embed = SpanEmbedding(config.dim) if config.span else None
        self.text_embed = TextConditioning(config)
        self.style = PromptStyle(config) if config.style else None
        self.input_embed = InputEmbedding(config)
        if config.shared_adaln:
            self.adaln = Modulation(config.dim, 6)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm_out = Modulation(config.dim, 2)
        self.proj_out = nn.Linear(config.dim, config.patch * N_MELS)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def blocks(self) -> list[nn.Module]:
        return list(self.transformer_blocks)

    def compile_blocks(self) -> None:
        super().compile_blocks()
        self.input_embed.compile(dynamic=False)

    def runs(self, positions: int, frames: int) -> list[tuple[nn.Module | None, int]]:
        once = [self.time_embed, self.span_embed, self.norm_out, getattr(self, "adaln", None)]
        once += [getattr(block, "attn_norm", None) for block in self.transformer_blocks]
        style = self.style
        if style is not None:
            once += [style.leave, style.narrow, style.blocks]
        return [(part, 1) for part in once] + [(style and style.convs, frames), *super().runs(positions, frames)]

    def modulations(self, t: Tensor, until: Tensor | None = None) -> list[Tensor]:
        """All that depends on the time alone, (B,) -> one (B, 6 D) for each block and a (B, 2 D): computed once for a
        whole time grid. until (B,): where a step from t ends, for networks with `span`; None = at t itself.
        """
        time = self.time_embed(t)  # (B, D)
        if self.span_embed is not None and until is not None:
            time = time + self.span_embed(until - t)
        if self.config.shared_adaln:
            shared = self.adaln(time)
            blocks = [shared + block.offset for block in self.transformer_blocks]
        else:
            blocks = [block.attn_norm(time) for block in self.transformer_blocks]  # type: ignore[operator]
        return [*blocks, self.norm_out(time)]

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        given: Tensor,
        given_mask: Tensor,
        text: Tensor,
        mask: Tensor | None = None,
        modulations: list[Tensor] | None = None,
        voice: Tensor | None = None,
        features: bool = False,
    ) -> Tensor:
        """The velocity.

        x, given: (B, T, 100), `given` zero where nothing is given; given_mask (B, T) bool; t (B,) float32 in [0, 1];
        text (B, P, E) from `text_embed`; mask (B, T) bool or None when every frame is real; modulations as from
        `modulations(t)`; voice (B, depth, 6 D) is added to those of the blocks. Returns (B, T, 100); with
        features what the last layer, `proj_out`, makes it of, (B, P, D).
        """
        frames = x.shape[1]
        modulations = self.modulations(t) if modulations is None else modulations
        x, given, mask = to_network(x, given, given_mask, mask, self.config)
        h = self.input_embed(x, given, text, mask)  # (B, P, D)
        angles = rotary_angles(h.shape[1], h.device)
        if voice is not None:
            modulations = [*(m + v for m, v in zip(modulations, voice.unbind(1), strict=False)), modulations[-1]]
        modulations = [m.to(h.dtype) for m in modulations]
        for block, modulation in zip(self.transformer_blocks, modulations, strict=False):
            h = block(h, modulation, angles, mask)
        # in the published order, which differs from the blocks'
        scale, shift = modulations[-1][:, None].chunk(2, dim=-1)
        seen = modulate(h, shift, scale)  # (B, P, D)
        if features:
            return seen
        out = self.proj_out(seen)  # (B, P, patch * 100)
        return ungroup(masked(out, mask), frames)


def to_network(
    x: Tensor, given: Tensor, given_mask: Tensor, mask: Tensor | None, config: ModelConfig
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Frames to positions: x and given (B, T, 100) -> (B, P, patch * channels), padding zeroed, and the mask (B, P)."""
    x, given = masked(x, mask), masked(given, mask)
    if config.given_flag:
        given = torch.cat([given, given_mask[..., None].to(given.dtype)], dim=-1)
    mask = None if mask is None else position_mask(mask, config.patch)
    return to_positions(x, config.patch), to_positions(given, config.patch), mask


def ungroup(out: Tensor, frames: int) -> Tensor:
    """Positions to frames: (B, P, patch * 100) -> (B, frames, 100)."""
    return out.unflatten(-1, (-1, N_MELS)).flatten(1, 2)[:, :frames]


def to_positions(x: Tensor, patch: int) -> Tensor:
    """Group `patch` neighbouring frames, (B, T, C) -> (B, ceil(T / patch), patch * C), with zeros behind the end."""
    if patch == 1:
        return x
    return F.pad(x, (0, 0, 0, -x.shape[1] % patch)).unflatten(1, (-1, patch)).flatten(2)


def position_mask(mask: Tensor, patch: int) -> Tensor:
    """A position is real when its first frame is: (B, T) -> (B, ceil(T / patch))."""
    return mask[:, ::patch]
