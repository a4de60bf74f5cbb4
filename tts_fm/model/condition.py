"""What a velocity network is given beside noise and time: the prompt, the text, the mask; and what sampling asks
of a model.

B batch, T mel frames, P = ceil(T / patch) positions, N symbols, E text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Text = Tensor | str | Sequence[str] | Sequence[Sequence[int]]


@dataclass(frozen=True)
class Condition:
    """Everything about a batch that does not depend on the solver's step; made once, passed to every step."""

    given: Tensor  # (B, T, 100) normalised mel of the prompt, zero elsewhere
    given_mask: Tensor  # (B, T) bool, True = frame of the prompt
    text: Tensor  # (B, P, E) features
    mask: Tensor | None  # (B, T) bool, True = real frame; None = all are
    # (B, depth, 6 D) what the prompt's voice adds to the modulations of the blocks; None = nothing
    voice: Tensor | None = None

    def items(self, start: int, stop: int) -> Condition:
        """The condition of items start to stop."""
        parts: list[Any] = [None if part is None else part[start:stop] for part in vars(self).values()]
        return Condition(*parts)

    @staticmethod
    def joined(parts: Sequence[Condition]) -> Condition:
        """Several conditions as one batch."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        joined: list[Any] = [None if column[0] is None else torch.cat(column) for column in columns]
        return Condition(*joined)


class Sampled(Protocol):
    """The part of a FlowModel that sampling needs; its methods are explained there."""

    net: Any
    path: Any
    config: Any
    solvers: Any

    @property
    def device(self) -> torch.device: ...

    def ids(self, text: Text | None, batch: int) -> Tensor: ...

    def prompt(
        self, cond: Tensor | None, batch: int, frames: int, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]: ...

    def inference_condition(
        self, mel: Tensor, given: Tensor, ids: Tensor, mask: Tensor | None, durations: Tensor | None, drop_text: Tensor
    ) -> Condition: ...

    def step(self, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor] | None = None) -> Tensor: ...

    def recorded(self, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor]) -> Tensor: ...

    def restore(self, mel: Tensor) -> Tensor: ...
