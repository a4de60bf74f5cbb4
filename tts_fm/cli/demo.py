"""`tts-fm demo`: the Gradio page in the browser."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

from tts_fm.cli.common import add_model_options, load_tts, model_from
from tts_fm.cli.terminal import new_verb, note


def add_parser(subparsers: Any) -> None:
    """The parser of `tts-fm demo`."""
    parser = new_verb(subparsers, "demo", "open the demo in a browser")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: this machine only)"
    )
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--share", action="store_true", help="also open a public gradio.live address")
    parser.add_argument("--auth", metavar="NAME:PASSWORD", help="ask visitors for this")
    parser.add_argument(
        "--max-chars", type=int, default=20_000, metavar="N", help="longest text of one request (default: 20000)"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load the model, serve the page until Ctrl-C."""
    from tts_fm.demo.app import build, launch_options, need_gradio
    from tts_fm.demo.service import Service, VisitorLimits

    need_gradio()

    if args.max_chars < 1:
        raise ValueError(f"--max-chars must be at least 1, got {args.max_chars}")
    if args.auth is not None and (":" not in args.auth or args.auth.startswith(":")):
        raise ValueError("--auth must be NAME:PASSWORD")
    public = args.share or args.host not in ("127.0.0.1", "localhost", "::1")
    model = model_from(args)
    service = Service(load_tts(args), VisitorLimits(characters=args.max_chars), model, shows_paths=not public)
    os.environ["GRADIO_TEMP_DIR"] = str(service.uploads)  # uploads and players' copies; gone with the service
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that they are also when the process is ended
    if public and not args.auth:
        note("warning: anybody who can reach this address can use the page; --auth NAME:PASSWORD asks for a password")
    service.warm_up()
    try:
        build(service).launch(
            server_name=args.host,
            server_port=args.port,
            share=args.share,
            inbrowser=args.open,
            auth=tuple(args.auth.split(":", 1)) if args.auth else None,
            quiet=args.quiet,
            **launch_options(service),
        )
    except OSError as error:
        raise ValueError(
            f"cannot serve at {args.host}:{args.port or 'a free port'} ({error}); try another --port or --host"
        ) from None
    finally:
        service.close()
    return 0
