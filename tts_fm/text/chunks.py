"""From the user's text to chunks that a model can speak: markup, normalisation, sentences, packing, phones.

This module knows text and its units, not audio: how long a chunk will last is only estimated here, to keep it within
the budget.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tts_fm.text.foreign import Foreign
from tts_fm.text.markup import Break, Ipa, Text, parse_markup
from tts_fm.text.normalise import normalise_line, said_line, stopped
from tts_fm.text.phonemes import ipa_units
from tts_fm.text.plain import Block, pause_between, read_plain
from tts_fm.text.pronounce import exchanged_words, spoken_units
from tts_fm.text.split import SMALL_LETTERS, opening, pack, sentences
from tts_fm.text.tokens import PhonemeTokenizer, Tokenizer
from tts_fm.text.unmark import unmark

LONGEST_TEXT = 100_000  # characters in one request
LONGEST_SPOKEN = 400_000  # characters of a text that is read out: "7" has five
CHARS_PER_SECOND = 14.0  # of English read aloud; only used to pack sentences into chunks
SHORTEST_PAUSE = 0.4  # seconds between two blocks that are spoken apart; less comes with a full stop anyway
COMMA, WORD = 0.24, 0.04  # seconds of silence between two parts of a sentence, behind a mark and between two words
SLOT = 0xF0000  # private-use characters that stand for the marks of a text, while it is normalised and split
SMALL_SLOT = ord(SMALL_LETTERS[0])  # the same for a word in small letters
FILL = "\U0010fffd"  # behind such a character, so that it takes the place of its word
Watch = Callable[[float], object]  # (seconds of audio planned so far); may raise to stop
LONGEST_HELD = 1000  # characters of a text that arrives in pieces, after which its sentence is not waited for
_LINE_END = re.compile(r"[.!?…。！？][\"')\]”’]*[ \t]*\r?\n\s*$")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")


@dataclass(frozen=True)
class ChunkPlan:
    """One stretch of speech."""

    text: str  # normalised, for display and for character models
    ids: list[int]  # symbols of the model's vocabulary
    units: list[str]  # the same as text
    pause: float  # seconds of silence asked for before it
    unknown: Counter[str] = field(default_factory=Counter)  # symbols the model does not have
    foreign: tuple[Foreign, ...] = ()  # words in other letters, said by the rules of their own language
    # longest silence, in seconds, before and after its speech where a sentence was cut to be heard soon; None = not cut
    before: float | None = None
    after: float | None = None


def plan_chunks(
    text: str, tokenizer: Tokenizer, lang: str, budget: float = 12.0, speed: float = 1.0, normalised: bool = True
) -> list[ChunkPlan]:
    """Chunks of at most about `budget` seconds, in order. normalised: whether numbers, signs and marks are written out;
    else the text is spoken as it is. Raises ValueError when the text is too long or has nothing to
    say.
    """
    return list(each_chunk(text, tokenizer, lang, budget, speed, normalised=normalised))


def each_chunk(
    text: str,
    tokenizer: Tokenizer,
    lang: str,
    budget: float = 12.0,
    speed: float = 1.0,
    watch: Watch | None = None,
    normalised: bool = True,
    first: float = math.inf,
) -> Iterator[ChunkPlan]:
    """`plan_chunks`, one by one. watch(seconds) is called before the work for each, with about the audio that there
    will be up to its end; it may raise to stop. first: the budget of the first chunk, see split.opening.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(
            f"the text has {len(text):,} characters; the limit is {LONGEST_TEXT:,}: split it, or use tts-fm batch"
        )

    grown = len(unicodedata.normalize("NFKC", text))  # U+FDFA is one character that is read as eighteen
    if grown > LONGEST_SPOKEN:
        raise ValueError(f"written out, the text has {grown:,} characters; the limit is {LONGEST_SPOKEN:,}: split it")
    if watch is not None:
        watch(grown / CHARS_PER_SECOND / speed / 4)  # at least, since spaces and marks are not spoken

    def seconds(spoken: str) -> float:
        return (0.3 + len(spoken) / CHARS_PER_SECOND) / speed

    pause = audio = 0.0
    length, some = 0, False
    marks: list[Ipa | Break] = []
    for run in _runs(text, lang, marks, normalised):
        if isinstance(run, float):
            pause += run
            continue
        length += len(run)
        if length > LONGEST_SPOKEN:
            raise ValueError(f"read out, the text has more than {LONGEST_SPOKEN:,} characters, the limit; split it")
        if watch is not None:
            watch(audio + pause + len(run) / CHARS_PER_SECOND / speed)
        for chunk, before, after in _chunks(run, budget, seconds, math.inf if some else first):
            if watch is not None:
                watch(audio + pause + seconds(chunk))
            plan = _plan(chunk, marks, tokenizer, pause)
            if plan is not None:
                yield replace(plan, before=before, after=after)
                some, pause, audio = True, 0.0, audio + pause + seconds(chunk)
    if not some:
        shown = text.strip()[:40]
        raise ValueError(
            "the text is empty; give at least one word"
            if not shown
            else f"nothing in {shown!r} can be spoken; give at least one word"
        )


def _chunks(
    run: str, budget: float, seconds: Callable[[str], float], first: float
) -> Iterator[tuple[str, float | None, float | None]]:
    """A stretch of text as chunks, with the silence before and after those that a cut sentence is made of."""
    found = sentences(run)
    gap: float | None = None
    if first < budget:
        head, found, cut = opening(found, first, seconds)
        if cut:
            gap = WORD if head[-1].isalnum() else COMMA
        yield from ((chunk, None, gap and gap / 2) for chunk in pack([head], budget, seconds))
    for chunk in pack(found, budget, seconds):
        yield chunk, gap and gap / 2, None
        gap = None


class Phrase(NamedTuple):
    """A part of a text that arrives in pieces, to be spoken by itself."""

    text: str
    pause: float  # seconds of silence before it


class Phrases:
    """A text that arrives in pieces, cut into whole sentences as soon as they are known to have ended: by the next
    one's beginning, or by the end of a line behind a full stop. What cannot be spoken alone stays with its neighbour.
    """

    def __init__(self) -> None:
        self._held = self._before = ""

    def add(self, piece: str) -> list[Phrase]:
        """The phrases that have ended with this piece; with what `end` gives they are the text, but for full stops
        before blank lines.
        """
        self._held += piece
        found = sentences(self._held)
        if not found:
            return []
        end = len(self._held) if _LINE_END.search(self._held) else self._held.rfind(found[-1])
        if len(found) == 1 and end == len(self._held) - len(self._held.lstrip()) and len(self._held) > LONGEST_HELD:
            end = self._held.rfind(" ") + 1 or len(self._held)  # no mark for a long time
        return self._cut(end)

    def end(self) -> list[Phrase]:
        """What is left when nothing more comes."""
        return self._cut(len(self._held))

    def _cut(self, end: int) -> list[Phrase]:
        """The first characters of what is held as a phrase, if there is something to say in them."""
        text = self._held[:end]
        speaks = any(char.isalnum() for char in text)
        if speaks or len(text) > LONGEST_HELD:  # so many marks alone are of no use
            self._held = self._held[end:]
        if not speaks:
            return []
        pause, self._before = pause_between_phrases(self._before, text), text
        return [Phrase(stopped(text.rstrip()) if _BLANK_LINE.search(_tail(text)) else text, pause)]


def phrases(pieces: Iterable[str]) -> Iterator[Phrase]:
    """The phrases of a text that arrives in pieces, see Phrases."""
    cut = Phrases()
    for piece in pieces:
        yield from cut.add(piece)
    yield from cut.end()


def pause_between_phrases(before: str, after: str) -> float:
    """Seconds of silence where a blank line parts two phrases, as in a text that is there as a whole."""
    if not _BLANK_LINE.search(_tail(before) + after[: len(after) - len(after.lstrip())]):
        return 0.0
    blocks = [read_plain(unmark(text)) for text in (before, after)]
    pause = pause_between(blocks[0][-1], blocks[1][0]) if all(blocks) else 0.0
    return pause if pause >= SHORTEST_PAUSE else 0.0


def _tail(text: str) -> str:
    """The white space at the end."""
    return text[len(text.rstrip()) :]


def _runs(text: str, lang: str, marks: list[Ipa | Break], normalised: bool) -> Iterator[str | float]:
    """The text between pauses, normalised, with private-use characters for each mark of `marks`, which is filled;
    and the pauses in seconds. Where a full stop is pause enough (the items of a list), blocks stay together.
    """
    current, before = "", None
    for block in _blocks(text, marks, normalised):
        pause = pause_between(before, block)
        if pause >= SHORTEST_PAUSE:
            yield from _cut(current, marks)
            current = ""
            yield pause if before is not None and before.kind != "scene" else 0.0  # a scene's pause is given once
        before = block
        if block.kind != "scene":
            current += "\n" + (normalise_line(block.text, lang) if normalised else block.text)
    yield from _cut(current, marks)


def _blocks(text: str, marks: list[Ipa | Break], normalised: bool) -> list[Block]:
    """The blocks of a text, each but the last with a mark at its end, so that a pause is heard."""
    shown = ""
    for piece in parse_markup(_PRIVATE.sub(" ", text)):
        if isinstance(piece, Text):
            shown += piece.text
        else:
            small = isinstance(piece, Ipa) and piece.word[0].islower()
            shown += chr((SMALL_SLOT if small else SLOT) + len(marks))
            shown += FILL * (len(piece.word) - 1) if isinstance(piece, Ipa) else ""
            marks.append(piece)
    blocks = read_plain(unmark(shown) if normalised else shown)
    lines = [said_line(block, ended=n < len(blocks) - 1) for n, block in enumerate(blocks)]
    return [replace(block, text=line) for block, line in zip(blocks, lines, strict=True)]


def _cut(text: str, marks: Sequence[Ipa | Break]) -> Iterator[str | float]:
    """A stretch of text, cut at its breaks."""
    start = 0
    for n, char in enumerate(text):
        mark = _mark(char, marks)
        if isinstance(mark, Break):
            yield from (text[start:n], mark.seconds)
            start = n + 1
    yield text[start:]


def _plan(chunk: str, marks: Sequence[Ipa | Break], tokenizer: Tokenizer, pause: float) -> ChunkPlan | None:
    """Symbols of one chunk; None where it holds no letter."""
    shown = "".join(part if isinstance(part, str) else part.word for part in _parts(chunk, marks))
    if not any(c.isalnum() for c in shown):
        return None
    if not isinstance(tokenizer, PhonemeTokenizer):
        encoded = tokenizer.encode(shown)
        return ChunkPlan(shown, encoded.ids, encoded.tokens, pause, encoded.unknown)
    ids: list[int] = []
    units: list[str] = []
    unknown: Counter[str] = Counter()
    foreign: list[Foreign] = []
    known = frozenset(tokenizer.vocab) if len(tokenizer.vocab) > 1 else None
    parts = _parts(chunk, marks)
    whole = _in_sentence(parts, shown, tokenizer, known) if len(parts) > 1 else None
    if whole is not None:
        encoded = tokenizer.encode_units(whole[0])
        return ChunkPlan(shown, encoded.ids, encoded.tokens, pause, encoded.unknown, tuple(dict.fromkeys(whole[1])))
    for part in parts:
        if isinstance(part, str) and not part.strip():
            encoded = tokenizer.encode_units([" "] if units else [])
        elif isinstance(part, str):
            lead, tail = part[:1] == " " and bool(units), part[-1:] == " "
            said, found = spoken_units(part.strip(), tokenizer.lang, known)
            foreign += found
            encoded = tokenizer.encode_units([" "] * lead + said + [" "] * tail)
        else:
            encoded = tokenizer.encode_ipa(part.ipa)
        ids, units, unknown = ids + encoded.ids, units + encoded.tokens, unknown + encoded.unknown
    return ChunkPlan(shown, ids, units, pause, unknown, tuple(dict.fromkeys(foreign))) if ids else None


def _in_sentence(
    parts: Sequence[str | Ipa], shown: str, tokenizer: PhonemeTokenizer, known: frozenset[str] | None
) -> tuple[list[str], list[Foreign]] | None:
    """Units of a chunk that is read as a whole, the given phones put in afterwards; None where that cannot be done."""
    given, at = [], 0
    for part in parts:
        if isinstance(part, Ipa):
            given.append((at, part.word, ipa_units(part.ipa, tokenizer.lang)))
        at += len(part if isinstance(part, str) else part.word)
    if not shown.strip() or any(not said for _, _, said in given):
        return None
    units, foreign = spoken_units(shown, tokenizer.lang, known)
    if any(stranger.word in word or word in stranger.word for stranger in foreign for _, word, _ in given):
        return None
    done = exchanged_words(units, shown, given, tokenizer.lang)
    return None if done is None else (done, foreign)


def _parts(chunk: str, marks: Sequence[Ipa | Break]) -> list[str | Ipa]:
    """A chunk as text and the words whose phones the user gave."""
    parts: list[str | Ipa] = [""]
    for char in chunk:
        mark = _mark(char, marks)
        if isinstance(mark, Ipa):
            parts += [mark, ""]
        elif char != FILL:
            parts[-1] = str(parts[-1]) + char
    return [part for part in parts if part != ""]


def _mark(char: str, marks: Sequence[Ipa | Break]) -> Ipa | Break | None:
    """What a character stands for, if for a mark."""
    at = ord(char)
    return None if at < SLOT or char == FILL else marks[at - (SMALL_SLOT if at >= SMALL_SLOT else SLOT)]
