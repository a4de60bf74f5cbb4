"""What the demo's tests share: recordings, stored voices, an aligner. Their fixtures are in demo_fixtures.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from tiny_model import VOCAB

from tts_fm.engines.align import Alignment
from tts_fm.text.chunks import plan_chunks
from tts_fm.text.tokens import PhonemeTokenizer

TEXT = "Hello there, my friend. " * 8  # two chunks and more


def speech_like(seconds: float = 3.0, rate: int = 24_000) -> np.ndarray:
    """(S,) float32: a buzz in syllables, which passes the checks of a reference recording."""
    time = np.arange(int(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.2 * buzz * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1) * (0.6 + 0.4 * np.sin(4 * time))).astype(
        np.float32
    )


def store_voices(folder: Path, names: tuple[str, ...] = ("ann", "bob")) -> None:
    """Named voices, as `tts-fm voice add` stores them."""
    folder.mkdir(parents=True)
    for name in names:
        soundfile.write(folder / f"{name}.flac", speech_like(), 24_000)
    (folder / "voices.json").write_text(json.dumps({name: {"text": None, "lang": "en-us"} for name in names}), "utf-8")


class EvenAligner:
    """Finds every unit of a text as long as the others; what align.Aligner.load gives in these tests."""

    def align(self, wave, text, lang):
        units = plan_chunks(text, PhonemeTokenizer(VOCAB), lang, 1e9)[0].units
        size = (len(wave) / 256 - 20) / len(units)
        return Alignment(units, [size] * len(units), lead=10.0, tail=10.0, words=[], score=-0.3)
