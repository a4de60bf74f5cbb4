"""The training loop of the small models beside the flow (duration model, aligner): AdamW, checkpoints, a log, exact
resume.

A run's state is (weights, optimiser, step, torch's generator, time used); batches are functions of the step. With
--until the time is what the clock says, so that a run that began late, or anew, ends with the others.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tts_fm import devices, files
from tts_fm.train.optimiser import step_if

log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser, batch: int, save: int) -> None:
    """What `train` reads from args, and `cache` and `out`, which every such recipe has."""
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    add_clock(parser)
    parser.add_argument("--batch", type=int, default=batch, help="clips in a batch")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument("--save", type=int, default=save, help="checkpoint and measure every so many steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--valid-only", action="store_true", help="measure what is there, and end")


def add_clock(parser: argparse.ArgumentParser) -> None:
    """How long a run lasts."""
    parser.add_argument("--minutes", type=float, default=math.inf, help="of training, summed over resumed runs")
    parser.add_argument(
        "--until", type=float, default=math.inf, help="when they are over, in seconds of time.time(), whoever used them"
    )


def share_used(args: argparse.Namespace, used: float) -> float:
    """Share of the run's minutes that is over; used: seconds of training, which count where no --until is given."""
    left = args.until - time.time()
    return used / (60 * args.minutes) if math.isinf(left) else 1 - left / (60 * args.minutes)


def train(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    save: Callable[[], None],
    measure: Callable[[], dict[str, float]],
    args: argparse.Namespace,
) -> None:
    """Train until args.steps or args.minutes are used up. loss_of(step): the loss of a batch, computed
    where the model is; save, measure: of the model on the CPU. A GPU is waited for only then.
    """
    device = devices.pick(args.device)
    with devices.precision(device, tf32=True):
        _train(model, loss_of, save, measure, args, device)


def _train(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    save: Callable[[], None],
    measure: Callable[[], dict[str, float]],
    args: argparse.Namespace,
    device: torch.device,
) -> None:
    model.to(device)
    half = devices.training_dtype(device, bf16=True, fp16=False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    last, step, used = args.out / "last.pt", 0, 0.0
    torch.manual_seed(args.seed)  # dropout
    if (state := files.read_state(last)) is not None:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state.get("rng", torch.get_rng_state()))
        step, used = state["step"], state["used"]
        log.info("going on from step %d", step)
    began = time.time() - used
    recent: list[Tensor] = []
    while True:
        used = time.time() - began
        done = max(step / args.steps, share_used(args, used))
        if done >= 1 or (step and step % args.save == 0):
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "rng": torch.get_rng_state()}
            files.write_state(last, state | {"step": step, "used": used})
            model.cpu()  # what is written and measured
            save()
            figures = {
                "step": step,
                "seconds": round(used),
                "loss": round(float(torch.stack(recent).mean()), 4) if recent else None,
            } | measure()
            with (args.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
            log.info("%s", figures)
            recent = []
            model.to(device)
        if done >= 1:
            return
        for group in optimiser.param_groups:
            # flat, then to zero over the last two thirds
            group["lr"] = args.lr * min(1.0, (step + 1) / args.warmup, 1.5 * (1 - done))
        model.train()
        with devices.autocast(device, half):
            loss = loss_of(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step_if(optimiser, torch.isfinite(norm))
        recent.append(loss.detach())
        step += 1
