"""Voices that nobody has: how they lie among those that there are."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.kokoro_model import point

AXES = np.random.default_rng(0).normal(size=(3, 256))  # all in which the voices differ
NAMES = [f"{lang}f_{n}" for n in range(6) for lang in "abz"]


@pytest.fixture
def voices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {n: (rng.normal(size=3) @ AXES + 5)[None].repeat(2, 0).astype(np.float32) for n in NAMES}


def drawn(voices: dict[str, np.ndarray], count: int, beyond: tuple[float, float]) -> np.ndarray:
    return np.stack([point(f"point{n}", voices, beyond)[1] for n in range(count)])  # (count, 256)


def test_new_voices_spread_as_the_voices_do(voices):
    found = drawn(voices, 4000, (0.0, 0.0))
    for some, half in ((NAMES, slice(128)), ([n for n in NAMES if n[0] in "ab"], slice(128, None))):
        tables = np.stack([voices[n][1, half] for n in some])
        true, its = np.cov(tables.T), np.cov(found[:, half].T)
        assert np.abs(found[:, half].mean(0) - tables.mean(0)).max() < 0.15
        assert np.linalg.norm(its - true) < 0.1 * np.linalg.norm(true)
    across = np.corrcoef(found[:, 0], found[:, 200])[0, 1]
    assert abs(across) < 0.05, "sound and manner are drawn apart"


def test_new_voices_leave_the_span_of_the_others(voices):
    found = drawn(voices, 400, (2.0, 0.5))
    for half, wanted in ((slice(128), 2.0), (slice(128, None), 0.5)):
        basis = np.linalg.qr(AXES[:, half].T, "complete")[0][:, 3:]
        mean = np.stack([voices[n][1, half] for n in NAMES]).mean(0)
        outside = (found[:, half] - mean) @ basis  # the mean of the English ones lies in the same three axes
        assert np.linalg.norm(outside, axis=1).mean() == pytest.approx(wanted * (125 / 128) ** 0.5, rel=0.03)
