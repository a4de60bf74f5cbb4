"""The pitch of every frame of the cached corpus, which the vocoder learns to read off mels: found once, and kept beside
the waves as pitch.f32. T frames, one for each 256 samples.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tts_fm import devices, files
from tts_fm.audio.mel import HOP
from tts_fm.audio.steady import lowered, pitch_of

FILE = "pitch.f32"


class Pitches:
    """The pitch of clips, in Hz, and how far it may be relied on, from 0 to 1."""

    def __init__(self, cache: Path, device: torch.device) -> None:
        rows = json.loads((cache / "index.json").read_text())
        firsts = np.cumsum([0, *(frames_of(row["samples"]) for row in rows)])
        self.firsts = {row["sample"]: int(first) for row, first in zip(rows, firsts, strict=False)}
        self.flat = torch.from_numpy(kept(cache, rows)).to(device)

    def places(self, samples: list[int], frames: list[int]) -> list[int]:
        """Where in `flat` (T, 2) some `frames` lie, of the clips that begin at `samples`."""
        return [self.firsts[sample] + frame for sample, frame in zip(samples, frames, strict=True)]


def frames_of(samples: int) -> int:
    """Of a clip."""
    return samples // HOP + 1


def kept(cache: Path, rows: list[dict[str, Any]]) -> np.ndarray:
    """(T, 2) float32 of all clips one after another; found now where the cache has none."""
    path = cache / FILE
    if not path.exists() or path.stat().st_size != 8 * sum(frames_of(row["samples"]) for row in rows):
        found = found_in(cache / "wav.i16", [(row["sample"], row["samples"]) for row in rows])
        with files.writing(path) as place:
            found.tofile(place)
    return np.fromfile(path, np.float32).reshape(-1, 2)


def found_in(wav: Path, clips: list[tuple[int, int]]) -> np.ndarray:
    """(T, 2) float32 of all clips (first sample, samples) one after another, on all cores."""
    from tqdm import tqdm

    with ProcessPoolExecutor(devices.usable_cores()) as pool:
        rows = pool.map(one, repeat(wav), clips, chunksize=32)
        return np.concatenate(list(tqdm(rows, total=len(clips), unit="clip", desc="pitch")))


def one(wav: Path, clip: tuple[int, int]) -> np.ndarray:
    """(T, 2) of a clip."""
    first, size = clip
    wave = np.fromfile(wav, np.int16, size, offset=2 * first).astype(np.float32) / 32768
    pitch, trust = pitch_of(lowered(np.pad(wave, (0, -size % HOP))))
    count = frames_of(size)
    return np.stack([pitch[:count], trust[:count]], 1).astype(np.float32)
