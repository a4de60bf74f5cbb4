"""The limits that audiobook shops set on every file, reached and measured.

ACX's: -23 to -18 dB RMS, peaks at most -3 dB, a noise floor under -60 dB, half a second to one of silence before and
one to five after, at most 120 minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tts_fm.audio.levels import limit
from tts_fm.audio.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

    from tts_fm.book.timeline import ChapterSound

TARGET = -20.0  # dB RMS
CEILING = -3.8  # dB; MP3 adds some tenths
LONGEST = 120.0  # minutes
FLOOR_WINDOW = 0.4  # seconds of the quietest stretch


@dataclass(frozen=True)
class Figures:
    """What a file has, in dB of full scale and seconds."""

    rms: float
    peak: float
    floor: float
    head: float
    tail: float
    minutes: float

    @property
    def faults(self) -> list[str]:
        """What is outside the limits."""
        checks = (
            (-23 <= self.rms <= -18, "RMS"), (self.peak <= -3, "peak"), (self.floor <= -60, "noise floor"),
            (0.5 <= self.head <= 1.25, "silence before"), (1 <= self.tail <= 5, "silence after"),
            (self.minutes <= LONGEST, "length"),
        )  # fmt: skip
        return [name for ok, name in checks if not ok]

    def line(self, name: str) -> str:
        """A line of the table."""
        verdict = "within the limits" if not self.faults else f"OUTSIDE: {', '.join(self.faults)}"
        return (
            f"{name}: RMS {self.rms:.1f} dB, peak {self.peak:.1f} dB, noise floor {self.floor:.0f} dB, "
            f"{self.head:.2f} s before, {self.tail:.2f} s after, {self.minutes:.1f} min; {verdict}"
        )


def levelled(chapter: ChapterSound) -> Iterator[np.ndarray]:
    """The blocks of a chapter at TARGET, their peaks limited. It is read twice, the first time to measure."""
    import numpy as np

    power, count = 0.0, 0
    for block in chapter.blocks():
        power += float(np.square(block.astype(np.float64) / 32768).sum())
        count += len(block)
    # limiting takes some of the power away again: the second pass aims that much higher
    gain = 10 ** ((TARGET + 0.5) / 20) / math.sqrt(power / count) if power else 1.0
    for block in chapter.blocks():
        if not len(block) or not block.any():
            yield block
            continue
        wave = limit(block.astype(np.float32) / 32768 * gain, SAMPLE_RATE, CEILING)
        yield np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)


def measure(path: Path) -> Figures:
    """The figures of a finished file, as decoded."""
    import numpy as np
    import soundfile

    power, count, peak = 0.0, 0, 0.0
    floor, first, last = math.inf, -1, 0
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        for block in file.blocks(round(FLOOR_WINDOW * rate), dtype="float32", always_2d=True):
            wave = block[:, 0]
            power += float(np.square(wave, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(wave).max()))
            if len(wave) == round(FLOOR_WINDOW * rate):
                floor = min(floor, float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))))
            loud = np.flatnonzero(np.abs(wave) > 0.01)
            if len(loud):
                first = count + int(loud[0]) if first < 0 else first
                last = count + int(loud[-1])
            count += len(wave)
    return Figures(
        _db(math.sqrt(power / max(count, 1))), _db(peak), _db(0.0 if floor == math.inf else floor),
        max(first, 0) / rate, (count - last) / rate, count / rate / 60,
    )  # fmt: skip


def _db(value: float) -> float:
    return max(-120.0, 20 * math.log10(value)) if value > 0 else -120.0
