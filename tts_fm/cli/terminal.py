"""What a person at a terminal is told, and how their command line is read: notes, results, the parser of a verb.

`tts-fm --help` waits for all that is imported here: only little of the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

TYPE_CHECKING = False  # type checkers take it as true; the module typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


def note(line: str) -> None:
    """A message for the user: stderr."""
    with contextlib.suppress(OSError):  # who cannot hear it is none the less served
        print(line, file=sys.stderr, flush=True)


def result(line: str) -> None:
    """What the command was called for: stdout."""
    with stdout_named():
        print(line)


@contextlib.contextmanager
def stdout_named() -> Iterator[None]:
    """Errors of writing to stdout say so; a pipe that nobody reads stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def result_json(value: Any) -> None:
    """The result as JSON on stdout, in letters that stdout can say; NaN is an error."""
    import json

    ascii_only = (getattr(sys.stdout, "encoding", None) or "utf-8").lower() != "utf-8"
    result(json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, default=str))


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, no abbreviations, and examples kept as they were typed."""

    def __init__(self, **how: Any) -> None:
        how.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **how)

    def error(self, message: str) -> NoReturn:
        note(f"error: {message} (see {self.prog} --help)")
        raise SystemExit(2)


def new_verb(subparsers: Any, name: str, help: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser for a verb, with -v and -q. Set its default `run`."""
    description = help[0].upper() + help[1:] + "."
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=help, description=description, epilog=epilog)
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="say what happens; tracebacks for errors; twice: everything"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but the result and errors")
    return parser
