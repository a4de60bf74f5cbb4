"""What training may ask of a velocity network without knowing how it is built: to compile or recompute its blocks, to
watch one of them, and how much there is to compute.

DiT (dit.py) and UNetT (unett.py) are networks. B batch, P positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from tts_fm.config import ModelConfig
from tts_fm.model.layers import Attention, Part
from tts_fm.model.text import TextConditioning

P = TypeVar("P", bound=nn.Module)


class Network:
    """Beside nn.Module a base of the networks, which say what `blocks` there are."""

    config: ModelConfig
    text_embed: TextConditioning

    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks, in the order in which they run."""
        raise NotImplementedError

    def at_positions(self, hidden: Tensor) -> Tensor:
        """What a block gives, without tokens that are no positions."""
        return hidden

    def recompute_blocks(self) -> None:
        """Gradient checkpointing: attention and feed-forward parts keep their inputs only, and run again in the
        backward pass.
        """
        for part in self._parts(Part):
            part.recompute = True

    def compile_blocks(self) -> None:
        """Compile what repeats, block by block and for fixed shapes: few occur, see data/batches.Buckets."""
        torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
        for attention in self._parts(Attention):
            attention.explicit = True
        for block in self.blocks():
            block.compile(dynamic=False)

    def watch(self, share: float, keep: Callable[[Tensor], None]) -> None:
        """From now on call `keep` in every forward with what the block gives that lies `share` (0 to 1) of the way up,
        (B, P, D).
        """
        blocks = self.blocks()
        block = blocks[min(len(blocks) - 1, int(share * len(blocks)))]
        block.register_forward_hook(lambda module, inputs, out: keep(self.at_positions(out)))

    def runs(self, positions: int, frames: int) -> list[tuple[nn.Module | None, int]]:
        """How often parts are applied to one item in a forward, where that is not once a position."""
        text = self.text_embed
        return [(text.text_blocks, positions if text.form == "filler" else 0)]

    def flops(self, items: int, frames: int) -> float:
        """Multiplications and additions of one forward pass over items of `frames` mel frames: 2 a weight wherever a
        matrix or a convolution is applied, and attention's P^2. Left out, as small: blocks over symbols (their number
        is not known here), norms, activations.
        """
        assert isinstance(self, nn.Module)
        positions = -(-frames // self.config.patch)
        times = {
            id(inner): count
            for part, count in self.runs(positions, frames)
            if part is not None
            for inner in part.modules()
        }
        weights = sum(
            2.0 * layer.weight.numel() * times.get(id(layer), positions)
            for layer in self.modules()
            if isinstance(layer, nn.Linear | nn.Conv1d)
        )
        attention = sum(4.0 * part.to_q.out_features * positions**2 for part in self._parts(Attention))
        return items * (weights + attention)

    def _parts(self, kind: type[P]) -> list[P]:
        return [part for block in self.blocks() for part in block.modules() if isinstance(part, kind)]
