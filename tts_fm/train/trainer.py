"""The one training loop: batch -> flow-matching loss -> step -> average -> validate -> save. Every recipe runs through
it.

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
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tts_fm.config import TrainConfig
from tts_fm.data.batches import Batch, Items, Loader
from tts_fm.errors import MissingDependency, TtsFmError
from tts_fm.model.dit import Block, DiT
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.unett import UNetT
from tts_fm.train.ctc import WithCTC
from tts_fm.train.fsdp import cut, cut_optimiser, gathered, shard

logger = logging.getLogger(__name__)


class Diverged(TtsFmError):
    """Too many updates in a row had to be skipped."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, constant, linear decay to zero over the last `decay` steps."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = min(1.0, (config.steps - step) / max(1, config.decay))
    return config.learning_rate * min(rise, fall)


def noise_generator(device: torch.device, seed: int, number: int) -> torch.Generator:
    """The generator of batch `number`: times and noise do not depend on what was drawn before."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + number) % 2**63)


def speed_up(model: FlowModel) -> None:
    """Compile what repeats, block by block, for fixed shapes (few: see batches.Buckets). Worth it on CPUs, where small
    operations cost most. ValueError for a network other than the DiT."""
    if model.config.backbone != "dit":
        raise ValueError(f"only the dit backbone is compiled block by block, not {model.config.backbone}")
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    assert isinstance(model.net, DiT)
    for block in model.net.transformer_blocks:
        assert isinstance(block, Block)
        block.attn.explicit = True
        block.compile(dynamic=False)
    model.net.input_embed.compile(dynamic=False)


def recompute_blocks(model: FlowModel) -> None:
    """Gradient checkpointing: attention and feed-forward parts keep their input only and run again in the backward
    pass.
    """
    from torch.utils.checkpoint import checkpoint

    def wrap(part: torch.nn.Module) -> None:
        inner = part.forward
        part.forward = lambda *inputs: (
            checkpoint(inner, *inputs, use_reentrant=False) if torch.is_grad_enabled() else inner(*inputs)
        )

    if isinstance(model.net, DiT):
        for block in model.net.transformer_blocks:
            wrap(block)
    else:
        assert isinstance(model.net, UNetT)
        for layer in model.net.layers:
            assert isinstance(layer, torch.nn.ModuleList)
            wrap(layer[2])
            wrap(layer[4])


def forward_flops(model: FlowModel, items: int, frames: int) -> float:
    """Multiplications and additions of one forward pass, about: 2 a weight and position, and attention's T^2."""
    config = model.config
    positions = -(-frames // config.patch)
    weights = sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.ndim >= 2 and "text_embed" not in name and "norm" not in name
    )
    return items * (2.0 * weights * positions + 4.0 * config.depth * config.dim * positions**2)


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
    ) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DistributedType

        alone = not torch.accelerator.is_available()  # said aloud, because accelerate joins CPU processes only then
        self.accelerator = Accelerator(cpu=alone, mixed_precision="fp16" if config.fp16 else None)
        if self.accelerator.distributed_type == DistributedType.FSDP:
            raise ValueError(
                "FSDP is not asked for in accelerate's configuration: set shard=True and start the processes with "
                "torchrun"
            )
        if config.shard and (config.ctc or config.fp16 or compiled):
            raise ValueError("shard=True goes with bf16 and float32, and without ctc and compiling")
        self.config, self.folder, self.on_valid = config, folder, on_valid
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        folder.mkdir(parents=True, exist_ok=True)
        self.plain, trained = model, WithCTC(model, config.ctc) if config.ctc else model
        self.reader = trained.reader if isinstance(trained, WithCTC) else None
        self.sharded = config.shard and self.world > 1
        if config.checkpointing:
            recompute_blocks(model)
        if self.sharded:
            shard(model.to(self.accelerator.device))
        groups = parameter_groups(trained, config.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
        self.model: Any = trained
        if self.sharded:
            self.optimiser = self.accelerator.prepare(optimiser)
        else:
            self.model, self.optimiser = self.accelerator.prepare(trained, optimiser)
        self.average = {k: v.detach().clone() for k, v in self.plain.state_dict().items()}
        self.loader = Loader(items, config)
        self.valid = Loader(valid, replace(config, equalise=0.0, revoice=0.0)) if valid is not None else None
        self.step = 0
        # usual gradient norm, updates skipped in all and lately
        self.guard: dict[str, Any] = {"usual": 0.0, "skipped": 0, "in_row": 0}
        self.losses: list[float] = []  # since the last line of the log
        self.asked = 0.0  # when someone asked the run to stop
        self.board: Any = None
        self.batches: Iterator[Batch] = iter(())
        buckets = self.loader.buckets
        if buckets.too_long:
            logger.warning(
                "%d utterances are longer than %d frames and are left out", buckets.too_long, buckets.edges[-1]
            )
        self.resume()
        if compiled:
            speed_up(self.plain)

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    def numbers(self) -> Iterator[int]:
        """Which batches this process takes from now on: of every round of `world` batches the one at its rank."""
        return (turn * self.world + self.rank for turn in itertools.count(self.step * self.config.accumulate))

    def run(self, until: float = math.inf) -> None:
        """Train to `config.steps`, or to the time `until` (seconds of time.time()) or a SIGTERM, saving on the way and
        at the end.

        Raises Diverged. After that, or any other error, the last checkpoint that was written stands.
        """
        from tqdm import tqdm

        config, main = self.config, self.accelerator.is_main_process
        self.batches = self.loader.stream(self.numbers(), config.workers)
        clock, frames, seen, flops, log = time.time(), 0, 0, 0.0, (self.folder / "log.jsonl").open("a")
        bar = tqdm(total=config.steps, initial=self.step, disable=not main, unit="step", smoothing=0.02)
        with self.signals(), bar, log, self.workers_end():
            while self.step < config.steps and not self.should_stop(until):
                loss, norm, batches = self.update()
                self.losses.append(loss)
                frames += self.world * sum(int(b.mask.sum()) for b in batches)
                seen += self.world * sum(b.mask.numel() for b in batches)
                if config.peak_tflops:
                    flops += 3e-12 * self.world * sum(forward_flops(self.plain, *b.mask.shape) for b in batches)
                self.step += 1
                bar.update()
                if self.step % config.log_every == 0:
                    took, clock = time.time() - clock, time.time()
                    used = {"flops_share": round(flops / took / config.peak_tflops, 4)} if config.peak_tflops else {}
                    skips = {"skipped": self.guard["skipped"]} if self.guard["skipped"] else {}
                    mean = sum(self.losses) / len(self.losses)
                    self.write(
                        log,
                        loss=mean,
                        norm=norm,
                        lr=learning_rate(self.step - 1, config),
                        frames_per_second=round(frames / took),
                        padded=round(1 - frames / seen, 3),
                        **used,
                        **skips,
                    )
                    bar.set_postfix_str(f"loss {mean:.3f}, {frames / took:.0f} frames/s")
                    frames, seen, flops, self.losses = 0, 0, 0.0, []
                if self.valid is not None and self.step % config.valid_every == 0:
                    self.write(log, valid=self.validate())
                    if self.on_valid is not None and (main or self.sharded):
                        averaged = self.averaged()
                        if main:
                            self.on_valid(averaged, self.step)
                if self.step % config.save_every == 0:
                    self.save()
            self.save()

    @contextlib.contextmanager
    def workers_end(self) -> Iterator[None]:
        """Afterwards the loader's workers are gone: they ignore SIGTERM, so left alone they would hold up the
        interpreter's exit.
        """
        try:
            yield
        finally:
            self.batches = iter(())

    def update(self) -> tuple[float, float, list[Batch]]:
        """One optimiser step; returns the loss over all processes, the gradient norm and this process's batches."""
        config, parts = self.config, self.config.accumulate
        batches = [next(self.batches) for _ in range(parts)]
        hidden = [int((b.hidden & b.mask).sum()) for b in batches]
        total = self.everywhere(sum(hidden))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, config)
        whole = torch.zeros((), device=self.accelerator.device)
        for part, batch in enumerate(batches):
            number = (self.step * parts + part) * self.world + self.rank
            share = 1.0 if total == hidden[part] else hidden[part] / total
            with self.unsynced() if part < parts - 1 else contextlib.nullcontext():
                loss = (
                    self.forward(self.model, batch, noise_generator(self.accelerator.device, config.seed, number))
                    * share
                )
                self.accelerator.backward(loss * self.world)  # the gradients of all processes are averaged
            whole += loss.detach()
        norm = gathered(self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip))
        # with loss scaling the optimiser itself skips, and lowers the scale
        if self.accepts(float(norm)) or config.fp16:
            self.optimiser.step()
        self.optimiser.zero_grad()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.plain.state_dict().items():
                self.average[key].lerp_(value, 1 - decay)
        return self.everywhere(whole.item()), float(norm), batches

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

    def accepts(self, norm: float) -> bool:
        """Whether to take this update. Raises Diverged when too many in a row were not taken."""
        guard, limit = self.guard, self.config.spike * self.guard["usual"]
        if math.isfinite(norm) and not (limit and self.step >= self.config.warmup and norm > limit):
            guard["usual"] = norm if not guard["usual"] else 0.98 * guard["usual"] + 0.02 * norm
            guard["in_row"] = 0
            return True
        guard["skipped"] += 1
        guard["in_row"] += 1
        what = f"{norm:.3g}, usually {guard['usual']:.3g}" if math.isfinite(norm) else "not finite"
        logger.warning(
            "step %d: the gradient norm is %s: the update is skipped (%d so far)", self.step, what, guard["skipped"]
        )
        if guard["in_row"] >= self.config.most_skipped:
            raise Diverged(
                f"the run has diverged: {guard['in_row']} updates in a row were skipped, the last at step {self.step} "
                "(gradient "
                f"norm {what}). {self.last} holds an earlier state: go on from it with a lower learning rate or longer "
                "warm-up"
            )
        return False

    def everywhere(self, value: float) -> float:
        """The sum of a number over all processes."""
        if self.world == 1:
            return value
        return self.accelerator.reduce(
            torch.tensor(value, dtype=torch.float64, device=self.accelerator.device), "sum"
        ).item()

    def forward(self, model: torch.nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        device = self.accelerator.device
        half = torch.float16 if self.config.fp16 else torch.bfloat16
        with torch.autocast(device.type, half, enabled=self.config.bf16 or self.config.fp16), self.dropout(generator):
            durations = None if batch.durations is None else batch.durations.to(device)
            tensors = (batch.mel, batch.mask, batch.hidden, batch.ids)
            drops = (batch.drop_audio.to(device), batch.drop_text.to(device))
            return model(*(x.to(device) for x in tensors), durations, *drops, generator, self.config.time_law).loss

    @contextlib.contextmanager
    def dropout(self, generator: torch.Generator) -> Iterator[None]:
        """Dropout draws from torch's own generator: inside, it is seeded for this batch; afterwards it is as it was."""
        if not self.plain.config.dropout:
            yield
            return
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed() + 1)
            yield

    @torch.no_grad()
    def validate(self) -> float:
        """Loss of the averaged weights on up to 24 validation batches with fixed spans, times and noise."""
        assert self.valid is not None
        kept = {k: v.detach().clone() for k, v in self.plain.state_dict().items()}
        self.plain.load_state_dict(self.average)
        self.plain.eval()
        count = min(24, self.valid.buckets.per_epoch)
        # sharded weights are gathered by all: none may have a batch less
        more = -count % self.world if self.sharded else 0
        mine = range(self.rank, count + more, self.world)
        found = [
            float(self.forward(self.plain, self.valid[i], noise_generator(self.accelerator.device, -1, i)))
            for i in mine
        ]
        self.plain.load_state_dict(kept)
        self.plain.train()
        return self.everywhere(sum(loss for i, loss in zip(mine, found, strict=True) if i < count)) / count

    def averaged(self) -> FlowModel:
        """A fresh, uncompiled copy of the model with the averaged weights."""
        copy = FlowModel(self.plain.config, self.plain.vocab, self.plain.path.sigma_min, self.plain.tokenizer_settings)
        copy.load_state_dict(gathered(self.average))
        return copy.to(self.accelerator.device).eval()

    def write(self, log, **figures) -> None:
        if not self.accelerator.is_main_process:
            return
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()}
        print(json.dumps({"step": self.step} | rounded), file=log, flush=True)
        if self.config.tensorboard:
            for name, value in figures.items():
                self.tensorboard().add_scalar(name, value, self.step)

    def tensorboard(self) -> Any:
        """The TensorBoard writer of this run (main process only). Raises MissingDependency."""
        if self.board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingDependency(
                    f"tensorboard=True needs TensorBoard ({error}): pip install tts-fm[train]"
                ) from error
            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step)
        return self.board

    def save(self) -> None:
        """Write last.pt atomically: the complete state. All processes wait for it."""
        state = {
            "model": self.plain.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        state |= {"reader": self.reader.state_dict()} if self.reader is not None else {}
        state = gathered(state) if self.sharded else state
        if self.accelerator.is_main_process:
            part = self.last.with_suffix(".part")
            torch.save(state | {"guard": self.guard, "losses": self.losses} | self.scale(), part)
            part.replace(self.last)
        self.accelerator.wait_for_everyone()

    def scale(self) -> dict[str, Any]:
        """The state of fp16's loss scaling, where there is one."""
        return {"scaler": self.accelerator.scaler.state_dict()} if self.accelerator.scaler is not None else {}

    def resume(self) -> None:
        """Continue from last.pt where there is one (weights_only: tensors and numbers, no code). All processes must see
        the same file.
        """
        if not self.last.exists():
            return
        state = torch.load(self.last, map_location="cpu", weights_only=True)
        try:
            if self.sharded:
                own = self.plain.state_dict()
                state["model"], state["average"] = cut(state["model"], own), cut(state["average"], own)
                state["optimiser"] = cut_optimiser(state["optimiser"], self.optimiser)
            self.plain.load_state_dict(state["model"])
            if self.reader is not None:
                self.reader.load_state_dict(state["reader"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            fault = str(error).strip().splitlines()[-1].strip()
            raise ValueError(f"{self.last} belongs to another model ({fault}); name another run folder") from error
        self.average = {k: v.to(self.accelerator.device) for k, v in state["average"].items()}
        self.step = state["step"]
        self.guard = state.get("guard", self.guard)
        self.losses = state.get("losses", [])
        if "scaler" in state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        logger.info("resumed at step %d", self.step)

    # ---- stopping

    def should_stop(self, until: float) -> bool:
        """Whether any process was asked to stop or has run out of time: all stop at the same step."""
        return self.everywhere(float(bool(self.asked) or time.time() >= until)) > 0

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """While it lasts SIGTERM and SIGINT ask for a stop; another SIGINT two seconds later interrupts at once."""

        def ask(number: int, _: object) -> None:
            if number == signal.SIGINT and self.asked and time.time() > self.asked + 2:
                raise KeyboardInterrupt
            self.asked = self.asked or time.time()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.asked = 0.0
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Matrices decay, vectors (biases, gains) do not."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
