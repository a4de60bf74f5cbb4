"""Train the small Vocos of the built-in voice: mel + multi-resolution STFT losses first, then adversarially.

    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/vocoder --layers 8 --steps 24000
      --adversarial-from 24000
    python recipes/builtin/predicted.py runs/builtin/cache runs/builtin/flow runs/builtin/predicted
    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/vocoder --predicted runs/builtin/predicted \\
        --layers 8 --steps 26000 --adversarial-from 24000 --lr 3e-4

One thread is enough (--threads 2 for both cores). Resumes from the last checkpoint in the run folder; log.jsonl holds
every figure. Network: Vocos (Siuzdak 2023, arXiv 2306.00814), 256 channels x 8 ConvNeXt blocks, 3.6M parameters;
discriminators and hinge losses of the `vocos` package. B clips, S samples, T mel frames.
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
from torch import Tensor, nn

from tts_fm import devices, files
from tts_fm.audio.mel import HOP, SAMPLE_RATE, log_mel

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


class Adversary(nn.Module):
    """Multi-resolution (and, with `periods`, multi-period) discriminators with the hinge and feature-matching losses of
    Vocos.
    """

    def __init__(self, periods: Sequence[int], windows: Sequence[int], channels: int) -> None:
        super().__init__()
        from vocos.discriminators import DiscriminatorP, DiscriminatorR

        self.parts = nn.ModuleList([DiscriminatorP(period=p) for p in periods])
        self.parts.extend(DiscriminatorR(window_length=n, channels=channels) for n in windows)

    def forward(self, wave: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        return [part(wave) for part in self.parts]

    def own_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        loss = fake.new_zeros(())
        for score, _ in self(torch.cat([real, fake.detach()])):
            r, f = score.float().chunk(2)
            loss = loss + (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean()
        return loss / len(self.parts)

    def generator_loss(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        fool, match = fake.new_zeros(()), fake.new_zeros(())
        with torch.no_grad():
            truth = self(real)
        for (score, features), (_, wanted) in zip(self(fake), truth, strict=True):
            fool = fool + (1 - score.float()).clamp(min=0).mean()
            match = match + sum(
                (f.float() - w.float()).abs().mean() for f, w in zip(features, wanted, strict=True)
            ) / len(features)
        return fool / len(self.parts), match / len(self.parts)


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Warm-up over 200 steps and a cosine down to 2 %, in each of the two phases."""
    first, end = (
        (args.adversarial_from, args.steps)
        if step >= args.adversarial_from
        else (0, min(args.steps, args.adversarial_from))
    )
    done = (step - first) / max(1, end - first)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--adversarial-from", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument(
        "--layers", type=int, default=6, help="ConvNeXt blocks; more than the checkpoint has are added at its end"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--periods", type=int, nargs="*", default=[], help="multi-period discriminators, slow on a CPU")
    parser.add_argument("--windows", type=int, nargs="*", default=[2048, 512], help="multi-resolution discriminators")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--judged", type=int, default=6, help="clips of a batch that the discriminators see")
    parser.add_argument("--predicted", type=Path, help="folder of predicted.py: half of every batch are such mels")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes of this process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    train, valid, spectral = Clips(args.cache, "train"), Clips(args.cache, "valid"), SpectralLoss()
    model, adversary = build(layers=args.layers), Adversary(args.periods, args.windows, args.channels)
    device = devices.pick(args.device)
    for part in (model, adversary, spectral):
        part.to(device)
    ema = {k: v.clone() for k, v in model.state_dict().items()}
    g_opt = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.8, 0.98), weight_decay=0.01)
    d_opt = torch.optim.AdamW(adversary.parameters(), lr=args.lr, betas=(0.8, 0.98), weight_decay=0.01)
    predicted = Predicted(args.cache, args.predicted) if args.predicted else None
    step, last = 0, args.out / "last.pt"
    if (state := files.read_state(last)) is not None:
        if deeper := len(state["model"]) < len(ema):
            state |= {key: grown(state[key], model) for key in ("model", "ema")}
        model.load_state_dict(state["model"])
        if not deeper:  # the optimiser's state is by number of the parameter
            g_opt.load_state_dict(state["g_opt"])
        if state["step"] > args.adversarial_from:  # before that they are untrained, and may be others now
            adversary.load_state_dict(state["adversary"])
            d_opt.load_state_dict(state["d_opt"])
        ema, step = {k: v.to(device) for k, v in state["ema"].items()}, state["step"]

    def save() -> None:
        parts: dict[str, Any] = {"model": model, "adversary": adversary, "g_opt": g_opt, "d_opt": d_opt}
        files.write_state(last, {key: part.state_dict() for key, part in parts.items()} | {"ema": ema, "step": step})

    log, begin, clock = (args.out / "log.jsonl").open("a"), time.time(), time.time()
    while step < args.steps and time.time() - begin < 60 * args.stop_after:
        for group in g_opt.param_groups:
            group["lr"] = learning_rate(step, args)
        real = train.batch(step, args.batch // 2 if predicted else args.batch, seed=1)  # (B, S)
        mel = mels_of(real)  # (B, T, 100)
        if predicted:
            its_mel, its_wave = predicted.batch(step, args.batch - len(real), seed=1)
            mel, real = torch.cat([its_mel, mel]), torch.cat([its_wave, real])
        mel, real = devices.send(mel, device), devices.send(real, device)
        fake = model(mel.transpose(1, 2))  # (B, S)
        figures = {}
        if adversarial := step >= args.adversarial_from:
            with devices.autocast(device, torch.bfloat16):
                d_loss = adversary.own_loss(fake[: args.judged], real[: args.judged])
            d_opt.zero_grad()
            d_loss.backward()
            nn.utils.clip_grad_norm_(adversary.parameters(), 10.0)
            d_opt.step()
        mel_loss, stft_loss = spectral(fake, real)
        loss = 45 * mel_loss + 10 * stft_loss
        if adversarial:
            with devices.autocast(device, torch.bfloat16):
                fool, match = adversary.generator_loss(fake[: args.judged], real[: args.judged])
            ramp = min(1.0, (step - args.adversarial_from) / 200)
            loss = loss + ramp * (2 * fool + 4 * match)
            figures = {"d": d_loss.item(), "fool": fool.item(), "match": match.item()}
        g_opt.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        if torch.isfinite(norm):
            g_opt.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            ema[key].lerp_(value, 1 - decay)
        if step % 20 == 0:
            figures |= {"step": step, "mel": mel_loss.item(), "stft": stft_loss.item(), "norm": norm.item()}
            print(json.dumps(figures | {"seconds_a_step": round((time.time() - clock) / 20, 3)}), file=log, flush=True)
            clock = time.time()
        if step % 200 == 0:
            save()
        if step % 400 == 0:
            shadow = build(layers=args.layers).to(device)
            shadow.load_state_dict(ema)
            print(json.dumps({"step": step, "valid_mel": validate(shadow, valid, spectral)}), file=log, flush=True)
    save()


if __name__ == "__main__":
    main()
