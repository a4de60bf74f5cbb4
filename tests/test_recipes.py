"""The recipes are complete and mean the same on any number of processes; a corpus of tones goes the whole way to
speech.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from recipes.libritts import evaluation, export, recipes, train  # noqa: E402
from tts_fm.config import ModelConfig  # noqa: E402
from tts_fm.data.corpus import ManifestItems, make_vocab  # noqa: E402
from tts_fm.data.manifest import Utterance, read_manifest, write_manifest  # noqa: E402
from tts_fm.errors import ModelError  # noqa: E402
from tts_fm.model.flow_model import FlowModel  # noqa: E402

SMALL = [
    "train.steps=3",
    "train.batch_frames=300",
    "train.log_every=1",
    "train.valid_every=2",
    "model.dim=64",
    "model.heads=1",
    "model.depth=1",
]


def manifest(tmp_path: Path, count: int = 8, rate: int = 24_000, **fields) -> Path:
    """`count` tones of 1 s and a little, two speakers, half of them for validation."""
    rows = []
    for i in range(count):
        seconds = 1.0 + i / 100
        wave = 0.3 * np.sin(2 * np.pi * (200 + 20 * i) * np.arange(round(seconds * rate)) / rate)
        soundfile.write(tmp_path / f"{i}.wav", wave.astype(np.float32), rate)
        rows.append(
            Utterance(
                str(i),
                f"{i}.wav",
                f"Clip number {i}.",
                "ab"[i % 2],
                seconds,
                "train" if i < count / 2 else "valid",
                **fields,
            )
        )
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def test_every_recipe_is_complete():
    sizes = {"f5_small": 159e6, "f5_small_ctc": 159e6, "f5_base": 337e6, "e2_small": 157e6, "f5_small_average": 160e6,
             "f5_small_aligned": 160e6, "tiny": 0.92e6}  # fmt: skip
    for name, function in recipes.RECIPES.items():
        recipe = recipes.get(name)
        assert (
            recipe.name == name
            and f"--recipe {name}" in (function.__doc__ or "")
            and "Hardware" in (function.__doc__ or "")
        )
        assert recipe.train.warmup + recipe.train.decay <= recipe.train.steps
        if name in sizes:
            with torch.device("meta"):
                model = FlowModel(dataclasses.replace(recipe.model, vocab=78), [str(i) for i in range(78)])
            assert sum(p.numel() for p in model.parameters()) == pytest.approx(sizes[name], rel=0.03), name
    eight = recipes.get("f5_small").for_processes(8).train
    assert eight.accumulate == 1 and eight.batch_frames * 8 == 307_200  # the published update
    assert recipes.get("f5_small").for_processes(2).train.accumulate == 4
    with pytest.raises(ValueError, match="for \\[1, 2, 4, 8\\] processes, not 3"):
        recipes.get("f5_small").for_processes(3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["train.step=1"], "did you mean 'steps'"),
        (["steps=1"], "train.FIELD"),
        (["train.steps"], "train.FIELD"),
        (["model.dim=wide"], "dim must be a whole number"),
    ],
)
def test_wrong_changes(changes: list[str], said: str):
    with pytest.raises(ValueError, match=said):
        recipes.get("tiny", changes)
    with pytest.raises(ValueError, match="no recipe is called 'f6'"):
        recipes.get("f6")


def test_items_from_a_manifest(tmp_path: Path, caplog):
    path = manifest(tmp_path, rate=16_000, units=("k", "l"), unit_frames=(20, 16), lead_frames=2, tail_frames=2)
    found = read_manifest(path)
    chars, units = make_vocab(found, aligned=False), make_vocab(found, aligned=True)
    assert (
        chars[0] == " " and set("".join(u.text for u in found)) == set(chars) and units == ["<unk>", "<sil>", "k", "l"]
    )
    plain = ManifestItems(found, tmp_path, chars)
    item = plain[3]
    assert (
        item.mel.shape == (plain.frames[3], 100) == (round(1.03 * 24_000) // 256 + 1, 100)
        and item.mel.dtype == np.float32
    )
    assert "".join(chars[i] for i in item.ids) == found[3].text and item.durations is None
    aligned = ManifestItems(found, tmp_path, ["<unk>", "<sil>", "k"], aligned=True)
    assert aligned[0].ids.tolist() == [1, 2, 0, 1] and aligned.unknown == 0
    assert (
        aligned[0].durations == pytest.approx(np.array([2, 20, 16, 2]) * 0.025 * 93.75) and "'l' 8 times" in caplog.text
    )
    crowded = [dataclasses.replace(found[0], text="word " * 40), found[1]]
    assert len(ManifestItems(crowded, tmp_path, chars)) == 1 and "1 utterances have more symbols" in caplog.text
    changed = ManifestItems([dataclasses.replace(found[0], seconds=2.0, unit_frames=None)], tmp_path, chars)
    with pytest.raises(ValueError, match="0.wav lasts 1.00 s, the manifest says 2.00 s"):
        changed[0]
    with pytest.raises(ValueError, match="tts-fm align"):
        make_vocab([dataclasses.replace(found[0], units=None, unit_frames=None)], aligned=True)


def test_the_whole_way(tmp_path: Path):
    """Manifest -> train -> resume -> export -> list -> speech; a run folder keeps its vocabulary and refuses another
    network.
    """
    path, run, model = manifest(tmp_path), tmp_path / "run", tmp_path / "model"
    small = recipes.get("tiny", SMALL)
    shown = recipes.get("tiny", [*SMALL, "train.tensorboard=true"])
    assert train.train(shown, path, run) == 3
    assert b"mel" in next((run / "tensorboard").glob("events*")).read_bytes()
    longer = recipes.get("tiny", [*SMALL, "train.steps=4"])
    assert train.train(longer, path, run) == 4
    losses = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in losses if "loss" in row] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="another network \\(depth differ\\)"):
        train.train(recipes.get("tiny", [*SMALL, "model.depth=2"]), path, run)
    with pytest.raises(ValueError, match="another vocabulary"):
        train.train(small, path, run, vocab=["a"])
    with pytest.raises(ModelError, match="train first"):
        export.export(tmp_path / "none", model)
    export.export(run, model, half=False)
    settings = json.loads((model / "config.json").read_text())
    assert (
        settings["trained_steps"] == 4
        and settings["tokenizer"] == {"name": "char"}
        and settings["defaults"]["steps"] == 8
    )
    pairs = evaluation.cross_sentence(read_manifest(path), tmp_path, 2)
    assert all(Path(pair["ref_audio"]).is_file() and pair["ref_text"] != pair["text"] for pair in pairs)
    evaluation.write_list(tmp_path / "eval.jsonl", pairs)
    assert evaluation.speak(model, tmp_path / "eval.jsonl", tmp_path / "speech", (0, 2)) == 1
    assert evaluation.speak(model, tmp_path / "eval.jsonl", tmp_path / "speech") == 1  # the other one
    waves = sorted((tmp_path / "speech").glob("*.wav"))
    assert len(waves) == 2 and all(soundfile.info(wave).duration > 0.3 for wave in waves)


def test_vocabulary_extension():
    vocab = ["a", "b"]
    model = FlowModel(ModelConfig(vocab=2, text="filler", dim=64, depth=1, heads=1, text_dim=16), vocab)
    wide = train.extended(model, ["ß", "a", "ß"])
    old, new = (m.net.text_embed.text_embed.weight for m in (model, wide))
    assert wide.vocab == ["a", "b", "ß"] and torch.equal(new[:3], old) and torch.allclose(new[3], old[1:].mean(0))
    assert train.extended(model, ["a"]) is model
    assert all(
        torch.equal(wide.net.state_dict()[k], v)
        for k, v in model.net.state_dict().items()
        if "text_embed.text_embed" not in k
    )


def test_librispeech_pc_list(tmp_path: Path):
    folder = tmp_path / "121" / "7"
    folder.mkdir(parents=True)
    (folder / "121-7-0001.flac").write_bytes(b"x")
    (tmp_path / "l.lst").write_text("121-7-0001\t3.1\tHello.\t121-7-0002\t5.0\tGood bye.\n")
    (row,) = evaluation.librispeech_pc(tmp_path / "l.lst", tmp_path)
    assert row == {
        "id": "121-7-0002",
        "text": "Good bye.",
        "ref_audio": str(folder / "121-7-0001.flac"),
        "ref_text": "Hello.",
    }
    (tmp_path / "bad.lst").write_text("a\tb\n9-9-1\t1\tx\ty\t1\tz\n")
    with pytest.raises(ValueError, match="bad.lst:1: 2 cells.*\n.*bad.lst:2: no audio"):
        evaluation.librispeech_pc(tmp_path / "bad.lst", tmp_path)


@pytest.mark.parametrize("name", ["train", "evaluation", "export"])
def test_recipes_run_as_files_too(tmp_path: Path, name: str):
    file = Path(__file__).parents[1] / "recipes" / "libritts" / f"{name}.py"
    done = subprocess.run([sys.executable, str(file), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout
