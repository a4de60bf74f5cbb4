"""`tts-fm book`: a novel, a manual, a script or subtitles become an audiobook; see the package tts_fm.book."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.cli.common import new_verb, note, result, result_json

if TYPE_CHECKING:
    from tts_fm.book.document import Book

EXAMPLES = """examples:
  tts-fm book novel.epub --list                        chapters, words, minutes, and what is not spoken
  tts-fm book novel.txt --list --json | jq .chapters
"""


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "book", "turn a text file of any length into an audiobook", epilog=EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="the book: .txt, .md, .html, .epub, .srt or .vtt")
    parser.add_argument("--list", action="store_true", help="print the chapters and what is spoken, and end")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the book, then list or speak it."""
    book = open_book(args)
    if args.list:
        result_json(book.listing()) if args.json else show(book)
        return 0
    raise ValueError("give --list")


def open_book(args: argparse.Namespace) -> Book:
    """The book that the arguments ask for. ValueError for a kind that --speak does not know."""
    from tts_fm.book.document import REASONS
    from tts_fm.book.read import read_book

    wanted = {kind.strip().lower() for kind in (args.speak or "").split(",") if kind.strip()}
    if unknown := wanted - set(REASONS):
        raise ValueError(f"--speak knows no {sorted(unknown)[0]!r}; there are {', '.join(REASONS)}")
    book = read_book(Path(args.file), args.chapter_pattern)
    book.speak_also(wanted)
    return book


def show(book: Book) -> None:
    """The list for people: a line for each chapter, then what is not spoken, in words that add up."""
    from tts_fm.book.document import WORDS_A_MINUTE

    by = f" by {book.author}" if book.author else ""
    result(f"{book.title}{by} ({book.kind}{', ' + book.encoding if book.encoding else ''})")
    result(f"{'No.':>4}  {'Words':>7}  {'Minutes':>7}  Title")
    for chapter in book.chapters:
        number = "" if chapter.number is None else str(chapter.number)
        minutes = f"{chapter.spoken_words / WORDS_A_MINUTE:.1f}" if chapter.spoken else "-"
        why = "" if chapter.spoken else f"  (not spoken: {chapter.why})"
        result(f"{number:>4}  {chapter.words:>7,}  {minutes:>7}  {chapter.full_title}{why}")
    account = book.account()
    spoken = account.pop("spoken", 0)
    rest = ", ".join(f"{kind} {words:,}" for kind, words in sorted(account.items()))
    result(f"{book.words:,} words: {spoken:,} spoken{', ' + rest if rest else ''}")
    for line in book.notes:
        note(f"note: {line}")
