"""The loss: closed form, masks, gradients, and what it makes a network learn."""

from __future__ import annotations

import pytest
import torch
from flow_toys import Mixture
from tiny_model import tiny_flow

from tts_fm.config import TrainConfig
from tts_fm.flow import OTPath, cfm_loss, make_path, minibatch_ot


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def batch():
    x1, x0 = torch.randn(3, 6, 4, generator=gen(1)), torch.randn(3, 6, 4, generator=gen(2))
    mask = torch.zeros(3, 6, dtype=torch.bool)
    mask[0, 1:3] = True
    mask[1, :] = True
    return x1, x0, mask, torch.tensor([0.2, 0.5, 0.9])


@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
def test_value_against_a_loop(sigma_min):
    x1, x0, mask, t = batch()
    total, count, items = 0.0, 0, []
    for b in range(3):
        sums = []
        for f in range(6):
            if mask[b, f]:
                x_t = (1 - (1 - sigma_min) * t[b]) * x0[b, f] + t[b] * x1[b, f]
                sums.append(float(((2 * x_t - t[b] - (x1[b, f] - (1 - sigma_min) * x0[b, f])) ** 2).mean()))
        items.append(sum(sums) / max(len(sums), 1))
        total, count = total + sum(sums), count + len(sums)

    def velocity(x, time):
        return 2 * x - time[:, None, None]

    by_frame = cfm_loss(velocity, x1, mask, t=t, x0=x0, path=OTPath(sigma_min))
    assert float(by_frame.loss) == pytest.approx(total / count, rel=1e-5)
    assert by_frame.per_item.tolist() == pytest.approx(items, rel=1e-5)
    assert by_frame.frames.tolist() == [2, 6, 0] and torch.equal(by_frame.t, t)
    by_item = cfm_loss(velocity, x1, mask, t=t, x0=x0, path=OTPath(sigma_min), normalise="item")
    assert float(by_item.loss) == pytest.approx((items[0] + items[1]) / 2, rel=1e-5)  # the third has nothing to learn


@pytest.mark.parametrize("normalise", ["frame", "item"])
def test_exactly_no_gradient_outside_the_mask_even_from_nan(normalise):
    x1, x0, mask, t = batch()
    output = torch.randn(3, 6, 4, generator=gen(5))
    output[~mask] = float("nan")
    output.requires_grad_(True)
    result = cfm_loss(lambda x, time: output, x1, mask, t=t, x0=x0, normalise=normalise)
    assert bool(torch.isfinite(result.loss))
    result.loss.backward()
    assert bool((output.grad[~mask] == 0).all()) and bool((output.grad[mask] != 0).all())


def test_padding_changes_nothing():
    x1, x0, mask, t = batch()
    pad = torch.nn.functional.pad

    def velocity(x, time):
        return torch.tanh(x)

    for normalise in ("frame", "item"):
        short = cfm_loss(velocity, x1, mask, t=t, x0=x0, normalise=normalise)
        long = cfm_loss(
            velocity,
            pad(x1, (0, 0, 0, 5), value=7.0),
            pad(mask, (0, 5)),
            t=t,
            x0=pad(x0, (0, 0, 0, 5)),
            normalise=normalise,
        )
        assert torch.allclose(short.loss, long.loss, rtol=1e-6) and torch.allclose(
            short.per_item, long.per_item, rtol=1e-6
        )


def test_empty_mask_and_same_generator_same_loss():
    x1, _, mask, _ = batch()

    def velocity(x, time):
        return x * time[:, None, None]

    assert float(cfm_loss(velocity, x1, torch.zeros_like(mask), gen()).loss) == 0
    first, again, other = (cfm_loss(velocity, x1, mask, gen(s), times="logit_normal").loss for s in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_loss_is_float32_for_bf16_networks():
    x1, x0, mask, t = batch()
    result = cfm_loss(lambda x, time: x.bfloat16(), x1.bfloat16(), mask, t=t, x0=x0.bfloat16())
    assert result.loss.dtype == torch.float32


def test_bad_values():
    x1, x0, mask, t = batch()
    for call in (
        lambda: cfm_loss(lambda x, s: x, x1, mask),
        lambda: cfm_loss(lambda x, s: x, x1, mask, t=t),
        lambda: cfm_loss(lambda x, s: x, x1, mask.float(), gen()),
        lambda: cfm_loss(lambda x, s: x, x1, mask[:, :2], gen()),
        lambda: cfm_loss(lambda x, s: x, x1, mask, gen(), normalise="batch"),
        lambda: cfm_loss(lambda x, s: x, x1, mask, t=t, x0=x0[:, :2]),
    ):
        with pytest.raises(ValueError):
            call()


def test_minimiser_is_the_marginal_velocity():
    """A small network trained on single pairs must end near the exact marginal field of the mixture, which it is never
    shown.
    """
    path = OTPath()
    toy, g = Mixture(path), gen(7)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(3, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2)
        )
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=600)
    mask = torch.ones(512, 1, dtype=torch.bool)

    def velocity(x, t):
        return net(torch.cat([x, t[:, None, None]], -1))

    for _ in range(600):
        x1 = toy.draw(512, g)[0].float()[:, None]
        optimiser.zero_grad()
        cfm_loss(velocity, x1, mask, g).loss.backward()
        optimiser.step()
        schedule.step()

    x1 = toy.draw(4000, g)[0].float()[:, None]
    t = 0.9 * torch.rand(4000, generator=g)  # beyond, the exact field is too sharp for a network this small
    x0 = torch.randn(4000, 1, 2, generator=g)
    x_t, u = path.sample(x0, x1, t)
    exact = toy.velocity(x_t[:, 0].double(), t).float()
    with torch.no_grad():
        off = (velocity(x_t, t)[:, 0] - exact).square().mean()
    spread = (u[:, 0] - exact).square().mean()  # what one pair's velocity is away from the marginal one
    assert float(off) < 0.05 * float(spread), (float(off), float(spread))


@pytest.mark.parametrize("name", ["ot", "cosine", "vp", "ve(0.1, 5)"])
def test_weightings_are_errors_of_what_they_name(name):
    """The error of the data, or of the noise, that a wrong velocity points to, in squares."""
    path = make_path(name)
    x1, x0, _, t = batch()
    mask = torch.ones(3, 6, dtype=torch.bool)
    x_t, u = path.sample(x0, x1, t)
    wrong = u + torch.randn(u.shape, generator=gen(7))

    def loss(weighting):
        return float(cfm_loss(lambda x, s: wrong, x1, mask, t=t, x0=x0, path=path, weighting=weighting).loss)

    assert loss("data") == pytest.approx(float((path.to_x1(wrong, x_t, t) - x1).square().mean()), rel=1e-3)
    assert loss("noise") == pytest.approx(float((path.to_x0(wrong, x_t, t) - x0).square().mean()), rel=1e-3)
    assert loss("velocity") == pytest.approx(float((wrong - u).square().mean()), rel=1e-5)
    with pytest.raises(ValueError, match="unknown weighting 'speech'.*velocity, unit, data, noise"):
        loss("speech")


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_guidance_in_training_is_learnt_as_guidance_in_sampling(share):
    """Two kinds of data, 1 and -1, from noise 0, seen with their label or without it: where the plain loss ends, every
    label knows its velocity and none knows the mean, 0. Guidance of w / (1 - w) in sampling adds that share of the
    difference, so it should end at 1 / (1 - w).
    """
    known = torch.zeros(3, requires_grad=True)  # velocity of label 1, of label -1, and of none
    x1 = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]
    mask, t, labels = torch.ones(4, 1, dtype=torch.bool), torch.full((4,), 0.5), torch.tensor([0, 1, 2, 2])
    optimiser = torch.optim.SGD([known], lr=0.5)
    for _ in range(200):
        loss = cfm_loss(
            lambda x, s: known[labels][:, None, None], x1, mask, t=t, x0=torch.zeros_like(x1),
            null=lambda x, s: known[2].expand(4)[:, None, None], guidance=share,
        ).loss  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert known.tolist() == pytest.approx([1 / (1 - share), -1 / (1 - share), 0.0], abs=1e-3)


def test_guidance_in_training_has_limits():
    x1, x0, mask, t = batch()
    for wrong in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to below 1"):
            cfm_loss(lambda x, s: x, x1, mask, t=t, x0=x0, null=lambda x, s: x, guidance=wrong)
    with pytest.raises(ValueError, match="needs `null`"):
        cfm_loss(lambda x, s: x, x1, mask, t=t, x0=x0, guidance=0.5)


def test_minibatch_ot_moves_the_noise_and_nothing_else():
    x1, x0, _, t = batch()
    mask = torch.ones(3, 6, dtype=torch.bool)
    seen = []
    cfm_loss(lambda x, s: seen.append(x) or x, x1, mask, t=t, x0=x0, coupling="ot")
    assert torch.allclose(seen[0], OTPath().sample(minibatch_ot(x0, x1, mask), x1, t)[0])
    with pytest.raises(ValueError, match="unknown coupling"):
        cfm_loss(lambda x, s: x, x1, mask, t=t, x0=x0, coupling="nearest")


def test_times_end_where_the_path_ends():
    x1 = torch.zeros(2000, 1, 1)
    drawn = cfm_loss(lambda x, s: x, x1, torch.ones(2000, 1, dtype=torch.bool), gen(), path=make_path("vp")).t
    assert 0.99 < float(drawn.max()) <= 1 - 1e-3


def losses(guidance, train=True):
    """Per item, of a small network: the first sees text and prompt, the second the text alone, the third nothing."""
    model = tiny_flow()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=gen(value.numel())) * 0.3)
    model.train(train)
    mel, mask = torch.randn(3, 20, 100, generator=gen(1)) - 2, torch.ones(3, 20, dtype=torch.bool)
    hidden = torch.zeros(3, 20, dtype=torch.bool)
    hidden[:, 8:] = True
    ids, durations = torch.tensor([[3, 4, 5, 6]] * 3), torch.full((3, 4), 5.0)
    drop = torch.tensor([False, True, True]), torch.tensor([False, False, True])
    return model(mel, mask, hidden, ids, durations, *drop, gen(2), guidance=guidance)


def test_a_model_is_guided_away_from_what_it_says_without_text_and_prompt():
    """An item without either is its own null; what is measured (eval mode) is never guided."""
    plain, guided = losses(0.0).per_item, losses(0.5).per_item
    assert guided[2] == pytest.approx(float(plain[2]), rel=1e-5)
    assert bool(((guided - plain).abs() > 1e-3)[:2].all())
    assert torch.equal(losses(0.5, train=False).per_item, losses(0.0, train=False).per_item)


def test_a_training_that_is_guided_must_show_the_network_nothing_at_times():
    assert TrainConfig(guidance=0.5, drop_both=0.1).guidance == 0.5
    with pytest.raises(ValueError, match="guidance is 0.5, but with drop_both 0"):
        TrainConfig(guidance=0.5, drop_both=0.0)
    with pytest.raises(ValueError, match="from 0 to 0.95"):
        TrainConfig(guidance=1.0)
