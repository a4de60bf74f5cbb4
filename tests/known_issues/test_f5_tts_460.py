"""SWivid/F5-TTS#460 (also #1185, #1001): one word alone came out as noise, the first word of a short text was lost,
because lengths were guessed from bytes.

Here durations are a model's: a word gets the time of a word, and the aligner hears it.
"""

from __future__ import annotations

import pytest

from tts_fm.engines.align import DOUBTFUL, Aligner


@pytest.mark.parametrize("text", ["Hi.", "Yes.", "Hi. How are you?"])
def test_a_short_text_is_spoken_whole_and_briefly(tts, text: str):
    speech = tts.say(text, "nova")
    assert 0.3 < speech.seconds < 0.6 + 0.6 * len(text.split())
    assert [word.text for word in speech.words] == text.replace(".", "").replace("?", "").split()
    assert Aligner.load().align(speech.wave, text).score > DOUBTFUL
