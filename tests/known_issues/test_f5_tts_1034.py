"""SWivid/F5-TTS#1034 (also rhasspy/piper#275, kyutai-labs/pocket-tts#6): a pause of exactly one or two seconds could
not be asked for.

Here `<break 1.5s>` is 1.5 s of silence, to the sample.
"""

from __future__ import annotations

import numpy as np


def test_a_pause_is_as_long_as_it_says(tts):
    plain, paused = (list(tts.stream(f"Ready.{mark} Go.", steps=1)) for mark in ("", " <break 1.5s>"))
    assert [chunk.pause for chunk in paused] == [0, 36_000] and len(plain) == 1
    assert not np.any(paused[1].wave[:36_000])
