"""`tts-fm book`: a novel, a manual, a script or subtitles become an audiobook; see the package tts_fm.book."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.cli import common, terminal
from tts_fm.cli.adapt import add_sharpen
from tts_fm.cli.book_plan import default_voice, digest_of, make_plan
from tts_fm.text.subtitles import KINDS

if TYPE_CHECKING:
    from tts_fm.batch.journal import Record
    from tts_fm.batch.run import Progress
    from tts_fm.book.beside import Arrivals, Times
    from tts_fm.book.document import Book
    from tts_fm.book.plan import BookPlan
    from tts_fm.book.write import Ready, Written
    from tts_fm.settings import Settings

EXAMPLES = """examples:
  tts-fm book novel.epub --list                        chapters, words, minutes, and what is not spoken
  tts-fm book novel.txt -o novel.m4b                   one file with chapter marks; also .mp3, .opus
  tts-fm book novel.txt -o novel/ --chapters 1         a folder, a file a chapter; first only one, as a sample
  tts-fm book novel.epub -o novel-aloud.epub           the book itself, each word shown while it is heard
  tts-fm book play.txt -o play.m4b --cast cast.toml    "ALICE: ..." in the voices of cast.toml
  tts-fm book film.srt -o film.m4a                     dubbing: each cue begins when it should
What is spoken is kept in OUT.work: the same line goes on after a kill, and an edited paragraph is spoken alone.
Exit codes: 0 all spoken, 2 what was given is wrong, 3 some of it could not be spoken, 130 interrupted.
"""
FULL_LIST = ("list", "json", "chapters", "chapter_pattern", "speak")


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = terminal.new_verb(subparsers, "book", "turn a text file of any length into an audiobook", epilog=EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="the book: .txt, .md, .html, .epub, .srt or .vtt")
    parser.add_argument(
        "-o", "--output", "--out", metavar="OUT", help="a folder, or a file .m4b, .mp3, .opus or .epub: the suffix says"
    )
    parser.add_argument("--list", action="store_true", help="print the chapters and what is spoken, and end")
    parser.add_argument("--json", action="store_true", help="print the list, or what was done, as JSON")
    _add_reading(parser)
    _add_voices(parser)
    _add_making(parser)
    common.add_speaking_options(parser)
    common.add_model_options(parser)
    parser.set_defaults(run=run)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is read")
    group.add_argument("--chapters", metavar="N,N-N", help="only these, by their numbers in --list")
    group.add_argument(
        "--chapter-pattern", metavar="REGEX", help="what the heads of chapters look like, if they are not found"
    )
    group.add_argument(
        "--speak",
        metavar="KIND,...",
        help="speak these too: notes, contents, licence, illustrations, copyright, index, bibliography, page numbers",
    )
    group.add_argument("--pauses", metavar="KIND=S,...", help="silence in seconds, as in paragraph=0.8,chapter=2")


def _add_voices(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who reads")
    group.add_argument("--voice", metavar="NAME", help="a named voice (tts-fm voices lists them)")
    group.add_argument("-r", "--ref-audio", metavar="FILE", help="a recording to speak like. Ask its owner first")
    group.add_argument("--ref-text", metavar="TEXT", help="what is said in the recording (some models need it)")
    add_sharpen(group)
    group.add_argument("--quotes", metavar="NAME", help="a voice for quotations")
    group.add_argument("--cast", metavar="FILE", help="cast.toml: voices of a script's roles, and of chapters")
    group.add_argument("--narrator", metavar="TEXT", help="who is named as the reader (default: the voice)")


def _add_making(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how")
    group.add_argument("--subtitles", choices=KINDS, help="subtitles beside the audio (a folder has .vtt in any case)")
    group.add_argument("--acx", action="store_true", help="folder: hold the limits of audiobook shops, print figures")
    group.add_argument("--cover", metavar="FILE", help="a picture (.jpg or .png)")
    group.add_argument("--title", metavar="TEXT", help="instead of the one in the file")
    group.add_argument("--author", metavar="TEXT", help="instead of the one in the file")
    group.add_argument(
        "--verify",
        type=int,
        nargs="?",
        const=3,
        default=0,
        metavar="N",
        help="let Whisper listen, and speak what it does not hear with up to N other seeds (3)",
    )
    group.add_argument("--asr", metavar="W", help="of --verify: a folder with a Whisper, or a size such as base")
    group.add_argument("--batch", type=int, default=16, metavar="N", help="paragraphs spoken together (default: 16)")
    group.add_argument("--workers", type=int, metavar="N", help="how many share the cores (default: one a core)")
    group.add_argument("--runner", choices=("local", "ray"), default="local", help="ray: workers on a Ray cluster")


def run(args: argparse.Namespace) -> int:
    """Read the book, then list or speak it."""
    if args.output is None and not args.list:
        raise ValueError("give -o OUT (novel.m4b, a folder, novel.epub), or --list to see the chapters first")
    form = check_output(args) if args.output is not None and not args.list else ""
    book = open_book(args)
    if args.list:
        terminal.result_json(book.listing()) if args.json else show(book)
        return 0
    if book.kind in ("srt", "vtt"):
        from tts_fm.cli.dub import dub

        return dub(args, book, form)
    return speak(args, book, form)


def check_output(args: argparse.Namespace) -> str:
    """The form of the output; ValueError before any work where it cannot be written."""
    from tts_fm.book.write import form_of
    from tts_fm.cli.common import check_writable

    form = form_of(args.output)
    if args.acx and form != "folder":
        raise ValueError("--acx makes a folder with a file for each chapter; give -o a name without a suffix")
    if form != "folder":
        check_writable(Path(args.output))
    elif Path(args.output).is_file():
        raise ValueError(f"{args.output} is a file; a folder is made of it only if it is not there")
    return form


def open_book(args: argparse.Namespace) -> Book:
    """The book that the arguments ask for. ValueError for a kind that --speak does not know."""
    from tts_fm.book.document import REASONS
    from tts_fm.book.read import read_book

    wanted = {kind.strip().lower() for kind in (args.speak or "").split(",") if kind.strip()}
    if unknown := wanted - set(REASONS):
        raise ValueError(f"--speak knows no {sorted(unknown)[0]!r}; there are {', '.join(REASONS)}")
    book = read_book(Path(args.file), args.chapter_pattern)
    book.speak_also(wanted)
    book.title, book.author = args.title or book.title, args.author or book.author
    if args.cover is not None:
        book.cover = read_cover(Path(args.cover))
    return book


def read_cover(path: Path) -> tuple[bytes, str]:
    """A picture and its media type. ValueError for what is no JPEG or PNG."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read the cover {path}: {error.strerror}") from None
    media = "image/jpeg" if data[:3] == b"\xff\xd8\xff" else "image/png" if data[:8] == b"\x89PNG\r\n\x1a\n" else ""
    if not media or len(data) > 16 << 20:
        raise ValueError(f"the cover {path} must be a JPEG or PNG of up to 16 MB")
    return data, media


def show(book: Book) -> None:
    """The list for people: a line for each chapter, then what is not spoken, in words that add up."""
    from tts_fm.book.document import WORDS_A_MINUTE

    by = f" by {book.author}" if book.author else ""
    terminal.result(f"{book.title}{by} ({book.kind}{', ' + book.encoding if book.encoding else ''})")
    terminal.result(f"{'No.':>4}  {'Words':>7}  {'Minutes':>7}  Title")
    for chapter in book.chapters:
        number = "" if chapter.number is None else str(chapter.number)
        minutes = f"{chapter.spoken_words / WORDS_A_MINUTE:.1f}" if chapter.spoken else "-"
        why = "" if chapter.spoken else f"  (not spoken: {chapter.why})"
        terminal.result(f"{number:>4}  {chapter.words:>7,}  {minutes:>7}  {chapter.full_title}{why}")
    terminal.result(account_line(book))
    for line in book.notes:
        terminal.note(f"note: {line}")


def account_line(book: Book) -> str:
    """ "29,390 words: 26,389 spoken, licence 3,001" """
    account = book.account()
    spoken = account.pop("spoken", 0)
    rest = ", ".join(f"{kind} {words:,}" for kind, words in sorted(account.items()))
    return f"{book.words:,} words: {spoken:,} spoken{', ' + rest if rest else ''}"


def speak(args: argparse.Namespace, book: Book, form: str) -> int:
    """Speak what is not there yet, and write the book."""
    from tts_fm.book.beside import make_book
    from tts_fm.book.sound import need_av
    from tts_fm.book.speak import claim, failed_units, work_folder
    from tts_fm.cli.batch import share_heap
    from tts_fm.settings import Settings

    need_av()
    share_heap(args.workers)
    # nobody waits for the first words of a book: its paragraphs begin with chunks as long as any
    settings = Settings(**{"first_seconds": Settings.chunk_seconds} | common.settings_from(args))
    if settings.duration is not None:
        raise ValueError("--duration is for one text; a book is as long as it is (--speed 1.1 is shorter)")
    plan, voices = make_plan(args, book, settings)
    out = Path(args.output)
    work = work_folder(Path(os.path.normpath(out)))
    claim(work, book)
    narrator = args.narrator or str((voices.voice and Path(voices.voice).stem) or default_voice())
    progress, made, times = make_book(
        partial(speak_units, args, plan, settings, work), partial(write, args, plan, book, work, out, form, narrator)
    )
    if made is None:
        terminal.note("interrupted; run the same line again to go on")
        return 130
    failed = failed_units(plan, work)
    report(args, plan, book, made, len(failed), times, progress.seconds)
    for unit in failed[:5] if not args.quiet else ():
        terminal.note(f"not spoken: {unit.text[:60]!r} (see {work}/results.jsonl)")
    return 3 if failed else 0


def speak_units(
    args: argparse.Namespace,
    plan: BookPlan,
    settings: Settings,
    work: Path,
    arrivals: Arrivals,
    stop: threading.Event,
) -> Progress:
    """Run the batch with a progress line and signals."""
    from tts_fm.book.speak import OPTIONS, items_of, speak_book
    from tts_fm.cli.batch import catch_signals, shared_out, whisper

    items = items_of(plan.units, settings)
    options = replace(OPTIONS, batch=args.batch, verify=args.verify, engine=args.runner)
    options, load = shared_out(args, items, options)
    digest, listen = digest_of(args), partial(whisper, args.asr)
    before = catch_signals(stop, args.quiet)
    display = BookDisplay(args.quiet, plan, {item.id: item.group for item in items})

    def tell(progress: Progress, record: Record | None) -> None:
        arrivals(progress, record)
        display(progress, record)

    try:
        return speak_book(plan, settings, work, load, options, digest, tell, stop, listen)
    finally:
        display.end()
        for number, handler in before.items():
            signal.signal(number, handler)


def write(
    args: argparse.Namespace, plan: BookPlan, book: Book, work: Path, out: Path, form: str, narrator: str, ready: Ready
) -> Written:
    """Make the output from what is spoken, as it comes."""
    from tts_fm.book.write import write_folder, write_single

    if form == "folder":
        return write_folder(plan, book, work, out, narrator, args.subtitles or "vtt", args.acx, ready)
    if form == "epub":
        from tts_fm.book.overlay import write_epub

        return write_epub(plan, book, work, out, Path(args.file), narrator, ready)
    return write_single(plan, book, work, out, form, narrator, args.subtitles, ready)


def report(
    args: argparse.Namespace,
    plan: BookPlan,
    book: Book,
    made: Written,
    failed: int,
    times: Times,
    new_seconds: float,
) -> None:
    """What was done: files, minutes, words that add up."""
    from tts_fm.book.plan import words_spoken

    account = dict(sorted(book.account().items()))
    whole = sum(c.spoken_words for c in plan.chapters)
    words = words_spoken(plan.units, plan.chapters)
    facts = {
        "out": args.output, "files": [str(path) for path in made.files], "seconds": round(made.seconds, 3),
        "chapters": [{"title": m.title, "start": round(m.start, 3)} for m in made.marks], "words": book.words,
        "account": account, "words_spoken": words, "failed": failed, "speaking_seconds": round(times.speaking, 2),
        "writing_seconds": round(times.after, 2), "new_seconds": round(new_seconds, 2),
        "cpu_seconds": {"all": round(time.process_time(), 2), "writing": round(times.writing, 2)},
    }  # fmt: skip
    terminal.result_json(facts) if args.json else terminal.result(args.output)
    if args.quiet:
        return
    terminal.note(f"{made.seconds / 60:.1f} minutes in {len(plan.chapters)} chapters; {account_line(book)}")
    if words != whole:
        terminal.note(f"{whole - words:,} words of these chapters could not be spoken")
    elsewhere = account.get("spoken", 0) - whole
    if elsewhere:
        terminal.note(f"{words:,} words in the chapters that were asked for, {elsewhere:,} in the others")
    if new_seconds:
        faster = new_seconds / max(times.speaking + times.after, 1e-9)
        after = f"spoken in {times.speaking:.0f} s, written {times.after:.0f} s later"
        terminal.note(f"{after}: {faster:.1f} times faster than listening")
    for line in [*made.figures, *(f"note: {line}" for line in book.notes)]:
        terminal.note(line)


class BookDisplay:
    """The progress line: chapter, minutes done of minutes, how much faster than listening, time left."""

    def __init__(self, quiet: bool, plan: BookPlan, groups: dict[str, int]) -> None:
        from tts_fm.cli.batch import Display

        self.inner, self.plan, self.groups = Display(quiet), plan, groups
        self.chapter = 0

    def __call__(self, progress: Any, record: Any) -> None:
        if record is not None:
            self.chapter = max(self.chapter, self.groups.get(record["id"], 0))
        if progress.cost:
            self.inner(BookLine(progress, self.plan, self.chapter), record)

    def end(self) -> None:
        """Leave the last line standing."""
        self.inner.end()


class BookLine:
    """What Display shows of a Progress, for a book."""

    def __init__(self, progress: Any, plan: BookPlan, chapter: int) -> None:
        self.progress, self.plan, self.chapter = progress, plan, chapter

    def line(self) -> str:
        """One line."""
        p = self.progress
        passed, done = p.elapsed, p.seconds
        share = p.cost_done / p.cost if p.cost else 1.0
        whole = done / share if share and done else p.cost
        speed = f", {done / passed:.1f} times faster than listening" if done and passed else ""
        left = f", {passed / share * (1 - share) / 60:.1f} min left" if 0 < share < 1 else ""
        title = self.plan.chapters[self.chapter].title[:40]
        chapters = f"chapter {self.chapter + 1} of {len(self.plan.chapters)} ({title})"
        failed = f", {p.failed} failed" if p.failed else ""
        return f"{chapters}, {done / 60:.1f} of {whole / 60:.1f} min{failed}{speed}{left}"
