"""How long speech lasts: a small network that gives every symbol its frames at the pace of a prompt.

The network reads symbols (ConvNeXt V2 blocks) and a prompt mel (strided convolution, ConvNeXt blocks, mean and
deviation over time = style) and regresses log(1 + frames), as FastSpeech 2 does for phones (Ren 2020, arXiv
2006.04558). Padding never changes a result. B batch, N symbols, T prompt frames, P = ceil(T / 4) prompt positions, D
width, S style width. Frames are mel frames (93.75 a second), fractional. This module does not know how text becomes
symbols, nor what speaks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm import devices
from tts_fm.model.folder import CONFIG, WEIGHTS, Field, load, save
from tts_fm.model.layers import ConvNeXtBlock, masked
from tts_fm.text.pace import spoken_frames

BANDS = 20  # of mel bins, in `movement`
_LONGEST = 6.0  # largest log(1 + frames) the network can say: 4.3 s


def movement(mel: Tensor, real: Tensor) -> Tensor:
    """How fast a prompt moves, by hand: (B, T, 100) and mask (B, T) -> (B, 5 * BANDS), in BANDS equal bands of mel
    bins.

    Mean and deviation over time, and the mean of |x[t + k] - x[t]| for k = 1, 4, 16. On the corpus a linear map of
    these alone tells the logarithm of the pace at a correlation of 0.79; a small network needs far longer to find them.
    """
    count = real.sum(1, keepdim=True).clamp(min=1)
    bands = F.adaptive_avg_pool1d(masked(mel, real), BANDS)  # (B, T, BANDS)
    mean = bands.sum(1) / count
    parts = [mean, (masked(bands - mean[:, None], real).square().sum(1) / count + 1e-5).sqrt()]
    for k in (1, 4, 16):
        both = real[:, k:]  # a prompt is real from its start
        change = F.adaptive_avg_pool1d((mel[:, k:] - mel[:, :-k]).abs(), BANDS) if mel.shape[1] > k else bands[:, :0]
        parts.append(masked(change, both).sum(1) / both.sum(1, keepdim=True).clamp(min=1))
    return torch.cat(parts, dim=-1)


class PromptEncoder(nn.Module):
    """Pace and voice of a prompt: (B, T, 100) log-mel and (B,) lengths -> (B, S); a learnt vector where the length is
    0.
    """

    usual: Tensor

    def __init__(self, bins: int, dim: int, layers: int, style_dim: int, mel_mean: float, mel_std: float) -> None:
        super().__init__()
        self.mel_mean, self.mel_std = mel_mean, mel_std
        self.enter = nn.Conv1d(bins, dim, 7, stride=4, padding=3)
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.leave = nn.Sequential(
            nn.Linear(2 * dim + 5 * BANDS, style_dim), nn.GELU(), nn.Linear(style_dim, style_dim)
        )
        # mean and deviation of `movement`
        self.register_buffer("usual", torch.tensor([0.0, 1.0])[:, None].repeat(1, 5 * BANDS))
        self.absent = nn.Parameter(torch.zeros(style_dim))

    def calibrate(self, mel: Tensor, lengths: Tensor) -> None:
        """Set the usual mean and deviation of `movement` from a few hundred prompts; once, before training."""
        kept = lengths > 0
        real = (torch.arange(mel.shape[1], device=mel.device) < lengths[:, None])[kept]
        moves = movement(masked((mel[kept] - self.mel_mean) / self.mel_std, real), real)
        self.usual.copy_(torch.stack([moves.mean(0), moves.std(0).clamp(min=1e-3)]))

    def forward(self, mel: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(mel.shape[1], device=mel.device) < lengths[:, None]  # (B, T)
        normal = masked((mel - self.mel_mean) / self.mel_std, real)
        hidden = F.gelu(self.enter(normal.transpose(1, 2))).transpose(1, 2)  # (B, P, D)
        mask = real[:, ::4]
        for block in self.blocks:
            hidden = masked(block(hidden, mask), mask)
        hidden = masked(self.norm(hidden).float(), mask)
        count = mask.sum(1, keepdim=True).clamp(min=1)
        mean = hidden.sum(1) / count  # (B, D)
        spread = masked(hidden - mean[:, None], mask).square().sum(1) / count
        moves = (movement(normal, real) - self.usual[0]) / self.usual[1]
        style = self.leave(torch.cat([mean, (spread + 1e-5).sqrt(), moves], dim=-1).to(self.absent.dtype))
        return torch.where(lengths[:, None] > 0, style, self.absent.to(style.dtype))


class DurationModel(nn.Module):
    """Symbols and a prompt to frames per symbol. 0.7M parameters at the default sizes.

    vocab: the symbols, id = place in the list. dropout acts in training only.
    """

    def __init__(
        self,
        vocab: Sequence[str],
        dim: int = 160,
        layers: int = 4,
        style_dim: int = 128,
        prompt_dim: int = 96,
        prompt_layers: int = 3,
        bins: int = 100,
        mel_mean: float = -2.44,
        mel_std: float = 3.72,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(
            vocab=list(vocab),
            dim=dim,
            layers=layers,
            style_dim=style_dim,
            prompt_dim=prompt_dim,
            prompt_layers=prompt_layers,
            bins=bins,
            mel_mean=mel_mean,
            mel_std=mel_std,
            dropout=dropout,
        )
        self.vocab = list(vocab)
        self.embed = nn.Embedding(len(self.vocab), dim)
        self.prompt = PromptEncoder(bins, prompt_dim, prompt_layers, style_dim, mel_mean, mel_std)
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(layers))
        self.styles = nn.ModuleList(nn.Linear(style_dim, dim) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 1)
        nn.init.constant_(self.head.bias, 1.6)  # starts near 5 frames a symbol

    def forward(self, ids: Tensor, prompt: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """What the network itself says, without floors or caps.

        ids: (B, N) int, -1 = padding. prompt: (B, T, 100) natural-log mel; None = no prompt, an average pace. lengths:
        (B,) real frames of each prompt, 0 = none; not given = all of T. Returns (B, N) frames >= 0, zero at padding.
        Raises ValueError for shapes and ids that do not fit.
        """
        prompt, lengths = self._checked(ids, prompt, lengths)
        return self.at_pace(ids, self.prompt(prompt, lengths))

    def at_pace(self, ids: Tensor, style: Tensor) -> Tensor:
        """`forward`, unchecked, from the style of a prompt (B, S), as PromptEncoder gives it."""
        mask = ids >= 0
        hidden = masked(self.embed(ids.clamp(min=0)), mask)  # (B, N, D)
        for block, shift in zip(self.blocks, self.styles, strict=True):
            hidden = masked(self.dropout(block(hidden + shift(style)[:, None], mask)), mask)
        logs = F.softplus(self.head(self.norm(hidden)).squeeze(-1).float()).clamp(max=_LONGEST)
        return logs.expm1().masked_fill(~mask, 0.0)

    @torch.inference_mode()
    def durations(
        self, ids: Tensor, prompt: Tensor | None = None, speed: float | Tensor = 1.0, lengths: Tensor | None = None
    ) -> Tensor:
        """Frames to speak with: `forward` (whose arguments these are), within the bounds of text.pace.spoken_frames,
        divided by `speed` (a number, or (B,)).

        (B, N), zero at padding. Call `eval()` first after training. Raises ValueError as `forward` does, and for a
        speed that is not a positive number.
        """
        speeds = torch.as_tensor(speed).expand(len(ids)).tolist()
        said, result = self(ids, prompt, lengths).cpu().numpy(), torch.zeros(ids.shape)
        for b, row in enumerate(ids.tolist()):
            symbols = [self.vocab[i] for i in row if i >= 0]
            result[b, : len(symbols)] = torch.from_numpy(spoken_frames(said[b, : len(symbols)], symbols, speeds[b]))
        return result.to(ids.device)

    @torch.inference_mode()
    def durations_behind(self, texts: Sequence[Sequence[int]], prompt: Tensor, speed: float = 1.0) -> list[Tensor]:
        """`durations` of many texts behind one prompt (T, 100), in one forward: one (N,) for each, on the CPU."""
        device = self.head.weight.device
        rows = [torch.tensor(list(ids), dtype=torch.int64) for ids in texts]
        ids = devices.send(nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1), device)
        with devices.precision(device, tf32=False):
            style = self.prompt(*self._checked(ids[:1], devices.send(prompt, device)[None], None))
            said = self.at_pace(ids, style.expand(len(ids), -1)).cpu().numpy()
        symbols = [[self.vocab[i] for i in row] for row in texts]
        return [torch.from_numpy(spoken_frames(said[b, : len(row)], row, speed)) for b, row in enumerate(symbols)]

    def _checked(self, ids: Tensor, prompt: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        if ids.ndim != 2 or ids.is_floating_point():
            raise ValueError(f"ids must be integers of shape (B, N), got {tuple(ids.shape)} {ids.dtype}")
        if ids.numel() and not -1 <= int(ids.min()) <= int(ids.max()) < len(self.vocab):
            got = f"{int(ids.min())}..{int(ids.max())}"
            raise ValueError(f"ids must lie in -1..{len(self.vocab) - 1}, got {got}: was another vocabulary used?")
        bins, dtype = self.config["bins"], self.head.weight.dtype
        if prompt is None:
            prompt, lengths = torch.zeros(len(ids), 0, bins, device=ids.device), None
        if prompt.ndim != 3 or len(prompt) != len(ids) or prompt.shape[2] != bins:
            raise ValueError(
                f"the prompt must be a log-mel of shape ({len(ids)}, T, {bins}), got {tuple(prompt.shape)}"
            )
        if lengths is None:
            lengths = torch.full((len(ids),), prompt.shape[1], device=ids.device)
        elif lengths.shape != (len(ids),) or int(lengths.min()) < 0 or int(lengths.max()) > prompt.shape[1]:
            raise ValueError(f"lengths must be {len(ids)} numbers in 0..{prompt.shape[1]}, got {lengths.tolist()}")
        return (prompt if prompt.shape[1] else prompt.new_zeros(len(ids), 1, bins)).to(dtype), lengths


FIELDS = {
    "vocab": Field(str),
    "dim": Field(int, 1, 8192),
    "layers": Field(int, 0, 1000),
    "style_dim": Field(int, 1, 8192),
    "prompt_dim": Field(int, 1, 8192),
    "prompt_layers": Field(int, 0, 1000),
    "bins": Field(int, 1, 1024),
    "mel_mean": Field(float, -100, 100),
    "mel_std": Field(float, 1e-3, 100),
    "dropout": Field(float, 0, 1),
}


def save_duration_model(model: DurationModel, folder: str | Path, half: bool = True) -> None:
    """Write model.safetensors (float16 unless `half` is False) and config.json (constructor arguments, the vocabulary
    among them).
    """
    save(folder, model.state_dict(), model.config, torch.float16 if half else torch.float32)


def load_duration_model(path: str | Path, config: str | Path | None = None) -> DurationModel:
    """Read what `save_duration_model` wrote: a folder, or the weights file with its config (not given: config.json
    beside it).

    Weights become float32; the model is in eval mode. Raises ModelError for files that are missing, damaged or do not
    fit each other.
    """
    path = Path(path)
    weights = path / WEIGHTS if path.is_dir() else path
    settings = Path(config) if config is not None else weights.with_name(CONFIG)
    layers = {"layers": "blocks", "prompt_layers": "prompt.blocks"}
    return load(DurationModel, FIELDS, layers, weights, settings, "duration model")
