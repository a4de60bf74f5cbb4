"""A request under way in the demo: how it is stopped, and how often the browser hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Tell = Callable[[int, int, int, int], None]  # (step, steps, chunks already spoken, chunks in all)
Result = TypeVar("Result")
TOLD_A_SECOND = 4


class Cancelled(Exception):
    """The user pressed Stop."""


class Run:
    """A request under way. Called at every solver step; tells how far it is, and raises Cancelled once that is
    wanted.
    """

    def __init__(self, stopped: Callable[[], bool | None], tell: Tell | None = None) -> None:
        self._stopped, self._tell = stopped, tell

    def check(self) -> None:
        """Raise Cancelled if that is wanted."""
        if self._stopped():
            raise Cancelled

    def __call__(self, step: int, steps: int, spoken: int, chunks: int) -> None:
        self.check()
        if self._tell is not None:
            self._tell(step, steps, spoken, chunks)


class Pace:
    """Whether it is time to tell the browser something: at first, then a few times a second. One that is told of every
    step of a quick model has no time for a click on Stop.
    """

    def __init__(self) -> None:
        self._told = float("-inf")

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._told < 1 / TOLD_A_SECOND:
            return False
        self._told = now
        return True


def until_stopped(results: Iterable[Result]) -> Iterator[Result]:
    """Results as they come. Stop ends them early; where nothing has come yet it stays an exception."""
    some = False
    try:
        for result in results:
            some = True
            yield result
    except Cancelled:
        if not some:
            raise
