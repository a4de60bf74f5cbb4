"""The application: its routes, what is checked before them, and what runs as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.websockets import WebSocket

from tts_fm import __version__
from tts_fm.serve import schema
from tts_fm.serve.answers import AUDIO, ERRORS, describe, handle_errors
from tts_fm.serve.metrics import Metrics
from tts_fm.serve.middleware import STREAM, Guard
from tts_fm.serve.service import Service
from tts_fm.serve.websocket import converse
from tts_fm.serve.worker import Scheduler

if TYPE_CHECKING:
    from tts_fm.serve.config import ServeConfig
    from tts_fm.synthesis import TTS

# headers that pages of other origins may read
EXPOSED = [f"x-tts-fm-{name}" for name in ("generated", "seed", "chunks", "seconds", "voice", "warning")]


def build(tts: TTS, config: ServeConfig, wyoming: socket.socket | None = None) -> FastAPI:
    """The application around a loaded TTS. wyoming: a bound socket on which that protocol is answered as long as it
    runs. `app.state.scheduler` and `app.state.metrics` are its parts."""
    metrics = Metrics()
    scheduler = Scheduler(
        tts, metrics, config.max_queue, config.max_active, config.batch_frames, config.max_audio_seconds
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            if wyoming is not None:
                from tts_fm.serve.wyoming import listening

                await stack.enter_async_context(listening(service, wyoming))
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
        origins=config.cors,
        max_body=largest_body(config),
        max_requests=8 * config.max_queue + 64,
    )
    if config.cors:  # around the guard, as a browser asks first without a key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=EXPOSED,
        )
    handle_errors(app)
    service = app.state.service = Service(tts, config, scheduler, metrics)
    only: dict[int | str, dict[str, Any]] = {code: ERRORS[code] for code in (401, 403)}
    spoken = ERRORS | {200: {"content": AUDIO, "description": "The audio."}}
    app.add_api_route("/v1/audio/speech", service.speech, methods=["POST"], responses=spoken, response_class=Response)

    async def stream(websocket: WebSocket) -> None:
        await converse(websocket, service)

    app.add_api_websocket_route(STREAM, stream)
    app.add_api_route("/v1/audio/voices", service.voices, response_model=schema.Voices, responses=only)
    app.add_api_route("/v1/models", service.models, response_model=schema.Models, responses=only)
    app.add_api_route("/v1/audio/models", service.models, response_model=schema.Models, responses=only)
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
    describe(app, config)
    return app


def largest_body(config: ServeConfig) -> int:
    """Bytes in which every valid request has room: a character takes up to twelve in JSON (two \\u escapes)."""
    return 12 * (config.max_chars + schema.LONGEST_INSTRUCTIONS) + 8192
