"""The published networks, number for number: truth tables made with the published f5-tts package (tiny nets with random
weights).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tts_fm.checkpoint.load import load_flow_model

GOLDEN = Path(__file__).parent / "golden"
VOCAB = json.loads((GOLDEN / "text.json").read_text())["vocab"]
TEXT = "the birch canoe slid on the smooth planks."
VARIANTS = ["f5-v1", "f5-v0", "e2"]


@pytest.fixture(scope="module", params=VARIANTS)
def net(request):
    name = request.param.replace("-", "_")
    model = load_flow_model(GOLDEN / f"{name}.weights.safetensors", variant=request.param, vocab=VOCAB)
    return model, load_file(GOLDEN / f"{name}.io.safetensors")


@pytest.mark.parametrize(
    "truth,drop_audio,drop_text", [("cond", False, False), ("text_only", True, False), ("uncond", True, True)]
)
def test_velocities(net, truth, drop_audio, drop_text):
    model, io = net
    v = model.velocity(io["x"], io["t"], cond=io["cond"], text=io["ids"], drop_audio=drop_audio, drop_text=drop_text)
    assert (v - io[f"velocity.{truth}"]).abs().max() < 1e-4


def test_text_dropped_alone_lies_apart(net):
    """No truth table has this branch: it must differ from the three others and leave the prompt in."""
    model, io = net
    v = model.velocity(io["x"], io["t"], cond=io["cond"], text=io["ids"], drop_text=True)
    for name in ("cond", "text_only", "uncond"):
        assert (v - io[f"velocity.{name}"]).abs().max() > 1e-3


SAMPLES = [
    "euler.7.sway-1.0.cfg2.0",
    "euler.16.sway-1.0.cfg2.0",
    "euler.32.swayNone.cfg0.0",
    "midpoint.8.sway-1.0.cfg1.5",
]


@pytest.mark.parametrize("key", SAMPLES)
def test_samples(net, key):
    model, io = net
    method, steps = key.split(".")[:2]
    sway = None if "None" in key else -1.0
    y = model.sample(
        io["cond"],
        text=io["ids"],
        frames=151,
        steps=int(steps),
        method=method,
        sway=sway,
        cfg=float(key.split("cfg")[1]),
        noise=io["sample.noise_seed11"],
    )
    assert (y - io[f"sample.{key}"]).abs().max() < 1e-4
    assert torch.equal(y[:, :47], io["cond"])


def test_text_as_a_string_and_padded_ids(net):
    model, io = net
    assert model.ids(TEXT, 1).tolist() == io["ids"].tolist()
    padded = torch.nn.functional.pad(io["ids"], (0, 9), value=-1)
    v = model.velocity(io["x"], io["t"], cond=io["cond"], text=padded)
    assert (v - io["velocity.cond"]).abs().max() < 1e-4


def test_bfloat16_stays_near(net):
    model, io = net
    name = {"dit": "f5_v1" if model.config.text_masks_padding else "f5_v0", "unett": "e2"}[model.config.backbone]
    half = load_flow_model(
        GOLDEN / f"{name}.weights.safetensors", variant=name.replace("_", "-"), vocab=VOCAB, dtype=torch.bfloat16
    )
    assert half.dtype == torch.bfloat16
    v = half.velocity(io["x"], io["t"], cond=io["cond"], text=io["ids"])
    assert v.dtype == torch.float32
    assert ((v - io["velocity.cond"]).norm() / io["velocity.cond"].norm()) < 0.03
