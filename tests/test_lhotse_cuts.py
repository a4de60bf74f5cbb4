"""Manifests become lhotse CutSets and come back unchanged; cuts of other origin are taken, cut out or counted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from corpora import make_corpus, tone

from data_prep import lhotse_cuts, libritts, shared
from tts_fm.data.manifest import read_manifest, write_manifest

lhotse = pytest.importorskip("lhotse")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Nine utterances, the first aligned and with a note of its own."""
    found = libritts.prepare_libritts(make_corpus(tmp_path), tmp_path / "m.jsonl", jobs=1)
    found = read_manifest(tmp_path / "m.jsonl")
    times = {"units": ("w", "ʌ", "n"), "unit_frames": (4, 0.5, 7.5), "lead_frames": 3.0, "tail_frames": 5.0}
    write_manifest(tmp_path / "m.jsonl", [dataclasses.replace(found[0], about={"x_note": 1}, **times), *found[1:]])
    return tmp_path / "m.jsonl"


def test_there_and_back(manifest: Path, tmp_path: Path):
    cuts, again = tmp_path / "cuts.jsonl.gz", tmp_path / "again.jsonl"
    assert shared.run(lhotse_cuts.main, ["export", str(manifest), str(cuts)]) == 0
    assert shared.run(lhotse_cuts.main, ["import", str(cuts), str(again)]) == 0
    assert again.read_text() == manifest.read_text() and not list(tmp_path.glob(".part*"))
    first = next(iter(lhotse.CutSet.from_file(cuts)))  # as lhotse sees it
    assert (
        first.supervisions[0].text == "One two three."
        and first.duration == 0.5
        and first.recording.sampling_rate == 24_000
    )
    assert [(a.symbol, round(a.start, 4)) for a in first.supervisions[0].alignment["phone"]] == [
        ("w", 0.075),
        ("ʌ", 0.175),
        ("n", 0.1875),
    ]
    assert first.load_audio().shape == (1, 12_000)


def foreign(
    path: Path, name: str, start: float = 0.0, seconds: float = 2.0, alignment: dict | None = None, **said
) -> dict:
    """A line of a CutSet by the documented form, as other programs write it."""
    supervision = {
        "id": name,
        "recording_id": "r",
        "start": 0.0,
        "duration": seconds,
        "channel": 0,
        "text": "Good day.",
        "language": "English",
        "speaker": "s",
        "custom": {"normalized_text": "good  day"},
    } | said
    supervision |= {"alignment": alignment} if alignment else {}
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": str(path)}],
        "sampling_rate": 24_000,
        "num_samples": 48_000,
        "duration": 2.0,
    }
    return {"id": name, "start": start, "duration": seconds, "channel": 0, "supervisions": [supervision],
    "recording": recording,
            "type": "MonoCut"}  # fmt: skip


def test_cuts_of_others(tmp_path: Path, caplog):
    path, cuts = tone(tmp_path / "r.wav", seconds=2.0), tmp_path / "cuts.jsonl"
    rows = [
        foreign(path, "whole", alignment={"phone": [["a", 0.1, 0.4, None], ["b", 0.6, 1.0, None]]}),
        foreign(path, "a/piece", start=0.5, seconds=1.0),
        foreign(path, "mute", text=None),
        foreign(path, "many") | {"supervisions": 2 * foreign(path, "x")["supervisions"]},
    ]
    cuts.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"3 of 4 .*\n(.*\n)*.*part of a recording"):
        lhotse_cuts.import_cuts(cuts, tmp_path / "m.jsonl")
    found = lhotse_cuts.import_cuts(
        cuts, tmp_path / "m.jsonl", "normalized_text", audio=tmp_path / "pieces", most_dropped=0.5
    )
    assert "dropped 1: several supervisions (many)" in caplog.text
    assert [(u.id, u.text, u.lang, u.seconds) for u in found] == [
        ("whole", "good day", "en-us", 2.0), ("a-piece", "good day", "en-us", 1.0),
        ("mute", "good day", "en-us", 2.0)]  # fmt: skip
    assert found[0].units == ("a", "b") and found[0].unit_frames == (500, 1000)
    assert (found[0].lead_frames, found[0].tail_frames, found[0].frame_seconds) == (100, 400, 0.001)
    read_manifest(tmp_path / "m.jsonl", audio=True)
    (tmp_path / "bad.jsonl").write_text("{}\n")
    assert shared.run(lhotse_cuts.main, ["import", str(tmp_path / "bad.jsonl"), str(tmp_path / "n.jsonl")]) == 2
    assert shared.run(lhotse_cuts.main, ["import", str(tmp_path / "none.jsonl"), str(tmp_path / "n.jsonl")]) == 4
    assert shared.run(lhotse_cuts.main, ["export", str(tmp_path / "m.jsonl"), str(tmp_path / "cuts.txt")]) == 2
