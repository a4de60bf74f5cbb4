"""Forwards over memory that stays: what a GPU records runs here without the recording, and gives the same bits."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tiny_model import tiny_flow

from tts_fm.model import replay, sample
from tts_fm.model.layers import rotary_angles

SPEECH = torch.randn(3, 30, 100, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(2, 20, (3, 6), generator=torch.Generator().manual_seed(1))


def spoken(model, **changes):
    options = {"steps": 3, "cfg": 2.0, "seeds": [1, 2, 3], "durations": torch.full((3, 6), 8.0)} | changes
    if model.config.text != "aligned":
        options["durations"] = None
    return model.sample(SPEECH, IDS, options.pop("frames", [48, 40, 48]), **options)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "recordable", lambda device: True)


@pytest.mark.parametrize(
    "config",
    [{}, {"text": "filler", "shared_adaln": False}, {"style": 8, "style_rank": 4}, {"path": "cosine"},
     {"backbone": "unett", "depth": 2, "shared_adaln": False, "text": "filler", "text_dim": 100, "text_layers": 0}],
)  # fmt: skip
def test_the_same_memory_gives_the_same_bits(config: dict, monkeypatch: pytest.MonkeyPatch):
    model = tiny_flow(**config).eval()
    calls = [{}, {"cfg": 0.0}, {"cfg": (2.0, 1.0)}, {"frames": 48}, {"seeds": [4, 5, 6]}, {"cfg_interval": (0.0, 0.5)}]
    plain = [spoken(model, **call) for call in calls]
    monkeypatch.setattr(sample, "recordable", lambda device: True)
    for call, wanted in zip(calls, plain, strict=True):
        assert torch.equal(spoken(model, **call), wanted), call
    assert 0 < len(model.recordings.kept) <= replay.KEPT


def test_one_shape_is_one_forward(replayed: None):
    model = tiny_flow().eval()
    for seed in range(3):
        spoken(model, seeds=[seed, seed, seed])
    assert len(model.recordings.kept) == 1
    for frames in range(48, 60, 2):
        spoken(model, frames=frames)
    assert len(model.recordings.kept) == replay.KEPT


def test_weights_that_moved_are_not_replayed(replayed: None):
    model = tiny_flow().eval()
    first = spoken(model)
    half = spoken(model.to(torch.bfloat16))
    assert not torch.equal(first, half)
    fresh = tiny_flow().eval().to(torch.bfloat16)
    assert torch.equal(half, spoken(fresh))
    assert not copy.deepcopy(model).recordings.kept and not pickle.loads(pickle.dumps(model)).recordings.kept


def test_what_cannot_be_recorded_runs_all_the_same(replayed: None, monkeypatch, caplog):
    model = tiny_flow().eval()
    wanted = spoken(model)
    fresh = tiny_flow().eval()

    def fails(*args: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(replay.Forward, "__init__", fails)
    assert torch.equal(spoken(fresh), wanted) and torch.equal(spoken(fresh), wanted)
    assert caplog.text.count("not recorded as CUDA graphs: operation not permitted") == 1


def test_recording_is_for_gpus_and_can_be_left_out(monkeypatch: pytest.MonkeyPatch):
    assert not replay.recordable(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert replay.recordable(torch.device("cuda"))
    monkeypatch.setenv("TTS_FM_GRAPHS", "0")
    assert not replay.recordable(torch.device("cuda"))


def test_no_evaluation_looks_at_numbers_of_the_device(replayed: None, monkeypatch: pytest.MonkeyPatch):
    """On a GPU every float() or bool() of a tensor of its would wait for all that was asked of it before."""
    model, seen = tiny_flow().eval(), []
    device = SPEECH.device.type
    monkeypatch.setattr(model, "recorded", lambda x, t, c, m: (seen.append(t.device.type), model.step(x, t, c, m))[1])
    spoken(model)
    assert seen == [device] * 3
    field = sample.guided(lambda x, t, null: (x, x), 2.0)
    field.host_times = True
    from tts_fm.flow.solvers import Settled

    meta = torch.empty(2, 4, 3, device="meta")  # a value cannot be read there at all
    assert (
        Settled(field, meta)(meta, 0.5).device.type == "meta" and Settled(field, meta).times(0.5).device.type == "cpu"
    )


def test_rotary_angles_are_made_once_and_serve_training():
    with torch.inference_mode():
        angles = rotary_angles(37, torch.device("cpu"))
    assert rotary_angles(37, torch.device("cpu"))[0] is angles[0] and not angles[0].is_inference()
    weight = torch.ones(32, requires_grad=True)
    (angles[0] * weight).sum().backward()
    assert angles[0].dtype == torch.float32 and weight.grad is not None
