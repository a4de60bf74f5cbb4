"""Change words in a recording: what stays is the recording itself, sample for sample; what is new is spoken by infilling between it.

    old and new words (a diff) -> stretches to speak -> frames for them (aligner; duration model at the speaker's pace)
    -> mel (flow, all the rest given) -> wave (vocoder) -> spliced into the recording

S samples at 24 kHz, T mel frames of the recording, U phone units. Times are mel frames, also fractions of them, but in `splice`, which
counts samples. How the units of the old text are found in the recording is the aligner's matter (align.py); it is passed in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch

from tts_fm.align import STRESS, is_pause, whole_words
from tts_fm.audio import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, limit, log_mel, loudness, write_audio
from tts_fm.plan import ChunkPlan, plan_chunks
from tts_fm.reference import CHARS_PER_SECOND, TARGET_LUFS
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS, Progress, chunk_seed, speech_end
from tts_fm.text.phonemes import phoneme_units_many
from tts_fm.text.tokens import Tokenizer
from tts_fm.words import Word, unit_spans, word_times

LONGEST, LONGEST_RESULT = 30.0, 45.0  # seconds
LOW_SCORE = -2.2  # an alignment below this is doubted
MARGIN = 3  # frames of the recording beside a change that are spoken anew with it: sounds lean on their neighbours
SHORTEST_KEPT = 16  # frames: what stays between two changes and is shorter is spoken anew too
QUIET = 7.5  # frames of silence around speech that begins or ends anew
EDGE = 4  # frames at either end of the recording that are too few to join to
FADE, REACH = 480, 160  # samples of a cross-fade, and how far it is moved, at most, to where the two waves agree
CONTEXT = SAMPLE_RATE // 2  # samples on either side of a change by which its level is matched
PACES = (0.4, 2.5)  # of the speaker against the duration model


class Aligner(Protocol):
    """What finds the units of a text in a recording: see align.Aligner."""

    def align(self, wave: np.ndarray, text: str, lang: str) -> Any:
        """An object with units, frames (mel frames of each unit), lead and tail (frames of silence around them) and score."""
        ...


@dataclass(frozen=True)
class Change:
    """One stretch that was spoken anew."""

    old: str  # words of the recording that are gone, "" = something was put in
    new: str  # words in their place, "" = they were taken out
    start: float  # seconds in the result
    end: float


@dataclass
class Edited:
    """The changed recording."""

    wave: np.ndarray  # (S,) float32
    words: list[Word]  # times in the result
    spans: list[Change]
    settings: Settings
    compute_seconds: float
    warnings: list[str] = field(default_factory=list)
    rate: int = SAMPLE_RATE

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.rate

    def save(self, path: str | Path | BinaryIO, format: str | None = None) -> None:
        """Write the audio to a path or an open file, with a note in its container that parts of it are generated."""
        parts = ", ".join(f"{span.start:.2f}-{span.end:.2f} s" for span in self.spans)
        s = self.settings
        note = f"edited recording, generated speech at {parts}; seed {s.seed}, steps {s.steps}, cfg {s.cfg}"
        write_audio(path, self.wave, self.rate, format, {"software": "tts_fm", "comment": note})


@dataclass(frozen=True)
class Stretch:
    """A part of the old text that gives way to a part of the new one; the words and the units from `first` up to, without, `last`."""

    words: tuple[int, int]
    units: tuple[int, int]
    new_words: tuple[int, int]
    new_units: tuple[int, int]


@dataclass(frozen=True)
class Place:
    """Where a stretch lies: frames [first, last) of the recording give way to frames [start, start + length) of the result."""

    first: int
    last: int
    start: int
    length: int


def edit(
    tts: TTS,
    wave: np.ndarray,
    text: str,
    new_text: str,
    *,
    aligner: Aligner,
    settings: Settings | None = None,
    on_progress: Progress | None = None,
) -> Edited:
    """Change what is said in a recording from `text` (what it says) to `new_text`, in its own voice.

    wave: (S,) float at 24 kHz, 0.5 to 30 s, mono. settings: `duration` and `loudness` must be None, since both are the recording's; `speed`
    is that of the new words against the old ones. Words that differ, be it in a mark of punctuation behind them, are spoken anew.
    Raises ValueError, one line, for a model that is not `aligned`, texts that say the same or share no word, and bad recordings.
    """
    began = time.perf_counter()
    settings = _checked_settings(tts, settings)
    wave = _checked_wave(wave)
    lang = settings.lang or tts.model.tokenizer_settings.get("lang") or "en-us"
    tokenizer = tts.model.tokenizer_for(lang)
    old, new = _read(text, tokenizer, lang, "the transcript"), _read(new_text, tokenizer, lang, "the new text")
    if len(old.text) > CHARS_PER_SECOND[1] * len(wave) / SAMPLE_RATE:
        got = f"{len(old.text)} characters for {len(wave) / SAMPLE_RATE:.1f} s"
        raise ValueError(f"the transcript has {got}, more than anybody can say; give exactly what the recording says")
    if [_key(word) for word in _words(old.text)] == [_key(word) for word in _words(new.text)]:
        raise ValueError("the new text says the same as the transcript; change at least one word")
    warnings = [f"the model does not know {' '.join(sorted(new.unknown))}; left out"] if new.unknown else []

    found = aligner.align(wave, text, lang)
    if found.score < LOW_SCORE:
        warnings.append("the transcript hardly fits the recording: check that it is exactly what is said, or words will be cut in two")
    edges = np.cumsum([found.lead, *found.frames])  # (U + 1,) where each unit begins, and where the last one ends
    stretches = differences(old, new, found.units, edges, lang)

    gain = _gain_to_target(wave)
    recorded = log_mel(torch.from_numpy(wave * gain)[None])[0]  # (T, 100)
    units, frames, mel, given, places = layout(tts, recorded, found, edges, new, stretches, settings.speed)
    if len(mel) > LONGEST_RESULT * FRAMES_PER_SECOND:
        length = len(mel) / FRAMES_PER_SECOND
        raise ValueError(f"the result would last {length:.0f} s, the limit is {LONGEST_RESULT:.0f} s; add fewer words")
    spoken = infill(tts, units, frames, mel, given, settings, on_progress)
    end = places[-1]
    if end.last == len(recorded):  # the last words are new: as after `say`, only a little of the silence behind them stays
        spoken = spoken[: max(end.start + 2, speech_end(spoken))]
        places[-1] = replace(end, length=len(spoken) - end.start)
    result, knots = splice(wave, tts.vocoder.decode(spoken[None])[0].cpu().numpy() / gain, places)

    def seconds(at: Sequence[float] | np.ndarray) -> np.ndarray:
        """Frames of `mel` -> seconds of the result, whose joints have moved by some milliseconds."""
        return np.interp(np.asarray(at) * HOP, *np.transpose(knots)) / SAMPLE_RATE

    ends = seconds(np.cumsum(frames))
    words = word_times(new.text, units[1:-1], ends[1:-1].tolist(), lang, first=float(ends[0]))
    spans = [_change(old, new, s, *seconds([p.start, p.start + p.length])) for s, p in zip(stretches, places, strict=True)]
    return Edited(result, words, spans, settings, time.perf_counter() - began, warnings)


# ---- what is asked ---------------------------------------------------------------------------------------------------------------------


def _checked_settings(tts: TTS, settings: Settings | None) -> Settings:
    if tts.model.config.text != "aligned" or tts.durations is None:
        raise ValueError(f"this model's text is `{tts.model.config.text}`; editing needs an `aligned` model, such as the built-in one")
    settings = (settings or Settings()).with_defaults(tts.defaults).check()
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
        raise ValueError(f"the recording lasts {seconds:.1f} s; 0.5 to {LONGEST:.0f} s can be edited: cut out the sentence to change")
    if np.abs(wave).max() < 1e-3:
        raise ValueError("the recording is silent; give one in which the words of the transcript are heard")
    return wave


def _read(text: str, tokenizer: Tokenizer, lang: str, name: str) -> ChunkPlan:
    """A text as one plan: its words as they are read, and their units."""
    if not text.strip():
        raise ValueError(f"{name} is empty; editing needs what the recording says and what it shall say")
    plans = plan_chunks(text, tokenizer, lang, budget=1e9)
    if len(plans) > 1 or plans[0].pause:
        raise ValueError(f"{name} holds a <break>, which cannot be put into a recording; leave it out")
    return plans[0]


def _words(text: str) -> list[str]:
    return [word for word in text.split() if any(char.isalnum() for char in word)]


def _key(word: str) -> str:
    """What makes two words the same: their letters, and the mark that ends them, since it is heard in the melody."""
    return word.strip("\"'()").lower()


def _change(old: ChunkPlan, new: ChunkPlan, stretch: Stretch, start: float, end: float) -> Change:
    gone, come = _words(old.text)[slice(*stretch.words)], _words(new.text)[slice(*stretch.new_words)]
    return Change(" ".join(gone), " ".join(come), round(float(start), 3), round(float(end), 3))


# ---- what changes ----------------------------------------------------------------------------------------------------------------------


def differences(old: ChunkPlan, new: ChunkPlan, units: Sequence[str], edges: np.ndarray, lang: str) -> list[Stretch]:
    """The stretches of the old text, heard as `units` (U,) with `edges` (U + 1,) in frames, that must change to say the new one.

    Runs of common words stay where they last SHORTEST_KEPT or longer. ValueError when none does.
    """
    words, new_words = _words(old.text), _words(new.text)
    ranges, new_ranges = word_ranges(words, units, lang), word_ranges(new_words, new.units, lang)
    matcher = SequenceMatcher(None, [_key(w) for w in words], [_key(w) for w in new_words], autojunk=False)
    runs = [[(block.a + k, block.b + k) for k in range(block.size)] for block in matcher.get_matching_blocks()]
    for run in runs:
        for end in (0, -1):  # a run can be cut where a word has units of its own
            while run and not (ranges[run[end][0]][1] > ranges[run[end][0]][0] and new_ranges[run[end][1]][1] > new_ranges[run[end][1]][0]):
                run.pop(end)
    kept = [run for run in runs if run and edges[ranges[run[-1][0]][1]] - edges[ranges[run[0][0]][0]] >= SHORTEST_KEPT]
    if not kept:
        raise ValueError("no words of the recording would be left; speak the new text with tts-fm say --ref-audio instead")
    stretches = []
    word = unit = new_word = new_unit = 0  # up to where both texts are dealt with
    for run in [*kept, []]:
        a, b = run[0] if run else (len(words), len(new_words))
        u, v = (ranges[a][0], new_ranges[b][0]) if run else (len(units), len(new.units))
        if a > word or b > new_word:
            stretches.append(Stretch((word, a), (unit, u), (new_word, b), (new_unit, v)))
        if run:
            a, b = run[-1]
            word, unit, new_word, new_unit = a + 1, ranges[a][1], b + 1, new_ranges[b][1]
    return stretches


def word_ranges(words: Sequence[str], units: Sequence[str], lang: str) -> list[tuple[int, int]]:
    """For each word the units that are its own, [first, last), with the marks behind it; empty where it is not found."""
    ranges = []
    for first, last in whole_words(units, unit_spans(units, phoneme_units_many(words, lang))):
        while first < last < len(units) and is_pause(units[last]) and not units[last].isspace():
            last += 1
        ranges.append((first, last))
    return ranges


# ---- where it comes --------------------------------------------------------------------------------------------------------------------


def layout(
    tts: TTS, recorded: torch.Tensor, found: Any, edges: np.ndarray, new: ChunkPlan, stretches: Sequence[Stretch], speed: float
) -> tuple[list[str], list[float], torch.Tensor, torch.Tensor, list[Place]]:
    """The result's units with their frames, its mel (T', 100) with what is given of it (T',) bool, and the places of the stretches.

    recorded: (T, 100). Units and frames begin and end with the silence around the speech.
    """
    units, kept = ["<sil>"], [float(found.lead)]  # kept: frames in the recording, NaN for units that are new
    u = 0
    for s in stretches:
        units += [*found.units[u : s.units[0]], *new.units[slice(*s.new_units)]]
        kept += [*found.frames[u : s.units[0]], *[float("nan")] * (s.new_units[1] - s.new_units[0])]
        u = s.units[1]
    units += [*found.units[u:], "<sil>"]
    kept += [*found.frames[u:], float(found.tail)]
    expected = _frames_of(tts, units, np.array(kept), recorded, speed)

    frames: list[float] = []
    pieces: list[torch.Tensor] = []
    places: list[Place] = []
    at = u = done = 0  # in the recording's frames, the old units, the result's units
    for s in stretches:
        count, size = s.units[0] - u + (not places), s.new_units[1] - s.new_units[0]  # units that stay (silence first), and new ones
        frames += kept[done : done + count]
        fresh = expected[done + count : done + count + size]
        first, last = _around(edges[s.units[0]], edges[s.units[1]], at, len(recorded))
        beside = (edges[s.units[0]] - first) + (last - edges[s.units[1]])  # frames of old units that are spoken anew
        if s.units[0] == first == 0:  # nothing of the recording is left before, or behind: some silence, as models expect
            frames[0], beside = frames[0] + QUIET, beside + QUIET
        if s.units[1] == len(found.units) and last == len(recorded):
            beside += QUIET
        length = max(2, round(beside + fresh.sum()))
        frames += (fresh * max(length - beside, 0.0) / max(fresh.sum(), 1e-6)).tolist()
        pieces += [recorded[at:first], recorded.new_full((length, recorded.shape[1]), float("nan"))]
        places.append(Place(first, last, sum(map(len, pieces)) - length, length))
        at, u, done = last, s.units[1], done + count + size
    frames += kept[done:]
    mel = torch.cat([*pieces, recorded[at:]])
    frames[-1] = max(0.0, len(mel) - sum(frames[:-1]))  # the silence behind takes up the roundings
    given = ~mel.isnan().any(-1)
    return units, frames, mel.nan_to_num(0.0), given, places


def _around(start: float, end: float, floor: int, total: int) -> tuple[int, int]:
    """Whole frames [first, last) that hold the old stretch from `start` to `end` and MARGIN on either side; up to an end that is near."""
    first, last = int(np.floor(start)) - MARGIN, int(np.ceil(end)) + MARGIN
    return (first if first - floor >= EDGE else floor), (last if total - last >= EDGE else total)


def _frames_of(tts: TTS, units: Sequence[str], kept: np.ndarray, recorded: torch.Tensor, speed: float) -> np.ndarray:
    """Frames that the duration model gives every unit, at the pace at which the units that are kept are spoken."""
    assert tts.durations is not None
    device = tts.model.device
    ids = torch.tensor([_ids(tts, units)], device=device)

    def at(speed: float) -> np.ndarray:
        return tts.durations.durations(ids, recorded[None].to(device), speed)[0].double().cpu().numpy()  # type: ignore[union-attr]

    told = [not np.isnan(mine) and not is_pause(unit) and unit not in STRESS for unit, mine in zip(units, kept, strict=True)]
    held = [is_pause(after) and not after.isspace() for after in [*units[1:], "."]]  # phones that a pause may have gone into
    sure = np.array(told) & ~np.array(held)
    pace = np.clip(at(1.0)[sure].sum() / max(kept[sure].sum(), 1e-6), *PACES) if sure.any() else 1.0
    return at(float(pace) * speed)


def _ids(tts: TTS, units: Sequence[str]) -> list[int]:
    """Units of the aligner or of the plan as symbols of the model."""
    index = {symbol: number for number, symbol in enumerate(tts.model.vocab)}
    return [index.get(unit, index["<unk>"]) for unit in units]


# ---- how it sounds ---------------------------------------------------------------------------------------------------------------------


def infill(
    tts: TTS,
    units: Sequence[str],
    frames: Sequence[float],
    mel: torch.Tensor,
    given: torch.Tensor,
    settings: Settings,
    on_progress: Progress | None = None,
) -> torch.Tensor:
    """The mel (T', 100) with what is not given spoken; units and frames of the whole."""
    steps = settings.steps or 0

    def report(step: int, at: float, mel: torch.Tensor) -> None:
        if on_progress is not None:
            on_progress(step, steps, 0, 1)

    return tts.model.sample(
        mel[None],
        torch.tensor([_ids(tts, units)]),
        len(mel),
        steps=steps,
        method=settings.method,
        sway=settings.sway,
        cfg=settings.cfg,
        seeds=[chunk_seed(settings, 0)],
        durations=torch.tensor([list(frames)]),
        given=given[None],
        on_step=report if on_progress is not None else None,
    )[0]


def _gain_to_target(wave: np.ndarray) -> np.float32:
    """What brings a recording to the loudness that the model was trained at."""
    now = loudness(wave, SAMPLE_RATE)
    return np.float32(10 ** ((TARGET_LUFS - now) / 20)) if np.isfinite(now) else np.float32(1.0)


def splice(wave: np.ndarray, spoken: np.ndarray, places: Sequence[Place]) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The recording (S,) with the places taken from `spoken`, ((T' - 1) * 256,), which says the whole result.

    Each joint lies in speech that both have, and moves by up to REACH samples to where they agree best, so that pitch periods meet. Also
    returns knots (sample of `spoken`, sample of the result) between which time runs evenly.
    """
    parts: list[np.ndarray] = []
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
    result = np.concatenate([*parts, wave[at:]])
    rise = np.linspace(0.0, 1.0, FADE // 2, dtype=np.float32)
    if places[0].first == 0:
        result[: len(rise)] *= rise
    if at == len(wave):
        result[len(result) - len(rise) :] *= rise[::-1]
    return result, knots


def _matched(wave: np.ndarray, spoken: np.ndarray, shared: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """`spoken` at the level of the recording, by (sample here, sample there, how many) that both say; its peaks limited."""
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
    """From `one` to `other`, equally loud throughout: by how alike they are, between an even-gain and an even-power cross-fade."""
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(len(one)) + 0.5) / len(one))
    alike = float(np.clip(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9), 0.0, 1.0))
    level = np.sqrt(rise**2 + (1 - rise) ** 2 + 2 * alike * rise * (1 - rise))
    return (((1 - rise) * one + rise * other) / level).astype(np.float32)
