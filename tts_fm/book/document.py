"""What a book is once it is read: paragraphs in chapters, each with what is spoken of it and why the rest is not.

Words are counted as in text/plain.py. Every word of the source is in exactly one paragraph, and is either spoken or
skipped for a reason; `Book.account` adds them up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tts_fm.text.lexicon import Entry
from tts_fm.text.plain import count_words

#: why text is not spoken; each can be asked for with --speak
REASONS = (
    "contents", "licence", "notes", "page numbers", "illustrations", "copyright", "index", "bibliography", "hidden",
    "markup",
)  # fmt: skip
WORDS_A_MINUTE = 215  # of the built-in voice, pauses included; only for estimates


class BookError(ValueError):
    """A file that is no book, or cannot be read as one; one line that says what would work."""


@dataclass(frozen=True)
class Span:
    """A stretch of a paragraph's text with something of its own."""

    start: int
    end: int
    kind: str  # one of REASONS (not spoken), "ipa" (spoken by `value`) or "voice" (spoken by the voice `value`)
    value: str = ""


@dataclass(frozen=True)
class Paragraph:
    """One piece of a book, in reading order."""

    kind: str  # as text/plain.py: heading, paragraph, item, verse, scene; or "quote" (a block quotation), "cue"
    text: str  # the lines of headings and verse are apart by "\n"
    level: int = 0  # of a heading, 1 to 6; 0 = not told
    gap: int = 0  # empty lines before it, of plain text
    skip: str | None = None  # one of REASONS
    spans: tuple[Span, ...] = ()
    hyphens: int = 0  # words that line ends cut, and that are whole here
    ids: tuple[str, ...] = ()  # anchors that stand at its beginning, of HTML
    document: str = ""  # the EPUB's file that it is from
    number: int = 0  # the how-manieth paragraph of that file
    role: str = ""  # "cover", "titlepage", ... where the document says so
    voice: str | None = None  # the voice that a script or a cue names
    time: tuple[float, float] | None = None  # seconds, of a subtitle

    @property
    def words(self) -> int:
        """Words of the source that are in it."""
        return count_words(self.text) + self.hyphens

    def spoken_text(self) -> str:
        """The text without the stretches that are not spoken; words in IPA as markup."""
        text, at = "", 0
        for span in self.spans:
            if span.kind in REASONS:
                text, at = text + self.text[at : span.start], span.end
            elif span.kind == "ipa":
                word = self.text[span.start : span.end]
                text, at = f"{text}{self.text[at : span.start]}[{word}](/{span.value}/)", span.end
        return text + self.text[at:] if self.skip is None else ""

    def account(self) -> Counter[str]:
        """Words by what becomes of them: "spoken", the REASONS, and "joined" (cut by a line's end in the source)."""
        counts: Counter[str] = Counter()
        if self.skip is not None:
            counts[self.skip] = self.words
            return counts
        text = self.text
        for span in sorted(self.spans, key=lambda s: -s.start):
            if span.kind in REASONS:
                shorter = text[: span.start] + text[span.end :]
                counts[span.kind] += count_words(text) - count_words(shorter)  # 0 for a mark that hangs on a word
                text = shorter
        counts["spoken"], counts["joined"] = count_words(text), self.hyphens
        return +counts


@dataclass
class Chapter:
    """A chapter, or what stands before and after them."""

    title: str
    kind: str  # "front", "body" or "back"
    paragraphs: list[Paragraph] = field(default_factory=list)
    number: int | None = None  # 1, 2, ... of the body
    part: str = ""  # the title of the part of the book that it is in
    skip: str | None = None  # why it is not spoken at all

    def account(self) -> Counter[str]:
        """Words of all paragraphs, by what becomes of them."""
        counts: Counter[str] = Counter()
        for paragraph in self.paragraphs:
            counts += paragraph.account()
        if self.skip is not None:
            counts[self.skip] += counts.pop("spoken", 0)
        return +counts

    @property
    def words(self) -> int:
        """All words of the source that are in it."""
        return sum(p.words for p in self.paragraphs)

    @property
    def spoken_words(self) -> int:
        """Those of them that are spoken."""
        return self.account()["spoken"] if self.spoken else 0

    @property
    def spoken(self) -> bool:
        return self.skip is None and any(p.skip is None and p.spoken_text().strip() for p in self.paragraphs)

    @property
    def why(self) -> str | None:
        """Why it is not spoken; None where it is."""
        if self.spoken:
            return None
        reasons = Counter({p.skip: p.words for p in self.paragraphs if p.skip})
        return self.skip or (reasons.most_common(1)[0][0] if reasons else "no text")

    @property
    def full_title(self) -> str:
        """With the part before it."""
        return f"{self.part}: {self.title}" if self.part else self.title


@dataclass
class Book:
    """A whole text."""

    title: str
    chapters: list[Chapter]
    author: str = ""
    language: str = ""  # as the source says: "en", "en-GB"; "" = unknown
    source: str = ""  # the file's name
    kind: str = "txt"  # form of the file
    encoding: str = ""
    notes: list[str] = field(default_factory=list)  # what the reader should know, one line each
    cover: tuple[bytes, str] | None = None  # picture and its media type
    lexicon: list[Entry] = field(default_factory=list)  # of the book's own PLS
    words: int = 0  # of the source, counted before it was cut up

    def paragraphs(self) -> Iterator[Paragraph]:
        """All of them, in order."""
        for chapter in self.chapters:
            yield from chapter.paragraphs

    def account(self) -> Counter[str]:
        """Words by what becomes of them. Their sum is `words`."""
        counts: Counter[str] = Counter()
        for chapter in self.chapters:
            counts += chapter.account()
        return counts

    def chosen(self, wanted: set[int] | None) -> list[Chapter]:
        """The chapters to speak: all that are, or those of the body with these numbers."""
        return [c for c in self.chapters if c.spoken and (wanted is None or c.number in wanted)]

    def listing(self) -> dict[str, Any]:
        """What --list --json prints."""
        return {
            "title": self.title,
            "author": self.author,
            "language": self.language,
            "chapters": [
                {
                    "number": c.number,
                    "title": c.full_title,
                    "words": c.words,
                    "spoken_words": c.spoken_words,
                    "kind": c.kind,
                    "spoken": c.spoken,
                    "why": c.why,
                    "minutes": round(c.spoken_words / WORDS_A_MINUTE, 1),
                }
                for c in self.chapters
            ],
            "words": self.words,
            "account": dict(sorted(self.account().items())),
            "source": {"file": self.source, "form": self.kind, "encoding": self.encoding},
            "notes": self.notes,
        }

    def speak_also(self, reasons: set[str]) -> None:
        """Take back the decision not to speak text for these reasons."""
        for chapter in self.chapters:
            if chapter.skip in reasons:
                chapter.skip = None
            chapter.paragraphs = [
                replace(
                    p,
                    skip=None if p.skip in reasons else p.skip,
                    spans=tuple(s for s in p.spans if s.kind not in reasons),
                )
                for p in chapter.paragraphs
            ]


def chapter_numbers(text: str, book: Book) -> set[int]:
    """ "3,5-7" -> {3, 5, 6, 7}. ValueError for what is no number, or no chapter of the book."""
    there = {c.number for c in book.chapters if c.number is not None}
    wanted: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part)
        if match is None:
            raise ValueError(f"--chapters takes numbers such as 3,5-7; {part!r} is none")
        first, last = int(match[1]), int(match[2] or match[1])
        missing = [n for n in (first, last) if n not in there]
        if missing or last < first:
            raise ValueError(f"the book has chapters 1 to {max(there, default=0)}; {part} is not among them (--list)")
        wanted |= set(range(first, last + 1))
    return wanted
