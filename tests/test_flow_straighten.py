"""Straightening: lessons against closed forms, one round of ReFlow, a student that starts as its teacher."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from flow_toys import Gaussian, Mixture
from tiny_model import tiny_config, tiny_flow

from tts_fm.flow import make_path, solve, straightness, time_grid
from tts_fm.flow.straighten import (
    along,
    distilled,
    lesson_loss,
    reflow,
    rollout_loss,
    search_times,
    split,
    u_shaped,
    walk,
)
from tts_fm.model.flow_model import FlowModel

TOY = Gaussian()


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def exact_student(x, t, until):
    """The mean velocity of the Gaussian's exact flow map from t to until; its velocity where both are the same."""
    a, b = (TOY.spread(s.to(x.dtype))[:, None, None] for s in (t, until))
    t, until = t.to(x.dtype)[:, None, None], until.to(x.dtype)[:, None, None]
    end = until * TOY.mean + (x - t * TOY.mean) / a * b
    return torch.where(until > t, (end - x) / (until - t).clamp(min=1e-9), TOY.velocity(x, t[:, 0, 0]))


def test_many_steps_of_the_teacher_give_the_flow_map():
    x, t = torch.randn(4, 3, 2, generator=gen(), dtype=torch.float64), torch.tensor([0.0, 0.2, 0.5, 0.9])
    until = torch.tensor([0.5, 0.9, 1.0, 1.0])
    lesson = distilled(TOY.velocity, x, t, until, steps=64, method="midpoint")
    assert torch.allclose(lesson.u, exact_student(x, t, until), atol=1e-4)
    with pytest.raises(ValueError, match="forward"):
        distilled(TOY.velocity, x, until, t)
    with pytest.raises(ValueError, match="at least one step"):
        distilled(TOY.velocity, x, t, until, steps=0)


def test_two_steps_of_the_student_are_the_flow_map_too():
    x, t = torch.randn(4, 3, 2, generator=gen(), dtype=torch.float64), torch.tensor([0.0, 0.2, 0.5, 0.9])
    until = torch.tensor([0.5, 0.9, 0.5, 1.0])  # one step of no length: there the teacher speaks
    lesson = split(exact_student, x, t, until, torch.tensor([0.5, 0.3, 0.5, 0.9]), TOY.velocity)
    assert torch.allclose(lesson.u, exact_student(x, t, until), atol=1e-6)


def test_a_stored_path_teaches_what_the_teacher_did():
    grid = torch.as_tensor(time_grid(8, "sway"))
    states = [torch.randn(3, 5, 2, generator=gen(), dtype=torch.float64)]
    for a, b in itertools.pairwise(grid):
        states.append(solve(TOY.velocity, states[-1], torch.stack([a, b])))
    states = torch.stack(states, 1)
    t, until = torch.stack([grid[0], grid[2], grid[4]]), torch.stack([grid[2], grid[3], grid[8]])
    lesson = along(states, grid, t, until)
    walked = lesson.x + (until - t).double()[:, None, None] * lesson.u
    assert torch.allclose(lesson.x, states[torch.arange(3), torch.tensor([0, 2, 4])])
    assert torch.allclose(walked, states[torch.arange(3), torch.tensor([2, 3, 8])], atol=1e-7)
    middle = along(states, grid, (grid[:3] + grid[1:4]) / 2, grid[1:4])  # between stored times: Euler's straight line
    slope = (states[torch.arange(3), torch.arange(1, 4)] - states[torch.arange(3), torch.arange(3)]) / (
        grid[1:4] - grid[:3]
    ).double()[:, None, None]
    assert torch.allclose(middle.u, slope, atol=1e-5)
    with pytest.raises(ValueError, match="times must lie"):
        along(states, grid, t, until + 1)


def test_a_perfect_student_has_no_loss_and_walks_to_the_end():
    times = torch.tensor([0.0, 0.3, 1.0])
    x0 = torch.randn(3, 5, 2, generator=gen(), dtype=torch.float64)
    states = torch.stack([x0, TOY.flow(x0, 0.3), TOY.flow(x0, 1.0)], 1)
    weight = torch.ones(3, 5)
    loss, end = rollout_loss(exact_student, states, times, weight)
    assert float(loss) < 1e-9 and torch.allclose(end, states[:, -1], atol=1e-5)
    assert torch.allclose(walk(exact_student, x0, times), states[:, -1], atol=1e-5)
    # too fast by 0.5 in the first step: from there the second, right by itself, ends as far off as the flow carries it
    off, _ = rollout_loss(lambda x, t, until: exact_student(x, t, until) + 0.5 * (t[0] == 0), states, times, weight)
    carried = 0.5 * 0.3 * TOY.spread(torch.tensor(1.0)) / TOY.spread(torch.tensor(0.3))
    assert float(off) == pytest.approx((0.5**2 + float(carried / 0.7) ** 2) / 2, rel=1e-4)


def test_padding_and_bad_frames_have_no_part_in_the_loss():
    lesson = reflow(torch.zeros(2, 3, 2), torch.ones(2, 3, 2), torch.tensor([0.1, 0.9]))
    weight = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

    def student(x, t, until):
        u = torch.zeros_like(x)
        u[0, 2] = math.nan
        return u

    assert float(lesson_loss(student, lesson, weight)) == pytest.approx(1.0)
    assert float(lesson_loss(student, lesson, weight, huber=3.0)) == pytest.approx(math.sqrt(10) - 3, rel=1e-5)


def test_u_shaped_times_follow_their_density():
    from scipy import stats

    t = u_shaped(4000, gen()).numpy()
    edge = math.exp(-4.0)

    def cdf(x):  # the integral of e^{-4 s} + e^{-4 (1 - s)} from 0 to x, over that to 1
        return (1 - np.exp(-4 * x) + np.exp(-4 * (1 - x)) - edge) / (2 * (1 - edge))

    assert stats.kstest(t, cdf).pvalue > 0.01


def test_straightness_of_known_fields():
    x0 = torch.randn(4, 3, 2, generator=gen())
    still = straightness(lambda x, t: torch.full_like(x, 2.0), x0)
    assert torch.allclose(still, torch.zeros(4), atol=1e-8)
    # v = 2 t c: displacement c, deviation (2 t - 1) c, mean square c^2 / 3
    speeding = straightness(lambda x, t: 6 * t[:, None, None].expand(x.shape), x0, time_grid(400))
    assert torch.allclose(speeding, torch.full((4,), 3.0), rtol=0.02)
    mask = torch.tensor([[True, False, False]] * 4)
    masked = straightness(
        lambda x, t: 6 * t[:, None, None] * torch.tensor([[1.0], [9.0], [9.0]]).expand(3, 2), x0, mask=mask
    )
    assert torch.allclose(masked, torch.full((4,), 3.0), rtol=0.05)


class Net(torch.nn.Module):
    """(x (B, 1, 2), t) -> velocity, by a small perceptron."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(6, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)
        )

    def forward(self, x, t, until=None):
        time = torch.stack([t, t**2, (3 * t).sin(), (3 * t).cos()], -1)
        return self.layers(torch.cat([x[:, 0], time.to(x.dtype)], -1))[:, None]


def test_one_round_of_reflow_straightens_and_keeps_the_marginal():
    toy = Mixture(make_path("ot"))

    def teacher(x, t):
        return toy.velocity(x[:, 0].double(), t.double())[:, None].float()

    x0 = torch.randn(4000, 1, 2, generator=gen())
    x1 = solve(teacher, x0, time_grid(40), "midpoint")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    g, steps = gen(1), 700
    for step in range(steps):
        pick = torch.randint(len(x0), (256,), generator=g)
        loss = lesson_loss(net, reflow(x0[pick], x1[pick], u_shaped(256, g)), torch.ones(256, 1))
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, 2 * (1 - step / steps))
        optimiser.step()
    fresh = torch.randn(1000, 1, 2, generator=gen(2))
    before, after = straightness(teacher, fresh).mean(), straightness(net, fresh).mean()
    assert after < before / 5
    with torch.no_grad():
        one = solve(net, fresh, time_grid(1))[:, 0].double()
    true, _ = toy.draw(1000, gen(3))
    assert energy_distance(one, true) < energy_distance(solve(teacher, fresh, time_grid(1))[:, 0].double(), true) / 3
    assert energy_distance(one, true) < 0.06


def energy_distance(a, b):
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def test_a_student_is_its_teacher_before_the_first_update():
    teacher = tiny_flow()
    student = FlowModel(dataclasses.replace(teacher.config, span=True), teacher.vocab, teacher.tokenizer_settings)
    student.load_state_dict(teacher.state_dict(), strict=False)
    prompt = torch.randn(1, 12, 100, generator=gen()) - 2
    text = dict(frames=40, durations=torch.tensor([[12.0, 10.0, 18.0]]))
    ids = torch.tensor([[0, 1, 5]])
    spoken = [m.eval().sample(prompt, ids, steps=3, cfg=0.0, seeds=4, **text) for m in (teacher, student)]
    assert torch.equal(*spoken)
    with pytest.raises(ValueError, match="few-step student"):
        student.sample(prompt, ids, cfg=1.0, **text)
    with pytest.raises(ValueError, match="few-step student"):
        student.sample(prompt, ids, cfg=0.0, method="midpoint", **text)
    torch.nn.init.normal_(student.net.span_embed.span_mlp[2].weight, std=0.5)
    t, until = torch.tensor([0.3]), torch.tensor([0.8])
    same = zip(student.net.modulations(t, t), teacher.net.modulations(t), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not torch.allclose(student.net.modulations(t, until)[0], teacher.net.modulations(t)[0])


@pytest.mark.parametrize("steps", [2, 3])
def test_searched_times_are_the_best_there_are(steps):
    """Against all grids of 40 places: Euler on the Gaussian, whose end is known."""
    x0 = torch.randn(50, 1, 1, generator=gen(), dtype=torch.float64)

    def error(times):
        return float((solve(TOY.velocity, x0, times) - TOY.flow(x0)).square().mean())

    inner = itertools.combinations([k / 40 for k in range(1, 40)], steps - 1)
    least = min(error([0.0, *each, 1.0]) for each in inner)
    start = [k / steps for k in range(steps + 1)]
    times, found = search_times(error, start, width=0.01)
    assert found == error(times) <= min(1.02 * least + 1e-6, error(start)) and found < 0.9 * error(start)
    assert times[0] == 0 and times[-1] == 1 and times == sorted(times)
    assert search_times(error, [0.0, 1.0]) == ([0.0, 1.0], error([0.0, 1.0])), "one step has nothing to move"


def test_the_u_net_has_no_students():
    with pytest.raises(ValueError, match="dit"):
        FlowModel(tiny_config(backbone="unett", depth=2, span=True, shared_adaln=False, patch=1), tiny_flow().vocab)
