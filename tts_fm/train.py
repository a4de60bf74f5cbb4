"""The one training loop: batch -> flow-matching loss -> step -> average -> validate -> save. Every recipe runs through it.

The whole state of a run is (weights, averaged weights, optimiser, step): batches, spans, times and noise are functions of the seed and the
step, so a run that was killed and resumed gives the losses of one that was not. Logs go to <run>/log.jsonl and, where tensorboard is
installed, to <run>/tensorboard. This module does not know what the items are or how the model speaks; `on_valid` may add samples.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tts_fm.batches import Batch, Items, Loader
from tts_fm.config import TrainConfig
from tts_fm.model.flow_model import FlowModel

logger = logging.getLogger(__name__)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, constant, linear decay to zero over the last `decay` steps."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = min(1.0, (config.steps - step) / max(1, config.decay))
    return config.learning_rate * min(rise, fall)


def noise_generator(device: torch.device, seed: int, step: int) -> torch.Generator:
    """The generator of step `step`: times and noise do not depend on what was drawn before."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step) % 2**63)


def speed_up(model: FlowModel) -> None:
    """Compile what repeats, block by block, for fixed shapes (few: see batches.Buckets). Worth it on CPUs, where small operations cost most."""
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    for block in model.net.transformer_blocks:
        block.attn.explicit = True
        block.compile(dynamic=False)
    model.net.input_embed.compile(dynamic=False)


class Trainer:
    """Holds the parts of a run; `run()` trains to the end and may be called again after any interruption."""

    def __init__(self, model: FlowModel, items: Items, valid: Items | None, config: TrainConfig, folder: Path,
                 on_valid: Callable[[FlowModel, int], None] | None = None, compiled: bool = False) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator()
        self.config, self.folder, self.on_valid = config, folder, on_valid
        folder.mkdir(parents=True, exist_ok=True)
        optimiser = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=config.learning_rate, betas=config.betas, fused=True)
        self.plain = model
        self.model, self.optimiser = self.accelerator.prepare(model, optimiser)
        self.average = {k: v.detach().clone() for k, v in self.plain.state_dict().items()}
        self.loader = Loader(items, config)
        self.valid = Loader(valid, config) if valid is not None else None
        self.step = 0
        if self.loader.buckets.too_long:
            logger.warning("%d utterances are longer than %d frames and are left out", self.loader.buckets.too_long, self.loader.buckets.edges[-1])
        self.resume()
        if compiled:
            speed_up(self.plain)

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    def run(self, until: float = math.inf) -> None:
        """Train to `config.steps`, or to the time `until` (seconds of time.time()), saving on the way and at the end, also when interrupted."""
        from tqdm import tqdm

        config, main = self.config, self.accelerator.is_main_process
        clock, frames, seen, losses, log = time.time(), 0, 0, [], (self.folder / "log.jsonl").open("a")
        bar = tqdm(total=config.steps, initial=self.step, disable=not main, unit="step", smoothing=0.02)
        try:
            while self.step < config.steps and time.time() < until:
                loss, norm, batch = self.update()
                losses.append(loss)
                frames += int(batch.mask.sum())
                seen += batch.mask.numel()
                self.step += 1
                bar.update()
                if self.step % config.log_every == 0:
                    took, clock = time.time() - clock, time.time()
                    self.write(log, loss=sum(losses) / len(losses), norm=norm, lr=learning_rate(self.step - 1, config),
                               frames_per_second=round(frames / took), padded=round(1 - frames / seen, 3))
                    bar.set_postfix_str(f"loss {sum(losses) / len(losses):.3f}, {frames / took:.0f} frames/s")
                    frames, seen, losses = 0, 0, []
                if self.valid is not None and self.step % config.valid_every == 0:
                    self.write(log, valid=self.validate())
                    if self.on_valid is not None and main:
                        self.on_valid(self.averaged(), self.step)
                if self.step % config.save_every == 0:
                    self.save()
        finally:
            self.save()
            bar.close()
            log.close()

    def update(self) -> tuple[float, float, Batch]:
        """One optimiser step on batch number `step`; returns the loss, the gradient norm and the batch."""
        config = self.config
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        number = self.step * world + rank
        batch = self.loader[number]
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, config)
        loss = self.forward(self.model, batch, noise_generator(self.accelerator.device, config.seed, number))
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip)
        if not torch.isfinite(norm):
            logger.warning("step %d: the gradient is not finite, the step is skipped", self.step)
        else:
            self.optimiser.step()
        self.optimiser.zero_grad()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.plain.state_dict().items():
                self.average[key].lerp_(value, 1 - decay)
        return loss.item(), float(norm), batch

    def forward(self, model: torch.nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        device = self.accelerator.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
            durations = None if batch.durations is None else batch.durations.to(device)
            tensors = (batch.mel, batch.mask, batch.hidden, batch.ids)
            drops = (batch.drop_audio.to(device), batch.drop_text.to(device))
            return model(*(x.to(device) for x in tensors), durations, *drops, generator, self.config.time_law).loss

    @torch.no_grad()
    def validate(self) -> float:
        """Loss of the averaged weights on up to 24 validation batches with fixed spans, times and noise."""
        assert self.valid is not None
        kept = {k: v.detach().clone() for k, v in self.plain.state_dict().items()}
        self.plain.load_state_dict(self.average)
        self.plain.eval()
        count = min(24, self.valid.buckets.per_epoch)
        losses = [float(self.forward(self.plain, self.valid[i], noise_generator(self.accelerator.device, -1, i))) for i in range(count)]
        self.plain.load_state_dict(kept)
        self.plain.train()
        return sum(losses) / len(losses)

    def averaged(self) -> FlowModel:
        """A fresh, uncompiled copy of the model with the averaged weights."""
        copy = FlowModel(self.plain.config, self.plain.vocab)
        copy.load_state_dict(self.average)
        return copy.eval()

    def write(self, log, **figures) -> None:
        if self.accelerator.is_main_process:
            print(json.dumps({"step": self.step} | {k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()}), file=log, flush=True)

    def save(self) -> None:
        """Write last.pt atomically: the complete state."""
        if self.accelerator.is_main_process:
            part = self.last.with_suffix(".part")
            torch.save({"model": self.plain.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict(), "step": self.step}, part)
            part.replace(self.last)

    def resume(self) -> None:
        """Continue from last.pt where there is one (weights_only: tensors and numbers, no code)."""
        if self.last.exists():
            state = torch.load(self.last, map_location=self.accelerator.device, weights_only=True)
            self.plain.load_state_dict(state["model"])
            self.average = state["average"]
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]
            logger.info("resumed at step %d", self.step)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Matrices decay, vectors (biases, gains) do not."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
