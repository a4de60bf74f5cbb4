"""The conditional flow matching loss over the frames to be learnt.

B = batch, T = frames, D = channels. The network is any callable velocity(x_t (B, T, D), t (B,)) -> (B, T, D); what it
is conditioned on (text, prompt, dropped or not) is the caller's business. loss_mask (B, T) True = this frame is
regressed (real and hidden).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .coupling import couple
from .path import OTPath, Path
from .times import draw_times


class Loss(NamedTuple):
    """loss: scalar to differentiate. per_item (B,): mean over the item's own frames, 0 for an item with none. frames
    (B,): how many frames it has in the loss. t (B,): its time. The last three are detached, for logging."""

    loss: Tensor
    per_item: Tensor
    frames: Tensor
    t: Tensor


def cfm_loss(
    velocity: Callable[[Tensor, Tensor], Tensor],
    x1: Tensor,
    loss_mask: Tensor,
    generator: torch.Generator | None = None,
    t: Tensor | None = None,
    x0: Tensor | None = None,
    path: Path | None = None,
    normalise: str = "frame",
    times: str = "uniform",
    coupling: str = "independent",
    weighting: str = "velocity",
    null: Callable[[Tensor, Tensor], Tensor] | None = None,
    guidance: float = 0.0,
) -> Loss:
    """Mean squared error between velocity and the path's u (arXiv 2210.02747, eq. 9), over masked frames x channels.

    generator draws t (by the law `times`, see times.draw_times) and x0 where they are not given. normalise "frame":
    every frame in the mask weighs the same (F5-TTS); "item": every item does, however short its span. Frames outside
    the mask get exactly zero gradient, even when the network's output there is not finite. An empty mask gives loss 0.
    coupling: which noise goes with which item, see coupling.couple; only the noise moves. weighting: which error is
    squared, see `weights`. A path that ends before 1 has its times squeezed to that.

    null: the velocity of the same network that sees neither text nor prompt. With it and guidance w the target is
    u + w (v - null), which takes no gradient: what is learnt speaks as with classifier-free guidance of w / (1 - w),
    from one forward (model guidance, arXiv 2502.12154; of F5-TTS, arXiv 2504.20334). ValueError for w outside [0, 1),
    where nothing would be learnt.
    """
    path = path or OTPath()
    _check(x1, loss_mask, normalise)
    if not 0 <= guidance < 1:
        raise ValueError(f"guidance in training must be from 0 to below 1, got {guidance}; 0.3 to 0.7 are usual")
    if t is None:
        t = draw_times(times, len(x1), _needed(generator, "t"), x1.device) * path.end
    if x0 is None:
        source = _needed(generator, "x0")
        x0 = torch.randn(x1.shape, generator=source, device=source.device, dtype=torch.float32).to(x1)
    x0 = couple(coupling, x0, x1, loss_mask)

    x_t, u = path.sample(x0, x1, t)
    v = velocity(x_t, t)
    if guidance:
        if null is None:
            raise ValueError("guidance in training needs `null`, the velocity without text and prompt")
        with torch.no_grad():
            u = u + guidance * (v - null(x_t, t))
    error = (v - u).float().masked_fill(~loss_mask[..., None], 0)
    per_frame = error.square().mean(-1) * weights(weighting, path, t)[:, None]  # (B, T)
    frames = loss_mask.sum(1)  # (B,)
    per_item = per_frame.sum(1) / frames.clamp(min=1)
    loss = (
        per_frame.sum() / frames.sum().clamp(min=1)
        if normalise == "frame"
        else per_item.sum() / (frames > 0).sum().clamp(min=1)
    )
    return Loss(loss, per_item.detach(), frames, t)


def weights(kind: str, path: Path, t: Tensor) -> Tensor:
    """(B,) factors on the squared error of the velocity at t.

    "velocity": 1, the flow matching loss. "unit": the velocity is brought to unit size first, for paths where it grows
    large. "data", "noise": the error is that of the data, or of the noise, that the velocity points to; the first
    fades towards t = 1, the second towards t = 0 (arXiv 2403.03206 has them as choices of one weighting). ValueError
    for another name.
    """
    a, da, b, db = path.coefficients(t.float())
    slope = (da * b - a * db).square().clamp(min=1e-8)
    kinds = {"velocity": torch.ones_like(a), "unit": 1 / (da.square() + db.square())}
    kinds |= {"data": b.square() / slope, "noise": a.square() / slope}
    if kind not in kinds:
        raise ValueError(f"unknown weighting {kind!r} of the loss; one of {', '.join(kinds)}")
    return kinds[kind]


def _check(x1: Tensor, loss_mask: Tensor, normalise: str) -> None:
    if x1.ndim != 3 or loss_mask.shape != x1.shape[:2] or loss_mask.dtype != torch.bool:
        got = f"{tuple(x1.shape)} and {loss_mask.dtype} {tuple(loss_mask.shape)}"
        raise ValueError(f"need x1 (B, T, D) and a bool loss_mask (B, T), got {got}")
    if normalise not in ("frame", "item"):
        raise ValueError(f"normalise must be 'frame' or 'item', got {normalise!r}")


def _needed(generator: torch.Generator | None, what: str) -> torch.Generator:
    if generator is None:
        raise ValueError(f"{what} is not given, so a torch.Generator to draw it from is needed")
    return generator
