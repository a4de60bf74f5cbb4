"""When each phone and each word of a recording is spoken, given its transcript: forced alignment with a small phone
recogniser. And which phones may be spoken where there is no transcript.

    a = Aligner.load();  found = a.align(wave, "The birch canoe slid.");  found.words[0].start

The recogniser says which unit every mel frame may be (engines/phones.py); the path of the transcript's units through it
that is likeliest as a whole gives the times (Viterbi 1967, as for CTC, Graves 2006, but without a blank). Every unit
takes two frames or more. Units are those of synthesis, in the corpus's way: stress marks and spaces have frames of
their own, and a phone before a pause may hold its beginning; word times leave such silence out. T mel frames, N units,
S samples. It does not know manifests' use or synthesis.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tts_fm.audio.mel import FRAMES_PER_SECOND, HOP, MIN_SAMPLES, SAMPLE_RATE, log_mel
from tts_fm.data.manifest import Utterance
from tts_fm.data.waves import read_wave
from tts_fm.engines.phones import ALIGNER, Recogniser, load_recogniser
from tts_fm.text.chunks import plan_chunks
from tts_fm.text.markup import parse_markup, plain_text
from tts_fm.text.normalise import normalise
from tts_fm.text.phonemes import TIE, phoneme_units_many
from tts_fm.text.symbols import SILENCE, STRESS, is_pause
from tts_fm.text.tokens import Encoded, PhonemeTokenizer
from tts_fm.text.word_times import Word, unit_spans

BUILTIN = ALIGNER
LANGS = ("en-us", "en-gb")
LEAD, TAIL = 0.24, 0.16  # seconds of silence before and after the speech of an item, as in synthesis
LONGEST = 300.0  # seconds; memory grows with the square: 35 MB for these
STATES = 2  # frames that a unit takes at least
# score below which a text is hardly what is said (corpus: above -1; recordings: about -1.3; another text: -2.4 to -4.8)
DOUBTFUL = -2.2
EDGE = 1.0  # what it costs (logarithm) that a frame of the silence at an end sounds like a pause inside
SWITCH = 3.0  # what it costs (logarithm) that another unit begins, where no transcript says which
FLOOR = -10.0  # log-probability of a unit in a frame that does not sound like it at all
QUIET_EDGE, KEPT_EDGE = 6, 2  # mel frames: silence at the edge of a word that is this long is cut off, but for so much
NOTHING_SPOKEN = "there is no speech in the recording"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alignment:
    """Units of a transcript and their times. lead + sum(frames) + tail = S / 256, the length of the recording."""

    units: list[str]  # phones, stress marks, spaces and punctuation
    frames: list[float]  # mel frames (93.75 a second) of each
    lead: float  # mel frames of silence before the first unit
    tail: float  # and after the last
    words: list[Word]  # the words of the text as it was given, in seconds
    # mean log-probability of a frame of the units: near 0 when the text is what is said, far below when it is not
    score: float

    def silence(self) -> tuple[int, int]:
        """Whole mel frames of silence at the beginning and the end beyond what synthesis has there."""
        before, after = self.lead - LEAD * FRAMES_PER_SECOND, self.tail - TAIL * FRAMES_PER_SECOND
        return max(0, int(before)), max(0, int(after))

    def symbols(self, vocab: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """What a network is told of the recording without that silence: symbols (N,) by their numbers in its vocabulary
        and mel frames of each (N,); units that it does not have are part of the symbol before.
        """
        index = {symbol: number for number, symbol in enumerate(vocab)}
        before, after = self.silence()
        said, frames = [SILENCE], [self.lead - before]
        for unit, length in zip(self.units, self.frames, strict=True):
            if unit in index:
                said.append(unit)
                frames.append(length)
            else:
                frames[-1] += length
        return np.array([index[symbol] for symbol in [*said, SILENCE]]), np.array([*frames, self.tail - after])


class AllUnits(PhonemeTokenizer):
    """The units of synthesis, without leaving any out."""

    def __init__(self, lang: str) -> None:
        super().__init__([" "], lang)

    def encode_units(self, units: Sequence[str]) -> Encoded:
        return Encoded([0] * len(units), list(units))


class Aligner:
    """Finds the units of a text in a recording. Use one object from any number of threads."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser, vocab = recogniser, recogniser.vocab
        self.index = {symbol: i for i, symbol in enumerate(vocab)}
        self.pauses = [i for i, symbol in enumerate(vocab) if is_pause(symbol)]
        self.phones = [i for i, symbol in enumerate(vocab) if not is_pause(symbol) and symbol not in STRESS]

    @classmethod
    def load(cls, folder: str | os.PathLike[str] | None = None, device: str = "cpu", engine: str = "auto") -> Aligner:
        """The aligner in a folder (None: the built-in one); device: where its network runs, the path through time is
        found on the CPU; engine: as for engines.phones.load_recogniser. ModelError when it is missing or damaged,
        MissingDependency without torch where it is needed, ValueError for a device that is not here.
        """
        return cls(load_recogniser(Path(folder) if folder is not None else BUILTIN, engine, device))

    def align(self, wave: np.ndarray, text: str, lang: str = "en-us") -> Alignment:
        """Times of `text` in `wave`, (S,) float32 at 24 kHz, up to 5 minutes.

        lang: espeak's name of the accent. The text is normalised as for synthesis ("Dr. Li paid $5" is five words and
        more); markup is read. ValueError for a recording that is empty, silent, not finite or too long, and for a text
        with no words, or with more of them than the recording can hold. A text that is not what is said gives some
        alignment: look at `score`.
        """
        samples, mel = _checked(wave)
        plans = plan_chunks(" ".join(text.split()), AllUnits(lang), lang, budget=math.inf)
        units = [unit for i, plan in enumerate(plans) for unit in ([" "] * (i > 0) + plan.units)]
        most = (len(samples) // HOP - 1) // STATES
        if len(units) > most:
            seconds = len(samples) / SAMPLE_RATE
            raise ValueError(
                f"the text has {len(units)} phones and marks; {seconds:.2f} s of audio hold at most {max(0, most)}: "
                "is this the transcript of another recording?"
            )
        logs = self.recogniser.log_probabilities(mel)  # (T, V)
        _check_speech(mel, logs, self.pauses)
        edges, score = self._path(logs, units)
        total = len(samples) / HOP
        at = np.clip(edges - 0.5, 0.0, total)  # a frame is the sound around its middle
        words = self._words(text, units, at, lang, mel)
        return Alignment(units, np.diff(at).tolist(), float(at[0]), float(total - at[-1]), words, score)

    def recognise(self, wave: np.ndarray) -> tuple[Alignment, np.ndarray]:
        """The units that are heard in `wave`, (S,) float32 at 24 kHz, up to 5 minutes, without words; and how likely
        that of each mel frame is, (T,) from 0 to 1. Many are wrong, of which the likelihood tells: no transcript comes
        of this. ValueError for a recording that is empty, silent, not finite or too long.
        """
        samples, mel = _checked(wave)
        logs = self.recogniser.log_probabilities(mel)  # (T, V)
        _check_speech(mel, logs, self.pauses)
        path = free_path(logs)
        taken = logs[np.arange(len(path)), path]
        begins = np.flatnonzero(np.diff(path, prepend=-1))  # first frame of each unit
        total = len(samples) / HOP
        at = np.clip(np.append(begins, len(path)) - 0.5, 0.0, total)  # (N + 1,)
        spoken = np.flatnonzero(~np.isin(path[begins], self.pauses))
        if not len(spoken):
            raise ValueError(NOTHING_SPOKEN)
        first, stop = int(spoken[0]), int(spoken[-1]) + 1
        units = [self.recogniser.vocab[path[k]] for k in begins[first:stop]]
        frames = np.diff(at[first : stop + 1]).tolist()
        lead, tail = float(at[first]), float(total - at[stop])
        return Alignment(units, frames, lead, tail, [], float(taken.mean())), np.exp(taken)

    def _path(self, logs: np.ndarray, units: Sequence[str]) -> tuple[np.ndarray, float]:
        """Frame in which each unit begins, and the last one ends, (N + 1,); and the mean log-probability between
        them.
        """
        kinds = list(dict.fromkeys(units))
        silence = np.maximum(logs[:, self.index[SILENCE]], self._log_probability(logs, SILENCE) - EDGE)
        columns = [silence] + [self._log_probability(logs, unit) for unit in kinds]
        emission = np.maximum(np.stack(columns, axis=1), FLOOR)  # (T, 1 + kinds)
        number = {unit: i + 1 for i, unit in enumerate(kinds)}
        # what each state sounds like: an edge of silence has one state, a unit so many that it cannot be shorter
        states = np.array([0, *(number[unit] for unit in units for _ in range(STATES)), 0])
        path = best_path(emission, states)
        fresh = np.flatnonzero(np.diff(path, prepend=-1))  # first frame of each state
        begins = fresh[1::STATES]
        taken = emission[np.arange(len(path)), states[path]][begins[0] : begins[-1]]
        return begins.astype(float), float(taken.mean())

    def _log_probability(self, logs: np.ndarray, unit: str) -> np.ndarray:
        """How likely each frame is `unit`: (T, V) -> (T,). A pause may be any pause; a phone that is not known, its kin
        or any phone.
        """
        if is_pause(unit):
            return np.logaddexp.reduce(logs[:, self.pauses], axis=1)
        kin = [u for u in (unit, unit.split(TIE, maxsplit=1)[0], unit[:1] + "ː", unit[:1]) if u in self.index]
        if kin:
            return logs[:, self.index[kin[0]]]
        return np.logaddexp.reduce(logs[:, self.phones], axis=1) - 2.0

    def _words(self, text: str, units: Sequence[str], at: np.ndarray, lang: str, mel: np.ndarray) -> list[Word]:
        """Times of the written words; at: (N + 1,) edges of the units in mel frames."""
        shown = [w for w in plain_text(parse_markup(text)).split() if any(c.isalnum() for c in w)]
        alone = phoneme_units_many([normalise(word, lang) for word in shown], lang)
        quiet = quiet_frames(mel)
        found, last = [], 0.0
        for word, (first, stop) in zip(shown, whole_words(units, unit_spans(units, alone)), strict=True):
            start, end = _trimmed(at[first], at[stop], quiet) if stop > first else (last, last)
            start, end = max(start, last), max(end, last, start)
            last = end
            label = word.strip('.,;:!?"()[]') or word
            found.append(Word(label, round(start / FRAMES_PER_SECOND, 3), round(end / FRAMES_PER_SECOND, 3)))
        return found


def best_path(emission: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The likeliest walk through all states in their order, none left out: which one each frame is in, (T,).

    emission: (T, K) log-probability of each kind of sound. states: (N,) the kind of each, N <= T. Where two walks are
    equal, a state is left late. Sums are float64; one bit a frame and state is kept (Viterbi 1967).
    """
    frames, count = len(emission), len(states)
    best = np.full(count, -np.inf)  # of the walks that are in each state now
    best[0] = emission[0, states[0]]
    came = np.zeros(count, bool)
    moves = np.zeros((frames, (count + 7) // 8), np.uint8)  # whether the best walk to a state has just come there
    for t in range(1, frames):
        came[1:] = best[:-1] > best[1:]
        best[1:] = np.maximum(best[1:], best[:-1])
        best += emission[t].take(states)
        moves[t] = np.packbits(came)
    path = np.empty(frames, np.int64)
    state = count - 1
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= int(moves[t, state >> 3]) >> (7 - (state & 7)) & 1
    return path


def free_path(logs: np.ndarray) -> np.ndarray:
    """The likeliest unit of each frame, (T,), where every change of units costs SWITCH; logs: (T, V) log-probabilities
    (Viterbi 1967).
    """
    best = logs[0].astype(np.float64)  # of the walks that are in each unit now
    came = np.zeros(logs.shape, np.int64)  # the unit of the frame before
    for t in range(1, len(logs)):
        other = int(best.argmax())
        stays = best >= best[other] - SWITCH
        came[t] = np.where(stays, np.arange(len(best)), other)
        best = np.maximum(best, best[other] - SWITCH) + logs[t]
    path = np.empty(len(logs), np.int64)
    path[-1] = best.argmax()
    for t in range(len(logs) - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path


def whole_words(units: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of words widened over phones that nobody claimed, up to the pause between two words; words without any
    share what is left.

    spans: [first, stop) of each word in `units`, empty where nothing of the word was recognised. What remains empty
    could not be placed.
    """
    done = [span if span[1] > span[0] else None for span in spans]
    known = [k for k, span in enumerate(done) if span is not None]
    for k, following in zip([-1, *known], [*known, len(done)], strict=True):
        before, after = done[k] if k >= 0 else None, done[following] if following < len(done) else None
        low, high = before[1] if before else 0, after[0] if after else len(units)
        runs, empty = _runs(units, low, high), range(k + 1, following)
        # glued to the word before, but for what a word without any needs of it
        if before and runs and runs[0][0] == low:
            first, stop = runs.pop(0)
            if len(runs) < len(empty):
                middle = (first + stop) // 2
                runs, stop = [(middle, stop), *runs], middle
            done[k] = (before[0], stop)
        if after and len(runs) > len(empty) and runs[-1][1] == high:
            done[following] = (runs.pop()[0], after[1])
        for i, word in enumerate(empty):  # the runs between, in turn
            mine = runs[len(runs) * i // len(empty) : len(runs) * (i + 1) // len(empty)]
            done[word] = (mine[0][0], mine[-1][1]) if mine else None
    return [span if span is not None else (0, 0) for span in done]


def _runs(units: Sequence[str], low: int, high: int) -> list[tuple[int, int]]:
    """Stretches [first, stop) without pauses of units[low:high]."""
    runs: list[tuple[int, int]] = []
    for i in range(low, high):
        if is_pause(units[i]):
            continue
        if runs and runs[-1][1] == i:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
    return runs


def quiet_frames(mel: np.ndarray) -> np.ndarray:
    """Which frames of a log-mel (T, 100) are silence beside the speech in it: (T,) bool; none where all is about as
    loud.
    """
    level = np.log(np.square(np.exp(mel)).mean(1) + 1e-10) * (10 / math.log(10))  # dB
    low, high = np.percentile(level, [5, 95])
    return level < low + 0.25 * (high - low) if high - low > 15 else np.zeros(len(mel), bool)


def _trimmed(start: float, end: float, quiet: np.ndarray) -> tuple[float, float]:
    """The edges of a word, in mel frames, without long silence inside them."""
    inside = np.flatnonzero(~quiet[round(start) : round(end)])
    if not len(inside):
        return start, end
    before, after = inside[0], round(end) - round(start) - 1 - inside[-1]
    return (start + (before - KEPT_EDGE if before >= QUIET_EDGE else 0)), (
        end - (after - KEPT_EDGE if after >= QUIET_EDGE else 0)
    )


def _checked(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples (S,) and log-mel (T, 100) of a wave that is fit for both."""
    samples = np.ascontiguousarray(wave, np.float32)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(
            f"the recording must be a wave (S,) at 24 kHz with samples in it, got the shape {samples.shape}"
        )
    if not np.isfinite(samples).all():
        raise ValueError("the recording holds samples that are not finite")
    if len(samples) > LONGEST * SAMPLE_RATE:
        raise ValueError(
            f"the recording lasts {len(samples) / SAMPLE_RATE:.0f} s; at most {LONGEST:.0f} s are aligned at once: cut "
            "it"
        )
    return samples, log_mel(np.pad(samples, (0, max(0, MIN_SAMPLES - len(samples)))))


def _check_speech(mel: np.ndarray, logs: np.ndarray, pauses: Sequence[int]) -> None:
    """ValueError when less than 50 ms of the recording sound like a phone."""
    quiet = np.logaddexp.reduce(logs[:, pauses], axis=1)
    if np.count_nonzero((quiet < math.log(0.5)) & (mel.mean(1) > mel.min() + 0.5)) < 5:
        raise ValueError(NOTHING_SPOKEN)


def align_utterance(
    aligner: Aligner, utterance: Utterance, folder: str | os.PathLike[str], lang: str | None = None
) -> Utterance:
    """A line of a manifest with its unit and word times. ValueError when the audio or the text is unfit, or they do not
    fit each other.
    """
    import dataclasses

    path = utterance.place(folder)
    wave = read_wave(path)
    seconds = len(wave) / SAMPLE_RATE
    if abs(seconds - utterance.seconds) > 0.05:
        raise ValueError(
            f"{path} lasts {seconds:.2f} s, the manifest says {utterance.seconds:.2f} s; prepare the corpus again"
        )
    lang = utterance.lang if lang is None else lang
    found = aligner.align(wave, utterance.text, lang)
    words = [{"text": w.text, "start": w.start, "end": w.end} for w in found.words]
    return dataclasses.replace(
        utterance, lang=lang, units=tuple(found.units), unit_frames=tuple(round(f, 4) for f in found.frames),
        lead_frames=round(found.lead, 4), tail_frames=round(found.tail, 4), frame_seconds=HOP / SAMPLE_RATE,
        about=utterance.about | {"words": words, "x_align_score": round(found.score, 3)},
    ).check()  # fmt: skip
