"""The demo's texts and pictures: scripts, lists, command lines, waveforms and mels."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from demo_toys import speech_like

from tts_fm.demo.commands import OWN, command_line, edit_line, parse_script, read_items, text_of
from tts_fm.demo.figures import MARK, colours, speech_picture, steps_picture, table
from tts_fm.settings import Settings
from tts_fm.text.word_times import Word
from tts_fm.voices import stored as voices


def test_script_lines_keep_their_voice():
    turns = parse_script("[ann] Hello.\nMore.\n\n [bob]Bye.\n[word](/w/) stays.", ["ann", "bob"])
    assert [(t.voice, t.text) for t in turns] == [
        ("ann", "Hello."),
        ("ann", "More."),
        ("bob", "Bye."),
        ("bob", "[word](/w/) stays."),
    ]
    assert turns[2].where == "line 4"
    with pytest.raises(ValueError, match="line 1: there is no voice 'eve'.*\nline 2: .*'dan'"):
        parse_script("[eve] a\n[dan] b", ["ann"])
    with pytest.raises(ValueError, match="empty"):
        parse_script(" \n", [])


LISTS = [
    ("a.txt", "", "nothing in the list"),
    ("a.exe", "x", "a list is a"),
    ("a.txt", b"x\xff\x00", "UTF-8"),
    ("a.jsonl", "{\n[]", ":1: .*\n.*:2: "),
    ("a.csv", "id,words\n1,x", "'text' among them"),
    ("a.tsv", "text\tvoice\nx\teve", "'eve'"),
    ("a.jsonl", '{"text": "x", "ref_audio": "/etc/passwd"}', "'/etc/passwd', and paths are not accepted"),
    ("a.jsonl", '{"text": "x", "voice": "../eve"}', "'../eve', and paths are not accepted"),
    ("a.jsonl", '{"text": "x", "id": "../../x"}', "cannot be a file name"),
    ("a.txt", "x\n" * 6, "6 lines"),
    ("a.txt", "x" * 201, "201 characters"),
    ("a.txt", "!\n" * 14, "and 2 more"),
]


@pytest.mark.parametrize(("name", "content", "words"), LISTS)
def test_bad_lists_are_refused_with_their_lines(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words) as caught:
        read_items(str(path), Settings(), 5, 200)
    assert str(tmp_path) not in str(caught.value)


def test_good_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(voices, "catalogue", lambda: {"ann": (tmp_path, {})})
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid;text;voice;speed\none;"Hello; you";ann;2\n;Bye;;\n', "utf-8")
    items = read_items(str(path), Settings(seed=4), 5, 200)
    assert [(i.id, i.parts[0].voice, i.parts[0].text, i.settings.speed, i.settings.seed) for i in items] == [
        ("one", "ann", "Hello; you", 2.0, 4),
        ("000003", None, "Bye", 1.0, 4),
    ]


def test_a_text_comes_from_a_file(tmp_path):
    for name, content in (("a.txt", "One  day.\n\nIt rained."), ("a.html", "<p>One day.</p><p>It <b>rained</b>.</p>")):
        (tmp_path / name).write_text(content, "utf-8")
        assert text_of(str(tmp_path / name), 100) == "One day.\n\nIt rained."
    with pytest.raises(ValueError, match="the file has 20 characters, this page takes 10: the page Book"):
        text_of(str(tmp_path / "a.txt"), 10)
    (tmp_path / "b.txt").write_bytes(b"\x00\x01\x02" * 40)
    with pytest.raises(ValueError):
        text_of(str(tmp_path / "b.txt"), 100)


def test_pictures():
    ramp = np.linspace(-12, 4, 50)[:, None].repeat(100, 1)
    light = colours(ramp).astype(int).sum(-1)[0]
    assert (np.diff(light) >= 0).all()  # louder is brighter
    low = np.full((10, 100), -12.0)
    low[:, :10] = 2
    assert colours(low)[-1, 0].sum() > colours(low)[0, 0].sum()  # low frequencies at the bottom
    picture = speech_picture(speech_like(2), low, [Word("hello", 0.1, 0.5), Word("x" * 200, 0.6, 0.7)])
    assert picture.size == (800, 350)
    # the second row of pixels, above the wave
    marked = np.asarray(speech_picture(speech_like(2), low, marks=[(0.5, 1.0)]))[1]
    assert (marked[[150, 450]] == 255).all() and (marked[300] == MARK).all()
    assert speech_picture(np.zeros(0, np.float32), np.zeros((0, 100))).size == (800, 350)
    assert steps_picture([low] * 4, list("abcd")).size[0] == 1000
    html = table("a<b", ["<i>"], [["<script>", 1]])
    assert "<script>" not in html and "&lt;script&gt;" in html and 'scope="col"' in html
    assert table("x", ["a"], []) == ""


def shell_words(line: str) -> list[str]:
    """What a shell makes of a line, without `tts-fm`."""
    show = f"{sys.executable} -c 'import sys,json;print(json.dumps(sys.argv[1:]))'"
    return json.loads(subprocess.check_output(["sh", "-c", line.replace("tts-fm", show, 1)]))


def test_command_lines_round_trip_through_the_shell():
    text = "It's \"five\" $(o'clock); `ls` & -n\nnext"
    argv = shell_words(
        command_line(
            text, OWN, Settings(steps=7, cfg=0.0, seed=5, method="heun", speed=1.25, lang="en-gb"), "what I said"
        )
    )
    assert (
        argv[:2] == ["say", text]
        and argv[argv.index("--cfg") + 1] == "0"
        and argv[argv.index("--ref-text") + 1] == "what I said"
    )
    assert command_line("-5 degrees", "ann", Settings(steps=2, cfg=1.0)).endswith("-o speech.wav -- '-5 degrees'")
    argv = shell_words(edit_line("It's -5.", "-6, it's", Settings(steps=2, cfg=1.0)))
    assert argv[:4] == ["edit", "my-recording.wav", "--text", "It's -5."] and argv[4] == "--new=-6, it's"
