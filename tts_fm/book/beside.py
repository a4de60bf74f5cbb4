"""A book is written by a thread of its own while it is spoken, so that it is there soon after its last word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tts_fm.batch.journal import Record
from tts_fm.batch.run import Progress
from tts_fm.book.plan import Unit
from tts_fm.book.write import Ready, Written


class Stopped(Exception):
    """The book will not be whole; what is being written is dropped."""


class Arrivals:
    """What has been spoken so far: told by the batch (as its on_progress), waited for by those who write."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._left: set[str] | None = None  # ids that are still to come; None = not known yet
        self._stopped = False

    def __call__(self, progress: Progress, record: Record | None) -> None:
        with self._news:
            if record is None or self._left is None:
                self._left = set(progress.todo)
            else:
                self._left.discard(record["id"])
            self._news.notify_all()

    def end(self, stopped: bool) -> None:
        """Nothing more comes; stopped: and what is being written is to be dropped."""
        with self._news:
            self._left, self._stopped = set(), stopped
            self._news.notify_all()

    def wait(self, unit: Unit) -> None:
        """Return as soon as a unit has been spoken, or has failed. Raises Stopped."""
        with self._news:
            self._news.wait_for(lambda: self._left is not None and unit.id not in self._left)
            if self._stopped:
                raise Stopped


@dataclass(frozen=True)
class Times:
    """Seconds by part."""

    speaking: float
    after: float  # from the last word to the finished file
    writing: float  # of a core, by the thread that writes; most of it while others speak


def make_book(
    speak: Callable[[Arrivals, threading.Event], Progress], write: Callable[[Ready], Written]
) -> tuple[Progress, Written | None, Times]:
    """Speak a book and write it meanwhile.

    speak(arrivals, stop): speaks, tells `arrivals`, and ends soon after `stop` is set. write(ready): what write.py and
    overlay.py do. Without a Written the run was interrupted. Raises what either raises; when the writing fails, the
    speaking ends early, and what was spoken is kept.
    """
    arrivals, stop, spent = Arrivals(), threading.Event(), 0.0

    def work() -> Written:
        nonlocal spent
        began = time.thread_time()
        try:
            return write(arrivals.wait)
        except Exception:
            stop.set()
            raise
        finally:
            spent = time.thread_time() - began

    began, whole = time.perf_counter(), False
    with ThreadPoolExecutor(1, "writing") as beside:
        writing = beside.submit(work)
        try:
            progress = speak(arrivals, stop)
            whole = not progress.interrupted
        finally:
            arrivals.end(stopped=not whole)
        spoken = time.perf_counter()
        try:
            made: Written | None = writing.result()
        except Stopped:
            made = None
    return progress, made, Times(spoken - began, time.perf_counter() - spoken, spent)
