"""The Gradio demo in the browser: clone a voice, speak a script or a list, change a recording. `tts-fm demo`, or `python demo/app.py`.

service.py holds what the pages do, without any Gradio; texts.py reads scripts and lists; figures.py draws; parts.py is what the pages
(tabs_*.py) share; app.py puts them together. Importing this imports neither gradio nor torch.
"""

from __future__ import annotations

import argparse
from typing import Any

from tts_fm.options import add_model_options, new_verb


def add_parser(subparsers: Any) -> None:
    """The parser of `tts-fm demo`."""
    parser = new_verb(subparsers, "demo", "open the demo in a browser")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: this machine only)")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--share", action="store_true", help="also open a public gradio.live address")
    parser.add_argument("--auth", metavar="NAME:PASSWORD", help="ask visitors for this")
    parser.add_argument("--max-chars", type=int, default=4000, metavar="N", help="longest text of one request (default: 4000)")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from tts_fm.demo.app import run

    return run(args)
