"""Solvers against an exact flow map (orders), torchdiffeq (same grid, and an adaptive oracle), and themselves
(batching, dtypes).
"""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
import torch
from flow_toys import Gaussian, Mixture
from torchdiffeq import odeint

from tts_fm.flow import OTPath, nfe, solve, time_grid
from tts_fm.flow.solvers import asked_times
from tts_fm.flow.tables import TABLES

TORCHDIFFEQ = {"euler": "euler", "midpoint": "midpoint", "heun": "heun2", "rk4": "rk4"}
ORDER = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "rk4_classic": 4}


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def observed_order(velocity, exact, x0, method, end, counts=(8, 16, 32)):
    errors = [float((solve(velocity, x0, time_grid(n) * end, method) - exact).abs().max()) for n in counts]
    return math.log2(errors[-2] / errors[-1]), errors


@pytest.mark.parametrize("method", TABLES)
def test_order_of_convergence_on_a_gaussian_whose_flow_is_exact(method):
    """To t = 0.75: over the whole interval of this symmetric flow leading errors cancel. Midpoint has order 3 on it,
    more than promised.
    """
    toy, x0 = Gaussian(1.5, 0.5), noise(3, 4, 2)
    order, errors = observed_order(toy.velocity, toy.flow(x0, 0.75), x0, method, 0.75)
    assert order == pytest.approx(3 if method == "midpoint" else ORDER[method], abs=0.2), errors
    assert errors[-1] < {1: 0.05, 2: 1e-3, 4: 1e-7}[ORDER[method]]
    whole = solve(toy.velocity, x0, time_grid(32), method)
    assert float((whole - toy.flow(x0)).abs().max()) < {1: 0.2, 2: 5e-3, 4: 1e-6}[ORDER[method]]


@pytest.mark.parametrize("method", TABLES)
def test_order_of_convergence_on_logistic_growth(method):
    x0 = torch.linspace(0.05, 0.3, 12, dtype=torch.float64).reshape(3, 2, 2)
    exact = 1 / (1 + (1 / x0 - 1) * math.exp(-4.0))
    order, errors = observed_order(lambda x, t: 4 * x * (1 - x), exact, x0, method, 1.0, (16, 32, 64))
    assert order == pytest.approx(ORDER[method], abs=0.2), errors


@pytest.mark.parametrize("method", TABLES)
def test_tables_satisfy_the_order_conditions(method):
    """Butcher's conditions up to order 4 for the sums that involve nodes, weights and one product with the stage
    matrix.
    """
    table, order = TABLES[method], ORDER[method]
    c, b, s = torch.tensor(table.nodes).double(), torch.tensor(table.weights).double(), len(table.weights)
    a = torch.tensor([list(row) + [0.0] * (s - len(row)) for row in table.stages]).double()
    assert torch.allclose(a.sum(1), c, atol=1e-6)
    sums = [(b.sum(), 1), (b @ c, 2), (b @ c**2, 3), (b @ c**3, 4)]
    assert all(abs(float(value) - 1 / k) < 1e-6 for value, k in sums if k <= order)
    if order == 4:
        assert abs(float(b @ a @ c) - 1 / 6) < 1e-6 and abs(float((b * c) @ a @ c) - 1 / 8) < 1e-6
        assert abs(float(b @ a @ c**2) - 1 / 12) < 1e-6 and abs(float(b @ a @ a @ c) - 1 / 24) < 1e-6


@pytest.mark.parametrize(
    "grid", [time_grid(7, "epss"), time_grid(16, "sway"), time_grid(5, "shift", 3.0), time_grid(1)], ids=len
)
@pytest.mark.parametrize("method", TORCHDIFFEQ)
def test_agrees_with_torchdiffeq_on_the_same_grid(method, grid):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(7, 16), torch.nn.Tanh(), torch.nn.Linear(16, 6)).requires_grad_(False)
    x0 = noise(3, 5, 6, dtype=torch.float32)

    def velocity(x, t):
        return net(torch.cat([x, t.expand(3)[:, None, None].expand(3, 5, 1)], -1))

    theirs = odeint(lambda t, x: velocity(x, t), x0, torch.from_numpy(grid), method=TORCHDIFFEQ[method])[-1]
    assert torch.allclose(solve(velocity, x0, grid, method), theirs, rtol=0, atol=1e-6)


def test_fine_grid_and_own_dopri5_agree_with_an_adaptive_oracle_on_a_mixture():
    toy, x0 = Mixture(OTPath(0.02)), noise(6, 1, 2)

    def velocity(x, t):
        return toy.velocity(x, t.double()[:, None].expand(x.shape[:2]))

    span = torch.tensor([0.0, 1.0], dtype=torch.float64)
    oracle = odeint(lambda t, x: velocity(x, t.expand(6)), x0, span, rtol=1e-9, atol=1e-9, method="dopri8")[-1]
    assert float((solve(velocity, x0, time_grid(128), "rk4") - oracle).abs().max()) < 1e-4
    assert float((solve(velocity, x0, [0, 1], "dopri5", rtol=1e-6, atol=1e-6) - oracle).abs().max()) < 1e-4


@pytest.mark.parametrize("method", TABLES)
def test_nfe_counts_calls_and_every_t_is_float32_of_batch_size(method):
    seen = []

    def velocity(x, t):
        assert t.dtype == torch.float32 and t.shape == (2,) and bool((t == t[0]).all())
        seen.append(float(t[0]))
        return -x

    solve(velocity, noise(2, 3, 4).bfloat16(), time_grid(5, "sway"), method)
    assert len(seen) == nfe(method, 5) and min(seen) >= 0 and max(seen) <= 1


def test_bf16_state_with_float32_grid_stays_close_to_float32():
    toy, x0 = Gaussian(), noise(2, 8, 4, dtype=torch.float32).bfloat16().float()
    grid = torch.from_numpy(time_grid(500, "sway"))
    assert not bool((grid.bfloat16().diff() > 0).all())  # what a 16-bit grid would have become
    full, low = solve(toy.velocity, x0, grid), solve(toy.velocity, x0.bfloat16(), grid)
    assert low.dtype == torch.bfloat16
    # about 2 units in the last place of bf16 at 4: rounding does not add up
    assert float((low.float() - full).abs().max()) < 0.04
    with pytest.raises(ValueError, match="float32"):
        solve(toy.velocity, x0, grid.bfloat16())


@pytest.mark.parametrize("method", TABLES)
def test_an_item_does_not_depend_on_its_neighbours_or_padding(method):
    x0, grid = noise(3, 9, 4, dtype=torch.float32), time_grid(6, "sway")
    speed = torch.tensor([1.0, 50.0, 3.0])  # a stiff neighbour

    def make(rates):
        return lambda x, t: rates[:, None, None] * torch.cos(x + t[:, None, None])

    together = solve(make(speed), x0, grid, method)
    for b, length in enumerate((9, 4, 6)):
        alone = solve(make(speed[b : b + 1]), x0[b : b + 1, :length], grid, method)
        assert torch.allclose(together[b : b + 1, :length], alone, rtol=0, atol=1e-5)


def test_dopri5_error_is_judged_per_item_over_real_frames():
    """Padding with nothing in it must not loosen the tolerance, as one RMS over the whole tensor does."""
    x0 = noise(2, 1000, 3)
    mask = torch.zeros(2, 1000, dtype=torch.bool)
    mask[:, :3] = True

    def velocity(x, t):
        live = mask[:, : x.shape[1], None]
        return torch.where(live, 8 * torch.cos(6 * t.double())[:, None, None] * x, torch.zeros_like(x))

    exact = x0[:, :3] * math.exp(8 * math.sin(6.0) / 6)
    tolerance = {"rtol": 1e-3, "atol": 1e-3}
    calls = {"short": 0, "masked": 0, "loose": 0}

    def run(name, start, mask=None):
        def count(i, x, t, v):
            assert i == calls[name]
            calls[name] += 1

        return solve(velocity, start, [0, 1], "dopri5", mask=mask, on_step=count, **tolerance)[:, :3]

    short, masked, loose = run("short", x0[:, :3]), run("masked", x0, mask), run("loose", x0)
    assert torch.allclose(masked, short, rtol=1e-9, atol=1e-9) and calls["masked"] == calls["short"]
    assert calls["loose"] < calls["masked"]
    assert float((loose - exact).abs().max()) > 3 * float((masked - exact).abs().max())


def test_dopri5_item_keeps_its_accuracy_beside_a_stiff_neighbour():
    x0, speed = noise(2, 4, 3), torch.tensor([[[1.0]], [[60.0]]], dtype=torch.float64)
    ends = solve(lambda x, t: -speed * x, x0, [0, 1], "dopri5", rtol=1e-4, atol=1e-6)
    assert torch.allclose(ends, x0 * torch.exp(-speed), rtol=0, atol=1e-4)


def test_dopri5_without_torchdiffeq_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "torchdiffeq":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match="pip install torchdiffeq"):
        solve(lambda x, t: x, noise(1, 2, 2), [0, 1], "dopri5")


@pytest.mark.parametrize("method", TABLES)
def test_on_step_sees_the_start_of_each_interval_and_may_cancel(method):
    toy, x0, grid, seen = Gaussian(), noise(2, 3, 1), time_grid(4), []
    solve(toy.velocity, x0, grid, method, on_step=lambda i, x, t, v: seen.append((i, x, t, v)))
    assert [s[0] for s in seen] == [0, 1, 2, 3] and [float(s[2][0]) for s in seen] == grid[:-1].tolist()
    assert torch.equal(seen[0][1], x0) and all(torch.equal(v, toy.velocity(x, t)) for _, x, t, v in seen)

    class Cancelled(Exception):
        pass

    def stop(i, x, t, v):
        if i == 2:
            raise Cancelled

    calls = []
    with pytest.raises(Cancelled):
        solve(lambda x, t: calls.append(1) or x, x0, grid, method, on_step=stop)
    assert len(calls) == nfe(method, 2) + 1


@pytest.mark.parametrize("method", TABLES)
def test_arrays_are_solved_as_tensors_are(method):
    toy, x0, grid = Gaussian(), noise(2, 3, 4, dtype=torch.float32), time_grid(6, "sway")

    def velocity(x, t):
        assert isinstance(x, np.ndarray) and t.dtype == np.float32 and t.shape == (2,)
        return toy.velocity(torch.from_numpy(x), torch.from_numpy(t)).numpy()

    seen = []
    got = solve(velocity, x0.numpy(), grid, method, on_step=lambda i, x, t, v: seen.append(float(t[0])))
    assert got.dtype == np.float32 and seen == grid[:-1].tolist()
    assert np.allclose(got, solve(toy.velocity, x0, grid, method).numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="tensors only"):
        solve(velocity, x0.numpy(), grid, "dopri5")


@pytest.mark.parametrize("method", TABLES)
def test_asked_times_are_those_that_the_velocity_sees(method):
    seen = []
    solve(lambda x, t: seen.append(float(t[0])) or x, noise(1, 2, 2), time_grid(5, "sway"), method)
    assert asked_times(time_grid(5, "sway"), method) == list(dict.fromkeys(seen))
    assert asked_times([0, 1], "dopri5") == []


def test_gradients_flow_through_the_solver():
    x0 = noise(2, 3, 1).requires_grad_(True)
    solve(lambda x, t: -x, x0, time_grid(4), "midpoint").sum().backward()
    step = 1 - 0.25 + 0.25**2 / 2
    assert torch.allclose(x0.grad, torch.full_like(x0, step**4))


@pytest.mark.parametrize("grid", [[0, 0.5, 0.5, 1], [0, 1, 0.5], [0], [[0, 1]], [0, math.nan, 1], []])
def test_bad_grid(grid):
    with pytest.raises(ValueError, match="grid"):
        solve(lambda x, t: x, noise(1, 2, 2), grid)


def test_other_bad_values():
    with pytest.raises(ValueError, match="unknown solver"):
        solve(lambda x, t: x, noise(1, 2, 2), time_grid(2), "rk5")
    with pytest.raises(ValueError, match="unknown solver"):
        nfe("dopri5", 4)
    with pytest.raises(ValueError, match="shape"):
        solve(lambda x, t: x[:, :1], noise(1, 2, 2), time_grid(2))
    with pytest.raises(ValueError, match="floating"):
        solve(lambda x, t: x, torch.zeros(1, 2, 2, dtype=torch.int64), time_grid(2))
