"""Lines that stand over a text: CHAPTER IV, Letter 2, ACT I, I. THE TITLE, a bare number, a line in capitals.

Pure text work on one line at a time. `head_of` tells the kind and the number of a line that is a heading by its words;
`looks_like_title` is the weaker guess for lines without such a word. What is a chapter of a book is decided elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_TITLE = 90  # characters
MOST_WORDS = 14

PARTS = "part book volume vol act tome section"  # hold chapters
CHAPTERS = "chapter chap letter canto stave scene lecture sermon tale story fable essay adventure night day kapitel"
NAMED = (
    "prologue epilogue preface foreword introduction afterword postscript interlude conclusion appendix notes endnotes "
    "footnotes contents dedication acknowledgements acknowledgments bibliography index glossary colophon copyright "
    "epigraph"
)
ROMAN = r"(?=[MDCLXVI])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
_SPELLED = {word: n for words in (_ONES, _ORDINALS) for n, word in enumerate(words, 1)} | {
    f"{ten}{dash}{one}" if one else ten: 20 + 10 * t + (_ONES.index(one) + 1 if one else 0)
    for t, ten in enumerate(_TENS)
    for one in ["", *_ONES[:9]]
    for dash in "- "
} | {"last": 0, "the last": 0}  # fmt: skip
_NUMBER = rf"[0-9]{{1,4}}|{ROMAN}|(?:the )?(?:{'|'.join(sorted(_SPELLED, key=len, reverse=True))})"
_WORDED = re.compile(
    rf"(?P<word>{'|'.join((PARTS + ' ' + CHAPTERS).split())})\.? (?P<number>(?-i:{ROMAN})|{_NUMBER})"
    r"(?=$|[\s.:,;)\]–—-])[.:,;)\]]?\s*(?:[-–—]+\s*)?(?P<title>.*)",
    re.IGNORECASE,
)
_ORDINAL_FIRST = re.compile(
    rf"(?:the )?(?P<number>{'|'.join(_ORDINALS)}|[0-9]{{1,3}}(?:st|nd|rd|th))"
    rf" (?P<word>{'|'.join((PARTS + ' ' + CHAPTERS).split())})[.:]?\s*(?:[-–—]+\s*)?(?P<title>.*)",
    re.IGNORECASE,
)
_NAMED = re.compile(
    rf"(?:(?:author[’']s|translator[’']s|editor[’']s|publisher[’']s|table of|the|an?|list of)\s)?"
    rf"(?P<word>{'|'.join(NAMED.split())}|note)(?P<title>\b[^a-z]*|[.:]\s.*|\s(?:to|by)\s.*)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    rf"(?P<number>{ROMAN}|[0-9]{{1,3}})(?:[.):]\s*(?:[-–—]+\s*)?|\s+[-–—]\s*|$)"
    r"(?P<title>.*)"
)
_OPENING = "\"'“‘«([{¿¡_*"
_SMALL = frozenset(
    "a an and as at but by for from in into is nor of off on or over the to up with de la le der die und von".split()
)


@dataclass(frozen=True)
class Head:
    """A heading by its words."""

    kind: str  # "part", "chapter", "named" (a preface, notes, ...) or "number" (nothing but a number, and a title)
    word: str  # "chapter", "act", "epilogue"; "" for a number alone
    number: int | None
    title: str  # what follows the number


def head_of(line: str) -> Head | None:
    """What a line is a heading of, by its words; None for any other line. "Chapter 3 was long." is a sentence: None."""
    line = " ".join(line.split()).strip("_*= ")
    line = re.sub(r"^(?:[-–—]+|\[|\() ?(.{1,12}?) ?(?:[-–—]+|\]|\))$", r"\1", line)  # "— I —", "[ 1 ]"
    if not 0 < len(line) <= LONGEST_TITLE:
        return None
    for pattern in (_WORDED, _ORDINAL_FIRST):
        match = pattern.fullmatch(line)
        if match is not None and _title_after(match["title"], match["word"]):
            word = match["word"].lower()
            kind = "part" if word in PARTS.split() else "chapter"
            return Head(kind, word, number_of(match["number"]), match["title"].strip())
    match = _NAMED.fullmatch(line)
    if match is not None and (line[0].isupper() or line.isupper()) and len(line.split()) <= 10:
        return Head("named", match["word"].lower(), None, match["title"].strip(" .:"))
    match = _NUMBERED.fullmatch(line)
    if match is not None and (not match["title"] or looks_like_title(match["title"])):
        return Head("number", "", number_of(match["number"]), match["title"].strip())
    return None


def number_of(text: str) -> int | None:
    """ "IV", "4", "four", "fourth", "4th" -> 4; None for what is no number (and 0 for "the last")."""
    text = text.strip().lower().removeprefix("the ")
    if digits := re.fullmatch(r"([0-9]{1,4})(?:st|nd|rd|th)?", text):
        return int(digits[1])
    if text in _SPELLED:
        return _SPELLED[text]
    if text and re.fullmatch(ROMAN, text.upper()):
        values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[char] for char in text.upper()]
        return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))
    return None


def looks_like_title(line: str) -> bool:
    """Short, no mark of a sentence's end, and in capitals or with capitals at its words."""
    line = " ".join(line.split()).strip("_*")
    words = line.split()
    if not words or len(line) > LONGEST_TITLE or len(words) > MOST_WORDS or not any(c.isalpha() for c in line):
        return False
    if line.endswith((".", ";", ",", ":", "-", "—", "”", "’", '"', "'")) and not re.search(
        r"\b(?:[A-Z]\.|etc\.)$", line
    ):
        return line.endswith(".") and line.isupper() and len(words) > 1
    if line.isupper():
        return True
    if line[0] in _OPENING or (line.endswith(("!", "?")) and len(words) > 8):
        return False
    bare = [word.strip(_OPENING + "”’»)]},.!?:;") for word in words]
    capitals = [word[:1].isupper() or word[:1].isdigit() for word in bare if word and word.lower() not in _SMALL]
    return bool(capitals) and capitals[0] and all(capitals)


def _title_after(title: str, word: str) -> bool:
    """May this follow "Chapter 3" in a heading? A sentence that goes on with a small letter may not."""
    title = title.strip()
    if not title:
        return True
    if title[0].islower() or (title.endswith((",", ";")) and not title.isupper()):
        return False
    loose = word.lower() in ("day", "night", "story", "tale", "book", "section")
    return not loose or looks_like_title(title) or (title[0].isdigit() and len(title.split()) < 4)
