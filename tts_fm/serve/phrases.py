"""A text that arrives in pieces, spoken phrase by phrase: what the WebSocket and the Wyoming protocol share.

Each phrase is a request of its own in the server's line, with its client's share of it; the next one joins when the one
before is spoken. Numbers of chunks and their noise are counted on, so the samples are those of TTS.stream. What waits
is bounded: in characters, in seconds between pieces, in seconds of audio, and in connections of one client.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.serve.streams import Gone, Line
from tts_fm.serve.tickets import PlanSummary, QueueFull, RequestTimeout
from tts_fm.text.chunks import LONGEST_TEXT, Phrase, Phrases

if TYPE_CHECKING:
    from tts_fm.engines.jobs import Chunk
    from tts_fm.serve.config import ServeConfig
    from tts_fm.serve.worker import Scheduler
    from tts_fm.synthesis import Request

T = TypeVar("T")
WAITING = 4  # times the characters of one request: what may wait to be spoken
SESSION_SECONDS = 3600.0  # that a connection may last


class Arriving:
    """One text. `add` pieces, `end` it or `cancel` it; meanwhile, iterate over `chunks` in a task of its own."""

    def __init__(self, scheduler: Scheduler, config: ServeConfig, request: Request, client: str) -> None:
        if request.settings.duration is not None:
            raise ValueError("duration: a text that arrives in pieces has no fixed duration; leave it out")
        self.scheduler, self.config, self.request, self.client = scheduler, config, request, client
        self.ended = False
        self._cut, self._phrases = Phrases(), deque[Phrase]()
        self._total = self._waiting = 0  # characters
        self._news = asyncio.Event()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, piece: str) -> None:
        """More of the text. ValueError where more waits than may."""
        self._total += len(piece)
        self._waiting += len(piece)
        most = WAITING * self.config.max_chars
        if self._waiting > most:
            raise ValueError(f"more than {most} characters wait to be spoken, the limit; send them later")
        if self._total > LONGEST_TEXT:
            raise ValueError(f"the text has more than {LONGEST_TEXT} characters, the limit; begin another")
        self._take(self._cut.add(piece))

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True
        self._take(self._cut.end())

    def cancel(self) -> None:
        """Nobody listens any more: `chunks` ends with Gone."""
        if not self._gone.done():
            self._gone.set_result(None)
        self._news.set()

    def _take(self, phrases: list[Phrase]) -> None:
        self._phrases += phrases
        self._news.set()

    async def _next(self) -> Phrase | None:
        """The next phrase; None at the end of the text."""
        while not self._phrases:
            if self._gone.done():
                raise Gone
            if self.ended:
                return None
            self._news.clear()
            try:
                async with asyncio.timeout(self.config.timeout):
                    await self._news.wait()
            except TimeoutError:
                raise RequestTimeout(f"no more text came for {self.config.timeout:g} s") from None
        phrase = self._phrases.popleft()
        self._waiting = max(0, self._waiting - len(phrase.text))
        return phrase

    async def chunks(self) -> AsyncGenerator[tuple[PlanSummary, Chunk], None]:
        """The chunks of the text, each with the plan of its phrase. Raises as Line.next; ValueError where there was
        nothing to say, or too much.
        """
        count, samples = 0, 0
        while (phrase := await self._next()) is not None:
            if len(phrase.text) > self.config.max_chars:
                raise ValueError(f"a sentence has more than {self.config.max_chars} characters, the limit")
            line = Line(asyncio.shield(self._gone))
            try:
                request = replace(self.request, text=phrase.text)
                line.join(self.scheduler, request, self.config.timeout, True, self.client, count, phrase.pause)
                self.scheduler.metrics.count("characters_total", len(phrase.text))
                _, plan = await line.next("planned")
                count += plan.chunks
                kind, value = await line.next()
                while kind == "chunk":
                    samples += value.samples
                    if samples > self.config.max_audio_seconds * SAMPLE_RATE:
                        raise ValueError(f"this is more than {self.config.max_audio_seconds:.0f} s of audio, the limit")
                    yield plan, value
                    kind, value = await line.next()
            finally:
                line.close()
        if not count:
            raise ValueError("the text is empty; give at least one word")


class Conversation:
    """One connection over which texts arrive in pieces; of a protocol's own, how a text is spoken (`_speak`)."""

    def __init__(self, scheduler: Scheduler, config: ServeConfig, client: str) -> None:
        self.scheduler, self.config, self.client = scheduler, config, client
        self.text: Arriving | None = None  # what is being spoken
        self._speaking: asyncio.Task[None] | None = None

    async def _speak(self, text: Arriving) -> None:
        """Send the audio of one text, and what went wrong with it."""
        raise NotImplementedError

    @property
    def _is_speaking(self) -> bool:
        return self._speaking is not None and not self._speaking.done()

    def _start(self, request: Request) -> Arriving:
        """Speak a text whose pieces are to come."""
        self.text = Arriving(self.scheduler, self.config, request, self.client)
        self._speaking = asyncio.create_task(self._speak(self.text))
        return self.text

    async def _stop(self) -> None:
        """Give up the text that is being spoken."""
        text, speaking, self.text, self._speaking = self.text, self._speaking, None, None
        if text is not None and speaking is not None:
            text.cancel()
            speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await speaking

    async def _next_of(self, message: Awaitable[T]) -> T:
        """What the client sends next; TimeoutError where nothing comes and nothing is being spoken."""
        coming = asyncio.ensure_future(message)
        try:
            while not coming.done():
                await asyncio.wait({coming}, timeout=self.config.timeout)
                if not coming.done() and not self._is_speaking:
                    raise TimeoutError
            return coming.result()
        finally:
            coming.cancel()


class Places:
    """Connections that may be open: so many, of which one client may have half."""

    def __init__(self, most: int) -> None:
        self.most, self._taken = most, Counter[str]()

    @contextlib.contextmanager
    def one(self, client: str) -> Iterator[None]:
        """A place as long as the block lasts; QueueFull where there is none."""
        if self._taken.total() >= self.most or self._taken[client] >= max(1, self.most // 2):
            raise QueueFull(self._taken.total(), 10)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            self._taken += Counter()  # forgets who has none
