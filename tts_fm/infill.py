"""Infilling: what is hidden, what is given, what enters the loss, decided for every item on its own.

An utterance has T frames. A span of them is hidden (the network must speak it); the rest is given as the prompt. All draws come from the
numpy generator that is passed in, so a resumed run repeats them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tts_fm.config import TrainConfig


@dataclass(frozen=True)
class Infill:
    """The plan for one item: frames [start, end) are hidden; the flags say which conditions are withheld."""

    start: int
    end: int
    drop_audio: bool
    drop_text: bool
    hide_prompt_text: bool


def draw_infill(frames: int, config: TrainConfig, rng: np.random.Generator) -> Infill:
    """Draw the hidden span (a share `config.span` of `frames`, at a random place or at the end) and the conditions to drop."""
    share, place, first, condition, text = rng.random(5)
    low, high = config.span
    length = max(1, int(frames * (low + (high - low) * share)))
    to_the_end = first < config.prompt_first
    start = frames - length if to_the_end else int(place * (frames - length))
    both = condition < config.drop_both
    audio = condition < config.drop_both + config.drop_audio
    return Infill(start, start + length, audio, both, bool(to_the_end and text < config.prompt_text_drop))


def hide_prompt_symbols(ids: np.ndarray, durations: np.ndarray, start: int, unknown: int) -> tuple[np.ndarray, np.ndarray]:
    """Replace the symbols that end before frame `start` by one symbol `unknown` of the same total duration.

    (N,) ids and (N,) frames -> (M,) and (M,), M <= N + 1. This is what a prompt without a transcript looks like.
    """
    ends = durations.cumsum()
    covered = int(np.searchsorted(ends, start, side="right"))
    if covered == 0:
        return ids, durations
    return np.concatenate([[unknown], ids[covered:]]), np.concatenate([[ends[covered - 1]], durations[covered:]])
