"""The Wyoming protocol, by which Home Assistant speaks: whole texts and texts in pieces, on a port of its own.

The package `wyoming` reads and writes the events; here is what they mean. A connection asks what there is (`describe`),
has a text spoken (`synthesize`), or sends one in pieces (`synthesize-start`, `-chunk`, `-stop`), and is answered with
audio of 24 kHz, 16 bit, mono. The protocol has no keys: whoever reaches the port can use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_read_event, async_write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from tts_fm import __version__
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.audio.stream import pcm16
from tts_fm.serve.answers import Refusal
from tts_fm.serve.phrases import SESSION_SECONDS, Arriving, Conversation
from tts_fm.serve.service import Service, address_of
from tts_fm.serve.streams import BLOCK, SEND_SECONDS, Gone, portions
from tts_fm.serve.tickets import QueueFull
from tts_fm.settings import Settings
from tts_fm.synthesis import Request
from tts_fm.voices import Voice

log = logging.getLogger(__name__)
LARGEST = 1 << 18  # bytes of one event
FORM: dict[str, Any] = {"rate": SAMPLE_RATE, "width": 2, "channels": 1}


@asynccontextmanager
async def listening(service: Service, sock: socket.socket) -> AsyncIterator[None]:
    """Answer on a bound socket inside the block."""
    open_now: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        client = address_of((writer.get_extra_info("peername") or ("",))[0])
        try:
            with service.places.one(client):
                await WyomingConversation(service, reader, writer, client).run()
        except QueueFull as full:
            with contextlib.suppress(OSError):
                await async_write_event(Error(str(full), "queue-full").event(), writer)
        finally:
            open_now.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, sock=sock, limit=LARGEST)
    try:
        yield
    finally:
        server.close()
        for task in open_now:
            task.cancel()


class WyomingConversation(Conversation):
    """One connection; `text` is the one that comes in pieces."""

    def __init__(
        self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str
    ) -> None:
        super().__init__(service.scheduler, service.config, client)
        self.service, self.reader, self.writer = service, Bounded(reader), writer

    async def run(self) -> None:
        """Answer events until the client goes, sends none for too long, or does not read."""
        try:
            async with asyncio.timeout(SESSION_SECONDS):
                while (event := await self._next_of(self._event())) is not None:
                    await self._hear(event)
        except (OSError, EOFError, TimeoutError):
            log.info("a Wyoming connection ended early")
        except (AttributeError, KeyError, TypeError, ValueError):
            log.info("a Wyoming connection sent what is no event")
        finally:
            await self._stop()

    async def _event(self) -> Event | None:
        return await async_read_event(self.reader)  # type: ignore[arg-type]

    async def _hear(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self._write(await self._info())
        elif Ping.is_type(event.type):
            await self._write(Pong(Ping.from_event(event).text))
        elif Synthesize.is_type(event.type):
            asked = Synthesize.from_event(event)
            if self.text is None:  # of a text in pieces it repeats the whole, for servers that know no pieces
                await self._begin(asked.voice)
                await self._more(asked.text, ended=True)
                await self._spoken()
        elif SynthesizeStart.is_type(event.type):
            await self._stop()
            await self._begin(SynthesizeStart.from_event(event).voice)
        elif SynthesizeChunk.is_type(event.type) and self.text is not None:
            await self._more(SynthesizeChunk.from_event(event).text)
        elif SynthesizeStop.is_type(event.type):
            if self.text is not None:
                await self._more("", ended=True)
            await self._spoken()
            await self._write(SynthesizeStopped())

    async def _begin(self, voice: SynthesizeVoice | None) -> None:
        """Speak a text whose pieces are to come; an error is told to the client."""
        try:
            request = Request("", await self._voice(voice), None, Settings())
            self._start(request)
        except Refusal as refusal:
            await self._write(Error(str(refusal), "voice-not-found"))

    async def _more(self, piece: str, ended: bool = False) -> None:
        if self.text is None:
            return
        try:
            self.text.add(piece)
            if ended:
                self.text.end()
        except ValueError as error:
            await self._stop()
            await self._write(Error(str(error), "invalid-input"))

    async def _spoken(self) -> None:
        """Wait until the text has been spoken, or its client has gone."""
        if self._speaking is not None:
            await self._speaking
        self.text = self._speaking = None

    async def _speak(self, text: Arriving) -> None:
        """Write the audio of one text as it is spoken."""
        samples = 0
        try:
            async with contextlib.aclosing(text.chunks()) as chunks:
                async for _, chunk in chunks:
                    if not samples:
                        await self._write(AudioStart(**FORM, timestamp=0))
                    for speech, pause in portions(chunk):
                        data = bytes(2 * pause) + pcm16(speech)
                        for at in range(0, len(data), BLOCK):
                            time = round(1000 * (samples + at // 2) / SAMPLE_RATE)
                            await self._write(AudioChunk(**FORM, audio=data[at : at + BLOCK], timestamp=time))
                        samples += len(data) // 2
            await self._write(AudioStop(timestamp=round(1000 * samples / SAMPLE_RATE)))
        except (Gone, OSError, TimeoutError):
            self.writer.close()
        except Exception as error:
            refusal = self.service.refusal(error)
            if refusal is None:
                log.error("a text of Wyoming's failed: %s", type(error).__name__)
                self.service.metrics.count("errors_total")
            with contextlib.suppress(OSError, TimeoutError):
                await self._write(Error(str(error) if refusal else "something went wrong", "synthesize-failed"))
                await self._write(AudioStop())  # what clients wait for

    async def _voice(self, asked: SynthesizeVoice | None) -> Voice:
        """The stored voice that is asked for by name, else the first of the language that is asked for, else the first
        of all.
        """
        if asked is not None and asked.name:
            return await self.service.voice(asked.name)
        infos = (await self.service.voices()).data
        wanted = (asked.language or "").lower().replace("_", "-") if asked is not None else ""
        fitting = [voice.id for voice in infos if wanted and (voice.lang or "").startswith(wanted)]
        return await self.service.voice(fitting[0] if fitting else "default")

    async def _info(self) -> Info:
        """What there is: one program with the stored voices, and OpenAI's names for them."""
        maker = Attribution(name="tts_fm", url="https://pypi.org/project/tts-fm/")
        common: dict[str, Any] = {"attribution": maker, "installed": True, "version": __version__}
        voices = [
            TtsVoice(name=voice.id, description=voice.name, languages=[_locale(voice.lang)], **common)
            for voice in (await self.service.voices()).data
        ]
        about = "Flow-matching text to speech"
        program = TtsProgram(
            name="tts_fm", description=about, voices=voices, supports_synthesize_streaming=True, **common
        )
        return Info(tts=[program])

    async def _write(self, event: Eventable) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await async_write_event(event.event(), self.writer)


class Bounded:
    """What `async_read_event` reads from, of which no part is larger than LARGEST."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def readline(self) -> bytes:
        return await self._reader.readline()

    async def readexactly(self, count: int) -> bytes:
        if count > LARGEST:
            raise ValueError(f"an event of {count} bytes")
        return await self._reader.readexactly(count)


def _locale(lang: str | None) -> str:
    """en-gb -> en-GB, as Home Assistant has it."""
    language, _, country = (lang or "en-us").partition("-")
    return f"{language}-{country.upper()}" if country else language
