"""Fitted solvers: known solvers to the bit, the scale-time form, what fitting gains on an exact field."""

from __future__ import annotations

import itertools

import pytest
import torch
from flow_toys import Gaussian, Mixture

from tts_fm.flow import FittedSolver, fit_rows, make_path, refine, solve, time_grid

TOY = Gaussian()


def noise(count=64, dtype=torch.float32):
    return torch.randn(count, 3, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("method", ["euler", "midpoint"])
@pytest.mark.parametrize("kind", ["uniform", "sway"])
def test_table_solvers_to_the_bit(method, kind):
    grid, x0 = time_grid(5, kind), noise()
    same = getattr(FittedSolver, method)(grid).solve(TOY.velocity, x0)
    assert torch.equal(same, solve(TOY.velocity, x0, grid, method))


def test_arrays_as_well():
    grid, x0 = time_grid(5, "sway"), noise()

    def velocity(x, t):
        return TOY.velocity(torch.from_numpy(x), torch.from_numpy(t)).numpy()

    found = FittedSolver.midpoint(grid).solve(velocity, x0.numpy())
    assert torch.equal(torch.from_numpy(found), solve(TOY.velocity, x0, grid, "midpoint"))


@pytest.mark.parametrize("method", ["heun", "rk4"])
def test_every_table_solver_has_this_form(method):
    grid, x0 = time_grid(4), noise(dtype=torch.float64)
    fitted = FittedSolver.from_table(method, grid).solve(TOY.velocity, x0)
    assert torch.allclose(fitted, solve(TOY.velocity, x0, grid, method), atol=1e-12)


def test_bespoke_at_rest_is_euler_and_otherwise_the_papers_step():
    n, x0 = 4, noise(dtype=torch.float64)
    rest = FittedSolver.bespoke([i / n for i in range(n + 1)], [1.0] * n, [1.0] * (n + 1), [0.0] * n)
    assert torch.allclose(rest.solve(TOY.velocity, x0), solve(TOY.velocity, x0, time_grid(n)), atol=1e-7)

    # in the scaled space y(r) = s(r) x(t(r)) the step is Euler's: check against that, with t = r^2 and s = 1 + r
    times = [(i / n) ** 2 for i in range(n + 1)]
    rates, scales = [2 * i / n + 1e-3 for i in range(n)], [1 + i / n for i in range(n + 1)]
    found = FittedSolver.bespoke(times, rates, scales, [1.0] * n).solve(TOY.velocity, x0)
    y = x0.clone()
    for i in range(n):
        x, t = y / scales[i], torch.full((len(x0),), times[i])
        y = y + (x + scales[i] * rates[i] * TOY.velocity(x, t)) / n
    assert torch.allclose(found, y / scales[-1], atol=1e-6)


def mean_error(solver, toy, x0, end):
    return float((solver.solve(toy.velocity, x0) - end).square().mean())


def paths_of_the_mixture(count):
    """Exact enough paths: (field, states (B, S, 1, 2), times)."""
    toy = Mixture(make_path("ot"))

    def velocity(x, t):
        return toy.velocity(x[:, 0], t.to(x.dtype))[:, None]

    grid = torch.as_tensor(time_grid(64, "sway"))
    x = torch.randn(count, 1, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    states = [x]
    for a, b in itertools.pairwise(grid):
        states.append(solve(velocity, states[-1], torch.stack([a, b]), "midpoint"))
    return velocity, torch.stack(states, 1), grid


@pytest.mark.parametrize("n", [2, 4])
def test_fitted_rows_beat_the_start_at_equal_steps(n):
    velocity, states, times = paths_of_the_mixture(400)
    grid = time_grid(n, "sway")
    fitted = fit_rows(velocity, states[:200], times, grid[:-1].tolist())
    x0, end = states[200:, 0], states[200:, -1]  # not seen in fitting
    plain = (solve(velocity, x0, grid) - end).square().mean()
    assert (fitted.solve(velocity, x0) - end).square().mean() < 0.8 * plain


def test_refining_beats_its_start():
    velocity, states, _ = paths_of_the_mixture(300)
    start = FittedSolver.midpoint(time_grid(2))
    x0, end = states[:, 0], states[:, -1]
    losses = []
    batch = (velocity, x0[:200], end[:200], None)
    better = refine(start, [batch] * 60, rate=0.01, on_loss=lambda i, loss: losses.append(loss))
    before, after = ((s.solve(velocity, x0[200:]) - end[200:]).square().mean().log() for s in (start, better))
    assert losses[-1] < losses[0] - 0.1
    assert after < before - 0.1
    assert better.times[0] == 0
    assert list(better.times) == sorted(better.times)


def test_json_keeps_every_number(tmp_path):
    solver = FittedSolver((0.0, 1 / 3), (1.0, 0.9999999999999), ((0.1,), (0.2, 1 / 7)), {"model": "abc", "cfg": 0.0})
    again = FittedSolver.from_json(solver.to_json())
    assert again == solver
    again.check_for(model="abc", cfg=0.0)
    with pytest.raises(ValueError, match="fitted for model 'abc', not 'b'"):
        again.check_for(model="b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"form": "rk"}',
        '{"form": "bns", "times": [0], "a": [1], "b": [[1, 2]]}',
        '{"form": "bns", "times": [0, 2], "a": [1, 1], "b": [[1], [1, 1]]}',
        '{"form": "bns", "times": [0], "a": [NaN], "b": [[1]]}',
        '{"form": "bns", "times": "x", "a": [1], "b": [[1]]}',
    ],
)
def test_what_is_no_solver(text):
    with pytest.raises(ValueError, match="fitted solver"):
        FittedSolver.from_json(text)


@pytest.mark.parametrize(
    "call",
    [
        lambda: FittedSolver.from_table("leapfrog", [0, 1]),
        lambda: FittedSolver.euler([0, 0.5, 0.5, 1]),
        lambda: FittedSolver.bespoke([0, 1], [1.0], [1.0, 0.0], [0.0]),
        lambda: FittedSolver.bespoke([0, 0.9], [1.0], [1.0, 1.0], [0.0]),
        lambda: fit_rows(TOY.velocity, torch.zeros(1, 2, 1, 1), torch.tensor([0.0, 1.0]), [0.5]),
    ],
)
def test_bad_values(call):
    with pytest.raises(ValueError):
        call()
