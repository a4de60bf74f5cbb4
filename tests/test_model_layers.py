"""Layers and text conditioning against closed forms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tts_fm.config import ModelConfig
from tts_fm.model import layers
from tts_fm.model.layers import Attention, GlobalResponseNorm, TimeEmbedding, rotary_angles, rotate
from tts_fm.model.text import TextConditioning, aligned_index, average_index


def test_rotary_scores_depend_on_distance_only():
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(64, generator=generator).expand(1, 1, 40, 64) for _ in range(2))
    angles = rotary_angles(40, torch.device("cpu"))
    scores = (rotate(q, angles) @ rotate(k, angles).transpose(-1, -2))[0, 0]
    for distance in (0, 3, 17):
        diagonal = scores.diagonal(distance)
        assert (diagonal - diagonal[0]).abs().max() < 1e-4
    assert (rotate(q, angles).norm(dim=-1) - q.norm(dim=-1)).abs().max() < 1e-4


def test_rotary_of_some_heads_only():
    x = torch.randn(2, 3, 10, 64, generator=torch.Generator().manual_seed(1))
    angles = rotary_angles(10, torch.device("cpu"))
    some = rotate(x, angles, heads=1)
    assert torch.equal(some[:, 1:], x[:, 1:]) and torch.equal(some[:, :1], rotate(x, angles)[:, :1])


def test_angles_stay_float32_in_half_precision():
    """In bfloat16 the angle of frame 1023 is off by radians; ours is exact, so only the product is rounded."""
    x = torch.randn(1, 1, 1024, 64, generator=torch.Generator().manual_seed(2))
    angles = rotary_angles(1024, torch.device("cpu"))
    assert angles[0].dtype == torch.float32
    assert (rotate(x.bfloat16(), angles).float() - rotate(x, angles)).abs().max() < 0.05
    assert abs(float(angles[0][1023, 0]) - math.cos(1023)) < 1e-4


def test_the_two_ways_of_attention_agree():
    attention = Attention(64, 1)
    x = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(3))
    mask = torch.arange(9)[None] < torch.tensor([[9], [5]])
    angles = rotary_angles(9, x.device)
    fused = attention(x, angles, mask)
    attention.explicit = True
    assert (attention(x, angles, mask) - fused).abs().max() < 1e-5
    assert fused[1, 5:].abs().max() == 0


def test_fresh_grn_is_the_identity():
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(4))
    assert torch.equal(GlobalResponseNorm(8)(x, None), x)


def test_time_embedding_takes_float32_times_in_half_precision():
    embed = TimeEmbedding(32)
    near = torch.tensor([0.9990, 0.9995])  # one and the same number in bfloat16
    low = embed.bfloat16()(near)
    assert low.dtype == torch.bfloat16 and not torch.equal(low[0], low[1])


def test_aligned_index():
    index, place = aligned_index(torch.tensor([[2.0, 3.0, 1.0]]), 8, patch=1)
    assert index.tolist() == [[0, 0, 1, 1, 1, 2, 2, 2]]  # behind the end the last symbol stays
    assert place[0, :6, 0].tolist() == pytest.approx([1 / 4, 3 / 4, 1 / 6, 3 / 6, 5 / 6, 1 / 2])
    # centres at frames 1, 3 and 5
    assert aligned_index(torch.tensor([[2.0, 3.0, 1.0, 0.0]]), 3, patch=2)[0].tolist() == [[0, 1, 2]]


def test_average_index():
    index = average_index(torch.tensor([3, 2]), torch.tensor([6, 7]), 7)
    assert index.tolist()[0][:6] == [0, 0, 1, 1, 2, 2]
    assert index.tolist()[1] == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("form", ["filler", "average", "aligned"])
def test_a_withheld_text_says_nothing(form):
    """Two texts of one length and timing give the same features once withheld, and others before."""
    config = ModelConfig(text=form, vocab=9, text_dim=16, text_frame_layers=0 if form == "filler" else 1)
    net = TextConditioning(config)
    one, other = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6]])
    mask, durations = torch.ones(1, 12, dtype=torch.bool), torch.tensor([[4.0, 4.0, 4.0]])
    drop = torch.tensor([True])
    assert torch.equal(net(one, mask, durations, drop), net(other, mask, durations, drop))
    assert not torch.allclose(net(one, mask, durations), net(other, mask, durations))


def test_unknown_form():
    with pytest.raises(ValueError, match="text must be one of filler, average, aligned, got 'magic'"):
        TextConditioning(ModelConfig(text="magic"))


def reference_varlen(q, k, v, ends, also_ends, longest, also_longest):
    """What torch's kernel promises: every stretch between two ends is a sequence of its own."""
    out = torch.full_like(v, float("nan"))
    for start, stop in itertools.pairwise(ends.tolist()):
        if stop > start:
            scores = torch.einsum("qhd,khd->hqk", q[start:stop], k[start:stop]) / 8
            out[start:stop] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[start:stop])
    return out


@pytest.mark.parametrize("lengths", [[20, 20], [20, 7, 1], [1], [13]])
def test_attention_without_masks_is_the_masked_one(lengths, monkeypatch) -> None:
    monkeypatch.setattr(layers, "varlen_attn", reference_varlen)
    generator = torch.Generator().manual_seed(2)
    q, k, v = torch.randn(3, len(lengths), 2, 20, 64, generator=generator)
    mask = torch.arange(20)[None] < torch.tensor(lengths)[:, None]
    masked = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
    found = layers.attend_varlen(q, k, v, mask)
    real = mask[:, None, :, None].expand_as(v)
    torch.testing.assert_close(found[real], masked[real], atol=1e-5, rtol=1e-5)
    assert layers.sequence_ends(mask).dtype == torch.int32
