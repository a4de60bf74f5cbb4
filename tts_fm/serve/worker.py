"""The one thread that owns the model: it plans requests, batches the chunks of concurrent ones, and hands audio out
chunk by chunk.

Work is cut into chunks of a few seconds of speech. In every round the chunk that has waited longest is spoken, together
with the chunks of like length that fit beside it into one exact batch (TTS.speak: nobody's audio depends on a
neighbour's). A request that has just been served goes to the back of the line, and so does its client: a long text
holds nobody up for longer than one round, and who asks for much gets no more than his turn. What is not read is not
spoken: a request with AHEAD chunks that its client has not taken waits, and holds nobody's place.

It knows threads, not HTTP: a Ticket is a request's end of the line, and its callback is called from the worker's
thread.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tts_fm.devices import return_memory
from tts_fm.engines.jobs import Chunk, InOrder, Job, alike, counted_on
from tts_fm.errors import TtsFmError
from tts_fm.serve.metrics import Metrics
from tts_fm.serve.tickets import AHEAD, QueueFull, RequestTimeout, ServerStopped, Ticket, longest, place, plan_summary

if TYPE_CHECKING:
    from tts_fm.synthesis import TTS, Request

log = logging.getLogger(__name__)
DOUBT = 1.5  # how far the estimate of a text's length may be over the limit before it is planned in full


class _Abandoned(Exception):
    """Raised inside the solver when nobody waits for the batch any more."""


class Scheduler:
    """See the module docstring. `submit` from any thread; `stop` once."""

    def __init__(
        self,
        tts: TTS,
        metrics: Metrics,
        max_queue: int = 64,
        max_active: int = 16,
        batch_frames: int = 6000,
        max_audio_seconds: float = 1800.0,
    ) -> None:
        self.tts, self.metrics = tts, metrics
        self.max_queue, self.max_active, self.batch_frames, self.max_audio_seconds = (
            max_queue,
            max_active,
            batch_frames,
            max_audio_seconds,
        )
        self._waiting: list[Ticket] = []
        self._active: list[Ticket] = []
        self._turns = itertools.count()
        self._served: dict[str, int] = {}  # client -> the last turn that was his
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        # seconds of work for one request, a moving average; and since the last one ended
        self._pace, self._spent = 1.0, 0.0
        self.beat = time.monotonic()  # of the last sign of life
        metrics.gauge("queue_length", "Requests that wait for their first turn.", lambda: len(self._waiting))
        metrics.gauge("requests_active", "Requests whose chunks are being spoken.", lambda: len(self._active))

    # ---- from other threads

    def submit(
        self,
        request: Request,
        emit: Callable[[str, Any], None],
        timeout: float,
        streamed: bool = False,
        client: str = "",
        first: int = 0,
        pause: float = 0.0,
    ) -> Ticket:
        """Join the line. Raises QueueFull or ServerStopped. In a full line the client who has most in it makes room for
        one who has less.
        """
        deadline = time.monotonic() + timeout
        ticket = Ticket(request, streamed, emit, deadline, client, self._nudge, first=first, pause=pause)
        ticket.spoken = InOrder(first)
        with self._wake:
            if self._stopping:
                raise ServerStopped("the server is shutting down")
            if len(self._waiting) >= self.max_queue:
                self._waiting = [t for t in self._waiting if not t.cancelled]
            if len(self._waiting) >= self.max_queue:
                full = QueueFull(len(self._waiting), self._patience())
                (greedy, most), *_ = Counter(t.client for t in self._waiting).most_common(1)
                if sum(t.client == client for t in self._waiting) + 1 >= most:
                    raise full
                last = max(k for k, t in enumerate(self._waiting) if t.client == greedy)
                self._fail(self._waiting.pop(last), full)
            self._waiting.append(ticket)
            if self._thread is None:
                self.beat = time.monotonic()
                self._thread = threading.Thread(target=self._run, name="tts-fm-scheduler", daemon=True)
                self._thread.start()
            self._wake.notify()
        return ticket

    def _nudge(self) -> None:
        with self._wake:
            self._wake.notify()

    def _patience(self) -> int:
        """Seconds after which there should be room."""
        return min(60, max(1, round(self._pace * (len(self._waiting) + len(self._active)))))

    def stop(self, timeout: float = 10.0) -> None:
        """End the thread; requests that are still in the line fail with ServerStopped."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """False once the thread has ended, or has made no step for five minutes although there is work."""
        if self._stopping or (self._thread is not None and not self._thread.is_alive()):
            return False
        return not self._work() or time.monotonic() - self.beat < 300

    @property
    def queued(self) -> int:
        return len(self._waiting)

    # ---- the worker's thread

    def _run(self) -> None:
        try:
            while True:
                with self._wake:
                    while not (self._stopping or self._work()):
                        self._wake.wait(0.5 if self._active else None)  # of these, deadlines must be seen
                        if self._active:
                            break
                    if self._stopping:
                        break
                self.beat = time.monotonic()
                self._admit()
                self._sweep()
                if any(ticket.ready for ticket in self._active):
                    self._round()
        finally:
            with self._wake:
                self._stopping = True
                left = [*self._waiting, *self._active]
                self._waiting.clear()
                self._active.clear()
            for ticket in left:
                self._fail(ticket, ServerStopped("the server is shutting down"))

    def _work(self) -> bool:
        return bool(self._waiting) or any(ticket.ready for ticket in self._active)

    def _admit(self) -> None:
        """Plan waiting requests until one batch is full; the rest can wait, and cost nothing while it does."""
        while (ticket := self._next()) is not None:
            if ticket.dead:
                self._expire(ticket)
                continue
            try:
                request = ticket.request
                if ticket.first:
                    request = replace(request, settings=request.settings.going_on())
                jobs = self.tts.plan(request, watch=self._limit(ticket))
                ticket.jobs = counted_on(jobs, ticket.first, ticket.pause) if ticket.first else jobs
                self._check_length(longest(ticket.jobs))
            except _Abandoned:
                if not ticket.dead:
                    self._fail(ticket, ServerStopped("the server is shutting down"))
                    return
                self._expire(ticket)
                continue
            except Exception as error:
                self._fail(ticket, error)
                continue
            ticket.turn = next(self._turns)
            self._active.append(ticket)
            ticket.emit("planned", plan_summary(ticket.jobs))

    def _next(self) -> Ticket | None:
        """Take the next request from the line: of the client who has least under way. None where there is none, or no
        room; a client who has nothing under way always finds room.
        """
        ready = [t for t in self._active if t.ready]
        under_way = Counter(t.client for t in ready)
        full = len(ready) >= self.max_active or sum(t.jobs[0].frames for t in ready) >= self.batch_frames
        with self._wake:
            chosen = min(self._waiting, key=lambda t: under_way[t.client], default=None)
            if chosen is None or (full and (under_way[chosen.client] or len(ready) >= 2 * self.max_active)):
                return None
            self._waiting.remove(chosen)
            return chosen

    def _limit(self, ticket: Ticket) -> Callable[[float], None]:
        """What stops the planning of a text that nobody waits for any more, or that is far too long."""

        def watch(seconds: float) -> None:
            self.beat = time.monotonic()
            if self._stopping or ticket.dead:
                raise _Abandoned
            self._check_length(seconds / DOUBT)

        return watch

    def _check_length(self, seconds: float) -> None:
        if seconds > self.max_audio_seconds:
            raise ValueError(
                f"this would be {seconds:.0f} s of audio; the limit is {self.max_audio_seconds:.0f} s: send less text"
            )

    def _sweep(self) -> None:
        """Drop the dead, and beyond a limit those who do not read what was spoken for them, the eldest first."""
        idle = sorted((t for t in self._active if t.jobs and not t.ready), key=lambda t: t.turn)
        for ticket in idle[: max(0, len(idle) - self.max_queue)]:
            self._drop(ticket, RequestTimeout("the answer was not read, and others wait"))
        for ticket in [t for t in self._active if t.dead]:
            self._active.remove(ticket)
            self._expire(ticket)
        clients = {t.client for t in self._active}
        self._served = {client: turn for client, turn in self._served.items() if client in clients}

    def _round(self) -> None:
        """Speak one batch and hand it out."""
        group = self._choose()
        began = time.perf_counter()
        try:
            spoken = self._speak(group)
        except _Abandoned:
            return
        except Exception as error:
            if len(group) == 1:
                self._drop(group[0][0], error)
                return
            log.warning("a batch of %d failed (%s); its chunks are spoken one by one", len(group), type(error).__name__)
            spoken = self._one_by_one(group)
        self.metrics.observe("batch_chunks", len(spoken))
        spent = time.perf_counter() - began
        self._spent += spent
        self.metrics.count("compute_seconds_total", spent)
        for (ticket, job), chunk in spoken:
            if ticket in self._active:  # a failed neighbour chunk of the same request may have removed it
                self._deliver(ticket, job, chunk)
        return_memory()

    def _choose(self) -> list[tuple[Ticket, Job]]:
        """The next chunk of whoever has waited longest, of the client who has, and those that make one batch with it,
        in the order of the line.
        """
        line = sorted((t for t in self._active if t.ready), key=lambda t: (self._served.get(t.client, -1), t.turn))
        first = line[0].jobs[0]
        group, taken = [(line[0], first)], {(id(line[0]), first.index)}
        for rank in range(max(len(t.jobs) for t in line)):
            for ticket in line:
                if rank >= len(ticket.jobs) or (rank == 0 and ticket is line[0]):
                    continue
                job = ticket.jobs[rank]
                if not alike(job, first):
                    continue
                if ticket.unread + rank >= AHEAD:
                    continue
                if ticket.streamed and rank and (id(ticket), job.index - 1) not in taken:
                    continue  # what is heard first comes first
                if first.shape[0] * (len(group) + 1) > self.batch_frames:
                    return group
                group.append((ticket, job))
                taken.add((id(ticket), job.index))
        return group

    def _speak(self, group: list[tuple[Ticket, Job]]) -> list[tuple[tuple[Ticket, Job], Chunk]]:
        def watch(*_: int) -> None:
            self.beat = time.monotonic()
            if self._stopping or all(ticket.dead for ticket, _ in group):
                raise _Abandoned

        return list(zip(group, self.tts.speak([job for _, job in group], watch), strict=True))

    def _one_by_one(self, group: list[tuple[Ticket, Job]]) -> list[tuple[tuple[Ticket, Job], Chunk]]:
        spoken = []
        for pair in group:
            if pair[0] not in self._active:
                continue
            try:
                spoken += self._speak([pair])
            except _Abandoned:
                continue
            except Exception as error:
                self._drop(pair[0], error)
        return spoken

    def _deliver(self, ticket: Ticket, job: Job, chunk: Chunk) -> None:
        # nobody asks for it here, and it is as large as the audio
        chunk.mel = chunk.mel[:0].copy()
        ticket.jobs = [other for other in ticket.jobs if other is not job]
        ticket.turn = self._served[ticket.client] = next(self._turns)
        self.metrics.count("audio_seconds_total", chunk.seconds)
        try:
            for ready in ticket.spoken.put(chunk):
                ticket.unread += 1
                ticket.emit("chunk", ready)
            if not ticket.jobs:
                self._active.remove(ticket)
                self._pace, self._spent = 0.8 * self._pace + 0.2 * self._spent, 0.0
                ticket.emit("done", None)
        except Exception as error:
            self._drop(ticket, error)

    def _drop(self, ticket: Ticket, error: Exception) -> None:
        if ticket in self._active:
            self._active.remove(ticket)
        self._fail(ticket, error)

    def _expire(self, ticket: Ticket) -> None:
        if ticket.cancelled:
            self.metrics.count("cancelled_total")
        else:
            self.metrics.count("timeouts_total")
            self._fail(
                ticket,
                RequestTimeout(
                    "the request took longer than it may; send less text, or try again when the server is less busy"
                ),
            )

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        """Report; what the error says may quote the text, so only its kind and place are logged."""
        if not isinstance(error, ValueError | TtsFmError):
            self.metrics.count("errors_total")
            log.error("a request failed: %s at %s", type(error).__name__, place(error))
            log.debug("the failure in full", exc_info=error)
        ticket.jobs, ticket.spoken = [], InOrder()
        try:
            ticket.emit("error", error)
        except Exception:
            log.debug("an error found nobody to hear it", exc_info=True)
