"""The symbols of phone vocabularies that are no phones: silence, unknown speech, stress marks, pauses.

The one owner of their spelling: vocabularies on disk hold these strings.
"""

from __future__ import annotations

UNKNOWN = "<unk>"  # speech without a transcript, such as the prompt
SILENCE = "<sil>"  # before and after the symbols of an utterance
STRESS = "ˈˌ"  # marks of the syllable that follows; they last no time


def kind_of(symbol: str) -> str:
    """ "stress" (a mark), "phone" (it has a letter), "pause" (silence, space, punctuation), "special" (as <unk>)."""
    if symbol == SILENCE:
        return "pause"
    if symbol.startswith("<") and symbol.endswith(">") and len(symbol) > 2:
        return "special"
    if symbol and symbol in STRESS:
        return "stress"
    return "phone" if any(char.isalpha() for char in symbol) else "pause"


def is_stress(unit: str) -> bool:
    """A stress mark."""
    return kind_of(unit) == "stress"


def is_pause(unit: str) -> bool:
    """Silence, a space or punctuation: what has no letter and is no stress mark."""
    return kind_of(unit) == "pause"
