"""The form of a voice of one's own: what is written is read again, and what is damaged, foreign or evil is refused."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_toys import speech_like

from tts_fm.errors import ModelError
from tts_fm.voices.adapters import Merged, base_digest, check_base, install, pack, read_voice, write_voice

RATE = 24_000
INFO = {
    "name": "me", "lang": "en-gb", "text": "one two", "scale": 0.5, "prompted": True,
    "base": {"name": "builtin", "digest": "0123456789abcdef"},
}  # fmt: skip


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "flow/block.weight.a": rng.normal(size=(4, 6)),
        "flow/block.weight.b": rng.normal(size=(8, 4)),
        "flow/block.bias": rng.normal(size=8),
        "duration/head.bias": rng.normal(size=1),
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_voice(tmp_path / "me", INFO, tensors(), speech_like(2.0), RATE)
    return tmp_path / "me"


def test_what_is_written_is_read_again(place):
    found = read_voice(place)
    assert {key: found.info[key] for key in INFO} == INFO
    assert found.adapter.base_name == "builtin" and found.adapter.defaults == {"match": 0.0}
    assert set(found.adapter.part("duration")) == {"head.bias"}
    for name, value in tensors().items():
        np.testing.assert_allclose(found.adapter.tensors[name], value, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.wave, speech_like(2.0), atol=1e-4)


def test_how_a_voice_takes_on_its_prompts_spectrum_is_kept_with_it(place):
    plain = read_voice(place).adapter
    write_voice(place, INFO | {"match": 1.0}, tensors(), speech_like(2.0), RATE)
    matched = read_voice(place).adapter
    assert matched.defaults == {"match": 1.0} and matched.digest != plain.digest
    for bad in (2, "much", None, float("nan")):
        (place / "voice.json").write_text(json.dumps({"format": 1} | INFO | {"match": bad}))
        with pytest.raises(ModelError, match="match is not what it must be"):
            read_voice(place)


def test_merging_is_the_formula_of_the_paper(place):
    """W x + scale b (a x) for any x, computed by torch in double precision."""
    adapter = read_voice(place).adapter
    base = {"block.weight": np.random.default_rng(1).normal(size=(8, 6)), "block.bias": np.ones(8), "other": np.ones(3)}
    merged = Merged({name: value.shape for name, value in base.items()}, base.__getitem__, adapter, "flow")
    assert set(merged) == {"block.weight", "block.bias"}
    x = torch.randn(6, dtype=torch.float64)
    stored = [adapter.tensors[f"flow/block.weight.{half}"] for half in "ab"]
    a, b, w = (torch.tensor(np.asarray(value), dtype=torch.float64) for value in (*stored, base["block.weight"]))
    torch.testing.assert_close(
        torch.tensor(merged["block.weight"]).double() @ x, w @ x + 0.5 * (b @ (a @ x)), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(merged["block.bias"], 1 + tensors()["flow/block.bias"], atol=1e-3)


@pytest.mark.parametrize(
    "name, value, what",
    [
        ("flow/block.weight.a", np.full((4, 6), np.nan), "not finite"),
        ("flow/block.weight.a", np.full((4, 6), 1e9), "not finite"),
    ],
)
def test_numbers_that_are_not_finite_are_not_saved(tmp_path, name, value, what):
    with pytest.raises(ValueError, match=what):
        write_voice(tmp_path / "x", INFO, tensors() | {name: value}, speech_like(2.0), RATE)
    assert not (tmp_path / "x").exists()


def rewritten(place: Path, **arrays: np.ndarray) -> None:
    """Put tensors into a voice that `write_voice` would refuse."""
    from safetensors.numpy import save_file

    save_file(
        {key.replace("__", "/"): np.ascontiguousarray(v) for key, v in arrays.items()}, place / "adapter.safetensors"
    )


@pytest.mark.parametrize(
    "arrays, what",
    [
        ({"flow__block.bias": np.array([np.nan], np.float32)}, "no finite numbers"),
        ({"flow__block.bias": np.array([1, 2])}, "no finite numbers"),
        ({"vocoder__x": np.ones(2, np.float32)}, "no network here"),
    ],
)
def test_damaged_tensors_are_refused(place, arrays, what):
    rewritten(place, **arrays)
    with pytest.raises(ModelError, match=what):
        read_voice(place)


@pytest.mark.parametrize(
    "arrays, what",
    [
        ({"flow__block.bias": np.ones(7, np.float32)}, r"shape \(7,\), the weight \(8,\)"),
        ({"flow__elsewhere": np.ones(7, np.float32)}, "does not have"),
        ({"flow__block.weight.a": np.ones((4, 6), np.float32)}, "one half"),
        (
            {"flow__block.weight.a": np.ones((4, 6), np.float32), "flow__block.weight.b": np.ones((8, 3), np.float32)},
            "fit",
        ),
    ],
)
def test_changes_that_do_not_fit_are_refused(place, arrays, what):
    rewritten(place, **arrays)
    with pytest.raises(ModelError, match=what):
        shapes = {"block.weight": (8, 6), "block.bias": (8,)}
        Merged(shapes, lambda name: np.ones(shapes[name]), read_voice(place).adapter, "flow")


def test_another_base_is_refused_by_name(place, tmp_path):
    model = tmp_path / "bigger"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"'me' belongs to the model builtin \(01234567\), not to bigger \(\w{8}\)"):
        check_base(read_voice(place).adapter, model, "me")
    before = base_digest(model)
    (model / "model.safetensors").write_bytes(b"Weights")
    assert base_digest(model) != before


@pytest.mark.parametrize("name", ["voice.json", "adapter.safetensors", "prompt.flac"])
def test_a_file_that_is_missing_or_cut_is_named(place, name):
    whole = (place / name).read_bytes()
    (place / name).write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ModelError, match="voice"):
        read_voice(place)
    (place / name).unlink()
    with pytest.raises(ModelError, match=name):
        read_voice(place)


def test_a_lying_header_of_tensors_is_refused(place):
    (place / "adapter.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    with pytest.raises(ModelError, match="damaged"):
        read_voice(place)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"scale": "1"}, {"scale": float("inf")}, {"base": {}}, {"lang": 3}, {"prompted": None}]
)
def test_a_strange_voice_json_is_refused(place, change):
    info = json.loads((place / "voice.json").read_text("utf-8")) | change
    (place / "voice.json").write_text(json.dumps(info))
    with pytest.raises(ModelError, match="voice"):
        read_voice(place)


def test_a_zip_is_the_voice(place, tmp_path):
    (place / "samples").mkdir()
    (place / "samples" / "after.flac").write_bytes(b"x")
    packed = pack(place, tmp_path / "me.zip")
    assert read_voice(packed).adapter == read_voice(place).adapter
    assert read_voice(packed).info == read_voice(place).info
    install(packed, tmp_path / "home" / "me")
    assert sorted(p.name for p in (tmp_path / "home" / "me").iterdir()) == [
        "adapter.safetensors",
        "prompt.flac",
        "voice.json",
    ]
    assert read_voice(tmp_path / "home" / "me").adapter == read_voice(place).adapter


def test_without_its_prompt_it_is_another_voice(place, tmp_path):
    install(place, tmp_path / "half", prompted=False)
    found = read_voice(tmp_path / "half").adapter
    assert not found.prompted and found.digest != read_voice(place).adapter.digest


@pytest.mark.parametrize("evil", ["../out.txt", "/etc/out", "me/../../out", "C:\\out", "..\\out"])
def test_a_zip_with_a_path_out_of_it_is_refused(place, tmp_path, evil):
    packed = pack(place, tmp_path / "me.zip")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(evil, "x")
    with pytest.raises(ModelError, match="leads out of it"):
        read_voice(packed)
    with pytest.raises(ModelError):
        install(packed, tmp_path / "home" / "me")
    assert not (tmp_path / "home" / "me").exists() and not list(tmp_path.rglob("out*"))


def test_zips_that_are_too_large_or_no_voices_are_refused(place, tmp_path, monkeypatch):
    packed = pack(place, tmp_path / "me.zip")
    monkeypatch.setattr(
        "tts_fm.voices.adapters.LARGEST", {"voice.json": 10, "adapter.safetensors": 10, "prompt.flac": 10}
    )
    with pytest.raises(ModelError, match="MB"):
        read_voice(packed)
    monkeypatch.undo()
    (tmp_path / "no.zip").write_bytes(b"PK not really")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    for name in ("no.zip", "empty.zip"):
        with pytest.raises(ModelError, match=name):
            read_voice(tmp_path / name)
