"""The symbols of phone vocabularies that are no phones: silence, unknown speech, stress marks, pauses.

The one owner of their spelling: vocabularies on disk hold these strings.
"""

from __future__ import annotations

UNKNOWN = "<unk>"  # speech without a transcript, such as the prompt
SILENCE = "<sil>"  # before and after the symbols of an utterance
STRESS = "ˈˌ"  # marks of the syllable that follows; they last no time


def is_stress(unit: str) -> bool:
    """A stress mark."""
    return unit in STRESS and unit != ""


def is_pause(unit: str) -> bool:
    """Silence, a space or punctuation: what has no letter and is no stress mark."""
    return unit == SILENCE or (unit not in STRESS and not any(char.isalpha() for char in unit))
