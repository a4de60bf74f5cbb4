"""Which unit of speech every mel frame may be: the aligner's network, by onnxruntime on CPUs or by PyTorch.

What finds the units of a text in a recording (engines/align.py) asks this, and sees arrays alone. A folder holds
config.json and model.safetensors, and `onnx/` where `tts-fm export onnx` has made its graph. T mel frames, V symbols.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tts_fm.audio.mel import log_mel
from tts_fm.devices import need_torch, usable_cores
from tts_fm.engines.sessions import AGAIN, has_graphs, open_session, read_manifest
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.model.folder import CONFIG, read_config
from tts_fm.text.symbols import is_pause
from tts_fm.voices.stored import Voice

GRAPH = "phones"  # its name


class Recogniser(Protocol):
    """One loaded network. Any number of threads may ask it at once."""

    vocab: list[str]  # the symbols, "<sil>" (no speech) among them

    def log_probabilities(self, mel: np.ndarray) -> np.ndarray:
        """Log-mel (T, bins) with T >= 3 -> the log-probability of every symbol in every frame, (T, V) float32."""
        ...


class OnnxRecogniser:
    """See Recogniser. A folder with a graph, run by onnxruntime on the CPU."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        """threads: None = all cores that this process may use. Raises ModelError, MissingDependency."""
        self.folder, manifest, config = folder, read_manifest(folder), read_config(folder / CONFIG)
        if GRAPH not in manifest["graphs"]:
            raise ModelError(f"{folder} holds graphs of another kind of model, not those of an aligner; {AGAIN}")
        try:
            self.vocab, self.bins = [str(symbol) for symbol in config["vocab"]], int(config["bins"])
            self.mean, self.std = float(config["mel_mean"]), float(config["mel_std"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{folder / CONFIG} is not an aligner's: {type(error).__name__} {error}") from error
        self._session: Any = open_session(folder, GRAPH, manifest, threads or usable_cores())

    def log_probabilities(self, mel: np.ndarray) -> np.ndarray:
        frames = len(mel)
        normal = ((mel - self.mean) / self.std).astype(np.float32)
        padded = np.pad(normal, ((0, frames % 2), (0, 0)))  # the network takes pairs
        logits = self._session.run(None, {"mel": padded[None]})[0][0, :frames]
        if not np.isfinite(logits).all():
            raise ModelError(f"the aligner in {self.folder} gives numbers that are not finite: its weights are damaged")
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def load_recogniser(folder: Path, engine: str = "auto", device: str = "cpu") -> Recogniser:
    """The network in a folder. engine: "onnx", "torch", or "auto": onnx where the device is the CPU and the folder has
    a graph. ModelError for files that are missing or damaged, MissingDependency without torch where it is needed,
    ValueError for a device that is not here.
    """
    if engine == "onnx" or (engine == "auto" and device == "cpu" and has_graphs(folder)):
        return OnnxRecogniser(folder)
    need_torch("an aligner without a graph" if device == "cpu" else f"the device {device}")
    from tts_fm.engines.torch import TorchRecogniser

    return TorchRecogniser.load(folder, device)


ALIGNER = Path(__file__).parents[1] / "assets" / "aligner"
# what speech and other sounds differ in: how unsure the network is of the frames that it takes for phones, in nats.
# Speech has 0.5 to 1.0, with noise or echo up to 1.36; music, drums and pulses of noise 1.44 and more
UNSURE = 1.4
LEAST = (5, 6)  # frames that must sound like phones, and kinds of them: a tone has one
NO_SPEECH = (
    "the reference hardly sounds like speech: music, noise or a tone makes no voice; give 3 to 12 s of one person "
    "speaking"
)
_judged: dict[str, bool] = {}


def unsureness(recogniser: Recogniser, wave: np.ndarray) -> float:
    """How little (S,) sounds like speech, in nats: the mean entropy of the frames that are taken for phones, infinite
    where there are hardly any. See UNSURE.
    """
    logs = recogniser.log_probabilities(log_mel(wave))  # (T, V)
    pauses = [number for number, symbol in enumerate(recogniser.vocab) if is_pause(symbol)]
    spoken = logs[np.logaddexp.reduce(logs[:, pauses], axis=1) < np.log(0.5)]
    if len(spoken) < LEAST[0] or len(set(spoken.argmax(1).tolist())) < LEAST[1]:
        return float("inf")
    return float(-(np.exp(spoken) * spoken).sum(1).mean())


def is_speech(wave: np.ndarray) -> bool:
    """Whether (S,) sounds like speech, judged once. ModelError, MissingDependency where there is no aligner."""
    key = hashlib.sha256(wave.tobytes()).hexdigest()
    if key not in _judged:
        if len(_judged) > 1000:
            _judged.clear()
        _judged[key] = unsureness(recogniser(), wave) <= UNSURE
    return _judged[key]


def heard(voice: Voice) -> Voice:
    """A voice as it is; one that is a recording with a warning where hardly any speech is heard in it. Where there is
    no aligner, nothing is judged.
    """
    if not voice.recorded:
        return voice
    try:
        warnings = voice.warnings if is_speech(voice.wave) else (NO_SPEECH, *voice.warnings)
    except (ModelError, MissingDependency):
        return voice
    return replace(voice, warnings=warnings, recorded=False)


@lru_cache(maxsize=1)
def recogniser() -> Recogniser:
    """The built-in one, loaded once in a process."""
    return load_recogniser(ALIGNER)
