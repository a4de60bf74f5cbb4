"""From utterances to batches: buckets of similar length, a collate that pads, and an order that a resumed run repeats exactly.

B batch, T mel frames, N symbols. A batch is fixed by (seed, epoch, index) alone, so the whole state of the data is one step number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tts_fm.config import TrainConfig
from tts_fm.infill import draw_infill, hide_prompt_symbols


@dataclass(frozen=True)
class Item:
    """One utterance as the networks see it."""

    mel: np.ndarray  # (T, 100) log-mel
    ids: np.ndarray  # (N,) symbols
    durations: np.ndarray | None = None  # (N,) mel frames of each symbol, where they are known


class Items(Protocol):
    """What the trainer reads: lengths up front, items on demand."""

    frames: Sequence[int]
    unknown: int | None  # the symbol that stands for "speech without a transcript"; None where the text form has none

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Item: ...


@dataclass
class Batch:
    """Padded tensors. Masks are True where there is something: mask (a real frame), hidden (to be spoken, enters the loss)."""

    mel: Tensor  # (B, T, 100)
    mask: Tensor  # (B, T) bool
    hidden: Tensor  # (B, T) bool
    ids: Tensor  # (B, N) int64, -1 = padding
    durations: Tensor | None  # (B, N) float32
    drop_audio: Tensor  # (B,) bool
    drop_text: Tensor  # (B,) bool


class Buckets:
    """Utterances grouped by length. Every bucket has one padded length and one batch size, so that few tensor shapes occur.

    budget: frames in a batch. widest: longest utterance taken, in frames; longer ones are counted in `too_long`, never dropped unsaid.
    """

    def __init__(self, frames: Sequence[int], budget: int, seed: int, widest: int = 1600, growth: float = 1.2) -> None:
        lengths = np.asarray(frames)
        edges = [96]
        while edges[-1] < min(widest, int(lengths.max(initial=1))):
            edges.append(-(-int(edges[-1] * growth) // 32) * 32)
        self.budget, self.seed, self.edges = budget, seed, edges
        self.too_long = int((lengths > edges[-1]).sum())
        which = np.searchsorted(edges, lengths)
        self.members = [np.flatnonzero(which == k) for k in range(len(edges))]
        self.sizes = [max(1, budget // edge) for edge in edges]
        self.per_epoch = sum(-(-len(m) // s) for m, s in zip(self.members, self.sizes, strict=True))

    def epoch(self, number: int) -> list[tuple[int, np.ndarray]]:
        """The batches of one epoch in order: (padded length, utterance numbers). A short last batch is filled from the bucket's start."""
        rng = np.random.default_rng((self.seed, number))
        batches = []
        for edge, size, members in zip(self.edges, self.sizes, self.members, strict=True):
            order = rng.permutation(members)
            for at in range(0, len(order), size):
                chosen = order[at : at + size]
                batches.append((edge, np.resize(np.concatenate([chosen, order]), size)))
        return [batches[i] for i in rng.permutation(len(batches))]


def collate(items: Sequence[Item], length: int, config: TrainConfig, rng: np.random.Generator, unknown: int | None) -> Batch:
    """Pad items to `length` frames and draw what is hidden in each of them."""
    size = len(items)
    mel = np.zeros((size, length, items[0].mel.shape[1]), np.float32)
    mask, hidden = np.zeros((size, length), bool), np.zeros((size, length), bool)
    drops = np.zeros((2, size), bool)
    texts = []
    for b, item in enumerate(items):
        frames = len(item.mel)
        plan = draw_infill(frames, config, rng)
        mel[b, :frames] = item.mel
        mask[b, :frames], hidden[b, plan.start : plan.end] = True, True
        drops[:, b] = plan.drop_audio, plan.drop_text
        ids, durations = item.ids, item.durations
        if plan.hide_prompt_text and unknown is not None and durations is not None:
            ids, durations = hide_prompt_symbols(ids, durations, plan.start, unknown)
        texts.append((ids, durations))
    ids, durations = pad_texts(texts, multiple=32)
    return Batch(torch.from_numpy(mel), torch.from_numpy(mask), torch.from_numpy(hidden), ids, durations, torch.from_numpy(drops[0]), torch.from_numpy(drops[1]))


def pad_texts(texts: Sequence[tuple[np.ndarray, np.ndarray | None]], multiple: int = 1) -> tuple[Tensor, Tensor | None]:
    """Pad (ids, durations) pairs to (B, N), ids with -1 and durations with 0; N is rounded up to `multiple`."""
    longest = -(-max(len(ids) for ids, _ in texts) // multiple) * multiple
    ids = torch.full((len(texts), longest), -1, dtype=torch.int64)
    timed = texts[0][1] is not None
    durations = torch.zeros(len(texts), longest) if timed else None
    for b, (symbols, times) in enumerate(texts):
        ids[b, : len(symbols)] = torch.as_tensor(symbols)
        if durations is not None and times is not None:
            durations[b, : len(times)] = torch.as_tensor(times, dtype=torch.float32)
    return ids, durations


class Loader:
    """Batches by step number: `loader[step]` is the same batch in every run with the same seed."""

    def __init__(self, items: Items, config: TrainConfig) -> None:
        self.items, self.config = items, config
        self.buckets = Buckets(items.frames, config.batch_frames, config.seed)
        self._epoch: tuple[int, list[tuple[int, np.ndarray]]] = (-1, [])

    def __getitem__(self, step: int) -> Batch:
        number, at = divmod(step, self.buckets.per_epoch)
        if self._epoch[0] != number:
            self._epoch = (number, self.buckets.epoch(number))
        length, chosen = self._epoch[1][at]
        rng = np.random.default_rng((self.config.seed, 1, step))
        return collate([self.items[int(i)] for i in chosen], length, self.config, rng, self.items.unknown)
