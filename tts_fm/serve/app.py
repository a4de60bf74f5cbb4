"""The routes: OpenAI's POST /v1/audio/speech, the lists of voices and models, health and metrics."""

from __future__ import annotations

import asyncio
import difflib
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from tts_fm import __version__
from tts_fm.audio.stream import AT_ONCE
from tts_fm.errors import MissingDependency
from tts_fm.serve import schema, streams
from tts_fm.serve.metrics import Metrics
from tts_fm.serve.middleware import Guard, error_body
from tts_fm.serve.tickets import PlanSummary, QueueFull, RequestTimeout, ServerStopped
from tts_fm.serve.worker import Scheduler
from tts_fm.synthesis import Request as Spoken
from tts_fm.synthesis import provenance

if TYPE_CHECKING:
    from tts_fm.serve.config import ServeConfig
    from tts_fm.synthesis import TTS

log = logging.getLogger(__name__)
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": schema.Error, "description": text}
    for code, text in {
        400: "The request is not valid; the message says what would be.",
        401: "No API key, or a wrong one.",
        403: "Unknown host name.",
        404: "No such model.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        429: "The queue is full; see Retry-After.",
        500: "A fault of the server.",
        503: "The server is ending.",
        504: "It took too long.",
    }.items()
}
AUDIO: dict[str, Any] = {
    "audio/mpeg": {},
    "audio/ogg": {},
    "audio/flac": {},
    "audio/wav": {},
    "audio/pcm": {},
    "text/event-stream": {},
}


class Refusal(Exception):
    """An answer other than 2xx, in OpenAI's form."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.response = JSONResponse(error_body(status, message, param, code), status, headers)


def build(tts: TTS, config: ServeConfig) -> FastAPI:
    """The application around a loaded TTS. `app.state.scheduler` and `app.state.metrics` are its parts."""
    metrics = Metrics()
    scheduler = Scheduler(
        tts, metrics, config.max_queue, config.max_active, config.batch_frames, config.max_audio_seconds
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(scheduler.stop)

    about = "Text to speech, compatible with OpenAI's speech endpoint."
    app = FastAPI(
        title="tts_fm", version=__version__, description=about, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.scheduler, app.state.metrics = scheduler, metrics
    app.add_middleware(
        Guard,
        metrics=metrics,
        key=config.api_key,
        hosts=config.hosts,
        max_body=largest_body(config),
        max_requests=8 * config.max_queue + 64,
    )
    _handle_errors(app)
    service = Service(tts, config, scheduler, metrics)
    only: dict[int | str, dict[str, Any]] = {code: ERRORS[code] for code in (401, 403)}
    spoken = ERRORS | {200: {"content": AUDIO, "description": "The audio."}}
    app.add_api_route("/v1/audio/speech", service.speech, methods=["POST"], responses=spoken, response_class=Response)
    app.add_api_route("/v1/audio/voices", service.voices, response_model=schema.Voices, responses=only)
    app.add_api_route("/v1/models", service.models, response_model=schema.Models, responses=only)
    app.add_api_route(
        "/v1/models/{model}", service.one_model, response_model=schema.ModelInfo, responses=only | {404: ERRORS[404]}
    )
    app.add_api_route(
        "/health",
        service.health,
        response_model=schema.Health,
        responses={403: ERRORS[403], 503: {"model": schema.Health}},
    )
    app.add_api_route("/metrics", service.metrics_page, response_class=PlainTextResponse, responses=only)
    _describe(app, config)
    return app


def largest_body(config: ServeConfig) -> int:
    """Bytes in which every valid request has room: a character takes up to twelve in JSON (two \\u escapes)."""
    return 12 * (config.max_chars + schema.LONGEST_INSTRUCTIONS) + 8192


class Service:
    """What the routes do."""

    def __init__(self, tts: TTS, config: ServeConfig, scheduler: Scheduler, metrics: Metrics) -> None:
        self.tts, self.config, self.scheduler, self.metrics = tts, config, scheduler, metrics
        self.born = int(time.time())

    async def speech(self, body: schema.SpeechRequest, request: Request) -> Response:
        """Speak a text. wav and pcm of more than one chunk are sent while they are spoken."""
        began = time.monotonic()
        asked = await self._request(body)
        line = streams.Line(request.receive)
        try:
            at_once = body.response_format in AT_ONCE
            line.join(self.scheduler, asked, self.config.timeout, at_once, address(request))
            self.metrics.count("characters_total", len(body.input))
            _, plan = await line.next("planned")
            headers = self._headers(body, plan)
            _, first = await line.next("chunk")
            self.metrics.observe("first_audio_seconds", time.monotonic() - began)
            metadata = provenance(asked.voice.name, plan.settings)
            chunks = streams.chunks(line, first)
            if at_once and plan.chunks > 1:
                pieces = streams.pieces(chunks, body.response_format, metadata, lambda s: self._done(body, began, s))
                return self._stream(pieces, body, headers, line)
            data, seconds = await streams.encoded(chunks, body.response_format, metadata)
            line.close()
            self._done(body, began, seconds)
        except BaseException as error:
            line.close()
            refusal = self._refusal(error)
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

    async def _request(self, body: schema.SpeechRequest) -> Any:
        """Check what the schema cannot and resolve the voice; a client names voices, it never gives a path. Raises
        Refusal.
        """
        if body.model not in (schema.MODEL_ID, *schema.ALIASES):
            raise Refusal(
                404, f"there is no such model; this server has {schema.MODEL_ID!r}", "model", "model_not_found"
            )
        if len(body.input) > self.config.max_chars:
            long = f"input has {len(body.input)} characters; the limit is {self.config.max_chars}: send it in parts"
            raise Refusal(400, long, "input", "string_too_long")
        settings = body.settings
        if (settings.intervals or 0) > self.config.max_steps:
            name = "steps" if settings.grid is None else "grid"
            raise Refusal(400, f"{name} may be at most {self.config.max_steps} steps on this server", name, "too_large")
        try:
            settings.check()
        except (ValueError, MissingDependency) as error:  # their first word is the field's name
            raise Refusal(400, str(error), str(error).split()[0], "invalid_setting") from None
        known = await asyncio.to_thread(self.tts.voices)
        name = body.voice_name
        if name == schema.DEFAULT_VOICE and name not in known and known:
            name = known[0]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise Refusal(400, f"there is no voice of that name; {hint}", "voice", "voice_not_found")
        voice = await asyncio.to_thread(self.tts.voice, name)
        return Spoken(body.input, voice, None, settings)

    def _headers(self, body: schema.SpeechRequest, plan: PlanSummary) -> dict[str, str]:
        headers = {
            "x-tts-fm-generated": "speech",
            "x-tts-fm-seed": str(plan.settings.seed),
            "x-tts-fm-chunks": str(plan.chunks),
        }
        headers["cache-control"] = "no-store"
        ignored = ["instructions are not supported and had no effect"] if body.instructions else []
        if plan.warnings or ignored:
            headers["x-tts-fm-warning"] = _ascii("; ".join([*plan.warnings, *ignored]))
        return headers

    def _done(self, body: schema.SpeechRequest, began: float, seconds: float) -> None:
        took = time.monotonic() - began
        self.metrics.observe("request_seconds", took)
        log.info("spoke %d characters: %.2f s of %s in %.2f s", len(body.input), seconds, body.response_format, took)

    def _refusal(self, error: BaseException) -> Refusal | None:
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
        names = await asyncio.to_thread(self.tts.voices)
        return schema.Voices(data=[schema.VoiceInfo(id=name, name=name) for name in names], voices=names)

    async def models(self) -> schema.Models:
        """The one model of this server."""
        return schema.Models(data=[self._model()])

    async def one_model(self, model: str) -> Any:
        """One model by name."""
        if model not in (schema.MODEL_ID, *schema.ALIASES):
            raise Refusal(
                404, f"there is no such model; this server has {schema.MODEL_ID!r}", "model", "model_not_found"
            )
        return self._model()

    def _model(self) -> schema.ModelInfo:
        return schema.ModelInfo(id=schema.MODEL_ID, created=self.born, owned_by="tts_fm")

    async def health(self) -> Any:
        """Whether the server can speak."""
        alive = self.scheduler.alive
        state = schema.Health(status="ok" if alive else "failed", queue=self.scheduler.queued, version=__version__)
        return JSONResponse(state.model_dump(), 200 if alive else 503)

    async def metrics_page(self) -> PlainTextResponse:
        """Figures for Prometheus."""
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")


def address(request: Request) -> str:
    """Who asks, for sharing the queue: the address, of IPv6 the network that one client has."""
    host = request.client.host if request.client is not None else ""
    return ":".join(host.split(":")[:4]) if ":" in host else host


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _ascii(text: str) -> str:
    """A header's value: printable ASCII, everything else escaped."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)[:1000]


def _handle_errors(app: FastAPI) -> None:
    """All refusals in OpenAI's form; a validation error names the field and what would work, and never quotes what was
    sent.
    """

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return error.response

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"] if part != "body"]
        param = where[0] if where and where[0] in schema.SpeechRequest.model_fields else None
        if first["type"] == "json_invalid":
            return JSONResponse(error_body(400, "the body is not valid JSON", code="invalid_json"), 400)
        if first["type"] == "extra_forbidden" and not param:
            near = difflib.get_close_matches(where[0] if where else "", schema.SpeechRequest.model_fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(schema.SpeechRequest.model_fields)}"
            return JSONResponse(error_body(400, f"an unknown field was given; {hint}", code="unknown_field"), 400)
        message = f"{param or 'body'}: {first['msg'][0].lower()}{first['msg'][1:]}"
        if param == "response_format" and first.get("input") == "aac":
            message = f"response_format: aac cannot be made here; one of {', '.join(schema.FORMATS)} works"
        if isinstance(first.get("input"), float) and not math.isfinite(first["input"]):
            message = f"{param}: a finite number is needed"
        return JSONResponse(error_body(400, message, param, first["type"]), 400)


def _describe(app: FastAPI, config: ServeConfig) -> None:
    """The OpenAPI description as it is: no 422, this server's limits, its key."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        described = make()
        for path in described["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        parts = described["components"]["schemas"]
        fields = parts["SpeechRequest"]["properties"]
        fields["input"]["maxLength"] = config.max_chars
        for option in fields["steps"]["anyOf"]:
            if option["type"] == "integer":
                option["maximum"] = config.max_steps
        for name in ("HTTPValidationError", "ValidationError"):
            parts.pop(name, None)
        described["paths"]["/v1/audio/speech"]["post"]["responses"]["429"]["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        }
        if config.api_key is not None:
            described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            described["security"] = [{"key": []}]
            described["paths"]["/health"]["get"]["security"] = []
        return described

    app.openapi = openapi  # type: ignore[method-assign]
