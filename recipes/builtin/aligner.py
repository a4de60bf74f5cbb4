"""Train the aligner on the cached corpus, whose unit times are known.

    nice -n 10 python recipes/builtin/aligner.py runs/builtin/cache runs/builtin/aligner --minutes 20

One thread, minutes. Cross-entropy at every frame, on crops that are disturbed (level, tilt, noise, echo, band limits,
other vocal tracts, other pace, more pauses) so that recordings are read like the corpus. Run it again to go on from the
last checkpoint; --valid-only measures the saved model. The learning rate falls to zero as --steps or --minutes run out,
whichever is nearer. measure_aligner.py beside this file measures boundaries.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from loop import add_options, train
from torch import Tensor

from tts_fm import devices
from tts_fm.model.aligner import AlignerModel, load_aligner, save_aligner
from tts_fm.text.symbols import SILENCE, is_pause

log = logging.getLogger("aligner")
HOP, UNIT = 256, 600  # samples in a mel frame, and in a frame of the corpus
FLOOR = np.float32(math.log(1e-5))
IGNORED = -100  # label of padding
ECHO_FLOOR = -30.0


def make_vocab(cache: Path) -> list[str]:
    """Silence and all units of the corpus, sorted."""
    rows = json.loads((cache / "index.json").read_text())
    return [SILENCE, *sorted({unit for row in rows for unit in row["units"]})]


def frame_labels(row: dict, index: dict[str, int]) -> np.ndarray:
    """The symbol that is spoken at the middle of each mel frame of a row of the cache: (T,) int64."""
    symbols = np.array([index[s] for s in (SILENCE, *row["units"], SILENCE)])
    ends = np.cumsum([row["lead_frames"], *row["unit_frames"], row["tail_frames"]]) * UNIT
    at = np.searchsorted(ends, np.arange(row["frames"]) * HOP, side="right")
    return symbols[np.minimum(at, len(symbols) - 1)]


class Clips:
    """Log-mels and frame labels of one split of the cache; a batch depends on (seed, step) only."""

    def __init__(self, cache: Path, split: str, vocab: list[str]) -> None:
        self.rows = [r for r in json.loads((cache / "index.json").read_text()) if r["split"] == split]
        self.mels = np.memmap(cache / "mel.f16", dtype=np.float16, mode="r").reshape(-1, 100)
        index = {symbol: i for i, symbol in enumerate(vocab)}
        self.labels = [frame_labels(row, index) for row in self.rows]
        self.pauses = np.array([is_pause(symbol) for symbol in vocab])
        self.share = np.cumsum([row["frames"] for row in self.rows]) / sum(row["frames"] for row in self.rows)

    def clip(self, index: int) -> np.ndarray:
        """The log-mel of one clip, (T, 100) float32."""
        row = self.rows[index]
        return self.mels[row["frame"] : row["frame"] + row["frames"]].astype(np.float32)

    def batch(self, step: int, size: int, frames: int, seed: int) -> tuple[Tensor, Tensor]:
        """Disturbed crops: mel (B, T, 100) and labels (B, T)."""
        rng = np.random.default_rng((seed, step))
        mels, labels = np.full((size, frames, 100), FLOOR, np.float32), np.full((size, frames), IGNORED, np.int64)
        for b in range(size):
            index = int(np.searchsorted(self.share, rng.random()))
            clip = with_pauses(self.clip(index), self.labels[index], self.pauses, rng)
            mel, label = disturb(*crop(*clip, frames, rng), rng)
            mels[b, : len(mel)], labels[b, : len(label)] = mel, label
        return torch.from_numpy(mels), torch.from_numpy(labels)


def with_pauses(
    mel: np.ndarray, labels: np.ndarray, pauses: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """For a third of the clips, silence of 0.1 to 1.3 s put into the silence at an end, or into a pause: readers stop
    where they like.
    """
    if rng.random() >= 0.35:
        return mel, labels
    quiet = mel[mel.mean(1).argmin()]
    for _ in range(int(rng.integers(1, 4))):
        runs = np.split(np.arange(len(labels)), np.flatnonzero(np.diff(labels)) + 1)
        places = [run for run in runs if pauses[labels[run[0]]]]
        ends = [run for run in (runs[0], runs[-1]) if pauses[labels[run[0]]]]
        if not places:
            break
        chosen = ends if ends and rng.random() < 0.4 else places
        at = int(rng.choice(chosen[int(rng.integers(len(chosen)))]))
        count = int(rng.integers(10, 120))
        silence = quiet + rng.normal(0, 0.3, size=(count, mel.shape[1])).astype(np.float32)
        for k, share in enumerate((0.75, 0.4)):  # into and out of it over two frames
            silence[k] += share * np.maximum(mel[at] - quiet, 0)
            silence[-1 - k] += share * np.maximum(mel[at] - quiet, 0)
        mel = np.concatenate([mel[: at + 1], silence, mel[at + 1 :]])
        labels = np.concatenate([labels[: at + 1], np.full(count, labels[at]), labels[at + 1 :]])
    return mel, labels


def crop(mel: np.ndarray, labels: np.ndarray, frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random stretch, said at another pace, of up to `frames` frames; clips that are shorter stay whole."""
    pace = math.exp(rng.uniform(-0.2, 0.2)) if rng.random() < 0.5 else 1.0
    taken = min(len(mel), int(frames * pace))
    start = int(rng.integers(len(mel) - taken + 1))
    mel, labels = mel[start : start + taken], labels[start : start + taken]
    if pace == 1.0:
        return mel, labels
    at = np.linspace(0, taken - 1, min(frames, max(2, int(taken / pace))))
    low = np.minimum(at.astype(int), taken - 2)
    share = (at - low)[:, None].astype(np.float32)
    return mel[low] * (1 - share) + mel[low + 1] * share, labels[np.rint(at).astype(int)]


def disturb(mel: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Other vocal tract, echo, tilt, level, noise, band limit; each for a part of the crops. Labels stay."""
    bins = mel.shape[1]
    if rng.random() < 0.04:
        return no_speech(mel.shape, rng), np.zeros_like(labels)
    place = np.linspace(0, 1, bins, dtype=np.float32)
    if rng.random() < 0.6:  # bins are read a little higher or lower
        at = np.clip(np.arange(bins) * math.exp(rng.uniform(-0.1, 0.1)) + rng.uniform(-1.5, 1.5), 0, bins - 1.001)
        low = at.astype(int)
        mel = mel[:, low] * (1 - (at - low).astype(np.float32)) + mel[:, low + 1] * (at - low).astype(np.float32)
    if rng.random() < 0.4:  # a room: energy that dies away at 15 to 120 dB a second, 6 to 20 dB below the direct sound
        fall, below = np.float32(rng.uniform(15, 120) / 8.686 * 2 / 93.75), np.float32(rng.uniform(0.7, 2.3))
        tail = np.full(bins, ECHO_FLOOR, np.float32)
        echoed = np.empty_like(mel)
        for t in range(len(mel)):
            echoed[t] = np.logaddexp(mel[t], tail)
            tail = np.maximum(tail - fall, mel[t] - below)
        mel = echoed
    if rng.random() < 0.7:  # microphone
        waves = np.array(
            [rng.normal(0, 0.5) * np.cos(math.pi * k * place + rng.uniform(0, 6.28)) for k in range(1, 5)], np.float32
        )
        mel = mel + np.float32(rng.uniform(-1.5, 1.5)) * (place - np.float32(0.5)) + waves.sum(0)
    mel = mel + np.float32(rng.uniform(-2.0, 1.2))
    if rng.random() < 0.6:  # noise, steady or with slow changes of level
        shape = rng.uniform(-1.5, 1.0) * 2 * (place - 0.5) + rng.normal(0, 0.4) * np.cos(
            math.pi * rng.uniform(1, 4) * place
        )
        level = rng.uniform(-8.5, -2.5) + rng.normal(0, 0.5) * np.sin(
            np.linspace(0, rng.uniform(0.5, 12), len(mel)) + rng.uniform(0, 6.28)
        )
        noise = level[:, None] + shape + rng.normal(0, 0.5, size=mel.shape)
        mel = np.logaddexp(mel, noise.astype(np.float32))
    if rng.random() < 0.25:  # band limit: 4 to 11 kHz
        mel = np.where(np.arange(bins) > rng.integers(62, 97), np.minimum(mel, np.float32(rng.uniform(-11.5, -7))), mel)
    if rng.random() < 0.15:  # high-pass
        mel = mel - np.float32(rng.uniform(1, 6)) * (np.arange(bins) < rng.integers(2, 9)).astype(np.float32)
    return np.maximum(mel, FLOOR).astype(np.float32), labels


def no_speech(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Steady noise of any colour and level, for half of it with hum: what a recording without speech may be, (T,
    100).
    """
    place = np.linspace(-1, 1, shape[1])
    mel = (
        rng.uniform(-11.5, 1.0)
        + rng.uniform(-2, 2) * place
        + rng.normal(0, 1) * np.cos(3 * place)
        + rng.normal(0, 0.5, size=shape)
    )
    if rng.random() < 0.5:
        mel[:, rng.integers(0, shape[1], size=int(rng.integers(1, 8)))] += rng.uniform(1, 4)
    return np.maximum(mel, FLOOR).astype(np.float32)


@torch.inference_mode()
def measure(model: AlignerModel, clips: Clips, most: int = 64) -> dict[str, float]:
    """Frame accuracy and cross-entropy on whole, undisturbed clips."""
    model.eval()
    right, loss, count = 0, 0.0, 0
    for i in range(min(most, len(clips.rows))):
        logits, labels = model(torch.from_numpy(clips.clip(i))[None])[0], torch.from_numpy(clips.labels[i])
        right += int((logits.argmax(-1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        count += len(labels)
    return {"valid_accuracy": round(right / count, 4), "valid_loss": round(loss / count, 4)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, batch=24, save=200)
    parser.add_argument("--frames", type=int, default=384, help="mel frames of a crop")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    vocab = make_vocab(args.cache)
    valid = Clips(args.cache, "valid", vocab)
    if args.valid_only:
        log.info("%s", measure(load_aligner(args.out), valid))
        return
    torch.manual_seed(args.seed)  # the weights' first values
    model = AlignerModel(vocab)
    log.info("%.2fM parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    clips = Clips(args.cache, "train", vocab)

    def loss_of(step: int) -> torch.Tensor:
        device = model.head.weight.device
        mel, labels = (devices.send(x, device) for x in clips.batch(step, args.batch, args.frames, args.seed))
        logits = model(mel, (labels != IGNORED).sum(1))
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)

    train(model, loss_of, lambda: save_aligner(model, args.out), lambda: measure(model, valid), args)


if __name__ == "__main__":
    main()
