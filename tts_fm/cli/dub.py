"""`tts-fm book film.srt -o film.m4a`: subtitles are spoken at their times."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tts_fm.cli.adapt import sharper
from tts_fm.cli.common import settings_from
from tts_fm.cli.terminal import note, result, result_json

if TYPE_CHECKING:
    from tts_fm.batch.lists import Item
    from tts_fm.book.document import Book


def dub(args: argparse.Namespace, book: Book, form: str) -> int:
    """Speak the cues and write one file."""
    from tts_fm.book.dubbing import blocks, fit, misfits
    from tts_fm.book.sound import SoundFile, need_av
    from tts_fm.book.speak import claim, work_folder
    from tts_fm.book.write import tags_of
    from tts_fm.cli.book_plan import default_voice, make_plan
    from tts_fm.settings import Settings

    if form in ("folder", "epub"):
        raise ValueError("subtitles become one sound: -o film.m4a, .mp3 or .opus")
    need_av()
    settings = Settings(**settings_from(args))
    named = {p.voice for p in book.paragraphs() if p.voice}
    stored = {name: sharper(args, voice, None)[0] for name, voice in _voices(named, args).items()}
    for chapter in book.chapters:
        chapter.paragraphs = [replace(p, voice=stored.get(p.voice or "")) for p in chapter.paragraphs]
    plan, voices = make_plan(args, book, settings)
    out = Path(args.output)
    work = work_folder(out)
    claim(work, book)
    placed = fit(plan.units, settings, work, partial(_speak, args, settings, work))
    if placed and not any(cue.seconds for cue in placed):
        raise ValueError(f"none of the {len(placed)} cues could be spoken; {work}/results.jsonl has the reasons")
    with SoundFile(out, form) as file:
        for block in blocks(placed, work):
            file.write(block)
        seconds, file.tags = file.seconds, tags_of(book, args.narrator or voices.voice or default_voice())
    late = misfits(placed, note if not args.quiet else lambda line: None)
    failed = sum(cue.seconds == 0 for cue in placed)
    fastest = max((cue.speed / settings.speed for cue in placed), default=1.0)
    if args.json:
        result_json(
            {
                "out": args.output, "seconds": round(seconds, 3), "late": late, "failed": failed,
                "cues": [
                    {"text": c.unit.text, "start": round(c.start, 3), "seconds": round(c.seconds, 3), "speed": c.speed,
                     "late": round(c.late, 3)}
                    for c in placed
                ],
            }
        )  # fmt: skip
    else:
        result(args.output)
    if not args.quiet:
        how = f"{late} begin late; pace up to {fastest:.2f} times the usual"
        note(f"{len(placed)} cues, {seconds / 60:.1f} minutes; {how}")
    return 3 if failed else 0


def _voices(named: set[str], args: argparse.Namespace) -> dict[str, str]:
    """The stored voice of each name in the subtitles: of the cast, or of that very name; others are the narrator's."""
    from tts_fm.book.scripts import Cast, read_cast
    from tts_fm.voices.stored import catalogue

    cast = read_cast(Path(args.cast)) if args.cast else Cast()
    known = {name.lower(): name for name in catalogue()}
    found = {name: cast.roles.get(name.lower()) or known.get(name.lower()) for name in named}
    args.cast = None  # these are no lines of a script
    return {name: voice for name, voice in found.items() if voice}


def _speak(args: argparse.Namespace, settings: object, work: Path, items: Sequence[Item]) -> None:
    from tts_fm.batch.run import run_batch
    from tts_fm.book.speak import OPTIONS
    from tts_fm.cli.batch import Display, catch_signals, shared_out, whisper
    from tts_fm.cli.book_plan import digest_of

    stop = threading.Event()
    before = catch_signals(stop, args.quiet)
    display = Display(args.quiet)
    options = replace(OPTIONS, batch=args.batch, verify=args.verify, engine=args.runner)
    options, load = shared_out(args, items, options)
    try:
        progress = run_batch(items, work, load, options, digest_of(args), display, stop, partial(whisper, args.asr))
    finally:
        display.end()
        for number, handler in before.items():
            signal.signal(number, handler)
    if progress.interrupted:
        raise KeyboardInterrupt
