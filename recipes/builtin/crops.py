"""Random crops of the cached corpus for the vocoder: drawn on the host, cut where the training is.

On a GPU the whole corpus lies in its memory (10 hours are 1.7 GB), so that a batch is a few numbers that go there. A
draw depends on seed and step only. B clips, S samples, T mel frames.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from generator import log_mels
from pitches import Pitches
from torch import Tensor

from tts_fm import devices
from tts_fm.audio.mel import HOP, N_MELS


def held(path: Path, kind: type, device: torch.device) -> Tensor:
    """A flat file of the cache: mapped on the CPU, copied to a GPU."""
    # nothing writes; torch would warn of memory that it must not write to
    return torch.from_numpy(np.memmap(path, dtype=kind, mode="c")).to(device)


def cut(flat: Tensor, starts: list[int], size: int) -> Tensor:
    """(B, size, ...) from each start on."""
    at = devices.send(torch.tensor(starts, dtype=torch.int64), flat.device)
    return flat[at[:, None] + torch.arange(size, device=flat.device)]


class Batch(NamedTuple):
    """Mels (B, T, 100), their speech (B, S), and its pitch in Hz and how far it may be relied on (B, T, 2)."""

    mel: Tensor
    wave: Tensor
    pitch: Tensor


class Clips:
    """Crops of true speech, half of them with another gain. wave: all samples of the cache, from `held`."""

    def __init__(self, cache: Path, split: str, crop: int, wave: Tensor, pitches: Pitches) -> None:
        """ValueError where no clip of the split is longer than a crop."""
        rows = json.loads((cache / "index.json").read_text())
        self.rows = [r for r in rows if r["split"] == split and r["samples"] > crop * HOP]
        if not self.rows:
            raise ValueError(f"{cache}: no clip of the split {split!r} has more than {crop} frames")
        self.wave, self.pitches, self.crop = wave, pitches, crop

    def batch(self, step: int, size: int, seed: int) -> Batch:
        """Of whole frames, as the pitch is known."""
        samples = (self.crop - 1) * HOP
        rng = np.random.default_rng((seed, step))
        rows = [self.rows[i] for i in rng.integers(len(self.rows), size=size)]
        frames = [int(rng.integers((r["samples"] - samples) // HOP)) for r in rows]
        firsts = [r["sample"] for r in rows]
        gains, draws = 10 ** (rng.uniform(-12, 3, size=(size, 1)) / 20), rng.random((size, 1))
        starts = [first + frame * HOP for first, frame in zip(firsts, frames, strict=True)]
        waves = cut(self.wave, starts, samples) / 32768.0
        gain = devices.send(torch.from_numpy(gains.astype(np.float32)), waves.device)
        changed = devices.send(torch.from_numpy(draws < 0.5), waves.device)
        louder = waves * (gain / waves.abs().amax(1, keepdim=True).clamp(min=0.25))
        waves = torch.where(changed, louder, waves).clamp(-1, 1)
        return Batch(log_mels(waves), waves, cut(self.pitches.flat, self.pitches.places(firsts, frames), self.crop))


class Predicted:
    """Crops of mels that the flow model made (predicted.py), with the true speech that they are in time with."""

    def __init__(self, folder: Path, crop: int, wave: Tensor, pitches: Pitches) -> None:
        """ValueError where no clip is longer than two crops."""
        self.rows = [r for r in json.loads((folder / "index.json").read_text()) if r["frames"] > 2 * crop]
        if not self.rows:
            raise ValueError(f"{folder}: no predicted mel has more than {2 * crop} frames")
        self.mels = held(folder / "mel.f16", np.float16, wave.device).view(-1, N_MELS)
        self.wave, self.pitches, self.crop = wave, pitches, crop

    def batch(self, step: int, size: int, seed: int) -> Batch:
        """The first fifth of a clip, its true prompt, is left out."""
        rng = np.random.default_rng((seed, step, 1))
        rows = [self.rows[i] for i in rng.integers(len(self.rows), size=size)]
        starts = [int(rng.integers(r["frames"] // 5, r["frames"] - self.crop)) for r in rows]
        mel = cut(self.mels, [r["frame"] + at for r, at in zip(rows, starts, strict=True)], self.crop)
        first = [r["sample"] + at * HOP for r, at in zip(rows, starts, strict=True)]
        pitch = cut(self.pitches.flat, self.pitches.places([r["sample"] for r in rows], starts), self.crop)
        return Batch(mel.float(), cut(self.wave, first, (self.crop - 1) * HOP) / 32768.0, pitch)


class Spoken:
    """Crops of mels that the whole voice has spoken (spoken.py); there is no true wave in time with them."""

    def __init__(self, folder: Path, crop: int, device: torch.device) -> None:
        """ValueError where no chunk is longer than a crop."""
        self.rows = [r for r in json.loads((folder / "index.json").read_text()) if r["frames"] > crop]
        if not self.rows:
            raise ValueError(f"{folder}: nothing that was spoken has more than {crop} frames")
        self.mels, self.crop = held(folder / "mel.f16", np.float16, device).view(-1, N_MELS), crop

    def batch(self, step: int, size: int, seed: int) -> Tensor:
        """(B, T, 100) float32."""
        rng = np.random.default_rng((seed, step, 2))
        rows = [self.rows[i] for i in rng.integers(len(self.rows), size=size)]
        starts = [r["frame"] + int(rng.integers(r["frames"] - self.crop)) for r in rows]
        return cut(self.mels, starts, self.crop).float()


def draw(train: Clips, predicted: Predicted | None, step: int, size: int) -> Batch:
    """True mels, or predicted ones and true ones by turns, half of each."""
    true = train.batch(step, size // 2 if predicted else size, seed=1)
    if predicted is None:
        return true
    others = predicted.batch(step, len(true.wave), seed=1)
    return Batch(*(torch.stack(pair, 1).flatten(0, 1) for pair in zip(others, true, strict=True)))
