"""Paths against autodiff (jvp) and against the continuity equation of an exact mixture."""

from __future__ import annotations

import pytest
import torch
from flow_toys import Mixture

from tts_fm.flow import CosinePath, OTPath, VEPath, VPPath, along_path, make_path, path_name, solve, time_grid

PATHS = [OTPath(), OTPath(1e-4), OTPath(0.1), CosinePath(), VPPath(), VEPath(0.05, 5.0)]
STRAIGHT = PATHS[:3]


def draws(shape=(4, 5, 3), dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    x0, x1 = (torch.randn(shape, generator=g, dtype=dtype) for _ in range(2))
    return x0, x1, 0.02 + 0.95 * torch.rand(shape[0], generator=g, dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("shape", [(4, 5, 3), (6,), (2, 3, 4, 5)])
def test_u_is_the_time_derivative_of_x_t(path, shape):
    x0, x1, t = draws(shape)
    x_t, slope = torch.func.jvp(lambda s: path.sample(x0, x1, s)[0], (t,), (torch.ones_like(t),))
    assert torch.allclose(path.sample(x0, x1, t)[1], slope, rtol=1e-10, atol=1e-10)
    assert x_t.shape == x0.shape


@pytest.mark.parametrize("path", STRAIGHT, ids=str)
def test_straight_path_matches_the_papers_formula_and_its_ends(path):
    x0, x1, t = draws()
    s, time = path.sigma_min, t[:, None, None]
    x_t, u = path.sample(x0, x1, t)
    assert torch.allclose(x_t, (1 - (1 - s) * time) * x0 + time * x1, atol=1e-12)
    assert torch.allclose(u, x1 - (1 - s) * x0, atol=1e-12)
    assert torch.equal(path.sample(x0, x1, torch.zeros(4))[0], x0)
    assert torch.allclose(path.sample(x0, x1, torch.ones(4))[0], x1 + s * x0, atol=1e-6)
    if s == 0:
        assert torch.equal(path.sample(x0, x1, torch.ones(4))[0], x1)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_conversions_recover_both_ends(path):
    x0, x1, t = draws()
    x_t, u = path.sample(x0, x1, t)
    assert torch.allclose(path.to_x1(u, x_t, t), x1, atol=1e-8)
    assert torch.allclose(path.to_x0(u, x_t, t), x0, atol=1e-8)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_marginal_velocity_gives_the_score_and_the_continuity_equation(path):
    """d/dt log p + v . grad log p + div v = 0, and to_score(v) = grad log p, at points spread over the plane."""
    toy = Mixture(path)
    g = torch.Generator().manual_seed(1)
    count = 40
    x = 2 * torch.randn(count, 2, generator=g, dtype=torch.float64)
    t = 0.05 + 0.9 * torch.rand(count, generator=g, dtype=torch.float64)

    def log_p(point, time):
        return toy.log_density(point, time)

    grad_x, grad_t = torch.func.vmap(torch.func.grad(log_p, argnums=(0, 1)))(x, t)
    jacobian = torch.func.vmap(torch.func.jacrev(toy.velocity))(x, t)
    v = toy.velocity(x, t)
    residual = grad_t + (v * grad_x).sum(-1) + jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
    scale = 1 + grad_t.abs() + (v * grad_x).sum(-1).abs()
    assert float((residual / scale).abs().max()) < 1e-10
    score = path.to_score(v, x, t)
    assert torch.allclose(score, grad_x, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_moments_of_x_t_without_pairs(path):
    g = torch.Generator().manual_seed(2)
    x1 = 0.7 + 0.4 * torch.randn(20000, 1, generator=g, dtype=torch.float64)
    x0 = torch.randn(20000, 1, generator=g, dtype=torch.float64)
    for time in (0.1, 0.5, 0.9):
        t = torch.full((20000,), time, dtype=torch.float64)
        a, _, b, _ = (float(c) for c in path.coefficients(torch.tensor(time, dtype=torch.float64)))
        x_t = path.sample(x0, x1, t)[0]
        std = (a * a * 0.16 + b * b) ** 0.5
        assert abs(float(x_t.mean()) - a * 0.7) < 5 * std / 20000**0.5
        assert abs(float(x_t.std()) / std - 1) < 0.03


def test_dtype_is_the_datas_and_time_keeps_float32():
    x0, x1, t = draws(dtype=torch.float32)
    low, u = OTPath().sample(x0.bfloat16(), x1.bfloat16(), t.float())
    assert low.dtype == u.dtype == torch.bfloat16
    exact = OTPath().sample(x0.bfloat16().float(), x1.bfloat16().float(), t.float())[0]
    assert torch.equal(low, exact.bfloat16())  # rounded once, at the end


def test_start_scales_only_variance_exploding_noise():
    noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(OTPath(0.1).start(noise), noise)
    assert torch.allclose(VEPath(0.01, 50.0).start(noise), 50 * noise)


@pytest.mark.parametrize("bad", [-0.1, 1.0, float("nan")])
def test_bad_sigma_min(bad):
    with pytest.raises(ValueError, match="sigma_min"):
        OTPath(bad)


def test_bad_shapes():
    x0, x1, t = draws()
    with pytest.raises(ValueError, match="one shape"):
        OTPath().sample(x0[:, :2], x1, t)
    with pytest.raises(ValueError, match="one time per item"):
        OTPath().sample(x0, x1, t[:1])
    with pytest.raises(ValueError, match="beta_min"):
        VPPath(5.0, 1.0)
    with pytest.raises(ValueError, match="sigma_max"):
        VEPath(5.0, 1.0)


def test_paths_by_name():
    assert make_path("ot") == OTPath()
    assert make_path(" ot(1e-4) ") == OTPath(1e-4)
    assert make_path("vp(0.1, 20)") == VPPath(0.1, 20.0)
    assert make_path("ve(0.05, 5)") == VEPath(0.05, 5.0)
    assert make_path("cosine") == CosinePath()
    for path in PATHS:
        assert make_path(path_name(path)) == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("line", "unknown path 'line'; one of ot, vp, ve, cosine"),
        ("ot(", "unknown path"),
        ("", "unknown path"),
        ("ot(x)", "other than numbers"),
        ("ot(2)", "sigma_min must lie in"),
        ("vp(20, 0.1)", "beta_min <= beta_max"),
        ("cosine(1)", "too many numbers"),
        ("ve(1, 2, 3)", "too many numbers"),
        ("ot(nan)", "sigma_min must lie in"),
    ],
)
def test_bad_names_of_paths(text, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        make_path(text)


@pytest.mark.parametrize("trained", ["ot", "cosine", "vp"])
def test_a_field_of_one_path_solved_along_another_gives_the_same_samples(trained):
    trained = make_path(trained)
    toy = Mixture(trained)
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = solve(toy.velocity, trained.start(noise), time_grid(100) * trained.end, "midpoint")
    for wanted in map(make_path, ("ot", "cosine", "vp", "ot(0.01)")):
        field = along_path(toy.velocity, trained, wanted)
        other = solve(field, wanted.start(noise), time_grid(100) * wanted.end, "midpoint")
        # what differs is the noise that a path leaves at its end, and a(0) of the vp path
        assert (own - other).abs().median() < 0.01
        assert (own - other).abs().max() < 0.15


def test_sizes_bring_states_and_velocities_to_one():
    g = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, 4, 4000, 5, generator=g, dtype=torch.float64)
    t = torch.tensor([0.1, 0.4, 0.7, 0.95], dtype=torch.float64)
    for path in (VPPath(), VEPath()):
        x_t, u = path.sample(x0, x1, t)
        own, out = path.sizes(t)
        assert torch.allclose(x_t.flatten(1).std(1) / own, torch.ones(4).double(), atol=0.03)
        assert torch.allclose(u.flatten(1).std(1) / out, torch.ones(4).double(), atol=0.03)
    assert torch.equal(OTPath().sizes(t)[0], torch.ones(4))
