"""SWivid/F5-TTS#1010: after words at the end of a recording had been edited, its last word was gone.

Here what stays is the recording's own samples, up to the last.
"""

from __future__ import annotations

import numpy as np

from tts_fm.edit import Aligner, edit

SAID = "When, whenever he was doing the podcast."


def test_the_last_word_stays(tts):
    wave = tts.say(SAID, "nova", steps=2).wave
    edited = edit(tts, wave, SAID, "Whenever he was doing the podcast.", aligner=Aligner.load())
    assert [word.text.lower() for word in edited.words][-2:] == ["the", "podcast"]
    tail = round(0.6 * 24_000)  # within the last word and the silence behind it
    assert np.allclose(edited.wave[-tail:], wave[-tail:], atol=1e-6)
