"""Phases from a pitch, against sums of cosines; the losses by which it is learnt, against what they are to tell."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tts_fm.audio.mel import HOP, N_FFT, SAMPLE_RATE, overlapped
from tts_fm.model.harmonics import BINS, HIGHEST, LOWEST, PITCHES, Harmonics, Reading, spectrum

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import generator

FRAMES = 60


def told(pitch: float, voiced: bool = True) -> Harmonics:
    """Harmonics that read this pitch off everything, and add nothing."""
    part = Harmonics(4)
    place = math.log(pitch / LOWEST) / math.log(HIGHEST / LOWEST) * (PITCHES - 1)
    near = -((torch.arange(PITCHES) - place) ** 2)  # symmetric around the place, wherever it lies
    with torch.no_grad():
        part.pitch.weight.zero_()
        part.pitch.bias.copy_(torch.cat([torch.tensor([5.0 if voiced else -9.0]), near]))
    return part


def cosines(pitch: float, shift: float) -> np.ndarray:
    """All harmonics below 2.8 kHz of a pitch, whose cycles are `shift` at the first sample."""
    cycles = pitch * np.arange((FRAMES - 1) * HOP) / SAMPLE_RATE + shift
    return sum(np.cos(2 * np.pi * n * cycles) for n in range(1, int(2800 / pitch) + 1)).astype(np.float32)


def spectra(wave: np.ndarray) -> Tensor:
    """(T, 513)."""
    window = torch.hann_window(N_FFT)
    return torch.stft(torch.from_numpy(wave), N_FFT, HOP, window=window, return_complex=True).T


@pytest.mark.parametrize("pitch", [97.0, 150.0, 233.0, 350.0])
def test_magnitudes_of_harmonics_become_their_sound(pitch: float) -> None:
    part = told(pitch)
    hidden = torch.zeros(1, FRAMES, 4)
    with torch.no_grad():
        found = part.read(hidden)
    assert torch.allclose(found.pitch, torch.tensor(pitch), rtol=2e-3)
    true = cosines(float(found.pitch[0, 0]), float(found.cycles[0, 0]))
    size = spectra(true).abs()
    drawn = torch.rand(1, FRAMES, N_FFT // 2 + 1, generator=torch.Generator().manual_seed(0)) * 6
    wave, noise = (
        overlapped(torch.polar(size, phases[0]).detach().numpy())[4 * HOP : -4 * HOP]
        for phases in (part(hidden, drawn), drawn)
    )
    true = true[4 * HOP : -4 * HOP]
    error, before = (float(np.sum((x - true) ** 2) / np.sum(true**2)) for x in (wave, noise))
    assert error < 0.02 and before > 0.3


def test_phases_stay_without_a_pitch_and_above() -> None:
    hidden, drawn = torch.zeros(1, FRAMES, 4), torch.randn(1, FRAMES, N_FFT // 2 + 1)
    assert torch.equal(told(150, voiced=False)(hidden, drawn), drawn)
    found = told(150)(hidden, drawn)
    assert torch.equal(found[..., BINS:], drawn[..., BINS:]) and not torch.isclose(found, drawn)[..., :BINS].all()


def test_a_head_without_harmonics_says_what_it_draws() -> None:
    head, hidden = generator.Head(8), torch.randn(2, 5, 8)
    with_them = spectrum(head, hidden)
    del head.harmonics
    assert torch.equal(spectrum(head, hidden), head.out(hidden))
    assert torch.equal(with_them[..., :513], head.out(hidden)[..., :513])


def reading(pitch: float) -> tuple[Reading, Tensor]:
    found = told(pitch).read(torch.zeros(1, FRAMES, 4))
    return found, torch.tensor([pitch, 1.0]).expand(1, FRAMES, 2)


def test_the_right_pitch_turns_as_speech_does() -> None:
    """And its gradient says which way to go."""
    real = torch.from_numpy(cosines(150.0, 0.3))[None]
    errors = {}
    for pitch in (147.0, 149.0, 150.0, 151.0, 153.0):
        found, known = reading(pitch)
        errors[pitch] = generator.turning(found, known, real).item()
    assert errors[150.0] < min(0.02, errors[149.0], errors[151.0])
    assert errors[149.0] < errors[147.0] and errors[151.0] < errors[153.0]
    for pitch, sign in ((149.0, -1), (151.0, 1)):
        part = told(pitch)
        with torch.enable_grad():
            found = part.read(torch.zeros(1, FRAMES, 4))
            (slope,) = torch.autograd.grad(generator.turning(found, reading(pitch)[1], real), found.pitch)
        assert np.sign(float(slope[:, 5:-5].mean())) == sign
    silent = torch.zeros(1, FRAMES, 2)
    assert float(generator.turning(found, silent, real)) == 0


def test_the_pitch_is_an_error_by_its_distance() -> None:
    right, known = reading(150.0)
    near, far, absent = (float(generator.pitch_error(found, known)) for found in (right, reading(170.0)[0], silent()))
    assert near < far and near < absent
    # a pitch that is one of the known ones costs its logarithm, and that it is there almost nothing
    step = LOWEST * (HIGHEST / LOWEST) ** (40 / (PITCHES - 1))
    found, known = reading(step)
    wanted = -float(torch.log_softmax(-((torch.arange(PITCHES) - 40.0) ** 2), 0)[40]) + math.log1p(math.exp(-5))
    assert math.isclose(float(generator.pitch_error(found, known)), wanted, rel_tol=1e-3)


def silent() -> Reading:
    return told(150.0, voiced=False).read(torch.zeros(1, FRAMES, 4))
