"""--device for every benchmark: where all that it starts computes, in this process and in those below it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence


def with_device(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser with --device."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: $TTS_FM_DEVICE, or a GPU if there is one)")
    return parser


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, with --device among them, which holds from now on. ValueError for one that is not here."""
    args = with_device(parser).parse_args(argv)
    use(args.device)
    return args


def use(device: str | None) -> None:
    """Let this device be the default here and in processes that are started from here."""
    if device is not None:
        from tts_fm.devices import name_of

        os.environ["TTS_FM_DEVICE"] = name_of(device)
