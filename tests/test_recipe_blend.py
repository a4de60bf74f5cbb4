"""Mixtures of two trainings: means in closed form, parts that stay, and a folder whose quick changes still belong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tts_fm.engines.quick import FOLDER as QUICK
from tts_fm.voices.adapters import base_digest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import blend


def folder(place: Path, value: float, rows: int = 2) -> Path:
    place.mkdir()
    tensors = {name: torch.full((rows, 3), value).half() for name in ("adaln.up.weight", "blocks.0.weight", "out.bias")}
    save_file(tensors, place / "model.safetensors", metadata={"of": str(value)})
    return place


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    new = folder(tmp_path / "new", 3.0)
    (new / "vocab.txt").write_text("a\n")
    (new / QUICK).mkdir()
    (new / QUICK / "config.json").write_text(json.dumps({"base": {"name": "new", "digest": base_digest(new)}}))
    return folder(tmp_path / "old", 1.0), new


def test_weights_are_means_but_for_the_parts_that_stay(both, tmp_path: Path) -> None:
    blend.main([*map(str, (*both, tmp_path / "out")), "--share", "0.75", "--keep", "adaln", "out.b"])
    mixed = load_file(tmp_path / "out" / "model.safetensors")
    assert {name: tensor.unique().tolist() for name, tensor in mixed.items()} == {
        "adaln.up.weight": [1.0], "blocks.0.weight": [2.5], "out.bias": [1.0]
    }  # fmt: skip
    assert all(tensor.dtype == torch.float16 for tensor in mixed.values())
    assert (tmp_path / "out" / "vocab.txt").read_text() == "a\n"


def test_quick_changes_belong_to_the_mixture(both, tmp_path: Path) -> None:
    blend.main([*map(str, (*both, tmp_path / "out"))])
    base = json.loads((tmp_path / "out" / QUICK / "config.json").read_text())["base"]
    assert base == {"name": "new", "digest": base_digest(tmp_path / "out")}
    assert load_file(tmp_path / "out" / "model.safetensors")["out.bias"].unique().item() == 3.0


def test_what_cannot_be_mixed(both, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = both
    other = folder(tmp_path / "other", 1.0, rows=4)
    for arguments, said in (
        ([other, new, tmp_path / "out"], "unlike networks: adaln.up.weight"),
        ([old, new, tmp_path / "out", "--keep", "norm"], "they begin with adaln, blocks, out"),
        ([old, new, other], "there is something of that name already"),
        ([old, tmp_path / "gone", tmp_path / "out"], "gone"),
    ):
        with pytest.raises(SystemExit):
            blend.main([str(argument) for argument in arguments])
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
