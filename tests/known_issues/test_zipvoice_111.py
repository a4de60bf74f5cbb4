"""k2-fsa/ZipVoice#111: there was no batched inference, and it was not clear that padding leaves a result as it is.

Here what is spoken in a batch is, sample for sample, what is spoken alone.
"""

from __future__ import annotations

import numpy as np

from tts_fm.settings import Settings
from tts_fm.synthesis import Request


def test_a_batch_is_what_is_said_alone(tts):
    texts = ["Yes.", "The boat came in with the tide, after dark."]
    batched = dict(tts.batch([Request(text, "emma", settings=Settings(steps=1)) for text in texts]))
    for number, text in enumerate(texts):
        assert np.array_equal(batched[number].wave, tts.say(text, "emma", steps=1).wave)
