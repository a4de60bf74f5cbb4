"""Joints that are not heard: stretches of one wave put into another that says the same around them.

S samples at 24 kHz; places are given in mel frames (256 samples), since that is how speech is made. It knows waves, no
words or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tts_fm.audio.levels import limit
from tts_fm.audio.mel import HOP, SAMPLE_RATE

FADE, REACH = 480, 160  # samples of a cross-fade, and how far it is moved, at most, to where the two waves agree
CONTEXT = SAMPLE_RATE // 2  # samples on either side of a change by which its level is matched


@dataclass(frozen=True)
class Place:
    """Where a stretch lies: frames [first, last) of the recording give way to frames [start, start + length) of the
    result.
    """

    first: int
    last: int
    start: int
    length: int


@dataclass(frozen=True)
class Kept:
    """Samples [first, last) of the recording, which are those from `start` on of the result."""

    first: int
    last: int
    start: int


def splice(
    wave: np.ndarray, spoken: np.ndarray, places: Sequence[Place]
) -> tuple[np.ndarray, list[tuple[float, float]], list[Kept]]:
    """The recording (S,) with the places taken from `spoken`, ((T' - 1) * 256,), which says the whole result.

    Each joint lies in speech that both have, and moves by up to REACH samples to where they agree best, so that pitch
    periods meet. Also returns knots (sample of `spoken`, sample of the result) between which time runs evenly, and what
    of the recording is kept as it is.
    """
    parts: list[np.ndarray] = []
    kept: list[Kept] = []
    knots = [(0.0, 0.0)]
    at = size = 0  # in the recording, in the result
    for k, place in enumerate(places):
        x, y = place.first * HOP, place.start * HOP
        x2, y2 = place.last * HOP, (place.start + place.length) * HOP
        until = places[k + 1].first * HOP if k + 1 < len(places) else len(wave)
        before, after = min(x - at, CONTEXT), min(until - x2, len(spoken) - y2, CONTEXT)
        fresh = _matched(wave, spoken, [(x - before, y - before, before), (x2, y2, max(after, 0))])
        begin = 0
        if place.first:
            begin = y + _lag(wave[x - FADE : x], fresh, y - FADE)
            kept.append(Kept(at, x - FADE, size))
            pieces = [wave[at : x - FADE], _fade(wave[x - FADE : x], fresh[begin - FADE : begin])]
            parts, size = parts + pieces, size + sum(map(len, pieces))
        knots.append((float(y), float(size)))
        if x2 > len(wave):  # nothing is left
            parts, size, at = [*parts, fresh[begin:]], size + len(fresh) - begin, len(wave)
            knots.append((float(len(fresh)), float(size)))
            break
        end = y2 + _lag(wave[x2 : x2 + FADE], fresh, y2)
        knots.append((float(y2), float(size + end - begin)))
        parts += [fresh[begin:end], _fade(fresh[end : end + FADE], wave[x2 : x2 + FADE])]
        size, at = size + end - begin + FADE, x2 + FADE
    else:
        knots.append((float(y2 + len(wave) - x2), float(size + len(wave) - at)))
        kept.append(Kept(at, len(wave), size))
    result = np.concatenate([*parts, wave[at:]])
    rise = np.linspace(0.0, 1.0, FADE // 2, dtype=np.float32)
    if places[0].first == 0:
        result[: len(rise)] *= rise
    if at == len(wave):
        result[len(result) - len(rise) :] *= rise[::-1]
    return result, knots, kept


def _matched(wave: np.ndarray, spoken: np.ndarray, shared: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """`spoken` at the level of the recording, by (sample here, sample there, how many) that both say; its peaks
    limited.
    """
    here = sum(float(np.square(wave[x : x + n], dtype=np.float64).sum()) for x, _, n in shared)
    there = sum(float(np.square(spoken[y : y + n], dtype=np.float64).sum()) for _, y, n in shared)
    gain = np.clip(np.sqrt(here / there), 0.5, 2.0) if here > 0 and there > 0 else 1.0
    fresh = (spoken * gain).astype(np.float32)
    return limit(fresh, SAMPLE_RATE) if np.abs(fresh).max() > 1 else fresh


def _lag(target: np.ndarray, wave: np.ndarray, start: int) -> int:
    """By how much `start` must move, at most REACH, for the samples there to be most like `target`."""
    reach = min(REACH, start, len(wave) - start - len(target))
    if reach <= 0:
        return 0
    windows = np.lib.stride_tricks.sliding_window_view(wave[start - reach : start + reach + len(target)], len(target))
    like = windows @ target / np.maximum(np.linalg.norm(windows, axis=1), 1e-6)
    return int(np.argmax(like)) - reach


def _fade(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From `one` to `other`, equally loud throughout: by how alike they are, between an even-gain and an even-power
    cross-fade.
    """
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(len(one)) + 0.5) / len(one))
    alike = float(np.clip(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9), 0.0, 1.0))
    level = np.sqrt(rise**2 + (1 - rise) ** 2 + 2 * alike * rise * (1 - rise))
    return (((1 - rise) * one + rise * other) / level).astype(np.float32)
