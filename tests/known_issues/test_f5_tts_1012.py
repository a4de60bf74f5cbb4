"""SWivid/F5-TTS#1012 (also #340, #995): the same text sounded different at every click, and the command line took no
seed.

Here the same request gives the same samples, another seed others, and nothing global is seeded.
"""

from __future__ import annotations

import numpy as np


def test_the_same_request_gives_the_same_samples(tts):
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    one, two, other = (tts.say("Good morning.", steps=1, seed=seed).wave for seed in (7, 7, 8))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    assert np.array_equal(before, np.random.get_state()[1])
