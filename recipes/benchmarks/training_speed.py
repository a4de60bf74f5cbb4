"""Training speed of the built-in network on this CPU: mel frames and FLOP a second, in three ways of running the same
update.

    python recipes/benchmarks/training_speed.py [--threads 1] [--items 16] [--frames 512]

`eager float32` is PyTorch as it comes; `eager bfloat16` adds autocast; `recipe` is what recipes/builtin/flow.py does
(autocast, compiled blocks, attention spelled out). Forward, backward and AdamW step on random data, all in one process;
best of the repeats. FLOP as model/network.py counts them, times three for the backward pass.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

import torch

from tts_fm.evaluate.report import hardware
from tts_fm.model.flow_model import FlowModel
from tts_fm.train.optimiser import parameter_groups

sys.path.insert(0, str(Path(__file__).parents[1] / "builtin"))
from flow import model_config

SYMBOLS = 78


def seconds_of_update(items: int, frames: int, half: bool, compiled: bool, repeats: int) -> tuple[float, float]:
    """Seconds of one update, best of `repeats`, and its FLOP."""
    generator = torch.Generator().manual_seed(0)
    model = FlowModel(model_config(SYMBOLS), [str(i) for i in range(SYMBOLS)])
    optimiser = torch.optim.AdamW(parameter_groups(model, 0.01), lr=1e-4, fused=True)
    mel = torch.randn(items, frames, 100, generator=generator)
    mask = torch.ones(items, frames, dtype=torch.bool)
    hidden = mask.clone()
    hidden[:, : frames // 4] = False
    ids = torch.randint(SYMBOLS, (items, 96), generator=generator)
    durations = torch.full((items, 96), frames / 96)
    none = torch.zeros(items, dtype=torch.bool)
    if compiled:
        model.net.compile_blocks()
    best = float("inf")
    for _ in range(repeats + 2):  # the first compiles, the second warms up
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            loss = model(mel, mask, hidden, ids, durations, none, none, generator).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        best = min(best, time.perf_counter() - begin)
    return best, 3 * model.net.flops(items, frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.items} x {args.frames} frames, {args.threads} threads; {hardware()}; torch {torch.__version__}")
    base = 0.0
    for name, half, compiled in (
        ("eager float32", False, False),
        ("eager bfloat16", True, False),
        ("recipe", True, True),
    ):
        seconds, flop = seconds_of_update(args.items, args.frames, half, compiled, args.repeats)
        rate = args.items * args.frames / seconds
        base = base or rate
        figures = f"{rate:7.0f} frames/s  {flop / seconds / 1e9:5.0f} GFLOP/s  {rate / base:4.2f}x"
        print(f"{name:<15} {seconds:6.2f} s an update  {figures}", flush=True)


if __name__ == "__main__":
    main()
