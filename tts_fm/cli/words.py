"""`tts-fm words`: the names and odd words of a book, as a lexicon to edit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tts_fm.cli.terminal import new_verb, note, result, result_json

EXAMPLES = """examples:
  tts-fm words novel.txt -o words.tsv      then correct the phones, take the # away, and
  tts-fm book novel.txt -o novel.m4b --lexicon words.tsv
"""
HEAD = (
    "# The names and odd words of {title}: word, phones, how often, where first.\n"
    "# Take the # away from a line to make it count; write /phones/ in IPA, or a respelling without slashes.\n"
)


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "words", "list the names and odd words of a book, as a lexicon to edit", EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="the book, as tts-fm book takes it")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the lexicon there (default: print it)")
    parser.add_argument("--min", type=int, default=1, metavar="N", help="only words that come so often (default: 1)")
    parser.add_argument("--lang", default="en-us", metavar="CODE", help="accent of the phones (default: en-us)")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the book, find the words, ask espeak how it says them."""
    from tts_fm.book.read import read_book
    from tts_fm.book.words import noted_words
    from tts_fm.files import write_text
    from tts_fm.text.phonemes import phoneme_units_many

    book = read_book(Path(args.file))
    words = [word for word in noted_words(book) if word.count >= args.min]
    phones = ["".join(units) for units in phoneme_units_many([word.word for word in words], args.lang)]
    if args.json:
        result_json(
            [
                {"word": w.word, "kind": w.kind, "count": w.count, "phones": said, "place": w.place}
                for w, said in zip(words, phones, strict=True)
            ]
        )
        return 0
    lines = [f"#{w.word}\t/{said}/\t{w.count}\t{w.place}" for w, said in zip(words, phones, strict=True)]
    text = HEAD.format(title=book.title) + "\n".join(lines) + "\n"
    if args.output is None:
        result(text.rstrip("\n"))
    else:
        write_text(args.output, text)
        result(args.output)
    names = sum(word.kind == "name" for word in words)
    if not args.quiet:
        note(f"{names} names and {len(words) - names} odd words")
    return 0
