"""Speech is given the spectrum of its prompt, in the mean and in how much it moves: colour of voice and room, which a small model copies
only in part.

For every mel band the mean and the deviation over the loud frames are carried over from the prompt, a linear map of log-mels; as a mark of
speaker and channel both are old (Furui 1981; Viikki 1998, mean and variance normalisation), here they are given instead of taken away.
T, Tp mel frames. It knows no models.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOUD = 4.0  # nepers under the loud frames' level (95th percentile): what is below counts as silence
ENOUGH = 50  # loud frames at which half of the difference is believed: what a short text happens to sound like is not the voice
SHIFT = 1.5  # nepers (13 dB): the most that a band is raised or lowered
STRETCH = 1.4  # the most that a band's movement is widened or narrowed


def matched(mel: Tensor, prompt: Tensor, share: float = 1.0) -> Tensor:
    """Log-mel speech (T, 100) with the mean and deviation of its bands moved by `share` (0 to 1) of the way to those of the prompt
    (Tp, 100) -> (T, 100).

    Differences are smoothed over neighbouring bands, trusted less where either has few loud frames, and limited to SHIFT and STRETCH.
    """
    if not share:
        return mel
    speech, voice = mel[loud(mel)].float(), prompt[loud(prompt)].to(mel.device).float()
    few = min(len(speech), len(voice))
    trust = share * few / (few + ENOUGH)
    mean = speech.mean(0)  # (100,)
    shift = smooth(voice.mean(0) - mean, 1).clamp(-SHIFT, SHIFT) * trust
    ratio = (voice.std(0, correction=0) / speech.std(0, correction=0).clamp(min=1e-3)).clamp(1 / STRETCH**2, STRETCH**2)
    stretch = smooth(ratio, 2).clamp(1 / STRETCH, STRETCH) ** trust
    return ((mel.float() - mean) * stretch + mean + shift).to(mel.dtype)


def smooth(bands: Tensor, deviation: int) -> Tensor:
    """Gaussian mean over neighbouring bands, (100,) -> (100,)."""
    reach = 3 * deviation
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=bands.device) / deviation) ** 2)
    padded = F.pad(bands[None, None], (reach, reach), mode="replicate")
    return F.conv1d(padded, (weights / weights.sum())[None, None])[0, 0]


def loud(mel: Tensor) -> Tensor:
    """Which frames are not silent, (T,) bool; one at least."""
    level = mel.float().mean(-1)
    return level >= level.quantile(0.95) - LOUD
