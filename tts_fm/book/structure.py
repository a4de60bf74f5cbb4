"""Paragraphs become chapters: by the headings of the text, and with what is not to be spoken marked.

Works on what a reader of plain text, Markdown or HTML found (document.Paragraph); an EPUB's own table of contents is
epub.py's business, the marks inside paragraphs are too if it knows them.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tts_fm.book.document import Chapter, Paragraph, Span
from tts_fm.text.headings import Head, head_of, looks_like_title

FRONT = ("dedication", "preface", "foreword", "introduction", "acknowledgements", "acknowledgments", "epigraph", "note")
BACK = (
    "appendix", "afterword", "postscript", "glossary", "colophon", "acknowledgements", "acknowledgments", "note",
)  # fmt: skip
SILENT = {
    "contents": "contents", "index": "index", "bibliography": "bibliography", "notes": "notes", "endnotes": "notes",
    "footnotes": "notes", "copyright": "copyright",
}  # fmt: skip
_START = re.compile(r"\*{3,} ?start of (?:the|this) project gutenberg|\*end ?\*? ?the small print", re.IGNORECASE)
_END = re.compile(
    r"\*{3,} ?end of (?:the|this) project gutenberg|"
    r"end of (?:the |this )?project gutenberg(?:[’']s| e-?(?:text|book))",
    re.IGNORECASE,
)
_PRODUCED = re.compile(
    r"(?:produced by|e-?text prepared by|this (?:e-?text|e-?book|etext) was (?:produced|prepared|created))",
    re.IGNORECASE,
)
_PICTURE = r"\[(?:illustration|picture|image|frontispiece|blank page|decoration)[^\[\]]{0,600}\]"
_NOTE = r"\[(?:(?:foot|side|end)note|transcriber)[^\[\]]{0,5000}\]"
_PAGE = r"\[(?:pg\.?|page|p\.) ?[0-9ivxlc]{1,6}\]|\{(?:pg\.? ?|page |p\. ?)?[0-9]{1,4}\}"
_NOTE_MARK = (
    r"(?<=[\w.,;:!?”’\"')])\[(?:[0-9]{1,4}|[a-z]|\*{1,3}|[†‡§]|note [0-9]{1,4}|\^[^\[\]]{1,40})\]"
    r"|(?<=[^\W\d_][.,;:!?”’\"]|[^\W\d_]{2})[¹²³⁰⁴-⁹]{1,3}(?!\w)"
)
_BELOW = r"(?:\*|†|‡|\[(?:[0-9]{1,3}|[a-z*†‡]|\^[^\[\]]{1,40})\]:?) (?=\S)"  # the note itself
_ASIDES = [
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (_PICTURE, "illustrations"), (_NOTE, "notes"), (_PAGE, "page numbers"), (_NOTE_MARK, "notes"),
    )
]  # fmt: skip
_ENTRY = re.compile(r"(?:chapter|letter|book|part|canto|stave) [0-9ivxlc]{1,7}\b", re.IGNORECASE)
LONGEST_CONTENTS = 1000  # paragraphs
_NOTE_BELOW = re.compile(_BELOW)


def chapters_of(
    paragraphs: Sequence[Paragraph], pattern: re.Pattern[str] | None = None, title: str = ""
) -> list[Chapter]:
    """The chapters of a text, what is before and after them included; a text without headings is one chapter.

    pattern: what the heading of a chapter looks like, where the reader has it from the user. title: of the book, which
    is no chapter's.
    """
    marked = mark_asides(mark_pages(mark_licence(list(paragraphs))))
    if pattern is not None:
        marked = [
            replace(p, kind="heading", text=p.text)
            if p.kind != "heading" and "\n" not in p.text and len(p.text) < 200 and pattern.search(p.text)
            else p
            for p in marked
        ]
    marked = mark_contents(marked)
    starts, parts = _starts(marked, pattern, title)
    return _cut(marked, starts, parts, title)


def mark_licence(paragraphs: list[Paragraph]) -> list[Paragraph]:
    """Project Gutenberg's head and foot are not the book."""
    start = next((i for i, p in enumerate(paragraphs[:400]) if _START.search(p.text)), -1)
    end = next((i for i, p in enumerate(paragraphs) if i > start and _END.match(p.text)), len(paragraphs))
    produced = start + 1 if start >= 0 else -1
    while 0 <= produced < len(paragraphs) and (_PRODUCED.match(paragraphs[produced].text)):
        produced += 1
    first = max(start + 1, produced)
    return [replace(p, skip="licence") if i < first or i >= end else p for i, p in enumerate(paragraphs)]


def mark_pages(paragraphs: list[Paragraph]) -> list[Paragraph]:
    """Lines with nothing but a page's number, where they count up in the middle of sentences, and running heads."""
    numbers = [(i, int(m[1])) for i, p in enumerate(paragraphs) if (m := _page_number(p)) is not None]
    if len(numbers) < 4:
        return paragraphs
    rising = sum(b == a + 1 for (_, a), (_, b) in itertools.pairwise(numbers))
    cut = sum(i > 0 and not re.search(r"[.!?:…][\"'”’»)\]]*$", paragraphs[i - 1].text) for i, _ in numbers)
    if rising < 0.8 * (len(numbers) - 1) or cut < 0.25 * len(numbers):
        return paragraphs
    pages = {i for i, _ in numbers}
    near = Counter(paragraphs[i + d].text for i in pages for d in (-1, 1) if 0 <= i + d < len(paragraphs))
    heads = {text for text, n in near.items() if n >= max(3, 0.25 * len(pages)) and len(text) < 80}
    pages |= {i + d for i in pages for d in (-1, 1) if 0 <= i + d < len(paragraphs) and paragraphs[i + d].text in heads}
    return [replace(p, skip=p.skip or "page numbers") if i in pages else p for i, p in enumerate(paragraphs)]


def _page_number(paragraph: Paragraph) -> re.Match[str] | None:
    if paragraph.kind not in ("heading", "paragraph", "item"):
        return None
    return re.fullmatch(
        r"(?:page |p\. ?|\[|- ?|— ?)?([0-9]{1,4})(?:\]| ?-| ?—)?", paragraph.text.strip(), re.IGNORECASE
    )


def mark_asides(paragraphs: list[Paragraph]) -> list[Paragraph]:
    """Stretches inside paragraphs that are not spoken: pictures, notes and their marks, page numbers."""
    done = []
    for paragraph in paragraphs:
        spans = list(paragraph.spans)
        if paragraph.skip is None and any(char in paragraph.text for char in "[{*†‡¹²³⁴⁵⁶⁷⁸⁹⁰"):
            if _NOTE_BELOW.match(paragraph.text):  # "[3] See page 9." or "* A measure."
                paragraph = replace(paragraph, skip="notes")
            for pattern, kind in _ASIDES:
                for match in pattern.finditer(paragraph.text):
                    if any(s.start < match.end() and match.start() < s.end for s in spans):
                        continue
                    spans.append(Span(match.start(), match.end(), kind))
        done.append(replace(paragraph, spans=tuple(sorted(spans, key=lambda s: s.start))))
    return done


def mark_contents(paragraphs: list[Paragraph]) -> list[Paragraph]:
    """A table of contents: its heading, and the lines below it up to where the text itself begins."""
    done = list(paragraphs)
    for at, paragraph in enumerate(paragraphs):
        head = head_of(paragraph.text) if paragraph.kind == "heading" and paragraph.skip is None else None
        named = re.fullmatch(
            r"(?:table of )?contents|list of (?:illustrations|plates|maps)", paragraph.text.strip(" .:_").lower()
        )
        if named is None and not (head is not None and head.word == "contents" and not head.title):
            continue
        for k in range(at, _contents_end(paragraphs, at)):
            done[k] = replace(done[k], skip=done[k].skip or "contents")
    heads = [_key(p.text.split("\n")[0]) for p in done if p.kind == "heading" and p.skip is None]
    for k, paragraph in enumerate(done[:200]):  # a list of titles without a heading of its own
        if paragraph.kind in ("verse", "item") and paragraph.skip is None:
            lines = [_key(line) for line in paragraph.text.split("\n")]
            known = sum(
                any(h and (h.endswith(line) or line.endswith(h)) for h in heads if len(h) > 3) for line in lines
            )
            alone = (
                len(lines) > 1 or (k + 1 < len(done) and done[k + 1].kind == "item") or done[k - 1].skip == "contents"
            )
            if alone and known > 0.6 * len(lines):
                done[k] = replace(paragraph, skip="contents")
    return done


def _contents_end(paragraphs: Sequence[Paragraph], at: int) -> int:
    """Where the table that begins at `at` ends: at the first line that the table has named, or before running text."""
    entries: set[str] = set()
    end = at + 1
    while end < min(len(paragraphs), at + LONGEST_CONTENTS):
        paragraph = paragraphs[end]
        key = _key(paragraph.text)
        if paragraph.kind == "heading" and (key in entries or _named_in(paragraph.text, entries)):
            return end
        runs = paragraph.words > 30 or (len(paragraph.text) > 60 and paragraph.text.endswith("."))
        if paragraph.kind == "paragraph" and runs and not _ENTRY.match(paragraph.text):
            break
        entries |= {_key(line) for line in paragraph.text.split("\n")}
        end += 1
    while end > at + 1 and paragraphs[end - 1].kind == "heading":  # the heads of the text that follows
        end -= 1
    return end


def _key(text: str) -> str:
    """A heading as it is compared: small letters and digits, without the number of the page at its end."""
    text = " ".join(text.split()).lower()
    page = re.search(r"(?<=\w) [0-9]{1,4}$|[ .·_…-]{2,}[0-9ivxlc]{1,5}$", text)
    if page is not None and len(text[: page.start()].split()) > 1:
        text = text[: page.start()]
    return "".join(char for char in text if char.isalnum())


def _named_in(text: str, entries: set[str]) -> bool:
    """Is a head of two lines ("I", then "Introduction") begun by this line?"""
    key, head = _key(text), head_of(text.split("\n", maxsplit=1)[0])
    return head is not None and 0 < len(key) <= 12 and any(len(e) > len(key) and e.startswith(key) for e in entries)


def _starts(
    paragraphs: Sequence[Paragraph], pattern: re.Pattern[str] | None, title: str
) -> tuple[dict[int, str], dict[int, str]]:
    """Where chapters begin (index -> title) and where parts do."""
    heads = [
        (i, p, head_of(p.text.split("\n")[0]))
        for i, p in enumerate(paragraphs)
        if p.kind == "heading" and p.skip is None
    ]
    if pattern is not None:
        found = [(i, p, h) for i, p, h in heads if pattern.search(p.text)]
        return _titled(paragraphs, {i for i, _, _ in found}, set()), {}
    levels = Counter(p.level for _, p, _ in heads if p.level)
    if levels:
        chosen, parts = _by_level(heads, levels, title)
    else:
        chosen, parts = _by_words(paragraphs, heads)
    chosen -= {i for i in chosen if i - 1 in chosen and _is_bare(paragraphs[i - 1])}  # "I", then "Introduction"
    return _titled(paragraphs, chosen, parts), _titled(paragraphs, parts, chosen)


Heads = Sequence[tuple[int, Paragraph, Head | None]]


def _by_level(heads: Heads, levels: Counter[int], title: str) -> tuple[set[int], set[int]]:
    """Chapters of a text whose headings have levels: the highest that is there more than once, one deeper below
    parts.
    """
    order = sorted(levels)
    top = order[0]
    if levels[top] == 1 and len(order) > 1:
        only = next(p for _, p, _ in heads if p.level == top)
        alone = head_of(only.text.split("\n")[0])
        if alone is None or alone.kind == "named" or _key(only.text) == _key(title):
            top = order[1]
    at_top = [(i, h) for i, p, h in heads if p.level == top]
    below = [level for level in order if level > top]
    parts = {i for i, h in at_top if h is not None and h.kind == "part"}
    if parts and below and levels[below[0]] >= len(parts):
        chapters = {i for i, p, _ in heads if p.level == below[0]} | {i for i, _ in at_top if i not in parts}
        return chapters, parts
    upper = {i for i, p, h in heads if p.level < top and h is not None and h.kind == "named"}
    return {i for i, _ in at_top} | upper, set()


def _by_words(paragraphs: Sequence[Paragraph], heads: Heads) -> tuple[set[int], set[int]]:
    """Chapters of plain text: the lines that say so; else numbers that count up; else lines that look like titles."""
    named = {i for i, _, h in heads if h is not None and h.kind == "named"}
    worded = {i for i, _, h in heads if h is not None and h.kind == "chapter"}
    parts = {i for i, _, h in heads if h is not None and h.kind == "part"}
    numbers = [(i, h.number) for i, _, h in heads if h is not None and h.kind == "number"]
    over = [(i, n) for i, n in numbers if _has_title(paragraphs[i])]  # "I. A SCANDAL", whose own parts are "I.", "II."
    if 1 < len(over) < len(numbers) and [n for _, n in over] == list(range(1, len(over) + 1)):
        numbers = over
    rising = sum(b == (a or 0) + 1 or b == 1 for (_, a), (_, b) in itertools.pairwise(numbers))
    counted = len(numbers) > 1 and rising >= 0.8 * (len(numbers) - 1) and numbers[0][1] == 1
    if worded:
        return worded | named, parts
    if counted:
        return {i for i, _ in numbers} | named, parts
    if parts:
        return parts | named, set()
    titles = {i for i, p, _ in heads if p.gap > 1 and looks_like_title(p.text.split("\n")[0])}
    words = sum(p.words for p in paragraphs if p.skip is None)
    after = {i for i in titles if i + 1 < len(paragraphs) and paragraphs[i + 1].kind != "heading"}
    if len(after) > 1 and len(after) * 100 <= words:
        return after | named, set()
    return named, set()


def _titled(paragraphs: Sequence[Paragraph], starts: set[int], others: set[int]) -> dict[int, str]:
    """The title of each chapter that begins at these headings: its lines, and the line below a mere number. others:
    headings that begin something else.
    """
    titles = {}
    for i in sorted(starts):
        lines = paragraphs[i].text.split("\n")
        following = paragraphs[i + 1] if i + 1 < len(paragraphs) else None
        if (
            _is_bare(paragraphs[i])
            and following is not None
            and following.kind == "heading"
            and i + 1 not in starts | others
        ):
            lines = [*lines, *following.text.split("\n")]
        title = ""
        for line in (" ".join(line.replace("_", "").split()).strip("*= ") for line in lines):
            title += ("" if not title else " " if title.endswith((".", ":", "!", "?")) else ". ") + line
        titles[i] = title
    return titles


def _has_title(paragraph: Paragraph) -> bool:
    head = head_of(paragraph.text.split("\n")[0])
    return head is not None and bool(head.title)


def _is_bare(paragraph: Paragraph) -> bool:
    """Is a heading nothing but a number, or "CHAPTER I", so that its title is the line below?"""
    head = head_of(paragraph.text)
    return "\n" not in paragraph.text and head is not None and head.kind != "named" and not head.title


def _cut(paragraphs: list[Paragraph], starts: dict[int, str], parts: dict[int, str], title: str) -> list[Chapter]:
    """Chapters between their starts; a part's heading opens the chapter after it."""
    chapters: list[Chapter] = []
    part, waiting = "", -1
    current = Chapter("", "front")
    for i, paragraph in enumerate(paragraphs):
        before = current.paragraphs[-1].skip if current.paragraphs else paragraph.skip
        turned = paragraph.skip != before and {paragraph.skip, before} & {"licence", "contents"}
        if i in parts:
            part, waiting = parts[i], i
            chapters.append(current)
            current = Chapter(part, "body", part="")
        elif i in starts:
            opens = waiting >= 0 and all(p.words < 60 for p in current.paragraphs) and len(current.paragraphs) < 4
            if opens:
                current.title, current.part = starts[i], part
            else:
                chapters.append(current)
                current = Chapter(starts[i], "body", part=part)
            waiting = -1
        elif turned and (paragraph.skip == "licence" or current.kind != "body" or before == "licence"):
            chapters.append(current)
            told = any(c.spoken for c in chapters)
            current = Chapter("", "back" if (i > max(starts) if starts else told) else "front")
        current.paragraphs.append(paragraph)
    chapters.append(current)
    chapters = [c for c in chapters if c.paragraphs]
    if not starts and not parts:
        for chapter in chapters:
            if chapter.spoken:
                chapter.kind, chapter.title = "body", title
    return finished(chapters)


def finished(chapters: list[Chapter]) -> list[Chapter]:
    """Tell front and back from the body, give numbers and missing titles, and say which chapters are not spoken."""
    named = [_word(chapter) for chapter in chapters]
    plain = [k for k, c in enumerate(chapters) if c.kind == "body" and (not named[k] or named[k] in ("prologue",))]
    first, last = (plain[0], plain[-1]) if plain else (0, len(chapters) - 1)
    number = 0
    for k, chapter in enumerate(chapters):
        word = named[k]
        if word in SILENT and chapter.skip is None:
            chapter.skip = SILENT[word]
        if chapter.kind == "body" and plain:
            if k < first and (word in FRONT or word in SILENT):
                chapter.kind = "front"
            elif k > last and (word in BACK or word in SILENT):
                chapter.kind = "back"
        heading = next((p.text for p in chapter.paragraphs if p.kind == "heading"), "")
        if not chapter.title and chapter.spoken and heading and any(c.title == "Title page" for c in chapters[:k]):
            chapter.title = " ".join(heading.replace("_", "").split())
        if not chapter.title:
            licence = all(p.skip == "licence" for p in chapter.paragraphs)
            contents = not licence and chapter.why == "contents"
            chapter.title = (
                "Licence" if licence else "Contents" if contents else "Title page" if chapter.kind == "front" else "End"
            )
        if chapter.kind == "body":
            number += 1
            chapter.number = number
    return chapters


def _word(chapter: Chapter) -> str:
    """The word of a named heading ("preface"), "" for any other chapter."""
    head = head_of(chapter.title)
    return head.word if head is not None and head.kind == "named" else ""
