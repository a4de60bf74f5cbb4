"""From utterances to batches: buckets of similar length, a collate that pads, and an order that a resumed run repeats
exactly.

B batch, T mel frames, N symbols. A batch is fixed by (seed, epoch, index) alone, so the whole state of the data is one
step number.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tts_fm import devices
from tts_fm.audio.mel import HOP, N_FFT, N_MELS
from tts_fm.config import TrainConfig
from tts_fm.data.augment import equalised, revoiced, roomed
from tts_fm.data.device_mel import log_mels, samples_of
from tts_fm.data.infill import draw_infill, hide_prompt_symbols, turn


@dataclass(frozen=True)
class TrainItem:
    """One utterance as the networks see it."""

    mel: np.ndarray  # (T, 100) log-mel
    ids: np.ndarray  # (N,) symbols
    durations: np.ndarray | None = None  # (N,) mel frames of each symbol, where they are known
    # frames at the start that always are the prompt, such as another utterance of the voice; 0 = a part is drawn
    prompt: int = 0
    wave: np.ndarray | None = None  # (S,), of which the mel is still to be made (device_mel.py); mel is empty then

    @property
    def frames(self) -> int:
        """T."""
        return len(self.mel) if self.wave is None else (len(self.wave) - N_FFT) // HOP + 1


AHEAD = 4  # batches that every worker prepares beforehand
Plan = tuple[int, int, np.ndarray]  # number of the batch, padded length, which utterances


class Items(Protocol):
    """What the trainer reads: lengths up front, items on demand. Where it has a method many(indices), the items of a
    batch are asked for together; those of a method waves(indices) have waves instead of mels.
    """

    @property
    def frames(self) -> Sequence[int] | np.ndarray: ...
    @property
    def unknown(self) -> int | None: ...  # the symbol for "speech without a transcript"; None where there is none

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> TrainItem: ...


class Share:
    """Some of the utterances, as Items: those of the shards that are a node's."""

    def __init__(self, items: Items, node: int, nodes: int) -> None:
        """Shard s is node s mod nodes'. ValueError where items are not in shards, or there are fewer than nodes."""
        shards = getattr(items, "shards", None)
        many = 0 if shards is None else int(shards.max()) + 1
        if shards is None or many < nodes:
            raise ValueError(
                f"train.by_node deals shards out to {nodes} nodes, but the recordings are in {many}; pack more "
                "of them (python -m data_prep.shards pack --megabytes), or leave by_node out"
            )
        self.items, self.unknown = items, items.unknown
        self.numbers = torch.from_numpy(np.flatnonzero(shards % nodes == node))

    @property
    def frames(self) -> np.ndarray:
        return np.asarray(self.items.frames)[self.numbers.numpy()]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> TrainItem:
        return self.items[int(self.numbers[index])]

    def many(self, indices: list[int]) -> list[TrainItem]:
        return items_of(self.items, [int(self.numbers[index]) for index in indices])

    def waves(self, indices: list[int]) -> list[TrainItem]:
        return items_of(self.items, [int(self.numbers[index]) for index in indices], waves=True)


def items_of(items: Items, indices: list[int], waves: bool = False) -> list[TrainItem]:
    """Several items, together where that is quicker for them. ValueError where they have no waves."""
    if waves:
        return reader_of_waves(items)(indices)
    many: Callable[[list[int]], list[TrainItem]] | None = getattr(items, "many", None)
    return many(indices) if many is not None else [items[index] for index in indices]


def reader_of_waves(items: Items) -> Callable[[list[int]], list[TrainItem]]:
    """What reads items as waves. ValueError where there are log-mels only."""
    found: Callable[[list[int]], list[TrainItem]] | None = getattr(items, "waves", None)
    if found is None:
        raise ValueError("train.mel_on_device needs recordings, but these utterances are kept as mels: leave it out")
    return found


@dataclass
class Batch:
    """Padded tensors. Masks are True where there is something: mask (a real frame), hidden (to be spoken, enters the
    loss).
    """

    mel: Tensor  # (B, T, 100); (B, 0, 100) where there are waves
    mask: Tensor  # (B, T) bool
    hidden: Tensor  # (B, T) bool
    ids: Tensor  # (B, N) int64, -1 = padding
    durations: Tensor | None  # (B, N) float32
    drop_audio: Tensor  # (B,) bool
    drop_text: Tensor  # (B,) bool
    waves: Tensor | None = None  # (B, S) float32, of which `to` makes the mels

    def to(self, device: str | torch.device) -> Batch:
        """The batch on a device; a GPU's copies, and the mels that are made there, are under way when this returns."""
        there = self._each(lambda x: devices.send(x, device))
        if there.waves is None:
            return there
        mel = log_mels(there.waves).masked_fill(~there.mask[..., None], 0.0)
        return replace(there, mel=mel, waves=None)

    def pin_memory(self) -> Batch:
        """The batch in memory from which a GPU copies by itself; torch's DataLoader calls this."""
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        parts: dict[str, Any] = {name: None if x is None else change(x) for name, x in vars(self).items()}
        return Batch(**parts)


class Buckets:
    """Utterances grouped by length. Every bucket has one padded length and one batch size, so that few tensor shapes
    occur.

    budget: frames in a batch. widest: longest utterance taken, in frames; longer ones are counted in `too_long`, never
    dropped unsaid. quadratic: an utterance of T frames costs T + T^2 / quadratic of the budget. most: items in a batch.
    0 = not used, for both.
    """

    def __init__(
        self,
        frames: Sequence[int] | np.ndarray,
        budget: int,
        seed: int,
        widest: int = 1600,
        growth: float = 1.2,
        quadratic: int = 0,
        most: int = 0,
    ) -> None:
        lengths = np.asarray(frames)
        edges = [96]
        while edges[-1] < min(widest, int(lengths.max(initial=1))):
            edges.append(-(-int(edges[-1] * growth) // 32) * 32)
        self.budget, self.seed, self.edges = budget, seed, edges
        self.too_long = int((lengths > edges[-1]).sum())
        which = np.searchsorted(edges, lengths)
        self.members = [np.flatnonzero(which == k) for k in range(len(edges))]
        costs = [edge + edge * edge // quadratic if quadratic else edge for edge in edges]
        self.sizes = [max(1, min(budget // cost, most or budget)) for cost in costs]
        self.per_epoch = sum(-(-len(m) // s) for m, s in zip(self.members, self.sizes, strict=True))

    def epoch(self, number: int) -> list[tuple[int, np.ndarray]]:
        """The batches of one epoch in order: (padded length, utterance numbers). A short last batch is filled from the
        bucket's start.
        """
        rng = np.random.default_rng((self.seed, number))
        batches = []
        for edge, size, members in zip(self.edges, self.sizes, self.members, strict=True):
            order = rng.permutation(members)
            for at in range(0, len(order), size):
                chosen = order[at : at + size]
                batches.append((edge, np.resize(np.concatenate([chosen, order]), size)))
        return [batches[i] for i in rng.permutation(len(batches))]


def collate(
    items: Sequence[TrainItem], length: int, config: TrainConfig, rng: np.random.Generator, unknown: int | None
) -> Batch:
    """Pad items to `length` frames and draw what is hidden in each of them."""
    size, with_waves = len(items), items[0].wave is not None
    mel = np.zeros((size, 0 if with_waves else length, items[0].mel.shape[1]), np.float32)
    waves = np.zeros((size, samples_of(length)), np.float32) if with_waves else None
    mask, hidden = np.zeros((size, length), bool), np.zeros((size, length), bool)
    drops = np.zeros((2, size), bool)
    texts = []
    for b, item in enumerate(items):
        frames = item.frames
        plan = draw_infill(frames, config, rng)
        speech, ids, durations, start = item.mel, item.ids, item.durations, plan.start
        end = frames if item.prompt else plan.end
        if item.prompt:
            start = item.prompt
        elif unknown is not None and durations is not None:
            if plan.turned:
                speech, ids, durations, start = turn(speech, ids, durations, start, unknown)
            elif plan.hide_prompt_text:
                ids, durations = hide_prompt_symbols(ids, durations, start, unknown)
        if waves is not None and item.wave is not None:
            waves[b, : len(item.wave)] = item.wave
        else:
            speech = revoiced(speech, config.revoice, rng) if config.revoice else speech
            speech = roomed(speech, config.room, slice(start, end), rng) if config.room else speech
            mel[b, :frames] = equalised(speech, config.equalise, rng) if config.equalise else speech
        mask[b, :frames], hidden[b, start:end] = True, True
        drops[:, b] = plan.drop_audio, plan.drop_text
        texts.append((ids, durations))
    symbols, times = pad_texts(texts, multiple=32)
    speech_of, real, spoken, (drop_audio, drop_text) = map(torch.from_numpy, (mel, mask, hidden, drops))
    sound = None if waves is None else torch.from_numpy(waves)
    return Batch(speech_of, real, spoken, symbols, times, drop_audio, drop_text, sound)


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
    """Batches by number: `loader[number]` is the same batch in every run with the same seed, and in every process that
    asks for it.
    """

    def __init__(self, items: Items, config: TrainConfig) -> None:
        if config.mel_on_device:
            reader_of_waves(items)
        self.maker = Maker(items, config)
        self.buckets = Buckets(
            items.frames,
            config.batch_frames,
            config.seed,
            config.longest_frames,
            quadratic=config.quadratic_frames,
            most=config.most_items,
        )
        self._epoch: tuple[int, list[tuple[int, np.ndarray]]] = (-1, [])

    def stream(self, numbers: Iterable[int], workers: int = 0, pin: bool = False) -> Iterator[Batch]:
        """The batches `numbers`, in that order; with workers > 0 prepared ahead by so many processes (threads where
        there is little shared memory to hand batches over in), and with `pin` left in pinned memory, which a GPU can
        copy from.
        """
        plans = map(self.plan, numbers)  # here: a worker knows items, not the order of an epoch
        if not workers:
            return map(self.maker.__getitem__, plans)
        width = HOP if self.maker.config.mel_on_device else N_MELS  # numbers a frame
        if shared_memory() < 2 * workers * AHEAD * self.buckets.budget * width * 4:
            return _by_threads(self.maker, plans, workers)
        # a fork of running threads may hang
        start = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        how: dict[str, Any] = {
            "batch_size": None,
            "sampler": plans,
            "num_workers": workers,
            "pin_memory": pin,
            "prefetch_factor": AHEAD,
            "collate_fn": _same,
            "worker_init_fn": _quiet,
            "multiprocessing_context": start,
        }
        return iter(torch.utils.data.DataLoader(self.maker, **how))  # type: ignore[arg-type]

    def plan(self, step: int) -> Plan:
        """What batch `step` is made of."""
        number, at = divmod(step, self.buckets.per_epoch)
        if self._epoch[0] != number:
            self._epoch = (number, self.buckets.epoch(number))
        return (step, *self._epoch[1][at])

    def __getitem__(self, step: int) -> Batch:
        return self.maker[self.plan(step)]


def shared_memory() -> int:
    """Bytes that processes can hand each other: a container may have next to none, and who writes more is killed."""
    try:
        room = os.statvfs("/dev/shm")
    except (OSError, AttributeError):  # not Linux: it is got in another way
        return 2**63
    return room.f_bavail * room.f_frsize


def _by_threads(maker: Maker, plans: Iterator[Plan], workers: int) -> Iterator[Batch]:
    """Batches in the order of their plans, prepared ahead by threads."""
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(maker.__getitem__, plan) for plan in itertools.islice(plans, workers * AHEAD))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(maker.__getitem__, plan) for plan in itertools.islice(plans, 1))
            yield batch


class Maker:
    """Batches from plans: all that a worker has."""

    def __init__(self, items: Items, config: TrainConfig) -> None:
        self.items, self.config = items, config

    def __getitem__(self, plan: Plan) -> Batch:
        step, length, chosen = plan
        rng = np.random.default_rng((self.config.seed, 1, step))
        items = items_of(self.items, chosen.tolist(), self.config.mel_on_device)
        return collate(items, length, self.config, rng, self.items.unknown)


def _same(batch: Batch) -> Batch:
    return batch


def _quiet(_: int) -> None:
    """A stop that is sent to the whole process group is the trainer's business: it finishes its update and ends its
    workers.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
