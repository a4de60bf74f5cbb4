"""What is spoken of a book: units of a paragraph or less, each with its text, its voice and the silence before it.

A unit's id is a digest of all that its sound depends on, so an edited paragraph is another unit, and nothing else is.
No sound and no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tts_fm.book.document import REASONS, Book, Chapter, Paragraph
from tts_fm.book.scripts import Cast, quotations, quote_marks
from tts_fm.settings import Settings
from tts_fm.text.headings import ROMAN, head_of, number_of
from tts_fm.text.lexicon import Lexicon
from tts_fm.text.plain import PAUSES
from tts_fm.text.spell import cardinal
from tts_fm.text.split import sentences

VERSION = 1  # of what a unit's text is made of; a new one speaks books anew
LONGEST_UNIT = 1500  # characters
_SPEAKABLE = re.compile(r"[^\W_]")
_CAPITALS = re.compile(r"(?<![\w.&'’-])[A-Z][A-Z'’]*[A-Z](?![\w&]|\.\w)")
_OPENING_RUN = re.compile(r"^[“‘\"'(]*[A-Z][A-Z'’-]*(?:,? [A-Z][A-Z'’-]*){2,}(?![\w'’-])")
_ITALICS = re.compile(r"(?<!\w)_{1,2}(?=\S)|(?<=\S)_{1,2}(?!\w)")


@dataclass(frozen=True)
class Unit:
    """One stretch that is spoken and kept."""

    id: str
    text: str  # with markup, as TTS.say takes it
    voice: str | None
    ref_text: str | None
    pause: float  # seconds of silence before it
    chapter: int  # among the chapters that are spoken
    paragraph: int  # in that chapter
    start: int  # characters of the paragraph's text that it says
    end: int
    duration: tuple[float, float] | None = None  # of a subtitle's cue: when it begins and ends, seconds


@dataclass(frozen=True)
class Voices:
    """Who speaks."""

    voice: str | None = None  # the narrator
    ref_text: str | None = None
    cast: Cast = field(default_factory=Cast)


@dataclass
class BookPlan:
    """Units in the order in which they are heard."""

    chapters: list[Chapter]
    units: list[Unit]
    pauses: dict[str, float]
    empty: int = 0  # paragraphs that hold nothing that can be said

    def of_chapter(self, number: int) -> list[Unit]:
        """The units of the n-th chapter that is spoken."""
        return [unit for unit in self.units if unit.chapter == number]


def plan_book(
    book: Book,
    settings: Settings,
    voices: Voices | None = None,
    lexicon: Lexicon | None = None,
    wanted: set[int] | None = None,
    pauses: dict[str, float] | None = None,
) -> BookPlan:
    """Cut the chapters that are wanted (all) into units. pauses: those that differ from text.plain.PAUSES."""
    voices, lexicon = voices or Voices(), lexicon or Lexicon()
    lang = settings.lang or _accent(book.language)
    writer = Writer(book, settings, voices, Lexicon(book.lexicon) + lexicon, lang)
    plan = BookPlan(book.chosen(wanted), [], {**PAUSES, **(pauses or {})})
    for number, chapter in enumerate(plan.chapters):
        before: str | None = None
        for k, paragraph in enumerate(chapter.paragraphs):
            if paragraph.kind == "scene":
                before = "scene" if before is not None else None
                continue
            units = list(writer.units(chapter, number, k, paragraph, plan.pauses))
            plan.empty += not units and paragraph.skip is None
            for at, unit in enumerate(units):
                pause = unit.pause if at else silence(before, paragraph.kind, plan.pauses)
                plan.units.append(replace(unit, pause=pause))
            if units:
                before = "chapter" if paragraph.kind == "heading" and k <= 2 else paragraph.kind
    return plan


def silence(before: str | None, after: str, pauses: dict[str, float]) -> float:
    """Seconds between two paragraphs of these kinds; 0 at the start of a chapter."""
    if before is None:
        return 0.0
    after = "paragraph" if after in ("quote", "cue") else after
    before = "paragraph" if before in ("quote", "cue") else before
    if before == "chapter" and after == "heading":
        return pauses["heading"]
    return max(pauses[before], pauses[after])


def _accent(language: str) -> str:
    """The espeak code of a book's language, for respellings."""
    return "en-gb" if language.lower().replace("_", "-") in ("en-gb", "en-uk") else "en-us"


class Writer:
    """Turns paragraphs into the text that is spoken."""

    def __init__(self, book: Book, settings: Settings, voices: Voices, lexicon: Lexicon, lang: str) -> None:
        self.settings, self.voices, self.lexicon, self.lang = settings, voices, lexicon, lang
        self.words = {
            word
            for p in book.paragraphs()
            if p.kind != "heading"
            for word in re.findall(r"(?<![\w'’])[a-z][a-z'’]*", p.text)
        }
        self.opening = quote_marks(book) if voices.cast.quotes else ""

    def units(
        self, chapter: Chapter, number: int, index: int, paragraph: Paragraph, pauses: dict[str, float]
    ) -> Iterator[Unit]:
        """The units of a paragraph: one, or one for each voice, or some for a very long one."""
        if paragraph.skip is not None:
            return
        for start, end, voice in self.segments(chapter, paragraph):
            narrator = voice is None
            name = self.voices.voice if narrator else voice
            ref_text = self.voices.ref_text if narrator else None
            for k, (a, b) in enumerate(_pieces(paragraph, start, end)):
                text = self.lexicon.apply(self.spoken(paragraph, a, b), self.lang)
                if _SPEAKABLE.search(text):
                    pause = 0.0 if k else pauses["quote"]
                    unit = unit_id(text, name, ref_text, self.settings)
                    yield Unit(unit, text, name, ref_text, pause, number, index, a, b, paragraph.time)

    def segments(self, chapter: Chapter, paragraph: Paragraph) -> Iterator[tuple[int, int, str | None]]:
        """(start, end, voice) of the stretches of a paragraph in one voice; None is the narrator's."""
        cast = self.voices.cast
        base = paragraph.voice or cast.chapters.get(chapter.number or 0) or cast.narrator
        own = [(s.start, s.end, s.value) for s in paragraph.spans if s.kind == "voice"]
        if not own and cast.quotes and paragraph.voice is None and paragraph.kind != "heading":
            own = [(a, b, cast.quotes) for a, b in quotations(paragraph.text, self.opening)]
        at = 0
        for start, end, voice in sorted(own):
            if start > at and _SPEAKABLE.search(paragraph.text[at:start]):
                yield at, start, base
            yield max(at, start), end, voice
            at = max(at, end)
        if at < len(paragraph.text):
            yield at, len(paragraph.text), base

    def spoken(self, paragraph: Paragraph, start: int, end: int) -> str:
        """The text of a stretch as it is handed to the voice."""
        text, at = "", start
        for span in paragraph.spans:
            if span.end <= start or span.start >= end or span.kind == "voice":
                continue
            text += self.plain(paragraph.text[at : max(at, span.start)], paragraph.kind)
            at = max(at, min(span.end, end))
            if span.kind == "ipa":
                word = " ".join(paragraph.text[span.start : span.end].split())
                text += f"[{word}](/{span.value}/)" if word else ""
        text += self.plain(paragraph.text[at:end], paragraph.kind)
        if paragraph.kind == "heading":
            return _heading(text)
        if paragraph.kind == "verse":
            return _verse(text)
        text = " ".join(text.split())
        return text if paragraph.kind != "item" or text.endswith((".", "!", "?", ":", ";", ",")) else text + "."

    def plain(self, text: str, kind: str) -> str:
        """Without the underscores of italics, words in capitals as words, nothing that looks like our markup."""
        text = _ITALICS.sub("", text).replace("](/", "] (/").replace("<break", "< break")
        if kind == "heading" and text.upper() == text:
            return text  # see _heading
        if text.isupper() and len(text.split()) > 2:
            return _sentence(text)
        text = re.sub(r"(?<=[A-Z]{2} )A(?= [A-Z]{2})", "a", text)
        text = _OPENING_RUN.sub(lambda m: _sentence(m.group()), text, count=1)
        text = re.sub(r"\bI['’][A-Z]{1,2}\b", lambda m: "I" + m.group()[1:].lower(), text)
        return _CAPITALS.sub(lambda m: m.group().lower() if self.is_word(m.group()) else m.group(), text)

    def is_word(self, capitals: str) -> bool:
        """Are capitals a word that is stressed, not letters to be spelled? It is, if the book has it in small ones."""
        return (capitals.lower() in self.words and capitals not in ("US", "AM", "IT'S")) or len(capitals) > 5


def _pieces(paragraph: Paragraph, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A stretch in pieces of at most LONGEST_UNIT characters, cut between sentences, else between words."""
    if end - start <= LONGEST_UNIT:
        yield start, end
        return
    text, at = paragraph.text[start:end], 0
    found, cuts = 0, []
    for sentence in sentences(text):
        found = text.find(sentence[:40], found)
        cuts.append(found)
        found += max(1, len(sentence) - 2)
    while len(text) - at > LONGEST_UNIT:
        cut = max((c for c in cuts if at < c <= at + LONGEST_UNIT), default=0)
        if not cut:
            space = max(text.rfind(" ", at, at + LONGEST_UNIT), text.rfind("\n", at, at + LONGEST_UNIT))
            cut = space + 1 if space > at else at + LONGEST_UNIT
        yield start + at, start + cut
        cuts = [c for c in cuts if c > cut]
        at = cut
    yield start + at, end


def _heading(text: str) -> str:
    """ "CHAPTER IV\nTHE LAMP" is said "Chapter four. The Lamp."; "01" is said "One." """
    said = []
    for line in (" ".join(line.split()) for line in text.split("\n") if line.strip()):
        if line.isupper():
            line = _small(line)
        head = head_of(line if "[" not in line else "")
        if head is not None and head.number:
            number = rf"\b(?:{ROMAN}|[0-9]{{1,4}})\b" if not head.word else rf"(?<=\s)(?:{ROMAN}|[0-9]{{1,4}})\b"
            line = re.sub(number, lambda m: _cardinal(m.group()), line, count=1)
            line = line[:1].upper() + line[1:]
        said.append(line if line.endswith((".", "!", "?", "…", ":")) else line + ".")
    return " ".join(said)


def _cardinal(numeral: str) -> str:
    number = number_of(numeral) if numeral.strip() else None
    return cardinal(number) if number else numeral


def _small(line: str) -> str:
    """A heading in capitals, with capitals only at its words; Roman numerals stay."""
    return re.sub(
        r"[^\W\d_]+(?:['’][^\W\d_]+)?",
        lambda m: m.group() if re.fullmatch(ROMAN, m.group()) else m.group().capitalize(),
        line,
    )


def _sentence(capitals: str) -> str:
    """ "THE SUN HAD" gives "The sun had"."""
    start = next((at for at, char in enumerate(capitals) if char.isalpha()), 0)
    return capitals[: start + 1] + re.sub(r"\bi(?=\b)", "I", capitals[start + 1 :].lower())


def _verse(text: str) -> str:
    """Lines of verse in one: a comma's pause at a line's end that has no mark, unless the next goes on in small
    letters.
    """
    said = ""
    for line in (" ".join(line.split()) for line in text.split("\n") if line.strip()):
        if said and said[-1].isalnum() and line[:1].isupper():
            said += ","
        said += (" " if said else "") + line
    return said


def unit_id(text: str, voice: str | None, ref_text: str | None, settings: Settings) -> str:
    """The name that a unit's files have."""
    key = json.dumps([VERSION, text, voice, ref_text, settings.changed()], sort_keys=True, default=list)
    return "u" + hashlib.sha256(key.encode()).hexdigest()[:24]


def spoken_tokens(paragraph: Paragraph, start: int, end: int) -> list[tuple[int, str]]:
    """The words of a stretch that are spoken: (number among the paragraph's words between spaces, the word)."""
    silent = [(s.start, s.end) for s in paragraph.spans if s.kind in REASONS]
    found = []
    for number, match in enumerate(re.finditer(r"\S+", paragraph.text)):
        if match.end() <= start or match.start() >= end:
            continue
        text = "".join(
            char
            for at, char in enumerate(match.group(), match.start())
            if start <= at < end and not any(a <= at < b for a, b in silent)
        )
        if _SPEAKABLE.search(text):
            found.append((number, text))
    return found


def read_pauses(text: str) -> dict[str, float]:
    """ "paragraph=0.8,chapter=2" as seconds by kind. ValueError for another kind, and beyond 10 seconds."""
    pauses: dict[str, float] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        kind, _, value = part.partition("=")
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if kind not in PAUSES or not 0 <= seconds <= 10:
            kinds = ", ".join(PAUSES)
            raise ValueError(
                f"--pauses takes kind=seconds (0 to 10), as in paragraph=0.8; {part!r} is none; kinds: {kinds}"
            )
        pauses[kind] = seconds
    return pauses


def words_spoken(units: Sequence[Unit], chapters: Sequence[Chapter]) -> int:
    """Words of the source that these units say, each counted once."""
    said: set[tuple[int, int, int]] = set()
    for unit in units:
        paragraph = chapters[unit.chapter].paragraphs[unit.paragraph]
        said |= {(unit.chapter, unit.paragraph, n) for n, _ in spoken_tokens(paragraph, unit.start, unit.end)}
    return len(said)
