"""Word times: which phone units belong to which written word, and when each word is spoken.

espeak joins small words ("have been" becomes one run of phones), so words are not found by counting spaces: every word
is also phonemised alone and the two unit sequences are matched. U units, times in seconds.
"""

from __future__ import annotations

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
    unit).
    """
    from tts_fm.text.phonemes import phoneme_units_many

    words = [w for w in text.split() if any(c.isalnum() for c in w)]
    starts = [first, *ends]
    result, last = [], first
    for word, (begin, stop) in zip(words, unit_spans(units, phoneme_units_many(words, lang)), strict=True):
        start, end = (max(last, starts[begin]), ends[stop - 1]) if stop > begin else (last, last)
        result.append(Word(word.strip('.,;:!?"()[]'), round(start, 3), round(max(start, end), 3)))
        last = max(start, end)
    return result
