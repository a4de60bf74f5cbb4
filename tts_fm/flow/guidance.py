"""Guidance: each function wraps a velocity and returns a velocity of the same form, (x (B, T, D), t (B,)) -> (B, T, D).

B = batch, T = frames, D = channels. The scale is w in v + w (v - v_null): 0 is off (other projects write g = 1 + w).
Tensors and numpy arrays are taken alike; arrays need no torch. Branches come from one call of the caller's function, so
that it can run them as one batch; a branch that cannot change the result is not asked for. Knows nothing of text, audio
or networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from .path import Path

Velocity = Callable[[Any, Any], Any]  # of tensors or of arrays
Pair = Callable[[Any, Any, bool], tuple[Any, Any]]
Triple = Callable[[Any, Any, bool, bool], tuple[Any, Any, Any]]
Quadruple = Callable[[Any, Any], tuple[Any, Any, Any, Any]]
Scale = Any  # one number for all, or (B,) one per item


def guided(
    conditional_and_null: Pair,
    scale: Scale,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
    mask: Any = None,
) -> Velocity:
    """Classifier-free guidance (arXiv 2207.12598, as in F5-TTS): v + scale (v - v_null).

    conditional_and_null(x, t, need_null) -> (v, v_null or None), both branches in one batch; need_null is False outside
    the interval and at scale 0, where the result is v itself. scale: a finite number or (B,), one per item.
    interval: guide only where low <= t < high (arXiv 2404.07724); high = 1 includes t = 1. rescale in [0, 1]: shrink
    the result so that its standard deviation per item goes that share of the way back to v's (arXiv 2305.08891, section
    3.4); it is measured over frames with mask (B, T) True (None: all), so pass the mask whenever the batch is padded.
    """
    _check(interval, scale)
    if not 0 <= rescale <= 1:
        raise ValueError(f"guidance rescale must lie in [0, 1], got {rescale}; 0 is off, 0.7 is the paper's")

    def velocity(x: Any, t: Any) -> Any:
        weight = _weight(scale, t, interval)
        need_null = bool((weight != 0).any())
        v, v_null = conditional_and_null(x, t, need_null)
        if not need_null:
            return v
        w = _as(weight, v)
        result = v + w * (v - _given(v_null, "null"))
        if rescale > 0:
            ratio = _std(v, mask) / _std(result, mask).clip(1e-8)
            result = _where(w != 0, result * _cast(rescale * ratio + (1 - rescale), v), result)
        return result

    return _marked(velocity, scale)


cfg = guided  # the field's short name for the same function


def guided_split(
    three_branches: Triple,
    text_scale: Scale,
    audio_scale: Scale,
    interval: tuple[float, float] = (0.0, 1.0),
    audio_interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity:
    """Separate strengths for the words and for the voice (compositional guidance, arXiv 2211.09800; MegaTTS 3):

        v_full + text_scale (v_full - v_no_text) + audio_scale (v_no_text - v_null)

    v_full sees text and prompt, v_no_text the prompt only, v_null neither. Equal scales give plain `guided` with that
    scale, and then v_no_text is not computed; audio_scale 0 does without v_null; both 0, or t outside the interval, is
    v_full alone. three_branches(x, t, need_no_text, need_null) -> (v_full, v_no_text or None, v_null or None). Scales:
    numbers or (B,). audio_interval: where the voice is strengthened, within interval; (0, 0.08) is full guidance
    first, then that of the words alone (arXiv 2509.19668).
    """
    _check(interval, text_scale, audio_scale)
    _check(audio_interval)

    def velocity(x: Any, t: Any) -> Any:
        text = _weight(text_scale, t, interval)
        audio = _weight(audio_scale, t, interval) * _weight(1.0, t, audio_interval)
        need_no_text, need_null = bool((audio != text).any()), bool((audio != 0).any())
        v, v_no_text, v_null = three_branches(x, t, need_no_text, need_null)
        result = v
        if need_no_text:  # the sum above, sorted by branch: (1 + text) v_full + (audio - text) v_no_text - audio v_null
            result = result + _as(text - audio, v) * (v - _given(v_no_text, "no-text"))
        if need_null:
            result = result + _as(audio, v) * (v - _given(v_null, "null"))
        return result

    return _marked(velocity, text_scale, audio_scale)


def guided_joint(
    four_branches: Quadruple,
    scale: Scale,
    voice_scale: Scale,
    joint_scale: Scale,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity:
    """Guidance of words, voice, and of both at once (JRR, arXiv 2606.25672):

        v_full + scale (v_full - v_null) + voice_scale (v_no_text - v_null)
               + joint_scale (v_full - v_no_audio - v_no_text + v_null)

    v_no_text sees the prompt only, v_no_audio the words only. four_branches(x, t) -> (v_full, v_no_text, v_no_audio,
    v_null), one forward of four times the batch; outside the interval it is asked all the same.
    """
    _check(interval, scale, voice_scale, joint_scale)

    def velocity(x: Any, t: Any) -> Any:
        full, no_text, no_audio, null = four_branches(x, t)
        plain, voice, joint = (_as(_weight(s, t, interval), full) for s in (scale, voice_scale, joint_scale))
        return full + plain * (full - null) + voice * (no_text - null) + joint * (full - no_audio - no_text + null)

    return _marked(velocity, scale, voice_scale, joint_scale)


@dataclass(frozen=True)
class ClassifierGuidance:
    """v + scale k(t) grad_x log p(y | x_t), k = b (a' b - a b') / a: the guided field (arXiv 2105.05233 carried over to
    velocities; at scale 1 with the true posterior it is exactly the field of the data given y). On the straight path k
    is (1 - t) / t.

    log_prob(x (B, T, D), t (B,)) -> (B,), differentiable in x: log probability of the wanted class for noisy x. k grows
    without bound at t = 0, so t is taken as at least t_min there. relative: the gradient is scaled to the velocity's
    norm item by item, and scale is the share of it that is added (Guided-TTS 2, arXiv 2205.15370): for classifiers
    whose probabilities cannot be trusted. path: the straight one with sigma_min unless given. mask (B, T): the frames
    that are guided, and whose velocity is measured for `relative` (None: all).
    """

    velocity: Velocity
    log_prob: Callable[[Tensor, Tensor], Tensor]
    scale: float = 1.0
    sigma_min: float = 0.0
    t_min: float = 0.01
    path: Path | None = None
    relative: bool = False
    mask: Tensor | None = None

    @property
    def host_times(self) -> bool:
        """Whether the velocity wants its times on the CPU, as solvers ask."""
        return bool(getattr(self.velocity, "host_times", False))

    @property
    def guided(self) -> bool:
        """Whether anything is added; such a field is not the model's density."""
        return self.scale != 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        import torch

        v = self.velocity(x, t)
        if self.scale == 0:
            return v
        # works inside no_grad and inference_mode; those need copies
        with torch.inference_mode(False), torch.enable_grad():
            point = x.detach().clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.log_prob(point, t.clone()).sum(), point)
        slope, counted = self._kept(slope), self._kept(v)
        if self.relative:
            size, own = (z.flatten(1).float().norm(dim=1) for z in (counted, slope))
            return v + _as(self.scale * size / own.clamp(min=1e-12), v) * slope.to(v.dtype)
        from .path import OTPath

        path = OTPath(self.sigma_min) if self.path is None else self.path
        a, da, b, db = path.coefficients(t.clamp(min=self.t_min))
        return v + _as(self.scale * b * (da * b - a * db) / a, v) * slope.to(v.dtype)

    def _kept(self, z: Tensor) -> Tensor:
        """Zero outside the mask."""
        if self.mask is None:
            return z
        return z.masked_fill(~self.mask.to(z.device).reshape(*z.shape[:2], *[1] * (z.ndim - 2)), 0.0)


def _marked(velocity: Velocity, *scales: Scale) -> Velocity:
    """The velocity with a mark `guided`, which likelihood refuses: a guided field is not the model's density."""
    velocity.guided = any(bool(np.any(np.asarray(scale) != 0)) for scale in scales)  # type: ignore[attr-defined]
    return velocity


def _weight(scale: Scale, t: Any, interval: tuple[float, float]) -> Any:
    """(B,) float32: the scale where t is inside the interval, else 0."""
    low, high = interval
    inside = (t >= low) & ((t < high) | (high >= 1))
    if isinstance(t, np.ndarray):
        return np.where(inside, np.broadcast_to(np.asarray(scale, np.float32), t.shape), np.float32(0))
    import torch

    weight = torch.as_tensor(scale, dtype=torch.float32, device=t.device).expand(t.shape)
    return torch.where(inside, weight, torch.zeros_like(weight))


def _as(weight: Any, v: Any) -> Any:
    """(B,) -> (B, 1, 1...) in v's dtype."""
    return _cast(weight, v).reshape(-1, *[1] * (v.ndim - 1))


def _cast(x: Any, v: Any) -> Any:
    """x in v's dtype, and on its device; a GPU is not waited for."""
    if isinstance(v, np.ndarray):
        return x.astype(v.dtype)
    import torch

    x = x.to(dtype=v.dtype)
    if v.is_cuda and not x.is_cuda and torch.cuda.is_available():
        x = x.pin_memory()  # from other memory a copy waits for all that the GPU has to do
    return x.to(v.device, non_blocking=True)


def _where(condition: Any, x: Any, y: Any) -> Any:
    if isinstance(x, np.ndarray):
        return np.where(condition, x, y)
    import torch

    return torch.where(condition, x, y)


def _std(v: Any, mask: Any) -> Any:
    """Per-item standard deviation over real frames and channels, float32, (B, 1, 1...)."""
    v = v.astype(np.float32) if isinstance(v, np.ndarray) else v.float()
    keep = v * 0 + 1
    if mask is not None:
        keep = keep * _cast(mask, v).reshape(*v.shape[:2], *[1] * (v.ndim - 2))
    axes = tuple(range(1, v.ndim))
    count = keep.sum(axes, keepdims=True).clip(1)
    mean = (v * keep).sum(axes, keepdims=True) / count
    return ((((v - mean) * keep) ** 2).sum(axes, keepdims=True) / count) ** 0.5


def _given(v: Any, name: str) -> Any:
    if v is None:
        raise ValueError(f"guidance asked for the {name} branch and got None; return it whenever it is asked for")
    return v


def _check(interval: tuple[float, float], *scales: Scale) -> None:
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"guidance interval must satisfy 0 <= low <= high <= 1, got {interval}; (0, 1) guides everywhere"
        )
    for scale in scales:
        if not np.isfinite(scale.detach().cpu() if hasattr(scale, "detach") else scale).all():
            raise ValueError(f"guidance scale must be finite, got {scale}; 2 is F5-TTS's, 0 is off")
