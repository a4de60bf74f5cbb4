"""Times: EPSS goldens, grid properties, and every law against its density."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from properties import given, settings, st
from safetensors.torch import load_file
from scipy import integrate, stats

from tts_fm import flow
from tts_fm.flow import draw_times, logit_normal, mode, uniform_times

GOLDEN = load_file(Path(__file__).parent / "golden" / "epss.safetensors")  # knots of the published package, before sway


def time_grid(*how):
    """As a tensor, to be compared."""
    return torch.from_numpy(flow.time_grid(*how))


def f5_grid(*how, **more):
    return torch.from_numpy(flow.f5_grid(*how, **more))


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_epss_knots_are_those_of_the_published_package(name):
    steps, knots = int(name.removeprefix("nfe")), GOLDEN[name]
    assert torch.equal(f5_grid(steps, sway=None, epss=True), knots)
    assert torch.equal(time_grid(steps, "epss", 0.0), knots)
    # a sway of -1 moves u to 1 - cos(pi u / 2), the versine of a quarter turn
    assert np.allclose(f5_grid(steps), 2 * np.sin(np.pi / 4 * knots.double().numpy()) ** 2, rtol=0, atol=2e-7)
    assert torch.equal(time_grid(steps, "epss"), f5_grid(steps))


def test_seven_steps_after_sway_known_values():
    known = torch.tensor([0, 0.00482, 0.01921, 0.04306, 0.07612, 0.29289, 0.61732, 1])
    assert torch.allclose(f5_grid(7), known, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 7, 32, 1000])
@pytest.mark.parametrize("kind,coef", [("uniform", None), ("sway", -1.0), ("sway", 0.0), ("sway", 1.5), ("shift", 0.5),
                                       ("shift", 3.0), ("epss", None)])  # fmt: skip
def test_grids_run_from_0_to_1_strictly_up_in_float32(steps, kind, coef):
    grid = time_grid(steps, kind, coef)
    assert grid.dtype == torch.float32 and grid.shape == (steps + 1,)
    assert grid[0] == 0 and grid[-1] == 1 and bool((grid.diff() > 0).all())


@settings(max_examples=60, deadline=None)
@given(steps=st.integers(1, 300), coef=st.floats(-1, 1.75), shift=st.floats(0.01, 100))
def test_any_coefficient_in_range_gives_a_grid(steps, coef, shift):
    for grid in (time_grid(steps, "sway", coef), time_grid(steps, "epss", coef), time_grid(steps, "shift", shift)):
        assert grid[0] == 0 and grid[-1] == 1 and bool((grid.diff() > 0).all())


def test_grid_does_not_follow_the_default_dtype():
    try:
        torch.set_default_dtype(torch.bfloat16)
        low = time_grid(32, "sway")
    finally:
        torch.set_default_dtype(torch.float32)
    assert low.dtype == torch.float32 and torch.equal(low, time_grid(32, "sway"))


def test_shift_one_and_sway_zero_change_nothing():
    assert torch.equal(time_grid(10, "shift", 1.0), time_grid(10))
    assert torch.equal(time_grid(10, "sway", 0.0), time_grid(10))
    # by hand: odds u / (1 - u) are halved
    assert torch.allclose(time_grid(4, "shift", 0.5), torch.tensor([0, 1 / 7, 1 / 3, 3 / 5, 1]), atol=1e-6)


def test_explicit_list():
    assert torch.equal(time_grid(None, [0, 0.25, 1]), torch.tensor([0, 0.25, 1]))
    assert torch.equal(time_grid(2, [0, 0.25, 1.0]), torch.tensor([0, 0.25, 1]))


@pytest.mark.parametrize("call", [
    lambda: time_grid(0), lambda: time_grid(None), lambda: time_grid(2.5), lambda: time_grid(4, "zig"),
    lambda: time_grid(4, "sway", -1.2), lambda: time_grid(4, "sway", 2.0), lambda: time_grid(4, "sway", math.nan),
    lambda: time_grid(4, "shift", 0.0), lambda: time_grid(4, "shift", math.inf),
    lambda: time_grid(None, [0, 0.5, 0.5, 1]),
    lambda: time_grid(None, [0.1, 1]), lambda: time_grid(None, [0]), lambda: time_grid(3, [0, 0.5, 1]),
    lambda: draw_times("zig", 4, gen()), lambda: draw_times("mode(9)", 4, gen()),
    lambda: draw_times("uniform(1)", 4, gen()),
    lambda: draw_times("logit_normal(0, -1)", 4, gen()), lambda: draw_times("mode(x)", 4, gen()),
])  # fmt: skip
def test_bad_values_are_refused(call):
    with pytest.raises(ValueError):
        call()


def mode_cdf(scale):
    """Numerically from SD3's density pi(t) = |d f^-1 / dt|: invert the map on a fine table instead of trusting its
    formula's sign.
    """
    u = np.linspace(0, 1, 20001)
    t = 1 - u - scale * (np.cos(np.pi / 2 * u) ** 2 - 1 + u)  # SD3's form, whose t = 1 is noise
    return lambda ours: 1 - np.interp(1 - np.asarray(ours), t[::-1], 1 - u[::-1])


def logit_normal_cdf(mean, std):
    def density(t):
        return stats.norm.pdf(math.log(t / (1 - t)), mean, std) / (t * (1 - t))

    table = np.linspace(1e-6, 1 - 1e-6, 2001)
    values = integrate.cumulative_simpson([density(t) for t in table], x=table, initial=0)
    return lambda t: np.interp(t, table, values)


LAWS = [
    ("uniform", np.asarray),
    ("logit_normal", logit_normal_cdf(0, 1)),
    ("logit_normal(-0.5, 0.8)", logit_normal_cdf(-0.5, 0.8)),
    ("mode(1.29)", mode_cdf(1.29)),
    ("mode(-0.5)", mode_cdf(-0.5)),
    ("sway(-1)", lambda t: np.arccos(1 - np.asarray(t)) * 2 / np.pi),
    ("shift(0.5)", lambda t: np.asarray(t) / (0.5 + 0.5 * np.asarray(t))),
]


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("law,cdf", LAWS, ids=[name for name, _ in LAWS])
def test_law_follows_its_density(law, cdf, stratified):
    t = draw_times(law, 4000, gen(3), stratified=stratified)
    assert t.dtype == torch.float32 and t.shape == (4000,) and 0 <= float(t.min()) <= float(t.max()) <= 1
    distance = stats.kstest(t.double().numpy(), cdf).statistic
    assert distance < (0.002 if stratified else 0.026)  # 0.026: one in a hundred of honest draws exceeds it


def test_stratified_draws_one_time_per_slice_in_random_order():
    t = draw_times("uniform", 64, gen(), stratified=True)
    assert torch.equal((t * 64).floor().sort().values, torch.arange(64.0)) and bool((t.diff() < 0).any())


def test_named_draws_equal_draw_times_and_use_only_their_generator():
    before = torch.random.get_rng_state()
    assert torch.equal(uniform_times(5, gen()), draw_times("uniform", 5, gen()))
    assert torch.equal(logit_normal(5, gen(), None, 0.3, 0.9), draw_times("logit_normal(0.3, 0.9)", 5, gen()))
    assert torch.equal(mode(5, gen(), "cpu", 0.8), draw_times("mode(0.8)", 5, gen(), "cpu"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(draw_times(lambda u: u**2, 5, gen()), uniform_times(5, gen()) ** 2)
