"""Manifests: what is written comes back, and every fault is named with its file and line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from properties import given, st

from tts_fm.data.manifest import Utterance, from_row, read_manifest, statistics, write_manifest
from tts_fm.errors import ModelError

ROW = {"id": "a_1", "audio": "x/a_1.wav", "text": "Hello there.", "speaker": "a", "seconds": 2.0}
UNITS = {"units": ["h", "a"], "unit_frames": [30, 40], "lead_frames": 5, "tail_frames": 5}


def lines(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "m.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows), "utf-8"
    )
    return path


def test_round_trip(tmp_path: Path):
    rows = [
        from_row(ROW | {"split": "test", "source": "made up", "x_note": [1, None]}),
        from_row(ROW | UNITS | {"id": "é 2", "lang": "de"}),
    ]
    path = tmp_path / "deep" / "m.jsonl"
    assert write_manifest(path, rows) == 2
    assert read_manifest(path) == rows
    assert rows[1].aligned and not rows[0].aligned
    assert json.loads(path.read_text("utf-8").splitlines()[0])["x_note"] == [1, None]
    assert rows[0].path(path.parent) == path.parent / "x" / "a_1.wav"
    assert Utterance(**(ROW | {"audio": "/abs.wav"})).path("/elsewhere") == Path("/abs.wav")


@given(st.text(min_size=1, max_size=30), st.floats(0.01, 1e4))
def test_any_text_comes_back(text: str, seconds: float):
    if not text.strip() or any("\ud800" <= char <= "\udfff" for char in text):
        return
    row = json.loads(json.dumps(ROW | {"text": text, "seconds": seconds}))
    assert from_row(json.loads(json.dumps(from_row(row).to_dict()))) == from_row(row)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "training"}, "train, valid, test"),
        ({"seconds": 0}, "above 0"),
        ({"seconds": "2"}, "seconds is '2'"),
        ({"seconds": True}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"seconds": math.inf}, "seconds"),
        ({"id": "../x"}, "no slash"),
        ({"id": ""}, "id is ''"),
        ({"id": 7}, "id is 7"),
        ({"text": "  "}, "text"),
        ({"speakr": "a"}, "did you mean 'speaker'"),
        ({"qqq": 1}, "x_"),
        ({"about": 3}, "about is 3"),
        ({"units": "ha"}, "list"),
        ({"unit_frames": [1]}, "without units"),
        (UNITS | {"unit_frames": [30]}, "1 numbers for 2 units"),
        (UNITS | {"unit_frames": [30, -1]}, "unit_frames is -1"),
        (UNITS | {"lead_frames": 500}, "the recording 2.00 s"),
        (UNITS | {"units": ["h", ""]}, "none of them empty"),
    ],
)
def test_wrong_fields(tmp_path: Path, change: dict, said: str):
    path = lines(tmp_path, ROW | {"id": "first"}, "", ROW | change)
    with pytest.raises(ValueError, match=said) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}:3: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "object, got list"),
        ("null", "object"),
        ('{"id": "a"}', "audio, text, speaker, seconds missing"),
        ("[" * 100_000, "nested|not JSON"),
    ],
)
def test_wrong_lines(tmp_path: Path, line: str, said: str):
    with pytest.raises(ValueError, match=said):
        read_manifest(lines(tmp_path, line))


def test_all_faults_are_shown_together(tmp_path: Path):
    path = lines(tmp_path, ROW, ROW, {"id": "c"}, ROW | {"id": "d", "duration": 1})
    with pytest.raises(ValueError) as error:
        read_manifest(path)
    told = str(error.value).splitlines()
    assert [t.split(":")[1] for t in told] == ["2", "3", "4"] and "already on line 1" in told[0]
    with pytest.raises(ValueError, match="'seconds' here, not 'duration'"):
        from_row({k: v for k, v in ROW.items() if k != "seconds"} | {"duration": 1})
    with pytest.raises(ValueError, match="and 30 more"):
        read_manifest(lines(tmp_path, *["x"] * 50))


def test_files(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot read"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="no utterances"):
        read_manifest(lines(tmp_path, ""))
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}\n')
    with pytest.raises(ValueError, match="latin.jsonl:1: not UTF-8"):
        read_manifest(tmp_path / "latin.jsonl")
    with pytest.raises(ValueError, match="m.jsonl:1: no audio file"):
        read_manifest(lines(tmp_path, ROW), audio=True)


def test_nothing_half_written(tmp_path: Path):
    good = from_row(ROW)
    with pytest.raises(ValueError, match="twice"):
        write_manifest(tmp_path / "m.jsonl", [good, good])
    assert list(tmp_path.iterdir()) == []


def test_statistics():
    rows = [
        from_row(
            ROW | {"id": str(i), "seconds": 1.0 + i, "split": "valid" if i == 4 else "train", "speaker": str(i % 2)}
        )
        for i in range(5)
    ]
    found = statistics(rows)
    assert set(found) == {"all", "train", "valid"}
    assert (found["all"].utterances, found["all"].speakers, found["all"].median, found["all"].longest) == (
        5,
        2,
        3.0,
        5.0,
    )
    assert found["all"].hours == pytest.approx(15 / 3600) and found["all"].characters_per_second == pytest.approx(
        60 / 15
    )
    assert found["train"].symbols == len(set(ROW["text"])) and "5 utterances" in found["all"].line()
