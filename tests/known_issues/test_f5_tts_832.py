"""SWivid/F5-TTS#832 (also #790, #386, #341): the loss exploded or became NaN without a warning, days into a run.

Here an update with such a gradient is not taken, and many of them in a row end the run and name the state to go on
from.
"""

from __future__ import annotations

import pytest
import torch

from tts_fm.config import TrainConfig
from tts_fm.train.guard import Diverged, Guard


def test_wild_gradients_are_not_taken_and_many_end_the_run():
    guard = Guard(TrainConfig(warmup=0, spike=4.0), "cpu")
    assert all(bool(guard.judge(torch.tensor(1.0), step)) for step in range(20))
    assert not any(bool(guard.judge(torch.tensor(norm), 20)) for norm in (float("nan"), float("inf"), 1e6))
    with pytest.raises(Diverged, match="last.pt"):
        for step in range(21, 2000):
            guard.judge(torch.tensor(float("nan")), step)
            guard.report(step, "last.pt")
