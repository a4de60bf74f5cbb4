"""What a GPU is asked in fifteen minutes, in three parts, each of which prints a table; the same code runs on a CPU.

    recipes/gpu/run.sh                          all parts on the GPU that is there
    recipes/gpu/run.sh --device cpu --small     the same code on two cores, in a few minutes
    recipes/gpu/run.sh train --cache CACHE      the built-in voice, trained on for eight minutes (voice.py)

`check` compares every network with its own result in float32 on the CPU, `speed` counts frames of training and the
real-time factor of speaking, `train` makes updates of the built-in voice's network with the Trainer.
Weights and inputs are random, unless `train` has a corpus or a cache: what is measured is the hardware and the code.
Results go to docs/gpu.md, with card, date and commit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from recipes.gpu import voice
from tts_fm import devices
from tts_fm.config import ModelConfig, TrainConfig
from tts_fm.data.batches import Batch, TrainItem
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.published import e2, f5_v0, f5_v1
from tts_fm.train.optimiser import adamw
from tts_fm.train.trainer import Trainer

SYMBOLS = 60
# relative deviation of the velocity from the CPU's in float32 that a type may have
LIMITS = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2, "float16": 2e-2}


def networks(small: bool) -> dict[str, ModelConfig]:
    """The published networks and the built-in one, or the same at a toy size."""
    built = ModelConfig(vocab=SYMBOLS, patch=2, shared_adaln=True, given_flag=True, text_frame_layers=2)
    found = {"f5_v1": f5_v1(SYMBOLS), "f5_v0": f5_v0(SYMBOLS), "e2": e2(SYMBOLS), "builtin": built}
    if small:
        found = {name: replace(c, dim=128, depth=2, heads=2) for name, c in found.items()}
    return found


def model_of(config: ModelConfig) -> FlowModel:
    """A network with random weights, none of them zero."""
    with devices.seeded("cpu", 1):
        model = FlowModel(config, [chr(97 + i) for i in range(SYMBOLS)])
        for value in model.parameters():
            if not bool(value.any()):
                torch.nn.init.normal_(value, std=0.02)
    return model


def batch_of(items: int, frames: int) -> Batch:
    """Random mels of which the last item is a quarter shorter, their first quarter given."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(items, frames, dtype=torch.bool)
    mask[-1, frames * 3 // 4 :] = items == 1
    hidden = mask.clone()
    hidden[:, : frames // 4] = False
    ids, flags = torch.randint(SYMBOLS, (items, 60), generator=generator), torch.zeros(items, dtype=torch.bool)
    mel = torch.randn(items, frames, 100, generator=generator)
    return Batch(mel, mask, hidden, ids, torch.full((items, 60), frames / 60), flags, flags)


@torch.no_grad()
def velocity(model: FlowModel, b: Batch) -> torch.Tensor:
    """The velocity at t = 0.5 of real frames, on the CPU in float32."""
    b = b.to(model.device)
    c = model.inference_condition(
        b.mel * ~b.hidden[..., None], b.mask & ~b.hidden, b.ids, b.mask, b.durations, b.drop_text
    )
    found = model.step(b.mel, torch.full((len(b.mel),), 0.5, device=model.device), c)
    return found[b.mask].float().cpu()


def check(device: torch.device, small: bool) -> list[list[str]]:
    """Parity of every network and type with the CPU in float32. ValueError where a deviation is above its limit."""
    rows, b = [], batch_of(2, 96 if small else 512)
    for name, config in networks(small).items():
        model = model_of(config).eval()
        true = velocity(model, b)
        for kind, limit in LIMITS.items():
            dtype = torch.float32 if kind == "tf32" else getattr(torch, kind)
            with devices.precision(device, tf32=kind == "tf32"):
                found = velocity(model.to(device, dtype), b)
            error = float((found - true).norm() / true.norm())
            rows.append([name, kind, f"{error:.1e}", f"{limit:.0e}"])
            if not error <= limit:
                raise ValueError(
                    f"{name} in {kind} deviates by {error:.1e} from float32 on the CPU; {limit:.0e} is allowed"
                )
            model.to("cpu", torch.float32)
            model.load_state_dict(model_of(config).state_dict())
    return [["network", "type", "deviation", "limit"], *rows]


def frames_a_second(
    config: ModelConfig, b: Batch, device: torch.device, compiled: bool, repeats: int
) -> tuple[float, float]:
    """Mel frames and TFLOP a second of whole updates, best of the repeats."""
    model, times = model_of(config).to(device).train(), []
    optimiser, b = adamw(model, TrainConfig()), b.to(device)
    if compiled:
        model.net.compile_blocks()
    generator = torch.Generator(device).manual_seed(0)
    for _ in range(repeats + 2):
        devices.finished(device)
        begin = time.perf_counter()
        with devices.autocast(device, devices.training_dtype(device, bf16=True, fp16=False)):
            loss = model(b.mel, b.mask, b.hidden, b.ids, b.durations, b.drop_audio, b.drop_text, generator).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        devices.finished(device)
        times.append(time.perf_counter() - begin)
    best = min(times[2:])
    return b.mask.numel() / best, 3e-12 * model.net.flops(*b.mask.shape) / best


def speed(device: torch.device, small: bool) -> list[list[str]]:
    """Training and speaking."""
    rows = [["what", "how", "figure"]]
    train = networks(True) if small else {"f5_small": f5_v1(SYMBOLS, "small"), "f5_base": f5_v1(SYMBOLS)}
    for name, config in train.items():
        for compiled in (False,) if small else (False, True):
            rate, flop = frames_a_second(config, batch_of(*((2, 96) if small else (16, 1024))), device, compiled, 2)
            how = f"training, {'compiled' if compiled else 'eager'}"
            rows.append([name, how, f"{rate:,.0f} frames/s, {flop:.2f} TFLOP/s"])
    config = networks(small)["f5_v1"]
    model = model_of(config).eval().to(device, devices.speaking_dtype(device))
    for items in (1, 2) if small else (1, 16):
        for steps in (2,) if small else (7, 16, 32):
            frames, b = 192 if small else 1500, batch_of(items, 64)
            model.sample(b.mel, b.ids, frames, steps=1, cfg=2.0)
            devices.finished(device)
            begin = time.perf_counter()
            model.sample(b.mel, b.ids, frames, steps=steps, cfg=2.0)
            devices.finished(device)
            seconds = items * (frames - 64) / 93.75
            rows.append(
                [
                    "f5_v1",
                    f"speaking, {steps} steps, batch {items}",
                    f"RTF {(time.perf_counter() - begin) / seconds:.4f}",
                ]
            )
    return rows


class Noise:
    """Utterances of noise, as batches.Items."""

    unknown = 0

    def __init__(self, count: int) -> None:
        self.frames = [100 + 40 * (i % 12) for i in range(count)]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> TrainItem:
        rng, frames = np.random.default_rng(index), self.frames[index]
        mel = rng.normal(size=(frames, 100)).astype(np.float32)
        return TrainItem(mel, rng.integers(2, SYMBOLS, 40), np.full(40, frames / 40))


def train(device: torch.device, small: bool) -> list[list[str]]:
    """Updates of the built-in voice's network by the Trainer, with a checkpoint and a resume."""
    config = TrainConfig(
        steps=4 if small else 400, batch_frames=1000 if small else 60_000, log_every=2, valid_every=10**6
    )
    with tempfile.TemporaryDirectory() as folder:
        losses = []
        for steps in (config.steps // 2, config.steps):
            network = model_of(networks(small)["builtin"])
            run = Trainer(network, Noise(64), None, replace(config, steps=steps), Path(folder), device=device.type)
            begin = time.perf_counter()
            run.run()
            took = time.perf_counter() - begin
        lines = (Path(folder) / "log.jsonl").read_text().splitlines()
        losses = [lines[0], lines[-1]]
    return [["what", "figure"], ["updates", str(config.steps)], ["seconds of the second half", f"{took:.1f}"],
            *[["log", line] for line in losses]]  # fmt: skip


PARTS = {"check": check, "speed": speed, "train": train}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="toy sizes, to see that all of it runs")
    parser.add_argument("--corpus", type=Path, help="train the built-in voice on: the pieces of recipes/gpu/pack.py")
    parser.add_argument("--cache", type=Path, help="the same, on a folder as recipes/builtin/cache.py writes it")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="where its weights go, in small files")
    parser.add_argument("--runs", type=Path, help="where its checkpoints go (default: beside --out)")
    parser.add_argument("--minutes", type=float, default=8.0, help="for that, until the weights are brought")
    parser.add_argument("--averages", action="store_true", help="bring the flow's other averages too")
    for name in ("flow", "vocoder", "duration", "predicted"):
        parser.add_argument(f"--{name}", default="", metavar="WORDS", help=f"more for recipes/builtin/{name}.py")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        raise ValueError(f"no part is called {min(unknown)}; there are {', '.join(PARTS)}")
    device = devices.pick(args.device)
    print(f"{devices.describe(device)}; torch {torch.__version__}; {time.strftime('%Y-%m-%d')}")
    for name in args.parts or PARTS:
        begin = time.perf_counter()
        if name == "train" and (args.corpus or args.cache):
            where = dict(cache=args.cache, pieces=args.corpus, runs=args.runs)
            extra = {part: getattr(args, part) for part in ("flow", "vocoder", "duration", "predicted")}
            more = dict(minutes=args.minutes, averages=args.averages, extra=extra)
            rows = voice.train(device, args.small, args.out, **where, **more)
        else:
            rows = PARTS[name](device, args.small)
        print(f"\n{name} ({time.perf_counter() - begin:.0f} s)\n")
        for number, row in enumerate(rows):
            print("| " + " | ".join(row) + " |")
            if number == 0:
                print("|" + " --- |" * len(row))


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
