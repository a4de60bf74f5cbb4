"""`tts-fm serve`: the voice model behind an HTTP server that OpenAI's clients can talk to.

    tts-fm serve                                       on http://127.0.0.1:8000, for this machine alone
    TTS_FM_API_KEY=... tts-fm serve --host 0.0.0.0     for others: behind a proxy that speaks TLS

    POST /v1/audio/speech   {"input", "voice", "response_format": mp3|opus|aac|flac|wav|pcm|ogg, "speed", ...}: see
      /openapi.json
    GET  /v1/audio/voices, /v1/audio/models, /v1/models, /health, /metrics
    GET  /v1/audio/speech/stream   a WebSocket that takes a text in pieces (serve/websocket.py)
    --wyoming                      Home Assistant's protocol, on port 10200 (serve/wyoming.py)

The model is loaded once, one thread owns it, and concurrent requests share exact batches (serve/worker.py). Clients
name stored voices; they cannot upload, or point to, a recording. At INFO no text is logged. FastAPI and uvicorn come
with the extra `serve`.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tts_fm.errors import MissingDependency
from tts_fm.serve.config import ServeConfig, host_and_port
from tts_fm.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from tts_fm.synthesis import TTS

log = logging.getLogger(__name__)


def need_extra() -> None:
    """Raise MissingDependency where the extra `serve` is not installed."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependency(f'the server needs {error.name or "fastapi"}: pip install "tts-fm[serve]"') from None


def need_wyoming() -> None:
    """Raise MissingDependency where the extra `wyoming` is not installed."""
    try:
        import wyoming  # noqa: F401
    except ImportError:
        raise MissingDependency('--wyoming needs wyoming: pip install "tts-fm[wyoming]"') from None


def create_app(tts: TTS, config: ServeConfig | None = None, wyoming: socket.socket | None = None) -> FastAPI:
    """The ASGI application around a loaded TTS, for uvicorn or any other server. wyoming: a bound socket on which that
    protocol is answered while the application runs. Raises MissingDependency.
    """
    need_extra()
    if wyoming is not None:
        need_wyoming()
    from tts_fm.serve.app import build

    return build(tts, (config or ServeConfig()).check(), wyoming)


def serve(
    tts: TTS,
    config: ServeConfig,
    sock: socket.socket,
    tell: Callable[[str], None] | None = None,
    wyoming: socket.socket | None = None,
) -> None:
    """Answer on a bound socket, and Wyoming's protocol on another, until SIGINT or SIGTERM; requests that have begun
    get 30 s to end. tell: where to say the address.
    """
    app = create_app(tts, config, wyoming)
    if config.public and config.api_key is None:
        log.warning(
            "anyone who can reach %s can use this server: set an API key (TTS_FM_API_KEY), or listen on 127.0.0.1",
            config.host,
        )
    host, port = sock.getsockname()[:2]
    if tell is not None:
        tell(f"listening on http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")
    if wyoming is not None:
        host, port = wyoming.getsockname()[:2]
        if not host.startswith("127.") and host != "::1":
            log.warning("anyone who can reach %s:%d can speak over Wyoming, which has no keys", host, port)
        if tell is not None:
            tell(f"Wyoming's protocol on {host}:{port}")
    warm_up(app)
    try:
        server(app).run(sockets=[sock])
    finally:
        app.state.scheduler.stop()


def server(app: FastAPI) -> uvicorn.Server:
    """What answers for an application of create_app; see serve/connections.py."""
    import uvicorn

    from tts_fm.serve.connections import Door, Server

    options: dict[str, Any] = {
        "log_config": None, "access_log": False, "server_header": False, "proxy_headers": False, 
        "ws": "wsproto" if find_spec("wsproto") else "none", "ws_max_size": 1 << 16, "ws_per_message_deflate": False,
        "backlog": 1024, "http": Door, "timeout_graceful_shutdown": 30, "timeout_keep_alive": 30,
    }  # fmt: skip
    return Server(uvicorn.Config(app, **options))


def warm_up(app: FastAPI) -> None:
    """Let the worker speak a word, so that the first client does not wait for what is loaded at first use."""
    from tts_fm.synthesis import Request

    scheduler = app.state.scheduler
    if scheduler.tts.voices():
        scheduler.submit(Request("Hello.", settings=Settings(steps=1)), lambda kind, value: None, timeout=60)


def listen(config: ServeConfig) -> socket.socket:
    """The bound socket, so that a taken port is noticed before the model is loaded. Raises ValueError."""
    return bound(config.host, config.port, "--port or --host")


def listen_wyoming(config: ServeConfig) -> socket.socket | None:
    """The same for Wyoming's protocol; None where it is not asked for. MissingDependency without its package."""
    if config.wyoming is None:
        return None
    need_wyoming()
    return bound(*host_and_port(config.wyoming), "--wyoming PORT")


def bound(host: str, port: int, options: str) -> socket.socket:
    """A socket bound to an address; ValueError, which names the options, where that cannot be."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name != "nt":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.set_inheritable(True)
    except OSError as error:
        sock.close()
        raise ValueError(f"cannot listen on {host}:{port}: {error.strerror or error}; give another {options}") from None
    return sock
