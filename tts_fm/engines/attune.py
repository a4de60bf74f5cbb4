"""The last layer of the flow network, fitted to a voice that is known by one recording: in a second, without gradients.

The network speaks parts of the recording behind other parts of it. What is said in them the transcript tells, or where
there is none, a phone recogniser. Where the network's velocity misses the recording's, the error is regressed on what
the last layer sees, by ridge regression (Hoerl and Kennard 1970), and the solution is added to that layer: the least
squares of flow matching (Lipman 2022, arXiv 2210.02747, eq. 9) over one recording, solved in the one layer in which it
is linear. Adaptation by gradients, which reaches every layer, comes closer and takes half a minute (train/sharpen.py).

T mel frames, P positions, K times, D width of the features, C numbers of a position (patch * 100).
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from tts_fm.audio.match import bands_within
from tts_fm.audio.mel import FRAMES_PER_SECOND, N_MELS, SAMPLE_RATE, log_mel
from tts_fm.data.infill import turn
from tts_fm.engines import Engine, Utterance
from tts_fm.engines.align import DOUBTFUL, LANGS, Aligner, Alignment
from tts_fm.engines.phones import NO_SPEECH, is_speech, recogniser
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.flow.noise import seeded_normal
from tts_fm.flow.times import f5_grid
from tts_fm.settings import Settings
from tts_fm.text.symbols import UNKNOWN
from tts_fm.voices.adapters import Adapter, base_digest
from tts_fm.voices.stored import Voice

WEIGHT, BIAS = "flow/proj_out.weight", "flow/proj_out.bias"
TIMES = tuple(f5_grid(4)[:-1].tolist())  # those of the flow at which speech in four steps is made
SHOWN = (0.5, 0.35, 0.2, 0.1)  # shares of the recording that are the prompt, from its end
RIDGE = 0.02  # the penalty, a position: features have a mean square of 0.27
QUIET = 0.05  # share of the frames of a recording, the quietest, that are its background
BACKGROUND, VOICE = 0.5, 1.5  # nepers above that: below the first nothing counts, above the second all
MATCH = 0.7  # how much of `match` is left to do
SHORTEST = 1.5  # seconds of a recording
KEPT = 64  # voices, 150 kB each
PARTLY = -1.2  # of a transcript to the likeliest phones, mean log-likelihood of a frame; of 27 right ones -0.7 and more
UNSAID = 1.0  # seconds of speech before or behind the words of a transcript
OTHER_WORDS = "the transcript is hardly what is heard in the reference: its sounds are guessed instead"
log = logging.getLogger(__name__)


class Attuner:
    """What a model's last layer must learn to speak in voices, found once for each. Safe for several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._found: OrderedDict[str, tuple[Adapter | None, tuple[str, ...]]] = OrderedDict()  # and warnings
        self._lock = Lock()

    def of(self, voice: Voice, settings: Settings) -> tuple[Voice, Settings]:
        """The voice with the changes as its adapter, times `settings.attune`, and what of `match` is left to do then.
        Both as they are where nothing can be fitted: to a voice that the model has learnt, or that was learnt, and to
        recordings without speech or shorter than SHORTEST. A transcript that is another's is a warning.
        """
        share = settings.attune or 0.0
        known = voice.adapter is not None or voice.shipped
        if not share or known or self.engine.text != "aligned" or self.engine.source is None:
            return voice, settings
        said = "\0".join([repr(share), voice.text or "", voice.lang or ""])
        key = hashlib.sha256(said.encode() + voice.wave.tobytes()).hexdigest()
        with self._lock:
            if key not in self._found:
                self._found[key] = self._fitted(voice, share, key)
            self._found.move_to_end(key)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
            adapter, warnings = self._found[key]
        voice = replace(voice, warnings=(*voice.warnings, *warnings))
        if adapter is None:
            return voice, settings
        return replace(voice, adapter=adapter), replace(settings, match=MATCH * (settings.match or 0.0))

    def _fitted(self, voice: Voice, share: float, key: str) -> tuple[Adapter | None, tuple[str, ...]]:
        try:
            said, warnings = said_in(voice, self.engine.vocab, self.engine.patch)
            weight, bias = fitted(self.engine, said)
        except (ValueError, ModelError, MissingDependency) as error:
            log.info("the voice %s is copied as it is: %s", voice.name, error)
            return None, ()
        source = self.engine.source
        assert source is not None
        changes = {WEIGHT: share * weight, BIAS: share * bias}
        return Adapter(key[:32], base_digest(source), source.name, 1.0, changes), warnings


@dataclass(frozen=True)
class Said:
    """A recording as the network is trained, T a multiple of the engine's patch."""

    mel: np.ndarray  # (T, 100)
    ids: np.ndarray  # (N,) symbols
    durations: np.ndarray  # (N,) frames of each
    sure: np.ndarray  # (T,) from 0 to 1: how likely it is that this symbol is what is said; 1 with a transcript


def said_in(voice: Voice, vocab: list[str], patch: int) -> tuple[Said, tuple[str, ...]]:
    """What is said in a voice's recording, when, and what the user should know. Times are those of its transcript, or,
    without one that says it all, of the phones that are heard. ValueError for a recording that is too short, or is no
    speech.
    """
    if len(voice.wave) < SHORTEST * SAMPLE_RATE:
        raise ValueError(f"the recording lasts less than {SHORTEST} s")
    if not is_speech(voice.wave):
        raise ValueError(NO_SPEECH)
    aligner, mel = Aligner(recogniser()), log_mel(voice.wave)
    found, sure = aligner.recognise(voice.wave)
    warnings: tuple[str, ...] = ()
    if voice.text:
        told = _transcribed(aligner, voice)
        warnings = (OTHER_WORDS,) if told is None else ()
        if told is not None and is_all(told, found):
            found, sure = told, np.ones(len(mel))
    before, after = found.silence()
    kept = slice(before, before + (len(mel) - after - before) // patch * patch)
    mel, (ids, durations) = mel[kept], found.symbols(vocab)
    durations[-1] = max(0.0, durations[-1] + len(mel) - durations.sum())
    return Said(mel, ids, durations, sure[kept]), warnings


def of_other_words(voice: Voice) -> tuple[str, ...]:
    """The warning for a voice whose transcript is another recording's; nothing without text, speech or aligner."""
    try:
        if not voice.text or not is_speech(voice.wave) or _transcribed(Aligner(recogniser()), voice) is not None:
            return ()
    except (ValueError, ModelError, MissingDependency):
        return ()
    return (OTHER_WORDS,)


def _transcribed(aligner: Aligner, voice: Voice) -> Alignment | None:
    """The transcript's times in the accent that fits best; None where it is not what is said."""
    langs = [voice.lang] if voice.lang else LANGS
    try:
        found = max((aligner.align(voice.wave, voice.text or "", lang) for lang in langs), key=lambda one: one.score)
    except ValueError:  # more words than the recording can hold, or none
        return None
    return found if found.score >= DOUBTFUL else None


def is_all(told: Alignment, heard: Alignment) -> bool:
    """Whether a transcript says all that is heard, and nothing else: half of it would be learnt as if it were the
    whole. It is not much worse than the likeliest phones, and no speech lies before or behind its words.
    """
    unsaid = max(a - b for a, b in zip(told.silence(), heard.silence(), strict=True))
    return told.score - heard.score > PARTLY and unsaid < UNSAID * FRAMES_PER_SECOND


def fitted(engine: Engine, said: Said) -> tuple[np.ndarray, np.ndarray]:
    """What the last layer lacks of a recording: changes of its weight (C, D) and bias (C,). A position counts as much
    as it is sure what is said there. Bands in which the recording holds nothing, as those above a telephone's, stay:
    what is missing there is not the voice's. Nor is its background: there nothing is missing (`missed`).
    """
    gram, moment, count = np.zeros(()), np.zeros(()), 0
    for features, error, sure in missed(engine, said):
        x = np.pad(features.astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)  # (P, D + 1)
        weighted = sure[:, None] * x
        gram, moment, count = gram + weighted.T @ x, moment + weighted.T @ error, count + len(x)
    solution = np.linalg.solve(gram + RIDGE * count * np.eye(len(gram)), moment).astype(np.float32)  # (D + 1, C)
    solution *= np.tile(np.arange(N_MELS) < bands_within(said.mel), engine.patch)
    return solution[:-1].T, solution[-1]


def missed(engine: Engine, said: Said) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For every share that is shown and every time: features (P, D) of the positions that are spoken, by how much their
    velocity misses the recording's (P, C), 0 where only its background sounds, and how sure it is what is said (P,).
    """
    (mean, deviation), patch = engine.scale, engine.patch
    for number, share in enumerate(SHOWN):
        asked, whole, sure = planned(engine, said, share)
        speech = (whole - mean) / deviation  # (T, 100): x_1
        noise = np.stack([seeded_normal(len(TIMES) * number + k, speech.shape) for k in range(len(TIMES))])
        at = np.array(TIMES, np.float32)[:, None, None]
        velocity, features = engine.features(asked, (1 - at) * noise + at * speech, TIMES)  # (K, T, 100), (K, P, D)
        error = (speech - noise - velocity) * risen(whole)[:, None]  # (K, T, 100)
        error = error.reshape(len(TIMES), -1, patch * N_MELS)  # (K, P, C)
        first, surest = len(asked.prompt) // patch, sure.reshape(-1, patch).min(1)
        for k in range(len(TIMES)):
            yield features[k, first:], error[k, first:], surest[first:]


def risen(mel: np.ndarray) -> np.ndarray:
    """How far the frames of a recording (T, 100) stand out of its background, from 0 to 1, (T,). Pauses that were
    learnt with their noise would be heard behind every sentence, and not be cut as silence.
    """
    level = mel.mean(1)
    return ((level - np.quantile(level, QUIET) - BACKGROUND) / (VOICE - BACKGROUND)).clip(0, 1)


def planned(engine: Engine, said: Said, share: float) -> tuple[Utterance, np.ndarray, np.ndarray]:
    """An utterance that is the recording's beginning behind its end, whose words it is not told (infill.turn), what it
    shall sound like, (T, 100), and how sure it is what is said (T,).
    """
    unknown, start = engine.vocab.index(UNKNOWN), round(share * len(said.mel))
    mel, ids, durations, start = turn(said.mel, said.ids, said.durations, start, unknown)
    shown = start // engine.patch * engine.patch
    asked = Utterance(mel[:shown], ids.tolist(), durations.tolist(), len(mel), 0)
    return asked, mel, np.roll(said.sure, start)
