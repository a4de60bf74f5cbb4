"""Low-rank adaptation (Hu 2021, arXiv 2106.09685): a frozen network learns a speaker in about 5 % of its parameters.

Every weight W (out, in) of attention and feed-forward becomes W + (alpha / r) b a, with a (r, in) drawn from N(0, 1/in)
and b (out, r) zero at first; the blocks' biases and offsets are trained as they are. After training the change is
either taken out (`changes`, a few numbers to store) or left in (`merged`, a plain network again). It knows
networks by their layers, and nothing of training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tts_fm.model.layers import Attention, FeedForward

ORIGINAL, ADDED = ".parametrizations.weight.original", ".parametrizations.weight.0."


class LowRank(nn.Module):
    """The change of one weight; as a parametrisation: W -> W + scale b a."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        out, width = weight.shape
        first = torch.randn(rank, width, generator=generator) / width**0.5
        self.a = nn.Parameter(first.to(weight.device))
        self.b = nn.Parameter(torch.zeros(out, rank, device=weight.device))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.b @ self.a) * self.scale


def targets(network: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of attention and feed-forward in all blocks, by name."""
    return {
        f"{home}.{name}": module
        for home, part in network.named_modules()
        if isinstance(part, Attention | FeedForward)
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear)
    }


def add_low_rank(network: nn.Module, rank: int, alpha: float, seed: int = 0) -> list[str]:
    """Freeze a network but for low-rank changes of `targets` and for the blocks' biases and offsets; returns the names
    of what is trained. ValueError for a rank that is not from 1 to 256, and where there is nothing to adapt.
    """
    if not 1 <= rank <= 256:
        raise ValueError(f"lora_rank must be 1 to 256, got {rank}")
    found = targets(network)
    if not found:
        raise ValueError("the network has no transformer blocks to adapt")
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for module in found.values():
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, alpha, generator))
        if module.bias is not None:
            module.bias.requires_grad_(True)
    for name, parameter in network.named_parameters():
        if name.endswith(".offset"):
            parameter.requires_grad_(True)
    for module in found.values():
        module.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr]
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def changes(trained: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What training has changed, in the form of voices/adapters.py: X.weight.a, X.weight.b, and differences X.

    trained: the parameters that `add_low_rank` named, with their values. base: the plain network's parameters.
    """
    found = {}
    for name, value in trained.items():
        if ADDED in name:
            found[name.replace(ADDED, ".weight.")] = value.detach().clone()
        else:
            found[name] = value.detach() - base[name].detach().to(value)
    return found


def merged_state(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The state of an adapted network as that of a plain one, changes added to the weights (in float32)."""
    plain = {}
    for name, value in state.items():
        if name.endswith(ORIGINAL):
            home = name.removesuffix(ORIGINAL)
            a, b = (state[home + ADDED + half].float() for half in "ab")
            plain[f"{home}.weight"] = (value.float() + (b @ a) * scale).to(value.dtype)
        elif ADDED not in name:
            plain[name] = value
    return plain
