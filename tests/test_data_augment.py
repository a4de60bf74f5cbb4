"""Altered voices and microphones: what the alterations of log-mels do, against waves that are so altered."""

from __future__ import annotations

import numpy as np

from tts_fm.audio.mel import FRAMES_PER_SECOND, MEL_FLOOR, N_MELS, log_mel
from tts_fm.data.augment import ECHO, envelope, equalised, revoiced, roomed, stretching


def test_the_equaliser_is_a_filter():
    """The curve that it adds to a log-mel of noise, as a filter of the wave, gives the same log-mel; half of the items
    have one.
    """
    from librosa import mel_frequencies

    noise = np.random.default_rng(0).normal(0, 0.1, 48_000)
    mel = log_mel(noise)
    rng = np.random.default_rng(1)
    curves = [equalised(mel, 3.0, rng) - mel for _ in range(60)]
    some = [c for c in curves if c.any()]
    assert 20 <= len(some) <= 40
    assert 2.0 < np.std([20 / np.log(10) * c[50] for c in some]) < 4.0  # dB
    frequencies = mel_frequencies(102, fmin=0, fmax=12_000, htk=True)[1:-1]
    for curve in some[:3]:
        assert np.allclose(curve, curve[:1], atol=1e-5)
        gain = np.exp(np.interp(np.linspace(0, 12_000, 24_001), frequencies, curve[0]))
        filtered = np.fft.irfft(np.fft.rfft(noise) * gain, 48_000)
        found = log_mel(filtered) - mel
        assert np.abs(found - curve)[4:-4].mean() < 0.03 and np.abs(found - curve)[4:-4].max() < 0.4


def test_stretching_multiplies_all_frequencies_and_the_envelope_keeps_formants():
    """Of a vowel (pulses of 150 Hz through a resonance at 1200 Hz): the stretched mel is that of a vowel whose pitch
    and resonance are stretched; the envelope alone has the resonance and no harmonics."""

    def vowel(pitch: float, formant: float) -> np.ndarray:
        time = np.arange(24_000) / 24_000
        wave = sum(
            np.sin(2 * np.pi * pitch * n * time) / (1 + ((pitch * n - formant) / 200) ** 2) for n in range(1, 60)
        )
        return log_mel(0.05 * wave)[10:-10]

    plain, wanted = vowel(150, 1200), vowel(150 * 1.1, 1200 * 1.1)
    low = slice(0, 60)
    before, after = np.abs(plain - wanted)[:, low].mean(), np.abs(plain @ stretching(100, 1.1) - wanted)[:, low].mean()
    assert after < 0.5 * before
    smooth = (plain @ envelope(100)).mean(0)
    assert abs(int(smooth.argmax()) - int(wanted[0].argmax())) < 8
    assert np.abs(np.diff(smooth, 2)).max() < 0.3 * np.abs(np.diff(plain.mean(0), 2)).max()


def test_one_item_of_four_keeps_its_voice():
    mel = np.random.default_rng(0).normal(-4, 2, (30, 100)).astype(np.float32)
    rng = np.random.default_rng(2)
    assert 10 <= sum((revoiced(mel, 1.0, rng) == mel).all() for _ in range(80)) <= 30


def in_rooms(mel: np.ndarray, count: int = 40, spoken: slice = slice(None)) -> list[np.ndarray]:
    return [roomed(mel, 1.0, spoken, np.random.default_rng(n)) for n in range(count)]


def test_a_click_dies_away_as_in_a_room():
    """In decibels along a straight line, by 60 within the seconds of ECHO, sooner in high bands."""
    click = np.full((90, N_MELS), np.log(MEL_FLOOR), np.float32)
    click[10] = 6.0
    lows = []
    for mel in in_rooms(click):
        assert (mel[:10] == click[:10]).all()
        level = 20 / np.log(10) * mel[11:31, [0, 99]]  # dB
        steps = np.diff(level, axis=0)
        heard = level[1:] > 20 * np.log10(MEL_FLOOR) + 30
        seconds = [-60 / steps[heard[:, k], k].mean() / FRAMES_PER_SECOND for k in (0, 1)]
        assert all(np.ptp(steps[heard[:, k], k]) < 0.2 for k in (0, 1))
        assert 0.3 * ECHO[0] < seconds[1] < 1.01 * seconds[0] < 1.03 * ECHO[1]
        lows.append(seconds[0])
    assert min(lows) < 0.25 and max(lows) > 0.6


def test_a_room_keeps_the_level_of_what_goes_on_for_long():
    for mel in in_rooms(np.full((400, N_MELS), 1.0, np.float32)):
        assert np.abs(mel[200:] - 1.0).max() < 0.03, "as loud as without its echoes"


def test_noise_is_in_prompts_only_and_steady():
    speech = np.full((400, N_MELS), np.log(MEL_FLOOR), np.float32)
    speech[::40] = 2.0  # loud frames, far apart
    quiet = np.arange(200) % 40 > 38
    found = in_rooms(speech, 60, slice(200, 400))
    without = in_rooms(speech, 60)
    noisy = [(a, b) for a, b in zip(found, without, strict=True) if np.abs(a - b).max() > 0.5]
    assert 18 <= len(noisy) <= 42
    for prompt_noise, none in noisy:
        assert np.array_equal(prompt_noise[200:], none[200:])
        assert (prompt_noise[:200] >= none[:200] - 1e-5).all()
        assert prompt_noise[:200][quiet, 50:].std(0).max() < 0.5, "nepers, from frame to frame"


def test_a_share_of_the_items_is_in_a_room():
    mel = np.random.default_rng(0).normal(-4, 2, (30, 100)).astype(np.float32)
    rng = np.random.default_rng(2)
    assert 20 <= sum((roomed(mel, 0.3, slice(20, 30), rng) != mel).any() for _ in range(100)) <= 40
