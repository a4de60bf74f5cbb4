"""The page "How it works": its plane against the flow room and scipy, its pictures, a sentence that forms."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from tts_fm.demo import plane

pytest_plugins = ["demo_fixtures"]
NAMES = {"ot": "ot", "cosine": "cosine", "vp": "vp(0.1, 20)", "ve": "ve(0.02, 4)"}


@pytest.mark.parametrize("name", plane.WAYS)
def test_the_paths_are_those_of_the_flow_room(name):
    torch = pytest.importorskip("torch")
    from tts_fm.flow.path import make_path

    path, way = make_path(NAMES[name]), plane.WAYS[name]
    assert path.end == way.end
    times = np.linspace(0, way.end, 9)
    for own, theirs in zip(way.coefficients(times), path.coefficients(torch.tensor(times)), strict=True):
        np.testing.assert_allclose(own, theirs.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", plane.WAYS)
def test_the_exact_flow_turns_noise_into_the_data(name):
    """Mean and covariance of what arrives are those of the mixture."""
    from tts_fm.flow.solvers import solve
    from tts_fm.flow.times import time_grid

    way = plane.WAYS[name]
    a, _, b, _ = way.coefficients(np.zeros(1))
    start = a * plane.data(4000, 8) + b * plane.noise(4000, 7)  # VE has some data in it from the first
    end = solve(plane.mixture_velocity(way), start, time_grid(96) * np.float32(way.end), "midpoint")
    mean = plane.WEIGHTS @ plane.MEANS
    spread = (plane.WEIGHTS[:, None, None] * (plane.STDS[:, None, None] ** 2 * np.eye(2)
              + np.einsum("ki,kj->kij", plane.MEANS - mean, plane.MEANS - mean))).sum(0)  # fmt: skip
    np.testing.assert_allclose(end.mean(0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(end.T), spread, atol=0.15)


def test_the_assignment_is_the_best_there_is():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 30):
        cost = rng.random((n, n))
        rows = plane.assignment(cost)
        assert sorted(rows) == list(range(n))
        best = cost[optimize.linear_sum_assignment(cost)].sum()
        assert cost[rows, np.arange(n)].sum() == pytest.approx(best)


def test_near_noise_makes_the_followed_ways_straighter_and_more_steps_come_nearer():
    assert plane.bent("ot", "ot") < plane.bent("ot", "independent")
    off = [plane.off("ot", "independent", steps) for steps in (1, 4, 16)]
    assert off[0] > off[1] > off[2]


@pytest.mark.parametrize("path", plane.WAYS)
@pytest.mark.parametrize("coupling", plane.COUPLINGS)
def test_pictures_hold_numbers_and_follow_the_knobs(path, coupling):
    pytest.importorskip("gradio")
    from tts_fm.demo.tabs_flow import drawn

    shown = [drawn(path, coupling, steps, time) for steps, time in ((4, 0.0), (4, 1.0), (1, 0.5), (1, 0.5))]
    assert shown[0] != shown[1] != shown[2] == shown[3]
    assert all(picture.count("<svg") == 2 and not re.search("nan|inf", picture.lower()) for picture in shown)
    for wrong in (("magic", coupling), (path, "magic")):
        with pytest.raises(ValueError, match=r"a path is one of ot.*a coupling one of"):
            drawn(*wrong, 4, 0.5)


def test_a_sentence_forms_step_by_step(service):
    pytest.importorskip("gradio")
    from tts_fm.demo.sessions import FieldError
    from tts_fm.demo.tabs_flow import handler

    watch, who = handler(service), SimpleNamespace(session_hash="s")
    ((said, picture, radio, sound, moments),) = watch("Hello there.", "ann", 3, who, lambda *a, **k: None)
    assert "Ready" in said and picture.size[0] == 1000 and sound.endswith(".wav")
    assert [m.step for m in moments] == [0, 1, 2, 3] == [value for _, value in radio.choices]
    wrong = (("a" * 121, "ann", 3, "text"), ("Hi.", "eve", 3, "voice"), ("Hi.", "ann", 99, "steps"))
    for text, voice, steps, field in wrong:
        with pytest.raises(FieldError) as caught:
            list(watch(text, voice, steps, who, lambda *a, **k: None))
        assert caught.value.field == field
