"""Couplings: which noise x0 goes with which data x1. Only the noise is ever permuted, so text and speech stay together.

B = batch, T = frames, D = channels; mask (B, T) True = real frame. Knows nothing of text.

`independent` is the default. `minibatch_ot` (arXiv 2302.00482) pairs each clip with a near noise; for speech (T x D in
the tens of thousands) it shortens the mean squared distance by about 1 % only, and it makes the noise depend on the
condition (arXiv 2503.10636), so it is off by default. `seeded_pairs` rebuilds the noise that a teacher started from
(ReFlow, arXiv 2209.03003).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .noise import seeded_normal


def couple(kind: str, x0: Tensor, x1: Tensor, mask: Tensor | None = None) -> Tensor:
    """x0 in the order that goes with x1: kind "independent" (as it is), "pairs" (already matched by the caller) or
    "ot".
    """
    if kind in ("independent", "pairs"):
        return independent(x0, x1, mask)
    if kind == "ot":
        return minibatch_ot(x0, x1, mask)
    raise ValueError(f"unknown coupling {kind!r}; one of independent, ot, pairs")


def independent(x0: Tensor, x1: Tensor, mask: Tensor | None = None) -> Tensor:
    """x0 unchanged; checks that the shapes agree."""
    if x0.shape != x1.shape or (mask is not None and mask.shape != x1.shape[:2]):
        mask_shape = None if mask is None else tuple(mask.shape)
        raise ValueError(f"noise {tuple(x0.shape)}, data {tuple(x1.shape)} and mask {mask_shape} do not fit each other")
    return x0


def minibatch_ot(x0: Tensor, x1: Tensor, mask: Tensor | None = None) -> Tensor:
    """x0 permuted along the batch so that the summed squared distance to x1 is least. Exact: between two equal sets of
    equally weighted points the optimal plan is a permutation. (B, T, D) -> (B, T, D)."""
    from scipy.optimize import linear_sum_assignment

    independent(x0, x1, mask)
    cost = pair_cost(x0, x1, mask)
    noise_of_clip = linear_sum_assignment(cost.T.cpu().numpy())[1]  # row j = clip j
    return x0[torch.as_tensor(noise_of_clip, device=x0.device)]


def pair_cost(x0: Tensor, x1: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, B) float64: [i, j] = squared distance of noise i and clip j over the real frames of clip j; padding has no
    part in it.
    """
    keep = torch.ones(x1.shape[:2], device=x1.device) if mask is None else mask
    keep = keep.reshape(*x1.shape[:2], *[1] * (x1.ndim - 2)).double()
    noise, clip = x0.detach().double().flatten(1), torch.where(keep > 0, x1.detach().double(), 0.0).flatten(1)
    keep = keep.expand(x1.shape).flatten(1)
    return noise.square() @ keep.T - 2 * noise @ clip.T + clip.square().sum(1)


def seeded_pairs(seeds: Sequence[int], x1: Tensor, lengths: Sequence[int] | Tensor) -> Tensor:
    """The noise stored as one seed per item: (B, T, D) float32 on x1's device; item b has lengths[b] frames drawn on
    the CPU from its own seed, then zeros, so it does not depend on the batch or its padding."""
    if not len(seeds) == len(lengths) == len(x1):
        raise ValueError(f"{len(x1)} clips need as many seeds and lengths, got {len(seeds)} and {len(lengths)}")
    x0 = torch.zeros(x1.shape, dtype=torch.float32)
    for b, (seed, length) in enumerate(zip(seeds, lengths, strict=True)):
        x0[b, : int(length)] = torch.from_numpy(seeded_normal(int(seed), (int(length), *x1.shape[2:])))
    return x0.to(x1.device)
