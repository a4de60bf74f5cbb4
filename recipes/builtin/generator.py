"""The vocoder's network for training, its losses, and log-mels where the waves are.

The network is Vocos (Siuzdak 2023, arXiv 2306.00814) with the weights' names of the package `vocos`, which the machine
that trains need not have, and with the harmonics of tts_fm/model/harmonics.py. B clips, S samples, T mel frames, C
channels, K pitches, L bins below 3 kHz.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tts_fm import devices
from tts_fm.audio.mel import HOP, LOUDEST, N_FFT, N_MELS, SAMPLE_RATE
from tts_fm.data import device_mel
from tts_fm.model.harmonics import BINS, HIGHEST, LOWEST, PITCHES, Harmonics, Reading, numbers, spectrum

TRUSTED = 0.3  # of audio.steady's trust in a pitch: above it, a frame has one


class Block(nn.Module):
    """ConvNeXt (Liu 2022, arXiv 2201.03545) over frames with a gain on what it adds: (B, C, T) -> (B, C, T)."""

    def __init__(self, dim: int, inner: int, gain: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.gamma = nn.Parameter(torch.full((dim,), gain))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.dwconv(x).transpose(1, 2))  # (B, T, C)
        return x + (self.gamma * self.pwconv2(functional.gelu(self.pwconv1(hidden)))).transpose(1, 2)


class Backbone(nn.Module):
    """(B, 100, T) -> (B, T, C)."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(N_MELS, dim, 7, padding=3)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.convnext = nn.ModuleList(Block(dim, 3 * dim, 1 / layers) for _ in range(layers))
        self.final_layer_norm = nn.LayerNorm(dim, eps=1e-6)
        for part in self.modules():
            if isinstance(part, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    def forward(self, mel: Tensor) -> Tensor:
        x = self.norm(self.embed(mel).transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x.transpose(1, 2))


class Window(nn.Module):
    """Hann, as a buffer that checkpoints name."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(N_FFT))


class Head(nn.Module):
    """Log-magnitude and phase of every bin, then the inverse STFT: (B, T, C) -> (B, (T - 1) 256)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, N_FFT + 2)
        self.harmonics = Harmonics(dim)
        self.istft = Window()

    def forward(self, hidden: Tensor, found: Reading | None = None) -> Tensor:
        log, phase = spectrum(self, hidden, found).chunk(2, dim=-1)
        whole = torch.polar(log.exp().clamp(max=LOUDEST), phase)  # (B, T, 513)
        return overlapped(torch.fft.irfft(whole, N_FFT), self.istft.window)


def overlapped(frames: Tensor, window: Tensor) -> Tensor:
    """Frames (B, T, 1024) -> (B, (T - 1) 256): torch.istft's second half, which would wait for a GPU to look whether
    the squared windows reach everywhere.
    """
    count, pieces = frames.shape[1], N_FFT // HOP

    def add(parts: Tensor) -> Tensor:  # (B, T, 4, 256) -> (B, T + 3, 256)
        return sum((functional.pad(parts[:, :, j], (0, 0, j, pieces - 1 - j)) for j in range(pieces)), torch.zeros(()))

    wave = add((frames * window).unflatten(-1, (pieces, HOP)))
    weight = add(window.square().expand(1, count, -1).unflatten(-1, (pieces, HOP)))
    middle = slice(N_FFT // 2, N_FFT // 2 + (count - 1) * HOP)
    return wave.flatten(1)[:, middle] / weight.flatten(1)[:, middle]


class Generator(nn.Module):
    """Mel (B, 100, T) -> samples (B, (T - 1) 256)."""

    def __init__(self, dim: int = 256, layers: int = 6) -> None:
        super().__init__()
        self.backbone, self.head = Backbone(dim, layers), Head(dim)

    def forward(self, mel: Tensor) -> Tensor:
        return self.heard(mel)[0]

    def heard(self, mel: Tensor) -> tuple[Tensor, Reading]:
        """Samples, and the pitch that was read off the mel: of the samples' loss the pitch learns nothing, for a phase
        says little of it some frames later.
        """
        # a GPU has time for more digits here: the discriminators cost many times as much
        half = torch.bfloat16 if mel.device.type == "cpu" else torch.float32
        with devices.autocast(mel.device, half):
            hidden = self.backbone(mel)
        found = self.head.harmonics.read(hidden.float())
        return self.head(hidden.float(), Reading(*(value.detach() for value in found))), found


def grown(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights of a shallower generator, or of one without harmonics, as those of `model`: blocks that it does not
    have start as identities (their gain is 0).
    """
    new = {
        k: torch.zeros_like(v) if k.endswith("gamma") else v for k, v in model.state_dict().items() if k not in state
    }
    return state | new


def log_mels(waves: Tensor) -> Tensor:
    """audio.log_mel of several waves on their device: (B, S) float32 -> (B, T, 100)."""
    return device_mel.log_mels(functional.pad(waves[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")[:, 0])


def triangles(size: int, bands: int) -> np.ndarray:
    """(bands, size / 2 + 1) float32: filters of `bands` bands on the HTK mel scale up to 12 kHz for spectra of `size`
    samples, not normalised.
    """
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), bands + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)
    distance = corners[:, None] - np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)  # (bands + 2, bins)
    width = np.diff(corners)[:, None]
    return np.maximum(0, np.minimum(-distance[:-2] / width[:-1], distance[2:] / width[1:])).astype(np.float32)


class SpectralLoss(nn.Module):
    """L1 of log-mels at several resolutions and of linear + log STFT magnitudes (Yamamoto 2020, arXiv 1910.11480), and
    how far phases go on from frame to frame otherwise than in speech (Ai 2023, arXiv 2305.07952).
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes = (256, 512, 1024, 2048)
        for n, bins in zip(self.sizes, (40, 80, 100, 160), strict=True):
            self.register_buffer(f"mel{n}", torch.from_numpy(triangles(n, bins)), persistent=False)
            self.register_buffer(f"window{n}", torch.hann_window(n), persistent=False)

    def forward(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, S), (B, S) -> mel loss, STFT loss and phase loss (0 for phases as in speech, about 1 for others), scalars
        averaged over the resolutions.
        """
        both = torch.cat([fake, real])
        mel_loss, stft_loss, phase_loss = (fake.new_zeros(()) for _ in range(3))
        for n in self.sizes:
            # (2B, n/2+1, T)
            spec = torch.stft(both, n, n // 4, window=getattr(self, f"window{n}"), return_complex=True)
            magnitude = (spec.real.square() + spec.imag.square() + 1e-9).sqrt()
            mel = (getattr(self, f"mel{n}") @ magnitude).clamp(min=1e-4).log()
            f, r = magnitude.chunk(2)
            mel_loss = mel_loss + (mel.chunk(2)[0] - mel.chunk(2)[1]).abs().mean()
            converge = (f - r).norm(dim=(1, 2)) / r.norm(dim=(1, 2)).clamp(min=1e-2)
            stft_loss = stft_loss + converge.mean() + (f.clamp(min=1e-4).log() - r.clamp(min=1e-4).log()).abs().mean()
            phase_loss = phase_loss + advance_error(spec, magnitude)
        return mel_loss / len(self.sizes), stft_loss / len(self.sizes), phase_loss / len(self.sizes)


def advance_error(spec: Tensor, magnitude: Tensor) -> Tensor:
    """Spectra (2B, F, T), of copies and then of their speech, and their magnitudes -> 1 minus the cosine between what
    the phases of both advance by from a frame to the next, weighted by the magnitude of the speech. A shift in time
    changes nothing of a steady harmonic's.
    """
    step, size = spec[..., 1:] * spec[..., :-1].conj(), magnitude[..., 1:] * magnitude[..., :-1]
    (fake, real), (_, weight) = (step / size).chunk(2), size.sqrt().chunk(2)
    return (weight * (1 - (fake * real.conj()).real)).sum() / weight.sum().clamp(min=1e-6)


def pitch_error(found: Reading, pitch: Tensor) -> Tensor:
    """Cross-entropy of what was read against the pitch of the speech (B, T, 2), in Hz and how far it may be relied on:
    whether there is one, and between which two pitches it lies.
    """
    there = pitch[..., 1] > TRUSTED
    place = (pitch[..., 0] / LOWEST).log() * ((PITCHES - 1) / np.log(HIGHEST / LOWEST))
    place = place.clamp(0, PITCHES - 1.001)
    lower = place.long()
    share, log = place - lower, found.logits.log_softmax(-1)
    below, above = (log.gather(-1, (lower + n)[..., None])[..., 0] for n in (0, 1))
    which = -((1 - share) * below + share * above)
    whether = functional.binary_cross_entropy_with_logits(found.voiced, there.float())
    return whether + (which * there).sum() / there.sum().clamp(min=1)


def turning(found: Reading, pitch: Tensor, real: Tensor) -> Tensor:
    """How far the phases of speech (B, S) go on from a frame to the next otherwise than harmonics of the pitch that was
    read would, where there is one: 1 minus the cosine, weighted by the magnitude. Frames at the ends, which see what is
    not there, do not count. pitch: as for pitch_error.
    """
    true = torch.stft(real, N_FFT, HOP, window=torch.hann_window(N_FFT, device=real.device), return_complex=True)
    order = numbers(found.pitch.detach())  # (B, T, L)
    turned = 2 * torch.pi * order * found.cycles[..., None]
    still = true[:, :BINS].transpose(1, 2) * torch.polar(torch.ones_like(turned), -turned)
    inner = slice(2, -2)
    still, order, there = still[:, inner], order[:, inner], (pitch[:, inner, 1] > TRUSTED)[..., None]
    step, same = still[:, 1:] * still[:, :-1].conj(), order[:, 1:] == order[:, :-1]
    size = step.abs()
    weight = size.clamp(min=1e-10).sqrt() * (there[:, 1:] & there[:, :-1] & same)
    return (weight * (1 - step.real / size.clamp(min=1e-9))).sum() / weight.sum().clamp(min=1e-6)
