"""SWivid/F5-TTS#1234 (also #1235, #1257, #1220; niknah/ComfyUI-F5-TTS#68): a reference could not be read where FFmpeg
or torchcodec was missing or of another version.

Here the usual files are read with neither of them.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tts_fm.audio.files import load, write_audio


@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac", "ogg", "opus"])
def test_recordings_are_read_without_ffmpeg_and_torchcodec(suffix: str, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no programs at all
    for name in ("torchcodec", "torchaudio", "av", "librosa", "pydub"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    wave = (0.3 * np.sin(np.arange(24_000) / 20)).astype(np.float32)
    write_audio(tmp_path / f"me.{suffix}", wave, 24_000)
    assert abs(len(load(tmp_path / f"me.{suffix}")) - 24_000) < 2_500
