"""The last layer of the flow network, fitted to a voice that is known by one recording: in a second, without gradients.

The network speaks parts of the recording behind other parts of it, whose words are known. Where its velocity misses the
recording's, the error is regressed on what the last layer sees, by ridge regression (Hoerl and Kennard 1970), and the
solution is added to that layer: the least squares of flow matching (Lipman 2022, arXiv 2210.02747, eq. 9) over one
recording, solved in the one layer in which it is linear. Adaptation by gradients, which reaches every layer, comes
closer and takes half a minute (train/sharpen.py).

T mel frames, P positions, K times, D width of the features, C numbers of a position (patch * 100).
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from threading import Lock

import numpy as np

from tts_fm.audio.mel import N_MELS, SAMPLE_RATE, log_mel
from tts_fm.data.infill import turn
from tts_fm.engines import Engine, Utterance
from tts_fm.engines.align import DOUBTFUL, LANGS, Aligner
from tts_fm.engines.phones import recogniser
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
RIDGE = 0.05  # the penalty, a position: features have a mean square of 0.27
MATCH = 0.7  # how much of `match` is left to do
SHORTEST = 1.5  # seconds of a recording
KEPT = 64  # voices, 150 kB each
OTHER_WORDS = "the transcript is hardly what is heard in the reference: the voice is copied without it"
log = logging.getLogger(__name__)


class Attuner:
    """What a model's last layer must learn to speak in voices, found once for each. Safe for several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._found: OrderedDict[str, Adapter | str] = OrderedDict()  # or why there is none
        self._lock = Lock()

    def of(self, voice: Voice, settings: Settings) -> tuple[Voice, Settings]:
        """The voice with the changes as its adapter, times `settings.attune`, and what of `match` is left to do then.
        Both as they are where nothing can be fitted: to a voice that the model has learnt, or that was learnt, and to
        recordings without transcript, with another's (which is a warning), or shorter than SHORTEST.
        """
        share = settings.attune or 0.0
        known = voice.adapter is not None or voice.shipped or not voice.text
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
            found = self._found[key]
        if isinstance(found, str):
            warned = (OTHER_WORDS,) if found == OTHER_WORDS else ()
            return replace(voice, warnings=(*voice.warnings, *warned)), settings
        return replace(voice, adapter=found), replace(settings, match=MATCH * (settings.match or 0.0))

    def _fitted(self, voice: Voice, share: float, key: str) -> Adapter | str:
        try:
            weight, bias = fitted(self.engine, *transcribed(voice, self.engine.vocab, self.engine.patch))
        except (ValueError, ModelError, MissingDependency) as error:
            log.info("the voice %s is copied as it is: %s", voice.name, error)
            return str(error)
        source = self.engine.source
        assert source is not None
        changes = {WEIGHT: share * weight, BIAS: share * bias}
        return Adapter(key[:32], base_digest(source), source.name, 1.0, changes)


def transcribed(voice: Voice, vocab: list[str], patch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A voice's recording as the network is trained: mel (T, 100), symbols (N,) and the frames of each (N,), T a
    multiple of patch. ValueError for a recording that is too short, and for a transcript that is not what is said.
    """
    if len(voice.wave) < SHORTEST * SAMPLE_RATE:
        raise ValueError(f"the recording lasts less than {SHORTEST} s")
    aligner = Aligner(recogniser())
    tried = [aligner.align(voice.wave, voice.text or "", lang) for lang in ([voice.lang] if voice.lang else LANGS)]
    found = max(tried, key=lambda alignment: alignment.score)
    if found.score < DOUBTFUL:
        raise ValueError(OTHER_WORDS)
    before, after = found.silence()
    mel = log_mel(voice.wave)
    mel = mel[before : before + (len(mel) - after - before) // patch * patch]
    ids, durations = found.symbols(vocab)
    durations[-1] = max(0.0, durations[-1] + len(mel) - durations.sum())
    return mel, ids, durations


def fitted(engine: Engine, mel: np.ndarray, ids: np.ndarray, durations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the last layer lacks of a recording: changes of its weight (C, D) and bias (C,)."""
    gram, moment, count = np.zeros(()), np.zeros(()), 0
    for features, error in missed(engine, mel, ids, durations):
        x = np.pad(features.astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)  # (P, D + 1)
        gram, moment, count = gram + x.T @ x, moment + x.T @ error, count + len(x)
    solution = np.linalg.solve(gram + RIDGE * count * np.eye(len(gram)), moment).astype(np.float32)  # (D + 1, C)
    return solution[:-1].T, solution[-1]


def missed(
    engine: Engine, mel: np.ndarray, ids: np.ndarray, durations: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every share that is shown and every time: features (P, D) of the positions that are spoken, and by how much
    their velocity misses the recording's (P, C).
    """
    (mean, deviation), patch = engine.scale, engine.patch
    for number, share in enumerate(SHOWN):
        asked, whole = planned(engine, mel, ids, durations, share)
        speech = (whole - mean) / deviation  # (T, 100): x_1
        noise = np.stack([seeded_normal(len(TIMES) * number + k, speech.shape) for k in range(len(TIMES))])
        at = np.array(TIMES, np.float32)[:, None, None]
        velocity, features = engine.features(asked, (1 - at) * noise + at * speech, TIMES)  # (K, T, 100), (K, P, D)
        error = (speech - noise - velocity).reshape(len(TIMES), -1, patch * N_MELS)  # (K, P, C)
        first = len(asked.prompt) // patch
        yield from zip(features[:, first:], error[:, first:], strict=True)


def planned(
    engine: Engine, mel: np.ndarray, ids: np.ndarray, durations: np.ndarray, share: float
) -> tuple[Utterance, np.ndarray]:
    """An utterance that is the recording's beginning behind its end, whose words it is not told (infill.turn), and what
    it shall sound like, (T, 100).
    """
    unknown, start = engine.vocab.index(UNKNOWN), round(share * len(mel))
    mel, ids, durations, start = turn(mel, ids, durations, start, unknown)
    shown = start // engine.patch * engine.patch
    return Utterance(mel[:shown], ids.tolist(), durations.tolist(), len(mel), 0), mel
