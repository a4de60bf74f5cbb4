"""Train the small Vocos of the built-in voice: mel + multi-resolution STFT losses first, then adversarially.

    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/vocoder --layers 8 --steps 24000
      --adversarial-from 24000
    python recipes/builtin/predicted.py runs/builtin/cache runs/builtin/flow runs/builtin/predicted
    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/vocoder --predicted runs/builtin/predicted \\
        --layers 8 --steps 26000 --adversarial-from 24000 --lr 3e-4

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
from judges import PERIODS, WINDOWS, Balance, Judges
from torch import Tensor, nn

from tts_fm import devices, files
from tts_fm.audio.mel import HOP, SAMPLE_RATE, log_mel

SAVE_EVERY = 180  # seconds
CROP = 48  # mel frames of a training crop (0.51 s)


class Clips:
    """Random crops of the cached corpus, drawn from a generator of their own so that a resumed run sees the same
    ones.
    """

    def __init__(self, cache: Path, split: str, crop: int = CROP) -> None:
        self.rows = [
            r
            for r in json.loads((cache / "index.json").read_text())
            if r["split"] == split and r["samples"] > crop * HOP
        ]
        self.wave = np.memmap(cache / "wav.i16", dtype=np.int16, mode="r")
        self.size = (crop - 1) * HOP  # samples, so that log_mel gives `crop` frames

    def batch(self, step: int, size: int, seed: int) -> Tensor:
        """(B, S) float32 with random gain; the draw depends on seed and step only."""
        rng = np.random.default_rng((seed, step))
        out = np.empty((size, self.size), np.float32)
        for b, i in enumerate(rng.integers(len(self.rows), size=size)):
            row = self.rows[i]
            at = row["sample"] + rng.integers(row["samples"] - self.size)
            out[b] = self.wave[at : at + self.size] / 32768.0
        gain = 10 ** (rng.uniform(-12, 3, size=(size, 1)) / 20) / np.abs(out).max(axis=1, keepdims=True).clip(0.25)
        out = np.where(rng.random((size, 1)) < 0.5, out * gain.astype(np.float32), out)
        return torch.from_numpy(np.clip(out, -1, 1))


class Predicted:
    """Random crops of mels that the flow model made (predicted.py), with the true speech that they are in time with."""

    def __init__(self, cache: Path, folder: Path, crop: int = CROP) -> None:
        self.rows = [r for r in json.loads((folder / "index.json").read_text()) if r["frames"] > 2 * crop]
        self.mels = np.memmap(folder / "mel.f16", dtype=np.float16, mode="r").reshape(-1, 100)
        self.wave = np.memmap(cache / "wav.i16", dtype=np.int16, mode="r")
        self.crop = crop

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Mels (B, T, 100) and waves (B, (T - 1) 256); the first fifth of a clip, its true prompt, is left out."""
        rng = np.random.default_rng((seed, step, 1))
        rows = [self.rows[i] for i in rng.integers(len(self.rows), size=size)]
        starts = [int(rng.integers(r["frames"] // 5, r["frames"] - self.crop)) for r in rows]
        mel = np.stack(
            [self.mels[r["frame"] + at : r["frame"] + at + self.crop] for r, at in zip(rows, starts, strict=True)]
        )
        first = [r["sample"] + at * HOP for r, at in zip(rows, starts, strict=True)]
        wave = np.stack([self.wave[a : a + (self.crop - 1) * HOP] for a in first]) / 32768.0
        return torch.from_numpy(mel.astype(np.float32)), torch.from_numpy(wave.astype(np.float32))


def mels_of(waves: Tensor) -> Tensor:
    """(B, S) -> (B, T, 100)."""
    return torch.from_numpy(np.stack([log_mel(wave) for wave in waves.numpy()]))


def draw(train: Clips, predicted: Predicted | None, step: int, size: int) -> tuple[Tensor, Tensor]:
    """A batch of mels (B, T, 100) and their speech (B, S); predicted mels and true ones by turns, half of each."""
    real = train.batch(step, size // 2 if predicted else size, seed=1)
    mel = mels_of(real)
    if predicted is None:
        return mel, real
    its_mel, its_wave = predicted.batch(step, len(real), seed=1)
    return torch.stack([its_mel, mel], 1).flatten(0, 1), torch.stack([its_wave, real], 1).flatten(0, 1)


class SpectralLoss(nn.Module):
    """L1 of log-mels at several resolutions and of linear + log STFT magnitudes (Yamamoto 2020, arXiv 1910.11480)."""

    def __init__(self) -> None:
        super().__init__()
        from librosa.filters import mel as mel_basis

        self.sizes = (256, 512, 1024, 2048)
        for n, bins in zip(self.sizes, (40, 80, 100, 160), strict=True):
            basis = mel_basis(sr=SAMPLE_RATE, n_fft=n, n_mels=bins, htk=True, norm=None)
            self.register_buffer(f"mel{n}", torch.from_numpy(basis).float(), persistent=False)
            self.register_buffer(f"window{n}", torch.hann_window(n), persistent=False)

    def forward(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S), (B, S) -> mel loss and STFT loss, both scalars averaged over the resolutions."""
        both = torch.cat([fake, real])
        mel_loss, stft_loss = fake.new_zeros(()), fake.new_zeros(())
        for n in self.sizes:
            # (2B, n/2+1, T)
            spec = torch.stft(both, n, n // 4, window=getattr(self, f"window{n}"), return_complex=True)
            magnitude = (spec.real.square() + spec.imag.square() + 1e-9).sqrt()
            mel = (getattr(self, f"mel{n}") @ magnitude).clamp(min=1e-4).log()
            f, r = magnitude.chunk(2)
            mel_loss = mel_loss + (mel.chunk(2)[0] - mel.chunk(2)[1]).abs().mean()
            converge = (f - r).norm(dim=(1, 2)) / r.norm(dim=(1, 2)).clamp(min=1e-2)
            stft_loss = stft_loss + converge.mean() + (f.clamp(min=1e-4).log() - r.clamp(min=1e-4).log()).abs().mean()
        return mel_loss / len(self.sizes), stft_loss / len(self.sizes)


def build(dim: int = 256, layers: int = 6) -> nn.Module:
    """The generator: mel (B, 100, T) -> samples (B, (T - 1) * 256)."""
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = VocosBackbone(100, dim, dim * 3, layers)
            self.head = ISTFTHead(dim, 1024, HOP, padding="center")

        def forward(self, mel: Tensor) -> Tensor:
            with devices.autocast(mel.device, torch.bfloat16):
                hidden = self.backbone(mel)
            return self.head(hidden.float())

    return Generator()


def grown(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights of a shallower generator as those of `model`: blocks that it does not have start as identities (their
    gain is 0).
    """
    new = {
        k: torch.zeros_like(v) if k.endswith("gamma") else v for k, v in model.state_dict().items() if k not in state
    }
    return state | new


def learning_rate(step: int, args: argparse.Namespace, used: float = 0.0) -> float:
    """Warm-up over 200 steps and a cosine down to 2 %, in each of the two phases; used: share of the minutes."""
    first, end = (
        (args.adversarial_from, args.steps)
        if step >= args.adversarial_from
        else (0, min(args.steps, args.adversarial_from))
    )
    done = max(used, (step - first) / max(1, end - first))
    return args.lr * min(1.0, (step - first + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@torch.no_grad()
def validate(model: nn.Module, clips: Clips, spectral: SpectralLoss) -> float:
    """Mean multi-resolution log-mel loss over 64 fixed validation crops."""
    losses = []
    for step in range(4):
        wave, device = clips.batch(step, 16, seed=999), next(model.parameters()).device
        mel = mels_of(wave).transpose(1, 2).to(device)
        losses.append(spectral(model(mel), wave.to(device))[0].item())
    return sum(losses) / len(losses)


def adversarial_gradient(
    judges: Judges,
    optimiser: torch.optim.Optimizer,
    fake: Tensor,
    real: Tensor,
    sitting: Sequence[int],
    with_generator: bool,
) -> tuple[Tensor | None, dict[str, float]]:
    """One update of the discriminators that sit. Returns the gradient of the generator's adversarial loss by the
    copy (B, S), if wanted, and figures.
    """
    copy = fake.detach().requires_grad_(with_generator)
    with devices.autocast(fake.device, torch.bfloat16):
        verdict = judges(copy, real, sitting)
    gradient = None
    if with_generator:
        (gradient,) = torch.autograd.grad(verdict.fool + 2 * verdict.match, copy, retain_graph=True)
    optimiser.zero_grad()
    verdict.own.backward()
    nn.utils.clip_grad_norm_(judges.parameters(), 10.0)
    optimiser.step()
    return gradient, {key: value.item() for key, value in verdict._asdict().items()}


class Run:
    """A training run: networks, optimisers, the average of the generator's weights, and its folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device, self.last = args, devices.pick(args.device), args.out / "last.pt"
        self.spectral = SpectralLoss().to(self.device)
        self.model = build(layers=args.layers).to(self.device)
        self.judges = Judges(args.windows, args.periods, args.channels).to(self.device)
        if args.start:
            from tts_fm.model.vocoder import load_vocoder

            self.model.load_state_dict(load_vocoder(args.start).module.state_dict())
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=args.lr, betas=(0.8, 0.98), weight_decay=0.01)
        self.theirs = torch.optim.AdamW(
            self.judges.parameters(), lr=args.judges_lr, betas=(0.8, 0.98), weight_decay=0.01
        )
        self.balance, self.step, self.used = Balance(args.share), 0, 0.0  # seconds
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
            self.balance.lengths = state["lengths"]
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
            path, state | {"ema": self.average, "step": self.step, "used": self.used, "lengths": self.balance.lengths}
        )

    def averaged(self) -> nn.Module:
        model = build(layers=self.args.layers).to(self.device)
        model.load_state_dict(self.average)
        return model

    def update(self, mel: Tensor, real: Tensor) -> dict[str, float]:
        """One step on mels (B, T, 100) and their speech (B, S): discriminators first, then the generator."""
        args, figures = self.args, dict[str, float]()
        fighting = self.step - args.adversarial_from  # updates of the discriminators so far
        waits = 0 <= fighting < args.judges_first  # the generator does
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, args, self.used / (60 * args.minutes))
        with torch.set_grad_enabled(not waits):
            fake = self.model(mel.transpose(1, 2))  # (B, S)
        theirs = None
        if fighting >= 0:
            n, count = args.judged, len(self.judges.parts)
            sitting = np.random.default_rng((2, self.step)).permutation(count)[: args.sitting].tolist()
            theirs, figures = adversarial_gradient(self.judges, self.theirs, fake[:n], real[:n], sitting, not waits)
        if not waits:
            copy = fake.detach().requires_grad_()
            mel_loss, stft_loss = self.spectral(copy, real)
            (gradient,) = torch.autograd.grad(45 * mel_loss + 10 * stft_loss, copy)
            if theirs is not None:
                gradient = torch.cat([self.balance.add(gradient[:n], theirs), gradient[n:]])
            self.optimiser.zero_grad()
            fake.backward(gradient)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 100.0)
            if torch.isfinite(norm):
                self.optimiser.step()
            figures |= {"mel": mel_loss.item(), "stft": stft_loss.item(), "norm": norm.item()}
        self.step += 1
        decay = min(0.999, (1 + self.step) / (10 + self.step)) if not args.start else 0.999
        for key, value in self.model.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)
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
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of training, summed over resumed runs")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes of this process")
    parser.add_argument("--keep", type=int, default=10**9, help="a checkpoint of its own every so many steps")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    train, valid, run = Clips(args.cache, "train"), Clips(args.cache, "valid"), Run(args)
    predicted = Predicted(args.cache, args.predicted) if args.predicted else None
    log, begin = (args.out / "log.jsonl").open("a"), time.time()
    clock = saved = begin
    earlier, run_out = run.used, 60 * args.minutes
    while run.step < args.steps and run.used < run_out and time.time() - begin < 60 * args.stop_after:
        mel, real = draw(train, predicted, run.step, args.batch)
        run.used = earlier + time.time() - begin
        figures = run.update(devices.send(mel, run.device), devices.send(real, run.device))
        if run.step % 20 == 0:
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
