"""k2-fsa/ZipVoice#119: spoken more slowly (speed 0.8), the audio held silences of more than a second.

Here what is slowed is the words: they take 1.25 times as long, and no silence among them becomes that long.
"""

from __future__ import annotations

import pytest

from tts_fm.settings import Settings
from tts_fm.synthesis import Request
from tts_fm.text.symbols import is_pause


def test_slow_speech_has_no_long_silence(tts):
    text = "The old man walked down to the sea, slowly, and sat there. Nobody spoke."
    plain, slow = (tts.plan(Request(text, "nova", settings=Settings(speed=speed))) for speed in (1.0, 0.8))
    timed = [pair for job in slow for pair in zip(job.ids, job.durations, strict=True)]
    assert max(frames / 93.75 for unit, frames in timed if is_pause(tts.engine.vocab[unit])) < 0.5
    words = [sum(sum(job.durations[2:-1]) for job in jobs) for jobs in (plain, slow)]
    assert words[1] == pytest.approx(1.25 * words[0], rel=0.05)
