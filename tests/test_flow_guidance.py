"""Guidance: formulas, which branches are asked for, exactness per item, and the classifier form against an exact
posterior.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from flow_toys import Mixture

from tts_fm.flow import ClassifierGuidance, OTPath, cfg, guided, guided_split


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


class Branches:
    """Three fixed fields with a record of what was asked for."""

    def __init__(self):
        self.full, self.no_text, self.null = (torch.randn(3, 5, 4, generator=gen(s)) for s in range(3))
        self.asked = []

    def pair(self, x, t, need_null):
        self.asked.append(need_null)
        return self.full, self.null if need_null else None

    def triple(self, x, t, need_no_text, need_null):
        self.asked.append((need_no_text, need_null))
        return self.full, self.no_text if need_no_text else None, self.null if need_null else None


X, T = torch.zeros(3, 5, 4), torch.full((3,), 0.4)


@pytest.mark.parametrize("scale", [2.0, -0.5, 1])
def test_formula(scale):
    b = Branches()
    assert torch.allclose(guided(b.pair, scale)(X, T), b.full + scale * (b.full - b.null))
    assert b.asked == [True] and cfg is guided


def test_arrays_are_guided_as_tensors_are():
    b, mask = Branches(), torch.arange(5)[None] < torch.tensor([5, 2, 4])[:, None]

    def arrays(work):
        return lambda *asked: tuple(None if v is None else v.numpy() for v in work(*asked))

    for scale in (2.0, torch.tensor([0.0, 1.0, 3.0])):
        want = guided(b.pair, scale, (0.0, 0.9), 0.7, mask)(X, T)
        plain = scale if isinstance(scale, float) else scale.numpy()
        got = guided(arrays(b.pair), plain, (0.0, 0.9), 0.7, mask.numpy())(X.numpy(), T.numpy())
        assert got.dtype == np.float32 and np.allclose(got, want.numpy(), rtol=0, atol=1e-6)
    want, got = (f(s, 2.0, 0.5)(*a) for f, s, a in (
        (guided_split, b.triple, (X, T)), (guided_split, arrays(b.triple), (X.numpy(), T.numpy()))))  # fmt: skip
    assert np.allclose(got, want.numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="finite"):
        guided(arrays(b.pair), np.array([np.nan, 0, 0]))


def test_scale_zero_and_outside_the_interval_ask_for_one_branch_and_change_nothing():
    b = Branches()
    assert torch.equal(guided(b.pair, 0.0)(X, T), b.full)
    early = guided(b.pair, 2.0, interval=(0.0, 0.5))
    for t, inside in ((0.0, True), (0.49, True), (0.5, False), (1.0, False)):
        assert torch.equal(early(X, torch.full((3,), t)), b.full) is not inside
    late = guided(b.pair, 2.0, interval=(0.5, 1.0))
    assert not torch.equal(late(X, torch.ones(3)), b.full) and torch.equal(late(X, T), b.full)
    assert b.asked == [False, True, True, False, False, True, False]


def test_scale_and_time_per_item():
    b = Branches()
    out = guided(b.pair, torch.tensor([0.0, 1.0, 3.0]), interval=(0.0, 0.5))(X, torch.tensor([0.1, 0.1, 0.9]))
    assert torch.equal(out[0], b.full[0]) and torch.equal(out[2], b.full[2])
    assert torch.allclose(out[1], 2 * b.full[1] - b.null[1], atol=1e-6)


def test_rescale_restores_the_spread_and_ignores_padding():
    b = Branches()
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[0, :2], mask[1, :4], mask[2, :] = True, True, True
    out = guided(b.pair, 4.0, rescale=1.0, mask=mask)(X, T)
    plain = guided(b.pair, 4.0)(X, T)
    for i, n in enumerate((2, 4, 5)):
        assert float(out[i, :n].std(correction=0)) == pytest.approx(float(b.full[i, :n].std(correction=0)), rel=1e-4)
        alone = Branches()
        alone.full, alone.null = b.full[i : i + 1, :n], b.null[i : i + 1, :n]
        assert torch.allclose(guided(alone.pair, 4.0, rescale=1.0)(X[:1, :n], T[:1])[0], out[i, :n], atol=1e-6)
    half = guided(b.pair, 4.0, rescale=0.5, mask=mask)(X, T)
    assert torch.allclose(half, (out + plain) / 2, atol=1e-5)
    mixed = guided(b.pair, torch.tensor([0.0, 4.0, 4.0]), rescale=1.0, mask=mask)(X, T)
    assert torch.equal(mixed[0], b.full[0]) and torch.allclose(mixed[1:], out[1:])


def test_split_formula_and_its_branches():
    b = Branches()
    out = guided_split(b.triple, 2.5, 3.5)(X, T)
    assert torch.allclose(out, b.full + 2.5 * (b.full - b.no_text) + 3.5 * (b.no_text - b.null), atol=1e-5)
    assert torch.allclose(guided_split(b.triple, 2.0, 2.0)(X, T), b.full + 2 * (b.full - b.null), atol=1e-5)
    assert torch.allclose(guided_split(b.triple, 2.0, 0.0)(X, T), b.full + 2 * (b.full - b.no_text), atol=1e-5)
    assert torch.equal(guided_split(b.triple, 0.0, 0.0)(X, T), b.full)
    assert torch.equal(guided_split(b.triple, 2.0, 3.0, interval=(0.5, 1.0))(X, T), b.full)
    assert b.asked == [(True, True), (False, True), (True, False), (False, False), (False, False)]


def test_bf16_stays_bf16():
    b = Branches()
    b.full, b.null = b.full.bfloat16(), b.null.bfloat16()
    assert guided(b.pair, 2.0, rescale=0.7)(X, T).dtype == torch.bfloat16


@pytest.mark.parametrize("sigma_min", [0.0, 0.05])
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_classifier_guidance_with_the_true_posterior_is_the_conditional_field(wanted, sigma_min):
    toy = Mixture(OTPath(sigma_min))
    x = 2 * torch.randn(30, 2, generator=gen(4), dtype=torch.float64)
    t = 0.05 + 0.9 * torch.rand(30, generator=gen(5), dtype=torch.float64)
    guided_field = ClassifierGuidance(toy.velocity, lambda p, s: toy.log_posterior(p, s)[:, wanted], 1.0, sigma_min)
    exact = toy.velocity_of_mode(x, t, wanted)
    with torch.inference_mode():
        assert torch.allclose(guided_field(x.clone(), t.clone()), exact, atol=1e-9)
    with torch.no_grad():
        assert torch.allclose(guided_field(x, t), exact, atol=1e-9)
    off = ClassifierGuidance(toy.velocity, lambda p, s: 1 / 0, 0.0)
    assert torch.equal(off(x, t), toy.velocity(x, t))
    start = guided_field(x, torch.zeros_like(t))
    assert bool(torch.isfinite(start).all())


@pytest.mark.parametrize("call", [
    lambda p: guided(p, math.nan), lambda p: guided(p, math.inf), lambda p: guided(p, torch.tensor([1.0, math.nan])),
    lambda p: guided(p, 1.0, (0.6, 0.5)), lambda p: guided(p, 1.0, (-0.1, 1.0)), lambda p: guided(p, 1.0, rescale=1.5),
    lambda p: guided_split(p, 1.0, math.nan), lambda p: guided(lambda x, t, n: (x, None), 1.0)(X, T),
])  # fmt: skip
def test_bad_values(call):
    with pytest.raises(ValueError, match="guidance"):
        call(Branches().pair)
