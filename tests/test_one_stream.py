"""What is streamed is what is saved, whichever way speech goes out; headers promise what comes, or say that they do not
know.
"""

from __future__ import annotations

import importlib.util
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_model import tiny_tts_folder

from tts_fm.audio.levels import loudness
from tts_fm.audio.stream import AudioStream
from tts_fm.synthesis import TTS

RATE = 24_000


def recipe():
    file = Path(__file__).parents[1] / "recipes" / "benchmarks" / "one_stream.py"
    spec = importlib.util.spec_from_file_location("one_stream", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tts(tmp_path_factory) -> TTS:
    return TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize(("model", "count"), [("tiny", 3), ("built-in", 1)])
def test_every_way_out_gives_the_same_samples(tts, model, count):
    for module in ("fastapi", "uvicorn", "httpx"):
        pytest.importorskip(module)
    rows = list(recipe().compare(tts if model == "tiny" else TTS.load(), count, steps=2))
    assert [row["other"] for row in rows] == [[]] * count
    for row in rows:
        assert set(row["headers"].values()) == {"unknown" if row["chunks"] > 1 else "exact"}
    assert sorted(row["chunks"] for row in rows) == ([1, 4, 8] if model == "tiny" else [1])


def test_a_loudness_holds_for_the_whole_and_for_every_chunk(tts):
    text = "One two three four. " * 6
    speech = tts.say(text, "nova", chunk_seconds=3.0, loudness=-20.0)
    assert len(speech.chunks) > 2
    assert loudness(speech.wave, RATE) == pytest.approx(-20, abs=0.3)
    for chunk in speech.chunks:
        assert loudness(chunk.wave, RATE) == pytest.approx(-20, abs=0.3)


class Pipe(io.RawIOBase):
    """Takes few bytes at a time, and cannot be gone back in."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        taken = bytes(data[:1000])
        self.data += taken
        return len(taken)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg", "opus", "pcm"])
def test_waves_one_after_another_make_the_file_that_they_make_at_once(tmp_path, format):
    """Against libsndfile's own reading, and in a file, in memory and in a pipe alike."""
    t = np.arange(3 * RATE) / RATE
    wave = (0.3 * np.sin(2 * np.pi * 220 * t) * (1 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)
    memory, pipe = io.BytesIO(), Pipe()
    for target in (tmp_path / f"a.{format}", memory, pipe):
        with AudioStream(target, format, {"software": "x", "comment": "generated speech"}) as stream:
            for start in range(0, len(wave), 7001):
                stream.write(wave[start : start + 7001])
    data = (tmp_path / f"a.{format}").read_bytes()
    assert data == memory.getvalue() and (data == pipe.data or format in ("wav", "mp3", "opus"))
    how = {"channels": 1, "samplerate": RATE, "subtype": "PCM_16", "endian": "LITTLE"} if format == "pcm" else {}
    for kind in (data, pipe.data):
        with soundfile.SoundFile(io.BytesIO(kind), format="RAW" if format == "pcm" else None, **how) as file:
            got = file.read()
            assert format == "pcm" or "generated speech" in file.comment
        assert abs(len(got) - len(wave)) < 3000 and (format in ("mp3", "ogg", "opus") or len(got) == len(wave))
        if format in ("wav", "flac", "pcm"):
            assert np.abs(got - wave).max() <= 0.5 / 32767 + 1e-6 + 1 / 32768 * np.abs(wave).max()
    if format == "wav":
        assert struct.unpack("<I", data[4:8])[0] == len(data) - 8 and pipe.data[4:8] == b"\xff" * 4


@pytest.mark.parametrize("format", ["wav", "flac", "ogg"])
def test_a_stream_that_fails_leaves_no_file(tmp_path, format):
    (tmp_path / f"a.{format}").write_bytes(b"old")
    with pytest.raises(RuntimeError), AudioStream(tmp_path / f"a.{format}", format) as stream:
        stream.write(np.zeros(5000, np.float32))
        raise RuntimeError("the model fell over")
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{format}"]
    assert (tmp_path / f"a.{format}").read_bytes() == b"old"


@pytest.mark.parametrize("format", ["wav", "pcm", "flac", "ogg", "mp3"])
def test_a_disk_that_fills_up_is_told_with_the_name_of_the_file(tmp_path, format, monkeypatch):
    import resource
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 10).astype(np.float32)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        with pytest.raises(OSError, match="File too large") as told, AudioStream(tmp_path / "a", format) as stream:
            for start in range(0, len(noise), 48_000):
                stream.write(noise[start : start + 48_000])
        assert told.value.filename == str(tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
