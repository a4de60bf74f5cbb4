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

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tts_fm import files
from tts_fm.batch.journal import Record, Results
from tts_fm.batch.lists import Item
from tts_fm.batch.plan import cost, item_digest, rounds, state, voice_digests
from tts_fm.batch.processes import Load, Todo, WorkerSpec, by_processes
from tts_fm.batch.rounds import FORMATS, BatchStopped, CannotWrite, Check, Options, Worker
from tts_fm.devices import return_memory
from tts_fm.errors import MissingDependency
from tts_fm.text.subtitles import KINDS

if TYPE_CHECKING:
    pass


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
    todo: frozenset[str] = frozenset()  # ids of the items that this run speaks

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


def run_batch(
    items: Sequence[Item],
    out: str | os.PathLike[str],
    load: Load,
    options: Options | None = None,
    model: str = "",
    on_progress: Callable[[Progress, Record | None], None] | None = None,
    stop: threading.Event | None = None,
    transcribe: Callable[[], Check] | None = None,
) -> Progress:
    """Speak items into the folder `out` and keep results.jsonl there; returns where it ended, Progress.exit_code says
    how.

    load: makes the TTS, called once in each worker and only if there is something to do. model: model_digest of it.
    on_progress: called with each new record (None at the start). stop: set it to finish the rounds that are being
    spoken and end (interrupted). transcribe: makes the transcriber of options.verify. Raises ValueError for options or
    a folder that cannot be used, BatchStopped when the disk is full.
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
        if options.threads:  # each alone, in the order of the list
            todo = [([item], {item.id}) for item in reversed(items) if item.id in costs]
        progress.cost, progress.todo = sum(costs.values()), frozenset(costs)
        stop = stop or threading.Event()
        if on_progress is not None:
            on_progress(progress, None)
        failures = 0
        for record in (
            ENGINES[options.engine](todo, WorkerSpec(load, folder, options, transcribe), stop) if todo else ()
        ):
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
        raise CannotWrite(f"cannot write {results.path}: {error.strerror}") from error


def _sweep(out: Path, ids: Iterable[str], options: Options) -> None:
    """Remove what killed runs left half-written under the names of these items, and nothing else."""
    files.remove_parts(out, (f"{name}.{suffix}" for name in ids for suffix in (*FORMATS, *KINDS)))


def _local(todo: Todo, spec: WorkerSpec, stop: threading.Event) -> Iterator[Record]:
    if spec.options.threads:
        yield from _threads(todo, spec, stop)
        return
    if spec.options.workers > 1:  # also for a single round: the number of threads must not depend on what is left
        yield from by_processes(todo, spec, stop)
        return
    worker = spec.worker()
    for items, wanted in reversed(todo):
        if stop.is_set():
            return
        yield from worker.round(items, wanted)


def _threads(todo: Todo, spec: WorkerSpec, stop: threading.Event) -> Iterator[Record]:
    """Item by item, by threads that share one model: for engines in which a batch changes and gains nothing."""
    first, over, hand = spec.worker(), threading.Event(), threading.Lock()
    if first.transcribe is not None:
        first.transcribe = one_at_a_time(first.transcribe)
    waiting = reversed(todo)
    made: SimpleQueue[Record | BaseException | None] = SimpleQueue()  # None: a thread has ended

    def work(worker: Worker) -> None:
        try:
            while not (stop.is_set() or over.is_set()):
                with hand:
                    following = next(waiting, None)
                if following is None:
                    return
                for record in worker.round(*following):
                    made.put(record)
                return_memory()
        except BaseException as error:  # handed to the caller's thread
            made.put(error)
        finally:
            made.put(None)

    count = min(spec.options.workers, len(todo))
    threads = [threading.Thread(target=work, args=(first.again(),), daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        while count:
            record = made.get()
            if isinstance(record, BaseException):
                raise record
            if record is None:
                count -= 1
            else:
                yield record
    finally:
        over.set()
        for thread in threads:
            thread.join()


def one_at_a_time(transcribe: Check) -> Check:
    """A transcriber for several threads: it takes all cores itself, and draws from one generator."""
    lock = threading.Lock()

    def listen(wave: Any, rate: int) -> str:
        with lock:
            return transcribe(wave, rate)

    return listen


class RayWorker:
    """An actor: a model on some machine of the cluster, which sees the output folder under the same path."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.worker = spec.worker()

    def round(self, items: list[Item], wanted: set[str]) -> list[Record]:
        return list(self.worker.round(items, wanted))


def _ray(todo: Todo, spec: WorkerSpec, stop: threading.Event) -> Iterator[Record]:
    """Rounds by actors of the Ray cluster that $RAY_ADDRESS names (none: one is started on this machine), one core and
    one round each.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependency('--runner ray needs Ray: pip install "tts-fm[ray]"') from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    workers = min(spec.options.workers, len(todo))
    # Ray hides GPUs from actors that ask for none; where there are fewer than workers, several share one
    gpus = ray.cluster_resources().get("GPU", 0)
    make = ray.remote(num_cpus=1, num_gpus=min(1.0, gpus / workers))(RayWorker).remote
    actors: list[Any] = [make(spec) for _ in range(workers)]
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
        raise BatchStopped(
            f"a Ray worker is lost ({_first_line(error)}); what is done is kept, run again to go on"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


ENGINES = {"local": _local, "ray": _ray}
