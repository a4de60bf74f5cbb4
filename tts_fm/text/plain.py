"""Plain text as people have it, wrapped or not, becomes headings, paragraphs, list items, verse and scene breaks.

The one reader of plain text: what is said from a line, a letter or a novel is cut up here, and PAUSES says how long the
silence between two blocks is. Wrapped lines are joined ("won-" + "derful" is one word), those of verse and lists are
not. Nothing is dropped: the words of the blocks are the words of the text. No sound, no markup, no models; time is
linear in the text.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tts_fm.text.headings import head_of, looks_like_title

#: seconds of silence before and after a block, beside what the voice itself leaves; between two the longer one holds
PAUSES = {
    "book": 1.5,  # after the title, before the end
    "chapter": 1.5,  # around a chapter's heading
    "heading": 0.8,
    "scene": 1.5,  # a row of stars
    "paragraph": 0.45,
    "quote": 0.2,  # between a quotation in another voice and what is around it
    "verse": 0.7,  # between stanzas
    "line": 0.15,  # between the lines of verse
    "item": 0.35,  # of a list
    "sentence": 0.0,
}
KINDS = ("heading", "paragraph", "item", "verse", "scene")
NARROWEST, WIDEST = 30, 120  # columns that wrapped text has
_BULLET = re.compile(r"(?:[-*+•‣·◦▪]|--|[–—](?= ))\s+(?=\S)")
_NUMBERED = re.compile(r"(?:\(?(?:[0-9]{1,3}|[a-zA-Z]|[ivxlcIVXLC]{1,6})[.)])\s+(?=\S)")
_RULE = re.compile(r"(?:[*·•~#_=—–⁂❦☙❧◆◇○●.⁎∗-]\s*){1,60}|(?:[§+]\s*){2,60}")
_HAS_WORD = re.compile(r"[^\W_]\S*$|^\S*[^\W_]")
_ENDS = re.compile(r"[.!?…:;。！？][\"'”’»)\]_*]{0,3}$")
_OPENING = "\"'“‘«([{¿¡_*-–— "
_KEEPS_HYPHEN = frozenset(
    "self well ex half all ill old new high low mid ever co pro anti pre so to good twenty thirty forty fifty sixty "
    "seventy eighty ninety great mother father brother sister daughter son cross post".split()
)


@dataclass(frozen=True)
class Block:
    """One piece of a text."""

    kind: str  # one of KINDS
    text: str  # lines joined with spaces; the lines of a heading and of verse with "\n"; the marks of a scene break
    line: int = 1  # where it begins, counted from 1
    gap: int = 0  # empty lines before it
    indent: int = 0  # columns
    level: int = 0  # of a heading that says so itself (# Markdown, or underlined): 1 to 6; else 0
    hyphens: int = 0  # words that were cut at a line's end and are whole here

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")


@dataclass
class Group:
    """Lines without an empty one between them."""

    line: int
    gap: int
    lines: list[str]  # tabs expanded, right end stripped


def read_plain(text: str) -> list[Block]:
    """The blocks of a text, in order; empty text gives none. Never raises.

    Lines are joined where the text is wrapped: most lines are full (the next word would not have fitted) and few begin
    with a capital. In such a text, groups of short lines are verse. In any other text a line is a paragraph, unless the
    next one goes on with a small letter.
    """
    groups = _groups(text)
    layout = Layout(groups)
    blocks: list[Block] = []
    for number, group in enumerate(groups):
        following = groups[number + 1].lines[0] if number + 1 < len(groups) else None
        near = blocks[-1] if blocks and group.gap < 2 else None
        blocks += _blocks(group, layout, following, near)
    return _merged_scenes(blocks)


def pause_between(before: Block | None, after: Block | None) -> float:
    """Seconds of silence between two blocks; 0 at the ends of the text."""
    if before is None or after is None:
        return 0.0
    return max(PAUSES[before.kind], PAUSES[after.kind])


def looks_like_prose(text: str) -> bool:
    """Is it running text whose lines break in mid-sentence, and no list with something of its own in every line?"""
    lines = [line.strip() for line in text[: 1 << 20].splitlines() if line.strip()]
    if len(lines) < 12 or not Layout(_groups(text[: 1 << 20])).wrapped:
        return False
    open_ends = sum(not _ENDS.search(line) for line in lines)
    return open_ends > 0.4 * len(lines)


def count_words(text: str) -> int:
    """Words between spaces that have a letter or a digit: how words are counted everywhere in this project."""
    return sum(any(char.isalnum() for char in word) for word in text.split())


def _groups(text: str) -> list[Group]:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n")
    text = re.sub(r"[\f\v\x85\u2029]", "\n\n", text)
    groups: list[Group] = []
    current, gap = None, 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.expandtabs(4).replace("\xa0", " ").rstrip()
        if not line.strip():
            current, gap = None, gap + 1
        elif current is None:
            current = Group(number, gap, [line])
            groups.append(current)
            gap = 0
        else:
            current.lines.append(line)
    return groups


class Layout:
    """How the whole text is set: is it wrapped, at which width, what is its left margin, which words has it?"""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        lines = [line for group in groups for line in group.lines]
        indents = sorted(_indent(line) for line in lines)
        self.margin = indents[len(indents) // 4] if indents else 0
        pairs = [pair for group in groups for pair in zip(group.lines, group.lines[1:], strict=False)]
        pairs = [(a, b) for a, b in pairs if not _is_rule(a) and not _is_rule(b)]
        widths = sorted(len(line) for line, _ in pairs)
        self.width = widths[int(0.9 * (len(widths) - 1))] if widths else 0
        full = sum(not _has_room(a, b, 0.85 * self.width) for a, b in pairs)
        capitals = sum(_starts_capital(b) for _, b in pairs)
        self.wrapped = NARROWEST <= self.width <= WIDEST and 2 * full >= len(pairs) and capitals < 0.6 * len(pairs)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the text, in small letters, but for those that a line's end cuts."""
        return frozenset(
            word.strip(_OPENING + "”’»)]},.!?:;").lower()
            for group in self._groups
            for line in group.lines
            for word in line.split()
        )


def _blocks(group: Group, layout: Layout, following: str | None, before: Block | None) -> list[Block]:
    """The blocks of one group; following: the first line of the next one."""
    lines = [re.sub(r"^\s*(?:> ?)+", "", line) if line.lstrip().startswith("> ") else line for line in group.lines]
    blocks: list[Block] = []

    def add(kind: str, at: int, count: int, level: int = 0) -> None:
        part = lines[at : at + count]
        text, hyphens = _text_of(kind, part, layout)
        gap = group.gap if not blocks else 0
        blocks.append(Block(kind, text, group.line + at, gap, _indent(part[0]), level, hyphens))

    at = 0
    while at < len(lines):
        line = lines[at]
        if _is_rule(line):
            add("scene", at, 1)
            at += 1
        elif (level := _markdown_level(line)) or (level := _underlined(lines, at)):
            add("heading", at, 1, level)
            at += 1 if line.lstrip().startswith("#") else 2
        elif _item_starts(lines, at, before if not blocks else blocks[-1], following):
            count = _item_lines(lines, at)
            add("item", at, count)
            at += count
        else:
            count = next((k for k in range(at + 1, len(lines)) if _stops(lines, k)), len(lines)) - at
            more = following is not None or at + count < len(lines)
            for kind, start, size in _prose(lines[at : at + count], layout, more):
                add(kind, at + start, size)
            at += count
    return blocks


def _stops(lines: list[str], at: int) -> bool:
    """Does a line end the prose before it: a rule, a heading with its mark, the first item of a list?"""
    if _is_rule(lines[at]) or _markdown_level(lines[at]) or _underlined(lines, at):
        return True
    head = head_of(lines[at])
    if head is not None and head.kind in ("part", "chapter") and _ENDS.search(lines[at - 1].strip()):
        return True
    before = lines[at - 1]
    ended = bool(_ENDS.search(before.strip())) and bool(_BULLET.match(lines[at].lstrip()))
    return _item_starts(lines, at, None) and (
        ended or before.rstrip().endswith(":") or _has_room(before, lines[at], 40)
    )


def _prose(lines: list[str], layout: Layout, more: bool) -> list[tuple[str, int, int]]:
    """(kind, first line, number of lines) for each block of lines that are no list."""
    heads = _head_lines(lines, more, layout.wrapped)
    if heads:
        rest = _prose(lines[heads:], layout, more) if lines[heads:] else []
        return [("heading", 0, heads), *((kind, at + heads, count) for kind, at, count in rest)]
    if len(lines) == 1:
        return [("paragraph", 0, 1)]
    if _is_verse(lines, layout):
        return [("verse", 0, len(lines))]
    starts = [0]
    indents = [_indent(line) for line in lines]
    hanging = len(lines) > 2 and len(set(indents[1:])) == 1 and indents[0] < indents[1]
    set_in = max(layout.margin + 2, min(indents) + 1) if not hanging else len(max(lines, key=len))
    starts += [k for k in range(1, len(lines)) if _paragraph_starts(lines[k - 1], lines[k], layout, set_in)]
    return [("paragraph", a, b - a) for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _head_lines(lines: list[str], more: bool, wrapped: bool) -> int:
    """How many lines at the start are a heading: "CHAPTER I" with its title below, or one line alone with text to
    come.
    """
    head = head_of(lines[0])
    alone = len(lines) == 1 and more
    if head is not None and (head.kind != "number" or alone):
        if alone or len(lines) == 1:
            return 1 if more else 0
        if len(lines) <= 4 and all(looks_like_title(line) for line in lines[1:]):
            return len(lines) if more else 0
        if head.kind in ("part", "chapter"):
            return 2 if not head.title and looks_like_title(lines[1]) and len(lines) > 2 else 1
        return 1 if len(lines[0]) < 40 and not head.title and len(lines[1]) > 40 else 0
    if not wrapped and len(lines) > 1 and looks_like_title(lines[0]) and len(lines[1]) > 2 * len(lines[0]) + 20:
        return 1  # a paragraph a line
    if not more or len(lines) > 3 or not all(looks_like_title(line) for line in lines):
        return 0
    return len(lines) if len(lines) == 1 or all(line.isupper() for line in lines) else 0


def _is_verse(lines: list[str], layout: Layout) -> bool:
    pairs = list(itertools.pairwise(lines))
    if any(_is_cut(a, b) for a, b in pairs):
        return False
    capitals = sum(_starts_capital(b) for _, b in pairs) / len(pairs)
    if layout.wrapped:
        room = sum(_has_room(a, b, 0.8 * layout.width) for a, b in pairs) / len(pairs)
        set_in = min(map(_indent, lines)) > layout.margin
        if len(lines) > 2 and ((set_in and capitals >= 0.8) or (len(lines) > 3 and capitals == 1)):
            return True
        return room >= 0.6 and (capitals >= 0.6 or set_in)
    open_ends = sum(not _ENDS.search(a.strip()) for a, _ in pairs) / len(pairs)
    longest = max(len(line.strip()) for line in lines)
    short = longest <= 25 and len(lines) > 2 and not any(_is_cjk(line.strip()[-1]) for line in lines)
    return longest <= 60 and open_ends >= 0.5 and (capitals >= 0.6 or short)


def _paragraph_starts(last: str, line: str, layout: Layout, set_in: int) -> bool:
    """Is a line the first of a paragraph, with no empty line before it? set_in: the indent that begins one."""
    if _is_cut(last, line):
        return False
    ended = bool(_ENDS.search(last.strip()))
    if not layout.wrapped:
        short = max(len(last.split()), len(line.split())) <= 3 and not _is_cjk(last.strip()[-1])
        return _starts_capital(line) or ended or short
    if _indent(line) >= set_in:
        return True
    return ended and _starts_capital(line) and _has_room(last, line, 0.6 * layout.width)


def _item_starts(lines: list[str], at: int, before: Block | None, following: str | None = None) -> bool:
    line = lines[at].lstrip()
    if _BULLET.match(line):
        dash = line[0] in "–—" or line.startswith("--")  # dialogue of other languages: a paragraph
        return not dash or (before is not None and before.kind == "item")
    match = _NUMBERED.match(line)
    if match is None:
        return False
    more = at + 1 < len(lines) and _NUMBERED.match(lines[at + 1].lstrip())
    if match.group()[0].isalpha() and match.group().strip()[-1] == "." and not more:
        return before is not None and before.kind == "item"  # "A. Milne wrote", "IV. The Lamp"
    if len(lines) == 1 and following is not None and not _NUMBERED.match(following.lstrip()):
        in_list = before is not None and before.kind == "item"
        if head_of(line) is not None and not in_list:
            return False  # "1. Introduction" over a text
    return at == 0 or len(match.group().strip()) > 1


def _item_lines(lines: list[str], at: int) -> int:
    """Lines of the item that begins at `at`: up to the next item, or to a line that is no continuation."""
    end = at + 1
    while end < len(lines) and not _item_starts(lines, end, Block("item", "")):
        set_in = _indent(lines[end]) > _indent(lines[at])
        if not set_in and (_ENDS.search(lines[end - 1].strip()) and _starts_capital(lines[end])):
            break
        if not set_in and _starts_capital(lines[end]) and len(lines[end - 1]) < 40:
            break
        end += 1
    return end - at


def _text_of(kind: str, lines: list[str], layout: Layout) -> tuple[str, int]:
    """The text of a block, and how many words cut at line ends were joined."""
    stripped = [" ".join(line.split()) for line in lines]
    if kind == "scene":
        return " ".join(stripped), 0
    if kind == "heading":
        stripped = [re.sub(r"^#{1,6}\s*|\s*#+$", "", line) if line.startswith("#") else line for line in stripped]
    if kind in ("heading", "verse"):
        return "\n".join(line for line in stripped if line), 0
    if kind == "item":
        stripped[0] = _BULLET.sub("", stripped[0], count=1)
    return join_lines(stripped, layout.words if any(line.endswith("-") for line in stripped) else frozenset())


def join_lines(lines: Sequence[str], words: frozenset[str] = frozenset()) -> tuple[str, int]:
    """Wrapped lines as one, and how many words were cut between two of them.

    A word that a hyphen cuts becomes whole, and keeps its hyphen where `words` (of the text) say so, or where its first
    part is one that compounds begin with ("self-", "well-", "twenty-").
    """
    parts: list[str] = []  # joined without spaces
    joined = 0
    for line in lines:
        last = parts[-1][-200:] if parts else ""
        if not parts:
            parts = [line]
        elif last.endswith("-") and last[-2:-1].isalpha() and line[:1].isalpha():
            joined += 1
            if not _keeps_hyphen(last, line, words):
                parts[-1] = parts[-1][:-1]
            parts.append(line)
        elif last.endswith(("—", "--", "\u00ad")) or (_is_cjk(last[-1:]) and _is_cjk(line[:1])):
            joined += bool(_HAS_WORD.search(last)) and bool(_HAS_WORD.search(line.split(maxsplit=1)[0]))
            parts[-1] = parts[-1].removesuffix("\u00ad")
            parts.append(line)
        else:
            parts += [" ", line]
    return "".join(parts), joined


def _keeps_hyphen(text: str, line: str, words: frozenset[str]) -> bool:
    head = re.split(r"[\s—]", text[:-1])[-1].strip(_OPENING).lower()
    tail = re.split(r"[\s—]", line[:200])[0].strip("”’»)]},.!?:;").lower()
    if f"{head}-{tail}" in words:
        return True
    return f"{head}{tail}" not in words and (head in _KEEPS_HYPHEN or "-" in head or line[:1].isupper())


def _merged_scenes(blocks: list[Block]) -> list[Block]:
    """Rows of stars one below the other are one break."""
    return [
        block
        for before, block in zip([None, *blocks], blocks, strict=False)
        if not (block.kind == "scene" and before is not None and before.kind == "scene")
    ]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_cut(line: str, following: str) -> bool:
    """Does a hyphen cut a word at the end of the line?"""
    return bool(re.search(r"[^\W\d_]-$", line.rstrip())) and following.lstrip()[:1].islower()


def _is_rule(line: str) -> bool:
    return bool(_RULE.fullmatch(line.strip()))


def _markdown_level(line: str) -> int:
    match = re.match(r"(#{1,6})\s+\S", line.strip())
    return len(match[1]) if match else 0


def _underlined(lines: list[str], at: int) -> int:
    """1 for a line over ====, 2 for one over ----; else 0."""
    if at + 1 >= len(lines) or not re.fullmatch(r"\s*(?:={3,}|-{3,})\s*", lines[at + 1]) or len(lines[at]) > 90:
        return 0
    if _ENDS.search(lines[at].strip()) or not any(char.isalnum() for char in lines[at]):
        return 0
    return 1 if "=" in lines[at + 1] else 2


def _has_room(line: str, following: str, width: float) -> bool:
    """Would the first word of the next line have fitted?"""
    word = following.split(maxsplit=1)[0] if following.strip() else ""
    return len(line) + 1 + len(word) <= width


def _starts_capital(line: str) -> bool:
    first = line.lstrip(_OPENING)[:1]
    return first.isupper() or first.isdigit()


def _is_cjk(char: str) -> bool:
    return bool(char) and unicodedata.east_asian_width(char) in "WF" and unicodedata.category(char) in ("Lo", "Po")
