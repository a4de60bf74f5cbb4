"""What is measured about speech: word and character errors, speaker similarity, DNSMOS, PESQ, STOI; and intervals by
the bootstrap.

S samples. Each measure imports its own package when it is used and says which extra brings it, so that none needs the
others. Models are found in their PyPI packages or in a folder, nothing is fetched. Does not know how speech is made or
reported (evaluate.py).

The words of a reference and of a transcript are brought to one spelling first (`spelling`): digits and symbols through
text.normalise, then rules that are safe because both sides undergo them. It serves the purpose of Whisper's English
normaliser (Radford 2022, app. C) in the other direction (digits become words), with nothing in brackets dropped.
Figures of other projects use other normalisers.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import types
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tts_fm.audio.files import resample
from tts_fm.devices import be_unobserved, name_of
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.text.normalise import normalise

RATE = 16_000  # Hz: what every measure here listens at
WHISPER_FOLDER = Path(os.path.expanduser("~/.cache/whisper-base-ct2"))  # stays so for a user without a home


def need(module: str, package: str | None = None) -> Any:
    """Import an optional module, or MissingDependency naming the extra."""
    be_unobserved()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = package or module.split(".", maxsplit=1)[0]
        raise MissingDependency(f'{name} cannot be imported ({error}); pip install "tts-fm[eval]"') from None


def at_rate(wave: np.ndarray, rate: int) -> np.ndarray:
    """(S,) at `rate` Hz -> (S',) float32 at 16 kHz within [-1, 1]. ValueError for an empty or non-finite wave."""
    wave = np.asarray(wave, np.float32)
    if wave.ndim != 1 or not wave.size or not np.isfinite(wave).all():
        raise ValueError(
            "a mono wave with finite samples is needed, not shape "
            f"{wave.shape}{' with NaN or infinity' if wave.size else ''}"
        )
    return np.clip(resample(wave, rate, RATE), -1, 1)


# --- words

_NUMBER = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
)
_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\b(?:hmm+|mm+|mhm|uh|um|erm?)\b", " "),  # fillers
        (r"\b(can)'?not\b|\b(can)'t\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bshan't\b", "shall not"),
        (r"\blet's\b", "let us"),
        (r"n't\b", " not"),
        (r"\b(it|he|she|that|there|here|what|who|where|how)'s (?=been\b|got\b)", r"\1 has "),
        (r"\b(it|he|she|that|there|here|what|who|where|how)'s\b", r"\1 is"),
        (r"'re\b", " are"),
        (r"'ll\b", " will"),
        (r"'ve\b", " have"),
        (r"'m\b", " am"),
        (r"'d been\b", " had been"),
        (r"'d\b", " would"),
        (r"\b(?:gonna)\b", "going to"),
        (r"\b(?:wanna)\b", "want to"),
        (r"\bok\b", "okay"),
        (r"\ball right\b", "alright"),
        (r"'", ""),  # possessives and the rest
        (r"[\W_]+", " "),
        (r"\ba (?=(?:hundred|thousand|million|billion)\b)", "one "),
        (rf"(?<=hundred|million|billion) and (?=(?:{_NUMBER})\b)", " "),
        (rf"(?<=thousand) and (?=(?:{_NUMBER})\b)", " "),
        (r"\b(mister)\b", "mr"),
        (r"\b(missus|misses)\b", "mrs"),
        (r"\b(doctor)\b", "dr"),
        (r"\b(saint)\b", "st"),
        (r"\bgrey", "gray"),
        (r"(?<=\w\w\w)our(?!s?elf|s?elves)", "or"),  # colour, neighbourhood; not four, hour, your
        (r"(?<=\w\w)([tb])re(s?)\b", r"\1er\2"),  # centre, fibres
        (r"(?<=\w\w\w)([iy])s(?=(?:e|ed|es|ing|er|ers|ation|ations)\b)", r"\1z"),  # realise, analysed
        (r"(?<=\w\w\w)([aeiou]l)l(?=(?:ed|ing|er|ers)\b)", r"\1"),  # travelled
    )
]


def spelling(text: str) -> str:
    """Text in the one spelling in which words are compared: lower case, no digits or marks, contractions open, American
    endings.
    """
    words = normalise(text).lower()
    for pattern, to in _RULES:
        words = pattern.sub(to, words)
    return " ".join(words.split())


class Errors(NamedTuple):
    """Edits that turn a transcript into its reference, and the length of that reference."""

    substitutions: int
    deletions: int
    insertions: int
    length: int

    @property
    def edits(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def word_errors(reference: str, transcript: str) -> Errors:
    """Errors in words after `spelling`. ValueError when the reference has no words."""
    return _errors(reference, transcript, str.split, "process_words")


def char_errors(reference: str, transcript: str) -> Errors:
    """Errors in characters (spaces too) after `spelling`."""
    return _errors(reference, transcript, list, "process_characters")


def _errors(reference: str, transcript: str, units: Callable[[str], list[str]], process: str) -> Errors:
    reference, transcript = spelling(reference), spelling(transcript)
    if not reference:
        raise ValueError("the reference has no words to compare with; give a text with letters or digits")
    if not transcript:
        size = len(units(reference))
        return Errors(0, size, 0, size)
    out = getattr(need("jiwer"), process)(reference, transcript)
    return Errors(out.substitutions, out.deletions, out.insertions, out.substitutions + out.deletions + out.hits)


# --- figures


class Figure(NamedTuple):
    """A value with its 95 % interval over the choice of items."""

    value: float
    low: float
    high: float


def figure(
    numerators: Sequence[float], weights: Sequence[float] | None = None, draws: int = 1000, seed: int = 0
) -> Figure:
    """sum(numerators) / sum(weights), with the percentile bootstrap over items (Efron 1979; for WER: Bisani and Ney
    2004).

    numerators: one number for each item: edits, for a corpus-level error rate with weights = reference lengths; without
    weights the mean. The same numbers always give the same interval. ValueError without items, or with no positive
    weight.
    """
    top = np.asarray(numerators, np.float64)
    bottom = np.ones_like(top) if weights is None else np.asarray(weights, np.float64)
    if top.ndim != 1 or not top.size or top.shape != bottom.shape or not (bottom > 0).all():
        raise ValueError(
            f"{top.size} numbers with {bottom.size} weights; at least one item, each with a positive weight, is needed"
        )
    chosen = np.random.default_rng(seed).integers(len(top), size=(draws, len(top)))  # (draws, items)
    low, high = np.percentile(top[chosen].sum(1) / bottom[chosen].sum(1), [2.5, 97.5])
    return Figure(float(top.sum() / bottom.sum()), float(low), float(high))


# --- what listens


class Whisper:
    """ASR by faster-whisper: int8 on CPUs, float16 on GPUs, beam 5, English. A transcriber is anything with `name` that
    maps (wave, rate) to text.
    """

    def __init__(self, model: str | Path = WHISPER_FOLDER, threads: int = 0, device: str | None = None) -> None:
        """model: a folder in CTranslate2 format, or a size name ("large-v3") that faster-whisper fetches; threads: 0 =
        all cores; device: "cpu" or "cuda", None = $TTS_FM_DEVICE, or a GPU if there is one.
        """
        package = need("faster_whisper", "faster-whisper")
        folder = Path(model).expanduser()
        is_name = isinstance(model, str) and re.fullmatch(r"[a-z][a-z0-9.-]*", model) and not folder.exists()
        if not is_name and not (folder / "model.bin").is_file():
            raise ModelError(f"no Whisper model at {folder}; assemble one with python recipes/builtin/asr.py {folder}")
        try:
            source = str(model if is_name else folder)
            kind, _, index = name_of(device).partition(":")
            kind = kind if kind == "cuda" else "cpu"  # CTranslate2 knows no other
            number = "float16" if kind == "cuda" else "int8"
            how = {"device_index": int(index)} if index and kind == "cuda" else {}
            self.model = package.WhisperModel(source, device=kind, compute_type=number, cpu_threads=threads, **how)
        except Exception as error:  # the package raises many kinds, among them those of its download
            raise ModelError(f"Whisper model {model} cannot be loaded: {str(error).splitlines()[0][:200]}") from None
        self.name = f"{model if is_name else folder.name}, faster-whisper {package.__version__}, {number}, beam 5, en"

    def __call__(self, wave: np.ndarray, rate: int) -> str:
        """(S,) at any rate -> text, "" when nothing is heard."""
        need("ctranslate2").set_random_seed(0)  # of its fallback to sampling, so that figures repeat
        segments, _ = self.model.transcribe(at_rate(wave, rate), language="en", beam_size=5)
        return " ".join(segment.text.strip() for segment in segments).strip()


class SpeakerEncoder:
    """Resemblyzer's GE2E encoder (Wan 2018, arXiv 1710.10467). A trend and a gate; papers use WavLM-large, whose values
    are lower.
    """

    name = "Resemblyzer (GE2E, LibriSpeech + VoxCeleb)"

    def __init__(self, device: str | None = None) -> None:
        """device: None = $TTS_FM_DEVICE, or a GPU if there is one."""
        _let_webrtcvad_import()
        self.package = need("resemblyzer")
        self.encoder = self.package.VoiceEncoder(name_of(device), verbose=False)

    def embed(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """(S,) -> (256,) of length 1, silences shortened first; zeros when there is no speech (so its similarity to
        anything is 0).
        """
        wave = at_rate(wave, rate)
        if not np.abs(wave).max() > 1e-4:
            return np.zeros(256, np.float32)
        speech = self.package.preprocess_wav(wave)
        return self.encoder.embed_utterance(speech) if len(speech) >= RATE // 10 else np.zeros(256, np.float32)


def _let_webrtcvad_import() -> None:
    """webrtcvad asks pkg_resources for its own version, which setuptools no longer has; answer that for the time of its
    import.
    """
    if "webrtcvad" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return
    stand_in = types.ModuleType("pkg_resources")
    stand_in.get_distribution = lambda name: types.SimpleNamespace(version="unknown")  # type: ignore[attr-defined]
    sys.modules["pkg_resources"] = stand_in
    try:
        need("webrtcvad")
    finally:
        del sys.modules["pkg_resources"]


def dnsmos(wave: np.ndarray, rate: int) -> dict[str, float]:
    """DNSMOS P.835 (Reddy 2022, arXiv 2110.01763): {"overall", "signal", "background", "p808"}, each about 1 to 5, of
    (S,) at any rate.
    """
    wave = at_rate(wave, rate)
    out = need("speechmos.dnsmos", "speechmos").run(wave, RATE)
    names = {"overall": "ovrl_mos", "signal": "sig_mos", "background": "bak_mos", "p808": "p808_mos"}
    return {ours: float(out[theirs]) for ours, theirs in names.items()}


def pesq_wb(truth: np.ndarray, wave: np.ndarray, rate: int) -> float:
    """PESQ wideband (ITU-T P.862.2), 1.04 to 4.64, of a copy against its original; the longer one is cut to the other's
    length.
    """
    truth, wave = _same_length(truth, wave, rate)
    pesq = need("pesq")
    try:
        return float(pesq.pesq(RATE, truth, wave, "wb"))
    except pesq.PesqError as error:
        raise ValueError(
            f"PESQ cannot compare these waves ({error}); it needs 0.25 s or more with speech in both"
        ) from None


def stoi(truth: np.ndarray, wave: np.ndarray, rate: int) -> float:
    """Short-time objective intelligibility (Taal 2011), 0 to 1, of a copy against its original."""
    return float(need("pystoi").stoi(*_same_length(truth, wave, rate), RATE, extended=False))


def _same_length(truth: np.ndarray, wave: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    size = min(len(truth), len(wave))
    return at_rate(np.asarray(truth)[:size], rate), at_rate(np.asarray(wave)[:size], rate)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Installed versions of what decides the figures."""
    from importlib.metadata import PackageNotFoundError, version

    out = {}
    for name in ("faster-whisper", "ctranslate2", "jiwer", "resemblyzer", "speechmos", "torch"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return out
