"""A table that is printed row by row: what fails, or has no time left, is a row that says so, and the others go on."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Table:
    """Rows of a part, printed as they come. `seconds` is how long all of them may take."""

    def __init__(self, name: str, *head: str, seconds: float = float("inf")) -> None:
        self.name, self.width, self.begin, self.seconds = name, len(head), time.perf_counter(), seconds
        self.failed = self.depth = 0
        print(f"\n{name}\n", flush=True)
        self.row(*head)
        print("|" + " --- |" * self.width, flush=True)

    @property
    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.begin)

    def row(self, *cells: str) -> None:
        clean = [cell.replace("|", "/").replace("\n", " ") for cell in cells]
        print("| " + " | ".join(clean + [""] * (self.width - len(clean))) + " |", flush=True)

    @contextmanager
    def attempt(self, *labels: str) -> Iterator[None]:
        """What is measured inside adds its own rows; an error in it, or the end of the time, becomes a row with these
        labels, and is counted. Errors are told in full on standard error.
        """
        try:
            with self._within():
                yield
        except Exception as error:  # whatever a driver or a compiler comes up with: the other rows are worth having
            self.failed += 1
            late = self.left <= 0  # also where a library has put the end of the time into an error of its own
            told = str(error) if isinstance(error, TimeoutError) else "cut off: the time was up"
            self.row(*labels, told if late else f"FAILED, {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            if not late:
                traceback.print_exception(error, file=sys.stderr)

    @contextmanager
    def _within(self) -> Iterator[None]:
        """TimeoutError inside when the time is up, where signals reach: in the main thread, not on Windows. The
        outermost attempt sets the clock; where it has struck, what is within ends as it begins.
        """
        main, late = threading.current_thread() is threading.main_thread(), self.left <= 0
        if self.seconds == float("inf") or not main or (self.depth and not late):
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            raise TimeoutError("left out: the time was up" if late else "cut off: the time was up")

        before, self.depth = signal.signal(signal.SIGALRM, stop), self.depth + 1
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 1e-4))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            self.depth -= 1

    def end(self) -> int:
        """How many rows failed."""
        print(f"\n{self.name}: {time.perf_counter() - self.begin:.0f} s", flush=True)
        return self.failed
