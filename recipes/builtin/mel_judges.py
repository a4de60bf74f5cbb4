"""Discriminators of log-mels: what tells a student's speech from recordings, and what that gives to the student's loss.

A student that minimises a squared error says means: its speech is smoother than anybody's. Two small networks learn to
tell crops of it from crops of the corpus, one by patches of time and frequency, one by frames, and the student learns
to pass for a recording as well as to follow its teacher (as SD-Turbo's distillation does: Sauer 2023, arXiv
2311.17042). Least squares (Mao 2016, arXiv 1611.04076); the weight of the second is such that its gradient at the
student's end is --judges-share times as long as the first's, in every step anew. B items, T frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flow import Corpus
from judges import Stack, convolution
from torch import Tensor, nn

from tts_fm.audio.mel import N_MELS
from tts_fm.files import read_state, write_state
from tts_fm.model.flow_model import FlowModel
from tts_fm.train.optimiser import step_if

STATE = "judges.pt"
CROP, CROPS = 96, 2  # frames of a crop, crops of an item
NOISE = 0.08  # added to all crops, so that nothing is told by how numbers are rounded


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--judges", type=Path, metavar="CACHE", help="learn from discriminators too; their recordings")
    parser.add_argument("--judges-share", type=float, default=4.0, help="of their gradient to that of the lessons")
    parser.add_argument("--judges-first", type=int, default=80, help="steps in which only the discriminators learn")
    parser.add_argument("--judges-lr", type=float, default=2e-4)


class Patches(nn.Module):
    """(B, T, 100) -> scores of patches; the second channel says where on the mel scale they are."""

    def __init__(self, c: int = 32) -> None:
        super().__init__()
        self.stack = Stack(
            [
                convolution(2, c, (3, 7), (1, 1)),
                convolution(c, c, (3, 5), (2, 2)),
                convolution(c, 2 * c, (3, 5), (2, 2)),
                convolution(2 * c, 2 * c, (3, 5), (2, 2)),
                convolution(2 * c, 2 * c, (3, 3), (1, 1)),
                convolution(2 * c, 1, (3, 3), (1, 1)),
            ]
        )

    def forward(self, mel: Tensor) -> Tensor:
        place = torch.linspace(-1, 1, mel.shape[2], device=mel.device).expand_as(mel)
        return self.stack(torch.stack([mel, place], 1))[0]


class Frames(nn.Module):
    """(B, T, 100) -> scores of some frames each."""

    def __init__(self, c: int = 128) -> None:
        super().__init__()
        shapes = [(N_MELS, c, 3, 1), (c, c, 5, 2), (c, c, 5, 2), (c, c, 3, 1), (c, 1, 3, 1)]
        self.stack = Stack([convolution(a, b, (kernel, 1), (stride, 1)) for a, b, kernel, stride in shapes])

    def forward(self, mel: Tensor) -> Tensor:
        return self.stack(mel.transpose(1, 2)[..., None])[0]


class MelJudges:
    """The discriminators with their optimiser, and the recordings that they know."""

    def __init__(self, model: FlowModel, args: argparse.Namespace) -> None:
        self.model, self.args = model, args
        torch.manual_seed(args.seed)
        self.parts = nn.ModuleList([Patches(), Frames()])
        how: dict[str, Any] = {"betas": (0.5, 0.9), "weight_decay": 0.01, "fused": True}
        self.optimiser = torch.optim.AdamW(self.parts.parameters(), lr=args.judges_lr, **how)
        self.corpus = Corpus(args.judges, "train", model.vocab)
        self.rows = [r for r in self.corpus.rows if r["frames"] >= CROP and "altered" not in r]
        if not self.rows:
            raise ValueError(f"{args.judges} has no clip of {CROP} frames for the discriminators to know speech by")

    def save(self, run: Path) -> None:
        write_state(run / STATE, {"parts": self.parts.state_dict(), "optimiser": self.optimiser.state_dict()})

    def resume(self, run: Path, device: torch.device) -> None:
        """To where the networks are, and on from what the run has saved."""
        self.parts.to(device)
        if (state := read_state(run / STATE, device)) is not None:
            self.parts.load_state_dict(state["parts"])
            self.optimiser.load_state_dict(state["optimiser"])

    def recordings(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, CROP, 100) normalised."""
        crops = []
        for number in rng.integers(len(self.rows), size=count):
            row = self.rows[int(number)]
            start = row["frame"] + int(rng.integers(row["frames"] - CROP + 1))
            crops.append(torch.from_numpy(self.corpus.mels[start : start + CROP].astype(np.float32)))
        return self.model.normalise(torch.stack(crops))

    def loss(self, end: Tensor, lesson: Tensor, spoken: Tensor, step: int) -> Tensor:
        """Let them learn from what the student has made, end (B, T, 100) normalised, speech where spoken (B, T), and
        give what is added to `lesson`, its loss so far: a zero that brings their gradient, none while they learn alone.
        """
        rng = np.random.default_rng((3, self.args.seed, step))
        noise = torch.Generator().manual_seed(2**33 + step)
        with torch.autocast(end.device.type, enabled=False):
            fake = crops_of(end, spoken, rng)
            real = self.recordings(len(fake), rng).to(end.device)
            fake, real = (crops + NOISE * torch.randn(crops.shape, generator=noise).to(end.device)
                          for crops in (fake, real))  # fmt: skip
            added = lesson.new_zeros(())
            if step >= self.args.judges_first:
                self.parts.requires_grad_(False)
                fool = torch.stack([(1 - part(fake)).square().mean() for part in self.parts]).sum()
                (wanted,) = torch.autograd.grad(lesson, end, retain_graph=True)
                (theirs,) = torch.autograd.grad(fool, end)
                theirs *= self.args.judges_share * wanted.norm() / theirs.norm().clamp(min=1e-12)
                # zero, with that gradient: their weights are about to change
                added = (theirs * (end - end.detach())).sum()
            self.learn(fake.detach(), real)
        return added

    def learn(self, fake: Tensor, real: Tensor) -> None:
        """One update on crops (B, CROP, 100)."""
        self.parts.requires_grad_(True)
        own = [(1 - part(real)).square().mean() + part(fake).square().mean() for part in self.parts]
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(own).sum().backward()
        norm = nn.utils.clip_grad_norm_(self.parts.parameters(), 10.0)
        step_if(self.optimiser, torch.isfinite(norm))


def crops_of(mel: Tensor, spoken: Tensor, rng: np.random.Generator) -> Tensor:
    """(CROPS B, CROP, 100): places are drawn in the speech of each item of (B, T, 100), which is one stretch."""
    crops = []
    for item, where in zip(mel, spoken, strict=True):
        first, count = int(where.int().argmax()), int(where.sum())
        for _ in range(CROPS):
            start = first + int(rng.integers(max(1, count - CROP + 1)))
            crops.append(item[min(start, len(item) - CROP) :][:CROP])
    return torch.stack(crops)
