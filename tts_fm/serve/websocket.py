"""Text in, audio out over one WebSocket: `GET /v1/audio/speech/stream`, for what a language model is still writing.

    client  {"type": "session.config", "voice": "alloy", "speed": 1.1}      fields of a speech request; may be left out
            {"type": "input.text", "text": "The birch ca"}                 as often as you like
            {"type": "input.done"}                                         the text is whole
            {"type": "cancel"}                                             be silent at once
    server  {"type": "session.ready", "voice": "heart", "sample_rate": 24000, "warnings": []}
            {"type": "audio.start", "sentence_index": 0, "sentence_text": "...", "format": "pcm", "sample_rate": 24000}
            binary frames: 16 bit, little endian, mono
            {"type": "audio.done", "sentence_index": 0}
            {"type": "session.done", "total_sentences": 1, "seconds": 1.25}, or {"type": "session.cancelled"}
            {"type": "error", "message": "...", "error": {as over HTTP}}

The names are those of vLLM-Omni's interface. After session.done, session.cancelled or an error the next text may begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.audio.stream import pcm16
from tts_fm.serve import schema
from tts_fm.serve.answers import Refusal, invalid_body
from tts_fm.serve.middleware import error_body
from tts_fm.serve.phrases import SESSION_SECONDS, Arriving, Conversation
from tts_fm.serve.service import Service, address, speaker
from tts_fm.serve.streams import BLOCK, SEND_SECONDS, Gone
from tts_fm.serve.tickets import QueueFull, RequestTimeout

if TYPE_CHECKING:
    from tts_fm.synthesis import Request

log = logging.getLogger(__name__)
KINDS = ("session.config", "input.text", "input.done", "cancel")
SILENCE = bytes(BLOCK)


async def converse(websocket: WebSocket, service: Service) -> None:
    """Answer one connection, if there is a place for it."""
    client = address(websocket)
    try:
        with service.places.one(client):
            await websocket.accept()
            await WebSocketConversation(websocket, service, client).run()
    except QueueFull:
        service.metrics.count("rejected_total")
        await websocket.close(1013, "too many connections; try again later")


class WebSocketConversation(Conversation):
    """One WebSocket."""

    def __init__(self, websocket: WebSocket, service: Service, client: str) -> None:
        super().__init__(service.scheduler, service.config, client)
        self.websocket, self.service = websocket, service
        self.request: Request | None = None  # how to speak

    async def run(self) -> None:
        """Listen until the client goes, is silent for too long, or does not read."""
        try:
            async with asyncio.timeout(SESSION_SECONDS):
                while True:
                    await self._hear(await self._message())
        except WebSocketDisconnect:
            log.info("a WebSocket was closed by its client")
        except (TimeoutError, OSError):
            await self._close(1008, "nothing came, or nothing was read, for too long")
        finally:
            await self._stop()

    async def _message(self) -> Any:
        message = await self._next_of(self.websocket.receive())
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        return message

    async def _hear(self, message: Any) -> None:
        """Do what a message says; what is wrong with it is answered."""
        try:
            said = json.loads(message["text"]) if message.get("text") is not None else None
            kind = said.get("type") if isinstance(said, dict) else None
            if not isinstance(said, dict) or kind not in KINDS:
                raise ValueError(f"a message is JSON text with a type, one of {', '.join(KINDS)}")
            if kind == "session.config":
                await self._configure({key: value for key, value in said.items() if key != "type"})
            elif kind == "input.text":
                await self._add(said.get("text"))
            elif kind == "input.done":
                if self.text is None or self.text.ended:
                    raise ValueError("there is no text to end; send input.text first")
                self.text.end()
            else:
                await self._stop()
                await self._tell({"type": "session.cancelled"})
        except Refusal as refusal:
            await self._fail(json.loads(bytes(refusal.response.body)))
        except ValidationError as error:
            await self._fail(invalid_body(list(error.errors())))
        except (json.JSONDecodeError, RecursionError):
            await self._fail(error_body(400, "the message is not valid JSON", code="invalid_json"))
        except ValueError as error:
            await self._stop()
            await self._fail(error_body(400, str(error), code="invalid_input"))

    async def _configure(self, fields: dict[str, Any]) -> None:
        if self._is_speaking:
            raise ValueError("a text is being spoken; configure before it, or after session.done")
        body = schema.SpeechRequest.model_validate({"response_format": "pcm"} | fields | {"input": "-"})
        if body.response_format != "pcm":
            raise Refusal(400, "response_format: only pcm comes over a WebSocket", "response_format", "invalid_setting")
        self.request = await self.service.request(body)
        ready = {"type": "session.ready", "voice": speaker(self.request), "sample_rate": SAMPLE_RATE}
        await self._tell(ready | {"warnings": self.service.ignored(body)})

    async def _add(self, text: Any) -> None:
        if not isinstance(text, str):
            raise ValueError("input.text needs its text, a string")
        if self.request is None:
            await self._configure({})
        if self.text is not None and self.text.ended and self._is_speaking:
            raise ValueError("the last text is still being spoken; wait for session.done, or cancel it")
        arriving = self.text
        if arriving is None or not self._is_speaking:
            assert self.request is not None
            arriving = self._start(self.request)
        arriving.add(text)

    async def _speak(self, text: Arriving) -> None:
        """Send the audio of one text as it is spoken."""
        number, samples, told = 0, 0, set[str]()
        try:
            async with contextlib.aclosing(text.chunks()) as chunks:
                async for plan, chunk in chunks:
                    about = {"sentence_index": number, "sentence_text": chunk.text}
                    form: dict[str, Any] = {"format": "pcm", "sample_rate": SAMPLE_RATE}
                    if new := [warning for warning in plan.warnings if warning not in told]:
                        told.update(new)
                        form["warnings"] = new
                    await self._tell({"type": "audio.start"} | about | form)
                    await self._play(chunk.pause, pcm16(chunk.speech))
                    await self._tell({"type": "audio.done", "sentence_index": number})
                    number, samples = number + 1, samples + chunk.samples
            await self._tell({"type": "session.done", "total_sentences": number, "seconds": samples / SAMPLE_RATE})
        except Gone:
            return
        except (OSError, TimeoutError, WebSocketDisconnect, RuntimeError):  # not read, or closed
            await self._close(1008, "the audio was not read")
        except Exception as error:
            refusal = self.service.refusal(error)
            if refusal is None:
                log.error("a text in pieces failed: %s", type(error).__name__)
                self.service.metrics.count("errors_total")
            body = json.loads(bytes(refusal.response.body)) if refusal else error_body(500, "something went wrong")
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                await self._fail(body)
            if isinstance(error, RequestTimeout):
                await self._close(1008, str(error))

    async def _play(self, pause: int, data: bytes) -> None:
        for at in range(0, 2 * pause, BLOCK):
            await self._send({"bytes": SILENCE[: 2 * pause - at]})
        for at in range(0, len(data), BLOCK):
            await self._send({"bytes": data[at : at + BLOCK]})

    async def _tell(self, message: dict[str, Any]) -> None:
        await self._send({"text": json.dumps(message)})

    async def _fail(self, body: dict[str, Any]) -> None:
        await self._tell({"type": "error", "message": body["error"]["message"]} | body)

    async def _send(self, content: dict[str, Any]) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await self.websocket.send({"type": "websocket.send"} | content)

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(OSError, TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(1):
                await self.websocket.close(code, reason)
