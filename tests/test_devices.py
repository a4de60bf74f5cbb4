"""The one place that chooses devices and types: what it chooses, what it refuses, and torch left as it was."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tts_fm import devices


def test_auto_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    found = "cuda" if torch.cuda.is_available() else "cpu"
    assert devices.pick().type == devices.pick("auto").type == found
    assert devices.pick("cpu") == torch.device("cpu") == devices.pick(torch.device("cpu"))
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    assert devices.pick("auto").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:999", "meta", "", "cpu:x"])
def test_devices_that_are_not_here(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be used|computes nothing"):
        devices.pick(name)


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_types_on_cpus(features: dict, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert devices.speaking_dtype("cpu") == dtype


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), torch.bfloat16), ((7, 5), torch.float16), ((6, 1), torch.float32)]
)
def test_types_on_gpus(capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: capability >= (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Card 1")
    assert devices.speaking_dtype("cuda") == dtype
    if dtype == torch.bfloat16:
        assert devices.training_dtype("cuda", bf16=True, fp16=False) == torch.bfloat16
    else:
        with pytest.raises(ValueError, match="Card 1 has no bfloat16: train with bf16=false and fp16=true"):
            devices.training_dtype("cuda", bf16=True, fp16=False)
    assert devices.training_dtype("cuda", bf16=False, fp16=True) == torch.float16
    assert devices.training_dtype("cuda", bf16=False, fp16=False) == torch.float32


def test_autocast_is_on_inside_and_off_for_float32() -> None:
    a = torch.ones(4, 4)
    with devices.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with devices.autocast("cpu", torch.float32):
            assert (a @ a).dtype == torch.float32
    assert (a @ a).dtype == torch.float32


def test_settings_of_torch_are_put_back() -> None:
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    before = conv.fp32_precision, matmul.fp32_precision
    with pytest.raises(RuntimeError), devices.precision("cuda", tf32=True):
        assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")
        with devices.precision("cuda", tf32=False):
            assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
        raise RuntimeError
    assert before == (conv.fp32_precision, matmul.fp32_precision)
    with devices.repeatable("cuda"):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_seeded_repeats_and_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with devices.seeded("cpu", 5):
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn) and torch.equal(before, torch.get_rng_state())
    assert torch.equal(devices.send(drawn[0], "cpu"), drawn[0])


@pytest.mark.parametrize(("gpus", "workers", "share"), [(0, 3, 0.0), (2, 4, 0.5), (8, 4, 1.0)])
def test_workers_of_a_cluster_ask_for_a_share_of_its_gpus(
    gpus: int, workers: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray hides the GPUs from actors that ask for none."""
    from tts_fm.batch import run

    asked: dict[str, float] = {}
    ray = ModuleType("ray")
    ray.__dict__.update(
        is_initialized=lambda: True,
        cluster_resources=lambda: {"CPU": 8.0, **({"GPU": float(gpus)} if gpus else {})},
        remote=lambda **how: asked.update(how) or (lambda actor: SimpleNamespace(remote=lambda spec: object())),
        kill=lambda actor: None,
        exceptions=SimpleNamespace(RayActorError=OSError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    stopped = threading.Event()
    stopped.set()
    spec: Any = SimpleNamespace(options=SimpleNamespace(workers=workers))
    todo: Any = [None] * 10
    assert list(run._ray(todo, spec, stopped)) == [] and asked == {"num_cpus": 1, "num_gpus": share}


def test_what_listens_is_told_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tts_fm.evaluate import metrics

    (tmp_path / "model.bin").write_bytes(b"")
    told: list[Any] = []
    made = SimpleNamespace(
        WhisperModel=lambda source, **how: told.append(how),
        VoiceEncoder=lambda device, verbose: told.append(device),
        __version__="1",
    )
    monkeypatch.setattr(metrics, "need", lambda *names: made)
    monkeypatch.setattr(metrics, "name_of", lambda device: device or "cuda:1")  # as with TTS_FM_DEVICE=cuda:1
    metrics.Whisper(tmp_path)
    metrics.Whisper(tmp_path, device="cpu")
    metrics.SpeakerEncoder()
    assert told[0] == {"device": "cuda", "compute_type": "float16", "cpu_threads": 0, "device_index": 1}
    assert told[1]["device"] == "cpu" and told[1]["compute_type"] == "int8" and told[2] == "cuda:1"


def test_a_book_of_another_kind_of_device_is_spoken_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from tts_fm.cli import book_plan

    args: Any = SimpleNamespace(model=None, variant=None, dtype=None, engine="auto", device=None)
    found = {}
    for device in ("cpu", "cuda", "cuda:1"):
        monkeypatch.setattr(book_plan, "device_from", lambda args, device=device: device)
        found[device] = book_plan.digest_of(args)
    assert found["cpu"] != found["cuda"] == found["cuda:1"]
