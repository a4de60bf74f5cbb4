"""Train the small Vocos of the built-in voice: mel + multi-resolution STFT losses first, then adversarially.

It learns to read the pitch off the mel, and the phases of low harmonics follow from that (tts_fm/model/harmonics.py).

    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/vocoder --layers 8 --steps 24000
      --adversarial-from 24000
    python recipes/builtin/predicted.py runs/builtin/cache runs/builtin/flow runs/builtin/predicted
    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/vocoder --predicted runs/builtin/predicted \\
        --layers 8 --steps 26000 --adversarial-from 24000 --lr 3e-4
    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/phases --start tts_fm/assets/builtin/vocoder \\
        --predicted runs/builtin/predicted --phases 30 --adversarial-from 1000000 --steps 7000 --layers 8 --batch 12 \\
        --lr 4e-4 --threads 2
    python recipes/builtin/spoken.py runs/builtin/cache tts_fm/assets/builtin runs/builtin/spoken
    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/sharper --start tts_fm/assets/builtin/vocoder \\
        --spoken runs/builtin/spoken --adversarial-from 0 --layers 8 --batch 6 --steps 12000 --lr 3e-4 --threads 2

One thread is enough (--threads 2 for both cores). Resumes from the last checkpoint in the run folder; log.jsonl holds
every figure. Network: Vocos (Siuzdak 2023, arXiv 2306.00814), 256 channels x 8 ConvNeXt blocks, 3.6M parameters;
discriminators of judges.py. B clips, S samples, T mel frames.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crops import Batch, Clips, Predicted, Spoken, draw, held
from generator import Generator, SpectralLoss, grown, pitch_error, turning
from judges import PERIODS, WINDOWS, Balance, Judges
from loop import add_clock, share_used
from pitches import Pitches
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tts_fm import devices, files
from tts_fm.model.harmonics import Reading
from tts_fm.model.vocoder import WEIGHTS
from tts_fm.train.optimiser import follow, step_if

CROP = 48  # mel frames (0.51 s)
SAVE_EVERY = 60  # seconds
PITCH, TURNING = 2.0, 10.0  # weights of what is wrong with the pitch, and with how it turns phases


def learning_rate(step: int, args: argparse.Namespace, used: float = 0.0) -> float:
    """Warm-up over 200 steps and a cosine down to 2 %, in each of the two phases; used: share of the minutes."""
    first, end = 0, min(args.steps, args.adversarial_from)
    if step >= args.adversarial_from:
        first, end = args.adversarial_from + args.judges_first, args.steps  # the generator waits before that
    step = max(0, step - first)
    done = max(used, step / max(1, end - first))
    return args.lr * min(1.0, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@torch.no_grad()
def validate(model: nn.Module, clips: Clips, spectral: SpectralLoss) -> float:
    """Mean multi-resolution log-mel loss over 64 fixed validation crops."""
    losses = []
    for step in range(4):
        batch = clips.batch(step, 16, seed=999)
        losses.append(spectral(model(batch.mel.transpose(1, 2)), batch.wave)[0])
    return float(sum(losses)) / len(losses)


def adversarial_gradient(
    judges: Judges,
    optimiser: torch.optim.Optimizer,
    fake: Tensor,
    real: Tensor,
    sitting: Sequence[int],
    with_generator: bool,
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """One update of the discriminators that sit, on copies (B, S), of which the first have true speech (R, S). Returns
    the gradient of the generator's adversarial loss by the copies, if wanted, and figures, of which `ahead` is 0 where
    the discriminators guess and 1 where they know.
    """
    copy = fake.detach().requires_grad_(with_generator)
    with devices.autocast(fake.device, torch.bfloat16), parametrize.cached():
        verdict = judges(copy, real, sitting)
    gradient = None
    if with_generator:
        (gradient,) = torch.autograd.grad(verdict.fool + 2 * verdict.match, copy, retain_graph=True)
    optimiser.zero_grad()
    verdict.own.backward()
    norm = nn.utils.clip_grad_norm_(judges.parameters(), 10.0)
    step_if(optimiser, torch.isfinite(norm))
    figures = {key: value.detach() for key, value in verdict._asdict().items()}
    return gradient, figures | {"ahead": 1 - 2 * figures["own"] / len(sitting)}


class Run:
    """A training run: networks, optimisers, the average of the generator's weights, and its folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device, self.last = args, devices.pick(args.device), args.out / "last.pt"
        self.spectral = SpectralLoss().to(self.device)
        self.model = Generator(layers=args.layers).to(self.device)
        self.judges = Judges(args.windows, args.periods, args.channels).to(self.device)
        if args.start:
            self.model.load_state_dict(grown(load_file(args.start / WEIGHTS), self.model))
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        how: dict[str, Any] = {"betas": (0.8, 0.98), "weight_decay": 0.01, "fused": True}
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=args.lr, **how)
        self.theirs = torch.optim.AdamW(self.judges.parameters(), lr=args.judges_lr, **how)
        self.balance, self.step, self.used = Balance(args.share), 0, 0.0  # seconds
        self.first: Generator | None = None
        if (state := files.read_state(self.last)) is not None:
            self.resume(state)

    def resume(self, state: dict[str, Any]) -> None:
        if deeper := len(state["model"]) < len(self.average):
            state |= {key: grown(state[key], self.model) for key in ("model", "ema")}
        self.model.load_state_dict(state["model"])
        if not deeper:  # the optimiser's state is by number of the parameter
            self.optimiser.load_state_dict(state["g_opt"])
        if state["step"] > self.args.adversarial_from:  # before that they are untrained, and may be others now
            self.judges.load_state_dict(state["judges"])
            self.theirs.load_state_dict(state["d_opt"])
            self.balance.restore(state["lengths"], self.device)
        self.used = state.get("used", 0.0)
        self.average, self.step = {k: v.to(self.device) for k, v in state["ema"].items()}, state["step"]

    def save(self, path: Path) -> None:
        parts: dict[str, Any] = {
            "model": self.model,
            "judges": self.judges,
            "g_opt": self.optimiser,
            "d_opt": self.theirs,
        }
        state = {key: part.state_dict() for key, part in parts.items()}
        files.write_state(
            path, state | {"ema": self.average, "step": self.step, "used": self.used, "lengths": self.balance.state()}
        )

    def averaged(self) -> nn.Module:
        model = Generator(layers=self.args.layers).to(self.device)
        model.load_state_dict(self.average)
        return model

    @torch.no_grad()
    def earlier(self, mel: Tensor) -> Tensor:
        """What the weights that were taken to begin with make of mels (C, T, 100): (C, S)."""
        if self.first is None:
            self.first = Generator(layers=self.args.layers).to(self.device)
            self.first.load_state_dict(grown(load_file(self.args.start / WEIGHTS), self.first))
        return self.first(mel.transpose(1, 2))

    def share_used(self) -> float:
        return share_used(self.args, self.used)

    def update(self, batch: Batch, spoken: Tensor | None = None) -> dict[str, Tensor]:
        """One step on mels and their speech, and on mels (C, T, 100) that have none, whose waves are kept near those of
        the first weights: discriminators first, then the generator. A GPU is not waited for.
        """
        args, figures, (mel, real, pitch) = self.args, dict[str, Tensor](), batch
        fighting = self.step - args.adversarial_from  # updates of the discriminators so far
        waits = 0 <= fighting < args.judges_first  # the generator does
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, args, self.share_used())
        with torch.set_grad_enabled(not waits):
            mels = mel if spoken is None else torch.cat([mel, spoken])
            fake, found = self.model.heard(mels.transpose(1, 2))  # (B + C, S)
        theirs = None
        n, pairs = min(args.judged, len(real)), len(real)
        if fighting >= 0:
            count = len(self.judges.parts)
            sitting = np.random.default_rng((2, self.step)).permutation(count)[: args.sitting].tolist()
            judged = torch.cat([fake[:n], fake[pairs:]])
            theirs, figures = adversarial_gradient(self.judges, self.theirs, judged, real[:n], sitting, not waits)
        if not waits:
            copy = fake.detach().requires_grad_()
            mel_loss, stft_loss, phase_loss = self.spectral(copy[:pairs], real)
            loss = 45 * mel_loss + 10 * stft_loss + args.phases * phase_loss
            if spoken is not None:
                near = self.spectral(copy[pairs:], self.earlier(spoken))
                loss = loss + args.anchor * (45 * near[0] + 10 * near[1])
                figures |= {"near": near[0].detach()}
            (gradient,) = torch.autograd.grad(loss, copy)
            if theirs is not None:
                both = self.balance.add(torch.cat([gradient[:n], gradient[pairs:]]), theirs)
                gradient = torch.cat([both[:n], gradient[n:pairs], both[n:]])
            heard = Reading(*(value[:pairs] for value in found))
            wrong, turned = pitch_error(heard, pitch), turning(heard, pitch, real)
            self.optimiser.zero_grad()
            torch.autograd.backward([fake, PITCH * wrong + TURNING * turned], [gradient, None])
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 100.0)
            step_if(self.optimiser, torch.isfinite(norm))
            losses = {"mel": mel_loss, "stft": stft_loss, "phase": phase_loss, "pitch": wrong, "turning": turned}
            losses["norm"] = norm
            figures |= {key: value.detach() for key, value in losses.items()}
        self.step += 1
        decay = min(0.999, (1 + self.step) / (10 + self.step)) if not args.start else 0.999
        follow(self.average.values(), self.model.state_dict().values(), decay)
        return figures


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="folder of a vocoder whose weights are taken to begin with")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--adversarial-from", type=int, default=8000)
    parser.add_argument("--judges-first", type=int, default=200, help="steps in which only the discriminators learn")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--judges-lr", type=float, default=4e-4)
    parser.add_argument(
        "--layers", type=int, default=6, help="ConvNeXt blocks; more than the checkpoint has are added at its end"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--windows", type=int, nargs="*", default=WINDOWS, help="discriminators of spectrograms")
    parser.add_argument("--periods", type=int, nargs="*", default=PERIODS, help="discriminators of folded waves")
    parser.add_argument("--channels", type=int, default=16, help="of a discriminator's first layer")
    parser.add_argument("--judged", type=int, default=8, help="clips of a batch that the discriminators see")
    parser.add_argument("--sitting", type=int, default=4, help="discriminators that are drawn for each step")
    parser.add_argument("--share", type=float, default=1.0, help="length of their gradient to the spectral losses'")
    parser.add_argument("--predicted", type=Path, help="folder of predicted.py: half of every batch are such mels")
    parser.add_argument("--spoken", type=Path, help="folder of spoken.py: as many such mels as others (needs --start)")
    parser.add_argument("--anchor", type=float, default=0.3, help="weight of the first weights' waves for these")
    parser.add_argument("--phases", type=float, default=0.0, help="weight of the phases' advance from frame to frame")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--crop", type=int, default=CROP, help="mel frames of a training crop")
    add_clock(parser)
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes of this process")
    parser.add_argument("--keep", type=int, default=10**9, help="a checkpoint of its own every so many steps")
    args = parser.parse_args(argv)
    if args.spoken and not args.start:
        parser.error("--spoken needs --start: what is spoken stays near what these weights make of it")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    pitches = Pitches(args.cache, devices.pick(args.device))  # before threads and a GPU, for it may need processes
    run = Run(args)
    torch.backends.cudnn.benchmark = True  # a GPU's convolutions: few shapes, each tried once
    with devices.precision(run.device, tf32=True):
        train(args, run, pitches)


def train(args: argparse.Namespace, run: Run, pitches: Pitches) -> None:
    """Until steps or minutes are over."""
    wave = held(args.cache / "wav.i16", np.int16, run.device)
    clips, valid = (Clips(args.cache, split, args.crop, wave, pitches) for split in ("train", "valid"))
    predicted = Predicted(args.predicted, args.crop, wave, pitches) if args.predicted else None
    spoken = Spoken(args.spoken, args.crop, run.device) if args.spoken else None
    log, begin = (args.out / "log.jsonl").open("a"), time.time()
    clock = saved = begin
    earlier = run.used
    while run.step < args.steps and run.share_used() < 1 and time.time() - begin < 60 * args.stop_after:
        batch = draw(clips, predicted, run.step, args.batch)
        others = spoken.batch(run.step, args.batch, seed=1) if spoken and run.step >= args.adversarial_from else None
        figures: dict[str, Any] = dict(run.update(batch, others))
        run.used = earlier + time.time() - begin
        if run.step % 20 == 0:
            figures = {key: round(float(value), 5) for key, value in figures.items()}
            figures |= {"step": run.step, "seconds_a_step": round((time.time() - clock) / 20, 3)}
            print(json.dumps(figures), file=log, flush=True)
            clock = time.time()
        if time.time() - saved > SAVE_EVERY:
            run.save(run.last)
            saved = time.time()
        if run.step % args.keep == 0:
            run.save(args.out / f"step{run.step}.pt")
        if run.step % 400 == 0:
            figures = {"step": run.step, "valid_mel": validate(run.averaged(), valid, run.spectral)}
            print(json.dumps(figures), file=log, flush=True)
    run.save(run.last)


if __name__ == "__main__":
    main()
