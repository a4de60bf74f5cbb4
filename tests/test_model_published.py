"""Sizes of the published networks: figures counted on the published package (2545 symbols)."""

from __future__ import annotations

import pytest
import torch

from tts_fm.errors import ModelError
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.published import e2, f5_v0, f5_v1, published_config

SIZES = [
    (f5_v1, "base", 337_096_804, 363),
    (f5_v0, "base", 337_096_804, 363),
    (f5_v1, "small", 159_228_772, 307),
    (e2, "base", 333_470_444, 362),
    (e2, "small", 157_161_708, 304),
]


def on_meta(config) -> FlowModel:
    with torch.device("meta"):
        return FlowModel(config, [str(i) for i in range(config.vocab)])


@pytest.mark.parametrize("make,size,parameters,tensors", SIZES)
def test_sizes(make, size, parameters, tensors):
    counts = [p.numel() for p in on_meta(make(size=size)).parameters()]
    assert (sum(counts), len(counts)) == (parameters, tensors)


def test_libritts_characters():
    assert sum(p.numel() for p in on_meta(f5_v1(78, "small")).parameters()) == 157_965_668


@pytest.mark.parametrize("variant,make", [("f5-v1", f5_v1), ("f5-v0", f5_v0), ("e2", e2)])
def test_sizes_are_read_back_from_shapes(variant, make):
    for config in (make(), make(78, "small")):
        shapes = {k: tuple(v.shape) for k, v in on_meta(config).net.state_dict().items()}
        assert published_config(variant, shapes) == config


def test_wrong_variant():
    shapes = {k: tuple(v.shape) for k, v in on_meta(e2(10, "small")).net.state_dict().items()}
    with pytest.raises(ModelError, match="variant e2"):
        published_config("f5-v1", shapes)
    with pytest.raises(ValueError, match="f5-v1, f5-v0, e2"):
        published_config("f5", shapes)
    with pytest.raises(ModelError, match="no e2 network"):
        published_config("e2", {"backbone.weight": (3, 3)})
    with pytest.raises(ValueError, match="base, small"):
        f5_v1(size="huge")
