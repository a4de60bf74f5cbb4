"""Names and odd words, and subtitles that are dubbed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from tiny_model import tiny_tts_folder

from tts_fm.book.read import read_book
from tts_fm.book.words import noted_words
from tts_fm.cli.main import main

STORY = (
    "The Gryphon saw Dinah. When the Gryphon spoke, the Mock Turtle sighed. So the Mock Turtle sang, and Dinah's cat "
    "ran. The cat was Mr Brown's. “Yes,” said Dinah, “They know Xhosa.” They ran to "
    "Crowborough. The zwieback was old."
)


def test_names_are_found_with_their_first_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(STORY, "utf-8")
    found = {word.word: word for word in noted_words(read_book(tmp_path / "a.txt")) if word.kind == "name"}
    assert {"Gryphon", "Dinah", "Mock Turtle", "Xhosa", "Crowborough", "Brown"} == set(found)
    assert found["Dinah"].count == 3 and "The Gryphon saw Dinah" in found["Dinah"].place


def test_the_list_is_a_lexicon_to_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tts_fm.text.lexicon import read_lexicon

    (tmp_path / "a.txt").write_text(STORY, "utf-8")
    assert main(["words", str(tmp_path / "a.txt"), "-o", str(tmp_path / "w.tsv")]) == 0
    text = (tmp_path / "w.tsv").read_text("utf-8")
    assert "\n#Gryphon\t/" in text and not read_lexicon(tmp_path / "w.tsv")
    (tmp_path / "w.tsv").write_text(text.replace("#Gryphon", "Gryphon"), "utf-8")
    assert [e.word for e in read_lexicon(tmp_path / "w.tsv").entries] == ["Gryphon"]
    capsys.readouterr()
    assert main(["words", str(tmp_path / "a.txt"), "--json", "--min", "2"]) == 0
    assert {w["word"] for w in json.loads(capsys.readouterr().out)} == {"Gryphon", "Dinah", "Mock Turtle"}


CUES = """1
00:00:00,500 --> 00:00:02,500
Hello there.

2
00:00:03,000 --> 00:00:03,300
This is far too much to be said in so short a time.

3
00:00:03,400 --> 00:00:06,000
Yes.

4
00:00:20,000 --> 00:00:22,000
The end.
"""


def test_dubbing_begins_each_cue_when_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    monkeypatch.setenv("TTS_FM_MODEL", str(tiny_tts_folder(tmp_path / "model")))
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    (tmp_path / "film.srt").write_text(CUES, "utf-8")
    out = tmp_path / "film.mp3"
    assert main(["book", str(tmp_path / "film.srt"), "-o", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    first, long, third, last = facts["cues"]
    assert (first["start"], first["late"], last["start"]) == (0.5, 0.0, 20.0)
    assert long["speed"] == 1.6 and first["speed"] >= 1.0
    assert third["late"] > 0 and "too long" in captured.err  # what does not fit is named
    wave, rate = soundfile.read(out)
    assert abs(len(wave) / rate - facts["seconds"]) < 0.2
    assert abs(wave[: int(0.45 * rate)]).max() < 0.01 < abs(wave[int(20.0 * rate) :]).max()
    assert main(["book", str(tmp_path / "film.srt"), "-o", str(tmp_path / "x.epub"), "-q"]) == 2
