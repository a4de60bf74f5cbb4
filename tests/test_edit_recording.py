"""An edit leaves a recording its rate, its channels and its depth, and every sample that is kept exactly as it was."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from tts_fm.audio.joints import FADE, Place, splice
from tts_fm.audio.mel import HOP, SAMPLE_RATE
from tts_fm.edit.recording import Change, Edited, Recording
from tts_fm.settings import Settings

KINDS = [  # container, how a sample is kept, rate, channels, loudness of each
    ("WAV", "PCM_16", 24_000, (1.0,)),
    ("WAV", "PCM_24", 44_100, (1.0, 0.25)),
    ("WAV", "PCM_16", 48_000, (1.0, -1.0)),  # of opposite polarity
    ("WAV", "PCM_32", 96_000, (0.5, 1.0, 0.0)),
    ("WAV", "FLOAT", 16_000, (1.0,)),
    ("WAV", "DOUBLE", 22_050, (1.0, 1.0)),
    ("WAV", "PCM_U8", 11_025, (1.0,)),
    ("WAV", "ULAW", 8_000, (1.0,)),
    ("FLAC", "PCM_24", 48_000, (0.7, 0.7)),
]


def voice(seconds: float, rate: int, pitch: float = 130.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
    return 0.2 * buzz * (1 + np.sin(2 * np.pi * 3 * time)) / 2


def file_of(container: str, kept_as: str, rate: int, gains: tuple[float, ...]) -> bytes:
    noise = np.random.default_rng(1).normal(0, 1e-3, (2 * rate, len(gains)))  # no two channels are alike
    memory = io.BytesIO()
    soundfile.write(memory, voice(2, rate)[:, None] * gains + noise, rate, kept_as, format=container)
    return memory.getvalue()


def edited(recording: Recording) -> Edited:
    """Half a second in the middle gives way to 0.7 s of another pitch."""
    places = [Place(70, 117, 70, 66)]
    spoken = voice(2 + 19 * HOP / SAMPLE_RATE, SAMPLE_RATE, 180.0).astype(np.float32)
    wave, _, kept = splice(recording.wave, spoken[: (len(recording.wave) // HOP + 19) * HOP], places)
    spans = [Change("old", "new", 70 * HOP / SAMPLE_RATE, 136 * HOP / SAMPLE_RATE)]
    return Edited(wave, [], spans, Settings(), 0.0, [], recording, kept)


@pytest.mark.parametrize(("container", "kept_as", "rate", "gains"), KINDS)
def test_what_is_kept_is_the_recording_itself(container, kept_as, rate, gains):
    data = file_of(container, kept_as, rate, gains)
    result, memory = edited(Recording.load(data)), io.BytesIO()
    result.save(memory, container.lower())
    kind = {"FLOAT": "float32", "DOUBLE": "float64"}.get(kept_as, "int32")
    memory.seek(0)
    with soundfile.SoundFile(memory) as file, soundfile.SoundFile(io.BytesIO(data)) as source:
        assert (file.samplerate, file.channels, file.subtype) == (rate, len(gains), kept_as)
        assert "generated speech at" in file.comment
        new, old = file.read(dtype=kind, always_2d=True), source.read(dtype=kind, always_2d=True)
    scale = rate / SAMPLE_RATE
    before = round((70 * HOP - FADE) * scale)  # up to the joint
    after = len(old) - round((117 * HOP + FADE) * scale)
    assert before > 0.7 * rate and after > 0.7 * rate
    np.testing.assert_array_equal(new[:before], old[:before])
    np.testing.assert_array_equal(new[-after:], old[-after:])
    assert len(new) / rate == pytest.approx(2 + 19 * HOP / SAMPLE_RATE, abs=0.01)
    # what is new is in every channel as loud as the voice is there
    middle = new[round(80 * HOP * scale) : round(130 * HOP * scale)].astype(np.float64)
    level = np.sqrt((middle**2).mean(0))
    assert level / level.max() == pytest.approx(np.abs(gains) / np.abs(gains).max(), abs=0.05)


def test_joints_do_not_click():
    recording = Recording.load(file_of("WAV", "PCM_24", 44_100, (1.0, 0.25)))
    samples = edited(recording).samples() / 2.0**31
    steps = np.abs(np.diff(samples, axis=0)).max(0)
    own = np.abs(np.diff(recording.samples / 2.0**31, axis=0)).max(0)
    assert (steps < 1.5 * own).all()


def test_compressed_results_have_the_channels():
    result, memory = edited(Recording.load(file_of("WAV", "PCM_16", 44_100, (1.0, 0.3)))), io.BytesIO()
    result.save(memory, "opus")
    memory.seek(0)
    with soundfile.SoundFile(memory) as file:
        assert (file.samplerate, file.channels) == (48_000, 2)
