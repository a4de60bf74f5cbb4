"""A stand-in for synthesis.TTS, and what else the tests of the command line share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tts_fm
from tts_fm.errors import ModelError
from tts_fm.settings import Settings
from tts_fm.text.word_times import Word


class FakeTTS:
    """Says one second of a tone for anything, and remembers what it was asked."""

    loads: list[dict] = []
    asked: list[dict] = []
    fault: BaseException | None = None
    unknown: dict[str, int] = {}

    @classmethod
    def load(cls, model=None, device="cpu", dtype=None, **how) -> FakeTTS:
        cls.loads.append({"model": model, "device": device, "dtype": dtype} | how)
        if model == "missing":
            raise ModelError("there is no model at missing")
        return cls()

    def say(self, text, voice=None, *, ref_text=None, settings=None, on_progress=None, **overrides):
        from tts_fm.synthesis import Chunk, Speech

        self.asked.append({"text": text, "voice": voice} | overrides)
        if self.fault is not None:
            raise self.fault
        settings = Settings(**overrides).with_defaults({"steps": 8, "cfg": 1.5}).check()
        for step in range(settings.steps):
            on_progress(step + 1, settings.steps, 0, 1)
        wave = np.sin(np.arange(24_000, dtype=np.float32) / 10) * 0.3
        words = [Word("Hello", 0.1, 0.4), Word("world", 0.5, 0.9)]
        chunk = Chunk(0, 1, "Hello, world.", wave, 0.0, words, np.zeros((94, 100)), Counter(self.unknown))
        return Speech(wave, voice.name, settings, [chunk], 0.25, 16, list(voice.warnings))


def fake_tts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeTTS]:
    """FakeTTS in place of the real one, a stored voice "amy", and an empty working folder."""
    from tts_fm.voices import add_voice

    kind = type("Fake", (FakeTTS,), {"loads": [], "asked": [], "fault": None, "unknown": {}})
    monkeypatch.setattr(tts_fm, "TTS", kind, raising=False)
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "ref.wav")
    add_voice("amy", tmp_path / "ref.wav", "one two three four five", "en-us")
    return kind


def recording(path: Path, seconds: float = 3.0) -> Path:
    """Something that passes for speech: bursts of a buzz."""
    t = np.arange(int(seconds * 24_000)) / 24_000
    wave = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (
        0.05 + 0.15 * (np.sin(2 * np.pi * 3 * t) > 0)
    )
    soundfile.write(path, wave.astype(np.float32), 24_000)
    return path
