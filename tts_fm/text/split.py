"""Sentences, and their packing into chunks of a duration budget.

`sentences` cuts at sentence ends (not after "Dr.", "e.g.", "U.S.", initials, "1.") and at line breaks; `pack` joins
whole sentences while they fit, and cuts a sentence that alone is too long: at clause punctuation, then between words,
then between characters; `opening` cuts off what is spoken first. No word is lost. This module does not know how long
text takes to say: the caller gives `cost`.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

# A possible end: marks, closing quotes or brackets, then space or the end. Chinese and Japanese marks need no space.
_END = re.compile(
    r"(?:[.!?…]{1,20}|[。！？｡])[\"'”’»)\]}]{0,4}(?=\s|$)|"
    r"[。！？｡][」』”’）]{0,4}"
)
SMALL_LETTERS = "\U000f8000", "\U000fffff"  # characters that stand for words in small letters, from and to
_OPENING = "\"'“‘«([{¿¡-–—*"
_CLOSING = "\"'”’»)]}」』）"

# Abbreviations that stand before what they belong to: their full stop never ends a sentence.
_BEFORE = frozenset(
    (
        "dr mr mrs ms mx prof rev hon gen col capt cmdr lt sgt cpl pvt adm maj sen rep gov pres supt messrs mme mlle "
        "st mt ft vs v cf viz "
        "ca approx fig figs eq eqs vol vols ch sec art pp p no nos op ed eds jan feb mar apr jun jul aug sep sept oct "
        "nov dec e.g i.e al "
        "resp incl"
    ).split()
)
# Of those, the ones that also are common words at the end of a sentence: a full stop counts unless a number follows.
_NUMBERED = frozenset("no nos art mar sec op ed p ch eq fig vol pp figs eqs vols".split())
# Words that start sentences far more often than they follow an abbreviation as part of a name.
_STARTERS = frozenset(
    (
        "The This That These Those There Then They He She It We You I A An And But Or So Yet If In On At By For From "
        "To As After Before "
        "When While Where What Who Why How His Her Its Our Your My Their Not No Yes All Some Many Most However "
        "Although Because Since "
        "Today Now"
    ).split()
)
# Words that begin a phrase: a voice may rest before them, but not behind them.
_LINKS = frozenset(
    (
        "and or but nor so yet that which who whom whose because when while where if as than though although to in on "
        "at of with from for by into onto over under through after before between until without like about against"
    ).split()
)
_CLAUSE = re.compile(r"[,;:—–、，；：][\"'”’»)\]]{0,4}\s|[、，；：]|\s[-–—]{1,3}\s")


def sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped, in order. `" ".join(...)` has the words of the text. A line break ends a
    sentence, so give text whose lines are paragraphs (as `normalise` returns it). Time is linear in the text."""
    found: list[str] = []
    for line in re.split(r"[\r\n\v\f\x85\u2028\u2029]+", text):
        start = 0
        for match in _END.finditer(line):
            if _ends(line, start, match):
                found.append(line[start : match.end()].strip())
                start = match.end()
        found.append(line[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends(line: str, start: int, match: re.Match[str]) -> bool:
    """Whether the marks of `match` end the sentence that began at `start`."""
    mark = match.group().rstrip(_CLOSING)
    if mark[-1] in "。！？｡" or not line[match.end() : match.end() + 2].strip():
        return True  # the second: end of the line (or spaces only, which strip() takes away)
    after = line[match.end() : match.end() + 40].lstrip().lstrip(_OPENING).lstrip()
    if after[:1].islower() or SMALL_LETTERS[0] <= after[:1] <= SMALL_LETTERS[1]:
        return False
    if mark != ".":
        return True
    token = line[max(start, match.start() - 30) : match.start()].split()[-1:] or [""]
    word = token[0].lstrip(_OPENING)
    return _full_stop(
        word,
        after,
        at_start=line[start : match.start()].strip() == token[0],
        before=_word_before(line, start, match.start()),
    )


def _full_stop(word: str, after: str, at_start: bool, before: str) -> bool:
    """Whether "." after `word` ends a sentence, when `after` (which begins with no small letter) follows."""
    name = word.lower()
    if name in _NUMBERED:
        return not after[:1].isdigit()
    if name in _BEFORE:
        return False
    next_word = re.split(r"[\s,.;:!?'’]", after, maxsplit=1)[0]
    if re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", word):  # U.S, p.m, J.R.R
        return next_word in _STARTERS
    if len(word) == 1 and word.isupper() and word != "I":  # an initial, if a name stands around it
        return not (at_start or before[:1].isupper()) or (next_word in _STARTERS and next_word not in {"A", "I"})
    return not (at_start and word.isdigit() and len(word) <= 3)  # "1. First" is one item of a list


def _word_before(line: str, start: int, stop: int) -> str:
    words = line[max(start, stop - 60) : stop].split()
    return words[-2] if len(words) > 1 else ""


def opening(sentences: Sequence[str], budget: float, cost: Callable[[str], float]) -> tuple[str, list[str], bool]:
    """What is spoken first, the sentences that are left, and whether one of them was cut; blank ones vanish.

    The first part is whole sentences of `cost` <= budget; or one sentence of up to twice the budget, for each cut costs
    time and melody; or the beginning of one that is longer: up to the last , ; : or dash within the budget, or within
    twice the budget, else up to the last word before a preposition or conjunction, else a few words. No part of a cut
    sentence costs less than half the budget; a sentence that has no such place stays whole.
    """
    found = [sentence.strip() for sentence in sentences if sentence.strip()]
    if not found:
        return "", [], False
    if cost(found[0]) <= budget:
        count = _how_many([_Part(" ", sentence) for sentence in found], 0, budget, cost)
        return " ".join(found[:count]), found[count:], False
    at = _early_cut(found[0], budget, cost) if cost(found[0]) > 2 * budget else 0
    if not at:
        return found[0], found[1:], False
    return found[0][:at].strip(), [found[0][at:].strip(), *found[1:]], True


def _early_cut(text: str, budget: float, cost: Callable[[str], float]) -> int:
    """See `opening`; 0 = nowhere."""

    def fit(pattern: str | re.Pattern[str], most: float) -> list[int]:
        near = itertools.takewhile(
            lambda at: cost(text[:at].strip()) <= most, (match.end() for match in re.finditer(pattern, text))
        )
        return [at for at in near if min(cost(text[:at].strip()), cost(text[at:].strip())) >= budget / 2]

    clauses, spaces = fit(_CLAUSE, budget) or fit(_CLAUSE, 2 * budget), fit(r"\s+", budget)
    around = [(at, text[:at].rsplit(maxsplit=1)[-1], text[at:].split(maxsplit=1)[0]) for at in spaces]
    links = [at for at, before, behind in around if _is_link(behind) and not _is_link(before)]
    return next((places[-1] for places in (clauses, links, spaces) if places), 0)


def _is_link(word: str) -> bool:
    return word.strip(_OPENING + _CLOSING).lower() in _LINKS


class _Part(NamedTuple):
    glue: str  # what joins it to the part before: " " or "" (cut inside a word, or in a script without spaces)
    text: str


def pack(sentences: Sequence[str], budget: float, cost: Callable[[str], float]) -> list[str]:
    """Chunks of whole sentences with `cost(chunk) <= budget` (both in seconds, budget > 0), in order; blank sentences
    vanish.

    A sentence over the budget is cut near its middle at , ; : or a dash, else between words, else between characters,
    until every part fits; only a single character that costs more than the budget is returned as it is. `cost` should
    not fall when text is added. Raises ValueError for a budget that is not a positive number.
    """
    if not budget > 0:
        raise ValueError(f"the budget is {budget!r}; it must be a positive number of seconds")
    parts: list[_Part] = []
    for sentence in sentences:
        if sentence.strip():
            parts.extend(_fit(_Part(" ", sentence.strip()), budget, cost))
    chunks: list[str] = []
    at = 0
    while at < len(parts):
        count = _how_many(parts, at, budget, cost)
        chunks.append(_join(parts[at : at + count]))
        at += count
    return chunks


def _join(parts: Sequence[_Part]) -> str:
    return "".join(part.glue + part.text for part in parts).strip()


def _how_many(parts: Sequence[_Part], at: int, budget: float, cost: Callable[[str], float]) -> int:
    """The most parts from `at` on that fit together (at least one), found by doubling and halving: few calls of
    `cost`.
    """
    fits, step = 1, 1
    limit = len(parts) - at
    while fits < limit and cost(_join(parts[at : at + min(fits + step, limit)])) <= budget:
        fits = min(fits + step, limit)
        step *= 2
    too_many = min(fits + step, limit + 1)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if cost(_join(parts[at : at + middle])) <= budget:
            fits = middle
        else:
            too_many = middle
    return fits


def _fit(part: _Part, budget: float, cost: Callable[[str], float]) -> list[_Part]:
    """`part` as parts that each fit, cut near the middle again and again (a stack, since depth follows the text)."""
    done: list[_Part] = []
    stack = [part]
    while stack:
        part = stack.pop()
        seconds = cost(part.text)
        if math.isnan(seconds):
            raise ValueError(f"the cost of {part.text[:40]!r} is not a number")
        if seconds <= budget or len(part.text) < 2:
            done.append(part)
            continue
        cut = _best_cut(part.text)
        left, right = part.text[:cut], part.text[cut:]
        glue = " " if left[-1:].isspace() or right[:1].isspace() else ""
        stack += [_Part(glue, right.strip()), _Part(part.glue, left.strip())]
    return done


def _best_cut(text: str) -> int:
    """Where to cut stripped `text` of two or more characters, so that both sides have something."""
    middle = len(text) / 2
    clauses = [match.end() for match in _CLAUSE.finditer(text) if match.end() < len(text)]
    if clauses:
        return min(clauses, key=lambda at: abs(at - middle))
    spaces = [match.start() for match in re.finditer(r"\s+", text)]
    if spaces:
        return min(spaces, key=lambda at: abs(at - middle))
    cut = len(text) // 2
    while cut < len(text) - 1 and (unicodedata.combining(text[cut]) or text[cut] in "\u200d\ufe0f"):
        cut += 1
    return cut
