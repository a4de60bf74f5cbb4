"""SWivid/F5-TTS#311 (also #1139, #1207; yl4579/DMOSpeech2#10): a long reference was cut to 12 s, its transcript was
not, and the speech was gibberish or far too fast.

Here a transcript that belongs to more than what is kept is refused with the remedy; without one the cut is only told.
"""

from __future__ import annotations

import numpy as np
import pytest

from tts_fm.audio.prompt import check_reference

RATE = 24_000


def test_a_cut_recording_and_its_whole_transcript_do_not_go_together():
    time = np.arange(20 * RATE) / RATE
    wave = (0.3 * np.sin(2 * np.pi * 150 * time) * ((time % 0.4) < 0.28)).astype(np.float32)
    with pytest.raises(ValueError, match="the limit is 12 s.*drop the text"):
        check_reference(wave, "Twenty seconds of this.", max_seconds=12)
    kept = check_reference(wave, max_seconds=12)
    assert kept.seconds <= 12 and any("of 20.0 s" in warning for warning in kept.warnings)
