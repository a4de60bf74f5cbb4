"""Splicing: a joint of tones has no step and no dip, noise keeps its power, what is kept is kept to the last sample."""

from __future__ import annotations

import numpy as np
import pytest

from tts_fm.audio.joints import FADE, Place, splice
from tts_fm.audio.mel import HOP, SAMPLE_RATE


def tone(samples: int, phase: float, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 150 * np.arange(samples) / SAMPLE_RATE + phase)).astype(np.float32)


@pytest.mark.parametrize("phase", [0.0, 1.5, 3.1])
def test_joints_of_a_tone_are_smooth_and_level_whatever_its_phase(phase):
    wave, spoken = tone(100 * HOP, 0.0), tone(110 * HOP, phase, level=0.25)
    result, knots, _ = splice(wave, spoken, [Place(40, 60, 40, 30)])
    assert np.abs(np.diff(result)).max() < 1.1 * np.abs(np.diff(wave)).max()
    peaks = np.abs(result[: len(result) // HOP * HOP]).reshape(-1, HOP).max(1)
    np.testing.assert_allclose(peaks, 0.5, rtol=0.05)  # half a period of 150 Hz is 80 samples: every hop has a peak
    assert [a for a, _ in knots] == [0, 40 * HOP, 70 * HOP, 110 * HOP] and knots[-1][1] == len(result)
    assert all(abs(a - b) <= 330 for a, b in knots)


def test_noise_keeps_its_power_through_a_joint():
    rng = np.random.default_rng(0)
    power = []
    for _ in range(40):
        wave, spoken = (
            rng.normal(0, 0.1, 100 * HOP).astype(np.float32),
            rng.normal(0, 0.1, 100 * HOP).astype(np.float32),
        )
        result, _, _ = splice(wave, spoken, [Place(40, 60, 40, 20)])
        power.append(np.square(result[40 * HOP - FADE : 40 * HOP]).mean())
    assert np.mean(power) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("places", "kept"),
    [
        ([Place(0, 40, 0, 50)], [slice(40 * HOP + FADE, None)]),  # the beginning is new
        ([Place(60, 101, 60, 20)], [slice(0, 60 * HOP - FADE)]),  # the end is new
        (
            [Place(20, 30, 20, 30), Place(50, 70, 70, 5)],
            [slice(0, 20 * HOP - FADE), slice(30 * HOP + FADE, 50 * HOP - FADE)],
        ),
    ],
)
def test_what_is_kept_is_kept_to_the_sample(places, kept):
    rng = np.random.default_rng(1)
    wave = rng.normal(0, 0.1, 100 * HOP + 77).astype(np.float32)
    frames = 101 + sum(place.length - (place.last - place.first) for place in places)
    result, knots, _ = splice(wave, rng.normal(0, 0.1, (frames - 1) * HOP).astype(np.float32), places)
    for part in kept:
        assert wave[part].tobytes() in result.tobytes()
    assert knots[-1][1] == len(result) and abs(len(result) - frames * HOP) < 2 * HOP
    assert (result[0] == 0) == (places[0].first == 0) and (result[-1] == 0) == (places[-1].last == 101)


def test_what_is_new_is_never_louder_than_full_scale():
    result, _, _ = splice(
        tone(100 * HOP, 0.0, level=0.99),
        tone(100 * HOP, 0.0, level=0.99) * np.linspace(1, 3, 100 * HOP),
        [Place(40, 60, 40, 20)],
    )
    assert np.abs(result).max() <= 1
