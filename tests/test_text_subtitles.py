"""Subtitles: times, cues that can be read, and text that cannot break the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from tts_fm.text.spell import cardinal
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


def test_words_as_they_are_written():
    """Times are those of the words that are heard; the marks, numbers and titles are those of the text."""
    text = "# News\n\nDr. Li paid $5 to [Ms. Oh](/oʊ/).<break 1s> It was **12:30** — in Oct. 1999!"
    heard = [
        spoken("News.", 0.0),
        spoken("Doctor Li paid five dollars to Miz Oh.", 1.0),
        spoken("It was twelve thirty, in October nineteen ninety-nine!", 5.0),
    ]
    lines = [line for line in subtitles(heard, "srt", text).splitlines() if line and not line.isdigit()]
    assert lines[1::2] == ["News", "Dr. Li paid $5 to Ms. Oh.", "It was 12:30 — in Oct. 1999!"]
    assert lines[::2] == [
        "00:00:00,000 --> 00:00:00,400",
        "00:00:01,000 --> 00:00:04,200",
        "00:00:05,000 --> 00:00:08,200",
    ]
    karaoke = subtitles(heard, "vtt", text)
    assert "<00:00:02.200>$5 <00:00:03.000>to" in karaoke and "<00:00:05.800>12:30 — <00:00:06.600>in" in karaoke
    assert "Doctor Li paid five" in subtitles(heard, "srt")


def test_written_words_stay_with_their_chunk():
    """A text that is cut into many chunks loses no word, and drifts nowhere."""
    numbers = ["7", "15", "1865", "2,300"]
    said = ["seven", "fifteen", "eighteen sixty-five", "two thousand three hundred"]
    text = " ".join(f"Then number {numbers[n % 4]} of the {n} came, and the last one went." for n in range(60))
    chunks = [spoken(f"Then number {said[n % 4]} of the {cardinal(n)} came, and the last one went.", 10.0 * n)
              for n in range(60)]  # fmt: skip
    found = subtitles(chunks, "srt", text)
    blocks = [block.split("\n", 2) for block in found.strip().split("\n\n")]
    assert " ".join(block[2].replace("\n", " ") for block in blocks) == text
    starts = {block[1].split(" --> ")[0]: block[2] for block in blocks}
    for n in range(60):
        stamp = f"00:{10 * n // 60:02d}:{10 * n % 60:02d},000"
        assert starts[stamp].startswith(f"Then number {numbers[n % 4]}"), n


def test_a_cue_is_not_cut_inside_a_name():
    text = "We met Dr. Smith and Mr. J. R. Brown at 5 p.m. today. X" + "x" * 30 + " yyyyyyyyy zzzzzzzzzzzzzz" * 2
    for written in (None, text + " a Dr. Smithers."):
        found = subtitles([spoken(text + " a Dr. Smithers.", pace=0.1)], "srt", written)
        cues = [block.split("\n", 2)[2].replace("\n", " ") for block in found.strip().split("\n\n")]
        assert cues[0] == "We met Dr. Smith and Mr. J. R. Brown at 5 p.m. today."
        assert not any(cue.endswith("Dr.") for cue in cues)


def test_without_word_times_a_written_chunk_is_a_cue():
    found = subtitles([Piece("It is five.", 0, 2), Piece("Bye now.", 2, 3)], "srt", "It is 5. Bye now.")
    assert "It is 5.\n" in found and "00:00:02,000 --> 00:00:05,000\nBye now." in found


def test_unknown_kind():
    with pytest.raises(ValueError, match="srt or vtt"):
        subtitles([], "ass")
