"""Batched = single: the same item alone, in any batch, with any padding, gives the same velocity and the same
speech.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from tts_fm.config import ModelConfig
from tts_fm.model.flow_model import FlowModel

VOCAB = [chr(97 + i) for i in range(12)]
FRAMES, SYMBOLS, PROMPTS = [37, 60, 24], [9, 14, 5], [11, 20, 7]
SMALL = {"vocab": 12, "dim": 64, "depth": 2, "heads": 1, "text_dim": 16, "text_layers": 2}


def tiny(**settings) -> FlowModel:
    """A random net; nothing is left at its zero start, or the blocks would do nothing."""
    model = FlowModel(ModelConfig(**(SMALL | settings)), VOCAB).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.5 if p.ndim < 2 else p.shape[-1] ** -0.5))
    # Random modulations of every block multiply rounding errors by hundreds; in double precision a leak is all that is
    # left to see.
    return model.double() if model.config.style_rank else model


def batch_of(aligned: bool):
    """Padded inputs of three items of unlike lengths; what lies in the padding is loud, so a leak would show."""
    generator = torch.Generator().manual_seed(5)
    ids, durations = torch.full((3, 16), -1), torch.zeros(3, 16)
    for b, (n, frames) in enumerate(zip(SYMBOLS, FRAMES, strict=True)):
        ids[b, :n] = torch.randint(0, 12, (n,), generator=generator)
        shares = torch.rand(n, generator=generator) + 0.2
        durations[b, :n] = shares / shares.sum() * frames
    cond = torch.randn(3, max(PROMPTS), 100, generator=generator) * 3
    x = torch.randn(3, 64, 100, generator=generator)  # wider than the longest item
    return ids, durations if aligned else None, cond, x


def alone(b: int, ids, durations, cond):
    """TrainItem b without any padding."""
    n = SYMBOLS[b]
    return ids[b : b + 1, :n], None if durations is None else durations[b : b + 1, :n], cond[b : b + 1, : PROMPTS[b]]


CASES = [
    *itertools.product(["dit"], ["filler", "average", "aligned"], [1, 2], [{}]),
    ("dit", "filler", 1, {"text_masks_padding": False, "rotary_heads": 1}),
    ("unett", "filler", 1, {"text_dim": 100, "text_layers": 0, "text_masks_padding": False}),
    (
        "dit",
        "aligned",
        2,
        {"shared_adaln": True, "given_flag": True, "text_frame_layers": 1, "mel_mean": -2.0, "mel_std": 3.0},
    ),
    ("dit", "aligned", 2, {"style": 16, "given_flag": True}),
    ("dit", "aligned", 2, {"style": 16, "style_rank": 4, "shared_adaln": True}),
]


@pytest.mark.parametrize("backbone,text,patch,more", CASES)
def test_velocity(backbone, text, patch, more):
    model = tiny(backbone=backbone, text=text, patch=patch, **more)
    ids, durations, cond, x = batch_of(text == "aligned")
    lengths = torch.tensor(FRAMES)
    mask = torch.arange(64)[None] < lengths[:, None]
    given = torch.arange(20)[None] < torch.tensor(PROMPTS)[:, None]
    t = torch.tensor([0.1, 0.5, 0.9])
    drops = torch.tensor([False, True, False])
    v = model.velocity(x, t, cond, ids, drop_text=drops, durations=durations, mask=mask, given=given)
    for b, frames in enumerate(FRAMES):
        one_ids, one_durations, one_cond = alone(b, ids, durations, cond)
        one = model.velocity(
            x[b : b + 1, :frames], t[b : b + 1], one_cond, one_ids, drop_text=bool(drops[b]), durations=one_durations
        )
        assert (v[b, :frames] - one[0]).abs().max() < 1e-5


@pytest.mark.parametrize("backbone,text,patch,more", CASES)
def test_sample(backbone, text, patch, more):
    model = tiny(backbone=backbone, text=text, patch=patch, **more)
    ids, durations, cond, _ = batch_of(text == "aligned")
    y = model.sample(cond, ids, FRAMES, steps=4, cfg=1.5, seeds=[7, 8, 9], durations=durations, prompt_frames=PROMPTS)
    scale = y.abs().max().clamp(min=1.0)  # random nets: velocities are larger than a trained one's
    for b, frames in enumerate(FRAMES):
        one_ids, one_durations, one_cond = alone(b, ids, durations, cond)
        one = model.sample(one_cond, one_ids, frames, steps=4, cfg=1.5, seeds=[7 + b], durations=one_durations)
        assert (y[b, :frames] - one[0]).abs().max() < 1e-5 * scale
        assert torch.equal(y[b, frames:], torch.zeros_like(y[b, frames:]))
        assert (y[b, : PROMPTS[b]] - cond[b, : PROMPTS[b]]).abs().max() < 1e-5


@pytest.mark.parametrize("given", [{"style": 16}, {"style_rank": 4}])
def test_e2_refuses_a_style_that_it_could_not_use(given) -> None:
    with pytest.raises(ValueError, match="style and style_rank must be 0"):
        FlowModel(ModelConfig(**(SMALL | {"backbone": "unett"} | given)), VOCAB)
