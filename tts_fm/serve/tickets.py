"""One request in the server's line: what is known of it, what becomes of it, and how it can fail. Threads, not HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tts_fm.audio.mel import FRAMES_PER_SECOND
from tts_fm.engines.jobs import InOrder, Job
from tts_fm.errors import TtsFmError
from tts_fm.synthesis import warnings_of

if TYPE_CHECKING:
    from tts_fm.settings import Settings
    from tts_fm.synthesis import Request

AHEAD = 2  # chunks that are spoken before the client has taken them


class QueueFull(TtsFmError):
    """There is no room for another request; `retry_after` seconds from now there should be."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests are waiting, which is the limit; try again in about {retry_after} s")
        self.retry_after = retry_after


class RequestTimeout(TtsFmError):
    """The request took longer than it may."""


class ServerStopped(TtsFmError):
    """The server is shutting down, or its model has failed."""


@dataclass(frozen=True)
class PlanSummary:
    """What is known of an answer before any of it is spoken."""

    chunks: int
    settings: Settings  # with the model's defaults filled in
    warnings: tuple[str, ...]


@dataclass(eq=False)
class Ticket:
    """One request in the line. `emit(kind, value)` is called in the worker's thread: first ("planned", PlanSummary),
    then ("chunk", Chunk) for each one, in order, then ("done", None); or, at any point, as the last, ("error",
    exception)."""

    request: Request
    streamed: bool  # whether each chunk is waited for; else they may be spoken in any order
    emit: Callable[[str, Any], None]
    deadline: float  # time.monotonic()
    client: str = ""  # who asks
    wake: Callable[[], None] = lambda: None
    cancelled: bool = False
    unread: int = 0  # chunks that were emitted and not taken
    jobs: list[Job] = field(default_factory=list)  # what is left to speak
    spoken: InOrder = field(default_factory=InOrder)
    first: int = 0  # chunks that came before, where the request is a phrase of a longer text
    pause: float = 0.0  # seconds of silence that such a phrase has before it
    turn: int = 0  # its place in the line; smaller is sooner

    def cancel(self) -> None:
        """Nobody wants the answer any more; what is being computed for it alone is given up at the solver's next
        step.
        """
        self.cancelled = True

    def taken(self) -> None:
        """The client has taken a chunk."""
        self.unread -= 1
        self.wake()

    @property
    def ready(self) -> bool:
        """Whether something of it can be spoken now."""
        return bool(self.jobs) and self.unread < AHEAD

    @property
    def dead(self) -> bool:
        return self.cancelled or time.monotonic() > self.deadline


def longest(jobs: list[Job]) -> float:
    """Seconds that these chunks last at most, pauses included: silence behind a chunk is cut."""
    return sum((job.frames - len(job.prompt)) / FRAMES_PER_SECOND + job.plan.pause for job in jobs)


def plan_summary(jobs: list[Job]) -> PlanSummary:
    """What is known of the answer once it is planned."""
    unknown = [symbol for job in jobs for symbol in job.plan.unknown]
    foreign = [word for job in jobs for word in job.plan.foreign]
    return PlanSummary(len(jobs), jobs[0].settings, tuple(warnings_of(jobs[0].voice, unknown, foreign)))


def place(error: BaseException) -> str:
    """Where an error was raised, "file:line"."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
