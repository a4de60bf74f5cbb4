"""hexgrad/kokoro#32 (also remsky/Kokoro-FastAPI#331, KoljaB/RealtimeTTS#278): there were no times of words, or they
were empty.

Here every word has its own, in order, within the audio.
"""

from __future__ import annotations


def test_every_word_has_times(tts):
    speech = tts.say("One word after another, and then a new sentence. It ends.", steps=1)
    times = [time for word in speech.words for time in (word.start, word.end)]
    assert [word.text for word in speech.words][-2:] == ["It", "ends"] and len(speech.words) == 11
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= speech.seconds + 0.01
