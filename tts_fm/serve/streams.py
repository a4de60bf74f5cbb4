"""Answers that carry audio: a whole file, a WAV or PCM stream, or server-sent events; each says it is generated."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import Response

from tts_fm.audio.files import FORMATS
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.audio.stream import AudioStream
from tts_fm.serve.tickets import RequestTimeout, Ticket
from tts_fm.serve.worker import Scheduler

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tts_fm.engines.jobs import Chunk
    from tts_fm.synthesis import Request

log = logging.getLogger(__name__)
BLOCK = 1 << 15  # bytes in one piece of a stream
PART = 12_000  # samples that are encoded at once
SILENCE = 1 << 16  # samples of a pause that are sent at once
SEND_SECONDS = 60.0  # in which a client must take one piece


class Gone(Exception):
    """The client went away."""


def left(receive: Receive) -> asyncio.Future[None]:
    """Done when the client of an HTTP request goes away."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return asyncio.ensure_future(watch())


class Line:
    """The asynchronous end of a ticket: what the scheduler emits, awaited while watching whether the client is still
    there.
    """

    def __init__(self, gone: asyncio.Future[None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.news: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.ticket: Ticket | None = None
        self._gone = gone  # done when the client is no longer there

    def join(
        self,
        scheduler: Scheduler,
        request: Request,
        timeout: float,
        streamed: bool,
        client: str,
        first: int = 0,
        pause: float = 0.0,
    ) -> None:
        """Submit the request; raises as Scheduler.submit."""
        self.ticket = scheduler.submit(request, self._emit, timeout, streamed, client, first, pause)

    def _emit(self, kind: str, value: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(self.news.put_nowait, (kind, value))
        except RuntimeError:  # the loop is closed: the server is ending
            if self.ticket is not None:
                self.ticket.cancel()

    async def next(self, wanted: str | None = None) -> tuple[str, Any]:
        """The next thing that the scheduler says (with `wanted`, of that kind). Raises what it failed with, Gone or
        RequestTimeout.
        """
        assert self.ticket is not None
        while True:
            get = asyncio.ensure_future(self.news.get())
            patience = max(0.0, self.ticket.deadline + 2.0 - time.monotonic())
            try:
                waited: set[asyncio.Future[Any]] = {get, self._gone}
                await asyncio.wait(waited, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not get.done():
                    self.ticket.cancel()
                    raise (
                        Gone
                        if self._gone.done()
                        else RequestTimeout("the request took longer than it may; send less text, or try again later")
                    )
                kind, value = get.result()
            finally:
                get.cancel()
            if kind == "error":
                raise value
            if kind == "chunk":
                self.ticket.taken()
            if wanted in (None, kind):
                return kind, value

    def close(self) -> None:
        """Nobody listens any more."""
        self._gone.cancel()
        if self.ticket is not None:
            self.ticket.cancel()


class Stream(Response):
    """Sends pieces as they come; if they fail midway the connection is broken off, so that no client takes a part for
    the whole.
    """

    def __init__(self, pieces: AsyncIterator[bytes], media_type: str, headers: dict[str, str], line: Line) -> None:
        self.pieces, self.line = pieces, line
        super().__init__(None, 200, headers, media_type)
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def patient(message: Any) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            await patient({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self.pieces:
                await patient({"type": "http.response.body", "body": piece, "more_body": True})
            await patient({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            log.info("a stream was broken off, because the server ends")
        except (Gone, OSError, TimeoutError):
            log.info("a client went away before the end of its stream")
        except Exception as error:
            log.warning("a stream was broken off: %s", type(error).__name__)
        finally:
            self.line.close()
            await self.pieces.aclose()  # type: ignore[attr-defined]


async def chunks(line: Line, first: Chunk) -> AsyncIterator[Chunk]:
    """The chunks of an answer, in order, as they are spoken; `first` was waited for already."""
    kind, chunk = "chunk", first
    while kind == "chunk":
        yield chunk
        kind, chunk = await line.next()


async def encoded(chunks: AsyncIterator[Chunk], format: str, metadata: dict[str, str]) -> tuple[bytes, float]:
    """A whole file, encoded while it is spoken, and the seconds that it lasts."""
    file = io.BytesIO()
    with AudioStream(file, format, metadata) as stream:
        async for chunk in chunks:
            await asyncio.to_thread(stream.write, chunk.speech, chunk.pause)
    return file.getvalue(), stream.samples / SAMPLE_RATE


async def pieces(
    chunks: AsyncIterator[Chunk], format: str, metadata: dict[str, str], done: Callable[[float], None]
) -> AsyncIterator[bytes]:
    """The bytes of a format of AT_ONCE, chunk by chunk. How many samples will come is not known, and a WAV's head says
    so: silence behind each chunk is cut only when it is spoken. done(seconds of audio) at the end.
    """
    pipe = _Pipe()
    stream = AudioStream(pipe, format, metadata)  # type: ignore[arg-type]
    with stream:
        async for chunk in chunks:
            for speech, pause in portions(chunk):
                await asyncio.to_thread(stream.write, speech, pause)
                for block in pipe.taken():
                    yield block
    for block in pipe.taken():
        yield block
    done(stream.samples / SAMPLE_RATE)


def portions(chunk: Chunk) -> Iterator[tuple[np.ndarray, int]]:
    """A chunk as (speech, samples of silence before it), the silence in small parts: minutes of it are never in memory,
    however slowly the other side reads; and its beginning is sent before all of it is encoded."""
    for at in range(0, chunk.pause, SILENCE):
        yield chunk.speech[:0], min(SILENCE, chunk.pause - at)
    for at in range(0, len(chunk.speech), PART):
        yield chunk.speech[at : at + PART], 0


class _Pipe:
    """What an AudioStream writes to, until it is taken."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def flush(self) -> None:
        """There is nothing to wait for."""

    def taken(self) -> Iterator[bytes]:
        """What has been written since the last time, in blocks."""
        data, self._bytes = bytes(self._bytes), bytearray()
        return (data[at : at + BLOCK] for at in range(0, len(data), BLOCK))


async def sse(pieces: AsyncIterator[bytes], characters: int) -> AsyncIterator[bytes]:
    """OpenAI's speech events around audio bytes."""
    try:
        async for piece in pieces:
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
        # characters: this model has no tokens
        usage = {"input_tokens": characters, "output_tokens": 0, "total_tokens": characters}
        yield _event({"type": "speech.audio.done", "usage": usage})
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def media_type(format: str) -> str:
    return FORMATS[format][3]
