"""A network's forward over memory that stays where it is: on a GPU recorded once as a CUDA graph and then replayed, one
launch where the forward takes some hundred. On other devices the same memory is used and nothing is recorded.

It knows conditions and steps, and no solver. A recording serves every call of the same shapes; a few are kept.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from tts_fm.model.condition import Condition

KEPT = 4  # recordings of one model; each holds the memory of its forward
log = logging.getLogger(__name__)


def recordable(device: torch.device) -> bool:
    """Whether forwards are recorded on a device. TTS_FM_GRAPHS=0 says no."""
    return device.type == "cuda" and torch.cuda.is_available() and os.environ.get("TTS_FM_GRAPHS", "1") != "0"


class Forward:
    """One forward of one shape. `step` is what runs: (x, t, condition, modulations) -> velocity."""

    def __init__(self, step: Any, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor], record: bool) -> None:
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None
        self.x, self.t, self.modulations = x.clone(), t.clone(), [m.clone() for m in modulations]
        parts: list[Any] = [None if part is None else part.clone() for part in vars(c).values()]
        self.condition = Condition(*parts)
        self.seen: Condition | None = c  # whose numbers the memory holds
        if record:
            self.record()

    def run(self) -> Tensor:
        return self.step(self.x, self.t, self.condition, self.modulations)

    def record(self) -> None:
        """Run a few times aside, so that every kernel is chosen and loaded, then record."""
        side = torch.cuda.Stream(self.x.device)
        side.wait_stream(torch.cuda.current_stream(self.x.device))
        with torch.cuda.stream(side):
            for _ in range(2):
                self.run()
        torch.cuda.current_stream(self.x.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.out = self.run()
        self.graph = graph

    def __call__(self, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor]) -> Tensor:
        self.x.copy_(x)
        self.t.copy_(t)
        for kept, new in zip(self.modulations, modulations, strict=True):
            kept.copy_(new)
        if c is not self.seen:  # once for a sample, not at every step
            for name, part in vars(c).items():
                if part is not None:
                    getattr(self.condition, name).copy_(part)
            self.seen = c
        if self.graph is None:
            return self.run()
        self.graph.replay()
        return self.out.clone()


class Recordings:
    """The forwards of one model, the last used of each shape. A copy of it begins empty."""

    def __init__(self) -> None:
        self.kept, self.works = OrderedDict[Any, Forward](), True
        self.lock = threading.Lock()  # what is recorded has one memory: one call at a time

    def __reduce__(self) -> tuple[type[Recordings], tuple[()]]:
        return Recordings, ()

    def __call__(
        self, step: Any, weight: Tensor, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor]
    ) -> Tensor:
        """step(x, t, c, modulations), in memory of its own. weight: one of the network's; where it has moved, what was
        recorded is of no use.
        """
        tensors = [x, t, *modulations, *vars(c).values()]
        shapes = tuple(None if part is None else (tuple(part.shape), part.dtype) for part in tensors)
        key = (weight.data_ptr(), weight.dtype, x.device, shapes)
        with self.lock:
            if key not in self.kept and self.works:
                try:
                    self.kept[key] = Forward(step, x, t, c, modulations, recordable(x.device))
                except RuntimeError as error:  # a kernel that cannot be recorded, or no memory for one more
                    self.works = False
                    log.warning("forwards are not recorded as CUDA graphs: %s", str(error).splitlines()[0])
            if key not in self.kept:
                return step(x, t, c, modulations)
            self.kept.move_to_end(key)
            while len(self.kept) > KEPT:
                self.kept.popitem(last=False)
            return self.kept[key](x, t, c, modulations)
