"""Train the duration model of the built-in voice on the cached corpus.

    nice -n 10 python recipes/builtin/duration.py runs/builtin/cache runs/builtin/duration --minutes 12

One thread, minutes. Run it again to go on from the last checkpoint; with --valid-only it measures the saved model. The
learning rate falls to zero as --steps or --minutes run out, whichever is nearer, so a busy machine gives a shorter run,
not a broken one (exact resume needs --steps alone). Prompts: a crop of 1 to 6 s of the same clip, or of another clip of
the same voice with the target corrected for Kokoro's speed setting; half of them are stretched in time together with
the target, so that pace is read from the prompt, not from who speaks.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from flow import UNIT_FRAMES, make_vocab
from loop import add_options, train
from torch import Tensor

from tts_fm import devices
from tts_fm.audio.mel import FRAMES_PER_SECOND
from tts_fm.model.duration import DurationModel, load_duration_model, save_duration_model
from tts_fm.text.symbols import SILENCE

log = logging.getLogger("duration")
Rows = list[dict]


class Clips:
    """Symbols, true durations and prompts of one split of the cache; a batch depends on (seed, step) only."""

    def __init__(self, cache: Path, split: str, vocab: list[str]) -> None:
        self.rows: Rows = [r for r in json.loads((cache / "index.json").read_text()) if r["split"] == split]
        self.mels = np.memmap(cache / "mel.f16", dtype=np.float16, mode="r").reshape(-1, 100)
        index = {symbol: i for i, symbol in enumerate(vocab)}
        self.ids = [np.array([index[s] for s in (SILENCE, *r["units"], SILENCE)]) for r in self.rows]
        self.frames = [
            np.array([r["lead_frames"], *r["unit_frames"], r["tail_frames"]]) * UNIT_FRAMES for r in self.rows
        ]
        self.voices = defaultdict(list)
        for i, row in enumerate(self.rows):
            self.voices[row["speaker"]].append(i)
        self.order = np.argsort([len(x) for x in self.ids])

    def prompt(self, index: int, frames: int, rng: np.random.Generator) -> np.ndarray:
        """A random crop of up to `frames` mel frames of clip `index`."""
        row = self.rows[index]
        size = min(frames, row["frames"])
        at = row["frame"] + int(rng.integers(row["frames"] - size + 1))
        return self.mels[at : at + size].astype(np.float32)

    def other(self, index: int, rng: np.random.Generator) -> int:
        """Another clip of the same voice, or `index` itself where there is none."""
        choices = [i for i in self.voices[self.rows[index]["speaker"]] if i != index]
        return int(rng.choice(choices)) if choices else index

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """ids (B, N), frames (B, N), prompt (B, T, 100), lengths (B,) of clips of similar length, prompts disturbed."""
        rng = np.random.default_rng((seed, step + 1))
        at = int(rng.integers(-size // 2, len(self.order) - size // 2))
        chosen = self.order[np.clip(np.arange(at, at + size), 0, len(self.order) - 1)]
        ids, frames, prompts = [], [], []
        crop = int(rng.uniform(1, 6) * FRAMES_PER_SECOND)  # one for the batch: little padding
        for i in chosen:
            source = self.other(i, rng) if rng.random() < 0.5 else int(i)
            mel = self.prompt(source, crop, rng)
            stretch = math.exp(rng.uniform(-0.25, 0.25)) if rng.random() < 0.5 else 1.0
            mel = disturb(resize(mel, stretch), rng)
            ids.append(self.ids[i])
            frames.append(self.frames[i] * stretch * self.rows[i]["speed"] / self.rows[source]["speed"])
            prompts.append(mel if rng.random() >= 0.1 else mel[:0])
        return pad(ids, frames, prompts)


def resize(mel: np.ndarray, stretch: float) -> np.ndarray:
    """Linear interpolation along time: (T, 100) -> (round(T x stretch), 100). Slower speech at the same pitch, near
    enough.
    """
    if stretch == 1.0:
        return mel
    at = np.linspace(0, len(mel) - 1, max(2, round(len(mel) * stretch)))
    low = np.minimum(at.astype(int), len(mel) - 2)
    share = (at - low)[:, None].astype(np.float32)
    return mel[low] * (1 - share) + mel[low + 1] * share


def disturb(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other levels, and for a third of the prompts a noise floor, so that recordings are read like the corpus."""
    mel = mel + np.float32(rng.uniform(-1.5, 1.0))
    if rng.random() < 0.33:
        floor = (
            rng.uniform(-8, -3)
            + rng.normal(0, 0.5, size=mel.shape)
            + np.linspace(rng.uniform(-1, 2), rng.uniform(-2, 1), mel.shape[1])
        )
        mel = np.logaddexp(mel, floor.astype(np.float32))
    return np.maximum(mel, np.float32(math.log(1e-5)))


def pad(
    ids: list[np.ndarray], frames: list[np.ndarray], prompts: list[np.ndarray]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    symbols, longest = max(len(x) for x in ids), max(1, *(len(x) for x in prompts))
    out_ids = np.full((len(ids), symbols), -1, np.int64)
    out_frames = np.zeros((len(ids), symbols), np.float32)
    out_prompts = np.zeros((len(ids), longest, 100), np.float32)
    for b, (x, d, p) in enumerate(zip(ids, frames, prompts, strict=True)):
        out_ids[b, : len(x)], out_frames[b, : len(x)], out_prompts[b, : len(p)] = x, d, p
    lengths = torch.tensor([len(p) for p in prompts])
    return torch.from_numpy(out_ids), torch.from_numpy(out_frames), torch.from_numpy(out_prompts), lengths


def duration_loss(said: Tensor, true: Tensor, ids: Tensor) -> Tensor:
    """Huber on log(1 + frames) over symbols, plus the distance of the logarithms of the totals, speech and silence at
    the ends alike.
    """
    real = ids >= 0
    each = F.smooth_l1_loss(said.log1p(), true.log1p(), beta=0.2, reduction="none")[real].mean()
    total = (said.sum(1).clamp(min=1).log() - true.sum(1).clamp(min=1).log()).abs().mean()
    return each + total


@torch.inference_mode()
def measure(model: DurationModel, clips: Clips) -> dict[str, float]:
    """Figures on whole, undisturbed clips. Pace is seconds a symbol between the silences at the ends."""
    model.eval()
    rng = np.random.default_rng(0)
    size, count = 32, len(clips.rows)
    shuffled = np.roll(rng.permutation(count), 1)
    sources: dict[str, Callable[[int], int | None]] = {
        "true": lambda i: i,
        "other_clip": lambda i: clips.other(i, rng),
        "shuffled": lambda i: int(shuffled[i]),
        "none": lambda i: None,
    }
    pure = np.array([len(clips.voices[r["speaker"]]) > 1 for r in clips.rows])
    out: dict[str, float] = {"clips": count, "pure": int(pure.sum())}
    for name, source in sources.items():
        errors, totals, paces = [], [], []
        for at in range(0, count, size):
            chosen = range(at, min(count, at + size))
            true, prompts = [], []
            for i in chosen:
                origin = source(i)
                prompts.append(
                    np.zeros((0, 100), np.float32)
                    if origin is None
                    else clips.prompt(origin, int(5 * FRAMES_PER_SECOND), rng)
                )
                other = clips.rows[i if origin is None or name != "other_clip" else origin]
                true.append(clips.frames[i] * (clips.rows[i]["speed"] / other["speed"]))
            ids, _, mel, lengths = pad([clips.ids[i] for i in chosen], true, prompts)
            for said, wanted in zip(model.durations(ids, mel, lengths=lengths).numpy(), true, strict=True):
                said = said[: len(wanted)]
                errors.append(np.abs(said - wanted).mean() / FRAMES_PER_SECOND * 1000)
                totals.append(said.sum() / wanted.sum() - 1)
                paces.append(np.log([said[1:-1].mean(), wanted[1:-1].mean()]))
        keep = pure if name == "other_clip" else np.ones(count, bool)
        if keep.sum() < 2:
            continue  # nothing to take a correlation of
        error, total, pace = np.array(errors)[keep], np.array(totals)[keep], np.array(paces)[keep]
        out[f"{name}/symbol_ms"], out[f"{name}/total_median"] = float(error.mean()), float(np.median(np.abs(total)))
        out[f"{name}/total_bias"] = float(total.mean())
        if pace.std(0).min() > 0:  # else all are alike, as tones are
            out[f"{name}/pace_corr"] = float(np.corrcoef(pace.T)[0, 1])
    return {key: round(value, 4) for key, value in out.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, batch=16, save=400)
    parser.add_argument("--start", type=Path, help="folder of a model whose weights are taken to begin with")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)  # the weights' first values
    model = load_duration_model(args.start).requires_grad_() if args.start else DurationModel(make_vocab(args.cache))
    vocab = model.vocab
    valid = Clips(args.cache, "valid", vocab)
    if args.valid_only:
        log.info("%s", json.dumps(measure(load_duration_model(args.out), valid), indent=1))
        return
    log.info("%.2fM parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    clips = Clips(args.cache, "train", vocab)
    if not args.start and not (args.out / "last.pt").exists():
        _, _, prompt, lengths = clips.batch(-1, 256, args.seed + 1)
        model.prompt.calibrate(prompt, lengths)

    def loss_of(step: int) -> torch.Tensor:
        device = model.head.weight.device
        ids, frames, prompt, lengths = (devices.send(x, device) for x in clips.batch(step, args.batch, args.seed))
        return duration_loss(model(ids, prompt, lengths).float(), frames, ids)

    train(model, loss_of, lambda: save_duration_model(model, args.out), lambda: measure(model, valid), args)


if __name__ == "__main__":
    main()
