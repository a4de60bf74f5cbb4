"""Who says what: {voice emma} ... {/voice} in a text, "ALICE: ..." with a cast, quotations in a voice of their own.

Voices are marked as spans of paragraphs; the marks and the names before the colon are then not spoken.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tts_fm.book.document import Book, Paragraph, Span

_TAG = re.compile(r"\{voice[ :=]+([A-Za-z0-9][A-Za-z0-9_-]{0,63})\}|\{/voice\}")
_SPEAKER = re.compile(r"(?P<name>[^\W\d_][\w .'’-]{0,40}?)(?: ?\([^()]{0,80}\))?:\s+(?=\S)")
_QUOTES = {"“": "”", "«": "»", "„": "“", '"': '"', "‘": "’"}


@dataclass(frozen=True)
class Cast:
    """Who speaks, as a cast.toml says it. All names are stored voices or recordings."""

    narrator: str | None = None
    quotes: str | None = None
    roles: dict[str, str] = field(default_factory=dict)  # by the name in the script, small letters
    chapters: dict[int, str] = field(default_factory=dict)


def read_cast(path: Path) -> Cast:
    """A cast.toml: narrator and quotes, and tables [cast] and [chapters]. ValueError that names what is wrong."""
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read the cast {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f'the cast {path} is no TOML ({error}); for instance: [cast] and below it ALICE = "emma"'
        ) from None
    unknown = set(data) - {"narrator", "quotes", "cast", "chapters"}
    if unknown:
        raise ValueError(
            f"the cast {path} has {sorted(unknown)[0]!r}; narrator, quotes, [cast] and [chapters] are read"
        )
    cast, chapters = data.get("cast", {}), data.get("chapters", {})
    for place, table in (("cast", cast), ("chapters", chapters)):
        if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
            raise ValueError(f'the cast {path}: [{place}] has lines such as NAME = "emma"')
    if not all(key.isdecimal() for key in chapters):
        raise ValueError(f'the cast {path}: [chapters] has lines such as 3 = "emma", by the numbers of --list')
    roles = {" ".join(name.split()).lower(): voice for name, voice in cast.items()}
    return Cast(data.get("narrator"), data.get("quotes"), roles, {int(k): v for k, v in chapters.items()})


def read_voices(paragraphs: Sequence[Paragraph]) -> list[Paragraph]:
    """Mark the stretches between {voice NAME} and {/voice}; a voice that is not closed goes on in what follows."""
    done: list[Paragraph] = []
    voice: str | None = None
    for paragraph in paragraphs:
        if voice is None and "{voice" not in paragraph.text:
            done.append(paragraph)
            continue
        spans, at = list(paragraph.spans), 0
        for match in _TAG.finditer(paragraph.text):
            if voice is not None and match.start() > at:
                spans.append(Span(at, match.start(), "voice", voice))
            spans.append(Span(match.start(), match.end(), "markup"))
            voice, at = match[1], match.end()
        if voice is not None and at < len(paragraph.text):
            spans.append(Span(at, len(paragraph.text), "voice", voice))
        done.append(replace(paragraph, spans=tuple(sorted(spans, key=lambda s: s.start))))
    return done


def apply_cast(book: Book, cast: Cast) -> None:
    """Give the lines of a script to the voices of its roles. ValueError for a role that the script has and the cast
    has not, and for a cast of whom nobody speaks.
    """
    if not cast.roles:
        return
    lines = [(p, m) for p in book.paragraphs() if (m := _SPEAKER.match(p.text)) is not None and p.skip is None]
    names = Counter(_role(m["name"]) for _, m in lines)
    known = {name for name in names if name in cast.roles}
    if not known:
        raise ValueError(
            f"nobody of the cast speaks in {book.source}; its lines begin with NAME: and the names of [cast]"
        )
    upper = {_role(m["name"]) for _, m in lines if m["name"].isupper()}
    missing = sorted(name for name in upper - known if names[name] > 1)
    if missing:
        raise ValueError(
            f"the cast has no voice for {missing[0].upper()}, who speaks in {book.source}; add a line to [cast]"
        )
    for chapter in book.chapters:
        chapter.paragraphs = [_cast_line(p, cast) for p in chapter.paragraphs]


def _cast_line(paragraph: Paragraph, cast: Cast) -> Paragraph:
    match = _SPEAKER.match(paragraph.text)
    voice = cast.roles.get(_role(match["name"])) if match is not None else None
    if match is None or voice is None:
        return paragraph
    spans = [s for s in paragraph.spans if s.start >= match.end()]
    return replace(paragraph, voice=voice, spans=(Span(0, match.end(), "markup"), *spans))


def _role(name: str) -> str:
    return " ".join(name.split()).lower()


def quote_marks(book: Book) -> str:
    """The opening mark of the book's quotations: the commonest one."""
    counts = Counter(char for p in book.paragraphs() if p.skip is None for char in p.text if char in _QUOTES)
    counts['"'] //= 2
    return counts.most_common(1)[0][0] if counts else '"'


def quotations(text: str, opening: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each quotation, its marks included. One that is not closed lasts to the end of the text."""
    closing = _QUOTES[opening]
    at = 0
    while (start := text.find(opening, at)) >= 0:
        if opening == "‘" and start > 0 and text[start - 1].isalnum():  # an apostrophe
            at = start + 1
            continue
        end = _closing(text, start + 1, closing)
        yield start, end
        at = end


def _closing(text: str, at: int, closing: str) -> int:
    while (end := text.find(closing, at)) >= 0:
        after, before = text[end + 1 : end + 2], text[end - 1 : end]
        if closing != "’" or not (after.isalnum() or (before.isalnum() and not _closes(text, end))):
            return end + 1
        at = end + 1
    return len(text)


def _closes(text: str, end: int) -> bool:
    """Is a ’ after a letter the end of a quotation, not of a plural's possessive or a cut word? It is, where another
    opening mark comes before the next closing one.
    """
    following, opening = text.find("’", end + 1), text.find("‘", end + 1)
    return following < 0 or 0 <= opening < following
