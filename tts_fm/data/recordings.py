"""Recordings of a person become pieces that a voice can be learnt from: decoded, cut at pauses, judged, at one level.

A piece lasts 3 to 12 s where the speech allows. What is unfit is dropped with its reason, never in silence. S samples
at 24 kHz. It listens to levels and spectra alone: what is said, and by whom, train/voice_items.py judges.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tts_fm.audio.files import read_audio, resample
from tts_fm.audio.levels import normalise_loudness
from tts_fm.audio.mel import HOP, SAMPLE_RATE
from tts_fm.audio.prompt import STEP, TARGET_LUFS, clipped_share, levels_of, speech_bounds
from tts_fm.data.corpus import mel_of
from tts_fm.data.listing import Recording

LONGEST_FILE = 3 * 3600.0  # seconds; more is refused by its header
SHORTEST, LONGEST = 3.0, 12.0  # seconds of a piece
LEAST = 1.0  # seconds below which a piece teaches nothing
PAUSE = 25  # 10 ms frames of quiet that are a pause
CLIPPED = 0.005  # share of clipped samples
NOISE = 12.0  # dB between loud and quiet frames: less is noise or music all through
NARROW = 5.0  # nepers that 5 to 8 kHz lie under 0.3 to 3 kHz: a telephone has 11 to 12, open speech 0 to 1.3
LOW_BANDS, HIGH_BANDS = slice(11, 57), slice(72, 87)  # mel bands of the two


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording."""

    id: str  # the file and where it begins
    wave: np.ndarray  # (S,) float32, 24 kHz, at TARGET_LUFS
    text: str | None = None

    @property
    def seconds(self) -> float:
        return len(self.wave) / SAMPLE_RATE


@dataclass
class Table:
    """What was kept and what was dropped, by reason."""

    kept: list[tuple[str, float]] = field(default_factory=list)  # (id, seconds)
    dropped: list[tuple[str, float, str]] = field(default_factory=list)  # and why

    @property
    def seconds(self) -> float:
        """Seconds kept."""
        return sum(seconds for _, seconds in self.kept)

    def drop(self, name: str, seconds: float, reason: str) -> None:
        self.dropped.append((name, seconds, reason))

    def lines(self) -> list[str]:
        """For people: what is kept, then each reason with its seconds and examples."""
        found: dict[str, list[tuple[str, float]]] = {}
        for name, seconds, reason in self.dropped:
            found.setdefault(reason, []).append((name, seconds))
        rows = [f"kept     {len(self.kept):4d} pieces {clock(self.seconds):>6}"]
        for reason, met in sorted(found.items(), key=lambda pair: -len(pair[1])):
            some = ", ".join(name for name, _ in met[:3]) + (" ..." if len(met) > 3 else "")
            rows.append(f"dropped  {len(met):4d} pieces {clock(sum(s for _, s in met)):>6}  {reason}: {some}")
        return rows


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def decoded(recording: Recording, table: Table) -> np.ndarray | None:
    """(S,) at 24 kHz without silence at its ends, or None and a line in the table."""
    try:
        wave, rate = read_audio(recording.path, LONGEST_FILE)
    except ValueError as error:
        table.drop(recording.id, 0.0, f"cannot be read ({textwrap.shorten(str(error), 200, placeholder='...')})")
        return None
    wave = resample(wave - wave.mean(), rate, SAMPLE_RATE)
    if not len(wave) or np.abs(wave).max() < 1e-3:
        table.drop(recording.id, len(wave) / SAMPLE_RATE, "silent")
        return None
    start, end = speech_bounds(wave)
    return wave[start:end]


def fault_of(wave: np.ndarray) -> str | None:
    """Why a wave (S,) is not fit to learn a voice from, as far as its levels and spectrum say; None when it is."""
    if len(wave) < LEAST * SAMPLE_RATE:
        return f"shorter than {LEAST:g} s"
    if np.abs(wave).max() < 1e-3:
        return "silent"
    if clipped_share(wave) > CLIPPED:
        return "clipped: recorded too loud"
    levels = levels_of(wave)
    if np.percentile(levels, 95) - np.percentile(levels, 5) < NOISE:
        return "noise or music all through"
    mel = mel_of(wave)  # (T, 100)
    loud = mel[mel.mean(1) >= np.quantile(mel.mean(1), 0.6)]
    if loud[:, LOW_BANDS].mean() - loud[:, HIGH_BANDS].mean() > NARROW:
        return "narrow band: nothing above a telephone's 4 kHz"
    return None


def evened(wave: np.ndarray) -> np.ndarray:
    """(S,) at the loudness that all training and all prompts have."""
    return normalise_loudness(wave.astype(np.float32), SAMPLE_RATE, TARGET_LUFS)


def cut(wave: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches [start, end) in samples, on frames of the mel, of a recording (S,): cut in the middle of pauses into 3
    to 12 s, or at the quietest place where there is no pause."""
    if len(wave) <= LONGEST * SAMPLE_RATE:
        yield 0, len(wave)
        return
    levels = levels_of(wave)
    quiet = levels < max(-60.0, np.percentile(levels, 95) - 30)
    smooth = np.convolve(10 ** (levels / 10), np.ones(15) / 15, "same")
    places = pauses(quiet)
    start, per_second = 0, SAMPLE_RATE // STEP
    while len(levels) - start > LONGEST * per_second:
        low, high = start + int(SHORTEST * per_second), start + int(LONGEST * per_second)
        inside = [place for place in places if low <= place <= high]
        # the first pause from 6 s on, so that most pieces fit a batch; else the last one; else where it is quietest
        late = [place for place in inside if place >= start + 6 * per_second]
        end = late[0] if late else inside[-1] if inside else low + int(np.argmin(smooth[low:high]))
        yield on_frame(start * STEP), on_frame(end * STEP)
        start = end
    yield on_frame(start * STEP), len(wave)


def pauses(quiet: np.ndarray) -> list[int]:
    """Middles of the runs of True that are long enough to be a pause."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    return [int(a + b) // 2 for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= PAUSE]


def on_frame(samples: int) -> int:
    return samples // HOP * HOP
