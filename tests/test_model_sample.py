"""Sampling: what is made once, which branches run, where noise comes from, and what bad input says."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from test_model_batch import tiny
from tiny_model import tiny_flow

from tts_fm.flow import FittedSolver, f5_grid

IDS = torch.tensor([[1, 4, 2, 7]])


@pytest.fixture(scope="module")
def model():
    return tiny(text="filler")


@pytest.fixture(scope="module")
def cond():
    return torch.randn(1, 10, 100, generator=torch.Generator().manual_seed(1))


def counted(monkeypatch, owner, name):
    calls = []
    plain = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a, **k: (calls.append(a), plain(*a, **k))[1])
    return calls


def test_equals_a_loop_over_velocity(model, cond):
    """Euler with guidance written out over the public velocity."""
    noise = torch.randn(1, 30, 100, generator=torch.Generator().manual_seed(2))
    grid = f5_grid(5, -1.0)
    x = noise.clone()
    for a, b in itertools.pairwise(grid):
        v = model.velocity(x, float(a), cond, IDS)
        null = model.velocity(x, float(a), cond, IDS, drop_audio=True, drop_text=True)
        x = x + (b - a) * (v + 2.0 * (v - null))
    y = model.sample(cond, IDS, 30, steps=5, cfg=2.0, noise=noise)
    assert torch.equal(y[:, :10], cond)
    assert (y[:, 10:] - x[:, 10:]).abs().max() < 1e-4 * x.abs().max()


@pytest.mark.parametrize("method,forwards", [("euler", 6), ("midpoint", 12), ("rk4", 24)])
def test_text_and_modulations_are_made_once(model, cond, monkeypatch, method, forwards):
    steps = counted(monkeypatch, model.net, "forward")
    texts = counted(monkeypatch, model.net.text_embed, "forward")
    times = counted(monkeypatch, model.net, "modulations")
    model.sample(cond, IDS, 30, steps=6, method=method)
    assert (len(steps), len(texts), len(times)) == (forwards, 1, 1)
    assert all(len(call[0]) == 2 for call in steps)  # both branches in one batch


def test_long_grids_are_taken_in_blocks(model, cond, monkeypatch):
    times = counted(monkeypatch, model.net, "modulations")
    model.sample(cond, IDS, 12, steps=70, cfg=0.0)
    assert [len(call[0]) for call in times] == [64, 6]


def test_no_guidance_costs_one_branch(model, cond, monkeypatch):
    steps = counted(monkeypatch, model.net, "forward")
    model.sample(cond, IDS, 20, steps=2, cfg=0.0)
    model.sample(cond, IDS, 20, grid=[0.0, 0.25, 0.5, 1.0], cfg_interval=(0.0, 0.4))
    assert [len(call[0]) for call in steps] == [1, 1, 2, 2, 1]


def test_equal_separate_scales_are_plain_guidance(model, cond):
    plain = model.sample(cond, IDS, 20, steps=3, cfg=1.5)
    assert (model.sample(cond, IDS, 20, steps=3, cfg=(1.5, 1.5)) - plain).abs().max() < 1e-3
    assert (model.sample(cond, IDS, 20, steps=3, cfg=(1.5, 0.5)) - plain).abs().max() > 1e-2
    assert (
        model.sample(cond, IDS, 20, steps=3, cfg=(0.0, 0.0)) - model.sample(cond, IDS, 20, steps=3, cfg=0.0)
    ).abs().max() < 1e-3


def test_noise(model, cond):
    a, b = (model.sample(cond, IDS, 20, steps=2, seeds=[s]) for s in (1, 2))
    assert not torch.equal(a, b)
    assert torch.equal(a, model.sample(cond, IDS, 20, steps=2, seeds=1))
    state = torch.get_rng_state()
    both = model.sample(
        cond.repeat(2, 1, 1), IDS.repeat(2, 1), [20, 14], steps=2, generator=torch.Generator().manual_seed(4)
    )
    again = model.sample(
        cond.repeat(2, 1, 1), IDS.repeat(2, 1), [20, 14], steps=2, generator=torch.Generator().manual_seed(4)
    )
    assert torch.equal(both, again)
    assert torch.equal(state, torch.get_rng_state())


def test_on_step_shows_the_speech_and_may_cancel(model, cond):
    seen = []
    model.sample(cond, IDS, 20, steps=3, on_step=lambda i, t, mel: seen.append((i, t, mel)))
    assert [s[0] for s in seen] == [0, 1, 2] and seen[0][1] == 0.0
    assert all(mel.shape == (1, 20, 100) and torch.equal(mel[:, :10], cond) for _, _, mel in seen)

    class Cancel(Exception):
        pass

    def stop(*_):
        raise Cancel

    with pytest.raises(Cancel):
        model.sample(cond, IDS, 20, steps=3, on_step=stop)


def test_given_frames_anywhere(model):
    """Editing: the span in the middle is spoken anew, the rest stays."""
    mel = torch.randn(1, 24, 100, generator=torch.Generator().manual_seed(6))
    given = torch.ones(1, 24, dtype=torch.bool)
    given[:, 8:15] = False
    y = model.sample(mel, IDS, 24, steps=2, given=given)
    assert torch.equal(y[given], mel[given])
    assert not torch.isclose(y[:, 8:15], mel[:, 8:15]).all()


def test_without_prompt_and_with_strings(model):
    assert model.sample(text=["abc", "d"], frames=[15, 9], steps=1).shape == (2, 15, 100)
    assert model.ids(["abc", "d"], 2).tolist() == [[0, 1, 2], [3, -1, -1]]
    assert model.ids([[5, 6], []], 2).tolist() == [[5, 6], [-1, -1]]


def test_adaptive_solver(model, cond):
    short = {"grid": [0.0, 0.01], "cfg": 0.0}  # a random net is stiff: the whole way takes long
    exact, near = (model.sample(cond, IDS, 14, method=m, **short) for m in ("dopri5", "rk4"))
    assert (exact - near).abs().max() < 1e-2 * near.abs().max()


@pytest.mark.parametrize(
    "options,says",
    [
        ({"frames": 5}, "within its cond"),
        ({"frames": 0}, "frames must be"),
        ({"frames": [20, 30]}, "frames must be"),
        ({"steps": 0}, "steps"),
        ({"method": "magic"}, "unknown solver"),
        ({"cfg": float("nan")}, "finite"),
        ({"sway": 5.0}, "sway"),
        ({"noise": torch.zeros(1, 3, 100)}, "noise must be"),
        ({"noise": torch.zeros(1, 20, 100), "seeds": 1}, "one of noise"),
        ({"text": torch.tensor([[99]])}, "ids must lie"),
        ({"cond": torch.full((1, 10, 100), float("nan"))}, "finite"),
        ({"cond": torch.zeros(1, 10, 80)}, "log-mel"),
    ],
)
def test_bad_input(model, cond, options, says):
    good = {"cond": cond, "text": IDS, "frames": 20, "steps": 2}
    with pytest.raises(ValueError, match=says):
        model.sample(**(good | options))


def test_aligned_needs_durations(cond):
    with pytest.raises(ValueError, match="durations"):
        tiny(text="aligned").sample(cond, IDS, 20, steps=1)


def test_a_fitted_solver_speaks_like_the_solver_it_is(model, cond):
    grid = f5_grid(3, -1.0)
    model.solvers = {3: dataclasses.replace(FittedSolver.euler(grid), about={"cfg": 0.0})}
    try:
        fitted = model.sample(cond, IDS, 20, steps=3, method="fitted", cfg=0.0)
        assert torch.equal(fitted, model.sample(cond, IDS, 20, steps=3, cfg=0.0))
        with pytest.raises(ValueError, match="works with steps 3 of this model, not 4"):
            model.sample(cond, IDS, 20, steps=4, method="fitted", cfg=0.0)
        with pytest.raises(ValueError, match=r"fitted for cfg 0\.0, not 1\.5"):
            model.sample(cond, IDS, 20, steps=3, method="fitted", cfg=1.5)
    finally:
        model.solvers = {}
    with pytest.raises(ValueError, match=r"no solver was fitted.*solver\.json"):
        model.sample(cond, IDS, 20, steps=3, method="fitted", cfg=0.0)


def test_three_scales_are_joint_guidance(model, cond, monkeypatch):
    """With the last two at 0 it is plain guidance, at four branches a step."""
    steps = counted(monkeypatch, model.net, "forward")
    joint = model.sample(cond, IDS, 20, steps=2, cfg=(1.5, 0.0, 0.0))
    assert [len(call[0]) for call in steps] == [4, 4]
    assert (joint - model.sample(cond, IDS, 20, steps=2, cfg=1.5)).abs().max() < 1e-3
    assert (joint - model.sample(cond, IDS, 20, steps=2, cfg=(1.5, 1.0, 0.0))).abs().max() > 1e-2


def test_a_voice_that_is_guided_first_only(model, cond, monkeypatch):
    steps = counted(monkeypatch, model.net, "forward")
    model.sample(cond, IDS, 20, grid=[0.0, 0.1, 0.5, 1.0], cfg=(1.0, 1.0), cfg_audio_interval=(0.0, 0.08))
    assert [len(call[0]) for call in steps] == [2, 2, 2]  # full and null, then full and no_text


@pytest.mark.parametrize("path", ["vp", "ve(0.05, 20)", "cosine"])
def test_every_path_speaks_within_its_end(cond, path, monkeypatch):
    model = tiny_flow(path=path).eval()
    asked = counted(monkeypatch, model, "field")
    times = torch.tensor([[10.0, 6.0, 2.0, 2.0]])
    mel = model.sample(cond, IDS, 20, steps=4, cfg=0.0, durations=times, grid=[0.0, 0.5, 0.99, 0.999, 1.0])
    assert torch.isfinite(mel).all()
    assert max(float(call[1].max()) for call in asked) <= 0.999 * model.path.end + 1e-6
