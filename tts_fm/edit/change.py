"""Change words in a recording: what stays is the recording itself, sample for sample; what is new is spoken by
infilling between it.

    old and new words (a diff) -> stretches to speak -> frames for them (aligner; duration model at the speaker's pace)
    -> mel (flow, all the rest given) -> wave (vocoder) -> spliced into the recording (audio/joints.py)

S samples at 24 kHz, T mel frames of the recording, T' of the result, U phone units. Times are mel frames, also
fractions of them. How the units of the old text are found in the recording is the aligner's matter
(engines/align.py); it is passed in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, Protocol

import numpy as np

from tts_fm.audio.joints import Place, splice
from tts_fm.audio.levels import loudness
from tts_fm.audio.mel import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, log_mel
from tts_fm.audio.prompt import CHARS_PER_SECOND, TARGET_LUFS
from tts_fm.audio.steady import steadied
from tts_fm.edit.recording import Change, Edited, Recording
from tts_fm.engines.align import DOUBTFUL, whole_words
from tts_fm.engines.jobs import Job, Progress, chunk_seed, reporter, speech_edges
from tts_fm.engines.sound import EDGE_SILENCE
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS
from tts_fm.text.chunks import plan_chunks
from tts_fm.text.markup import Ipa, parse_markup
from tts_fm.text.phonemes import phoneme_units_many
from tts_fm.text.symbols import SILENCE, STRESS, UNKNOWN, is_pause
from tts_fm.text.tokens import Tokenizer
from tts_fm.text.word_times import unit_spans, word_times

LONGEST, LONGEST_RESULT = 30.0, 45.0  # seconds
MARGIN = 3  # frames of the recording beside a change that are spoken anew with it: sounds lean on their neighbours
SHORTEST_KEPT = 16  # frames: what stays between two changes and is shorter is spoken anew too
QUIET = 7.5  # frames of silence around speech that begins or ends anew
EDGE = 4  # frames at either end of the recording that are too few to join to
PACES = (0.4, 2.5)  # of the speaker against the duration model


class Aligner(Protocol):
    """What finds the units of a text in a recording: see align.Aligner."""

    def align(self, wave: np.ndarray, text: str, lang: str) -> Any:
        """An object with units, frames (mel frames of each unit), lead and tail (frames of silence around them) and
        score.
        """
        ...


@dataclass(frozen=True)
class Script:
    """What a recording says, or shall say."""

    text: str  # normalised
    words: list[str]
    # what makes two words the same: letters, the mark behind them, which is heard in the melody, phones given by hand
    keys: list[str]
    units: list[str]  # (U,)
    unknown: list[str]  # units that the model does not have


@dataclass(frozen=True)
class Stretch:
    """A part of the old text that gives way to a part of the new one; the words and the units from `first` up to,
    without, `last`.
    """

    words: tuple[int, int]
    units: tuple[int, int]
    new_words: tuple[int, int]
    new_units: tuple[int, int]


def edit(
    tts: TTS,
    recording: np.ndarray | Recording,
    text: str,
    new_text: str,
    *,
    aligner: Aligner,
    settings: Settings | None = None,
    on_progress: Progress | None = None,
) -> Edited:
    """Change what is said in a recording from `text` (what it says) to `new_text`, in its own voice.

    wave: (S,) float at 24 kHz, 0.5 to 30 s, mono. settings: `duration` and `loudness` must be None, since both are the
    recording's; `speed` is that of the new words against the old ones; `match` is not used: what surrounds the new
    words gives their colour. Words that differ, be it in a mark of punctuation behind them or in phones given by hand
    (`[word](/ipa/)`), are spoken anew. Raises ValueError, one line, for a model that is not `aligned`, texts that say
    the same or share no word, and bad recordings.
    """
    began = time.perf_counter()
    settings = _checked_settings(tts, settings)
    wave = _checked_wave(recording.wave if isinstance(recording, Recording) else recording)
    lang = settings.lang or tts.engine.lang or "en-us"
    tokenizer = tts.engine.tokenizer(lang)
    old, new = read(text, tokenizer, lang, "the transcript"), read(new_text, tokenizer, lang, "the new text")
    if len(old.text) > CHARS_PER_SECOND[1] * len(wave) / SAMPLE_RATE:
        got = f"{len(old.text)} characters for {len(wave) / SAMPLE_RATE:.1f} s"
        raise ValueError(f"the transcript has {got}, more than anybody can say; give exactly what the recording says")
    if old.keys == new.keys:
        raise ValueError("the new text says the same as the transcript; change at least one word")
    warnings = [f"the model does not know {' '.join(new.unknown)}; left out"] if new.unknown else []

    found = aligner.align(wave, text, lang)
    if found.score < DOUBTFUL:
        warnings.append(
            "the transcript hardly fits the recording: check that it is exactly what is said, or words will be cut in "
            "two"
        )
    edges = np.cumsum([found.lead, *found.frames])  # (U + 1,) where each unit begins, and where the last one ends
    stretches = differences(old, new, found.units, edges, lang)

    gain = _gain_to_target(wave)
    recorded = log_mel(wave * gain)  # (T, 100)
    units, frames, mel, given, places = layout(tts, recorded, found, edges, new, stretches, settings.speed)
    if len(mel) > LONGEST_RESULT * FRAMES_PER_SECOND:
        length = len(mel) / FRAMES_PER_SECOND
        raise ValueError(f"the result would last {length:.0f} s, the limit is {LONGEST_RESULT:.0f} s; add fewer words")
    spoken = infill(tts, units, frames, mel, given, settings, on_progress)
    end = places[-1]
    # the last words are new: as after `say`, only a little of the silence behind them stays
    if end.last == len(recorded):
        spoken = spoken[: max(end.start + 2, speech_edges(spoken, None, EDGE_SILENCE)[1])]
        places[-1] = replace(end, length=len(spoken) - end.start)
    new_wave = tts.engine.decode(spoken)
    new_wave = steadied(new_wave, spoken) if tts.engine.steady else new_wave
    result, knots, kept = splice(wave, new_wave / gain, places)

    def seconds(at: Sequence[float] | np.ndarray) -> np.ndarray:
        """Frames of `mel` -> seconds of the result, whose joints have moved by some milliseconds."""
        return np.interp(np.asarray(at) * HOP, *np.transpose(knots)) / SAMPLE_RATE

    ends = seconds(np.cumsum(frames))
    words = word_times(new.text, units[1:-1], ends[1:-1].tolist(), lang, first=float(ends[0]))
    spans = []
    for stretch, place in zip(stretches, places, strict=True):
        gone, come = old.words[slice(*stretch.words)], new.words[slice(*stretch.new_words)]
        start, stop = seconds([place.start, place.start + place.length]).round(3).tolist()
        spans.append(Change(" ".join(gone), " ".join(come), start, stop))
    own = recording if isinstance(recording, Recording) else None
    return Edited(result, words, spans, settings, time.perf_counter() - began, warnings, own, kept)


# ---- what is asked


def _checked_settings(tts: TTS, settings: Settings | None) -> Settings:
    if tts.engine.text != "aligned":
        raise ValueError(
            f"this model's text is `{tts.engine.text}`; editing needs an `aligned` model, such as the built-in one"
        )
    settings = replace((settings or Settings()).with_defaults(tts.defaults).check(), match=0.0)
    for name in ("duration", "loudness"):
        if getattr(settings, name) is not None:
            raise ValueError(f"an edit keeps the {name} of the recording; drop {name}={getattr(settings, name)}")
    return settings


def _checked_wave(wave: np.ndarray) -> np.ndarray:
    wave = np.ascontiguousarray(wave, np.float32)
    if wave.ndim != 1 or not np.isfinite(wave).all():
        raise ValueError(f"the recording must be one mono wave (S,) of finite samples, got {wave.shape}")
    seconds = len(wave) / SAMPLE_RATE
    if not 0.5 <= seconds <= LONGEST:
        raise ValueError(
            f"the recording lasts {seconds:.1f} s; 0.5 to {LONGEST:.0f} s can be edited: cut out the sentence to change"
        )
    if np.abs(wave).max() < 1e-3:
        raise ValueError("the recording is silent; give one in which the words of the transcript are heard")
    return wave


def read(text: str, tokenizer: Tokenizer, lang: str, name: str = "the text") -> Script:
    """A text as a Script. ValueError, which calls it `name`, when it is empty or asks for a pause."""
    if not text.strip():
        raise ValueError(f"{name} is empty; editing needs what the recording says and what it shall say")
    plans = plan_chunks(" ".join(text.split()), tokenizer, lang, budget=1e9)
    if len(plans) > 1 or plans[0].pause:
        raise ValueError(f"{name} holds a <break>, which cannot be put into a recording; leave it out")
    words = [word for word in plans[0].text.split() if any(char.isalnum() for char in word)]
    by_hand = {piece.word.lower(): piece.ipa for piece in parse_markup(text) if isinstance(piece, Ipa)}
    keys = [word.strip("\"'()").lower() for word in words]
    keys = [key + by_hand.get(key.strip(".,;:!?"), "") for key in keys]
    return Script(plans[0].text, words, keys, plans[0].units, sorted(plans[0].unknown))


# ---- what changes


def differences(old: Script, new: Script, units: Sequence[str], edges: np.ndarray, lang: str) -> list[Stretch]:
    """The stretches of the old text, heard as `units` (U,) with `edges` (U + 1,) in frames, that must change to say the
    new one.

    Runs of common words stay where they last SHORTEST_KEPT or longer. ValueError when none does.
    """
    ranges, new_ranges = word_ranges(old.words, units, lang), word_ranges(new.words, new.units, lang)

    def apart(pair: tuple[int, int]) -> bool:
        """Whether a word has units of its own in both texts: it has none where it has melted into its neighbour."""
        return all(last > first for first, last in (ranges[pair[0]], new_ranges[pair[1]]))

    kept: list[list[tuple[int, int]]] = []  # runs of words: number in the old and in the new text
    for block in SequenceMatcher(None, old.keys, new.keys, autojunk=False).get_matching_blocks():
        run = [(block.a + k, block.b + k) for k in range(block.size)]
        cuts = [k for k, pair in enumerate(run) if apart(pair)]
        if cuts:
            run = run[cuts[0] : cuts[-1] + 1]
            if edges[ranges[run[-1][0]][1]] - edges[ranges[run[0][0]][0]] >= SHORTEST_KEPT:
                kept.append(run)
    if not kept:
        raise ValueError(
            "no words of the recording would be left; speak the new text with tts-fm say --ref-audio instead"
        )
    stretches = []
    word = unit = new_word = new_unit = 0  # up to where both texts are dealt with
    for run in [*kept, []]:
        a, b = run[0] if run else (len(old.words), len(new.words))
        u, v = (ranges[a][0], new_ranges[b][0]) if run else (len(units), len(new.units))
        if a > word or b > new_word:
            stretches.append(Stretch((word, a), (unit, u), (new_word, b), (new_unit, v)))
        if run:
            a, b = run[-1]
            word, unit, new_word, new_unit = a + 1, ranges[a][1], b + 1, new_ranges[b][1]
    return stretches


def word_ranges(words: Sequence[str], units: Sequence[str], lang: str) -> list[tuple[int, int]]:
    """For each word the units that are its own, [first, last), with the marks behind it; empty where it is not
    found.
    """
    ranges = []
    for first, last in whole_words(units, unit_spans(units, phoneme_units_many(words, lang))):
        while first < last < len(units) and is_pause(units[last]) and not units[last].isspace():
            last += 1
        ranges.append((first, last))
    return ranges


# ---- where it comes


def layout(
    tts: TTS,
    recorded: np.ndarray,
    found: Any,
    edges: np.ndarray,
    new: Script,
    stretches: Sequence[Stretch],
    speed: float,
) -> tuple[list[str], list[float], np.ndarray, np.ndarray, list[Place]]:
    """The result's units with their frames, its mel (T', 100) with what is given of it (T',) bool, and the places of
    the stretches.

    recorded: (T, 100). Units and frames begin and end with the silence around the speech.
    """
    units, kept = [SILENCE], [float(found.lead)]  # kept: frames in the recording, NaN for units that are new
    u = 0
    for s in stretches:
        units += [*found.units[u : s.units[0]], *new.units[slice(*s.new_units)]]
        kept += [*found.frames[u : s.units[0]], *[float("nan")] * (s.new_units[1] - s.new_units[0])]
        u = s.units[1]
    units += [*found.units[u:], SILENCE]
    kept += [*found.frames[u:], float(found.tail)]
    expected = _frames_of(tts, units, np.array(kept), recorded, speed)

    frames: list[float] = []
    pieces: list[np.ndarray] = []
    places: list[Place] = []
    at = u = done = 0  # in the recording's frames, the old units, the result's units
    for s in stretches:
        # units that stay (silence first), and new ones
        count, size = s.units[0] - u + (not places), s.new_units[1] - s.new_units[0]
        frames += kept[done : done + count]
        fresh = expected[done + count : done + count + size]
        first, last = _around(edges[s.units[0]], edges[s.units[1]], at, len(recorded))
        beside = (edges[s.units[0]] - first) + (last - edges[s.units[1]])  # frames of old units that are spoken anew
        # nothing of the recording is left before, or behind: some silence, as models expect
        if s.units[0] == first == 0:
            frames[0], beside = frames[0] + QUIET, beside + QUIET
        if s.units[1] == len(found.units) and last == len(recorded):
            beside += QUIET
        length = max(2, round(beside + fresh.sum()))
        frames += (fresh * max(length - beside, 0.0) / max(fresh.sum(), 1e-6)).tolist()
        pieces += [recorded[at:first], np.full((length, recorded.shape[1]), np.nan, np.float32)]
        places.append(Place(first, last, sum(map(len, pieces)) - length, length))
        at, u, done = last, s.units[1], done + count + size
    frames += kept[done:]
    mel = np.concatenate([*pieces, recorded[at:]])
    frames[-1] = max(0.0, len(mel) - sum(frames[:-1]))  # the silence behind takes up the roundings
    given = ~np.isnan(mel).any(-1)
    return units, frames, np.nan_to_num(mel, nan=0.0), given, places


def _around(start: float, end: float, floor: int, total: int) -> tuple[int, int]:
    """Whole frames [first, last) that hold the old stretch from `start` to `end` and MARGIN on either side; up to an
    end that is near.
    """
    first, last = int(np.floor(start)) - MARGIN, int(np.ceil(end)) + MARGIN
    return (first if first - floor >= EDGE else floor), (last if total - last >= EDGE else total)


def _frames_of(tts: TTS, units: Sequence[str], kept: np.ndarray, recorded: np.ndarray, speed: float) -> np.ndarray:
    """Frames that the duration model gives every unit, at the pace at which the units that are kept are spoken."""
    ids = _ids(tts, units)

    def at(speed: float) -> np.ndarray:
        return tts.engine.durations(ids, recorded, speed).astype(np.float64)

    told = [
        not np.isnan(mine) and not is_pause(unit) and unit not in STRESS for unit, mine in zip(units, kept, strict=True)
    ]
    # phones that a pause may have gone into
    held = [is_pause(after) and not after.isspace() for after in [*units[1:], "."]]
    sure = np.array(told) & ~np.array(held)
    pace = np.clip(at(1.0)[sure].sum() / max(kept[sure].sum(), 1e-6), *PACES) if sure.any() else 1.0
    return at(float(pace) * speed)


def _ids(tts: TTS, units: Sequence[str]) -> list[int]:
    """Units of the aligner or of the plan as symbols of the model."""
    index = {symbol: number for number, symbol in enumerate(tts.engine.vocab)}
    return [index.get(unit, index[UNKNOWN]) for unit in units]


# ---- how it sounds


def infill(
    tts: TTS,
    units: Sequence[str],
    frames: Sequence[float],
    mel: np.ndarray,
    given: np.ndarray,
    settings: Settings,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """The mel (T', 100) with what is not given spoken; units and frames of the whole."""
    job = Job(mel, _ids(tts, units), list(frames), len(mel), chunk_seed(settings, 0), given, settings=settings)
    return tts.engine.sample([job], settings, reporter(on_progress, None, [job]))[0]


def _gain_to_target(wave: np.ndarray) -> np.float32:
    """What brings a recording to the loudness that the model was trained at."""
    now = loudness(wave, SAMPLE_RATE)
    return np.float32(10 ** ((TARGET_LUFS - now) / 20)) if np.isfinite(now) else np.float32(1.0)
