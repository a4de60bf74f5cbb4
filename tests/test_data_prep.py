"""Corpora made of tones in their real layouts become manifests; everything that must be counted or refused is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from corpora import libritts_clip, make_corpus, tone

from data_prep import libritts, ljspeech, make_libritts_tree, own_folder, shared, vctk
from tts_fm.data.manifest import read_manifest
from tts_fm.errors import ModelError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path)


def test_libritts(corpus: Path):
    assert shared.run(libritts.main, ["prepare", str(corpus), str(corpus / "m.jsonl"), "--jobs", "1"]) == 0
    found = read_manifest(corpus / "m.jsonl", audio=True)
    assert [u.split for u in found] == ["valid"] * 3 + ["test"] * 3 + ["train"] * 3
    assert [u.seconds for u in found[:3]] == [0.5, 1.5, 2.5] and {u.speaker for u in found} == {"19", "84", "61"}
    assert found[0].audio == "LibriTTS/dev-clean/84/7/84_7_000000_000000.wav" and found[0].text == "One two three."
    assert json.loads((corpus / "m.jsonl.stats.json").read_text())["splits"]["all"]["utterances"] == 9
    originals = libritts.prepare_libritts(corpus / "LibriTTS", corpus / "o.jsonl", ["dev-clean"], original=True, jobs=1)
    assert len(originals) == 3 and originals[0].text == "ONE TWO THREE."


def test_two_processes_find_the_same(corpus: Path, monkeypatch):
    monkeypatch.setattr(shared, "CHUNK", 2)
    one = libritts.prepare_libritts(corpus, corpus / "1.jsonl", jobs=1)
    assert libritts.prepare_libritts(corpus, corpus / "2.jsonl", jobs=2) == one


def test_bad_recordings_are_counted(corpus: Path, caplog):
    dev = corpus / "LibriTTS" / "dev-clean" / "84" / "7"
    (dev / "84_7_000009_000000.wav").write_bytes(b"")
    (dev / "84_7_000009_000000.normalized.txt").write_text("Empty.")
    (dev / "84_7_000009_000001.wav").write_bytes((dev / "84_7_000000_000000.wav").read_bytes()[:40])
    (dev / "84_7_000009_000001.normalized.txt").write_text("Damaged.")
    tone(dev / "84_7_000009_000002.wav")  # no text
    (dev / "84_7_000009_000003.normalized.txt").write_text("No audio.")
    tone(dev / "99_7_000009_000004.wav")  # of another speaker
    for number, sound in enumerate(
        ({"rate": 16_000}, {"seconds": 0.1}, {"seconds": 31.0}, {"level": 0.0}, {"text": "..."}, {"text": "word " * 50})
    ):
        libritts_clip(corpus, "dev-clean", 84, 100 + number, **sound)
    with pytest.raises(ValueError, match=r"11 of 20 utterances would be dropped, more than the 2.0% allowed") as error:
        libritts.prepare_libritts(corpus, corpus / "m.jsonl", jobs=1)
    for reason in (
        "dropped 2: unreadable audio",
        "1: no transcript",
        "1: transcript without audio",
        "1: in the folder of another speaker",
        "1: rate is not 24000 Hz",
        "1: shorter than 0.3 s",
        "1: longer than 30.0 s",
        "1: silent",
        "1: transcript without words",
        "1: more text than can be said",
    ):
        assert reason in str(error.value) and reason in caplog.text
    assert "84_7_000009_000002.wav" in str(error.value)
    assert not list(corpus.glob("m.jsonl*"))
    kept = libritts.prepare_libritts(corpus, corpus / "m.jsonl", jobs=1, most_dropped=0.6)
    assert len(kept) == 9 and json.loads((corpus / "m.jsonl.stats.json").read_text())["dropped"]["silent"] == 1


def test_missing_parts_and_wrong_folders(corpus: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="lacks train-other-500; it has dev-clean, test-clean, train-clean-100"):
        libritts.find(corpus, ["dev-clean", "train-other-500"])
    with pytest.raises(ValueError, match="no part 'dev_clean'"):
        libritts.find(corpus, ["dev_clean"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no part of LibriTTS"):
        libritts.find(tmp_path / "empty")
    assert shared.run(libritts.main, ["prepare", str(tmp_path / "empty"), str(tmp_path / "m.jsonl")]) == 2
    for module in (ljspeech, vctk):
        with pytest.raises(ValueError, match="give the folder"):
            module.find(tmp_path / "empty")


def test_double_ids_name_both_files(tmp_path: Path):
    twice = [shared.Candidate("a", f"{n}.wav", "s", "train", text="x") for n in (1, 2)]
    with pytest.raises(ValueError, match=r"'a' comes twice: 1.wav and 2.wav"):
        shared.prepare(twice, tmp_path / "m.jsonl")


def test_ljspeech(tmp_path: Path):
    home = tmp_path / "LJSpeech-1.1"
    for number in range(4):
        tone(home / "wavs" / f"LJ001-000{number}.wav", rate=22_050)
    lines = ['LJ001-0000|He said "1".|He said "one".', "LJ001-0001|A|B", "LJ001-0002|too few", "LJ009-0000|no|audio"]
    (home / "metadata.csv").write_text("\n".join(lines), "utf-8")
    candidates, dropped = ljspeech.find(tmp_path)
    assert [c.text for c in candidates] == ['He said "one".', "B"]
    assert dropped.reasons == {
        "line without three cells": [f"{home / 'metadata.csv'}:3"],
        "no transcript": [str(home / "wavs" / "LJ001-0003.wav")],
        "transcript without audio": [f"{home / 'metadata.csv'}:4: LJ009-0000.wav"],
    }
    assert len(ljspeech.prepare_ljspeech(home, tmp_path / "m.jsonl", jobs=1, most_dropped=0.9)) == 2


def test_vctk(tmp_path: Path):
    home = tmp_path / "VCTK-Corpus-0.92"
    for speaker in ("p225", "p300", "p315"):
        for number in (1, 2):
            stem = f"{speaker}_00{number}"
            for microphone in (1, 2):
                tone(home / "wav48_silence_trimmed" / speaker / f"{stem}_mic{microphone}.flac", rate=48_000)
            if speaker != "p315":
                (home / "txt" / speaker).mkdir(parents=True, exist_ok=True)
                (home / "txt" / speaker / f"{stem}.txt").write_text("Please call Stella.\n")
    found = vctk.prepare_vctk(tmp_path, tmp_path / "m.jsonl", valid_speakers=["p225"], jobs=1)
    assert [(u.id, u.split) for u in found] == [
        ("p225_001", "valid"),
        ("p225_002", "valid"),
        ("p300_001", "train"),
        ("p300_002", "train"),
    ]
    with pytest.raises(ValueError, match="p999"):
        vctk.find(tmp_path, valid_speakers=["p999"])


def test_own_folder(tmp_path: Path):
    home = tmp_path / "mine"
    for name in ("anna/a b", "anna/c", "bert/c"):
        tone(home / f"{name}.wav").with_suffix(".txt").write_text("Guten Tag, wie geht es?\n")
    (home / "README.txt").write_text("not a transcript")
    found = own_folder.prepare_own_folder(home, tmp_path / "m.jsonl", lang="de", jobs=1)
    assert [(u.id, u.speaker, u.lang) for u in found] == [
        ("anna-a b", "anna", "de"),
        ("anna-c", "anna", "de"),
        ("bert-c", "bert", "de"),
    ]
    (home / "l.csv").write_text('audio_file|text|speaker\nanna/c.wav|He said "no, | x\n', "utf-8")
    (home / "l.tsv").write_text("audio\ttext\tsplit\nanna/c.wav\ta, b\tvalid\nbert/c.wav\tc\t\n", "utf-8")
    (home / "l.jsonl").write_text('{"audio": "anna/c.wav", "text": "Hi", "id": "k", "speaker": "z"}\n', "utf-8")
    assert [(c.text, c.speaker.strip()) for c in own_folder.find(home, home / "l.csv")[0]] == [('He said "no, ', "x")]
    assert next((c.text, c.split) for c in own_folder.find(home, "l.tsv")[0]) == ("a, b", "valid")
    assert own_folder.find(home, "l.jsonl")[0][0].id == "k"
    (home / "bad.csv").write_text(
        "audio,text,split\nanna/c.wav,hi,\nanna/none.wav,hi,\nanna/c.wav,,\nanna/c.wav,x,dev\nanna/c.wav\n", "utf-8"
    )
    with pytest.raises(ValueError) as error:
        own_folder.find(home, "bad.csv")
    assert [line.split(": ")[0].rsplit(":")[-1] for line in str(error.value).splitlines()] == ["3", "4", "5", "6"]
    (home / "head.csv").write_text("name;words\na;b\n")
    with pytest.raises(ValueError, match="head.csv:1: the header"):
        own_folder.find(home, "head.csv")
    with pytest.raises(ModelError, match="no such list"):
        own_folder.find(home, "none.csv")
    assert shared.run(own_folder.main, ["download"]) == 4


def test_tree_in_libritts_layout(tmp_path: Path):
    rows = [
        {
            "id": f"{s}{i}",
            "audio": str(tone(tmp_path / f"{s}{i}.wav", rate=16_000)),
            "text": f"Clip {i}.",
            "speaker": s,
            "seconds": 1.0,
        }
        for s in "abc"
        for i in range(12)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert make_libritts_tree.make_tree(tmp_path / "in.jsonl", tmp_path, speakers=2, clips=24) == 24
    found = libritts.prepare_libritts(tmp_path, tmp_path / "m.jsonl", jobs=1)
    assert (
        len(found) == 24
        and len({u.speaker for u in found}) == 2
        and {u.split for u in found} == {"train", "valid", "test"}
    )
    with pytest.raises(ValueError, match="exists already"):
        make_libritts_tree.make_tree(tmp_path / "in.jsonl", tmp_path, 2, 4)
    with pytest.raises(ValueError, match="3 speakers, 9 were"):
        make_libritts_tree.make_tree(tmp_path / "in.jsonl", tmp_path / "other", 9, 4)


def test_a_ray_cluster_finds_the_same(corpus: Path, ray_cluster, monkeypatch):
    monkeypatch.setattr(shared, "CHUNK", 2)
    here = libritts.prepare_libritts(corpus, corpus / "1.jsonl", jobs=1)
    assert libritts.prepare_libritts(corpus, corpus / "2.jsonl", engine="ray") == here and len(here) == 9
    assert (corpus / "2.jsonl").read_bytes() == (corpus / "1.jsonl").read_bytes()


def test_ray_is_optional(corpus: Path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert shared.run(libritts.main, ["prepare", str(corpus), str(corpus / "m.jsonl"), "--engine", "ray"]) == 5
    assert "pip install ray" in caplog.text
