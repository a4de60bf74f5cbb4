"""SWivid/F5-TTS#850: speech trembled where a stretch was longer than the model had learnt, and a sentence without
punctuation was never divided.

Here it is divided between words, and nothing is lost.
"""

from __future__ import annotations

from tts_fm.text.chunks import plan_chunks
from tts_fm.text.tokens import CharTokenizer


def test_a_sentence_without_any_mark_is_divided_between_words():
    text = "and then we went on and on along the river " * 20
    plans = plan_chunks(text.strip(), CharTokenizer([" "]), "en-us", budget=8.0)
    assert len(plans) > 5 and all(len(plan.text) / 14 <= 8.5 for plan in plans)
    assert " ".join(plan.text for plan in plans).split() == text.split()
