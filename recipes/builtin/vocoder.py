"""Train the small Vocos of the built-in voice: mel + multi-resolution STFT losses first, then adversarially.

    python recipes/builtin/vocoder.py runs/builtin/cache runs/builtin/vocoder --steps 12000 --adversarial-from 8000

One thread is enough (--threads 2 for both cores). Resumes from the last checkpoint in the run folder; log.jsonl holds every figure.
Network: Vocos (Siuzdak 2023, arXiv 2306.00814), 256 channels x 6 ConvNeXt blocks, 2.8M parameters; discriminators and hinge losses
of the `vocos` package. B clips, S samples, T mel frames.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tts_fm.audio import HOP, SAMPLE_RATE, log_mel

CROP = 48  # mel frames of a training crop (0.51 s)


class Clips:
    """Random crops of the cached corpus, drawn from a generator of their own so that a resumed run sees the same ones."""

    def __init__(self, cache: Path, split: str, crop: int = CROP) -> None:
        self.rows = [r for r in json.loads((cache / "index.json").read_text()) if r["split"] == split and r["samples"] > crop * HOP]
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
            spec = torch.stft(both, n, n // 4, window=getattr(self, f"window{n}"), return_complex=True)  # (2B, n/2+1, T)
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
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self.backbone(mel)
            return self.head(hidden.float())

    return Generator()


class Adversary(nn.Module):
    """Multi-resolution (and, with `periods`, multi-period) discriminators with the hinge and feature-matching losses of Vocos."""

    def __init__(self, periods: tuple[int, ...], channels: int) -> None:
        super().__init__()
        from vocos.discriminators import DiscriminatorP, DiscriminatorR

        self.parts = nn.ModuleList([DiscriminatorP(period=p) for p in periods])
        self.parts.extend(DiscriminatorR(window_length=n, channels=channels) for n in (2048, 1024, 512))

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
            match = match + sum((f.float() - w.float()).abs().mean() for f, w in zip(features, wanted, strict=True)) / len(features)
        return fool / len(self.parts), match / len(self.parts)


def learning_rate(step: int, args: argparse.Namespace) -> float:
    start = min(1.0, (step + 1) / 200)
    return args.lr * start * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / args.steps))))


def save(path: Path, **parts) -> None:
    torch.save(parts, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


@torch.no_grad()
def validate(model: nn.Module, clips: Clips, spectral: SpectralLoss) -> float:
    """Mean multi-resolution log-mel loss over 64 fixed validation crops."""
    losses = []
    for step in range(4):
        wave = clips.batch(step, 16, seed=999)
        losses.append(spectral(model(log_mel(wave).transpose(1, 2)), wave)[0].item())
    return sum(losses) / len(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--adversarial-from", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--periods", type=int, nargs="*", default=[2, 5])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes of this process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    train, valid, spectral = Clips(args.cache, "train"), Clips(args.cache, "valid"), SpectralLoss()
    model, adversary = build(), Adversary(tuple(args.periods), args.channels)
    ema = {k: v.clone() for k, v in model.state_dict().items()}
    g_opt = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.8, 0.98), weight_decay=0.01)
    d_opt = torch.optim.AdamW(adversary.parameters(), lr=args.lr / 3, betas=(0.8, 0.98), weight_decay=0.01)
    step, last = 0, args.out / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["model"]), adversary.load_state_dict(state["adversary"])
        g_opt.load_state_dict(state["g_opt"]), d_opt.load_state_dict(state["d_opt"])
        ema, step = state["ema"], state["step"]
    log, begin, clock = (args.out / "log.jsonl").open("a"), time.time(), time.time()
    while step < args.steps and time.time() - begin < 60 * args.stop_after:
        for group in g_opt.param_groups:
            group["lr"] = learning_rate(step, args)
        real = train.batch(step, args.batch, seed=1)  # (B, S)
        fake = model(log_mel(real).transpose(1, 2))  # (B, S)
        figures = {}
        if adversarial := step >= args.adversarial_from:
            with torch.autocast("cpu", torch.bfloat16):
                d_loss = adversary.own_loss(fake, real)
            d_opt.zero_grad()
            d_loss.backward()
            nn.utils.clip_grad_norm_(adversary.parameters(), 10.0)
            d_opt.step()
        mel_loss, stft_loss = spectral(fake, real)
        loss = 45 * mel_loss + 10 * stft_loss
        if adversarial:
            with torch.autocast("cpu", torch.bfloat16):
                fool, match = adversary.generator_loss(fake, real)
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
            save(
                last,
                model=model.state_dict(),
                adversary=adversary.state_dict(),
                g_opt=g_opt.state_dict(),
                d_opt=d_opt.state_dict(),
                ema=ema,
                step=step,
            )
        if step % 400 == 0:
            shadow = build()
            shadow.load_state_dict(ema)
            print(json.dumps({"step": step, "valid_mel": validate(shadow, valid, spectral)}), file=log, flush=True)
    save(
        last,
        model=model.state_dict(),
        adversary=adversary.state_dict(),
        g_opt=g_opt.state_dict(),
        d_opt=d_opt.state_dict(),
        ema=ema,
        step=step,
    )


if __name__ == "__main__":
    main()
