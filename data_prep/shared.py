"""What all corpora share: recordings are read and judged on all cores, what is dropped is counted aloud, the manifest
appears whole.

A corpus module finds `Candidate`s, cheaply and without opening audio; `prepare` makes a manifest of them. It knows no
corpus.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tts_fm import files
from tts_fm.data import storage
from tts_fm.data.manifest import Utterance, statistics, write_manifest
from tts_fm.errors import MissingDependency, TtsFmError

CHUNK = 64  # recordings handed to a worker at once
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A recording as its corpus lists it."""

    id: str
    audio: str
    speaker: str
    split: str
    text: str | None = None
    text_file: str | None = None  # read when `text` is not given
    lang: str = "en-us"


@dataclass(frozen=True)
class Limits:
    """What a recording must be like. Everything outside is dropped and counted."""

    shortest: float = 0.3  # seconds (F5-TTS takes 0.4 to 30)
    longest: float = 30.0
    lowest_rate: int = 16_000  # Hz
    rate: int | None = None  # the corpus's own rate, where every file must have it
    quietest: float = 1e-3  # peak below which a recording counts as silent
    fastest: float = 45.0  # characters a second; more cannot be said
    decode: bool = True  # False: trust the headers (20 times quicker, misses damaged and silent files)


@dataclass
class Dropped:
    """Reasons, each with the files it met."""

    reasons: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, what: str) -> None:
        self.reasons.setdefault(reason, []).append(what)

    @property
    def count(self) -> int:
        return sum(map(len, self.reasons.values()))

    def lines(self) -> list[str]:
        """One line a reason, the most frequent first, with three examples."""
        ordered = sorted(self.reasons.items(), key=lambda pair: -len(pair[1]))
        return [
            f"dropped {len(found)}: {reason} ({'; '.join(found[:3])}{' ...' if len(found) > 3 else ''})"
            for reason, found in ordered
        ]


Judged = tuple[Utterance | None, str, str]  # utterance or None, reason, what it met


def judge(candidate: Candidate, limits: Limits) -> Judged:
    """Open one recording: (Utterance, "", "") or (None, reason, file and detail)."""
    text = candidate.text
    if text is None:
        try:
            text = Path(candidate.text_file or "").read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return None, "no transcript", candidate.audio
        except (OSError, UnicodeDecodeError) as error:
            return None, "unreadable transcript", f"{candidate.text_file}: {error}"
    text = " ".join(text.split())
    if not any(char.isalpha() for char in text):
        return None, "transcript without words", candidate.text_file or candidate.audio
    try:
        seconds, rate, peak = _measure(candidate.audio, limits.decode)
    except (ValueError, OSError, RuntimeError) as error:
        return None, "unreadable audio", str(error).splitlines()[0]
    for reason, wrong in (
        (f"rate is not {limits.rate} Hz", limits.rate is not None and rate != limits.rate),
        (f"rate below {limits.lowest_rate} Hz", rate < limits.lowest_rate),
        (f"shorter than {limits.shortest} s", seconds < limits.shortest),
        (f"longer than {limits.longest} s", seconds > limits.longest),
        ("silent", peak < limits.quietest),
        ("more text than can be said in its time", len(text) / seconds > limits.fastest),
    ):
        if wrong:
            return None, reason, f"{candidate.audio}: {seconds:.2f} s, {rate} Hz"
    fields: dict[str, Any] = {
        "id": candidate.id,
        "audio": candidate.audio,
        "speaker": candidate.speaker,
        "split": candidate.split,
        "lang": candidate.lang,
    }
    try:
        return Utterance(text=text, seconds=round(seconds, 6), **fields).check(), "", ""
    except ValueError as error:
        return None, "unfit for a manifest", f"{candidate.audio}: {error}"


def _measure(path: str, decode: bool) -> tuple[float, int, float]:
    """Seconds, rate in Hz and peak of a recording; the peak is infinite when nothing was decoded."""
    if decode:
        from tts_fm.audio.files import read_audio

        wave, rate = read_audio(path)
        return len(wave) / rate, rate, float(abs(wave).max())
    import soundfile

    info = soundfile.info(path)
    if not info.frames:
        raise ValueError(f"{path} holds no samples")
    return info.frames / info.samplerate, info.samplerate, math.inf


def judge_many(candidates: Sequence[Candidate], limits: Limits) -> list[Judged]:
    """`judge` of each: the piece of work that a process, or another machine, is given."""
    return [judge(candidate, limits) for candidate in candidates]


def judged(candidates: Sequence[Candidate], limits: Limits, jobs: int = 1, engine: str = "local") -> Iterator[Judged]:
    """All of them, in order. engine: "local" (jobs processes) or "ray" (a cluster that sees the same files at the same
    paths).
    """
    chunks = [candidates[i : i + CHUNK] for i in range(0, len(candidates), CHUNK)]
    if engine == "ray":
        yield from _with_ray(chunks, limits)
    elif engine != "local":
        raise ValueError(f"engine is {engine!r}; 'local' or 'ray'")
    elif jobs <= 1 or len(chunks) == 1:
        for chunk in chunks:
            yield from judge_many(chunk, limits)
    else:
        with ProcessPoolExecutor(min(jobs, len(chunks)), mp_context=get_context("spawn")) as pool:
            for result in pool.map(judge_many, chunks, [limits] * len(chunks)):
                yield from result


def _with_ray(chunks: Sequence[Sequence[Candidate]], limits: Limits) -> Iterator[Judged]:
    """The same on a Ray cluster (RAY_ADDRESS, else one is started here); at most 4 pieces a core are under way."""
    try:
        import ray
    except ImportError as error:
        raise MissingDependency(f"--engine ray needs Ray ({error}): pip install ray") from error
    here = str(Path(__file__).resolve().parent.parent)
    if not ray.is_initialized():
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": here}}, log_to_driver=False)
    work = ray.remote(judge_many)
    most = max(8, int(4 * ray.cluster_resources().get("CPU", 1)))
    under_way = [work.remote(chunk, limits) for chunk in chunks[:most]]
    for number in range(len(chunks)):
        yield from ray.get(under_way[number])
        under_way[number] = None
        if number + most < len(chunks):
            under_way.append(work.remote(chunks[number + most], limits))


def prepare(
    candidates: Iterable[Candidate],
    out: str | os.PathLike[str],
    limits: Limits | None = None,
    dropped: Dropped | None = None,
    most_dropped: float = 0.02,
    jobs: int | None = None,
    engine: str = "local",
) -> list[Utterance]:
    """Judge all candidates and write the manifest `out` and, beside it, `<out>.stats.json`.

    dropped: what the corpus module has left out already. most_dropped: share above which nothing is written. Paths
    below the manifest's folder become relative to it. ValueError: ids that come twice, nothing found, too much dropped.
    """
    out, dropped, limits, begin = Path(out), dropped or Dropped(), limits or Limits(), time.perf_counter()
    chosen = list(candidates)
    check_ids(chosen)
    jobs = jobs or os.cpu_count() or 1
    kept: list[Utterance] = []
    for utterance, reason, what in judged(chosen, limits, jobs, engine):
        if utterance is None:
            dropped.add(reason, what)
        else:
            kept.append(utterance)
    return conclude(out, kept, dropped, most_dropped, begin, jobs)


def conclude(
    out: Path, kept: list[Utterance], dropped: Dropped, most_dropped: float, begin: float, jobs: int = 1
) -> list[Utterance]:
    """Say what was dropped, write the manifest and its statistics; returns what was kept.

    begin: time.perf_counter() at the start. ValueError, and nothing written: nothing found, too much dropped, an id
    that comes twice.
    """
    total = len(kept) + dropped.count
    for line in dropped.lines():
        log.warning(line)
    if not total:
        raise ValueError(f"no recordings were found for {out}; is the corpus the right one?")
    if dropped.count / total > most_dropped or not kept:
        raise ValueError(
            "\n".join(
                [
                    f"{dropped.count} of {total} utterances would be dropped, more than the {most_dropped:.1%} allowed "
                    "(--most-dropped); nothing was written",
                    *dropped.lines(),
                ]
            )
        )
    folder = out.resolve().parent
    write_manifest(out, [dataclasses.replace(u, audio=_beside(u.audio, folder)) for u in kept])
    _report(out, kept, dropped, time.perf_counter() - begin, jobs)
    return kept


def prepare_found(
    found: tuple[list[Candidate], Dropped], out: str | os.PathLike[str], rate: int | None = None, **options
) -> list[Utterance]:
    """`prepare` of what a corpus's `find` returned; rate: the corpus's own, in Hz, unless `options` have other
    limits.
    """
    options.setdefault("limits", Limits(rate=rate))
    return prepare(found[0], out, dropped=found[1], **options)


def check_ids(candidates: Sequence[Candidate]) -> None:
    """ValueError when an id comes twice, naming both files."""
    seen: dict[str, str] = {}
    for candidate in candidates:
        if candidate.id in seen:
            raise ValueError(f"id {candidate.id!r} comes twice: {seen[candidate.id]} and {candidate.audio}; rename one")
        seen[candidate.id] = candidate.audio


def _beside(audio: str, folder: Path) -> str:
    if storage.is_url(audio):
        return audio
    path = Path(audio).resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _report(out: Path, kept: Sequence[Utterance], dropped: Dropped, took: float, jobs: int) -> None:
    figures = statistics(kept)
    for name, found in figures.items():
        log.info("%s: %s", name, found.line())
    rate = figures["all"].hours / (took / 60) / jobs
    log.info(
        "%s: %d kept, %d dropped, %.1f s, %.2f h of audio per minute and core",
        out,
        len(kept),
        dropped.count,
        took,
        rate,
    )
    stats = {
        "splits": {name: dataclasses.asdict(found) for name, found in figures.items()},
        "dropped": {reason: len(found) for reason, found in dropped.reasons.items()},
    }
    files.write_json(out.with_name(out.name + ".stats.json"), stats)


def draw_split(key: str, valid: float, test: float = 0.0) -> str:
    """ "train", "valid" or "test" from a hash of `key`: the same in every run, whatever else is in the corpus."""
    place = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:6], "big") / 2**48
    return "test" if place < test else "valid" if place < test + valid else "train"


# --- command line


def corpus_parser(
    name: str, doc: str | None
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser, argparse.ArgumentParser]:
    """The command line of a corpus module with its two verbs: the whole, `download` and `prepare`, to which it may add
    its own options.
    """
    parser = argparse.ArgumentParser(
        f"python -m data_prep.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch, check and unpack; goes on where it was stopped")
    fetch.add_argument("root", type=Path)
    fetch.add_argument("--mirror", metavar="URL", help="base URL with files of the same names")
    fetch.add_argument("--keep-archives", action="store_true")
    make = verbs.add_parser("prepare", help="write the manifest")
    add_prepare_options(make)
    return parser, fetch, make


def add_prepare_options(parser: argparse.ArgumentParser, longest: float = 30.0) -> None:
    """The options that `prepare` of every corpus has."""
    parser.add_argument("corpus", type=Path, help="folder of the corpus")
    parser.add_argument("manifest", type=Path, help="JSONL file to write")
    parser.add_argument("--jobs", type=int, default=None, help="processes (default: all cores)")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="ray: all machines of a Ray cluster"
    )
    parser.add_argument(
        "--most-dropped", type=float, default=0.02, metavar="SHARE", help="fail above this share (default 0.02)"
    )
    parser.add_argument("--shortest", type=float, default=0.3, metavar="S", help="seconds")
    parser.add_argument("--longest", type=float, default=longest, metavar="S", help="seconds")
    parser.add_argument(
        "--headers-only", action="store_true", help="do not decode: quicker, misses damaged and silent files"
    )


def prepare_options(args: argparse.Namespace, **limits: Any) -> dict[str, Any]:
    """The keyword arguments of `prepare` that the options of `add_prepare_options` stand for."""
    chosen = Limits(shortest=args.shortest, longest=args.longest, decode=not args.headers_only, **limits)
    return {"limits": chosen, "most_dropped": args.most_dropped, "jobs": args.jobs, "engine": args.engine}


def run(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Call a command's main and turn the errors of users into one line and an exit code."""
    from tts_fm.cli.main import fill_streams

    fill_streams()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return main(argv) or 0
    except TtsFmError as error:
        log.error("error: %s", error)
        return error.exit_code
    except ValueError as error:
        log.error("error: %s", error)
        return 2
    except OSError as error:  # a full disk, a folder that cannot be written
        where = f"{error.filename}: " if error.filename is not None else ""
        log.error("error: %s%s", where, error.strerror or error)
        return 2
    except KeyboardInterrupt:
        return 130
