"""Subtitles with word times: SRT for players, WebVTT with a time before every word (karaoke).

A cue is a line or two that can be read at once: it ends with a sentence, before a pause, or when it is full. Works on
anything that has the fields of synthesis.Chunk; where a model gives no word times, a whole chunk is one cue. Does not
know audio.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tts_fm.text.word_times import Word

KINDS = ("srt", "vtt")
LINE, LINES = 42, 2  # characters in a line and lines in a cue, the usual limits for subtitles
LONGEST = 6.0  # seconds of a cue
GAP = 0.7  # seconds of silence that end a cue
SHORTEST = 0.001  # seconds; players drop cues that end where they start


class Timed(Protocol):
    """What is needed of a chunk."""

    text: str
    start: float

    @property
    def words(self) -> list[Word]: ...
    @property
    def seconds(self) -> float: ...


def subtitles(chunks: Iterable[Timed], kind: str) -> str:
    """The text of a .srt or .vtt file. ValueError for another kind."""
    if kind not in KINDS:
        raise ValueError(f"subtitles are {' or '.join(KINDS)}, got {kind!r}")
    cues = [cue for chunk in chunks for cue in cues_of(chunk)]
    if kind == "srt":
        blocks = [f"{n}\n{_time(c[0].start, ',')} --> {_end(c, ',')}\n{_srt_text(c)}\n" for n, c in enumerate(cues, 1)]
        return "\n".join(blocks)
    return "\n".join(["WEBVTT\n", *(f"{_time(c[0].start, '.')} --> {_end(c, '.')}\n{_vtt_text(c)}\n" for c in cues)])


def cues_of(chunk: Timed) -> list[list[Word]]:
    """The words of a chunk, with the punctuation they were written with, in cues."""
    words = _written(chunk)
    cues: list[list[Word]] = []
    for word in words:
        if cues and not _is_full(cues[-1], word):
            cues[-1].append(word)
        else:
            cues.append([word])
    return cues


def _written(chunk: Timed) -> list[Word]:
    """Word times carry bare words; the chunk's text has them with their marks, in the same order."""
    if not chunk.words:
        return [Word(chunk.text, chunk.start, chunk.start + chunk.seconds)] if chunk.text.strip() else []
    shown: list[str] = []
    for token in chunk.text.split():
        if any(char.isalnum() for char in token):
            shown.append(token)
        elif shown:
            shown[-1] += f" {token}"  # a dash between words
    if len(shown) != len(chunk.words):
        return list(chunk.words)
    return [Word(text, word.start, word.end) for text, word in zip(shown, chunk.words, strict=True)]


def _is_full(cue: Sequence[Word], word: Word) -> bool:
    last = cue[-1]
    return (
        last.text.rstrip("\"')”’").endswith((".", "!", "?", "…"))
        or word.start - last.end > GAP
        or word.end - cue[0].start > LONGEST
        or len(_lines([w.text for w in [*cue, word]])) > LINES
    )


def _lines(words: Sequence[str]) -> list[str]:
    """Words in lines of at most LINE characters (a longer word has a line of its own)."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _srt_text(cue: Sequence[Word]) -> str:
    return "\n".join(_lines([" ".join(word.text.split()).replace("-->", "→") for word in cue]))


def _vtt_text(cue: Sequence[Word]) -> str:
    """Words with the time at which each is spoken; the first needs none. &, < and > would be markup."""
    safe = [" ".join(w.text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for w in cue]
    return " ".join(
        [safe[0], *(f"<{_time(word.start, '.')}>{text}" for word, text in zip(cue[1:], safe[1:], strict=True))]
    )


def _end(cue: Sequence[Word], point: str) -> str:
    return _time(max(cue[-1].end, cue[0].start + SHORTEST), point)


def _time(seconds: float, point: str) -> str:
    """01:02:03,456"""
    total = round(max(0.0, seconds) * 1000)
    return f"{total // 3_600_000:02d}:{total // 60_000 % 60:02d}:{total // 1000 % 60:02d}{point}{total % 1000:03d}"
