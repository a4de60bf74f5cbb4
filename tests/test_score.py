"""Scoring texts against recordings: the right text wins on real clips; the verb's order, faults and files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_model import tiny_flow

from tts_fm.audio.files import load
from tts_fm.checkpoint.load import load_flow_model
from tts_fm.cli.main import main
from tts_fm.data.manifest import read_manifest
from tts_fm.edit.score import score
from tts_fm.engines.align import Aligner
from tts_fm.synthesis import BUILTIN

MANIFEST = next((Path(__file__).parent / "data" / "aligned").glob("*.jsonl"))


def shortest(count: int):
    rows = sorted(read_manifest(MANIFEST), key=lambda u: u.seconds)
    return rows[:count]


def test_the_right_text_scores_higher_by_every_figure():
    row, other = shortest(2)
    model, aligner = load_flow_model(BUILTIN), Aligner.load()
    wave = load(row.path(MANIFEST.parent))
    right, wrong = (
        dataclasses.asdict(score(model, aligner, wave, text, row.lang, steps=3, draws=4))
        for text in (row.text, other.text)
    )
    assert all(right[name] > wrong[name] for name in ("likelihood", "error", "aligner"))
    assert right["error"] > 0 > wrong["aligner"]


def test_a_model_without_durations_is_refused():
    row = shortest(1)[0]
    wave = load(row.path(MANIFEST.parent))
    with pytest.raises(ValueError, match="durations.*not `average`"):
        score(tiny_flow(text="average"), Aligner.load(), wave, row.text)


def test_the_verb_sorts_writes_and_counts_what_it_leaves_out(tmp_path, capsys):
    row, other = shortest(2)
    lines = [row, dataclasses.replace(row, id="wrong", text=other.text), dataclasses.replace(row, id="empty", text="?")]
    source, out = tmp_path / "m.jsonl", tmp_path / "scores.jsonl"
    full = [dataclasses.replace(u, audio=str(row.path(MANIFEST.parent).resolve())).to_dict() for u in lines]
    source.write_text("".join(json.dumps(u) + "\n" for u in full))
    assert main(["score", str(source), "-o", str(out), "--steps", "1", "-q", "--by", "aligner"]) == 3
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["id"] for r in found] == ["wrong", row.id]
    assert found[0]["aligner"] < found[1]["aligner"]
    assert set(found[0]) == {"id", "likelihood", "straightness", "error", "aligner", "text"}
    said = capsys.readouterr()
    assert "left out: empty" in said.err and str(out) in said.out


@pytest.mark.parametrize(
    ("line", "options", "says"),
    [
        ('{"id": "a"}', [], "text"),
        (None, ["--steps", "0"], "--steps must be from 1 to 256"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, line, options, says):
    source = tmp_path / "m.jsonl"
    source.write_text((line or json.dumps(shortest(1)[0].to_dict())) + "\n")
    assert main(["score", str(source), *options]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said and "\n" not in said
