"""`tts-fm batch`: a list of texts becomes a folder of audio; see batch/lists.py for the lists, batch/run.py for how it
is done.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from tts_fm.batch.forms import FORMS
from tts_fm.batch.rounds import FORMATS, Options
from tts_fm.cli.adapt import add_sharpen, sharper
from tts_fm.cli.common import (
    add_model_options,
    add_speaking_options,
    device_from,
    engine_from,
    load_tts,
    model_from,
    settings_from,
)
from tts_fm.cli.terminal import new_verb, note, result, result_json
from tts_fm.text.subtitles import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tts_fm.batch.forms import Part
    from tts_fm.batch.journal import Record
    from tts_fm.batch.lists import Item
    from tts_fm.synthesis import TTS

EXAMPLES = """examples:
  tts-fm batch lines.txt -o out --voice NAME
  tts-fm batch book.jsonl -o out --format mp3 --subtitles srt      {"id": "p1", "text": "Hello.", "ref_audio": "me.wav"}
  tts-fm batch list.tsv -o out --shard 0/4                         one of four machines that share the folder
Running the same line again goes on where it stopped.
Exit codes: 0 all spoken, 2 a fault in the list, 3 some items failed,
4 the model,
5 a missing package, 130 interrupted (Ctrl-C finishes the running batch; twice ends at once).
"""
MOST_WORKERS = 8  # processes started without being asked for: each takes some 0.7 GB
MOST_THREADS = 16  # each takes some 20 MB; more would wait for Python, which runs one at a time
ROUNDS_EACH = 2  # rounds for each of them, or their start is not worth it
M_ARENA_MAX, THREADS_A_HEAP = -8, 4  # of mallopt; more threads would wait for each other
NOTES = 20  # of them shown
EVERY = 10.0  # seconds between progress lines where stderr is no terminal


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "batch", "speak a list of texts into a folder", epilog=EXAMPLES)
    parser.add_argument(
        "list", metavar="LIST", help=f"the list, {', '.join('.' + form for form in FORMS)}; - = standard input"
    )
    parser.add_argument("-o", "--out", metavar="DIR", required=True, help="folder for the audio and results.jsonl")
    parser.add_argument("--input-format", choices=FORMS, help="form of the list (default: by its suffix)")
    parser.add_argument("--voice", metavar="NAME", help="voice of the items that name none")
    parser.add_argument("-r", "--ref-audio", metavar="FILE", help="the same, from a recording")
    parser.add_argument("--ref-text", metavar="TEXT", help="what is said in it")
    add_sharpen(parser)
    parser.add_argument("--format", choices=FORMATS, default="wav", help="of the audio (default: wav)")
    parser.add_argument("--subtitles", choices=KINDS, help="write subtitles with word times beside each item")
    parser.add_argument(
        "--sanitize-ids", action="store_true", help="repair ids that cannot be file names, instead of refusing the list"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out lines that cannot be spoken, instead of refusing the list"
    )
    parser.add_argument("--dry-run", action="store_true", help="only check the list")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    group = parser.add_argument_group("what is done")
    group.add_argument("--overwrite", action="store_true", help="speak everything again, also what is done")
    group.add_argument("--retry-failed", action="store_true", help="try items again that failed in an earlier run")
    group.add_argument("--fail-fast", action="store_true", help="stop at the first item that fails")
    group.add_argument("--max-failures", type=int, metavar="N", help="stop when N items have failed")
    group.add_argument(
        "--shard",
        type=shard,
        default=(0, 1),
        metavar="I/N",
        help="do the I-th of N parts of the list, I from 0 to N - 1",
    )
    group.add_argument(
        "--verify",
        type=int,
        nargs="?",
        const=3,
        default=0,
        metavar="N",
        help="let Whisper listen, and speak an item with up to N other seeds (3) when words are wrong; "
        'needs "tts-fm[eval]"',
    )
    group.add_argument(
        "--asr", metavar="W", help="of --verify: a folder with a Whisper for CTranslate2, or a size such as base"
    )
    group = parser.add_argument_group("how")
    group.add_argument(
        "--batch", type=int, default=16, metavar="N", help="items that are spoken together (default: 16)"
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="how many share the cores: threads with onnx, with torch processes that have a model each "
        "(default: on a CPU one a core, with torch for long lists only)",
    )
    group.add_argument(
        "--runner", choices=("local", "ray"), default="local", help="ray: workers on a Ray cluster that shares DIR"
    )
    add_speaking_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def shard(text: str) -> tuple[int, int]:
    """ "0/4" -> (0, 4)"""
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or not int(index) < int(count):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; 0/4 to 3/4 are the parts of four")
    return int(index), int(count)


def run(args: argparse.Namespace) -> int:
    """Check everything, then speak."""
    from tts_fm.batch.lists import read_list
    from tts_fm.settings import Settings

    if args.voice is not None and args.ref_audio is not None:
        raise ValueError("both --voice and --ref-audio are given; give one of them")
    options = Options(
        args.format, args.subtitles, args.batch, args.shard, 1 if args.workers is None else args.workers, args.runner,
        args.overwrite,
        args.retry_failed, 1 if args.fail_fast else args.max_failures, args.verify,
    ).check()  # fmt: skip
    voice = args.voice if args.ref_audio is None else os.path.abspath(args.ref_audio)
    if args.model is not None and os.path.exists(args.model):
        args.model = os.path.abspath(args.model)
    listing = read_list(
        args.list, args.input_format, Settings(**settings_from(args)), voice, args.ref_text, args.sanitize_ids,
        skip_bad=args.skip_bad,
    )  # fmt: skip
    notes = [*(f"left out: {fault}" for fault in listing.left_out), *(f"note: {line}" for line in listing.notes)]
    for line in notes[:NOTES] if not args.quiet else ():
        note(line)
    if len(notes) > NOTES and not args.quiet:
        note(f"note: and {len(notes) - NOTES:,} more like these")
    if args.dry_run:
        faults = f"{len(listing.left_out)} faults left out" if listing.left_out else "no faults"
        facts = {"items": len(listing.items), "left_out": len(listing.left_out)}
        result_json(facts) if args.json else result(f"{len(listing.items)} items, {faults}")
        return 0
    return speak(args, sharpened_items(args, listing.items), options, len(listing.left_out))


def sharpened_items(args: argparse.Namespace, items: list[Item]) -> list[Item]:
    """The items in the voices that were learnt from their recordings, with --sharpen. ValueError for all voices that
    cannot be learnt; with --skip-bad these are cloned.
    """
    if not args.sharpen:
        return items
    named = dict.fromkeys((part.voice, part.ref_text) for item in items for part in item.parts)
    learnt: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = {}
    faults: list[str] = []
    for number, name in enumerate(named, 1):
        try:
            learnt[name] = sharper(args, *name, number, len(named))
        except ValueError as error:
            learnt[name] = name
            faults.append(str(error))
    if faults and not args.skip_bad:
        raise ValueError("\n".join([*faults, "with --skip-bad they are cloned"]))
    for fault in faults if not args.quiet else ():
        note(f"cloned: {fault}")

    def renamed(part: Part) -> Part:
        voice, text = learnt[part.voice, part.ref_text]
        return replace(part, voice=voice, ref_text=text)

    return [replace(item, parts=tuple(map(renamed, item.parts))) for item in items]


def shared_out(args: argparse.Namespace, items: Sequence[Item], options: Options) -> tuple[Options, Callable[[], TTS]]:
    """Who shares the cores of this machine, and how each loads its model.

    On a CPU several computations of one thread each speak more than one of several threads. With onnx they are threads
    that share one model; with torch processes, where there is enough to share out. It depends on the whole list and
    the machine, not on the shard or on what is left, since the bits may depend on the number of threads.
    """
    from tts_fm.batch.plan import rounds
    from tts_fm.devices import usable_cores

    cores, wanted = usable_cores(), args.workers
    if args.runner == "local" and engine_from(args) == "onnx":
        workers = wanted or min(cores, MOST_THREADS, len(items))
        alone = len(items) == 1 and wanted is None
        return replace(options, workers=workers, threads=True), partial(load_tts, args, None if alone else 1)
    if wanted is None and args.runner == "local" and device_from(args) == "cpu":
        some = min(cores, MOST_WORKERS)
        wanted = some if len(rounds(items, options.batch)) >= ROUNDS_EACH * some else 1
    return replace(options, workers=wanted or 1), partial(load_tts, args)


def share_heap(threads: int | None) -> None:
    """Let threads that are not yet begun (None: one a core) take memory from one heap, or a few, where the C library is
    glibc: what one gives back another uses. Else each keeps a heap of its own, as large as its longest item asked for.
    """
    from tts_fm.devices import usable_cores

    heaps = max(1, (threads or usable_cores()) // THREADS_A_HEAP)
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, heaps)


def speak(args: argparse.Namespace, items: list[Any], options: Options, left_out: int = 0) -> int:
    """Run the batch with a progress line and signals, then tell how it went. left_out: lines that --skip-bad passed
    over.
    """
    from tts_fm.batch.plan import model_digest
    from tts_fm.batch.run import run_batch
    from tts_fm.text.lexicon import find_lexicon

    kind = device_from(args).split(":")[0]  # another kind of device rounds differently
    what = f"{args.variant} {args.dtype} {args.engine} {kind}{find_lexicon(args.lexicon).digest}"
    digest = model_digest(model_from(args), what)
    options, load = shared_out(args, items, options)
    share_heap(options.workers)
    stop = threading.Event()
    before = catch_signals(stop, args.quiet)
    show = Display(args.quiet)
    try:
        progress = run_batch(items, args.out, load, options, digest, show, stop, partial(whisper, args.asr))
    finally:
        show.end()
        for number, handler in before.items():
            signal.signal(number, handler)
    if progress.failed and not args.quiet:
        note(
            f"{progress.failed} of {progress.total} items failed: see results*.jsonl in {args.out} (--retry-failed "
            "tries them again)"
        )
    if progress.interrupted:
        note("interrupted; run the same line again to go on")
    if args.json:
        summary = {name: getattr(progress, name) for name in ("total", "skipped", "spoken", "failed", "interrupted")}
        summary["left_out"] = left_out
        result_json(
            {**summary, "seconds": round(progress.seconds, 3), "elapsed": round(progress.elapsed, 3), "out": args.out}
        )
    else:
        result(args.out)
    return progress.exit_code


def whisper(name: str | None) -> Any:
    """The transcriber of --verify, with the cores of its process."""
    from tts_fm.devices import usable_cores
    from tts_fm.evaluate.metrics import WHISPER_FOLDER, Whisper

    return Whisper(name or WHISPER_FOLDER, usable_cores())


def catch_signals(stop: threading.Event, quiet: bool) -> dict[int, Any]:
    """Ctrl-C and SIGTERM let the running batch finish; the second one ends at once. Returns the handlers that were
    there.
    """

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if not quiet:
            note("\nfinishing the running batch; once more ends at once")

    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}


class Line(Protocol):
    """What can be shown."""

    def line(self) -> str: ...


class Display:
    """The progress line: rewritten in place on a terminal, else a line now and then; failures in lines of their own."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.live, self.last = quiet, sys.stderr.isatty(), time.perf_counter()
        self.shown = self.latest = ""

    def __call__(self, progress: Line, record: Record | None) -> None:
        self.latest = progress.line()
        if record is not None and record["status"] != "ok":
            self._clear()
            note(f"failed: {record['id']}: {record['error']}")
        if self.quiet:
            return
        if self.live:
            print(f"\r{self.latest:<{len(self.shown)}}", end="", file=sys.stderr, flush=True)
            self.shown = self.latest
        elif record is None or time.perf_counter() - self.last >= EVERY:
            note(self.latest)
            self.shown, self.last = self.latest, time.perf_counter()

    def _clear(self) -> None:
        if self.live and self.shown:
            print(f"\r{' ' * len(self.shown)}\r", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the last line standing."""
        if self.live and self.shown:
            print(file=sys.stderr, flush=True)
        elif not self.quiet and self.latest and self.latest != self.shown:
            note(self.latest)
