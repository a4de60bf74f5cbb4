"""A stand-in for synthesis.TTS, and what else the tests of the command line share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import tts_fm
from tts_fm.engines.jobs import Chunk
from tts_fm.errors import ModelError
from tts_fm.settings import Settings
from tts_fm.text.word_times import Word


class FakeTTS:
    """Says one second of a tone for anything, and remembers what it was asked."""

    loads: list[dict] = []
    asked: list[dict] = []
    fault: BaseException | None = None
    unknown: dict[str, int] = {}
    chunks = 1

    @classmethod
    def load(cls, model=None, device="cpu", dtype=None, **how) -> FakeTTS:
        cls.loads.append({"model": model, "device": device, "dtype": dtype} | how)
        if model == "missing":
            raise ModelError("there is no model at missing")
        return cls()

    def plan(self, request):
        given = {k: v for k, v in vars(request.settings).items() if v != getattr(Settings(), k)}
        self.asked.append({"text": request.text, "voice": request.voice} | given)
        if self.fault is not None:
            raise self.fault
        settings = request.settings.with_defaults({"steps": 8, "cfg": 1.5}).check()
        return [
            SimpleNamespace(settings=settings, voice=request.voice, index=k, total=self.chunks)
            for k in range(self.chunks)
        ]

    def spoken(self, jobs, batch_frames=0, on_progress=None, on_step=None):
        for job in jobs:
            for step in range(job.settings.steps):
                on_progress(step + 1, job.settings.steps, job.index, job.total)
            wave = np.sin(np.arange(24_000, dtype=np.float32) / 10) * 0.3
            words = [Word("Hello", 0.1, 0.4), Word("world", 0.5, 0.9)]
            mel, unknown = np.zeros((94, 100)), Counter(self.unknown)
            yield job, Chunk(job.index, job.total, "Hello, world.", wave, float(job.index), words, mel, unknown)


def fake_tts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeTTS]:
    """FakeTTS in place of the real one, a stored voice "amy", and an empty working folder."""
    from tts_fm.voices.stored import add_voice

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
