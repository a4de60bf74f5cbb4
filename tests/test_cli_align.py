"""The verb `align`: what it writes, a recipe that reads it, and its faults."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tts_fm.cli.main import main
from tts_fm.data.corpus import ManifestItems, make_vocab
from tts_fm.data.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data" / "aligned"


def corpus(tmp_path: Path, *more: dict) -> Path:
    """The clips without their times, behind a blank line, and then `more`."""
    rows = []
    for line in (DATA / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        shutil.copy(DATA / row["audio"], tmp_path / row["audio"])
        rows.append(
            {key: row[key] for key in ("id", "audio", "text", "speaker", "seconds", "lang")}
            | {"split": "train", "x_own": 1}
        )
    text = "\n" + "".join(json.dumps(row) + "\n" for row in [*rows, *more])
    (tmp_path / "m.jsonl").write_text(text, "utf-8")
    return tmp_path / "m.jsonl"


def test_the_verb_writes_what_recipes_read(tmp_path: Path, capsys: pytest.CaptureFixture):
    manifest, out = corpus(tmp_path), tmp_path / "m.aligned.jsonl"
    assert main(["align", str(manifest), "-q"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    rows, truth = read_manifest(out, audio=True), read_manifest(DATA / "manifest.jsonl")
    for row, true in zip(rows, truth, strict=True):
        assert row.aligned and row.units == true.units and row.lang == true.lang and row.about["x_own"] == 1
        ends, right = (np.cumsum([u.lead_frames, *(u.unit_frames or ())]) * u.frame_seconds for u in (row, true))
        assert np.median(np.abs(ends - right)) <= 0.02
        assert [w["text"] for w in row.about["words"]] == [w.strip(",.") for w in row.text.split()]
    items = ManifestItems(rows, tmp_path, make_vocab(rows, aligned=True), aligned=True)
    item = items[0]
    assert item.durations is not None and item.durations.sum() == pytest.approx(len(item.mel) - 1, abs=0.5)

    recipes_train(tmp_path, out)


def recipes_train(tmp_path: Path, manifest: Path) -> None:
    """The recipe f5_small_aligned, made small, learns from the result."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    pytest.importorskip("accelerate")
    from recipes.libritts import recipes, train

    small = ["train.steps=2", "train.warmup=1", "train.decay=1", "train.batch_frames=400", "train.log_every=1",
    "train.workers=0",
             "train.bf16=false", "model.dim=64", "model.heads=1", "model.depth=1", "model.text_dim=16",
             "model.text_layers=1"]  # fmt: skip
    reached = train.train(recipes.get("f5_small_aligned", small), manifest, tmp_path / "run")
    losses = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert reached == 2 and any(np.isfinite(row["loss"]) for row in losses if "loss" in row)


def test_bad_lines_are_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture):
    base = {"speaker": "s", "seconds": 1.65}
    manifest = corpus(
        tmp_path,
        base | {"id": "gone", "audio": "gone.opus", "text": "I'm sorry, Jack."},
        base | {"id": "long", "audio": "k0_00385.opus", "text": "This text is far too long for it. " * 9},
        base | {"id": "other", "audio": "k0_00385.opus", "text": "You were nice."},
        base | {"id": "short", "audio": "k0_00385.opus", "text": "I'm sorry, Jack.", "seconds": 3.0},
    )
    (tmp_path / "to").mkdir()
    out = tmp_path / "to" / "o.jsonl"
    assert main(["align", str(manifest), "-o", str(out), "--json", "--workers", "2"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out) == {"aligned": 3, "left_out": 4, "out": str(out)}
    for line, fault in (
        (5, "gone: "),
        (6, "long: the text has"),
        (7, "other: the text is not what is said"),
        (8, "short: "),
    ):
        assert f"left out: {manifest}:{line}: {fault}" in said.err
    assert "4 of 7 lines were left out" in said.err
    rows = read_manifest(out, audio=True)  # from another folder, the audio is still found
    assert next(row.audio for row in rows) == "../k0_01361.opus"


def test_faults_of_usage(tmp_path: Path, capsys: pytest.CaptureFixture):
    manifest = corpus(tmp_path)
    for arguments, code, said in (
        ([str(manifest), "-o", str(manifest)], 2, "would replace"),
        ([str(manifest), "-o", str(tmp_path / "no" / "x.jsonl")], 2, "there is no folder"),
        ([str(manifest), "--workers", "0"], 2, "--workers must be at least 1"),
        ([str(manifest), "--lang", "en-moon"], 2, "unknown language"),
        ([str(tmp_path / "none.jsonl")], 4, "cannot read the manifest"),
        ([str(manifest), "--aligner", str(tmp_path)], 4, "is missing"),
    ):
        assert main(["align", *arguments, "-q"]) == code
        assert said in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.glob("*.jsonl*")) == ["m.jsonl"]
    manifest.write_text('{"id": "a"}\nno json\n', "utf-8")
    assert main(["align", str(manifest), "-q"]) == 2
    said = capsys.readouterr().err
    assert f"{manifest}:1: " in said and f"{manifest}:2: not JSON" in said
