"""Dubbing: each cue of a subtitle file is spoken when it should be, as fast as it must, within bounds.

How long speech lasts is the model's to set, so nothing is stretched: a cue that is too long at the pace that was asked
for is spoken anew, faster, up to FASTEST. What does not fit even so runs on into the silence after it, or is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.book.plan import Unit, unit_id
from tts_fm.book.speak import items_of, spoken_unit
from tts_fm.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from tts_fm.batch.lists import Item

FASTEST = 1.6  # times the pace that was asked for; faster is hard to follow
GAP = 0.04  # seconds that stay free before the next cue
ROUNDS = 3  # of speaking faster


class Speaks(Protocol):
    """What speaks items into the work folder."""

    def __call__(self, items: Sequence[Item]) -> object: ...


@dataclass(frozen=True)
class PlacedCue:
    """A cue as it is heard."""

    unit: Unit
    speed: float  # times the usual pace
    start: float  # seconds
    seconds: float  # of the speech
    late: float  # seconds by which it begins after its time
    over: float  # seconds by which it runs into the next cue's time


def fit(
    units: Sequence[Unit], settings: Settings, work: Path, speak: Speaks, fastest: float = FASTEST
) -> list[PlacedCue]:
    """Speak every cue so that it ends before the next one begins, and place them all."""
    speeds = [settings.speed] * len(units)
    current = [_at(unit, settings, speed) for unit, speed in zip(units, speeds, strict=True)]
    for _ in range(ROUNDS):
        speak(_items(current, speeds, settings))
        again = False
        for k, unit in enumerate(current):
            room, needed = _room(units, k), _seconds(unit, work)
            wanted = min(settings.speed * fastest, 4.0, speeds[k] * needed / max(room, 0.1) * 1.02)
            if needed > room and wanted > speeds[k] + 0.01:
                speeds[k], again = round(wanted, 2), True
                current[k] = _at(units[k], settings, speeds[k])
        if not again:
            break
    else:
        speak(_items(current, speeds, settings))
    return _placed(units, current, speeds, work)


def _items(units: Sequence[Unit], speeds: Sequence[float], settings: Settings) -> list[Item]:
    pairs = zip(units, speeds, strict=True)
    return list({i.id: i for unit, speed in pairs for i in items_of([unit], replace(settings, speed=speed))}.values())


def _at(unit: Unit, settings: Settings, speed: float) -> Unit:
    name = unit_id(unit.text, unit.voice, unit.ref_text, replace(settings, speed=speed))
    return replace(unit, id=name)


def _room(units: Sequence[Unit], k: int) -> float:
    """Seconds from a cue's begin to its end, or on to the next cue where that gives at most a second more."""
    begin, end = units[k].duration or (0.0, 0.0)
    following = units[k + 1].duration if k + 1 < len(units) else None
    limit = following[0] - GAP if following is not None else end + 1.0
    return max(0.1, min(limit, end + 1.0) - begin)


def _seconds(unit: Unit, work: Path) -> float:
    import soundfile

    path = work / f"{unit.id}.flac"
    return float(soundfile.info(path).duration) if path.is_file() else 0.0


def _placed(units: Sequence[Unit], current: Sequence[Unit], speeds: Sequence[float], work: Path) -> list[PlacedCue]:
    placed: list[PlacedCue] = []
    free = 0.0
    for k, (unit, speed) in enumerate(zip(current, speeds, strict=True)):
        begin, _ = unit.duration or (0.0, 0.0)
        seconds = _seconds(unit, work)
        start = max(begin, free)
        following = units[k + 1].duration if k + 1 < len(units) else None
        over = max(0.0, start + seconds - following[0]) if following is not None else 0.0
        placed.append(PlacedCue(unit, speed, start, seconds, start - begin, over))
        free = start + seconds
    return placed


def blocks(placed: Sequence[PlacedCue], work: Path) -> Iterator[np.ndarray]:
    """The whole as (S,) int16 blocks, silent between the cues."""
    import numpy as np

    at = 0
    for cue in placed:
        if not (work / f"{cue.unit.id}.flac").is_file():
            continue
        start = round(cue.start * SAMPLE_RATE)
        yield np.zeros(max(0, start - at), np.int16)
        pcm = spoken_unit(cue.unit, work).pcm
        yield pcm
        at = max(at, start) + len(pcm)


def misfits(placed: Sequence[PlacedCue], report: Callable[[str], None]) -> int:
    """Tell each cue that begins late; gives their number."""
    late = [cue for cue in placed if cue.late > 0.1]
    for cue in late:
        begin = cue.unit.duration[0] if cue.unit.duration else 0.0
        text = cue.unit.text[:60]
        report(f"the cue at {begin:.2f} s begins {cue.late:.2f} s late, the one before it is too long: {text!r}")
    return len(late)
