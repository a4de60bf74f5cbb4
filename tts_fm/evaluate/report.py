"""Evaluation of a voice on a list of sentences: WER, CER, speaker similarity, DNSMOS and real-time factor, with
intervals, in one JSON.

S samples. Lists are lists.py's. How an item is spoken is a function given by the caller, what hears it is a transcriber
(metrics.Whisper or anything like it); nothing here knows models. Error rates are of the corpus (all edits over all
words), not means over sentences; a failed item counts as an empty one.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm import devices, files
from tts_fm.audio.files import load, write_audio
from tts_fm.errors import TtsFmError
from tts_fm.evaluate import metrics
from tts_fm.evaluate.lists import EvalItem, prompt_groups, read_eval_list
from tts_fm.evaluate.metrics import Figure, figure

log = logging.getLogger(__name__)
METRICS = ("wer", "sim", "dnsmos")


# -> wave (S,) float32, its rate in Hz, seconds of computation
Speak = Callable[[EvalItem], tuple[np.ndarray, int, float]]
Transcribe = Callable[[np.ndarray, int], str]


@dataclass
class ItemResult:
    """What came of one item. None: not measured, or nothing to measure it on."""

    id: str
    text: str
    ref_audio: str
    groups: tuple[str, ...]
    seconds: float = 0.0  # of speech
    compute: float = 0.0  # seconds it took
    error: str | None = None
    transcript: str | None = None
    words: metrics.Errors | None = None
    chars: metrics.Errors | None = None
    sim: float | None = None
    dnsmos: dict[str, float] | None = None


@dataclass(frozen=True)
class Figures:
    """The figures of a group of items, each with its 95 % interval; None = not measured."""

    items: int
    failed: int
    seconds: float
    wer: Figure | None
    cer: Figure | None
    sim: Figure | None
    dnsmos: Figure | None
    rtf: Figure | None


@dataclass(frozen=True)
class Report:
    """`overall`, the figures of each group, every item, and under `about` what they were measured with."""

    overall: Figures
    groups: dict[str, Figures]
    items: list[ItemResult]
    about: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a figure is {"value", "low", "high"}."""
        groups = {name: _plain(figures) for name, figures in self.groups.items()}
        return {
            "about": self.about,
            "overall": _plain(self.overall),
            "groups": groups,
            "items": [_plain(item) for item in self.items],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON in one rename."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, self.to_dict())

    def table(self) -> str:
        """The figures as text, a line for each group and one for all, with what they were measured with below."""
        rows: list[tuple[str, ...]] = [("", "items", "WER", "CER", "similarity", "DNSMOS", "RTF")]
        rows += [_row(name, figures) for name, figures in [*self.groups.items(), ("all", self.overall)]]
        first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([name.ljust(first), *map(str.rjust, cells, widths)]) for name, *cells in rows]
        said = [
            f"{key}: {value}"
            for key, value in self.about.items()
            if isinstance(value, (str, int, float)) and value != ""
        ]
        failures = [f"failed: {item.id}: {item.error}" for item in self.items if item.error]
        return "\n".join([*lines, "95 % intervals in brackets: bootstrap over items", *said, *failures])


def _plain(value: Any) -> Any:
    return {k: _plain_value(v) for k, v in vars(value).items()}


def _plain_value(value: Any) -> Any:
    return value._asdict() if isinstance(value, tuple) and hasattr(value, "_asdict") else value


def _row(name: str, f: Figures) -> tuple[str, ...]:
    def cell(figure: Figure | None, digits: int) -> str:
        return (
            "-" if figure is None else f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
        )

    items = str(f.items) + (f" ({f.failed} failed)" if f.failed else "")
    return name, items, cell(f.wer, 3), cell(f.cer, 3), cell(f.sim, 3), cell(f.dnsmos, 2), cell(f.rtf, 3)


# --- running


def evaluate(
    items: str | os.PathLike[str] | Sequence[EvalItem],
    speak: Speak,
    asr: Transcribe | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    measures: Iterable[str] = METRICS,
    groups: Callable[[EvalItem], tuple[str, ...]] = prompt_groups,
    forwards: int | None = None,
    about: Mapping[str, Any] | None = None,
    audio: str | os.PathLike[str] | None = None,
    on_item: Callable[[int, int, ItemResult], object] | None = None,
) -> Report:
    """Speak every item, measure it, and sum up.

    items: a JSONL file (read_eval_list) or EvalItems. speak: item -> (wave (S,), rate, seconds of computation); when it
    raises ValueError or TtsFmError the item counts as failed (all words deleted, similarity 0) and the rest goes on.
    asr: a transcriber, a folder with a Whisper in CTranslate2 format, or a size name; by default
    metrics.WHISPER_FOLDER. out: write the JSON there. measures: some of "wer" (with CER), "sim", "dnsmos". forwards:
    network forwards a chunk of speech took (a CFG pair is two), for the report; about: further facts for it (model,
    steps, ...); what SpeakWith knows of both is used where they are not given. audio: folder for the waves, <id>.wav.
    on_item(done, all, result) after each item, for a progress line. MissingDependency or ModelError before anything is
    spoken when a measure cannot be taken.
    """
    chosen = read_eval_list(items) if isinstance(items, (str, os.PathLike)) else list(items)
    measures = _checked_measures(measures)
    if not chosen:
        raise ValueError("there are no items to evaluate; give a list with at least one")
    judge = _Judge(measures, asr)
    begin, results = time.time(), []
    for item in chosen:
        result = ItemResult(item.id, item.text, str(item.ref_audio), tuple(groups(item)))
        try:
            wave, rate, result.compute = speak(item)
            wave = np.asarray(wave, np.float32)
            result.seconds = len(wave) / rate
            if audio is not None:
                Path(audio).mkdir(parents=True, exist_ok=True)
                write_audio(Path(audio) / f"{item.id}.wav", wave, rate)
            judge.measure(result, item, wave, rate)
        except (ValueError, TtsFmError) as error:
            result.error = (str(error).splitlines() or [type(error).__name__])[0]
            judge.fail(result)
            log.warning("%s: %s", item.id, result.error)
        results.append(result)
        if on_item is not None:
            on_item(len(results), len(chosen), result)
    forwards = getattr(speak, "forwards", None) if forwards is None else forwards
    facts = (
        getattr(speak, "about", {}) | dict(about or {}) | {"forwards": forwards} | judge.names() | _surroundings(begin)
    )
    report = summarise(results, facts)
    if out is not None:
        report.save(out)
    return report


def _checked_measures(measures: Iterable[str]) -> tuple[str, ...]:
    measures = tuple(measures)
    if unknown := [m for m in measures if m not in METRICS]:
        raise ValueError(f"no measure is called {unknown[0]!r}; there are {', '.join(METRICS)}")
    return measures


class _Judge:
    """The chosen measures, with their models loaded once and each prompt heard once."""

    def __init__(self, measures: tuple[str, ...], asr: Transcribe | str | os.PathLike[str] | None) -> None:
        self.measures = measures
        self.transcribe: Transcribe | None = None
        if "wer" in measures:
            metrics.need("jiwer")
            named = metrics.WHISPER_FOLDER if asr is None else asr
            self.transcribe = named if callable(named) else metrics.Whisper(os.fspath(named))
        self.encoder = metrics.SpeakerEncoder() if "sim" in measures else None
        if "dnsmos" in measures:
            metrics.need("speechmos.dnsmos", "speechmos")
        self.prompts: dict[Path, np.ndarray] = {}

    def names(self) -> dict[str, str]:
        return {
            "asr": "none" if self.transcribe is None else getattr(self.transcribe, "name", repr(self.transcribe)),
            "speaker_encoder": self.encoder.name if self.encoder else "none",
            "mos": "DNSMOS P.835 overall (speechmos)" if "dnsmos" in self.measures else "none",
        }

    def measure(self, result: ItemResult, item: EvalItem, wave: np.ndarray, rate: int) -> None:
        if self.transcribe is not None:
            result.transcript = self.transcribe(wave, rate)
            result.words = metrics.word_errors(item.text, result.transcript)
            result.chars = metrics.char_errors(item.text, result.transcript)
        if self.encoder is not None:
            if item.ref_audio not in self.prompts:
                self.prompts[item.ref_audio] = self.encoder.embed(load(item.ref_audio), 24_000)
            result.sim = float(self.prompts[item.ref_audio] @ self.encoder.embed(wave, rate))
        if "dnsmos" in self.measures:
            result.dnsmos = metrics.dnsmos(wave, rate)

    def fail(self, result: ItemResult) -> None:
        """A failed item is one in which nothing was heard."""
        if self.transcribe is not None and metrics.spelling(result.text):
            result.transcript = ""
            result.words, result.chars = metrics.word_errors(result.text, ""), metrics.char_errors(result.text, "")
        if self.encoder is not None:
            result.sim = 0.0


def summarise(results: list[ItemResult], about: dict[str, Any]) -> Report:
    """The report on items that were measured, at once or in parts."""
    by_group: dict[str, list[ItemResult]] = {}
    for result in results:
        for name in result.groups:
            by_group.setdefault(name, []).append(result)
    return Report(_figures(results), {name: _figures(by_group[name]) for name in sorted(by_group)}, results, about)


def _figures(results: list[ItemResult]) -> Figures:
    def rate(errors: list[metrics.Errors]) -> Figure | None:
        return figure([e.edits for e in errors], [e.length for e in errors]) if errors else None

    def mean(values: list[float]) -> Figure | None:
        return figure(values) if values else None

    timed = [r for r in results if r.seconds > 0 and r.compute > 0]
    return Figures(
        items=len(results),
        failed=sum(r.error is not None for r in results),
        seconds=round(sum(r.seconds for r in results), 3),
        wer=rate([r.words for r in results if r.words]),
        cer=rate([r.chars for r in results if r.chars]),
        sim=mean([r.sim for r in results if r.sim is not None]),
        dnsmos=mean([r.dnsmos["overall"] for r in results if r.dnsmos]),
        rtf=figure([r.compute for r in timed], [r.seconds for r in timed]) if timed else None,
    )


def _surroundings(begin: float) -> dict[str, Any]:
    """Where and when: hardware, threads, versions."""
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begin))
    return {
        "hardware": hardware(),
        "date": date,
        "minutes": round((time.time() - begin) / 60, 2),
        "versions": metrics.versions(),
    }


def hardware() -> str:
    """One line on the processor, its cores and threads in use, and an accelerator if there is one; needs no torch but
    asks a loaded one.
    """
    name = platform.processor() or platform.machine()
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        name = found[1].strip() if found else name
    except OSError:
        pass
    line = f"{name}, {os.cpu_count()} cores"
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        line += f", {torch.get_num_threads()} torch threads"
        if torch.cuda.is_available():
            line += f", {devices.describe('cuda')}"
    return line


class SpeakWith:
    """A `speak` for evaluate() from a synthesis.TTS: each item in the voice of its ref_audio, its id mixed into the
    seed.

    options: fields of Settings (steps, cfg, seed, ...). ref_text: pass the prompt's transcript on where the list has
    it. voices: by the path of ref_audio, what speaks in its place where the recording was learnt. `forwards` and
    `about` describe the last utterance: network forwards of a chunk, and the settings.
    """

    def __init__(
        self, tts: Any, ref_text: bool = True, voices: Mapping[Path, Any] | None = None, **options: Any
    ) -> None:
        self.tts, self.ref_text, self.voices, self.options = tts, ref_text, voices or {}, options
        self.forwards: int | None = None
        self.about: dict[str, Any] = {}

    def __call__(self, item: EvalItem) -> tuple[np.ndarray, int, float]:
        begin = time.perf_counter()
        speech = self.tts.say(
            item.text,
            voice=self.voices.get(item.ref_audio, str(item.ref_audio)),
            ref_text=item.ref_text if self.ref_text else None,
            **{"item": item.id} | self.options,
        )
        seconds = time.perf_counter() - begin
        self.forwards = speech.forwards // max(1, len(speech.chunks))
        told = ("steps", "method", "cfg", "temperature", "match", "sway", "seed", "speed")
        self.about = {key: getattr(speech.settings, key) for key in told}
        return speech.wave, speech.rate, seconds
