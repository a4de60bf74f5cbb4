"""A round of a batch: items spoken together, each written by itself, one bad item never harming another.

Knows nothing about lists, resuming or processes (run.py); it is what runs inside every worker.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm import files
from tts_fm.batch.forms import Part
from tts_fm.batch.ids import check_id
from tts_fm.batch.journal import Record
from tts_fm.batch.lists import Item
from tts_fm.errors import TtsFmError
from tts_fm.text.subtitles import KINDS, shown_text, subtitles

if TYPE_CHECKING:
    from tts_fm.synthesis import TTS, Request, Speech
    from tts_fm.voices.stored import Voice

log = logging.getLogger(__name__)
FORMATS = ("wav", "flac", "mp3", "opus", "ogg")
VOICES_KEPT = 32  # prompts in memory
BAD_SHARE = 0.15  # word error rate above which an item is spoken again
Check = Callable[[Any, int], str]  # (wave, rate) -> transcript


class BatchStopped(TtsFmError):
    """The run cannot go on (disk full, a worker died); what is done is kept, and running again resumes."""

    exit_code = 3


class CannotWrite(BatchStopped):
    """A file cannot be written: a full disk, a folder that is write-protected. Made of the reason, with its path."""

    exit_code = 2

    def __str__(self) -> str:
        return f"{self.args[0]}; what is done is kept, run again to go on"


@dataclass(frozen=True)
class Options:
    """How a batch runs. Only format, subtitles and verify change what is written."""

    format: str = "wav"  # one of FORMATS
    subtitles: str | None = None  # "srt" or "vtt", beside the audio
    batch: int = 16  # items that are spoken together
    shard: tuple[int, int] = (0, 1)  # (i, n): this run takes every n-th round, starting with the i-th
    workers: int = 1  # processes, each with a model of its own; or threads, see there
    engine: str = "local"  # "local", or "ray": workers are actors of a Ray cluster that shares the output folder
    overwrite: bool = False  # do everything again
    retry_failed: bool = False  # try items again that failed in an earlier run
    max_failures: int | None = None  # stop when so many items have failed in this run; 1 = at the first
    verify: int = 0  # further seeds that an item may be spoken with when an ASR does not hear its words; 0 = no check
    threads: bool = False  # the workers are threads that share a model, for engines that compute each item alone (onnx)
    words: bool = False  # ID.words.json beside each item: its chunks, and when each word is heard

    def check(self) -> Options:
        """Raise ValueError for a value that cannot work; returns self."""
        index, count = self.shard
        for ok, what in (
            (self.format in FORMATS, f"format must be one of {', '.join(FORMATS)}, got {self.format!r}"),
            (self.subtitles in (None, *KINDS), f"subtitles must be {' or '.join(KINDS)}, got {self.subtitles!r}"),
            (1 <= self.batch <= 1024, f"batch must be 1 to 1024 items, got {self.batch}"),
            (0 <= index < count <= 100_000, f"shard must be i/n with i from 0 to n - 1, got {index}/{count}"),
            (1 <= self.workers <= 256, f"workers must be 1 to 256, got {self.workers}"),
            (self.engine in ("local", "ray"), f"engine must be local or ray, got {self.engine!r}"),
            (
                self.max_failures is None or self.max_failures >= 1,
                f"max_failures must be 1 or more, got {self.max_failures}",
            ),
            (0 <= self.verify <= 20, f"verify must be 0 to 20 further tries, got {self.verify}"),
        ):
            if not ok:
                raise ValueError(what)
        return self


class Worker:
    """A loaded model that speaks rounds into a folder. transcribe: a transcriber for options.verify."""

    def __init__(self, tts: TTS, out: Path, options: Options, transcribe: Check | None = None) -> None:
        self.tts, self.out, self.options, self.transcribe = tts, out, options, transcribe
        self.voices: OrderedDict[tuple[str | None, str | None], Voice] = OrderedDict()

    def again(self) -> Worker:
        """Another one for another thread, with the same model."""
        return Worker(self.tts, self.out, self.options, self.transcribe)

    def round(self, items: Sequence[Item], wanted: set[str]) -> Iterator[Record]:
        """Speak all items together, write those that are wanted, and give a record (without hashes) for each of these,
        as they finish.
        """
        for item, spoken in self.speak(items):
            if item.id not in wanted:
                continue
            record: Record = {
                "id": item.id,
                "status": "failed",
                "file": None,
                "bytes": None,
                "seconds": None,
                "rtf": None,
            }
            record |= {"seed": item.settings.seed, "chunks": None, "voice": None, "warnings": [], "error": None}
            try:
                if isinstance(spoken, Exception):
                    raise spoken
                speech, checked = self.verified(item, spoken)
                path = self.write(item, speech)
                record |= {
                    "status": "ok",
                    "file": path.name,
                    "bytes": path.stat().st_size,
                    "seconds": round(speech.seconds, 3),
                    **checked,
                }
                record |= {
                    "rtf": round(speech.compute_seconds / max(speech.seconds, 1e-9), 4),
                    "chunks": len(speech.chunks),
                    "voice": speech.voice,
                }
                record |= {"warnings": speech.warnings}
            except (TtsFmError, KeyboardInterrupt):
                raise
            except Exception as error:
                if files.is_full(error):  # the next item would fail as well, and none of them should be told failed
                    raise CannotWrite(_place(error)) from error
                record["error"] = _one_line(error)
                log.info("%s: %s failed", item.where, item.id, exc_info=error)
            yield record

    def speak(self, items: Sequence[Item]) -> Iterator[tuple[Item, Speech | Exception]]:
        """Every item as it finishes: its speech, its parts joined, or why there is none."""
        requests: list[Request] = []
        owners: list[tuple[int, int]] = []  # (item, part)
        over: set[int] = set()  # items that have been told
        for number, item in enumerate(items):
            try:
                made = self.requests(item)
            except (ValueError, OSError) as error:
                over.add(number)
                yield item, error
            else:
                requests += made
                owners += [(number, k) for k in range(len(made))]
        parts: dict[int, dict[int, Speech]] = {}
        for index, spoken in self.spoken(requests):
            number, part = owners[index]
            if number in over:
                continue
            if isinstance(spoken, Exception):
                over.add(number)
                yield items[number], spoken
                continue
            got = parts.setdefault(number, {})
            got[part] = spoken
            if len(got) == len(items[number].parts):
                over.add(number)
                yield items[number], joined([got[k] for k in range(len(got))])
                del parts[number]

    def requests(self, item: Item) -> list[Request]:
        """One request for each part; further parts have noise of their own."""
        from tts_fm.synthesis import Request

        return [
            Request(
                part.text,
                self.voice(part),
                part.ref_text,
                replace(item.settings, item=item.id if k == 0 else f"{item.id}\0{k}"),
            )
            for k, part in enumerate(item.parts)
        ]

    def voice(self, part: Part) -> Voice:
        key = (part.voice, part.ref_text)
        if key not in self.voices:
            self.voices[key] = self.tts.voice(*key)
            if len(self.voices) > VOICES_KEPT:
                self.voices.popitem(last=False)
        self.voices.move_to_end(key)
        return self.voices[key]

    def spoken(self, requests: list[Request]) -> Iterator[tuple[int, Speech | Exception]]:
        """TTS.batch in which a request that fails is given as its exception, and the others are spoken none the
        less.
        """
        left = dict(enumerate(requests))
        while left:
            numbers = list(left)
            try:
                for index, speech in self.tts.batch(list(left.values())):
                    del left[numbers[index]]
                    yield numbers[index], speech
                return
            except (TtsFmError, KeyboardInterrupt, GeneratorExit):
                raise
            except Exception as error:
                bad = {number: fault for number in left if (fault := self.fault(left[number])) is not None}
                if not bad and len(left) == 1:
                    bad = {next(iter(left)): error}
            for number, fault in bad.items():
                del left[number]
                yield number, fault
            if not bad:  # it is the speaking that fails, not the planning: each alone
                for number, request in left.items():
                    yield from ((number, result) for _, result in self.spoken([request]))
                return

    def fault(self, request: Request) -> Exception | None:
        try:
            self.tts.plan(request)
        except TtsFmError:
            raise
        except Exception as error:
            return error
        return None

    def verified(self, item: Item, speech: Speech) -> tuple[Speech, Record]:
        """The speech, or the best of up to `verify` more with other seeds where the ASR does not hear the words; fields
        for the record.
        """
        if not self.options.verify or self.transcribe is None:
            return speech, {}
        from tts_fm.evaluate.metrics import word_errors

        transcribe = self.transcribe

        def share(one: Speech) -> float:
            heard = transcribe(one.wave, one.rate)
            try:
                errors = word_errors(" ".join(chunk.text for chunk in one.chunks), heard)
            except ValueError:  # "Uh." has no words to compare
                return 0.0
            return errors.edits / max(1, errors.length)

        best, wer, seed, tries = speech, share(speech), item.settings.seed, 1
        while wer > BAD_SHARE and tries <= self.options.verify:
            other = replace(item, settings=replace(item.settings, seed=(item.settings.seed + 7919 * tries) % 2**63))
            again = next(spoken for _, spoken in self.speak([other]))
            tries += 1
            if not isinstance(again, Exception) and (heard := share(again)) < wer:
                best, wer, seed = again, heard, other.settings.seed
        if wer > BAD_SHARE:
            best = replace(
                best, warnings=[*best.warnings, f"the ASR hears {wer:.0%} of its words wrong, at best of {tries}"]
            )
        return best, {"wer": round(wer, 4), "tries": tries, "seed": seed}

    def write(self, item: Item, speech: Speech) -> Path:
        """The audio and its subtitles, each whole or not at all. Raises BatchStopped when the folder cannot be
        written.
        """
        assert check_id(item.id) is None, item.id
        path = self.out / f"{item.id}.{self.options.format}"
        try:
            if path.is_dir():
                raise ValueError(f"{path} is a folder; remove it")
            speech.save(path, self.options.format)
            if self.options.subtitles is not None:
                text = shown_text("\n\n".join(part.text for part in item.parts), item.settings.subtitles_text)
                files.write_text(
                    self.out / f"{item.id}.{self.options.subtitles}",
                    subtitles(speech.chunks, self.options.subtitles, text),
                )
            if self.options.words:
                files.write_json(self.out / f"{item.id}.words.json", word_record(speech), indent=None)
        except OSError as error:
            raise CannotWrite(_place(error)) from error
        return path


def word_record(speech: Speech) -> Record:
    """The chunks of a speech (normalised text, start) and its words (text, start, end), in seconds."""
    return {
        "seconds": round(speech.seconds, 4),
        "chunks": [[chunk.text, round(chunk.start, 4)] for chunk in speech.chunks],
        "words": [[word.text, round(word.start, 3), round(word.end, 3)] for word in speech.words],
    }


def joined(parts: Sequence[Speech]) -> Speech:
    """Speech of several voices as one."""
    if len(parts) == 1:
        return parts[0]
    import numpy as np

    from tts_fm.engines.jobs import moved

    chunks, start = [], 0.0
    for part in parts:
        chunks += [replace(moved(chunk, start), start=chunk.start + start) for chunk in part.chunks]
        start += part.seconds
    names = list(dict.fromkeys(part.voice for part in parts))
    return replace(
        parts[0],
        wave=np.concatenate([part.wave for part in parts]),
        voice=", ".join(names),
        chunks=chunks,
        compute_seconds=sum(part.compute_seconds for part in parts),
        forwards=sum(part.forwards for part in parts),
    )


def _place(error: Exception) -> str:
    """An error of the file system as the command line tells it: the path, then the reason."""
    named = isinstance(error, OSError) and error.filename is not None
    return f"{error.filename}: {error.strerror}" if named else _one_line(error)  # type: ignore[attr-defined]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"
