"""A text that arrives in pieces: spoken sentence by sentence, while its writer still writes."""

from __future__ import annotations

import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_model import tiny_tts_folder

from tts_fm.cli.say import arriving
from tts_fm.synthesis import TTS
from tts_fm.text.chunks import Phrases, phrases
from tts_fm.voices.stored import Voice

TEXT = 'Dr. Smith paid $3.50 for it. "Really?" she said. Yes!\nIt was\nso, e.g. on Monday. The end'
WHOLE = [
    "Dr. Smith paid $3.50 for it. ",
    '"Really?" she said. ',
    "Yes!\n",
    "It was\n",
    "so, e.g. on Monday. ",
    "The end",
]


@pytest.fixture(scope="module")
def tts(tmp_path_factory) -> TTS:
    return TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def voice() -> Voice:
    t = np.arange(24_000 * 2) / 24_000
    return Voice("hum", (0.1 * np.sin(2 * np.pi * 150 * t)).astype(np.float32), None, "en-us")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_sentences_are_found_however_the_text_is_cut(size):
    found = [p.text for p in phrases(TEXT[at : at + size] for at in range(0, len(TEXT), size))]
    assert "".join(found) == TEXT
    if size == 1:
        assert found == WHOLE


def test_a_sentence_is_given_out_before_the_next_is_complete():
    asked = []

    def tokens():
        for token in ("One is", " here. ", "Two", " is here.\n", "Three ", "comes"):
            asked.append(token)
            yield token

    given = phrases(tokens())
    assert next(given) == ("One is here. ", 0) and asked[-1] == "Two"
    assert next(given) == ("Two is here.\n", 0) and asked[-1] == " is here.\n"
    assert list(given) == [("Three comes", 0)]


def test_a_sentence_without_an_end_is_not_waited_for():
    found = [p.text for p in phrases(f"word{n} " for n in range(1000))]
    assert len(found) > 3 and "".join(found).split() == [f"word{n}" for n in range(1000)]


def test_pieces_give_the_samples_of_the_whole_where_phrases_are_cut_alike(tts, voice):
    text = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background."
    whole = tts.say(text, voice, chunk_seconds=4.0)  # a chunk for each sentence
    chunks = list(tts.stream(iter(text), voice, chunk_seconds=4.0))
    assert [c.index for c in chunks] == [0, 1] and len(whole.chunks) == 2
    np.testing.assert_array_equal(np.concatenate([c.wave for c in chunks]), whole.wave)
    assert chunks[1].start == pytest.approx(whole.chunks[1].start)


def test_a_paragraph_has_its_pause_also_in_pieces(tts, voice):
    text = "# The canoe\n\nThe birch canoe slid on the planks.\n\nGlue the sheet to the background."
    whole = tts.say(text, voice)
    chunks = list(tts.stream(iter(text), voice))
    assert [c.pause for c in chunks] == [c.pause for c in whole.chunks] and chunks[1].pause > chunks[2].pause > 0
    np.testing.assert_array_equal(np.concatenate([c.wave for c in chunks]), whole.wave)


def test_marks_without_end_are_not_kept():
    cut = Phrases()
    assert not any(cut.add("... ! ") for _ in range(2000)) and len(cut._held) < 3000
    assert cut.add("Hello.\n")[0].text.endswith("Hello.\n") and cut.end() == []


def test_what_cannot_be_said_in_pieces(tts, voice):
    with pytest.raises(ValueError, match="duration"):
        list(tts.stream(iter(["Hello."]), voice, duration=2.0))
    with pytest.raises(ValueError, match="empty"):
        list(tts.stream(iter(["...", " \n"]), voice))


def test_an_input_that_is_all_there_is_one_text_and_a_slow_one_comes_in_pieces():
    reader, writer = os.pipe()
    with open(reader, "rb") as source:
        os.write(writer, b"All at once.")
        os.close(writer)
        assert arriving(source) == (b"All at once.", None)
    reader, writer = os.pipe()
    go = threading.Event()

    def write():
        os.write(writer, "Café one. ".encode()[:4])  # half of the letter
        assert go.wait(20)
        os.write(writer, "Café one. ".encode()[4:] + b"Two.")
        os.close(writer)

    threading.Thread(target=write).start()
    with open(reader, "rb") as source:
        head, pieces = arriving(source)
        assert head == b"" and next(pieces) == "Caf"  # half a letter waits for its other half
        go.set()
        assert "".join(pieces) == "é one. Two."


def test_say_speaks_while_its_input_is_open(tts, voice, monkeypatch, tmp_path):
    """The first sentence is in the pipe before the second is written."""
    from tts_fm.cli import main as cli

    monkeypatch.setattr("tts_fm.cli.say.load_tts", lambda args: tts)
    monkeypatch.setattr("tts_fm.voices.stored.get_voice", lambda *_: voice)
    (text, to_say), (sound, from_say) = os.pipe(), os.pipe()
    stdin, stdout = open(text, "rb"), open(from_say, "wb")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stdout, isatty=lambda: False, flush=stdout.flush))
    said = threading.Thread(target=lambda: (cli.main(["say", "-", "-o", "-"]), stdout.close()))
    said.start()
    os.write(to_say, b"The first is here. And")
    with open(sound, "rb") as heard:
        first = heard.read(8000)
        assert first[:4] == b"RIFF" and len(first) == 8000
        os.write(to_say, b" the second.")
        os.close(to_say)
        rest = heard.read()
    said.join(30)
    stdin.close()
    assert len(rest) > 8000
