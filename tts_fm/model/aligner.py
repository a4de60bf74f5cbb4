"""A small phone recogniser that says, for every mel frame, which unit is being spoken: what forced alignment walks
along.

Convolutions over pairs of mel frames (21 ms), both frames of a pair classified by themselves. It is trained frame by
frame on known times (recipes/builtin/aligner.py), so it needs no blank. B batch, T mel frames (93.75 a second),
P = ceil(T / 2) pairs, D width, V symbols. Masked: padding never changes a result. This module does not know text or
words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.model.folder import CONFIG, WEIGHTS, Field, load, save
from tts_fm.model.layers import masked
from tts_fm.text.symbols import SILENCE


class ConvBlock(nn.Module):
    """Norm, convolution, GELU, convolution, added to the input: (B, P, D) -> (B, P, D)."""

    def __init__(self, dim: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.first = nn.Conv1d(dim, dim, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv1d(dim, dim, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = F.gelu(self.first(masked(self.norm(x), mask).transpose(1, 2))) * mask[:, None]  # (B, D, P)
        return x + self.dropout(self.second(hidden).transpose(1, 2))


class AlignerModel(nn.Module):
    """Log-mel to a distribution over symbols at every frame. 1.2M parameters at the default sizes.

    vocab: the symbols; "<sil>" (no speech) must be one of them.
    """

    def __init__(
        self,
        vocab: Sequence[str],
        dim: int = 192,
        dilations: Sequence[int] = (1, 2, 4, 8, 1),
        bins: int = 100,
        mel_mean: float = -2.44,
        mel_std: float = 3.72,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if SILENCE not in vocab:
            raise ValueError(f"the vocabulary of an aligner needs {SILENCE}")
        self.config: dict[str, Any] = dict(
            vocab=list(vocab),
            dim=dim,
            dilations=list(dilations),
            bins=bins,
            mel_mean=mel_mean,
            mel_std=mel_std,
            dropout=dropout,
        )
        self.vocab = list(vocab)
        self.enter = nn.Conv1d(bins, dim, 6, stride=2, padding=2)
        self.blocks = nn.ModuleList(ConvBlock(dim, dilation, dropout) for dilation in dilations)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 2 * len(self.vocab))

    def forward(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """mel: (B, T, bins) natural-log mel. lengths: (B,) real frames of each, from the start; not given = all of T.

        Returns logits (B, T, V) float32; what stands at padding means nothing. Raises ValueError for shapes that do not
        fit.
        """
        bins = self.config["bins"]
        if mel.ndim != 3 or mel.shape[2] != bins or mel.shape[1] < 1:
            raise ValueError(f"the mel must have the shape (B, T, {bins}) with T >= 1, got {tuple(mel.shape)}")
        size, frames = mel.shape[:2]
        if lengths is None:
            lengths = torch.full((size,), frames, device=mel.device)
        real = torch.arange(frames, device=mel.device) < lengths[:, None]  # (B, T)
        odd = frames % 2
        normal = masked((mel - self.config["mel_mean"]) / self.config["mel_std"], real)
        logits = self.of_pairs(F.pad(normal, (0, 0, 0, odd)), F.pad(real, (0, odd))[:, ::2])
        return logits[:, :frames].float()

    def of_pairs(self, normal: Tensor, mask: Tensor) -> Tensor:
        """Normalised mel (B, 2 P, bins), zero behind its end, and which pairs are real (B, P) -> logits (B, 2 P, V)."""
        hidden = masked(self.enter(normal.transpose(1, 2)).transpose(1, 2), mask)  # (B, P, D)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return self.head(self.norm(hidden)).unflatten(-1, (2, -1)).flatten(1, 2)

    @torch.inference_mode()
    def log_probabilities(self, mel: Tensor) -> Tensor:
        """Log-mel (T, bins) -> log-probability of every symbol (T, V), on the mel's device, wherever the network is."""
        return self(mel.to(self.head.weight.device)[None])[0].log_softmax(-1).to(mel.device)


FIELDS = {
    "vocab": Field(str),
    "dim": Field(int, 1, 8192),
    "dilations": Field(int, 1, 4096, each=True),
    "bins": Field(int, 1, 1024),
    "mel_mean": Field(float, -100, 100),
    "mel_std": Field(float, 1e-3, 100),
    "dropout": Field(float, 0, 1),
}


def save_aligner(model: AlignerModel, folder: str | Path, half: bool = True) -> None:
    """Write model.safetensors (float16 unless `half` is False) and config.json (constructor arguments, the vocabulary
    among them).
    """
    save(folder, model.state_dict(), model.config, torch.float16 if half else torch.float32)


def load_aligner(folder: str | Path) -> AlignerModel:
    """Read what `save_aligner` wrote, in eval mode, as float32. ModelError for files that are missing, damaged or do
    not fit each other.
    """
    place = Path(folder)
    return load(AlignerModel, FIELDS, {"dilations": "blocks"}, place / WEIGHTS, place / CONFIG, "aligner")
