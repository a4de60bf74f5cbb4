"""Infilling: what is hidden, what is given, what enters the loss, decided for every item on its own.

An utterance has T frames. A span of them is hidden (the network must speak it); the rest is given as the prompt. All
draws come from the numpy generator that is passed in, so a resumed run repeats them.
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
    turned: bool  # the end of the utterance is the prompt, moved to the front; aligned items only, see `turn`


def draw_infill(frames: int, config: TrainConfig, rng: np.random.Generator) -> Infill:
    """Draw the hidden span (a share `config.span` of `frames`, at a random place or at the end) and the conditions to
    drop.
    """
    share, place, first, condition, text, turn_at = rng.random(6)
    low, high = config.span
    length = max(1, int(frames * (low + (high - low) * share)))
    to_the_end = first < config.prompt_first
    start = frames - length if to_the_end else int(place * (frames - length))
    both = condition < config.drop_both
    audio = condition < config.drop_both + config.drop_audio
    hide_text, turned = to_the_end and text < config.prompt_text_drop, to_the_end and turn_at < config.turned
    return Infill(start, start + length, audio, both, bool(hide_text), bool(turned))


def hide_prompt_symbols(
    ids: np.ndarray, durations: np.ndarray, start: int, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the symbols that end before frame `start` by one symbol `unknown` of the same total duration.

    (N,) ids and (N,) frames -> (M,) and (M,), M <= N + 1. This is what a prompt without a transcript looks like.
    """
    ends = durations.cumsum()
    covered = int(np.searchsorted(ends, start, side="right"))
    if covered == 0:
        return ids, durations
    return np.concatenate([[unknown], ids[covered:]]), np.concatenate([[ends[covered - 1]], durations[covered:]])


def turn(
    mel: np.ndarray, ids: np.ndarray, durations: np.ndarray, start: int, unknown: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Swap the parts of an utterance: its end, about `start` frames, becomes a prompt without transcript; its beginning
    is to be spoken.

    At inference a sentence begins where the prompt's sentence has ended. Cut in two in its order, an utterance goes on
    where the prompt breaks off, and as pitch falls within a sentence (declination), a network that has seen this only
    speaks lower than its prompt.

    mel (T, 100), ids (N,), durations (N,) in frames -> the same turned, (T, 100), (M,), (M,), M <= N + 1, and the
    frames of the prompt. The cut falls on the nearest boundary of symbols that leaves something to speak.
    """
    ends = durations.cumsum()
    spoken = 1 + int(np.abs(ends - (len(mel) - start)).argmin())  # symbols
    cut = min(len(mel), max(1, round(float(ends[spoken - 1]))))  # frames
    if cut == len(mel):
        return mel, ids[:spoken], durations[:spoken], 0
    turned = np.concatenate([mel[cut:], mel[:cut]])
    return (
        turned,
        np.concatenate([[unknown], ids[:spoken]]),
        np.concatenate([[len(mel) - cut], durations[:spoken]]),
        len(mel) - cut,
    )
