"""Corpora of tones in LibriTTS's layout, and archives of them: for the tests of data_prep."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # data_prep and recipes are used from the checkout
RATE = 24_000


def tone(path: Path, seconds: float = 1.0, rate: int = RATE, level: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, (level * np.sin(2 * np.pi * 220 * time)).astype(np.float32), rate, subtype="PCM_16")
    return path


def libritts_clip(root: Path, part: str, speaker: int, number: int, text: str = "One two three.", **sound) -> Path:
    path = tone(root / "LibriTTS" / part / str(speaker) / "7" / f"{speaker}_7_000000_{number:06d}.wav", **sound)
    for ending in ("normalized", "original"):
        path.with_suffix(f".{ending}.txt").write_text(text + "\n" if ending == "normalized" else text.upper())
    return path


def make_corpus(root: Path) -> Path:
    """Three speakers, one a split, with three recordings each: 0.5, 1.5 and 2.5 s."""
    for part, speaker in (("train-clean-100", 19), ("dev-clean", 84), ("test-clean", 61)):
        for number in range(3):
            libritts_clip(root, part, speaker, number, seconds=0.5 + number)
    return root


def packed(corpus: Path, part: str = "dev-clean") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("LibriTTS/LICENSE.txt")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"CC"))
        tar.add(corpus / "LibriTTS" / part, f"LibriTTS/{part}")
    return buffer.getvalue()


def tar_of(path: Path, *members: tuple[str, bytes, bytes, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, data, link in (("LibriTTS/dev-clean/1/1/a.wav", tarfile.REGTYPE, b"good", ""), *members):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), link
            tar.addfile(info, io.BytesIO(data))
    return path
