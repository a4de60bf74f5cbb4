"""Training speed of the built-in network: mel frames and FLOP a second, in three ways of running the same update.

    python recipes/benchmarks/training_speed.py [--threads 1] [--items 16] [--frames 512] [--device cpu]
    git worktree add /tmp/before COMMIT
    python recipes/benchmarks/training_speed.py --before /tmp/before [--rounds 3]

`eager float32` is PyTorch as it comes; `eager bfloat16` adds autocast; `recipe` is what recipes/builtin/flow.py does
(autocast, compiled blocks, on a CPU attention spelled out). Forward, backward and AdamW step on random data; best of
the repeats. FLOP as model/network.py counts them, times three for the backward pass. With --before another tree of this
project is timed in turn with this one, each by its own script, and the best of each is compared.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

from tts_fm.model.flow_model import FlowModel
from tts_fm.train.optimiser import parameter_groups

sys.path.insert(0, str(Path(__file__).parents[1] / "builtin"))
from flow import model_config

SYMBOLS = 78
LINE = re.compile(r"^(.+?) +[0-9.]+ s an update +([0-9.]+) frames/s", re.MULTILINE)
ROOT = Path(__file__).resolve().parents[2]
WAYS = {"eager float32": (False, False), "eager bfloat16": (True, False), "recipe": (True, True)}


def seconds_of_update(args: argparse.Namespace, half: bool, compiled: bool) -> tuple[float, float]:
    """Seconds of one update, best of the repeats, and its FLOP."""
    items, frames, device = args.items, args.frames, torch.device(args.device or "cpu")
    generator = torch.Generator(device).manual_seed(0)
    model = FlowModel(model_config(SYMBOLS), [str(i) for i in range(SYMBOLS)]).to(device)
    optimiser = torch.optim.AdamW(parameter_groups(model, 0.01), lr=1e-4, fused=True)
    mask = torch.ones(items, frames, dtype=torch.bool, device=device)
    hidden, none = mask.clone(), torch.zeros(items, dtype=torch.bool, device=device)
    hidden[:, : frames // 4] = False
    mel, ids = torch.randn(items, frames, 100).to(device), torch.randint(SYMBOLS, (items, 96)).to(device)
    durations = torch.full((items, 96), frames / 96, device=device)
    if compiled:
        model.net.compile_blocks()
    best = float("inf")
    for _ in range(args.repeats + 2):  # the first compiles, the second warms up
        begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = model(mel, mask, hidden, ids, durations, none, none, generator).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        float(loss.detach())  # a GPU has finished
        best = min(best, time.perf_counter() - begin)
    return best, 3 * model.net.flops(items, frames)


def of_tree(tree: Path, args: argparse.Namespace) -> dict[str, float]:
    """{way: frames a second} of a tree, by its own script in a process of its own. ValueError."""
    script = tree / "recipes" / "benchmarks" / Path(__file__).name
    options = [f"--{name}={getattr(args, name)}" for name in ("threads", "items", "frames", "repeats")]
    options += [f"--device={args.device}"] if args.device else []
    command = [sys.executable, str(script), *options]
    run = subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": str(tree)}, stdout=subprocess.PIPE)
    found = dict(LINE.findall(run.stdout.decode()))
    if run.returncode or set(found) != set(WAYS):
        raise ValueError(f"{script} told no speeds; a tree of this project is needed")
    return {name: float(rate) for name, rate in found.items()}


def measure(args: argparse.Namespace) -> None:
    """Print the speeds of this tree."""
    from tts_fm.evaluate.report import hardware

    torch.set_num_threads(args.threads)
    print(f"{args.items} x {args.frames} frames, {args.threads} threads; {hardware()}; torch {torch.__version__}")
    base = 0.0
    for name, (half, compiled) in WAYS.items():
        seconds, flop = seconds_of_update(args, half, compiled)
        rate = args.items * args.frames / seconds
        base = base or rate
        figures = f"{rate:7.0f} frames/s  {flop / seconds / 1e9:5.0f} GFLOP/s  {rate / base:4.2f}x"
        print(f"{name:<15} {seconds:6.2f} s an update  {figures}", flush=True)


def main() -> None:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--before", type=Path, metavar="TREE", help="another checkout, to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="of both trees in turn, with --before (default: 3)")
    args = parsed(parser)
    if args.before is None:
        measure(args)
        return
    trees = {"before": args.before.resolve(), "after": ROOT}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for number in range(args.rounds):
        for name, tree in trees.items():
            rounds[name].append(of_tree(tree, args))
            print(f"round {number + 1}, {name}: {rounds[name][-1]}", flush=True)
    for way in WAYS:
        before, after = (max(found[way] for found in rounds[name]) for name in trees)
        print(f"{way:<15} before {before:7.0f}  after {after:7.0f} frames/s  {after / before:5.3f}x")


if __name__ == "__main__":
    main()
