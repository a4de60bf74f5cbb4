"""Subtitles with word times: SRT for players, WebVTT with a time before every word (karaoke).

A cue is a line or two that can be read at once: it ends with a sentence, before a pause, or when it is full. Works on
anything that has the fields of synthesis.Chunk; where a model gives no word times, a whole chunk is one cue. Does not
know audio.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple, Protocol

from tts_fm.text.markup import parse_markup, plain_text
from tts_fm.text.plain import read_plain
from tts_fm.text.split import sentences
from tts_fm.text.unmark import unmark
from tts_fm.text.word_times import Word, bare, spoken_form, written_times

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


class Shown(NamedTuple):
    """A word in a cue."""

    word: Word
    ends: bool  # whether a sentence, a heading or a paragraph ends behind it


def subtitles(chunks: Iterable[Timed], kind: str, written: str | None = None) -> str:
    """The text of a .srt or .vtt file. written: the text that the chunks speak, whose words are shown as they stand in
    it ("Dr. Li paid $5"); None: the words as they are spoken. ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"subtitles are {' or '.join(KINDS)}, got {kind!r}")
    chunks = list(chunks)
    shown = _as_spoken(chunks) if written is None else _as_written(chunks, written)
    cues = [cue for words in shown for cue in cues_of(words)]
    if kind == "srt":
        blocks = [f"{n}\n{_time(c[0].start, ',')} --> {_end(c, ',')}\n{_srt_text(c)}\n" for n, c in enumerate(cues, 1)]
        return "\n".join(blocks)
    return "\n".join(["WEBVTT\n", *(f"{_time(c[0].start, '.')} --> {_end(c, '.')}\n{_vtt_text(c)}\n" for c in cues)])


def cues_of(words: Iterable[Shown]) -> list[list[Word]]:
    """The words of a chunk in cues; "Dr." stays with the name behind it."""
    cues: list[list[Shown]] = []
    for shown in words:
        if not cues or cues[-1][-1].ends or _is_full([each.word for each in cues[-1]], shown.word):
            before = cues[-1] if cues else []
            bound = len(before) > 1 and not before[-1].ends and before[-1].word.text.endswith(".")
            cues.append([before.pop(), shown] if bound else [shown])
        else:
            cues[-1].append(shown)
    return [[shown.word for shown in cue] for cue in cues]


def _as_spoken(chunks: Iterable[Timed]) -> list[list[Shown]]:
    """Word times carry bare words; the chunk's text has them with their marks, in the same order."""
    result: list[list[Shown]] = []
    for chunk in chunks:
        tokens = _tokens(chunk.text)
        if not chunk.words:
            whole = Word(chunk.text, chunk.start, chunk.start + chunk.seconds)
            result.append([Shown(whole, True)] if chunk.text.strip() else [])
        elif len(tokens) != len(chunk.words):
            result.append([Shown(word, False) for word in chunk.words])
        else:
            pairs = zip(tokens, chunk.words, strict=True)
            result.append([Shown(Word(text, word.start, word.end), ends) for (text, ends), word in pairs])
    return result


def _as_written(chunks: Sequence[Timed], written: str) -> list[list[Shown]]:
    """For each chunk the words of the text that it speaks, as they are written, with the times of what is heard."""
    blocks = read_plain(unmark(plain_text(parse_markup(written))))
    tokens = [token for block in blocks if block.kind != "scene" for token in _tokens(block.text)]
    result: list[list[Shown]] = []
    at = 0
    for number, chunk in enumerate(chunks):
        heard = [(w.text, w.start - chunk.start, w.end - chunk.start) for w in chunk.words]
        said = [text for text, _, _ in heard] or [text for text, _ in _tokens(chunk.text)]
        rest = tokens[at:]
        mine = rest if number == len(chunks) - 1 else rest[: _how_many([text for text, _ in rest], said)]
        at += len(mine)
        if mine and not chunk.words:
            text = " ".join(text for text, _ in mine)
            result.append([Shown(Word(text, chunk.start, chunk.start + chunk.seconds), True)])
            continue
        times = written_times([text for text, _ in mine], heard, chunk.seconds)
        result.append(
            [
                Shown(Word(text, round(chunk.start + start, 3), round(chunk.start + end, 3)), ends)
                for (text, ends), (start, end) in zip(mine, times, strict=True)
            ]
        )
    return result


def _how_many(tokens: Sequence[str], said: Sequence[str]) -> int:
    """How many of the written words a chunk speaks that says so much: those up to the last one that both have, and what
    is left over behind it.
    """
    owner: list[int] = []
    flat: list[str] = []
    for number, token in enumerate(tokens):
        if len(flat) > len(said) + max(4, len(said) // 4):
            break
        forms = spoken_form(token)
        flat += forms
        owner += [number] * len(forms)
    blocks = SequenceMatcher(None, flat, [bare(word) for word in said], autojunk=False).get_matching_blocks()
    a, b = max(((block.a + block.size, block.b + block.size) for block in blocks if block.size), default=(0, 0))
    last = min(len(flat), a + len(said) - b)
    return owner[last - 1] + 1 if last else 0


def _tokens(text: str) -> list[tuple[str, bool]]:
    """The words of one block, each with the signs around it, and whether a sentence ends behind it."""
    tokens: list[str] = []
    for token in text.split():
        if any(char.isalnum() for char in token):
            tokens.append(token)
        elif tokens:
            tokens[-1] += f" {token}"  # a dash between words
    ends, size = {0}, 0
    for sentence in sentences(" ".join(tokens)):
        size += len("".join(sentence.split()))
        ends.add(size)
    result, at = [], 0
    for number, token in enumerate(tokens):
        at += len("".join(token.split()))
        result.append((token, at in ends or number == len(tokens) - 1))
    return result


def _is_full(cue: Sequence[Word], word: Word) -> bool:
    return (
        word.start - cue[-1].end > GAP
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


def shown_text(written: str, choice: str) -> str | None:
    """What `subtitles` is given for the setting subtitles_text."""
    return written if choice == "written" else None


def _end(cue: Sequence[Word], point: str) -> str:
    return _time(max(cue[-1].end, cue[0].start + SHORTEST), point)


def _time(seconds: float, point: str) -> str:
    """01:02:03,456"""
    total = round(max(0.0, seconds) * 1000)
    return f"{total // 3_600_000:02d}:{total // 60_000 % 60:02d}:{total // 1000 % 60:02d}{point}{total % 1000:03d}"
