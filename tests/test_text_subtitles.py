"""Subtitles: times, cues that can be read, and text that cannot break the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from tts_fm.text.subtitles import subtitles
from tts_fm.text.word_times import Word


@dataclass
class Piece:
    text: str
    start: float = 0.0
    seconds: float = 2.0
    words: list[Word] = field(default_factory=list)


def spoken(text: str, start: float = 0.0, pace: float = 0.4) -> Piece:
    bare = [w.strip(".,!?") for w in text.split() if any(c.isalnum() for c in w)]
    words = [Word(w, start + k * pace, start + (k + 1) * pace) for k, w in enumerate(bare)]
    return Piece(text, start, pace * len(words), words)


def test_srt():
    assert subtitles([spoken("Hello, you. Bye!", 3661.5)], "srt") == (
        "1\n01:01:01,500 --> 01:01:02,300\nHello, you.\n\n2\n01:01:02,300 --> 01:01:02,700\nBye!\n"
    )


def test_vtt_has_word_times_and_no_markup_of_the_text():
    assert subtitles([spoken("a <b> & c")], "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.200\na <00:00:00.400>&lt;b&gt; &amp; <00:00:00.800>c\n"
    )


def test_without_word_times_a_chunk_is_a_cue():
    text = subtitles([Piece("One two.", 0, 2), Piece("Three --> four", 2, 3)], "srt")
    assert "00:00:02,000 --> 00:00:05,000\nThree → four" in text and text.count(" --> ") == 2


def test_cues_are_short():
    text = subtitles([spoken("word " * 100 + "x" * 90, pace=0.2)], "srt")
    assert all(len(line) <= 42 or line == "x" * 90 for line in text.splitlines())
    assert len(re.findall("word", text)) == 100
    stamps = re.findall(r"\d\d:\d\d:\d\d,\d{3}", text)
    times = [sum(int(v) * f for v, f in zip(re.split("[:,]", t), (3600, 60, 1, 0.001), strict=True)) for t in stamps]
    assert times == sorted(times) and max(b - a for a, b in zip(times[::2], times[1::2], strict=True)) <= 6.001


def test_unknown_kind():
    with pytest.raises(ValueError, match="srt or vtt"):
        subtitles([], "ass")
