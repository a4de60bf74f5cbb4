"""Recordings as people send them: containers, broken headers, polarity, narrow bands, rooms that are heard first."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tts_fm.audio.files import read_audio
from tts_fm.audio.levels import ACTIVE_LEVEL, active_level, lifted
from tts_fm.audio.match import bands_within, matched
from tts_fm.audio.mel import log_mel
from tts_fm.audio.prompt import check_reference
from tts_fm.engines import phones
from tts_fm.engines.phones import NO_SPEECH, heard
from tts_fm.voices.stored import Voice, get_voice

RATE = 24_000


def voice(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """Something like speech: syllables of a harmonic tone and of noise, with pauses between, over the whole band."""
    t, rng = np.arange(int(seconds * RATE)) / RATE, np.random.default_rng(seed)
    tone = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 60))
    wave = 0.1 * tone + 0.03 * rng.standard_normal(len(t))
    return (wave * (np.sin(2 * np.pi * 2.2 * t) > -0.3)).astype(np.float32)


def written(wave: np.ndarray, **how) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_24"), ("W64", "FLOAT"), ("RF64", "PCM_16"), ("WAV", "ULAW"),
     ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("AU", "ULAW")],
)  # fmt: skip
def test_what_libsndfile_reads_is_read(container, subtype):
    wave, rate = read_audio(written(voice(), format=container, subtype=subtype))
    assert rate == RATE and np.corrcoef(wave[: 2 * RATE], voice()[: 2 * RATE])[0, 1] > 0.98


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, None])
def test_a_wav_that_does_not_know_its_length_or_lost_its_end_gives_what_is_there(size, caplog):
    data = bytearray(written(voice(), format="WAV", subtype="PCM_16"))
    at = data.index(b"data") + 4
    if size is None:
        data = data[: len(data) // 2]
    else:
        data[at : at + 4] = struct.pack("<I", size)
    wave, _ = read_audio(bytes(data))
    assert len(wave) == (len(data) - at - 4) // 2 and "what is there is used" in caplog.text


def test_channels_of_opposite_polarity_do_not_cancel():
    wave, _ = read_audio(written(np.stack([voice(), -voice()], axis=1), format="WAV", subtype="FLOAT"))
    np.testing.assert_allclose(wave, voice(), atol=1e-6)
    same, _ = read_audio(written(np.stack([voice(), voice()], axis=1), format="WAV", subtype="FLOAT"))
    np.testing.assert_allclose(same, voice(), atol=1e-6)


def test_media_files_are_decoded(tmp_path: Path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.m4a"), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(voice()[None], format="fltp", layout="mono")
        frame.rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    wave, rate = read_audio(tmp_path / "a.m4a")
    assert rate == RATE and abs(len(wave) / RATE - 3) < 0.2
    with pytest.raises(ValueError, match="limit"):
        read_audio(tmp_path / "a.m4a", max_seconds=1.0)
    with pytest.raises(ValueError, match="damaged or not audio"):
        read_audio(b"\x00\x00\x00\x20ftypM4A " + bytes(200))


def test_without_pyav_the_line_says_how_to_convert(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"tts-fm\[media\].*ffmpeg -i"):
        read_audio(b"\x00\x00\x00\x20ftypM4A " + bytes(40))


@pytest.mark.parametrize(("rate", "khz"), [(8_000, 4), (16_000, 8)])
def test_narrow_bands_are_found_and_matched_only_within(rate, khz):
    narrow = soxr.resample(soxr.resample(voice(), RATE, rate), rate, RATE).astype(np.float32)
    (told,) = [w for w in check_reference(narrow).warnings if "kHz" in w]
    assert abs(float(told.split("above ")[1].split(" kHz")[0]) - khz) < 0.6
    assert not any("kHz" in w for w in check_reference(voice()).warnings)
    speech, prompt = log_mel(voice(2.0, 1)), log_mel(narrow)
    edge = bands_within(prompt)
    result = matched(speech, prompt)
    np.testing.assert_array_equal(result[:, edge:], speech[:, edge:])
    assert not np.allclose(result[:, :edge], speech[:, :edge])


def test_quiet_speech_is_lifted_and_loud_speech_is_not():
    wave = voice() * 0.05
    assert active_level(wave, RATE) < ACTIVE_LEVEL - 6
    assert abs(active_level(lifted(wave, RATE), RATE) - min(ACTIVE_LEVEL, active_level(wave, RATE) + 15)) < 0.1
    loud = voice() * 2
    assert lifted(loud, RATE) is loud


def test_the_room_before_the_voice_is_cut_off():
    rng = np.random.default_rng(0)
    room = 0.004 * rng.standard_normal(2 * RATE).astype(np.float32)
    wave = np.concatenate([room, voice(3.0) + 0.004 * rng.standard_normal(3 * RATE).astype(np.float32), room])
    assert abs(check_reference(wave).seconds - 3.0) < 0.5


def test_the_clearest_stretch_of_a_long_recording_is_used():
    rng = np.random.default_rng(0)
    noisy = voice(12.0) + 0.05 * rng.standard_normal(12 * RATE).astype(np.float32)
    prepared = check_reference(np.concatenate([noisy, voice(12.0)]), max_seconds=8.0)
    assert any("clearest" in w for w in prepared.warnings)
    quiet = np.percentile(np.abs(prepared.wave), 10)
    assert quiet < 0.01 and prepared.seconds <= 8.2


def music(seed: int, seconds: float = 5.0) -> np.ndarray:
    """Chords of decaying harmonic tones."""
    rng, out, at = np.random.default_rng(seed), np.zeros(int(seconds * RATE), np.float32), 0
    while at < len(out) - RATE // 2:
        length, root = int(rng.integers(RATE // 6, RATE // 2)), 220 * 2 ** (rng.integers(0, 24) / 12)
        t = np.arange(length) / RATE
        for pitch in (root, 1.25 * root, 1.5 * root):
            tone = sum(np.sin(2 * np.pi * pitch * k * t) / k**1.5 for k in range(1, 9))
            out[at : at + length] += 0.1 * tone * np.exp(-4 * t)
        at += length // 2
    return out


def pulses(seconds: float = 5.0) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.1 * np.random.default_rng(0).standard_normal(len(t)) * (np.sin(10 * t) > 0)).astype(np.float32)


def recorded(wave: np.ndarray) -> Voice:
    return Voice("x", wave, warnings=("another",), recorded=True)


@pytest.mark.parametrize("wave", [music(1), music(2), pulses(), voice(5.0)], ids=["music", "music", "noise", "tone"])
def test_music_and_noise_alone_are_named(wave):
    voice = heard(recorded(wave))
    assert voice.warnings == (NO_SPEECH, "another") and not voice.recorded


@pytest.mark.parametrize("name", ["heart", "george", "lewis"])
def test_speech_is_speech_also_with_noise_and_on_the_telephone(name):
    wave = get_voice(name).wave
    noise = wave.std() * 10**-0.5 * np.random.default_rng(0).standard_normal(len(wave))
    narrow = soxr.resample(soxr.resample(wave, RATE, 8000), 8000, RATE)
    for spoken in (wave, wave + noise, narrow):
        assert heard(recorded(spoken.astype(np.float32))).warnings == ("another",)


def test_stored_voices_are_not_judged_and_a_missing_aligner_judges_nothing(monkeypatch, tmp_path):
    assert heard(Voice("x", music(1))).warnings == ()
    monkeypatch.setattr(phones, "ALIGNER", tmp_path)
    monkeypatch.setattr(phones, "_judged", {})
    phones.recogniser.cache_clear()
    assert heard(recorded(music(1))).warnings == ("another",)
    phones.recogniser.cache_clear()


def test_a_loud_room_before_and_after_a_voice_is_cut_off_and_a_full_band_is_not_called_narrow():
    rng = np.random.default_rng(3)
    speech = voice(4.0)
    level = 0.18 * np.sqrt(np.mean(speech**2))  # 15 dB below
    room = (level * rng.standard_normal(14 * RATE)).astype(np.float32)
    found = check_reference(np.concatenate([room[: 9 * RATE], speech + room[: len(speech)], room[: 2 * RATE]]))
    assert 3.5 < found.seconds < 4.6 and not any("are used" in warning for warning in found.warnings)
    upsampled = soxr.resample(speech, RATE, 44_100)
    assert not any("holds nothing above" in w for w in check_reference(upsampled, rate=44_100).warnings)
