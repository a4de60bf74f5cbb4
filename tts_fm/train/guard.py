"""The guard of a run: updates whose gradient is not finite, or far larger than usual, are skipped, and too many of them
in a row end the run.

It decides on the device, so that a GPU need not stop after every update; what it decided is read, told and judged now
and then (`report`). It knows the norms of gradients, and nothing else of the training.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor

from tts_fm.config import TrainConfig
from tts_fm.errors import TtsFmError

logger = logging.getLogger(__name__)
FIELDS = ("usual", "skipped", "in_row")


class Diverged(TtsFmError):
    """Too many updates in a row had to be skipped."""


class Guard:
    """usual: the gradient's norm of late; skipped: updates that were not taken; in_row: how many of them the last ones
    were.
    """

    def __init__(self, config: TrainConfig, device: torch.device | str) -> None:
        self.config = config
        self.usual, self.skipped, self.in_row = (torch.zeros((), device=device) for _ in FIELDS)
        self.longest = torch.zeros((), device=device)  # row of skipped updates since the last report
        self.norm = torch.zeros((), device=device)  # of the last one that was skipped
        self.told = 0  # skipped updates that have been told

    def judge(self, norm: Tensor, step: int) -> Tensor:
        """Whether to take the update of step `step`: a () bool tensor on the device. Nothing waits for it here."""
        bad = ~torch.isfinite(norm)
        if self.config.spike and step >= self.config.warmup:
            bad = bad | ((self.usual > 0) & (norm > self.config.spike * self.usual))
        usual = torch.where(self.usual > 0, 0.98 * self.usual + 0.02 * norm, norm)
        self.usual = torch.where(bad, self.usual, usual)
        self.skipped = self.skipped + bad
        self.in_row = torch.where(bad, self.in_row + 1, 0.0)
        self.longest = torch.maximum(self.longest, self.in_row)
        self.norm = torch.where(bad, norm, self.norm)
        return ~bad

    def report(self, step: int, last: str) -> None:
        """Tell what was skipped up to step `step` (and since the last report). `last` is named as the state to go on
        from. Raises Diverged.
        """
        skipped, longest, norm, usual = torch.stack([self.skipped, self.longest, self.norm, self.usual]).tolist()
        self.longest = self.in_row.clone()
        if skipped == self.told:
            return
        what = f"{norm:.3g}, usually {usual:.3g}" if math.isfinite(norm) else "not finite"
        many = "the update is skipped" if skipped == self.told + 1 else f"{skipped - self.told:.0f} updates are skipped"
        logger.warning("step %d: the gradient norm is %s: %s (%d so far)", step, what, many, skipped)
        self.told = int(skipped)
        if longest >= self.config.most_skipped:
            raise Diverged(
                f"the run has diverged: {longest:.0f} updates in a row were skipped, the last at step {step} (gradient "
                f"norm {what}). {last} holds an earlier state: go on from it with a lower learning rate or longer "
                "warm-up"
            )

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        values = torch.stack([getattr(self, name) for name in FIELDS]).tolist()
        return dict(zip(FIELDS, values, strict=True))

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name in FIELDS:
            setattr(self, name, torch.tensor(float(state[name]), device=self.usual.device))
        self.longest, self.told = self.in_row.clone(), int(state["skipped"])
