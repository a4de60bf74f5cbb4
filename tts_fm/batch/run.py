"""A list of items becomes a folder of audio: in exact batches, resumable after any kill, one bad item never harming
another.

Items are sorted by length into rounds; a round is planned from the whole list, never from what is left of it, is spoken
as a whole, and a shard takes whole rounds. So the audio of an item does not depend on kills, resumes, shards or
workers: files come out bit for bit the same on one machine with one number of threads. With another `batch` size they
are the same bits too where a processor's matrix product does not depend on how many rows there are (x86 with bfloat16,
in all that was tried); what is promised is 1e-4, a few steps of 16 bit audio. Knows nothing about list files (lists.py)
or about the command line (cli/batch.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.batch.journal import Record, Results
from tts_fm.batch.lists import Item
from tts_fm.batch.rounds import FORMATS, Check, Options, Speaker, Stopped
from tts_fm.errors import MissingDependency
from tts_fm.text.subtitles import KINDS

if TYPE_CHECKING:
    from tts_fm.synthesis import TTS

CHARS_PER_SECOND = 14.0  # of speech; only orders the work and estimates what is left of it
ROUND_SECONDS = 240.0  # of estimated speech after which a round is closed: bounds memory, and what a kill can cost


@dataclass
class Progress:
    """Where a run stands; `line` says it."""

    total: int = 0  # items of this shard
    skipped: int = 0  # done by an earlier run
    spoken: int = 0
    failed: int = 0  # in this run, or before and not tried again
    seconds: float = 0.0  # of speech made
    began: float = field(default_factory=time.perf_counter)
    cost: float = 0.0  # estimated seconds of speech that this run has to do, and has done
    cost_done: float = 0.0
    interrupted: bool = False

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    @property
    def exit_code(self) -> int:
        return 130 if self.interrupted else 3 if self.failed else 0

    def line(self) -> str:
        done = self.skipped + self.spoken + self.failed
        rtf = f", RTF {self.elapsed / self.seconds:.3f}" if self.seconds else ""
        left = self.elapsed / self.cost_done * (self.cost - self.cost_done) if self.cost_done else 0.0
        eta = f", {_clock(left)} left" if self.cost_done < self.cost and self.cost_done else ""
        hours = f"{self.seconds / 3600:.3f} h of audio"
        return f"{done}/{self.total} done, {self.failed} failed, {hours}{rtf}, {_clock(self.elapsed)} passed{eta}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )


# --- what is to be done


def cost(item: Item) -> float:
    """Estimated seconds of speech."""
    return sum(0.5 + len(part.text) / CHARS_PER_SECOND for part in item.parts)


def rounds(items: Sequence[Item], batch: int) -> list[list[Item]]:
    """Items that are spoken together: like settings, like lengths, at most `batch` of them and about ROUND_SECONDS of
    speech.
    """
    made: list[list[Item]] = []
    filled = 0.0
    for item in sorted(items, key=lambda item: (repr(item.settings.solver_key()), cost(item), item.id)):
        if not made or len(made[-1]) >= batch or filled + cost(item) > ROUND_SECONDS:
            made.append([])
            filled = 0.0
        made[-1].append(item)
        filled += cost(item)
    return made


def model_digest(spec: str | os.PathLike[str] | None, extra: str = "") -> str:
    """Hash of a model's files (weights, configuration, vocabulary, vocoder, durations), so that another model's items
    are made anew.
    """
    from tts_fm.checkpoint import resolve
    from tts_fm.synthesis import BUILTIN

    place = BUILTIN if spec is None else resolve(spec)
    kinds = (".safetensors", ".json", ".txt")
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix in kinds and p.is_file())
    total = hashlib.sha256(extra.encode())
    for path in files:
        total.update(f"{'' if path == place else path.relative_to(place).as_posix()}\0{_file_digest(path)}\0".encode())
    return total.hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def voice_digests(items: Sequence[Item]) -> dict[str | None, str]:
    """Hash of the recording behind every voice of the items."""
    from tts_fm.voices import catalogue

    known = catalogue()
    digests: dict[str | None, str] = {}
    for voice in {part.voice for item in items for part in item.parts}:
        name = next(iter(known), None) if voice is None else voice
        if name in known:
            folder, entry = known[name]
            digests[voice] = _file_digest(folder / f"{name}.flac") + json.dumps(entry, sort_keys=True)
        else:
            digests[voice] = _file_digest(Path(name)) if name and os.path.isfile(name) else "none"
    return digests


def item_digest(item: Item, options: Options, voices: dict[str | None, str]) -> str:
    """Hash of everything that the files of an item depend on, but the model."""
    parts = [[part.text, voices[part.voice], part.ref_text] for part in item.parts]
    written = [options.format, options.subtitles, options.verify]
    return hashlib.sha256(json.dumps([1, parts, asdict(item.settings), written], sort_keys=True).encode()).hexdigest()[
        :32
    ]


def state(item: Item, record: Record | None, digest: str, model: str, out: Path, options: Options) -> str:
    """ "done", "failed" (before, and not to be tried again) or "todo"."""
    if record is None or options.overwrite or record.get("hash") != digest or record.get("model") != model:
        return "todo"
    if record.get("status") != "ok":
        return "todo" if options.retry_failed else "failed"
    path = out / f"{item.id}.{options.format}"
    whole = not path.is_symlink() and path.is_file() and path.stat().st_size == record.get("bytes")
    return (
        "done"
        if whole and (options.subtitles is None or (out / f"{item.id}.{options.subtitles}").is_file())
        else "todo"
    )


# --- the run

Load = Callable[[], "TTS"]  # picklable where there are several workers


def run(
    items: Sequence[Item],
    out: str | os.PathLike[str],
    load: Load,
    options: Options | None = None,
    model: str = "",
    on_progress: Callable[[Progress, Record | None], None] | None = None,
    stop: threading.Event | None = None,
    hears: Callable[[], Check] | None = None,
) -> Progress:
    """Speak items into the folder `out` and keep results.jsonl there; returns where it ended, Progress.exit_code says
    how.

    load: makes the TTS, called once in each worker and only if there is something to do. model: model_digest of it.
    on_progress: called with each new record (None at the start). stop: set it to finish the rounds that are being
    spoken and end (interrupted). hears: makes the transcriber of options.verify. Raises ValueError for options or a
    folder that cannot be used, Stopped when the disk is full.
    """
    options = (options or Options()).check()
    folder = Path(out).absolute()  # workers may have another working folder
    digests = voice_digests(items)
    hashes = {item.id: item_digest(item, options, digests) for item in items}
    index, count = options.shard
    mine = rounds(items, options.batch)[index::count]
    _check_names(items, folder, options)
    results = Results(folder, options.shard)
    try:
        states = {
            item.id: state(item, results.records.get(item.id), hashes[item.id], model, folder, options)
            for r in mine
            for item in r
        }
        _sweep(folder, states, options)
        progress = Progress(total=len(states), skipped=_count(states, "done"), failed=_count(states, "failed"))
        todo = [(r, {item.id for item in r if states[item.id] == "todo"}) for r in mine]
        todo = [(r, wanted) for r, wanted in todo if wanted]
        costs = {item.id: cost(item) for r, wanted in todo for item in r if item.id in wanted}
        progress.cost = sum(costs.values())
        stop = stop or threading.Event()
        if on_progress is not None:
            on_progress(progress, None)
        failures = 0
        for record in ENGINES[options.engine](todo, Job(load, folder, options, hears), stop) if todo else ():
            _append(results, record | {"hash": hashes[record["id"]], "model": model})
            progress.cost_done += costs[record["id"]]
            progress.seconds += record["seconds"] or 0.0
            if record["status"] == "ok":
                progress.spoken += 1
            else:
                progress.failed, failures = progress.failed + 1, failures + 1
            if on_progress is not None:
                on_progress(progress, record)
            if options.max_failures is not None and failures >= options.max_failures:
                break
        progress.interrupted = stop.is_set() and progress.skipped + progress.spoken + progress.failed < progress.total
        return progress
    finally:
        results.close([item.id for item in items])


def _check_names(items: Sequence[Item], out: Path, options: Options) -> None:
    """ValueError before anything of others is written over: the recording of a voice, or files in a folder that no
    batch has made.
    """
    suffixes = [options.format] + ([options.subtitles] if options.subtitles else [])
    names = {f"{item.id}.{suffix}" for item in items for suffix in suffixes}
    voices = {
        os.path.realpath(part.voice)
        for item in items
        for part in item.parts
        if part.voice and os.path.sep in part.voice
    }
    clash = sorted(name for name in names if os.path.realpath(out / name) in voices)
    if clash:
        raise ValueError(f"{out / clash[0]} is a voice's recording and would be written over; give another folder (-o)")
    if options.overwrite or not out.is_dir() or any(out.glob("results*.jsonl")):
        return
    clash = sorted(names.intersection(os.listdir(out)))
    if clash:
        more = f" and {len(clash) - 1:,} more" if len(clash) > 1 else ""
        raise ValueError(
            f"{out} has {clash[0]}{more} already, not made by a batch; give another folder (-o), or --overwrite"
        )


def _count(states: dict[str, str], which: str) -> int:
    return sum(state == which for state in states.values())


def _append(results: Results, record: Record) -> None:
    try:
        results.append(record)
    except OSError as error:
        raise Stopped(
            f"cannot write {results.path}: {error.strerror}; what is done is kept, run again to go on"
        ) from error


def _sweep(out: Path, ids: Iterable[str], options: Options) -> None:
    """Remove what killed runs left half-written under the names of these items, and nothing else."""
    there = {entry.name for entry in os.scandir(out) if entry.name.endswith(".part")}
    for name in ids:
        for suffix in (*FORMATS, *KINDS):
            if f"{name}.{suffix}.part" in there:
                (out / f"{name}.{suffix}.part").unlink(missing_ok=True)


@dataclass(frozen=True)
class Job:
    """What a worker needs to begin; picklable."""

    load: Load
    out: Path
    options: Options
    hears: Callable[[], Check] | None

    def speaker(self) -> Speaker:
        return Speaker(
            self.load(), self.out, self.options, self.hears() if self.hears and self.options.verify else None
        )


Todo = Sequence[tuple[list[Item], set[str]]]  # rounds, with the ids that are wanted of each


def _local(todo: Todo, job: Job, stop: threading.Event) -> Iterator[Record]:
    if job.options.workers > 1:  # also for a single round: the number of threads must not depend on what is left
        yield from _processes(todo, job, stop)
        return
    speaker = job.speaker()
    for items, wanted in todo:
        if stop.is_set():
            return
        yield from speaker.round(items, wanted)


def _processes(todo: Todo, job: Job, stop: threading.Event) -> Iterator[Record]:
    """Rounds by a pool of processes; at most two for each worker are handed out, so that stopping is quick."""
    from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    workers, before = min(job.options.workers, len(todo)), set(active_children())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (job,))
    waiting = reversed(todo)  # the longest first: the workers end at about the same time
    running: set[Future[list[Record]]] = set()
    try:
        while True:
            while len(running) < 2 * workers and not stop.is_set() and (following := next(waiting, None)) is not None:
                running.add(pool.submit(_worker_round, *following))
            if stop.is_set():
                running = {future for future in running if not future.cancel()}
            if not running:
                return
            done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    except KeyboardInterrupt:  # the second Ctrl-C
        for process in set(active_children()) - before:
            process.terminate()
        raise
    except BrokenProcessPool as error:
        raise Stopped(
            "a worker process died (out of memory?); what is done is kept, run again to go on, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_speaker: Speaker | None = None  # of this worker process


def _start_worker(job: Job) -> None:
    """In a new process: end when the parent does (even by kill -9), leave Ctrl-C to it, share the cores, load the
    model.
    """
    import multiprocessing
    import signal

    import torch

    global _speaker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // job.options.workers))
    _speaker = job.speaker()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _worker_round(items: list[Item], wanted: set[str]) -> list[Record]:
    assert _speaker is not None
    return list(_speaker.round(items, wanted))


class RayWorker:
    """An actor: a model on some machine of the cluster, which sees the output folder under the same path."""

    def __init__(self, job: Job) -> None:
        self.speaker = job.speaker()

    def round(self, items: list[Item], wanted: set[str]) -> list[Record]:
        return list(self.speaker.round(items, wanted))


def _ray(todo: Todo, job: Job, stop: threading.Event) -> Iterator[Record]:
    """Rounds by actors of the Ray cluster that $RAY_ADDRESS names (none: one is started on this machine), one core and
    one round each.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependency("--engine ray needs Ray: pip install ray") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    make = ray.remote(num_cpus=1)(RayWorker).remote
    actors: list[Any] = [make(job) for _ in range(min(job.options.workers, len(todo)))]
    idle, running, waiting = list(actors), {}, reversed(todo)
    try:
        while True:
            while idle and not stop.is_set() and (following := next(waiting, None)) is not None:
                actor = idle.pop()
                running[actor.round.remote(*following)] = actor
            if not running:
                return
            for done in ray.wait(list(running), timeout=0.5)[0]:
                idle.append(running.pop(done))
                yield from ray.get(done)
    except ray.exceptions.RayActorError as error:
        raise Stopped(
            f"a Ray worker is lost ({_first_line(error)}); what is done is kept, run again to go on"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


ENGINES = {"local": _local, "ray": _ray}
