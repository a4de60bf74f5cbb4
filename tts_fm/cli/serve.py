"""`tts-fm serve`: an OpenAI-compatible speech server."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any

from tts_fm.cli.common import add_model_options, load_tts
from tts_fm.cli.terminal import new_verb, note
from tts_fm.serve.config import LOCAL, ServeConfig, read_key

EXAMPLES = """examples:
  tts-fm serve --port 8080
  curl localhost:8080/v1/audio/speech -H "Content-Type: application/json" \\
    -d '{"input": "Hello!", "response_format": "wav"}' > hello.wav
  tts-fm serve --wyoming 0.0.0.0:10200                                   (for Home Assistant on another machine)
  TTS_FM_API_KEY=$(openssl rand -hex 24) tts-fm serve --host 0.0.0.0     (behind a proxy that speaks TLS)
"""

# fields of ServeConfig that are options: type, how the value is shown, what it limits
LIMITS = (
    ("max_chars", int, "N", "characters in one request"),
    ("max_queue", int, "N", "requests that may wait"),
    ("max_steps", int, "N", "solver steps of a request"),
    ("batch_frames", int, "N", "frames a batch"),
    ("timeout", float, "S", "seconds for one request"),
)


def add_parser(subparsers: Any) -> None:
    """The parser of `tts-fm serve`."""
    d = ServeConfig()
    parser = new_verb(subparsers, "serve", "run an OpenAI-compatible speech server", epilog=EXAMPLES)
    parser.add_argument("--host", default=d.host, help=f"address to listen on (default {d.host}: this machine alone)")
    parser.add_argument("--port", type=int, default=d.port, help=f"port (default {d.port}; 0 = any free one)")
    parser.add_argument(
        "--api-key-file", metavar="FILE", help="a file that holds the key clients must send; or set TTS_FM_API_KEY"
    )
    parser.add_argument(
        "--allow-host", action="append", metavar="NAME", help="host name that clients may use, besides localhost"
    )
    parser.add_argument(
        "--cors",
        action="append",
        metavar="ORIGIN",
        help="origin whose web pages may use it, as http://localhost:3000; * = all",
    )
    parser.add_argument(
        "--wyoming",
        nargs="?",
        const="10200",
        metavar="[HOST:]PORT",
        help="also answer Home Assistant's protocol, which has no keys (default: 127.0.0.1:10200)",
    )
    group = parser.add_argument_group("limits")
    for name, kind, metavar, what in LIMITS:
        default = getattr(d, name)
        option = "--" + name.replace("_", "-")
        group.add_argument(option, type=kind, default=default, metavar=metavar, help=f"{what} (default {default:g})")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: Any) -> int:
    """Check the options and the address, load the model, serve until interrupted."""
    from tts_fm.serve.run import listen, listen_wyoming, need_extra, serve

    config = config_from(args)
    need_extra()
    # oneDNN keeps kernels, and their memory, for every length of speech it has met, up to 1,024: a server would grow
    # for hours.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    with contextlib.ExitStack() as sockets:
        sock = sockets.enter_context(listen(config))
        wyoming = listen_wyoming(config)
        if wyoming is not None:
            sockets.enter_context(wyoming)
        tts = load_tts(args)
        serve(tts, config, sock, None if args.quiet else note, wyoming)
    return 0


def config_from(args: Any) -> ServeConfig:
    """The configuration that the options name; raises ValueError."""
    config = ServeConfig(
        args.host,
        args.port,
        read_key(args.api_key_file),
        None,
        tuple(origin.rstrip("/") for origin in args.cors or ()),
        args.wyoming,
        args.max_chars,
        args.max_steps,
        args.max_queue,
        batch_frames=args.batch_frames,
        timeout=args.timeout,
    ).check()
    if args.allow_host or not config.public:
        config = replace(config, hosts=(*LOCAL, config.host.lower(), *(name.lower() for name in args.allow_host or ())))
    return config
