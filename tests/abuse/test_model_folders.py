"""Damaged and hostile model folders and weight files: one line that names the file and the field, before a layer is
built, in little time and memory.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import VOCAB, tiny_tts_folder

from tts_fm.checkpoint.load import convert_pt, load_flow_model
from tts_fm.errors import ModelError
from tts_fm.model.aligner import AlignerModel, load_aligner, save_aligner
from tts_fm.model.duration import load_duration_model
from tts_fm.model.vocoder import load_vocoder

SECONDS = 20  # a hang is minutes; a loaded machine may take a while for a good folder
LOADERS: dict[str, tuple[str, str, Callable]] = {
    "flow": (".", "config.json", load_flow_model),
    "duration": ("duration", "config.json", load_duration_model),
    "vocoder": ("vocoder", "vocoder.json", load_vocoder),
    "aligner": ("aligner", "config.json", load_aligner),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_tts_folder(tmp_path_factory.mktemp("good") / "model")
    save_aligner(AlignerModel(VOCAB, dim=8, dilations=(1, 2)), folder / "aligner")
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


def refused(kind: str, folder: Path) -> str:
    """What the loader says, in one line and in little time."""
    inner, _, load = LOADERS[kind]
    began = time.monotonic()
    with pytest.raises((ModelError, ValueError)) as raised:
        load(folder / inner)
    assert time.monotonic() - began < SECONDS and "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", LOADERS)
def test_good_folders_load(kind: str, good: Path) -> None:
    LOADERS[kind][2](good / LOADERS[kind][0])


HUGE = 10**9
SIZES: list[tuple[str, dict[str, object], str]] = [
    ("flow", {"depth": 100_000}, "depth"),
    ("flow", {"depth": HUGE}, "depth"),
    ("flow", {"text_layers": HUGE}, "text_layers"),
    ("flow", {"text_frame_layers": HUGE}, "text_frame_layers"),
    ("flow", {"dim": HUGE}, ""),
    ("flow", {"dim": 10**400}, ""),
    ("flow", {"dim": -1}, ""),
    ("flow", {"heads": 0}, ""),
    ("flow", {"vocab": HUGE}, "vocab"),
    ("flow", {"dim": "64"}, "dim"),
    ("flow", {"dim": None}, "dim"),
    ("flow", {"backbone": ["dit"]}, "backbone"),
    ("flow", {"patch": 0}, ""),
    ("duration", {"layers": HUGE}, "layers"),
    ("duration", {"prompt_layers": 900}, "prompt_layers"),
    ("duration", {"dim": 10**400}, "dim"),
    ("duration", {"dim": 0}, "dim"),
    ("duration", {"mel_std": 0}, "mel_std"),
    ("duration", {"vocab": VOCAB * 2}, "vocab"),
    ("duration", {"vocab": [1, 2]}, "vocab"),
    ("duration", {"surprise": 1}, "surprise"),
    ("vocoder", {"layers": HUGE}, "layers"),
    ("vocoder", {"dim": 2.5}, "dim"),
    ("vocoder", {"compute": "float8"}, "compute"),
    ("vocoder", {"mel": None}, "mel"),
    ("aligner", {"dilations": [1] * 5000}, "dilations"),
    ("aligner", {"dilations": [-1, 2]}, "dilations"),
    ("aligner", {"dim": HUGE}, "dim"),
    ("aligner", {"mel_std": -1}, "mel_std"),
]


NAMES = [f"{kind}-{next(iter(change))}-{k}" for k, (kind, change, _) in enumerate(SIZES)]


@pytest.mark.parametrize(("kind", "change", "field"), SIZES, ids=NAMES)
def test_sizes_that_cannot_be(kind: str, change: dict, field: str, folder: Path) -> None:
    path = folder / LOADERS[kind][0] / LOADERS[kind][1]
    config = json.loads(path.read_text("utf-8"))
    (config["model"] if kind == "flow" else config).update(change)
    path.write_text(json.dumps(config), "utf-8")
    told = refused(kind, folder)
    assert field in told and (path.name in told or path.with_name("model.safetensors").name in told)


TEXTS = [
    "",
    "null",
    "[]",
    "3",
    '"x"',
    "{",
    "{}",
    "[" * 100_000,
    '{"model": ' * 5000,
    "NaN",
    '{"model": NaN}',
    "\x00",
    "ÿ",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("kind", LOADERS)
def test_texts_that_are_no_configuration(kind: str, text: str, folder: Path) -> None:
    (folder / LOADERS[kind][0] / LOADERS[kind][1]).write_text(text, "latin-1")
    assert LOADERS[kind][1].split(".")[0] in refused(kind, folder) or "lacks" in refused(kind, folder)


ENTRIES = [
    {"tokenizer": None},
    {"tokenizer": {"name": 3}},
    {"tokenizer": {"name": "phoneme", "lang": 7}},
    {"sigma_min": -1},
    {"sigma_min": "a"},
    {"defaults": []},
    {"defaults": {"surprise": 1}},
    {"defaults": {"steps": "many"}},
    {"defaults": {"steps": -3}},
]


@pytest.mark.parametrize("change", ENTRIES, ids=range(len(ENTRIES)))
def test_entries_of_a_flow_model(change: dict, folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    assert "config.json" in refused("flow", folder)


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("damage", ["nan", "integers", "empty", "cut", "none", "more"])
def test_weights(kind: str, damage: str, folder: Path) -> None:
    place = folder / LOADERS[kind][0]
    path = place / ("vocoder.safetensors" if kind == "vocoder" else "model.safetensors")
    tensors = load_file(path)
    name = max(tensors, key=lambda n: tensors[n].numel())
    if damage == "nan":
        tensors[name].view(-1)[0] = float("nan")
        save_file(tensors, path)
    elif damage == "integers":
        save_file(tensors | {name: tensors[name].to(torch.int8)}, path)
    elif damage == "more":
        save_file(tensors | {"blocks.1000000000.weight": torch.zeros(1)}, path)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.unlink()
    told = refused(kind, folder)
    assert path.name in told or "weights have" in told
    if damage in ("nan", "integers"):
        assert name.removeprefix("net.") in told


def test_configurations_with_a_byte_changed(folder: Path) -> None:
    """Whatever one byte becomes: the folder loads, or one line says why not."""
    rng = random.Random(5)
    for kind in ("duration", "vocoder", "aligner", "flow"):
        inner, name, load = LOADERS[kind]
        path = folder / inner / name
        whole = path.read_bytes()
        for _ in range(60):
            at = rng.randrange(len(whole))
            path.write_bytes(whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :])
            try:
                load(folder / inner)
            except (ModelError, ValueError) as error:
                assert "\n" not in str(error)
        path.write_bytes(whole)


def pickles(folder: Path) -> dict[str, Path]:
    made: dict[str, object] = {
        "tensor": torch.ones(3),
        "list": [1, 2],
        "integer keys": {1: torch.ones(1), 2: torch.ones(1)},
        "sparse": {"proj_out.weight": torch.eye(3).to_sparse()},
        "complex": {"proj_out.weight": torch.ones(3, dtype=torch.complex64)},
        "expanded": {"proj_out.weight": torch.ones(1).expand(1 << 20)},
        "meta": {"proj_out.weight": torch.ones(3, device="meta")},
        "quantised": {"proj_out.weight": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
        "nothing": {},
        "nested": {"model_state_dict": {"model_state_dict": {}}},
    }
    for name, value in made.items():
        torch.save(value, folder / f"{name}.pt")
    (folder / "zero.pt").write_bytes(b"")
    return {path.stem: path for path in folder.glob("*.pt")}


def test_pickles_that_hold_no_network(tmp_path: Path) -> None:
    for name, path in pickles(tmp_path).items():
        with pytest.raises(ModelError) as raised:
            convert_pt(path, tmp_path / "out.safetensors")
        assert str(path) in str(raised.value) and "\n" not in str(raised.value), name
        assert not (tmp_path / "out.safetensors").exists()
