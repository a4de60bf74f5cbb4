"""`tts-fm say`: one text, one voice, one file."""

from __future__ import annotations

import argparse
import codecs
import itertools
import re
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.cli.adapt import add_sharpen, sharper
from tts_fm.cli.common import (
    OUTPUT_FORMATS,
    Output,
    add_model_options,
    add_speaking_options,
    load_tts,
    must_be_file,
    settings_facts,
    settings_from,
)
from tts_fm.cli.terminal import new_verb, note, result, result_json

if TYPE_CHECKING:
    from tts_fm.cli.play import Heard
    from tts_fm.engines.jobs import Chunk
    from tts_fm.settings import Settings
    from tts_fm.synthesis import TTS, Speech
    from tts_fm.voices.stored import Voice

MOST_BYTES = 64 << 20  # of text that are read
PART = 50_000  # characters of a long text that are planned at once
AT_HAND = 0.1  # seconds in which the rest of an input must come to be spoken as one text
PATIENCE = 2.0  # seconds of silence before a progress bar appears
EXAMPLES = """examples:
  tts-fm say "The birch canoe slid on the smooth planks." -o canoe.wav
  tts-fm say "Hello!" --ref-audio me.wav --steps 16 --seed 3 -o hello.mp3
  tts-fm say "Hello!" --play
  echo "From a pipe." | tts-fm say - -o - | aplay
  slow_writer | tts-fm say - -o - | aplay            (each sentence is heard as soon as it has ended)
"""


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "say", "speak a text", epilog=EXAMPLES)
    parser.add_argument(
        "text",
        nargs="?",
        metavar="TEXT",
        help="what to say; - reads standard input. May hold [word](/ipa/), <break 0.5s>",
    )
    parser.add_argument("-f", "--file", metavar="FILE", help="read the text from a UTF-8 file (- for standard input)")
    parser.add_argument(
        "-o", "--output", "--out", metavar="FILE", help="- for standard output (default: out.wav; with --play, no file)"
    )
    parser.add_argument("--play", action="store_true", help="hear it while it is spoken")
    parser.add_argument(
        "--format", choices=OUTPUT_FORMATS, help="default: by the suffix of the output, wav for standard output"
    )
    parser.add_argument("--subtitles", choices=("srt", "vtt"), help="also write subtitles beside the audio")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be spoken: each chunk with its pause, words and phones"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON, instead of the path")
    voice = parser.add_argument_group("voice")
    voice.add_argument("--voice", metavar="NAME", help="a named voice (tts-fm voices lists them)")
    voice.add_argument(
        "-r", "--ref-audio", metavar="FILE", help="speak like this recording (3 to 12 s). Ask its owner first"
    )
    voice.add_argument("--ref-text", metavar="TEXT", help="what is said in the recording (some models need it)")
    add_sharpen(voice)
    add_speaking_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked without the model, then load it and speak."""
    from tts_fm.voices.stored import get_voice

    text = text_from(args, (args.output == "-" or args.play) and not args.dry_run)
    overrides = settings_from(args)
    parts = parts_of(text) if isinstance(text, str) else text
    if isinstance(parts, list) and len(parts) > 1 and "duration" in overrides:
        raise ValueError("--duration is for texts of up to 100,000 characters; leave it out, or give --speed")
    if args.json and args.output == "-":
        raise ValueError("--json and -o - both want standard output; give -o a file name")
    named = voice_from(args), args.ref_text
    voice = get_voice(*named)
    output = output_from(args)
    if not args.dry_run:
        voice = get_voice(*sharper(args, *named))
    tts = load_tts(args)
    if args.dry_run:
        show_plan(tts, text if isinstance(text, str) else "".join(text), voice, overrides, args.json)
        return 0
    pieces = [text] if isinstance(text, str) else []  # what is spoken, as it is written
    if not isinstance(parts, list):
        parts = _noted(parts, pieces)
    with ProgressBar(args.quiet) as bar:
        speech = speak(tts, parts, voice, overrides, output, bar)
    if output.extra is not None:
        from tts_fm.text.subtitles import shown_text, subtitles

        written = shown_text("".join(pieces), speech.settings.subtitles_text)
        output.write_extra(subtitles(speech.chunks, args.subtitles, written))
    if args.json:
        result_json(facts(speech, output))
    elif output.path is not None:
        result(str(output.path))
    if not args.quiet:
        tell(speech, output)
    return 0


def output_from(args: argparse.Namespace) -> Output | Heard:
    """Where the audio goes. ValueError for a place that cannot be written, MissingDependency where nothing plays."""
    if not args.play or args.output is not None:
        output = Output(args.output or "out.wav", args.format, f".{args.subtitles}" if args.subtitles else None)
    elif args.subtitles or args.format:
        option = "--subtitles" if args.subtitles else "--format"
        raise ValueError(f"{option} is about a file, and with --play alone there is none; give -o a file name too")
    else:
        output = None
    if output is not None and (args.dry_run or not args.play):
        return output
    from tts_fm.cli.play import Heard

    return Heard(output)


def _noted(text: Iterator[str], pieces: list[str]) -> Iterator[str]:
    """The pieces of a text that is still arriving, which are kept in `pieces`."""
    for piece in text:
        pieces.append(piece)
        yield piece


def show_plan(tts: TTS, text: str, voice: Voice, overrides: dict[str, Any], as_json: bool) -> None:
    """Print the chunks of a text as they would be spoken, and what the user should know of them; nothing is spoken."""
    from tts_fm.settings import Settings
    from tts_fm.synthesis import Request, warnings_of

    jobs = tts.plan(Request(text, voice, None, Settings(**overrides)))
    unknown = [symbol for job in jobs for symbol in job.plan.unknown]
    warnings = warnings_of(jobs[0].voice, unknown, [word for job in jobs for word in job.plan.foreign])
    rows = [{"pause": job.plan.pause, "text": job.plan.text, "phones": "".join(job.plan.units)} for job in jobs]
    if as_json:
        result_json({"lang": jobs[0].lang, "chunks": rows, "warnings": warnings})
        return
    for number, row in enumerate(rows, 1):
        pause = f" after {row['pause']:.2f} s" if row["pause"] else ""
        result(f"chunk {number} of {len(rows)}{pause}\n  text    {row['text']}\n  phones  {row['phones']}")
    for warning in warnings:
        note(f"warning: {warning}")


def speak(
    tts: TTS,
    text: list[str] | Iterator[str],
    voice: Voice,
    overrides: dict[str, Any],
    output: Output | Heard,
    bar: ProgressBar,
) -> Speech:
    """Speak into the output, chunk by chunk: what is heard of a pipe is heard at once, and a long text takes no more
    memory than a short one. Returns the speech without its samples.
    """
    import numpy as np

    from tts_fm.engines.jobs import moved
    from tts_fm.settings import Settings
    from tts_fm.synthesis import Request, finish, provenance

    began, settings, known = time.perf_counter(), Settings(**overrides), None
    later: Iterator[Chunk] = iter(())
    if isinstance(text, list):
        jobs = tts.plan(Request(text[0], voice, None, settings))
        spoken = tts.spoken(jobs, on_progress=bar.update)
        job, first = next(spoken)
        known = first.samples if len(jobs) == len(text) == 1 else None
        later = further(tts, text[1:], voice, settings, bar)
    else:
        spoken = tts.arriving(text, Request("", voice, None, settings))
        job, first = next(spoken)
    chunks: list[Chunk] = []
    with output.stream(provenance(job.voice.name, job.settings), known) as stream:
        for chunk in itertools.chain([first], (chunk for _, chunk in spoken), later):
            stream.write(chunk.speech, chunk.pause)
            ended = chunks[-1].start + chunks[-1].seconds if chunks else 0.0
            if chunk.start < ended - 1e-6:  # of a further part, which counts from its own start
                chunk = replace(moved(chunk, ended - chunk.start), start=ended)
            chunks.append(chunk.emptied())
        written = np.broadcast_to(np.float32(0), stream.samples)
    return finish(job, chunks, time.perf_counter() - began, written)


def parts_of(text: str) -> list[str]:
    """A text in parts that can be planned one by one: one for all but the longest, cut between paragraphs, else between
    sentences, else between words.
    """
    from tts_fm.text.chunks import LONGEST_TEXT

    if len(text) <= LONGEST_TEXT:
        return [text]
    parts = [""]
    for piece in re.split(r"(\n[ \t\r]*\n|(?<=[.!?]) )", text):
        while len(piece) > PART:
            cut = piece.rfind(" ", 0, PART) + 1 or PART
            parts, piece = [*parts, piece[:cut]], piece[cut:]
        full = len(parts[-1]) + len(piece) > PART
        if full and (piece.startswith("\n") or len(parts[-1]) > PART // 2):
            parts.append("")
        parts[-1] += piece
    return [part for part in parts if any(char.isalnum() for char in part)] or [""]


def further(tts: TTS, parts: list[str], voice: Voice, settings: Settings, bar: ProgressBar) -> Iterator[Chunk]:
    """The chunks of all parts but the first, each with noise of its own and a paragraph's pause before it."""
    from tts_fm.audio.mel import SAMPLE_RATE
    from tts_fm.engines.jobs import moved
    from tts_fm.synthesis import Request
    from tts_fm.text.plain import PAUSES

    for number, part in enumerate(parts, 1):
        jobs = tts.plan(Request(part, voice, None, replace(settings, item=f"part {number}")))
        for k, (_, chunk) in enumerate(tts.spoken(jobs, on_progress=bar.update)):
            if k == 0:
                pause = round(PAUSES["paragraph"] * SAMPLE_RATE)
                chunk = replace(moved(chunk, pause / SAMPLE_RATE), start=0.0, pause=pause)
            yield chunk


def text_from(args: argparse.Namespace, at_once: bool = False) -> str | Iterator[str]:
    """TEXT, --file or standard input; of the latter, if it shall be spoken at once, the pieces that come as long as it
    stays open. ValueError when there is none or more than one, or nothing in it.
    """
    if args.text is not None and args.file is not None:
        raise ValueError("give the text or --file, not both")
    if args.text is None and args.file is None:
        raise ValueError(
            "nothing to say: give a text in quotes, -f FILE, or - to read standard input; for instance tts-fm say "
            '"Hello."'
        )
    if args.file == "-" or (args.file is None and args.text == "-"):
        head, more = arriving(sys.stdin.buffer) if at_once else (sys.stdin.buffer.read(MOST_BYTES + 1), None)
        if more is not None:
            return more
        text, where = _decoded(head, "standard input"), "standard input"
    elif args.file is not None:
        must_be_file(args.file, "text file")
        with open(args.file, "rb") as file:
            text, where = _decoded(file.read(MOST_BYTES + 1), args.file), args.file
    else:
        text, where = args.text, "the text"
    if not text.strip():
        raise ValueError(f"nothing to say: {where} is empty")
    return text


def arriving(source: Any) -> tuple[bytes, Iterator[str] | None]:
    """All of an input that is there and ends, or None with the pieces of one whose writer takes his time."""

    def waits(seconds: float | None) -> bool:
        return not select.select([source], [], [], seconds)[0]

    try:
        source.fileno()
        waits(0)
    except (OSError, ValueError, AttributeError):  # not a pipe, or a system that cannot wait for one
        return source.read(MOST_BYTES + 1), None
    head = b""
    waits(None)
    while not waits(AT_HAND):
        piece = source.read1(MOST_BYTES + 1)
        head += piece
        if not piece or len(head) > MOST_BYTES:
            return head, None

    def pieces() -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        piece, total = head, 0
        try:
            while piece:
                total += len(piece)
                if total > MOST_BYTES:
                    raise ValueError(f"standard input has more than {MOST_BYTES:,} bytes; what came before was spoken")
                yield decoder.decode(piece)
                piece = source.read1(1 << 16)
            yield decoder.decode(b"", True)
        except UnicodeDecodeError:
            raise ValueError("standard input is not UTF-8 text; what came before was spoken") from None

    return b"", pieces()


def _decoded(data: bytes, where: str) -> str:
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"{where} has more than {MOST_BYTES >> 20} MB of text; tts-fm book makes an audiobook of such a file"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def voice_from(args: argparse.Namespace) -> str | None:
    """What names the voice: None = the default one."""
    if args.voice is not None and args.ref_audio is not None:
        raise ValueError("give --voice or --ref-audio, not both")
    if args.ref_text is not None and args.ref_audio is None:
        raise ValueError("--ref-text is what is said in the recording; give that with --ref-audio")
    if args.ref_audio is None:
        return args.voice
    must_be_file(args.ref_audio, "recording")
    return str(Path(args.ref_audio).absolute())  # a path in any case, never the name of a voice


class ProgressBar:
    """A bar on stderr, when that is a terminal and the work takes longer than PATIENCE."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def update(self, step: int, steps: int, spoken: int, chunks: int) -> None:
        """As TTS.say calls it."""
        from tqdm import tqdm

        if self.bar is None:
            look: dict[str, Any] = {
                "desc": "speaking",
                "bar_format": "{desc} {percentage:3.0f}% |{bar}| {elapsed}",
                "leave": False,
            }
            self.bar = tqdm(total=1, delay=PATIENCE, disable=True if self.quiet else None, file=sys.stderr, **look)
        self.bar.total = max(1, steps * chunks)
        self.bar.update(max(0, min(self.bar.total, spoken * steps + step) - self.bar.n))

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def unknown_symbols(speech: Any) -> dict[str, int]:
    """Symbols of the text that the model does not have -> how often."""
    counts: dict[str, int] = {}
    for chunk in speech.chunks:
        for symbol, number in chunk.unknown.items():
            counts[symbol] = counts.get(symbol, 0) + number
    return counts


def facts(speech: Any, output: Output | Heard) -> dict[str, Any]:
    """What --json prints."""
    s = speech.settings
    return {
        "file": None if output.path is None else str(output.path),
        "subtitles": None if output.extra is None else str(output.extra),
        "seconds": round(speech.seconds, 4),
        "rate": speech.rate,
        "voice": speech.voice,
        "settings": settings_facts(s),
        "compute_seconds": round(speech.compute_seconds, 4),
        "rtf": round(speech.compute_seconds / max(speech.seconds, 1e-9), 4),
        "forwards": speech.forwards,
        "chunks": [{"text": c.text, "start": round(c.start, 3), "seconds": round(c.seconds, 3)} for c in speech.chunks],
        "words": [{"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in speech.words],
        "unknown": unknown_symbols(speech),
        "warnings": list(speech.warnings),
    }


def tell(speech: Any, output: Output | Heard) -> None:
    """The summary on stderr: length, speed, seed; every warning; every symbol that was left out."""
    rtf = speech.compute_seconds / max(speech.seconds, 1e-9)
    s = speech.settings
    how = f"voice {speech.voice}, seed {s.seed}, {s.steps} {s.method} steps, cfg {s.cfg}"
    note(f"{speech.seconds:.2f} s of speech in {speech.compute_seconds:.2f} s (RTF {rtf:.2f}); {how}")
    if output.extra is not None:
        note(f"subtitles: {output.extra}")
    for warning in speech.warnings:
        note(f"warning: {warning}")
    unknown = unknown_symbols(speech)
    if unknown and not any("does not know" in w for w in speech.warnings):
        shown = ", ".join(f"{symbol!r} ({count}x)" for symbol, count in sorted(unknown.items()))
        note(f"warning: the model does not know {shown}; left out")
