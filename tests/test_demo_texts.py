"""The demo's texts and pictures: scripts, lists, command lines, waveforms and mels."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from demo_toys import speech_like

from tts_fm.demo.commands import OWN, command_line, edit_line, parse_script, read_turns
from tts_fm.demo.figures import MARK, colours, speech_picture, steps_picture, table
from tts_fm.settings import Settings
from tts_fm.text.word_times import Word


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
    ("a.txt", "", "nothing to say"),
    ("a.exe", "x", "a list is a"),
    ("a.txt", b"\xff\xfe\x00", "UTF-8"),
    ("a.jsonl", "{\n[]", "line 1: .*\nline 2: "),
    ("a.jsonl", "[" * 100_000, "line 1"),
    ("a.csv", "id,words\n1,x", "column text"),
    ("a.csv", 'text\n"open', "cannot be read"),
    ("a.csv", "text,text\na", "no text"),
    ("a.tsv", "text\tvoice\nx\teve", "'eve'"),
    ("a.jsonl", '{"text": "x", "ref_audio": "/etc/passwd"}', "ref_audio cannot be used"),
    ("a.jsonl", '{"text": 5}', "no text"),
    ("a.jsonl", '{"text": "x", "id": "../../x"}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": "CON"}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": "nul.txt"}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": ["a"]}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": "A"}\n{"text": "x", "id": "a"}', "also that of line 1"),
    ("a.jsonl", '{"text": "x", "voice": ["ann"]}', "there is no voice"),
    ("a.txt", "x\n" * 6, "6 lines"),
    ("a.txt", "x" * 201, "201 characters"),
]


@pytest.mark.parametrize(("name", "content", "words"), LISTS)
def test_bad_lists_are_refused_with_their_lines(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        read_turns(str(path), ["ann"], 5, 200)


def test_good_lists(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,text,voice\none,"Hello, you",ann\n,Bye,\n', "utf-8")
    assert [(t.id, t.voice, t.text) for t in read_turns(str(path), ["ann"], 5, 200)] == [
        ("one", "ann", "Hello, you"),
        ("000002", None, "Bye"),
    ]


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
