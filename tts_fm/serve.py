"""`tts-fm serve`: the voice model behind an HTTP server that OpenAI's clients can talk to.

    tts-fm serve                                       on http://127.0.0.1:8000, for this machine alone
    TTS_FM_API_KEY=... tts-fm serve --host 0.0.0.0     for others: behind a proxy that speaks TLS

    POST /v1/audio/speech   {"input", "voice", "response_format": mp3|opus|flac|wav|pcm|ogg, "speed", ...}: see /openapi.json
    GET  /v1/audio/voices, /v1/models, /health, /metrics

The model is loaded once, one thread owns it, and concurrent requests share exact batches (serving/engine.py). Clients name stored voices;
they cannot upload, or point to, a recording. At INFO no text is logged. FastAPI and uvicorn come with the extra `serve`.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.errors import MissingDependency
from tts_fm.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tts_fm.synthesis import TTS

log = logging.getLogger(__name__)
EXAMPLES = """examples:
  tts-fm serve --port 8080
  curl localhost:8080/v1/audio/speech -H "Content-Type: application/json" -d '{"input": "Hello!", "response_format": "wav"}' > hello.wav
  TTS_FM_API_KEY=$(openssl rand -hex 24) tts-fm serve --host 0.0.0.0     (behind a proxy that speaks TLS)
"""
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeConfig:
    """Limits and address of a server."""

    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0 = every network of this machine
    port: int = 8000  # 0 = any free one
    api_key: str | None = None  # what clients must send as `Authorization: Bearer KEY`; None = nothing is asked
    hosts: tuple[str, ...] | None = None  # host names that requests may be addressed to; None = any
    max_chars: int = 4096  # characters of text in one request
    max_steps: int = 64  # solver steps that a client may ask for
    max_queue: int = 64  # requests that may wait; the next one gets 429
    max_active: int = 16  # requests whose chunks are spoken in turns
    max_audio_seconds: float = 1800.0  # audio of one request
    batch_frames: int = 6000  # mel frames, prompts and padding included, in one batch
    timeout: float = 300.0  # seconds for one request, from arrival to its last chunk

    def check(self) -> ServeConfig:
        """Raise ValueError for a number that cannot work; returns self."""
        bounds = {"port": (0, 65535), "max_chars": (1, 100_000), "max_steps": (1, 256), "max_queue": (1, 100_000), "max_active": (1, 1024),
                  "max_audio_seconds": (1, 36_000), "batch_frames": (500, 1_000_000), "timeout": (1, 86_400)}
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}, got {getattr(self, name)!r}")
        if self.api_key is not None and len(self.api_key) < 8:
            raise ValueError("an API key needs at least 8 characters; make one with: openssl rand -hex 24")
        return self

    @property
    def public(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in LOCAL and not self.host.startswith("127.")


def _need() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependency(f'the server needs {error.name or "fastapi"}: pip install "tts-fm[serve]"') from None


def create_app(tts: TTS, config: ServeConfig | None = None) -> FastAPI:
    """The ASGI application around a loaded TTS, for uvicorn or any other server. Raises MissingDependency."""
    _need()
    from tts_fm.serving.app import build

    return build(tts, (config or ServeConfig()).check())


def serve(tts: TTS, config: ServeConfig, sock: socket.socket, tell: Callable[[str], None] | None = None) -> None:
    """Answer on a bound socket until SIGINT or SIGTERM; requests that have begun get 30 s to end. tell: where to say the address."""
    app = create_app(tts, config)
    import uvicorn

    if config.public and config.api_key is None:
        log.warning("anyone who can reach %s can use this server: set an API key (TTS_FM_API_KEY), or listen on 127.0.0.1", config.host)
    host, port = sock.getsockname()[:2]
    if tell is not None:
        tell(f"listening on http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")
    options: dict[str, Any] = {
        "log_config": None, "access_log": False, "server_header": False, "proxy_headers": False, "ws": "none", "backlog": 256,
        "timeout_graceful_shutdown": 30, "timeout_keep_alive": 30, "limit_concurrency": 8 * config.max_queue + 64,
    }  # fmt: skip
    warm_up(app)
    try:
        uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[sock])
    finally:
        app.state.engine.stop()


def warm_up(app: FastAPI) -> None:
    """Let the worker speak a word, so that the first client does not wait for what is loaded at first use."""
    from tts_fm.synthesis import Request

    engine = app.state.engine
    if engine.tts.voices():
        engine.submit(Request("Hello.", settings=Settings(steps=1)), lambda kind, value: None, timeout=60)


def listen(config: ServeConfig) -> socket.socket:
    """The bound socket, so that a taken port is noticed before the model is loaded. Raises ValueError."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    sock = socket.socket(family)
    try:
        if os.name != "nt":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((config.host, config.port))
        sock.set_inheritable(True)
    except OSError as error:
        sock.close()
        reason = error.strerror or error
        raise ValueError(f"cannot listen on {config.host}:{config.port}: {reason}; give another --port or --host") from None
    return sock


def read_key(file: str | None = None) -> str | None:
    """The API key from a file, or from TTS_FM_API_KEY; None where neither is given. ValueError for an unreadable or empty file."""
    if file is None:
        return os.environ.get("TTS_FM_API_KEY") or None
    try:
        key = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the API key from {file}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if not key:
        raise ValueError(f"{file} holds no API key; put one line of at least 8 characters into it")
    return key


def add_parser(subparsers: Any) -> None:
    """The parser of `tts-fm serve`."""
    from tts_fm.options import add_model_options, new_verb

    d = ServeConfig()
    parser = new_verb(subparsers, "serve", "run an OpenAI-compatible speech server", epilog=EXAMPLES)
    parser.add_argument("--host", default=d.host, help=f"address to listen on (default {d.host}: this machine alone)")
    parser.add_argument("--port", type=int, default=d.port, help=f"port (default {d.port}; 0 = any free one)")
    parser.add_argument("--api-key-file", metavar="FILE", help="a file that holds the key clients must send; or set TTS_FM_API_KEY")
    parser.add_argument("--allow-host", action="append", metavar="NAME", help="host name that clients may use, besides localhost")
    group = parser.add_argument_group("limits")
    group.add_argument("--max-chars", type=int, default=d.max_chars, metavar="N", help=f"characters in one request (default {d.max_chars})")
    group.add_argument("--max-queue", type=int, default=d.max_queue, metavar="N", help=f"requests that may wait (default {d.max_queue})")
    group.add_argument("--max-steps", type=int, default=d.max_steps, metavar="N", help=f"solver steps of a request (default {d.max_steps})")
    group.add_argument("--batch-frames", type=int, default=d.batch_frames, metavar="N", help=f"frames a batch (default {d.batch_frames})")
    group.add_argument("--timeout", type=float, default=d.timeout, metavar="S", help=f"seconds for one request (default {d.timeout:g})")
    add_model_options(parser)
    parser.set_defaults(run=run_verb)


def run_verb(args: Any) -> int:
    """Check the options and the address, load the model, serve until interrupted."""
    from tts_fm.options import load_tts, note

    config = config_from(args)
    _need()
    # oneDNN keeps kernels, and their memory, for every length of speech it has met, up to 1,024: a server would grow for hours.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    sock = listen(config)
    try:
        tts = load_tts(args)
        serve(tts, config, sock, None if args.quiet else note)
    finally:
        sock.close()
    return 0


def config_from(args: Any) -> ServeConfig:
    """The configuration that the options name; raises ValueError."""
    config = ServeConfig(args.host, args.port, read_key(args.api_key_file), None, args.max_chars, args.max_steps, args.max_queue,
                         batch_frames=args.batch_frames, timeout=args.timeout).check()
    if args.allow_host or not config.public:
        config = replace(config, hosts=(*LOCAL, config.host.lower(), *(name.lower() for name in args.allow_host or ())))
    return config
