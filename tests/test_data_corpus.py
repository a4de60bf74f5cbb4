"""The loader's short cuts give what tts_fm.audio gives: samples of plain and other files, log-mels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tts_fm.audio.files import load
from tts_fm.audio.mel import log_mel
from tts_fm.data import waves
from tts_fm.data.corpus import mel_of
from tts_fm.data.waves import read_wave


@pytest.mark.parametrize("samples", [513, 1000, 24_000, 64 * 256 - 1, 64 * 256, 100_003])
def test_mels_are_those_of_audio(samples: int):
    wave = np.random.default_rng(samples).normal(scale=0.1, size=samples).astype(np.float32)
    wave[: samples // 3] = 0.0  # the floor
    found, wanted = mel_of(wave), log_mel(wave)
    assert found.shape == wanted.shape == (samples // 256 + 1, 100) and found.dtype == np.float32
    assert np.abs(found - wanted).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [("a.wav", 24_000, 1, "PCM_16"), ("b.wav", 24_000, 2, "PCM_16"), ("c.wav", 16_000, 1, "PCM_16"),
    ("d.wav", 24_000, 1, "FLOAT"),
     ("e.wav", 24_000, 1, "PCM_24"), ("f.flac", 24_000, 1, "PCM_16")],
)  # fmt: skip
def test_every_file_is_read_as_audio_reads_it(
    tmp_path: Path, monkeypatch, name: str, rate: int, channels: int, subtype: str
):
    wave = np.random.default_rng(0).uniform(-1, 1, (3001, channels)).astype(np.float32)
    soundfile.write(tmp_path / name, wave, rate, subtype=subtype)
    slow = []
    monkeypatch.setattr(waves, "load", lambda path: slow.append(path) or load(path))
    assert np.array_equal(read_wave(tmp_path / name), load(tmp_path / name))
    assert bool(slow) == (name != "a.wav")


def test_damaged_files_are_named(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", np.zeros(3000, np.float32), 24_000, subtype="PCM_16")
    whole = (tmp_path / "a.wav").read_bytes()
    for size in (0, 20, 44):
        (tmp_path / "a.wav").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="a.wav"):
            read_wave(tmp_path / "a.wav")
    with pytest.raises(ValueError, match="none.wav"):
        read_wave(tmp_path / "none.wav")
