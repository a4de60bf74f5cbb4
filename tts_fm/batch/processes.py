"""Rounds of a batch by processes with a model each: started so that a signal to all of them is the parent's to answer,
and ended with it, even by kill -9.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.batch.journal import Record
from tts_fm.batch.lists import Item
from tts_fm.batch.rounds import BatchStopped, Check, Options, Worker
from tts_fm.devices import usable_cores

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tts_fm.synthesis import TTS

Load = Callable[[], "TTS"]  # picklable where there are several workers
STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker needs to begin; picklable."""

    load: Load
    out: Path
    options: Options
    transcribe: Callable[[], Check] | None

    def worker(self) -> Worker:
        return Worker(
            self.load(), self.out, self.options, self.transcribe() if self.transcribe and self.options.verify else None
        )


Todo = Sequence[tuple[list[Item], set[str]]]  # rounds, with the ids that are wanted of each


def by_processes(todo: Todo, spec: WorkerSpec, stop: threading.Event) -> Iterator[Record]:
    """Rounds by a pool of processes; at most two for each worker are handed out, so that stopping is quick."""
    from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    workers, before = min(spec.options.workers, len(todo)), set(active_children())
    context = get_context("spawn")
    over = context.Event()  # rounds that wait are not begun; a future that is cancelled may break the pool's own thread
    pool = ProcessPoolExecutor(workers, context, start_worker, (spec, over))
    waiting = reversed(todo)  # the longest first: the workers end at about the same time
    running: set[Future[list[Record]]] = set()
    try:
        while True:
            while len(running) < 2 * workers and not stop.is_set() and (following := next(waiting, None)) is not None:
                with unheard_signals():  # until a new worker leaves them to this process
                    running.add(pool.submit(_worker_round, *following))
            if stop.is_set():
                over.set()
            if not running:
                return
            done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    except KeyboardInterrupt:  # the second Ctrl-C
        for process in set(active_children()) - before:
            process.kill()
        raise
    except BrokenProcessPool as error:
        raise BatchStopped(
            "a worker process died (out of memory?); what is done is kept, run again to go on, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def unheard_signals() -> Iterator[None]:
    """Processes that are started meanwhile have Ctrl-C and SIGTERM held back until they say what becomes of them."""
    from multiprocessing import resource_tracker

    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    resource_tracker.ensure_running()  # when it is started it lets them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_speaker: Worker | None = None  # of this worker process
_over: Any = None  # set: rounds are no longer begun


def start_worker(spec: WorkerSpec, over: Any) -> None:
    """In a new process: end when the parent does (even by kill -9), leave signals to it, share the cores, load the
    model.
    """
    import multiprocessing

    global _speaker, _over  # noqa: PLW0603 - a worker process has one
    _over = over
    for number in STOPPING:  # systemd and Slurm tell the whole group; the parent decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    share = max(1, usable_cores() // spec.options.workers)
    os.environ["OMP_NUM_THREADS"] = str(share)
    if find_spec("torch"):
        import torch

        torch.set_num_threads(share)
    _speaker = spec.worker()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _worker_round(items: list[Item], wanted: set[str]) -> list[Record]:
    assert _speaker is not None
    return [] if _over.is_set() else list(_speaker.round(items, wanted))
