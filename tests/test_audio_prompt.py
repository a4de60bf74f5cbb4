"""Reference recordings, good and bad: what is refused, what is changed, and that the user is told."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from tts_fm import audio
from tts_fm.audio.prompt import TARGET_LUFS, check_reference

RATE = audio.SAMPLE_RATE


def speech(seconds: float, rate: int = RATE, seed: int = 0, peak: float = 0.4) -> np.ndarray:
    """Speech-like bursts: 0.28 s of noisy tone, 0.12 s of near silence, repeated."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    on = (t % 0.4) < 0.28
    wave = (np.sin(2 * np.pi * 150 * t) + 0.5 * np.sin(2 * np.pi * 1200 * t) + 0.3 * rng.standard_normal(len(t))) * on
    return (wave * peak / 1.8 + 1e-4 * rng.standard_normal(len(t))).clip(-0.9, 0.9).astype(np.float32)


def test_good_reference(tmp_path: Path):
    silence = np.zeros(RATE, np.float32)
    path = tmp_path / "ref.flac"
    audio.write_audio(path, np.concatenate([silence, speech(4), silence]), RATE)
    ref = check_reference(path, "  What is said\nhere, in four seconds. ")
    assert ref.text == "What is said here, in four seconds." and ref.warnings == []
    assert ref.wave.dtype == np.float32 and ref.seconds == len(ref.wave) / RATE
    # 3.88 s from first to last burst, 100 ms kept at each side
    assert 3.88 + 0.2 - 0.03 <= ref.seconds <= 3.88 + 0.2 + 0.03
    assert abs(audio.loudness(ref.wave, RATE) - TARGET_LUFS) < 0.1


def test_arrays_files_and_bytes_agree(tmp_path: Path):
    wave = speech(3, 44100)
    memory = io.BytesIO()
    audio.write_audio(memory, wave, 44100, "wav")
    refs = [
        check_reference(memory.getvalue()),
        check_reference(io.BytesIO(memory.getvalue())),
        check_reference(wave, rate=44100),
    ]
    refs.append(check_reference(np.round(wave * 32767).astype(np.int16), rate=44100))
    for ref in refs[1:]:
        assert ref.wave.shape == refs[0].wave.shape and np.abs(ref.wave - refs[0].wave).max() < 1e-3


def test_long_speech_is_cut_at_a_pause_and_said():
    wave = speech(20)
    wave[int(9.5 * RATE) : int(10.0 * RATE)] = 0
    ref = check_reference(wave, max_seconds=12)
    assert 9.3 < ref.seconds < 9.9
    assert len(ref.warnings) == 1 and "only the first 9." in ref.warnings[0] and "of 20.0 s" in ref.warnings[0]
    with pytest.raises(ValueError, match="20.* s of speech, the limit is 12 s.*drop the text"):
        check_reference(wave, "Twenty seconds of this.", max_seconds=12)
    assert check_reference(wave, " ", max_seconds=12).text is None
    for seconds in (2.5, 5, 12, 19.9):
        assert check_reference(wave, max_seconds=seconds).seconds <= seconds


def test_short_and_clipped_are_warned_about():
    ref = check_reference(speech(1.2))
    assert len(ref.warnings) == 1 and "1." in ref.warnings[0]
    ref = check_reference((speech(4, peak=0.89) * 6).clip(-1, 1))
    assert len(ref.warnings) == 1 and "clipped" in ref.warnings[0]
    assert "level" in check_reference(0.1 * np.sin(np.arange(3 * RATE) * 0.05)).warnings[0]


@pytest.mark.parametrize(
    ("wave", "match"),
    [
        (np.zeros(0), "shape"),
        (np.zeros(1), "0.00 s"),
        (np.zeros(3 * RATE), "silent"),
        (np.full(3 * RATE, 0.7), "silent"),
        (1e-4 * speech(3), "silent"),
        (speech(0.4), "0.40 s"),
        (np.concatenate([speech(0.25), np.zeros(3 * RATE)]), "not silence"),
        (np.zeros((2, RATE)), "shape"),
        (np.full(RATE, np.nan), "NaN"),
        (np.array(["a", "b"]), "type"),
        (np.broadcast_to(np.float32(0.1), 7200 * RATE), "7200 s, the limit is 600 s"),
    ],
)
def test_bad_arrays(wave: np.ndarray, match: str):
    with pytest.raises(ValueError, match=match) as error:
        check_reference(wave)
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path: Path):
    (tmp_path / "empty.wav").touch()
    audio.write_audio(tmp_path / "one.wav", np.ones(1) * 0.5, RATE)
    audio.write_audio(tmp_path / "cut.flac", speech(3), RATE)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:60])
    fmt = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    long = 7200 * RATE * 2
    with open(tmp_path / "long.wav", "wb") as file:  # two hours, sparse
        file.write(
            b"RIFF"
            + struct.pack("<I", 36 + long)
            + b"WAVEfmt "
            + struct.pack("<I", 16)
            + fmt
            + b"data"
            + struct.pack("<I", long)
        )
        file.truncate(44 + long)
    for name, match in (("empty.wav", "empty"), ("one.wav", "0.00 s"), ("cut.flac", "damaged|no samples"),
    ("no.wav", "cannot read"),
                        ("long.wav", "7200.0 s, the limit is 600.0 s")):  # fmt: skip
        with pytest.raises(ValueError, match=match) as error:
            check_reference(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_transcript_must_fit_the_length():
    with pytest.raises(ValueError, match="400 characters for .* s of speech .*not in the recording"):
        check_reference(speech(4), "word " * 79 + "words")
    with pytest.raises(ValueError, match=r"3 characters for .* \(0\.\d a second, 3 to 35 are possible\)"):
        check_reference(speech(8), "Hi!")


def test_parameters():
    for bad in (0, 1.5, float("nan"), -3):
        with pytest.raises(ValueError, match="max_seconds"):
            check_reference(speech(3), max_seconds=bad)
    with pytest.raises(ValueError, match="the transcript of the reference is 123; a string is needed"):
        check_reference(speech(3), 123)  # type: ignore[arg-type]
    for bad in (0, None, 24000.5):
        with pytest.raises(ValueError, match="rate"):
            check_reference(speech(3), rate=bad)
