"""Text conditioning: symbols become one feature vector for every transformer position, in one of three forms.

filler   ids, then filler up to the length of the speech; the network must find the alignment (E2-TTS; F5-TTS adds
ConvNeXt blocks) average  every symbol gets the same share of the positions (ZipVoice, arXiv 2506.13053) aligned  every
symbol gets its own frames, from a duration model or an aligner (Voicebox, arXiv 2306.15687)

B batch, N symbols, P positions, E text width, V vocabulary. Ids are 0..V-1 and -1 for padding; inside, 0 is the filler
and ids move up. This module does not know what the symbols are, nor what is done with the features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tts_fm.config import ModelConfig
from tts_fm.model.layers import ConvNeXtBlock, masked


class TextConditioning(nn.Module):
    """(B, N) ids and (B, P) mask -> (B, P, E) features. The three forms share the embedding, the blocks and this
    signature.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.text not in ("filler", "average", "aligned"):
            raise ValueError(f"text must be 'filler', 'average' or 'aligned', got {config.text!r}")
        self.form, self.masks_padding, self.patch = config.text, config.text_masks_padding, config.patch
        self.text_embed = nn.Embedding(config.vocab + 1, config.text_dim)
        self.text_blocks = nn.ModuleList(ConvNeXtBlock(config.text_dim) for _ in range(config.text_layers))
        self.frame_blocks = nn.ModuleList(ConvNeXtBlock(config.text_dim) for _ in range(config.text_frame_layers))
        if self.form == "aligned":
            self.place = nn.Linear(4, config.text_dim)  # where inside its symbol a position lies

    def forward(self, ids: Tensor, mask: Tensor, durations: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        """Features of a batch.

        ids: (B, N) int, -1 = padding. mask: (B, P) bool, True = real position. durations: (B, N) mel frames of each
        symbol, `aligned` only, may be fractional. drop: (B,) bool, items whose text is withheld (classifier-free
        guidance). Returns (B, P, E), zero at padded positions. Raises ValueError where durations are missing.
        """
        ids = ids + 1
        if self.form == "filler":
            return self._filler(ids, mask, drop)
        present = ids > 0
        if drop is not None:
            ids = ids.masked_fill(drop[:, None], 0)
        hidden = masked(self.text_embed(ids), present)  # (B, N, E)
        for block in self.text_blocks:
            hidden = masked(block(hidden, present), present)
        if self.form == "average":
            index = average_index(present.sum(1), mask.sum(1), mask.shape[1])  # (B, P)
            spread = hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))
        else:
            if durations is None:
                raise ValueError("an `aligned` model needs the frames of every symbol: pass durations (B, N)")
            index, place = aligned_index(durations.masked_fill(~present, 0.0), mask.shape[1], self.patch)
            spread = hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1])) + self.place(
                place.to(hidden.dtype)
            )
            if drop is not None:
                spread = torch.where(drop[:, None, None], self.text_embed.weight[0].to(spread.dtype), spread)
        for block in self.frame_blocks:
            spread = masked(block(masked(spread, mask), mask), mask)
        return masked(spread, mask)  # (B, P, E)

    def _filler(self, ids: Tensor, mask: Tensor, drop: Tensor | None) -> Tensor:
        length = mask.shape[1]
        ids = nn.functional.pad(ids[:, :length], (0, max(0, length - ids.shape[1])))  # (B, P)
        # taken before the drop: F5 v1 shows the length of a withheld text
        shown = mask & (ids > 0) if self.masks_padding else mask
        if drop is not None:
            ids = ids.masked_fill(drop[:, None], 0)
        hidden = self.text_embed(ids)
        if self.text_blocks:
            hidden = hidden + sinusoid_positions(length, hidden.shape[-1], hidden.device).to(hidden.dtype)
            hidden = masked(hidden, shown)
        for block in self.text_blocks:
            hidden = masked(block(hidden, mask), shown)
        return masked(hidden, mask)


def sinusoid_positions(length: int, dim: int, device: torch.device) -> Tensor:
    """cos, then sin, of position x 10,000^(-2i/dim): (P, dim) float32."""
    rate = 10_000.0 ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32)[: dim // 2] / dim)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def average_index(symbols: Tensor, positions: Tensor, length: int) -> Tensor:
    """Which symbol each position shows when all get an equal share: (B,), (B,) counts -> (B, length) int64."""
    at = torch.arange(length, device=symbols.device)[None]
    return torch.minimum(at * symbols[:, None] // positions[:, None].clamp(min=1), (symbols[:, None] - 1).clamp(min=0))


def aligned_index(durations: Tensor, length: int, patch: int) -> tuple[Tensor, Tensor]:
    """Which symbol lies at the centre of each position, and where in it.

    durations (B, N) mel frames -> index (B, length) int64 and place (B, length, 4): share of the symbol that has
    passed, its complement, and the logarithms of the frames since its start and up to its end. Positions behind the
    last symbol show the last one.
    """
    ends = durations.float().cumsum(1)  # (B, N)
    centre = ((torch.arange(length, device=durations.device) + 0.5) * patch).expand(len(ends), -1)
    index = (ends[:, None, :] <= centre[:, :, None]).sum(2)  # searchsorted has no form in graphs
    last = (durations > 0).float().mul(torch.arange(1, durations.shape[1] + 1, device=durations.device)).amax(
        1
    ).long() - 1
    index = torch.minimum(index, last.clamp(min=0)[:, None])  # (B, length)
    end, size = ends.gather(1, index), durations.float().gather(1, index).clamp(min=1.0)
    since = (centre - end + size).clamp(min=0.0)
    share = (since / size).clamp(max=1.0)
    left = (end - centre).clamp(min=0.0)
    return index, torch.stack([share, 1 - share, torch.log1p(since) / 3, torch.log1p(left) / 3], dim=-1)
