"""Word times: which phone units belong to which written word, and when each word is spoken.

espeak joins small words ("have been" becomes one run of phones), so words are not found by counting spaces: every word
is also phonemised alone and the two unit sequences are matched. U units, times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True)
class Word:
    """A written word and when it is spoken, in seconds from the start of the audio."""

    text: str
    start: float
    end: float


def unit_spans(units: Sequence[str], words: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """For each word (its units when spoken alone) the range [first, last + 1) of `units` it takes up; empty where
    nothing matched.
    """
    alone = [unit for word in words for unit in word]
    owner = [k for k, word in enumerate(words) for _ in word]
    spans = [(len(units), 0)] * len(words)
    for block in SequenceMatcher(None, alone, list(units), autojunk=False).get_matching_blocks():
        for i in range(block.size):
            if alone[block.a + i] not in "ˈˌ ":
                first, last = spans[owner[block.a + i]]
                spans[owner[block.a + i]] = (min(first, block.b + i), max(last, block.b + i + 1))
    return [(first, max(first, last)) for first, last in spans]


def word_times(text: str, units: Sequence[str], ends: Sequence[float], lang: str, first: float = 0.0) -> list[Word]:
    """Times of the words of `text`, spoken as `units` that start at `first` and end at `ends` seconds (one for each
    unit), in thousandths.
    """
    from tts_fm.text.phonemes import phoneme_units_many

    words = [w for w in text.split() if any(c.isalnum() for c in w)]
    if not words:
        return []
    starts = [first, *ends]
    result, last = [], first
    for word, (begin, stop) in zip(words, unit_spans(units, phoneme_units_many(words, lang)), strict=True):
        start, end = (max(last, starts[begin]), ends[stop - 1]) if stop > begin else (last, last)
        result.append(Word(word.strip('.,;:!?"()[]'), _in_thousandths(start), _in_thousandths(max(start, end))))
        last = max(start, end)
    return result


def _in_thousandths(seconds: float) -> float:
    """Rounded down, so that no word ends behind the sound that it is in."""
    return math.floor(seconds * 1000 + 1e-6) / 1000


def written_times(
    written: Sequence[str], spoken: Sequence[tuple[str, float, float]], seconds: float
) -> list[tuple[float, float]]:
    """(start, end) of each written word, from the times of the words as they are spoken ("1865" is four of them).

    Both are matched word by word; what does not match takes its share of the time between its neighbours.
    """
    parts = [spoken_form(word) for word in written]
    flat = [(k, word) for k, words in enumerate(parts) for word in words]
    heard = [bare(word) for word, _, _ in spoken]
    owner: list[list[int]] = [[] for _ in written]
    matcher = SequenceMatcher(None, [word for _, word in flat], heard, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        for n in range(a, b):
            if kind == "equal":
                owner[flat[n][0]].append(c + n - a)
            elif kind == "replace":
                owner[flat[n][0]].append(c + (n - a) * (d - c) // (b - a))
    times: list[tuple[float, float] | None] = [
        (min(spoken[n][1] for n in own), max(spoken[n][2] for n in own)) if own else None for own in owner
    ]
    return _filled(times, seconds)


def _filled(times: list[tuple[float, float] | None], seconds: float) -> list[tuple[float, float]]:
    """Times for the words that have none, between their neighbours'; none runs backwards."""
    done: list[tuple[float, float]] = []
    for k, time in enumerate(times):
        last = done[-1][1] if done else 0.0
        if time is None:
            ahead = next((n for n in range(k, len(times)) if times[n] is not None), len(times))
            following = times[ahead] if ahead < len(times) else None
            limit = max(last, following[0] if following is not None else seconds)
            time = (last, last + (limit - last) / (ahead - k + 1))
        start = max(time[0], done[-1][0] if done else 0.0)
        done.append((start, max(start, time[1])))
    return done


def spoken_form(word: str) -> list[str]:
    """The words, in small letters, as which a written one is spoken alone."""
    from tts_fm.text.normalise import normalise

    return [plain for part in normalise(word).split() if (plain := bare(part))] or [bare(word)]


def bare(word: str) -> str:
    """Letters and digits alone, small."""
    return "".join(char for char in word.lower() if char.isalnum())
