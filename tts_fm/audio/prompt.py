"""Checks of a reference recording: what a voice prompt must be before a model hears it.

S samples at 24 kHz mono. Everything that would spoil the speech later (silence, a wrong transcript, two hours of audio)
is refused here with a line that says what would work; everything that was changed or looks doubtful is told in
`warnings`. Knows nothing about models or text units.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from tts_fm.audio.files import RATES, read_audio, resample
from tts_fm.audio.levels import normalise_loudness
from tts_fm.audio.match import bands_within
from tts_fm.audio.mel import N_MELS, SAMPLE_RATE, log_mel

MAX_FILE_SECONDS = 600.0  # longer recordings are refused by their header, before decoding
MIN_SECONDS, SHORT_SECONDS = 0.5, 2.0  # refused below the first, warned about below the second
CHARS_PER_SECOND = (3.0, 35.0)  # what a transcript may have; people speak at 8 to 25
# all prompts are brought to this loudness: the median of the built-in voice's corpus (RMS near 0.085; F5 uses 0.1)
TARGET_LUFS = -20.5
NARROW = 9_500.0  # Hz; a recording that ends below is named, as it gives a duller voice
EDGE = 0.1  # seconds of silence kept before and after the speech
STEP = SAMPLE_RATE // 100  # samples between the 10 ms frames in which levels are measured


@dataclass(frozen=True)
class Reference:
    """A checked prompt."""

    wave: np.ndarray  # (S,) float32, 24 kHz, trimmed, at TARGET_LUFS
    seconds: float  # S / 24000
    text: str | None  # its transcript, None = not given
    warnings: list[str] = field(default_factory=list)  # one line each, for the user


def levels_of(wave: np.ndarray) -> np.ndarray:
    """(S,) -> (S // 240,) RMS in dBFS of 10 ms frames."""
    frames = wave[: len(wave) // STEP * STEP].reshape(-1, STEP)
    return 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)


def speech_bounds(wave: np.ndarray) -> tuple[int, int]:
    """First and last sample of what is not silence, with EDGE around: louder than -60 dBFS and than 40 dB below the
    loud parts.
    """
    levels = levels_of(wave)
    if not len(levels):
        return 0, len(wave)
    loud = np.flatnonzero(levels > max(-60.0, np.percentile(levels, 95) - 40))
    if not len(loud):
        return 0, len(wave)
    edge = round(EDGE * SAMPLE_RATE)
    return max(0, loud[0] * STEP - edge), min(len(wave), (loud[-1] + 1) * STEP + edge)


def clear_bounds(wave: np.ndarray) -> tuple[int, int]:
    """First and last sample of the speech in a recording whose room is heard before or after it, with EDGE around: what
    is at least 8 dB above the quietest 50 ms. Where the level hardly changes, only a steady second or more at either
    end that is far below the loud parts is cut off.
    """
    levels = levels_of(wave)
    if len(levels) < 50:
        return 0, len(wave)
    smooth = 10 * np.log10(np.convolve(10 ** (levels / 10), np.ones(5) / 5, "same"))
    floor, top = np.percentile(smooth, 5), np.percentile(smooth, 95)
    edge = round(EDGE * SAMPLE_RATE)
    lead, tail = _steady(smooth, top), _steady(smooth[::-1], top)
    if top - floor < 15:
        first, last = lead, len(levels) - tail
    else:
        voiced = lead + np.flatnonzero(smooth[lead : len(smooth) - tail] > max(floor + 8, top - 40))
        if not len(voiced):
            return 0, len(wave)
        first, last = int(voiced[0]), int(voiced[-1]) + 1
    return max(0, first * STEP - edge), min(len(wave), last * STEP + edge) if last < len(levels) else len(wave)


def _steady(levels: np.ndarray, top: float) -> int:
    """How many frames at the beginning keep their level and are far below the speech, as the noise of a room does; 0
    for less than a second.
    """
    level = float(np.median(levels[2:100]))
    if len(levels) < 150 or level > top - 8:
        return 0
    away = np.flatnonzero(np.abs(levels[2:] - level) > 3)
    run = 2 + int(away[0]) if len(away) else 0
    return run if run >= 100 else 0


def clearest(wave: np.ndarray, longest: int) -> int:
    """Where the clearest `longest` samples of speech begin: at a pause, with the greatest distance between the loud and
    the quiet frames. The first stretch stays unless another is clearly better (4 dB).
    """
    levels = levels_of(wave)
    frames, hop = longest // STEP, SAMPLE_RATE // STEP
    if len(levels) <= frames:
        return 0

    def contrast(start: int) -> float:
        part = levels[start : start + frames]
        return float(np.percentile(part, 95) - np.percentile(part, 10))

    starts = range(0, len(levels) - frames + 1, hop)
    scores = [contrast(start) for start in starts]
    best = int(np.argmax(scores))
    if scores[best] < scores[0] + 4:
        return 0
    at = starts[best]
    around = levels[max(0, at - hop // 2) : at + hop // 2]
    return (max(0, at - hop // 2) + int(np.argmin(around))) * STEP


def _pause(wave: np.ndarray, longest: int) -> int:
    """Where to cut so that at most `longest` samples stay: the middle of the quietest 150 ms in the last 40 % of
    them.
    """
    power = 10 ** (levels_of(wave[:longest]) / 10)
    width = min(15, len(power))
    quiet = np.convolve(power, np.ones(width), "valid")  # quiet[k]: power of frames k .. k + width - 1
    first = int(0.6 * len(quiet))
    return (first + int(np.argmin(quiet[first:])) + width // 2) * STEP


def clipped_share(wave: np.ndarray) -> float:
    """Share of samples that sit on the rail: at least 3 in a row within 0.1 % of a peak at or near full scale."""
    peak = float(np.abs(wave).max())
    if peak < 0.97:
        return 0.0
    flat = np.abs(wave) >= 0.999 * peak
    run = np.convolve(flat, np.ones(3), "same") >= 3
    return float(run.mean())


def band_edge(wave: np.ndarray) -> float | None:
    """Hz above which a narrow-band recording (S,) holds nothing; None for one that holds the whole band."""
    bands = bands_within(log_mel(wave))
    if bands >= N_MELS:
        return None
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)  # of the HTK mel scale
    return float(700 * (10 ** (top * (bands + 1) / (N_MELS + 1) / 2595) - 1))


def _read(source: Any, rate: int, name: str) -> tuple[np.ndarray, int]:
    """(S,) float32 and its rate from a path, bytes, a binary file, or an array at `rate` (numpy or torch)."""
    if isinstance(source, str | os.PathLike | bytes) or hasattr(source, "read"):
        return read_audio(source, MAX_FILE_SECONDS)
    if hasattr(source, "detach"):
        source = source.detach().cpu().float().numpy()
    wave = np.asarray(source)
    if wave.ndim != 1 or not wave.size or wave.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} is an array of shape {wave.shape} and type {wave.dtype}; one mono wave (S,) of float samples is "
            "needed"
        )
    if wave.dtype.kind != "f":
        info = np.iinfo(wave.dtype)
        wave = (wave.astype(np.float64) - (info.max + 1) / 2 * (info.min == 0)) / (
            info.max + 1 if info.min else (info.max + 1) / 2
        )
    if not isinstance(rate, int | np.integer) or not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"the rate of {name} is {rate!r}; {RATES[0]} to {RATES[1]} Hz works")
    if not np.isfinite(wave).all():
        raise ValueError(f"{name} holds NaN or infinite samples")
    if len(wave) > MAX_FILE_SECONDS * rate:
        raise ValueError(
            f"{name} lasts {len(wave) / rate:.0f} s, the limit is {MAX_FILE_SECONDS:.0f} s; 3 to 12 s of speech are "
            "enough"
        )
    return wave.astype(np.float32), int(rate)


def check_text(text: str | None, seconds: float) -> str | None:
    """A transcript with its spaces tidied, None when blank; ValueError when it cannot be what is said in `seconds`."""
    text = " ".join((text or "").split()) or None
    if text is None:
        return None
    pace = len(text) / seconds
    low, high = CHARS_PER_SECOND
    if not low <= pace <= high:
        why = (
            "it has words that are not in the recording"
            if pace > high
            else "it leaves out words, or most of the recording is not speech"
        )
        raise ValueError(
            f"the reference text has {len(text)} characters for {seconds:.1f} s of speech ({pace:.1f} a second, "
            f"{low:.0f} to {high:.0f} are"
            f" possible): {why}; give exactly what is said, or no text"
        )
    return text


def check_reference(
    source: str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Any,
    text: str | None = None,
    max_seconds: float = 12.0,
    rate: int = SAMPLE_RATE,
) -> Reference:
    """Read, check and prepare a voice prompt.

    source: path, file bytes, open file, or a mono array (S,) at `rate` Hz. text: its transcript (blank = not given).
    max_seconds: longer speech is cut at a pause and a warning says so; with a text that is an error, since the text
    would no longer match. The result is trimmed to 100 ms of silence at its edges, 24 kHz, at TARGET_LUFS with a true
    peak of at most -1 dB. ValueError, one line, for what is missing, empty, damaged, silent, shorter than 0.5 s, longer
    than 10 minutes, or has an impossible transcript.
    """
    if not max_seconds >= SHORT_SECONDS:
        raise ValueError(f"max_seconds is {max_seconds}; {SHORT_SECONDS:.0f} or more works")
    name = f"the reference {source}" if isinstance(source, str | os.PathLike) else "the reference"
    if text is not None and not isinstance(text, str):
        raise ValueError(f"the transcript of {name} is {text!r}; a string is needed")
    wave, own_rate = _read(source, rate, name)
    warnings: list[str] = []
    share = clipped_share(wave)
    if share > 1e-3:
        warnings.append(
            f"{share:.1%} of the reference is clipped (distorted); a recording with the level turned down will sound "
            "cleaner"
        )
    needed = f"at least {MIN_SECONDS} s of speech are needed, 3 to 12 s are best"
    if len(wave) < MIN_SECONDS * own_rate:
        raise ValueError(f"{name} lasts {len(wave) / own_rate:.2f} s; {needed}")
    wave = wave - wave.mean()
    if np.abs(wave).max() < 1e-3:
        raise ValueError(
            f"{name} is silent (peak {np.abs(wave).max():.5f}); record again nearer to the microphone, 3 to 12 s of "
            "speech"
        )
    wave = resample(wave, own_rate, SAMPLE_RATE)
    start, end = speech_bounds(wave)
    wave = wave[start:end]
    wave = wave[slice(*clear_bounds(wave))]
    if len(wave) < MIN_SECONDS * SAMPLE_RATE:
        raise ValueError(f"{name} has only {len(wave) / SAMPLE_RATE:.2f} s that are not silence; {needed}")
    whole = len(wave) / SAMPLE_RATE
    if whole > max_seconds:
        if text is not None and text.strip():
            raise ValueError(
                f"{name} has {whole:.1f} s of speech, the limit is {max_seconds:g} s, and cut it would no longer match "
                "its text; give a"
                f" recording of at most {max_seconds:g} s, or drop the text"
            )
        at = clearest(wave, int(max_seconds * SAMPLE_RATE))
        wave = wave[at:]
        wave = wave[: _pause(wave, int(max_seconds * SAMPLE_RATE))]
        wave = wave[slice(*speech_bounds(wave))]
        which = (
            f"the clearest {len(wave) / SAMPLE_RATE:.1f} s, from {at / SAMPLE_RATE:.1f} s on," if at else "the first"
        )
        shown = which if at else f"{which} {len(wave) / SAMPLE_RATE:.1f} s"
        warnings.append(f"only {shown} of {whole:.1f} s of the reference are used (cut at a pause)")
    seconds = len(wave) / SAMPLE_RATE
    if seconds < SHORT_SECONDS:
        warnings.append(f"the reference has only {seconds:.1f} s of speech; 3 to 12 s give a closer voice")
    levels = levels_of(wave)
    if np.percentile(levels, 95) - np.percentile(levels, 5) < 10:
        warnings.append(
            "the reference hardly changes in level: noise, music or a tone in it will be heard in the result"
        )
    edge = band_edge(wave)
    if edge is not None and edge < NARROW:
        warnings.append(
            f"the reference holds nothing above {edge / 1000:.1f} kHz (a telephone, or a low bit rate): its colour is "
            "copied below that only; a recording at 24 kHz or more gives a clearer voice"
        )
    return Reference(normalise_loudness(wave, SAMPLE_RATE, TARGET_LUFS), seconds, check_text(text, seconds), warnings)
