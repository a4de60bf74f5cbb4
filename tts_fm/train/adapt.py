"""One speaker, a few minutes: low-rank training of a flow model on a person's clips.

Batches have one fixed shape (Buckets would make a shape of every length). Most items are a crop of another clip as the
prompt and then an utterance, as at inference; the others are infilled; some come from other voices, so that cloning is
not forgotten. Everything random is a function of the seed and the update's number, so a run that was killed and goes on
from its state ends with the same bits. B items, T mel frames. It knows items, not files of recordings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tts_fm import devices, files
from tts_fm.config import TrainConfig
from tts_fm.data.batches import Batch, TrainItem, collate
from tts_fm.errors import TtsFmError
from tts_fm.model.dit import DiT
from tts_fm.model.flow_model import FlowModel
from tts_fm.text.symbols import UNKNOWN
from tts_fm.train.lora import add_low_rank, changes
from tts_fm.train.trainer import noise_generator

SHORTEST_PROMPT = 140  # mel frames: with less room before an utterance it comes alone, infilled
Tell = Callable[[int, int, float, float], None]  # (update, updates, loss, seconds left); may raise to stop


class NotLearning(TtsFmError):
    """Training gives numbers that are not finite."""


@dataclass(frozen=True)
class AdaptConfig:
    """One adaptation. The values are those that a prototype found best; frames are mel frames."""

    updates: int = 150
    rank: int = 16
    alpha: float = 16.0
    learning_rate: float = 2e-3
    warmup: int = 20  # updates; the rate falls linearly to zero over the last half
    ema: float = 0.98  # decay of the averaged weights, which are the result
    clip: float = 1.0
    batch: int = 4  # items
    length: int = 768  # frames of each
    rehearsal: int = 1  # items of a batch that come from other voices, where there are any
    single: float = 0.15  # share of items without another clip before them
    drop_audio: float = 0.05  # share of the person's items without a prompt; more for a voice that speaks without one
    drop_both: float = 0.05  # and of those with neither audio nor text
    valid_every: int = 25  # updates; only where clips are held out
    patience: int = 3  # such checks without a better loss, after which training ends
    save_every: int = 10
    seed: int = 0

    def rate(self, update: int) -> float:
        """The learning rate of an update."""
        fall = min(1.0, 2 * (self.updates - update) / max(1, self.updates))
        return self.learning_rate * min(1.0, (update + 1) / self.warmup) * fall

    def infill(self) -> TrainConfig:
        """What `collate` draws by."""
        return TrainConfig(
            span=(0.5, 1.0),
            prompt_first=0.8,
            prompt_text_drop=0.9,
            turned=0.75,
            drop_audio=self.drop_audio,
            drop_both=self.drop_both,
        )


def config_for(seconds: float, frames: Sequence[int]) -> AdaptConfig:
    """What is best for so much speech in clips of so many mel frames each.

    With one clip nothing stands before an utterance, so a batch is no longer than the clip; and it is learnt in fewer,
    larger updates: half of the time, and speech is as near to the clip (recipes/builtin/LOG.md, fourteenth session).
    """
    config = AdaptConfig(updates=updates_for(seconds))
    if len(frames) > 1:
        return config
    length = min(config.length, -(-frames[0] // 64) * 64)
    return replace(config, updates=40, learning_rate=3e-3, warmup=5, ema=0.9, length=length)


def updates_for(seconds: float) -> int:
    """How many updates are worth it for so much speech in several clips: 60 for a few seconds, 150 from one minute on,
    300 at thirty minutes. About 0.7 s each on two cores."""
    return int(np.interp(np.log(max(seconds, 1.0)), np.log([15.0, 60.0, 300.0, 1800.0]), [60, 150, 200, 300]))


class VoiceBatches:
    """Batches by the number of the update."""

    def __init__(
        self, own: Sequence[TrainItem], others: Sequence[TrainItem], unknown: int, config: AdaptConfig
    ) -> None:
        if not own:
            raise ValueError("there are no clips to learn from")
        self.own, self.others, self.unknown, self.config = own, others, unknown, config
        self.infill = config.infill()

    def batch(self, update: int) -> Batch:
        rng = np.random.default_rng((self.config.seed, 1, update))
        more = min(self.config.rehearsal, self.config.batch - 1) if self.others else 0
        items = [self.item(rng) for _ in range(self.config.batch - more)]
        items += [self.cropped(self.others[int(rng.integers(len(self.others)))], rng) for _ in range(more)]
        made = collate(items, self.config.length, self.infill, rng, self.unknown)
        # without its prompt the network shall speak as the person, so others are never shown without theirs
        for flags in (made.drop_audio, made.drop_text):
            flags[len(items) - more :] = False
        return made

    def item(self, rng: np.random.Generator) -> TrainItem:
        """An utterance behind a crop of another one, or alone."""
        number = int(rng.integers(len(self.own)))
        spoken = self.cropped(self.own[number], rng)
        room = self.config.length - len(spoken.mel)
        if len(self.own) < 2 or room < SHORTEST_PROMPT or rng.random() < self.config.single:
            return spoken
        other = self.own[(number + 1 + int(rng.integers(len(self.own) - 1))) % len(self.own)].mel
        size = min(len(other), room) // 2 * 2
        at = int(rng.integers(len(other) - size + 1))
        return behind(other[at : at + size], spoken, self.unknown)

    def cropped(self, item: TrainItem, rng: np.random.Generator) -> TrainItem:
        """An item that is longer than a batch, cut at symbols: from its start, or from anywhere."""
        if len(item.mel) <= self.config.length:
            return item
        assert item.durations is not None
        edges = np.concatenate([[0.0], item.durations.cumsum()])
        first = 0
        if rng.random() < 0.5:
            starts = np.flatnonzero(edges[-1] - edges >= 0.75 * self.config.length)
            first = int(starts[int(rng.integers(len(starts)))])
        last = int(np.searchsorted(edges, edges[first] + self.config.length - 2, side="right")) - 1
        low, high = round(float(edges[first])), round(float(edges[last]))
        return TrainItem(item.mel[low:high], item.ids[first:last], item.durations[first:last])


def behind(prompt: np.ndarray, item: TrainItem, unknown: int) -> TrainItem:
    """An item behind a prompt (T, 100) without transcript."""
    assert item.durations is not None
    return TrainItem(
        np.concatenate([prompt, item.mel]),
        np.concatenate([[unknown], item.ids]),
        np.concatenate([[len(prompt)], item.durations]),
        prompt=len(prompt),
    )


class VoiceTrainer:
    """A run: `run()` trains to the end, from the state in `folder` where there is one."""

    def __init__(
        self,
        model: FlowModel,
        own: Sequence[TrainItem],
        others: Sequence[TrainItem],
        held: Sequence[TrainItem],
        config: AdaptConfig,
        folder: Path,
    ) -> None:
        """own: clips to learn from. others: of other voices. held: clips of the person that are only measured on."""
        if model.config.text != "aligned":
            raise ValueError(
                f"a voice is adapted with a model whose text is aligned, not {model.config.text}; for published F5 "
                "weights see the recipe finetune with train.lora_rank"
            )
        self.model, self.config, self.folder = model.float().train(), config, folder
        unknown = model.vocab.index(UNKNOWN)
        self.batches = VoiceBatches(own, others, unknown, config)
        self.held = [b for b in held_batches(own, held, unknown, config)]
        self.base = {name: value.detach().clone() for name, value in model.net.named_parameters()}
        names = add_low_rank(model.net, config.rank, config.alpha, config.seed)
        parameters = dict(model.net.named_parameters())
        self.trained = {name: parameters[name] for name in names}
        if isinstance(model.net, DiT):
            for block in model.net.transformer_blocks:
                block.attn.explicit = True  # type: ignore[union-attr]
        self.optimiser = torch.optim.AdamW(
            list(self.trained.values()), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )
        self.average = {name: value.detach().clone() for name, value in self.trained.items()}
        self.best: dict[str, Tensor] = {}
        self.update = 0
        self.log: dict[str, list[float]] = {"loss": [], "valid": []}
        self.resume()

    # ---- the loop

    def run(self, on_progress: Tell | None = None) -> dict[str, Tensor]:
        """Train; returns the changes of the flow network by the names of voices/adapters.py, without "flow/"."""
        began, first = time.perf_counter(), self.update
        if self.held and not self.log["valid"]:
            self.validate()
        while self.update < self.config.updates and not self.ended:
            loss = self.step()
            self.log["loss"].append(loss)
            self.update += 1
            if self.held and (self.update % self.config.valid_every == 0 or self.update == self.config.updates):
                self.validate()
            if self.update % self.config.save_every == 0 or self.update == self.config.updates:
                self.save()
            if on_progress is not None:
                pace = (time.perf_counter() - began) / (self.update - first)
                on_progress(self.update, self.config.updates, loss, pace * (self.config.updates - self.update))
        return changes(self.best or self.average, self.base)

    @property
    def ended(self) -> bool:
        """Whether the held-out clips have become no better for a while."""
        found = self.log["valid"]
        return len(found) > self.config.patience and min(found) not in found[-self.config.patience :]

    def step(self) -> float:
        """One update; returns its loss. Raises NotLearning when that is not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate(self.update)
        with torch.random.fork_rng([]):  # dropout draws from torch's own generator
            torch.manual_seed(self.config.seed * 1_000_003 + self.update)
            loss = self.loss(self.batches.batch(self.update), self.config.seed, self.update)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(self.trained.values()), self.config.clip)
        if not bool(torch.isfinite(norm)):
            raise NotLearning(
                f"update {self.update} gives numbers that are not finite; a recording may be damaged, or the learning "
                f"rate {self.config.learning_rate:g} too high"
            )
        self.optimiser.step()
        keep = min(self.config.ema, (1 + self.update) / (10 + self.update))
        with torch.no_grad():
            for name, value in self.trained.items():
                self.average[name].lerp_(value, 1 - keep)
        return float(loss.detach())

    def loss(self, b: Batch, seed: int, number: int) -> Tensor:
        device = self.model.device
        b = b.to(device)
        conditions = (b.mel, b.mask, b.hidden, b.ids, b.durations, b.drop_audio, b.drop_text)
        with devices.autocast(device, devices.training_dtype(device, bf16=True, fp16=False)):
            return self.model(*conditions, noise_generator(device, seed, number), "uniform").loss

    @torch.no_grad()
    def validate(self) -> None:
        """The averaged weights' loss on held-out clips, always with the same noise; they are kept if it is the
        least."""
        kept = {name: value.detach().clone() for name, value in self.trained.items()}
        for name, value in self.trained.items():
            value.copy_(self.average[name])
        self.model.eval()
        found = float(np.mean([float(self.loss(batch, -1, number)) for number, batch in enumerate(self.held)]))
        self.model.train()
        for name, value in self.trained.items():
            value.copy_(kept[name])
        if not self.log["valid"] or found < min(self.log["valid"]):
            self.best = {name: value.clone() for name, value in self.average.items()}
        self.log["valid"].append(found)

    # ---- the state

    @property
    def file(self) -> Path:
        return self.folder / "state.pt"

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {"config": asdict(self.config), "update": self.update, "log": self.log}
        state |= {"trained": {name: value.detach() for name, value in self.trained.items()}, "average": self.average}
        state |= {"best": self.best, "optimiser": self.optimiser.state_dict()}
        files.write_state(self.file, state)

    def resume(self) -> None:
        state = files.read_state(self.file, self.model.device)
        if state is None:
            return
        if state["config"] != asdict(self.config):
            raise ValueError(f"{self.file} is of a run with other settings; remove it to begin anew")
        with torch.no_grad():
            for name, value in self.trained.items():
                value.copy_(state["trained"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.best = state["average"], state["best"]
        self.update, self.log = state["update"], state["log"]


def held_batches(own: Sequence[TrainItem], held: Sequence[TrainItem], unknown: int, config: AdaptConfig) -> list[Batch]:
    """The held-out clips as at inference: each whole behind the beginning of a clip of the person, nothing dropped."""
    plain = TrainConfig(drop_audio=0.0, drop_both=0.0)
    batches = []
    for at in range(0, len(held), config.batch):
        items = []
        for number, item in enumerate(held[at : at + config.batch]):
            room = config.length - len(item.mel)
            prompt = own[(at + number) % len(own)].mel[: max(0, room) // 2 * 2]
            items.append(behind(prompt, item, unknown) if len(prompt) >= SHORTEST_PROMPT else item)
        longest = max(len(item.mel) for item in items)
        length = max(config.length, -(-longest // 32) * 32)
        batches.append(collate(items, length, plain, np.random.default_rng(at), unknown))
    return batches
