"""AdamW as every run uses it: its rate over time, what decays, a step that is taken or not as the device finds, and the
average of the weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tts_fm.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, constant, linear decay to zero over the last `decay` steps."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = min(1.0, (config.steps - step) / max(1, config.decay))
    return config.learning_rate * min(rise, fall)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors (biases, gains) do not."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def adamw(model: torch.nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """The optimiser of a run: all parameters in a few fused kernels."""
    groups = parameter_groups(model, config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def step_if(optimiser: Any, take: Tensor) -> None:
    """One step where `take`, a () bool tensor on the parameters' device, is True; else weights, moments and their count
    stay. Nothing waits for the device. The optimiser is `adamw`'s, alone or prepared by accelerate.

    torch's fused kernels have this way out for loss scaling (`found_inf`).
    """
    inner = getattr(optimiser, "optimizer", optimiser)
    inner.found_inf = (~take).float()
    try:
        optimiser.step()
    finally:
        del inner.found_inf


@torch.no_grad()
def follow(average: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    """Move averaged weights towards the present ones: a few kernels for all of them."""
    torch._foreach_lerp_(list(average), list(weights), 1 - decay)
