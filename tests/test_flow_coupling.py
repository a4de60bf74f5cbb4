"""Couplings: minibatch OT against brute force, padding, and that data never moves."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from tts_fm.flow import couple, minibatch_ot, seeded_pairs
from tts_fm.flow.coupling import pair_cost


def case(batch=5, frames=4, channels=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x0, x1 = (torch.randn(batch, frames, channels, generator=g) for _ in range(2))
    lengths = torch.randint(1, frames + 1, (batch,), generator=g)
    return x0, 2 * x1, torch.arange(frames)[None] < lengths[:, None]


def cost(x0, x1, mask):
    return float(((x0 - x1).square().sum(-1) * mask).sum())


@pytest.mark.parametrize("seed", range(6))
def test_ot_equals_brute_force_over_all_permutations(seed):
    x0, x1, mask = case(seed=seed)
    before = x1.clone()
    found = minibatch_ot(x0, x1, mask)
    best = min(cost(x0[list(p)], x1, mask) for p in permutations(range(5)))
    assert cost(found, x1, mask) == pytest.approx(best, rel=1e-5) and best <= cost(x0, x1, mask)
    assert torch.equal(x1, before)
    rows = {tuple(r.flatten().tolist()) for r in x0}
    assert {tuple(r.flatten().tolist()) for r in found} == rows  # a permutation: the noise stays standard normal


def test_cost_matrix_against_a_loop():
    x0, x1, mask = case()
    for i in range(5):
        for j in range(5):
            one = ((x0[i] - x1[j]).square().sum(-1) * mask[j]).sum()
            assert float(pair_cost(x0, x1, mask)[i, j]) == pytest.approx(float(one), rel=1e-5)


def test_padding_frames_have_no_part_in_it():
    x0, x1, mask = case(seed=3)
    noisy = torch.where(mask[..., None], x1, torch.full_like(x1, 1e6))
    broken = torch.where(mask[..., None], x1, torch.full_like(x1, float("nan")))
    assert torch.equal(minibatch_ot(x0, noisy, mask), minibatch_ot(x0, x1, mask))
    assert torch.equal(minibatch_ot(x0, broken, mask), minibatch_ot(x0, x1, mask))


def test_couple_by_name_and_without_a_mask():
    x0, x1, mask = case()
    assert couple("independent", x0, x1, mask) is x0 and couple("pairs", x0, x1) is x0
    assert torch.equal(couple("ot", x0, x1), minibatch_ot(x0, x1, torch.ones_like(mask)))
    for bad in (
        lambda: couple("best", x0, x1),
        lambda: couple("ot", x0[:2], x1),
        lambda: couple("ot", x0, x1, mask[:, :1]),
    ):
        with pytest.raises(ValueError):
            bad()


def test_seeded_pairs_do_not_depend_on_batch_or_padding():
    state = torch.random.get_rng_state()
    together = seeded_pairs([7, 8, 7], torch.zeros(3, 40, 5), [40, 21, 13])
    assert torch.equal(together[1:2, :21], seeded_pairs([8], torch.zeros(1, 21, 5), torch.tensor([21])))
    assert bool((together[1, 21:] == 0).all()) and abs(float(together[0].std()) - 1) < 0.2
    assert torch.equal(torch.random.get_rng_state(), state)
    for seed, frames in ((0, 16), (3, 321), (2**55 + 12345, 97)):  # whole rows of 16 numbers, and not
        drawn = torch.randn(frames, 5, generator=torch.Generator().manual_seed(seed))
        found = seeded_pairs([seed], torch.zeros(1, frames, 5), [frames])[0]
        assert torch.allclose(found, drawn, rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match="as many seeds"):
        seeded_pairs([1], torch.zeros(2, 3, 4), [3, 3])
