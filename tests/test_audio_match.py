"""The spectrum that speech is given: a recording through a filter and a compressor comes back to the recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dct

import tts_fm
from tts_fm.audio.files import load
from tts_fm.audio.match import TOGETHER, by_covariance, loud, matched
from tts_fm.audio.mel import log_mel

VOICES = Path(tts_fm.__file__).parent / "assets" / "voices"


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return load(VOICES / "nova.flac")


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.square(error).mean()))


def test_a_filter_is_undone(wave):
    """The same words through a filter of 9 dB up and down, made in the frequency domain of the wave, with the wave as
    prompt.
    """
    spectrum = np.fft.rfft(wave)
    decibels = 9 * np.sin(np.linspace(0, 6, len(spectrum)) ** 1.3)
    truth, speech = log_mel(wave), log_mel(np.fft.irfft(spectrum * 10 ** (decibels / 20), len(wave)))
    keep = loud(truth)
    before, after = (rms((m - truth)[keep]) for m in (speech, matched(speech, truth)))
    half = rms((matched(speech, truth, 0.5) - truth)[keep])
    assert before > 0.6 and after < 0.35 * before and after < half < before
    assert np.array_equal(matched(speech, truth, 0.0), speech)


def test_flattened_movement_comes_back(wave):
    truth = log_mel(wave)
    keep = loud(truth)
    mean = truth[keep].mean(0)
    flat = (truth - mean) * 0.8 + mean
    back = matched(flat, truth)
    lost, left = (np.abs(m[keep].std(0) / truth[keep].std(0) - 1).mean() for m in (flat, back))
    assert 0.19 < lost < 0.21 and left < 0.5 * lost


def test_mixed_coefficients_come_back():
    """Cepstral coefficients through a symmetric positive matrix: its inverse is the least change that gives them their
    covariance again.
    """
    truth = log_mel(np.concatenate([load(path) for path in sorted(VOICES.glob("*.flac"))]))
    basis = dct(np.eye(100), norm="ortho")[:, :TOGETHER].astype(np.float32)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(TOGETHER, TOGETHER)))
    mixing = (turn * np.linspace(0.7, 1.4, TOGETHER) @ turn.T).astype(np.float32)
    keep = loud(truth)
    inner = (truth - truth[keep].mean(0)) @ basis
    speech = truth + (inner @ mixing - inner) @ basis.T
    before, after = (rms((m - truth)[keep]) for m in (speech, by_covariance(speech, truth)))
    assert before > 0.3 and after < 0.6 * before
    assert np.abs(by_covariance(truth, truth) - truth).max() < 1e-3


def test_a_moment_is_left_nearly_alone_and_nothing_breaks(wave):
    truth = log_mel(wave)
    short = truth[100:102] + 1.0
    moved = np.abs(matched(short, truth) - short).mean()
    whole = (matched(truth + 1.0, truth) - truth - 1.0).mean()
    assert moved < 0.5 and 0.7 < -whole < 1.0
    silence = np.full((30, 100), -11.5, np.float32)
    for speech, prompt in ((truth, silence), (silence, truth), (silence[:1], silence), (truth[:1], truth)):
        assert np.isfinite(matched(speech, prompt)).all()
