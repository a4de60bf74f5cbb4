"""The command `tts-fm`: a table of verbs, how their arguments are read, and what becomes of their errors.

A verb lives in its own module, as `add_parser(subparsers)`: it makes a parser (terminal.new_verb) whose default `run`
is a function of the parsed arguments that returns an exit code (None = 0). Only the module of the verb that is called
is imported, and nothing that only verbs need, so the help is instant. Exit codes: 0 done; 1 a bug of ours; 2 wrong
usage or input; 3 some items failed; 4 a model or data file; 5 a missing package; 130 interrupted; 143 ended by SIGTERM.
stdout holds the result alone (audio, a path, JSON); everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys

from tts_fm import __version__
from tts_fm.cli.terminal import Parser, note, stdout_named
from tts_fm.errors import TtsFmError

TYPE_CHECKING = False  # as in terminal.py: what only some calls need is imported there
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType, ModuleType
    from typing import Any

# verb -> (its module, one line of help)
VERBS: dict[str, tuple[str, str]] = {
    "say": ("tts_fm.cli.say", "speak a text"),
    "batch": ("tts_fm.cli.batch", "speak a list of texts into a folder"),
    "book": ("tts_fm.cli.book", "turn a text file of any length into an audiobook"),
    "words": ("tts_fm.cli.words", "list the names and odd words of a book, as a lexicon to edit"),
    "adapt": ("tts_fm.cli.adapt", "learn a person's voice from recordings"),
    "edit": ("tts_fm.cli.edit", "change words in a recording"),
    "voices": ("tts_fm.cli.voice", "list the named voices"),
    "voice": ("tts_fm.cli.voice", "add, remove, pack or list named voices"),
    "models": ("tts_fm.cli.models", "list the built-in and the downloaded models"),
    "eval": ("tts_fm.cli.eval", "measure a voice on a list: WER, speaker similarity, DNSMOS, real-time factor"),
    "align": ("tts_fm.cli.align", "put phone and word times into a manifest"),
    "export": ("tts_fm.cli.export", "write a model as graphs that run without torch"),
    "score": ("tts_fm.cli.score", "find wrong transcripts: how well each text fits its recording"),
    "convert": ("tts_fm.cli.convert", "turn published .pt or vocoder weights into safetensors"),
    "demo": ("tts_fm.cli.demo", "open the demo in a browser"),
    "serve": ("tts_fm.cli.serve", "run an OpenAI-compatible speech server"),
    "doctor": ("tts_fm.cli.doctor", "check this install and say what is missing"),
    "version": ("tts_fm.cli.models", "print the version"),
}
EPILOG = """tts-fm VERB --help explains a verb.
  tts-fm say "The birch canoe slid on the smooth planks." -o canoe.wav
  tts-fm say -f letter.txt --ref-audio me.wav --subtitles srt -o letter.mp3
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    fill_streams()
    with _ending_in_order():
        return _run(argv)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """While it lasts SIGTERM ends the work as an exception, so that what is half-written is taken away; a second one
    ends it at once. Verbs that finish what they have begun take the signals themselves.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    def lost(told: sys.UnraisableHookArgs) -> None:
        """An exception that a library's callback or a __del__ cannot pass on: the signal behind it comes again, soon,
        since what is raised in here is lost as well. What comes before that is the same signal: it is held back.
        """
        handler: Callable[[int, FrameType | None], Any]
        if isinstance(told.exc_value, SystemExit):
            number, handler = signal.SIGTERM, end
        elif isinstance(told.exc_value, KeyboardInterrupt):
            number, handler = signal.SIGINT, signal.default_int_handler
        else:
            hook(told)
            return
        due = threading.Event()

        def hold(number: int, frame: FrameType | None) -> None:
            if due.is_set():
                signal.signal(number, handler)
                handler(number, frame)

        def again() -> None:
            time.sleep(0.01)
            due.set()
            _thread.interrupt_main(number)

        signal.signal(number, hold)
        _thread.start_new_thread(again, ())

    import _thread
    import threading
    import time

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    hook, sys.unraisablehook = sys.unraisablehook, lost
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(argv: Sequence[str] | None) -> int:
    verbose = 0
    try:
        args = parse(with_dashes(sys.argv[1:] if argv is None else argv))
        verbose = getattr(args, "verbose", 0)
        _set_up(verbose)
        code = args.run(args) or 0
        with stdout_named():
            sys.stdout.flush()
        return int(code)
    except SystemExit as stop:  # argparse: after help, or a usage error that it has told
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's own last flush is quiet
        return 141
    except Exception as error:
        if verbose:
            import traceback

            traceback.print_exc()
        return exit_code(error)


def fill_streams() -> None:
    """Streams that were closed (`2>&-`) become the null device: what is opened next would take their number, and what
    is said would go into it. Of a stream that cannot say a character it says its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            with contextlib.suppress(OSError):
                if (opened := os.open(os.devnull, os.O_RDWR)) != number:  # the lowest number that is free
                    os.close(opened)
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115
        elif number and isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the arguments with the parser of the one verb that is called; SystemExit for help and for wrong usage."""
    parser = Parser(prog="tts-fm", description="Text and a few seconds of a voice become speech.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"tts-fm {__version__}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    called = next((a for a in argv if not a.startswith("-")), None)
    if called in VERBS:
        _module_of(called, called == "adapt" or "--sharpen" in argv).add_parser(subparsers)
    for verb, (_, line) in VERBS.items():
        if verb not in subparsers.choices:
            subparsers.add_parser(verb, help=line)
    if called is None and not set(argv) & {"-h", "--help", "--version"}:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if called is not None and called not in subparsers.choices:
        from difflib import get_close_matches

        near = get_close_matches(called, VERBS, n=1)
        parser.error(
            f"there is no verb {called!r}; "
            + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(VERBS)}")
        )
    args, left = parser.parse_known_args(argv)
    if left:
        _refuse(subparsers.choices[args.verb], left)
    return args


def _module_of(verb: str, training: bool) -> ModuleType:
    """The module of a verb, imported when the environment is set for what it may import."""
    from tts_fm.devices import be_quiet

    be_quiet(training)
    return importlib.import_module(VERBS[verb][0])


def _refuse(parser: argparse.ArgumentParser, left: list[str]) -> None:
    """Usage error for arguments that nothing took: the nearest option, or that a text needs quotes."""
    from difflib import get_close_matches

    first = left[0]
    if not first.startswith("-"):
        parser.error(f"unexpected argument {first!r}; put a text with spaces in quotes")
    known = [s for s in parser._option_string_actions if s.startswith("--")]
    near = get_close_matches(first.split("=")[0], known, n=1)
    parser.error(f"there is no option {first.split('=')[0]}" + (f"; did you mean {near[0]}?" if near else ""))


def with_dashes(argv: Sequence[str]) -> list[str]:
    """--ref_audio=my_file.wav -> --ref-audio=my_file.wav; only the names of long options before a bare -- are
    touched.
    """
    done = list(argv)
    for i, argument in enumerate(argv):
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if name.startswith("--") and " " not in name:
            done[i] = name.replace("_", "-") + equals + value
    return done


def _set_up(verbose: int) -> None:
    """Log to stderr: warnings, with -v also what happens, with -vv everything; other packages' Python warnings only
    with -v.
    """
    import logging
    import warnings

    level = os.environ.get("TTS_FM_LOG", "").upper()
    if verbose or level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        level = ("WARNING", "INFO", "DEBUG")[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(name)s: %(message)s" if verbose else "%(message)s"))
    logger = logging.getLogger("tts_fm")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    if not verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")


def _shortened(line: str) -> str:
    """A line that quotes what is endless, without its middle."""
    return line if len(line) <= 1000 else f"{line[:500]} ... {line[-200:]}"


def exit_code(error: Exception) -> int:
    """Tell an error in one line (a list with many faults: one line each) and return its exit code."""
    text = "\n".join(map(_shortened, str(error).strip().split("\n")))
    if isinstance(error, TtsFmError):
        note(f"error: {text}")
        return error.exit_code
    if isinstance(error, UnicodeError):
        note(f"error: this is not UTF-8 text ({error}); save it as UTF-8")
        return 2
    if isinstance(error, ValueError):
        note(f"error: {text}")
        return 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        note(f"error: {where}{error.strerror or text or type(error).__name__}")
        return 2
    first = (text.splitlines() or [""])[0]
    if isinstance(error, ImportError) and not (error.name or "").startswith("tts_fm"):
        note(f"error: a package is missing or does not load: {first}; {advice(error)}")
        return 5
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        told = (
            text if text.startswith("not enough memory") else "not enough memory; give a shorter text, or --device cpu"
        )
        note(f"error: {told}")
        return 1
    if isinstance(error, RuntimeError) and "home directory" in first:  # pathlib's words, and platformdirs'
        note("error: there is no home folder, and a library of this verb keeps its files there; set HOME to a folder")
        return 2
    note(
        f"error: unexpected {type(error).__name__}: {first}; this is a bug: run it again with -v and report what it "
        "prints"
    )
    return 1


def advice(error: ImportError) -> str:
    """What to do about a package that is missing: install the extra that brings it."""
    from tts_fm.cli.doctor import EXTRAS

    package = (error.name or "").partition(".")[0].replace("_", "-")
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    return f'pip install "tts-fm[{extra}]"' if extra else "tts-fm doctor shows what is installed"


if __name__ == "__main__":
    sys.exit(main())
