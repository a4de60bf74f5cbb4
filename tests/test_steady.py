"""Voiced sound with phases that jitter comes nearer to the same sound without; all else stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import tiny_tts_folder

from tts_fm.audio.mel import HOP, N_FFT, SAMPLE_RATE, hann_window, log_mel, overlapped
from tts_fm.audio.steady import check, pitch_of, steadied
from tts_fm.engines import sound
from tts_fm.errors import ModelError
from tts_fm.synthesis import TTS

SAMPLES = 2 * SAMPLE_RATE // HOP * HOP


def vowel(start: float, end: float, seconds: float = 2.0) -> np.ndarray:
    """Harmonics up to 4 kHz, 6 dB an octave, of a pitch that goes from `start` to `end` Hz."""
    pitch = np.linspace(start, end, int(seconds * SAMPLE_RATE) // HOP * HOP)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    numbers = range(1, int(4000 / max(start, end)) + 1)
    return (0.1 * sum(np.sin(n * phase + n * n) / n for n in numbers)).astype(np.float32)


def jittered(wave: np.ndarray, much: float) -> np.ndarray:
    """The wave with the phases of every frame off by chance, smoothly from bin to bin, as a vocoder errs."""
    rng = np.random.default_rng(0)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, N_FFT // 2), N_FFT)[::HOP]
    spectrum = np.fft.rfft(frames * hann_window())
    off = rng.normal(0, much, spectrum.shape)
    off = np.apply_along_axis(np.convolve, 1, off, np.ones(4) / 2, "same")
    return overlapped(spectrum * np.exp(1j * off))


def own(wave: np.ndarray) -> np.ndarray:
    """Steadied with its own mel: what is left of the change is that of the phases."""
    return steadied(wave, log_mel(wave))


def error(wave: np.ndarray, truth: np.ndarray) -> float:
    """Of the middle, in dB under the truth."""
    inside = slice(4 * N_FFT, -4 * N_FFT)
    return float(10 * np.log10(np.sum((wave - truth)[inside] ** 2) / np.sum(truth[inside] ** 2)))


@pytest.mark.parametrize(("start", "end"), [(75, 75), (110, 125), (210, 170), (330, 380)])
def test_jitter_is_less_and_a_steady_vowel_stays(start: float, end: float) -> None:
    truth = vowel(start, end)
    rough = jittered(truth, 0.7)
    assert error(own(rough), truth) < error(rough, truth) - 0.8  # dB
    assert error(own(truth), truth) < -22


@pytest.mark.parametrize("pitch", [65, 90, 140, 222, 318, 405])
def test_the_pitch_is_found(pitch: float) -> None:
    """Of a third of the samples, 8 kHz."""
    time = np.arange(16_000) / 8000
    low = sum(np.cos(2 * np.pi * n * pitch * time + n) / n for n in range(1, 6))
    found, trust = pitch_of(low.astype(np.float32))
    assert np.allclose(found[5:-5], pitch, rtol=0.01) and (trust[5:-5] > 0.9).all()


def test_noise_and_silence_stay() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, SAMPLES).astype(np.float32)
    assert np.sum((own(noise) - noise) ** 2) < 0.03 * np.sum(noise**2)
    silence = np.zeros(SAMPLES, np.float32)
    np.testing.assert_array_equal(own(silence), silence)
    short = vowel(120, 120)[: N_FFT - HOP]
    assert own(short) is short


def test_length_level_and_spectrum_stay() -> None:
    wave = np.concatenate([np.zeros(5000, np.float32), jittered(vowel(130, 160), 0.4), np.zeros(3333, np.float32)])
    result = own(wave)
    assert result.dtype == np.float32 and result.shape == wave.shape
    assert np.sum(result**2) == pytest.approx(np.sum(wave**2), rel=0.15)
    assert np.abs(result[:2000]).max() < 1e-6 > np.abs(result[-1000:]).max()
    assert np.abs(log_mel(result) - log_mel(wave))[30:-30].mean() < 0.35


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (0.5, 1.0), (1.0, 2.0), (1.0, 0.5), (2.0, 0.5)])
def test_magnitudes_agree_with_the_mel_but_do_not_rise_in_the_lowest_octaves(low: float, high: float) -> None:
    """Noise, whose spectrum below 450 Hz and above 1 kHz is made some times as large: what log_mel finds in it before
    and after, against what it found in the first.
    """
    truth = np.random.default_rng(2).normal(0, 0.1, SAMPLES).astype(np.float32)
    spectrum, frequency = np.fft.rfft(truth), np.fft.rfftfreq(SAMPLES, 1 / 24_000)
    spectrum *= np.interp(frequency, [0, 450, 700, 1000], [low, low, 1.0, high])
    wrong = np.fft.irfft(spectrum, SAMPLES).astype(np.float32)
    wanted = log_mel(truth)
    had, has = (np.abs((log_mel(w) - wanted)[4:-4]).mean(0) for w in (wrong, steadied(wrong, wanted)))
    centre = 700 * (10 ** (np.arange(1, 101) * np.log10(1 + 12_000 / 700) / 101) - 1)  # Hz, of each band (HTK)
    below, above = centre < 350, centre > 1200
    if high != 1:
        assert had[above].mean() > 0.6 and has[above].mean() < 0.15
    if low == 2:
        assert had[below].mean() > 0.6 and has[below].mean() < 0.2
    if low == 0.5:
        assert had[below].mean() > 0.6 and has[below].mean() > 0.5


def test_a_mel_of_fewer_frames_leaves_the_rest() -> None:
    wave = 0.3 * vowel(120, 120)
    mel = log_mel(wave)[:100] - 1.0
    change = np.abs(steadied(wave, mel)) - np.abs(steadied(wave, mel[:0]))
    assert np.abs(change[102 * HOP :]).max() < 1e-6 < np.abs(change[20 * HOP : 80 * HOP]).max()


def test_a_voice_whose_vocoder_needs_it_is_steadied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_tts_folder(tmp_path / "model")
    plain = TTS.load(folder).say("Hello there.")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"steady": True}))
    tts = TTS.load(folder)
    assert tts.engine.steady and not TTS.load(tiny_tts_folder(tmp_path / "other")).engine.steady
    given = []
    # what is done is heard, if it is done
    monkeypatch.setattr(sound, "steadied", lambda wave, mel: given.append(mel) or -wave)
    said = tts.say("Hello there.")
    np.testing.assert_array_equal(said.chunks[0].mel, plain.chunks[0].mel)
    np.testing.assert_array_equal(given[0], said.chunks[0].mel)
    np.testing.assert_allclose(said.wave, -plain.wave, atol=1e-6)
    for found in ("yes", 1, None):
        with pytest.raises(ValueError, match="true or false"):
            check(found)
    (folder / "config.json").write_text(json.dumps(config | {"steady": "yes"}))
    with pytest.raises(ModelError, match="steady is 'yes'"):
        TTS.load(folder)
