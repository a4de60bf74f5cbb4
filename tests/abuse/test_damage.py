"""Every file that somebody may edit, damaged; and records of batches that hold what no program should have written. The
whole of it: make abuse, surroundings.py.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import surroundings
import world as worlds

from tts_fm.batch.journal import Results
from tts_fm.cli import main as cli

PLACES = 12
SLOW = {"prompt.flac", "model: config"}  # a tenth of a second each and more
NAMES = ("voices.json", "voice.json", "adapter", "prompt.flac", "model: config", "model: vocab", "model: durations",
         "model: vocoder", "model: weights", "lexicon", "cast", "book", "script", "subtitles", "list: jsonl",
         "list: csv", "list: toml", "list: txt", "manifest", "results", "API key", "training state")  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return worlds.make_world(tmp_path_factory.mktemp("world") / "w")


def test_every_kind_is_here(world, tmp_path) -> None:
    assert set(surroundings.kinds(world, tmp_path)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_damage(world, tmp_path, monkeypatch, name) -> None:
    monkeypatch.setenv("TTS_FM_HOME", str(world / "home"))
    kind = surroundings.kinds(world, tmp_path)[name]
    ends, faults = surroundings.damage(kind, world, 4 if name in SLOW else PLACES, 1)
    assert ends and not faults


def test_surroundings_of_a_real_process(world, tmp_path) -> None:
    """One verb in every case; the others: make abuse."""
    for case, ends, faults in surroundings.deprived(world, tmp_path / "out", "voices"):
        assert not faults, case
        assert set(ends) <= ({"2"} if case == "stdout full" else {"0"}), case


BAD_LINES = {
    "deep": b"[" * 100_000,
    "NaN": b'{"id": "x", "status": "ok", "seconds": NaN}',
    "infinite": b'{"id": "x", "status": "ok", "seconds": 1e999}',
    "lone surrogate": b'{"id": "x", "error": "\\ud800"}',
    "400 digits and more": b'{"id": "x", "seed": ' + b"9" * 5000 + b"}",
    "no text": b"\xff\xfe{}",
    "a list": b"[1]",
    "no id": b'{"id": 3}',
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_damaged_line_of_a_record_is_named_and_kept_aside(tmp_path, caplog, line) -> None:
    good = b'{"id": "a", "status": "ok"}\n'
    (tmp_path / "results.jsonl").write_bytes(good + line + b"\n" + good.replace(b'"a"', b'"b"'))
    with caplog.at_level(logging.WARNING):
        results = Results(tmp_path)
    assert set(results.records) == {"a", "b"} and "1 damaged lines are kept in" in caplog.text
    results.close(["a", "b"])
    assert [json.loads(row)["id"] for row in (tmp_path / "results.jsonl").read_text().splitlines()] == ["a", "b"]
    assert (tmp_path / "results.damaged.txt").read_bytes() == line + b"\n"


def test_a_record_that_is_a_fifo_or_a_folder(tmp_path, world, capsys) -> None:
    argv = ["batch", f"{world}/list.txt", "-o", str(tmp_path), "-m", f"{world}/model"]
    os.mkfifo(tmp_path / "results.jsonl")
    assert cli.main(argv) == 2 and "is no regular file" in capsys.readouterr().err
    (tmp_path / "results.jsonl").unlink()
    (tmp_path / "results.jsonl").mkdir()
    assert cli.main(argv) == 2 and "cannot write" in capsys.readouterr().err
    (tmp_path / "results.jsonl").rmdir()
    os.mkfifo(tmp_path / "results.1-of-2.jsonl")  # of another shard: it is not waited for
    Results(tmp_path).close([])


@pytest.mark.parametrize("digits", [400, 5000])
def test_integers_of_400_digits(world, tmp_path, capsys, digits) -> None:
    number = "9" * digits
    lists = {
        "a.jsonl": f'{{"id": "a", "text": "x", "seed": {number}}}\n',
        "a.csv": f"id,text,seed\na,x,{number}\n",
        "a.toml": f'[[item]]\nid = "a"\ntext = "x"\nseed = {number}\n',
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        assert cli.main(["batch", f"{tmp_path}/{name}", "-o", f"{tmp_path}/o", "-m", f"{world}/model"]) == 2
        told = capsys.readouterr().err
        assert worlds.BUG not in told and len(told) < 1500
    row = {"id": "a", "audio": "me.wav", "text": "x", "speaker": "s", "split": "train"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row)[:-1] + f', "seconds": {number}}}\n')
    assert cli.main(["align", f"{tmp_path}/m.jsonl"]) == 2 and worlds.BUG not in capsys.readouterr().err
    for option in ("--seed", "--steps", "--speed"):
        assert cli.main(["say", "x", option, number, "-m", f"{world}/model", "-o", f"{tmp_path}/x.wav"]) == 2
        assert worlds.BUG not in capsys.readouterr().err
    assert not (tmp_path / "x.wav").exists()
