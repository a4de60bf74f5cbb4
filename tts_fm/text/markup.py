"""The two marks a user may put into text: `[word](/ipa/)` says a word by its phones, `<break 0.5s>` makes a pause.

`parse_markup` cuts text into Text, Ipa and Break pieces, in order; everything that is not exactly a mark stays text.
SSML's spelling `<break time="500ms"/>` is read too. This module does not know phones or languages; `Ipa.ipa` is passed
on as it was typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_BREAK = 10.0  # seconds

_MARK = re.compile(
    r"\[(?P<word>[^\[\]\n]{1,200})\]\(/(?P<ipa>[^/()\[\]\n]{1,200})/\)"
    r"|<break[ \t]{1,20}(?:time[ \t]{0,20}=[ \t]{0,20})?[\"']?"
    r"(?P<number>[+-]?[0-9.]{1,20})[ \t]{0,20}(?P<unit>[a-z]{0,10})[\"']?[ \t]{0,20}/?>",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


@dataclass(frozen=True)
class Text:
    """Ordinary text, to be normalised and spoken."""

    text: str


@dataclass(frozen=True)
class Ipa:
    """A word whose phones the user gave."""

    word: str  # what is written
    ipa: str  # what is spoken, without the slashes


@dataclass(frozen=True)
class Break:
    """Silence."""

    seconds: float  # 0 to 10


Piece = Text | Ipa | Break


def parse_markup(text: str) -> list[Piece]:
    """Pieces of `text` in order; text without marks gives one Text, empty text an empty list.

    Raises ValueError only for a break whose length is not `0s` to `10s` (or `0ms` to `10000ms`), such as `<break 99s>`
    or `<break 5>`.
    """
    pieces: list[Piece] = []
    at = 0
    for match in _MARK.finditer(text):
        if match["word"] is not None and not (match["word"].strip() and match["ipa"].strip()):
            continue
        if match.start() > at:
            pieces.append(Text(text[at : match.start()]))
        at = match.end()
        if match["word"] is not None:
            pieces.append(Ipa(match["word"].strip(), match["ipa"].strip()))
        else:
            pieces.append(Break(_seconds(match)))
    if at < len(text):
        pieces.append(Text(text[at:]))
    return pieces


def plain_text(pieces: list[Piece]) -> str:
    """What a reader would see: the text and the written words, without the marks."""
    return "".join(
        piece.text if isinstance(piece, Text) else piece.word if isinstance(piece, Ipa) else " " for piece in pieces
    )


def _seconds(match: re.Match[str]) -> float:
    scale = {"s": 1.0, "ms": 0.001}.get(match["unit"].lower())
    if scale is not None and _NUMBER.fullmatch(match["number"]):
        seconds = float(match["number"]) * scale
        if 0.0 <= seconds <= LONGEST_BREAK:
            return seconds + 0.0  # -0 is 0
    raise ValueError(
        f"the pause {match.group()!r} is not understood: write <break 0.5s> or <break 500ms>, from 0 to "
        f"{LONGEST_BREAK:g} s"
    )
