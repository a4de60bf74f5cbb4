"""The one training loop, of every recipe: batch -> flow-matching loss -> step -> average -> validate -> save.

The whole state of a run is (weights, averaged weights, optimiser, step): batches, spans, times, noise and dropout are
functions of the seed and the batch's number, so a run that was killed and resumed gives the losses of one that was not.
Update u of a run takes the batches u n ... u n + n - 1, n = processes x accumulate, and its loss is the mean over all
their hidden frames: two processes do what one does with accumulate=2. SIGTERM or Ctrl-C: the update is finished, the
state saved, `run` returns. Logs go to <run>/log.jsonl and, with config.tensorboard, to <run>/tensorboard. This module
does not know what the items are or how the model speaks; `on_valid` may add samples.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tts_fm import devices, files
from tts_fm.config import TrainConfig, to_dict
from tts_fm.data.batches import Batch, Items, Loader
from tts_fm.model.flow_model import FlowModel
from tts_fm.train.ctc import WithCTC
from tts_fm.train.fsdp import cut, cut_optimiser, gathered, shard
from tts_fm.train.guard import Guard
from tts_fm.train.log import RunLog
from tts_fm.train.lora import add_low_rank, merged_state
from tts_fm.train.optimiser import adamw, follow, learning_rate, step_if
from tts_fm.train.processes import accelerator, dealt, memory_told
from tts_fm.train.state import (
    PARTS,
    WHOLE,
    changes,
    load_parts,
    make_moments,
    moments,
    newest,
    numbers_of,
    save_parts,
    write_whole,
)
from tts_fm.train.stopping import StopRequest

logger = logging.getLogger(__name__)


def noise_generator(device: torch.device, seed: int, number: int) -> torch.Generator:
    """The generator of batch `number`: times and noise do not depend on what was drawn before."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + number) % 2**63)


class Trainer:
    """Holds the parts of a run; `run()` trains to the end and may be called again after any interruption."""

    def __init__(
        self,
        model: FlowModel,
        items: Items,
        valid: Items | None,
        config: TrainConfig,
        folder: Path,
        on_valid: Callable[[FlowModel, int], None] | None = None,
        compiled: bool = False,
        device: str | None = None,
    ) -> None:
        """device: "cpu", or None for a GPU where there is one (with several processes, one each). ValueError for
        settings that do not go together, and for a folder that holds another model's run.
        """
        self.accelerator = accelerator(config, device)
        if config.shard and (config.ctc or config.fp16 or compiled):
            raise ValueError("shard=True goes with bf16 and float32, and without ctc and compiling")
        self.config, self.folder, self.on_valid = config, folder, on_valid
        self.device: torch.device = self.accelerator.device
        self.dtype = devices.training_dtype(self.device, config.bf16, config.fp16)
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        # sums of plain numbers go over the hosts, so that no GPU has to wait for them
        self.hosts: Any = torch.distributed.new_group(backend="gloo") if self.world > 1 else None
        folder.mkdir(parents=True, exist_ok=True)
        self.plain, trained = model, WithCTC(model, config.ctc) if config.ctc else model
        self.reader = trained.reader if isinstance(trained, WithCTC) else None
        self.sharded = config.shard and self.world > 1
        if config.lora_rank:
            if config.shard or compiled:
                raise ValueError("lora_rank goes with one process or DDP, and without shard=True and compiling")
            add_low_rank(model.net, config.lora_rank, config.lora_rank, config.seed)
        if config.checkpointing:
            model.net.recompute_blocks()
        if self.sharded:
            shard(model.to(self.device), config.replicas)
        optimiser = adamw(trained, config)
        self.model: Any = trained
        if self.sharded:
            self.optimiser = self.accelerator.prepare(optimiser)
        else:
            self.model, self.optimiser = self.accelerator.prepare(trained, optimiser)
        self.average = {k: v.detach().clone() for k, v in self.plain.state_dict().items()}
        self.dealt, items = dealt(items, config, self.rank, self.world)
        self.loader = Loader(items, config)
        self.valid = Loader(valid, replace(config, equalise=0.0, revoice=0.0, room=0.0)) if valid is not None else None
        self.step = 0
        self.guard = Guard(config, self.device)
        self.losses: list[float] = []  # of all processes, since the last line of the log
        self.fresh: list[Tensor] = []  # of this process, not yet among them; on the device
        self.flops = 0.0  # of this process's forwards, since the last line of the log
        self.stop = StopRequest()
        self.log: RunLog | None = None
        self.batches: Iterator[Batch] = iter(())
        buckets = self.loader.buckets
        if buckets.too_long:
            logger.warning(
                "%d utterances are longer than %d frames and are left out", buckets.too_long, buckets.edges[-1]
            )
        self.resume()
        if compiled:
            model.net.compile_blocks()

    @property
    def choices(self) -> tuple[str, str, str, float]:
        """The law of times, the coupling, the weighting and the guidance of the loss."""
        return self.config.time_law, self.config.coupling, self.config.weighting, self.config.guidance

    @property
    def nodes(self) -> int:
        """How many nodes have their own utterances."""
        return self.world // self.dealt[1]

    @property
    def last(self) -> Path:
        """Where the state is written."""
        return self.folder / (PARTS if self.config.sharded_checkpoints else WHOLE)

    def numbers(self) -> Iterator[int]:
        """Which batches this process takes from now on: of every round of `world` batches the one at its rank (with
        by_node: of its node's, the one at its place there).
        """
        place, processes = self.dealt
        return (turn * processes + place for turn in itertools.count(self.step * self.config.accumulate))

    def run(self, until: float = math.inf) -> None:
        """Train to `config.steps`, or to the time `until` (seconds of time.time()) or a SIGTERM, saving on the way and
        at the end.

        Raises Diverged; ValueError when another run is training in this folder. After that, or any other error, the
        last checkpoint that was written stands.
        """
        from tqdm import tqdm

        config, main = self.config, self.accelerator.is_main_process
        bar = tqdm(total=config.steps, initial=self.step, disable=not main, unit="step", smoothing=0.02)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.alone())
            stack.enter_context(memory_told(config))
            self.log = stack.enter_context(RunLog(self.folder, main, config.tensorboard, self.step))
            for part in (self.stop.listening(), bar, self.workers_end(), devices.precision(self.device, tf32=True)):
                stack.enter_context(part)
            if config.deterministic:
                stack.enter_context(devices.repeatable(self.device))
            self.batches = self.loader.stream(self.numbers(), config.workers, pin=self.device.type == "cuda")
            clock, frames, seen = time.time(), 0, 0
            while self.step < config.steps and not self.should_stop(until):
                loss, norm, batches = self.update()
                self.fresh.append(loss)
                frames += sum(int(b.mask.sum()) for b in batches)
                seen += sum(b.mask.numel() for b in batches)
                self.flops += sum(self.plain.net.flops(*b.mask.shape) for b in batches) if config.peak_tflops else 0.0
                self.step += 1
                bar.update()
                due = self.step % config.log_every == 0
                # a GPU is waited for only where there is something to tell
                if due or self.device.type == "cpu" or self.step % config.save_every == 0:
                    self.guard.report(self.step - 1, str(self.last))
                if due:
                    figures = self.figures(norm, frames, seen, time.time() - clock)
                    self.log.write(self.step, **figures)
                    bar.set_postfix_str(f"loss {figures['loss']:.3f}, {figures['frames_per_second']} frames/s")
                    clock, frames, seen = time.time(), 0, 0
                if self.valid is not None and self.step % config.valid_every == 0:
                    self.log.write(self.step, valid=self.validate())
                    if self.on_valid is not None and (main or self.sharded):
                        averaged = self.averaged()
                        if main:
                            self.on_valid(averaged, self.step)
                if self.step % config.save_every == 0:
                    self.save()
            self.guard.report(self.step - 1, str(self.last))
            self.save()

    def figures(self, norm: Tensor, frames: int, seen: int, seconds: float) -> dict[str, float]:
        """A line of the log: what happened in these seconds; the sums begin anew."""
        self.settle()
        mean = sum(self.losses) / len(self.losses)
        figures = {"loss": mean, "norm": float(norm), "lr": float(self.optimiser.param_groups[0]["lr"])}
        figures |= {"frames_per_second": round(self.world * frames / seconds), "padded": round(1 - frames / seen, 3)}
        if self.config.peak_tflops:  # forward, and twice as much backward
            share = 3e-12 * self.world * self.flops / seconds / self.config.peak_tflops
            figures["flops_share"] = round(share, 4)
        if skipped := int(self.guard.skipped):
            figures["skipped"] = skipped
        self.losses, self.flops = [], 0.0
        return figures

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While it lasts no other run trains in this folder. ValueError when one does."""
        if not self.accelerator.is_main_process:
            yield
            return
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(files.locked(self.folder / "run.lock", wait=False))
            except BlockingIOError:
                raise ValueError(
                    f"another run is training in {self.folder}; wait for it, or name another one"
                ) from None
            yield

    @contextlib.contextmanager
    def workers_end(self) -> Iterator[None]:
        """Afterwards the loader's workers are gone: they ignore SIGTERM, so left alone they would hold up the
        interpreter's exit.
        """
        try:
            yield
        finally:
            self.batches = iter(())

    def update(self) -> tuple[Tensor, Tensor, list[Batch]]:
        """One optimiser step; returns this process's share of the loss and the gradient's norm, both () on the device,
        and this process's batches. A GPU is not waited for.
        """
        config, parts = self.config, self.config.accumulate
        batches = [next(self.batches) for _ in range(parts)]
        hidden = [int((b.hidden & b.mask).sum()) for b in batches]
        total = self.everywhere(float(sum(hidden)))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        whole = torch.zeros((), device=self.device)
        for part, batch in enumerate(batches):
            number = (self.step * parts + part) * self.world + self.rank
            share = 1.0 if total == hidden[part] else hidden[part] / total
            with self.unsynced() if part < parts - 1 else contextlib.nullcontext():
                loss = self.forward(self.model, batch, noise_generator(self.device, config.seed, number)) * share
                self.accelerator.backward(loss * self.world)  # the gradients of all processes are averaged
            whole += loss.detach()
        norm = gathered(self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip)).detach()
        self.take(self.guard.judge(norm, self.step))
        self.optimiser.zero_grad()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        follow(self.average.values(), self.plain.state_dict().values(), decay)
        return whole, norm, batches

    def rate(self) -> float:
        """The learning rate of the update that comes."""
        return learning_rate(self.step, self.config)

    def take(self, good: Tensor) -> None:
        """The optimiser's step, where the guard has found it good."""
        if self.accelerator.scaler is not None:  # with loss scaling the optimiser itself skips, and lowers the scale
            self.optimiser.step()
        else:
            step_if(self.optimiser, good)

    @contextlib.contextmanager
    def unsynced(self) -> Iterator[None]:
        """Inside, gradients stay in their process: those of the last batch of an update bring the others along."""
        if not self.sharded:
            with self.accelerator.no_sync(self.model):
                yield
            return
        self.model.set_requires_gradient_sync(False)
        yield
        self.model.set_requires_gradient_sync(True)

    def everywhere(self, value: float) -> float:
        """The sum of a number over all processes; goes over the hosts, no GPU waits."""
        return self.all_sums([value])[0]

    def all_sums(self, values: list[float]) -> list[float]:
        """The sum over all processes of each of these numbers."""
        if self.hosts is None:
            return values
        sums = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(sums, group=self.hosts)
        return sums.tolist()

    def settle(self) -> None:
        """Read the losses that are still on the device, and add up those of all processes."""
        if self.fresh:
            self.losses += self.all_sums(torch.stack(self.fresh).tolist())
            self.fresh = []

    def forward(self, model: torch.nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        b = batch.to(self.device)
        drawn = devices.seeded(self.device, generator.initial_seed() + 1) if self.plain.config.dropout else None
        # dropout draws from torch's own generator
        with devices.autocast(self.device, self.dtype), drawn or contextlib.nullcontext():
            conditions = (b.mel, b.mask, b.hidden, b.ids, b.durations, b.drop_audio, b.drop_text)
            return model(*conditions, generator, *self.choices).loss

    @torch.no_grad()
    def validate(self) -> float:
        """Loss of the averaged weights on up to 24 validation batches with fixed spans, times and noise."""
        assert self.valid is not None
        kept = {k: v.detach().clone() for k, v in self.plain.state_dict().items()}
        self.plain.load_state_dict(self.average)
        self.plain.eval()
        count = min(24, self.valid.buckets.per_epoch)
        # sharded weights are gathered by all: none may have a batch less
        mine = range(self.rank, count + (-count % self.world if self.sharded else 0), self.world)
        with torch.compiler.set_stance("force_eager"):  # compiling for these few batches would take longer
            found = [self.forward(self.plain, self.valid[i], noise_generator(self.device, -1, i)) for i in mine]
        self.plain.load_state_dict(kept)
        self.plain.train()
        return self.everywhere(sum(float(loss) for i, loss in zip(mine, found, strict=True) if i < count)) / count

    def averaged(self) -> FlowModel:
        """A fresh, uncompiled copy of the model with the averaged weights."""
        copy = FlowModel(self.plain.config, self.plain.vocab, self.plain.tokenizer_settings)
        copy.load_state_dict(merged_state(gathered(self.average), 1.0))
        return copy.to(self.device).eval()

    def save(self) -> None:
        """Write the complete state (see state.py); all processes wait for it. OSError (disk full): the one from before
        stands.
        """
        self.settle()
        config, main = self.config, self.accelerator.is_main_process
        numbers = {"step": self.step, "config": to_dict(config), "processes": self.world, "nodes": self.nodes}
        numbers |= {"device": self.device.type, "guard": self.guard.state(), "losses": self.losses} | self.more()
        if config.sharded_checkpoints:
            save_parts(self.folder, self.tensors(), numbers, main, self.accelerator.wait_for_everyone)
            return
        state = {"model": self.plain.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict()}
        state |= {"reader": self.reader.state_dict()} if self.reader is not None else {}
        state = gathered(state) if self.sharded else state
        if main:
            write_whole(self.folder, state | numbers)
        self.accelerator.wait_for_everyone()

    def tensors(self) -> dict[str, Any]:
        """All tensors of the state, themselves."""
        found = {"model": self.plain.state_dict(), "average": self.average, "optimiser": moments(self.optimiser)}
        return found | ({"reader": self.reader.state_dict()} if self.reader is not None else {})

    def more(self) -> dict[str, Any]:
        """What else a state has: of fp16's loss scaling, where there is one."""
        return {"scaler": self.accelerator.scaler.state_dict()} if self.accelerator.scaler is not None else {}

    def resume(self) -> None:
        """Go on from the newest state where there is one. All processes must see the same files."""
        place = newest(self.folder)
        if place is None:
            return
        state = numbers_of(place) if place.is_dir() else files.read_state(place)
        try:
            self.restore_parts(place) if place.is_dir() else self.restore(state)
        except (RuntimeError, ValueError, KeyError) as error:
            fault = str(error).strip().splitlines()[-1].strip()
            raise ValueError(f"{place} belongs to another model ({fault}); name another run folder") from error
        self.step = state["step"]
        self.guard.restore(state["guard"])
        self.losses = state.get("losses", [])
        changed = changes(state, self.config, self.world, self.nodes, self.device.type)
        if changed and self.accelerator.is_main_process:
            logger.warning("%s: going on with other settings: %s", place, "; ".join(changed))
        self.take_more(state)
        logger.info("resumed at step %d", self.step)

    def take_more(self, state: dict[str, Any]) -> None:
        """Go on from what `more` gave."""
        if "scaler" in state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def restore(self, state: dict[str, Any]) -> None:
        """Take the tensors of a whole state."""
        if self.sharded:
            own = self.plain.state_dict()
            state["model"], state["average"] = cut(state["model"], own), cut(state["average"], own)
            state["optimiser"] = cut_optimiser(state["optimiser"], self.optimiser)
        self.plain.load_state_dict(state["model"])
        if self.reader is not None:
            self.reader.load_state_dict(state["reader"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}

    def restore_parts(self, place: Path) -> None:
        """Take the tensors of a state in parts."""
        make_moments(self.optimiser, place)
        load_parts(place, self.tensors())

    def should_stop(self, until: float) -> bool:
        """Whether any process was asked to stop or has run out of time: all stop at the same step."""
        return self.everywhere(float(bool(self.stop.asked) or time.time() >= until)) > 0
