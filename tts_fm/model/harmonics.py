"""Phases of a vocoder that go on as the harmonics of one pitch do.

A small Vocos draws the phases of every frame from what lies near it, so that the harmonics of a held vowel jitter
against each other. Here its head also reads the pitch off the mel. Below 3 kHz, in frames with a pitch, a bin has the
phase of the harmonic that is nearest to it, which is the integral of the pitch times the harmonic's number, and the
network only says what is to be added: the part of the vocal tract. A sound of harmonics as a prior for a spectrum's
phases: Li 2023 (HiFTNet, arXiv 2309.09493), Yoneyama 2024 (Wavehax, arXiv 2411.06807).

B batch, T mel frames, C channels, K = 80 pitches, L = 129 bins below 3 kHz.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tts_fm.audio.mel import HOP, N_FFT, SAMPLE_RATE

LOWEST, HIGHEST = 60.0, 420.0  # Hz
PITCHES = 80  # between them, evenly on a logarithmic scale: 2.5 % apart
VOICED = -4.0  # a logit: even a pitch as unlikely as one in fifty orders phases better than none
NEAR = 2  # pitches on each side of the likeliest that the pitch is the mean of
BINS = 129  # of a spectrum, below 3 kHz: above, what a pitch is off by turns the phases of its harmonics too far
WIDTH = SAMPLE_RATE / N_FFT  # Hz: of a bin


class Reading(NamedTuple):
    """What is read off the mel: the pitch in Hz (B, T), logits of its being there (B, T) and of each of the pitches
    (B, T, K), and the phase of the fundamental (B, T) in cycles since the beginning."""

    pitch: Tensor
    voiced: Tensor
    logits: Tensor
    cycles: Tensor


class Harmonics(nn.Module):
    """The layers beside the head of a Vocos, and phases from what they say."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pitch = nn.Linear(dim, 1 + PITCHES)
        self.rest = nn.Linear(dim, BINS)
        nn.init.trunc_normal_(self.pitch.weight, std=0.02)
        for part in (self.pitch.bias, self.rest.weight, self.rest.bias):
            nn.init.zeros_(part)

    def read(self, hidden: Tensor) -> Reading:
        """(B, T, C) float32 -> the pitch of each frame. Differentiable but for the place of the likeliest."""
        voiced, logits = self.pitch(hidden).split((1, PITCHES), dim=-1)
        known = torch.arange(PITCHES, device=hidden.device)
        far = (known - logits.argmax(-1, keepdim=True)).abs() > NEAR
        level = torch.softmax(logits.masked_fill(far, -1e9), -1) @ known.to(logits.dtype)  # (B, T), from 0 to K - 1
        pitch = LOWEST * torch.exp(level * math.log(HIGHEST / LOWEST) / (PITCHES - 1))
        advance = pitch.double() * (HOP / SAMPLE_RATE)  # cycles a frame: a sum of thousands needs the digits
        cycles = (advance.cumsum(-1) - advance / 2).float()
        return Reading(pitch, voiced[..., 0], logits, cycles)

    def forward(self, hidden: Tensor, phase: Tensor, found: Reading | None = None) -> Tensor:
        """Phases (B, T, 513) as the head draws them -> those of the harmonics where there is a pitch. found: of `read`,
        if it was called already.
        """
        found = found or self.read(hidden)
        bins = torch.arange(BINS, device=hidden.device)
        cycles = numbers(found.pitch) * found.cycles[..., None] + 0.5 * (bins % 2)  # a frame begins before its middle
        low = 2 * math.pi * (cycles - cycles.floor()) + self.rest(hidden)  # (B, T, L)
        low = torch.where(found.voiced[..., None] > VOICED, low, phase[..., :BINS])
        return torch.cat([low, phase[..., BINS:]], -1)


def numbers(pitch: Tensor) -> Tensor:
    """Pitch in Hz (B, T) -> the harmonic that each bin is nearest to, counted from 1, (B, T, L)."""
    bins = torch.arange(BINS, device=pitch.device)
    return (bins * WIDTH / pitch[..., None]).round().clamp(min=1)


def spectrum(head: Any, hidden: Tensor, found: Reading | None = None) -> Tensor:
    """What a head, with `harmonics` or without, says of a frame: logarithms of magnitudes, then phases, (B, T, 1026).
    hidden: (B, T, C) float32.
    """
    drawn = head.out(hidden)
    harmonics = getattr(head, "harmonics", None)
    if harmonics is None:
        return drawn
    size, phase = drawn.chunk(2, dim=-1)
    return torch.cat([size, harmonics(hidden, phase, found)], -1)
