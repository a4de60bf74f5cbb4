"""What the routes do: OpenAI's speech request, the lists of voices and models, health and metrics."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.requests import HTTPConnection

from tts_fm import __version__
from tts_fm.audio.media import need_aac
from tts_fm.audio.stream import AT_ONCE
from tts_fm.errors import MissingDependency
from tts_fm.serve import names, schema, streams
from tts_fm.serve.answers import Refusal
from tts_fm.serve.metrics import Metrics
from tts_fm.serve.phrases import Places
from tts_fm.serve.tickets import PlanSummary, QueueFull, RequestTimeout, ServerStopped
from tts_fm.serve.worker import Scheduler
from tts_fm.synthesis import Request as Spoken
from tts_fm.synthesis import provenance
from tts_fm.voices import Voice, catalogue

if TYPE_CHECKING:
    from tts_fm.serve.config import ServeConfig
    from tts_fm.settings import Settings
    from tts_fm.synthesis import TTS

log = logging.getLogger(__name__)


class Service:
    """What the routes do."""

    def __init__(self, tts: TTS, config: ServeConfig, scheduler: Scheduler, metrics: Metrics) -> None:
        self.tts, self.config, self.scheduler, self.metrics = tts, config, scheduler, metrics
        self.born = int(time.time())
        self.places = Places(max(4, config.max_queue))

    async def speech(self, body: schema.SpeechRequest, request: Request) -> Response:
        """Speak a text; see `stream` of the request for when it is sent while it is spoken."""
        began = time.monotonic()
        asked = await self.request(body)
        line = streams.Line(streams.left(request.receive))
        try:
            at_once = body.response_format in AT_ONCE and body.stream is not False
            line.join(self.scheduler, asked, self.config.timeout, at_once, address(request))
            self.metrics.count("characters_total", len(body.input))
            _, plan = await line.next("planned")
            headers = self._headers(body, speaker(asked), plan)
            _, first = await line.next("chunk")
            self.metrics.observe("first_audio_seconds", time.monotonic() - began)
            metadata = provenance(speaker(asked), plan.settings)
            chunks = streams.chunks(line, first)
            if at_once and (body.stream or plan.chunks > 1):
                pieces = streams.pieces(chunks, body.response_format, metadata, lambda s: self._done(body, began, s))
                return self._stream(pieces, body, headers, line)
            data, seconds = await streams.encoded(chunks, body.response_format, metadata)
            line.close()
            self._done(body, began, seconds)
        except BaseException as error:
            line.close()
            refusal = self.refusal(error)
            if refusal is None:
                raise
            return refusal.response
        headers["x-tts-fm-seconds"] = f"{seconds:.3f}"
        if body.stream_format == "sse":
            return self._stream(_whole(data), body, headers, line)
        return Response(data, 200, headers, streams.media_type(body.response_format))

    def _stream(
        self, pieces: AsyncIterator[bytes], body: schema.SpeechRequest, headers: dict[str, str], line: streams.Line
    ) -> Response:
        if body.stream_format == "sse":
            return streams.Stream(streams.sse(pieces, len(body.input)), "text/event-stream", headers, line)
        return streams.Stream(pieces, streams.media_type(body.response_format), headers, line)

    async def request(self, body: schema.SpeechRequest) -> Spoken:
        """Check what the schema cannot and resolve the voice; a client names voices, it never gives a path. Raises
        Refusal.
        """
        if len(body.input) > self.config.max_chars:
            long = f"input has {len(body.input)} characters; the limit is {self.config.max_chars}: send it in parts"
            raise Refusal(400, long, "input", "string_too_long")
        settings = self.settings(body.settings)
        try:
            if body.response_format == "aac":
                need_aac()
        except MissingDependency as error:
            raise Refusal(400, f"response_format: {error}", "response_format", "unsupported_format") from None
        voice = await self.voice(body.voice_name)
        return Spoken(body.input, voice, None, settings)

    def settings(self, settings: Settings) -> Settings:
        """The same settings, checked, within this server's limits; Refusal."""
        if (settings.intervals or 0) > self.config.max_steps:
            name = "steps" if settings.grid is None else "grid"
            raise Refusal(400, f"{name} may be at most {self.config.max_steps} steps on this server", name, "too_large")
        try:
            return settings.check()
        except (ValueError, MissingDependency) as error:  # their first word is the field's name
            raise Refusal(400, str(error), str(error).split()[0], "invalid_setting") from None

    async def voice(self, name: str) -> Voice:
        """The stored voice that a client's name means; Refusal where it means none."""
        known = await asyncio.to_thread(self.tts.voices)
        meant = names.stored_voice(name, known)
        if meant is None:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise Refusal(400, f"there is no voice of that name; {hint}", "voice", "voice_not_found")
        return await asyncio.to_thread(self.tts.voice, meant)

    def _headers(self, body: schema.SpeechRequest, voice: str, plan: PlanSummary) -> dict[str, str]:
        headers = {
            "cache-control": "no-store",
            "x-tts-fm-generated": "speech",
            "x-tts-fm-voice": _ascii(voice),
            "x-tts-fm-seed": str(plan.settings.seed),
            "x-tts-fm-chunks": str(plan.chunks),
        }
        if warnings := [*plan.warnings, *self.ignored(body)]:
            headers["x-tts-fm-warning"] = _ascii("; ".join(warnings))
        return headers

    def ignored(self, body: schema.SpeechRequest) -> list[str]:
        """What of a request had no effect, in words."""
        found = ["instructions are not supported and had no effect"] if body.instructions else []
        if body.model not in (names.MODEL_ID, *names.ALIASES):
            found.append(f"this server has one model, {names.MODEL_ID!r}, which was taken")
        for name in body.unknown[:8]:
            near = difflib.get_close_matches(name[:64], schema.SpeechRequest.model_fields, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            found.append(f"the unknown field {name[:64]!r} was ignored{hint}")
        if len(body.unknown) > 8:
            found.append(f"and {len(body.unknown) - 8} more unknown fields")
        return found

    def _done(self, body: schema.SpeechRequest, began: float, seconds: float) -> None:
        took = time.monotonic() - began
        self.metrics.observe("request_seconds", took)
        log.info("spoke %d characters: %.2f s of %s in %.2f s", len(body.input), seconds, body.response_format, took)

    def refusal(self, error: BaseException) -> Refusal | None:
        """What a failed request is answered with; None = not ours to answer."""
        if isinstance(error, QueueFull):
            self.metrics.count("rejected_total")
            return Refusal(429, str(error), code="queue_full", headers={"retry-after": str(error.retry_after)})
        if isinstance(error, RequestTimeout):
            return Refusal(504, str(error), code="timeout")
        if isinstance(error, ServerStopped):
            return Refusal(503, str(error), code="stopping", headers={"retry-after": "10"})
        if isinstance(error, ValueError):
            return Refusal(400, str(error), "input", "invalid_input")
        if isinstance(error, asyncio.CancelledError):
            return Refusal(503, "the server is shutting down", code="stopping", headers={"retry-after": "10"})
        if isinstance(error, streams.Gone):
            return Refusal(499, "the client went away")
        return None

    async def voices(self) -> schema.Voices:
        """The stored voices, the default first."""
        known = await asyncio.to_thread(self.tts.voices)
        entries = await asyncio.to_thread(catalogue)
        others = names.other_names(known)
        infos = [
            schema.VoiceInfo(
                id=name,
                name=name,
                lang=entries[name][1].get("lang") if name in entries else None,
                aliases=[other for other, voice in others.items() if voice == name],
            )
            for name in known
        ]
        return schema.Voices(data=infos, voices=infos)

    async def models(self) -> schema.Models:
        """The one model of this server, and the names of OpenAI's that stand for it."""
        infos = [self._model(name) for name in (names.MODEL_ID, *names.ALIASES)]
        return schema.Models(data=infos, models=infos)

    async def one_model(self, model: str) -> Any:
        """One model by name."""
        if model not in (names.MODEL_ID, *names.ALIASES):
            raise Refusal(
                404, f"there is no such model; this server has {names.MODEL_ID!r}", "model", "model_not_found"
            )
        return self._model(model)

    def _model(self, name: str) -> schema.ModelInfo:
        return schema.ModelInfo(id=name, name=name, created=self.born, owned_by="tts_fm")

    async def health(self) -> Any:
        """Whether the server can speak."""
        alive = self.scheduler.alive
        state = schema.Health(status="ok" if alive else "failed", queue=self.scheduler.queued, version=__version__)
        return JSONResponse(state.model_dump(), 200 if alive else 503)

    async def metrics_page(self) -> PlainTextResponse:
        """Figures for Prometheus."""
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")


def speaker(request: Spoken) -> str:
    """The name of the voice that a request has."""
    return request.voice.name if isinstance(request.voice, Voice) else str(request.voice)


def address(request: HTTPConnection) -> str:
    """Who asks, for sharing the queue."""
    return address_of(request.client.host if request.client is not None else "")


def address_of(host: str) -> str:
    """The address, of IPv6 the network that one client has."""
    return ":".join(host.split(":")[:4]) if ":" in host else host


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _ascii(text: str) -> str:
    """A header's value: printable ASCII, everything else escaped."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)[:1000]
