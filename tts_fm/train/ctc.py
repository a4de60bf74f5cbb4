"""A train-only reader of the text in the middle of a flow model: a linear layer on one block's hidden states, taught by
CTC.

The text half of A-DMA (Choi 2025, arXiv 2505.19595): a network that must have the characters legible two thirds of the
way up finds the alignment of filler text sooner. Only training pays: the reader's weights live beside the flow model's,
never inside its checkpoint. B batch, T mel frames, P = ceil(T / patch) positions, N symbols, D width, V vocabulary. It
does not know optimisers or weights of losses in a batch: see trainer.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.flow.loss import Loss
from tts_fm.model.dit import position_mask
from tts_fm.model.flow_model import FlowModel

PLACE = 2 / 3  # how far up the network the hidden states are read


def ctc_loss(logits: Tensor, mask: Tensor, ids: Tensor, counts: Tensor) -> Tensor:
    """Nats a symbol that the texts cost when read off the positions.

    logits (B, P, V + 1), the last class is the blank; mask (B, P) bool, True = real position; ids (B, N), -1 = padding;
    counts (B,) bool: items that count (a text that was withheld cannot be read). Texts with more symbols than positions
    cost nothing. Zero when none counts.
    """
    lengths = (ids >= 0).sum(1)
    spoken = logits.float().log_softmax(-1).transpose(0, 1)  # (P, B, V + 1)
    blank = logits.shape[-1] - 1
    # (B,)
    nats = F.ctc_loss(spoken, ids.clamp(min=0), mask.sum(1), lengths, blank, reduction="none", zero_infinity=True)
    return (nats * counts).sum() / (lengths * counts).sum().clamp(min=1)


class WithCTC(nn.Module):
    """A flow model and its reader. Called as the flow model is, with its loss plus `weight` times the reader's.

    The reader starts at zero: every symbol equally likely, no random numbers drawn.
    """

    def __init__(self, flow: FlowModel, weight: float) -> None:
        super().__init__()
        self.flow, self.weight = flow, weight
        self.reader = nn.Linear(flow.config.dim, flow.config.vocab + 1)
        nn.init.zeros_(self.reader.weight)
        nn.init.zeros_(self.reader.bias)
        self._hidden: list[Tensor] = []
        flow.net.watch(PLACE, self._keep)

    def _keep(self, hidden: Tensor) -> None:
        if self.training and torch.is_grad_enabled():
            self._hidden[:] = [hidden]

    def forward(
        self,
        mel: Tensor,
        mask: Tensor,
        hidden: Tensor,
        ids: Tensor,
        durations: Tensor | None,
        drop_audio: Tensor,
        drop_text: Tensor,
        generator: torch.Generator,
        *choices: Any,
    ) -> Loss:
        """The objective on a batch; arguments as in FlowModel.loss."""
        found = self.flow(mel, mask, hidden, ids, durations, drop_audio, drop_text, generator, *choices)
        positions = position_mask(mask, self.flow.config.patch)  # (B, P)
        read = ctc_loss(self.reader(self._hidden.pop()), positions, ids, ~drop_text)
        return found._replace(loss=found.loss + self.weight * read)
