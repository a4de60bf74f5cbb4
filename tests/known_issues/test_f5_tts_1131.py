"""SWivid/F5-TTS#1131 (also #762): training on forty recordings ended in a division by zero, since an epoch held fewer
batches than were accumulated.

Here an epoch of one recording is an epoch.
"""

from __future__ import annotations

import pytest

from tts_fm.data.batches import Buckets


@pytest.mark.parametrize("frames", [[300], [300, 301], [50, 900]])
def test_few_recordings_make_batches(frames: list[int]):
    buckets = Buckets(frames, budget=38_400, seed=1)
    assert buckets.per_epoch >= 1 and buckets.too_long == 0
    seen = {int(index) for _, chosen in buckets.epoch(0) for index in chosen}
    assert seen == set(range(len(frames)))
