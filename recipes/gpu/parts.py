"""What a GPU is asked in fifteen minutes, in parts that each print a table, row by row; the same code runs on a CPU.

    recipes/gpu/run.sh                          all parts on the GPU that is there
    recipes/gpu/run.sh check speed --seconds 100
    recipes/gpu/run.sh --device cpu --small     the same code on two cores, in a minute
    recipes/gpu/run.sh train --cache CACHE      the built-in voice, trained on for eight minutes (voice.py)

`check` compares every network with its own result in float32 on the CPU (check.py), `speed` counts frames of training,
the real-time factor of speaking and how often the host waits (speed.py), `train` makes updates of the built-in voice's
network with the Trainer. What fails becomes a row that says so; the exit code is then 1. Weights and inputs are random,
except the built-in voice's: what is measured is the hardware and the code. Results go to docs/gpu.md, with card, date
and commit.
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
from recipes.gpu.check import SYMBOLS, check, model_of, networks
from recipes.gpu.speed import speed
from recipes.gpu.table import Table
from tts_fm import devices
from tts_fm.config import TrainConfig
from tts_fm.data.batches import TrainItem
from tts_fm.train.trainer import Trainer

PARTS = ("check", "speed", "train")
LEARNT = ("flow", "vocoder", "duration", "predicted")  # of the built-in voice
CHECKED = 0.35  # of the seconds, where both check and speed are to be done within them


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


def updates(table: Table, device: torch.device, small: bool) -> None:
    """Updates of the built-in voice's network by the Trainer, with a checkpoint and a resume."""
    config = TrainConfig(
        steps=4 if small else 400, batch_frames=1000 if small else 60_000, log_every=2, valid_every=10**6
    )
    with tempfile.TemporaryDirectory() as folder:
        for steps in (config.steps // 2, config.steps):
            network = model_of(networks(small)["builtin"], torch.device("cpu"))
            run = Trainer(network, Noise(64), None, replace(config, steps=steps), Path(folder), device=device.type)
            begin = time.perf_counter()
            run.run()
            took = time.perf_counter() - begin
        lines = (Path(folder) / "log.jsonl").read_text().splitlines()
    table.row("updates", str(config.steps))
    table.row("seconds of the second half", f"{took:.1f}")
    for line in (lines[0], lines[-1]):
        table.row("log", line)


def train(args: argparse.Namespace, device: torch.device) -> int:
    if args.corpus or args.cache:
        where = dict(cache=args.cache, pieces=args.corpus, runs=args.runs)
        extra = {part: getattr(args, part) for part in LEARNT}
        rows = voice.train(
            device,
            args.small,
            args.out,
            **where,
            minutes=args.minutes,
            averages=args.averages,
            extra=extra,
            flow_share=args.one_by_one,
        )
        table = Table("train", *rows[0])
        for row in rows[1:]:
            table.row(*row)
        return table.end()
    table = Table("train", "what", "figure")
    with table.attempt("updates"):
        updates(table, device, args.small)
    return table.end()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="toy sizes, to see that all of it runs")
    parser.add_argument("--seconds", type=float, default=300.0, help="for check and speed together")
    parser.add_argument("--trace", type=Path, help="leave a profiler's trace of a sampling in this .json.gz")
    parser.add_argument("--corpus", type=Path, help="train the built-in voice on: the pieces of recipes/gpu/pack.py")
    parser.add_argument("--cache", type=Path, help="the same, on a folder as recipes/builtin/cache.py writes it")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="where its weights go, in small files")
    parser.add_argument("--runs", type=Path, help="where its checkpoints go (default: beside --out)")
    parser.add_argument("--minutes", type=float, default=8.0, help="for that, until the weights are brought")
    parser.add_argument("--averages", action="store_true", help="bring the flow's other averages too")
    parser.add_argument(
        "--one-by-one", type=float, metavar="SHARE", help="the vocoder begins after so much of the minutes, not at once"
    )
    for name in LEARNT:
        parser.add_argument(f"--{name}", default="", metavar="WORDS", help=f"more for recipes/builtin/{name}.py")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        raise ValueError(f"no part is called {min(unknown)}; there are {', '.join(PARTS)}")
    begin, parts, failed = time.perf_counter(), args.parts or PARTS, 0
    device = devices.pick(args.device)
    print(f"{devices.describe(device)}; torch {torch.__version__}; {time.strftime('%Y-%m-%d')}", flush=True)
    for name in parts:
        left = args.seconds - (time.perf_counter() - begin)
        if name == "check":
            failed += check(device, args.small, left * CHECKED if "speed" in parts else left)
        elif name == "speed":
            failed += speed(device, args.small, left, args.trace)
        else:
            failed += train(args, device)
    if failed:
        print(f"\n{failed} rows failed, or had no time left")
    return min(1, failed)


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
