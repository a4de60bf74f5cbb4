"""`tts-fm voices` and `tts-fm voice add|remove|list`: the named voices."""

from __future__ import annotations

import argparse
from typing import Any

from tts_fm.cli.common import must_be_file, new_verb, note, result, result_json


def add_parser(subparsers: Any) -> None:
    """The parsers of both verbs."""
    voices = new_verb(subparsers, "voices", "list the named voices")
    voices.add_argument("--json", action="store_true", help="print JSON")
    voices.set_defaults(run=run_list)
    parser = new_verb(subparsers, "voice", "add, remove or list named voices")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = new_verb(actions, "list", "list the named voices")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=run_list)
    add = new_verb(
        actions, "add", "store a recording as a voice: checked, trimmed, at an even loudness. Ask its owner first"
    )
    add.add_argument("name", metavar="NAME", help="letters, digits, - and _")
    add.add_argument("recording", metavar="FILE", help="3 to 12 s of one person speaking")
    add.add_argument("--text", "--ref-text", metavar="TEXT", help="exactly what is said in it (some models need it)")
    add.add_argument("--lang", metavar="CODE", help="accent to speak with, en-us or en-gb")
    add.add_argument("--replace", action="store_true", help="replace a voice of that name")
    add.set_defaults(run=run_add)
    remove = new_verb(actions, "remove", "delete a voice that was added")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=run_remove)


def run_list(args: argparse.Namespace) -> int:
    """Print every voice, the default first."""
    from tts_fm.voices import BUILTIN, catalogue

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "lang": entry.get("lang"),
            "about": entry.get("about"),
            "text": entry.get("text"),
            "built_in": folder == BUILTIN,
        }
        for name, (folder, entry) in catalogue().items()
    ]
    if args.json:
        result_json(rows)
        return 0
    width = max((len(row["name"]) for row in rows), default=0)
    for number, row in enumerate(rows):
        notes = [
            row["lang"] or "",
            row["about"] or "",
            "" if row["built_in"] else "added by you",
            "(default)" if number == 0 else "",
        ]
        result(f"{row['name']:{width}}  " + "  ".join(part for part in notes if part))
    if not rows and not args.quiet:
        note("there are no named voices in this install; tts-fm voice add NAME FILE stores one")
    return 0


def run_add(args: argparse.Namespace) -> int:
    """Store a voice and print its file."""
    from tts_fm.voices import BUILTIN, add_voice, catalogue, user_folder

    must_be_file(args.recording, "recording")
    if args.lang not in (None, "en-us", "en-gb"):
        raise ValueError(f"lang is {args.lang!r}; en-us and en-gb work")
    there = catalogue().get(args.name)
    if there is not None and there[0] != BUILTIN and not args.replace:
        raise ValueError(f"there is a voice {args.name!r} already; --replace replaces it")
    warnings = add_voice(args.name, args.recording, args.text, args.lang)
    result(str(user_folder() / f"{args.name}.flac"))
    if not args.quiet:
        if there is not None and there[0] == BUILTIN:
            note(f"warning: this hides the built-in voice {args.name!r} until it is removed")
        for warning in warnings:
            note(f"warning: {warning}")
        note(f'try it: tts-fm say "Hello." --voice {args.name}')
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Delete a voice of the user."""
    from tts_fm.voices import remove_voice

    remove_voice(args.name)
    if not args.quiet:
        note(f"removed {args.name}")
    return 0
