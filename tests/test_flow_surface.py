"""The names of tts_fm.flow that outsiders call, called as they would: every path and method, both precisions, masks,
and JSON to the bit. Truths are closed forms.
"""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from flow_toys import Gaussian, Mixture

from tts_fm.engines.onnx import straight
from tts_fm.flow import (
    ClassifierGuidance,
    FittedSolver,
    couple,
    log_likelihood,
    make_path,
    solve,
    straightness,
    time_grid,
)

NAMES = ["ot", "ot(1e-4)", "ot(0.1)", "vp(0.1, 20)", "vp(0.5,10)", "ve(0.01, 50)", "ve(0.05,5)", "cosine"]
GRIDS = [("uniform", None), ("sway", -1.0), ("sway", 0.5), ("shift", 0.5), ("epss", None)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_a_path_by_name(name: str, dtype: torch.dtype) -> None:
    path, tight = make_path(name), 1e-8 if dtype == torch.float64 else 3e-3
    x0, x1 = draw(5, 7, 3, dtype=dtype), draw(5, 7, 3, seed=1, dtype=dtype)
    t = torch.tensor([0.05, 0.3, 0.5, 0.7, 0.9], dtype=dtype)
    x_t, u = path.sample(x0, x1, t)
    assert x_t.shape == u.shape == x1.shape and x_t.dtype == u.dtype == dtype
    later, sooner = (path.sample(x0.double(), x1.double(), t.double() + way * 1e-5)[0] for way in (1, -1))
    speed = u.abs().amax((1, 2), keepdim=True).double()
    assert bool(((later - sooner) / 2e-5 - u).abs().le((1e-4 if dtype == torch.float32 else 1e-6) * speed).all())
    assert torch.allclose(path.to_x1(u, x_t, t), x1, rtol=tight, atol=tight)
    # grad log p(x_t | x1) of a Gaussian around a x1, from the two ends of the path alone
    ones, zeros = torch.ones_like(x1), torch.zeros_like(x1)
    b = path.sample(ones, zeros, t)[0]
    score = -(x_t - path.sample(zeros, x1, t)[0]) / b**2
    assert torch.allclose(path.to_score(u, x_t, t), score, rtol=10 * tight, atol=10 * tight)
    start = path.start(x0)
    assert start.shape == x0.shape and torch.allclose(start, path.sample(x0, zeros, torch.zeros(5, dtype=dtype))[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("method", "exact"), [("midpoint", True), ("midpoint", False), ("heun", True), ("rk4", False)])
def test_likelihood_of_several_frames_and_channels(method: str, exact: bool, dtype: torch.dtype) -> None:
    """Coordinates that are Gaussian and independent: their log densities add up, over the frames that count. The
    Jacobian is a multiple of the identity, so Hutchinson's estimate has no error.
    """
    toy = Gaussian(1.5, 0.5)
    x1 = 1.5 + 0.5 * draw(4, 3, 2, dtype=dtype)
    mask = torch.arange(3)[None] < torch.tensor([3, 2, 1, 3])[:, None]
    each = -((x1 - 1.5) ** 2) / 0.5 - math.log(0.5) - math.log(2 * math.pi) / 2
    found = log_likelihood(
        toy.velocity, x1, path=make_path("ot"), steps=200, method=method, mask=mask, exact=exact, seed=0
    )
    assert found.shape == (4,) and found.dtype == dtype
    assert torch.allclose(found, (each * mask[..., None]).sum((1, 2)), atol=1e-2)
    whole = log_likelihood(toy.velocity, x1, path=make_path("ot"), steps=200, method=method, exact=exact, seed=3)
    assert torch.allclose(whole, each.sum((1, 2)), atol=2e-2)


@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_of_all_120_couplings(seed: int) -> None:
    x0, x1 = draw(5, 4, 3, seed=seed, dtype=torch.float32), 3 * draw(5, 4, 3, seed=seed + 50, dtype=torch.float32)
    found = couple("ot", x0, x1)
    prices = {p: float((x0[list(p)] - x1).square().sum()) for p in itertools.permutations(range(5))}
    assert torch.equal(found, x0[list(min(prices, key=prices.__getitem__))])
    assert torch.equal(couple("independent", x0, x1), x0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "coef"), GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 5, 7, 16])
def test_identity_parameters_are_euler_and_midpoint_to_the_bit(
    steps: int, kind: str, coef: float | None, dtype: torch.dtype
) -> None:
    grid, x0 = time_grid(steps, kind, coef), draw(3, 5, 2, dtype=dtype)
    field = Mixture(make_path("ot"))

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        flat = field.velocity(x.double().flatten(0, 1), t.double().repeat_interleave(x.shape[1]))
        return flat.reshape(x.shape).to(x.dtype)

    for method in ("euler", "midpoint"):
        solver = getattr(FittedSolver, method)(grid)
        plain = solve(velocity, x0, grid, method)
        assert torch.equal(solver.solve(velocity, x0), plain)
        again = FittedSolver.from_json(solver.to_json())
        assert again == solver and again.to_json() == solver.to_json()
        assert torch.equal(again.solve(velocity, x0), plain)
        assert torch.equal(getattr(FittedSolver, method)(grid.tolist()).solve(velocity, x0), plain)
    assert json.loads(solver.to_json())["form"] == "bns"


@pytest.mark.parametrize("name", ["cosine", "vp(0.1, 20)", "ve(0.05, 5)", "ot(0.1)"])
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_classifier_guidance_on_every_path(name: str, wanted: int) -> None:
    toy = Mixture(make_path(name))
    x, t = 2 * draw(30, 2), 0.05 + 0.9 * torch.linspace(0, 1, 30, dtype=torch.float64)
    field = ClassifierGuidance(toy.velocity, lambda p, s: toy.log_posterior(p, s)[:, wanted], 1.0, path=toy.path)
    assert torch.allclose(field(x, t), toy.velocity_of_mode(x, t, wanted), rtol=1e-7, atol=1e-7)


def test_a_relative_gradient_hears_and_moves_the_masked_frames_only() -> None:
    x, t = draw(2, 4, 3), torch.tensor([0.2, 0.6], dtype=torch.float64)
    mask = torch.tensor([[True, True, False, False], [False, True, True, True]])
    field = ClassifierGuidance(
        lambda p, s: 2 * torch.ones_like(p), lambda p, s: p.flatten(1).sum(1), 0.5, relative=True, mask=mask
    )
    moved = field(x, t) - 2
    assert torch.equal(moved[~mask], torch.zeros_like(moved[~mask]))
    assert torch.allclose(moved[mask], torch.ones_like(moved[mask])), "half of 2 in the direction of all ones"


@pytest.mark.parametrize(("kind", "coef"), GRIDS)
def test_grids_rise_from_0_to_1(kind: str, coef: float | None) -> None:
    for steps in (1, 2, 3, 7, 16, 32, 100):
        grid = time_grid(steps, kind, coef)
        assert isinstance(grid, np.ndarray) and grid.dtype == np.float32 and grid.shape == (steps + 1,)
        assert grid[0] == 0 and grid[-1] == 1 and bool((np.diff(grid) > 0).all())


def test_straightness_of_a_straight_and_of_a_bent_field() -> None:
    x0 = draw(6, 3, 2)
    assert torch.allclose(straightness(lambda x, t: torch.ones_like(x), x0), torch.zeros(6), atol=1e-10)
    toy = Gaussian(0.0, 0.1)  # x_t = s(t) x0 with s = sqrt((0.1 t)^2 + (1 - t)^2): the integral by the trapezoid rule
    s = np.linspace(0, 1, 20001)
    spread = np.sqrt((0.1 * s) ** 2 + (1 - s) ** 2)
    bend = np.trapezoid((np.gradient(spread, s) - (0.1 - 1)) ** 2, s)
    found = straightness(toy.velocity, x0, time_grid(4000), "midpoint")
    assert torch.allclose(found.double(), bend * x0.square().mean((1, 2)), rtol=1e-2)


@pytest.mark.parametrize("name", ["cosine", "vp(0.1, 20)", "ve"])
def test_graphs_follow_the_straight_path_only(name: str) -> None:
    assert (straight("ot"), straight("ot(0.1)")) == (1.0, 0.9)
    with pytest.raises(ValueError, match="graphs follow the straight path, ot; this model was trained on"):
        straight(name)
