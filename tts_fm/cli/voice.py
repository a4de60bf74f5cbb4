"""`tts-fm voices` and `tts-fm voice add|remove|pack|list`: the named voices."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from tts_fm.cli.common import must_be_file
from tts_fm.cli.terminal import new_verb, note, result, result_json


def add_parser(subparsers: Any) -> None:
    """The parsers of both verbs."""
    voices = new_verb(subparsers, "voices", "list the named voices")
    voices.add_argument("--json", action="store_true", help="print JSON")
    voices.set_defaults(run=run_list)
    parser = new_verb(subparsers, "voice", "add, remove, pack or list named voices")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = new_verb(actions, "list", "list the named voices")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=run_list)
    add = new_verb(
        actions, "add", "store a recording as a voice: checked, trimmed, at an even loudness. Ask its owner first"
    )
    add.add_argument("name", metavar="NAME", help="letters, digits, - and _")
    add.add_argument(
        "recording",
        metavar="FILE",
        nargs="?",
        help="3 to 12 s of one person speaking, or the folder or zip of an adapted voice",
    )
    add.add_argument("--ref-audio", metavar="FILE", help="the same as FILE")
    add.add_argument(
        "--sharpen",
        action="store_true",
        help="learn the voice from the recording, half a minute: closer than cloning",
    )
    add.add_argument("--minutes", type=float, metavar="M", help="of that learning (default: by the amount of sound)")
    add.add_argument(
        "--no-prompt", action="store_true", help="an adapted voice speaks without its prompt, at half the cost"
    )
    add.add_argument("--text", "--ref-text", metavar="TEXT", help="exactly what is said in it (some models need it)")
    add.add_argument("--lang", metavar="CODE", help="accent to speak with, en-us or en-gb")
    add.add_argument("--replace", action="store_true", help="replace a voice of that name")
    add.set_defaults(run=run_add)
    pack = new_verb(actions, "pack", "put an adapted voice into one zip, to give it away")
    pack.add_argument("voice", metavar="VOICE", help="name of a stored voice, or a voice's folder")
    pack.add_argument("zip", metavar="ZIP", help="the file to write")
    pack.set_defaults(run=run_pack)
    remove = new_verb(actions, "remove", "delete a voice that was added")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=run_remove)


def run_list(args: argparse.Namespace) -> int:
    """Print every voice, the default first."""
    from tts_fm.voices.stored import BUILTIN, catalogue

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
    from tts_fm.engines.attune import of_other_words
    from tts_fm.engines.phones import heard
    from tts_fm.voices.adapters import is_voice
    from tts_fm.voices.stored import BUILTIN, add_adapted, add_voice, catalogue, get_voice, user_folder

    if (args.recording is None) == (args.ref_audio is None):
        raise ValueError("give one recording: tts-fm voice add NAME FILE")
    args.recording = args.recording or args.ref_audio
    adapted = is_voice(args.recording)
    if not adapted:
        must_be_file(args.recording, "recording")
    if adapted and (args.sharpen or args.text or args.lang):
        raise ValueError(f"{args.recording} is an adapted voice already: leave out --sharpen, --text and --lang")
    if (args.no_prompt and not (adapted or args.sharpen)) or (args.minutes is not None and not args.sharpen):
        raise ValueError("--no-prompt is for adapted voices and --sharpen, --minutes for --sharpen")
    if args.lang not in (None, "en-us", "en-gb"):
        raise ValueError(f"lang is {args.lang!r}; en-us and en-gb work")
    there = catalogue().get(args.name)
    if there is not None and there[0] != BUILTIN and not args.replace:
        raise ValueError(f"there is a voice {args.name!r} already; --replace replaces it")
    warnings: list[str] = []
    if adapted:
        add_adapted(args.name, args.recording, False if args.no_prompt else None)
    else:
        warnings = add_voice(args.name, args.recording, args.text, args.lang)
        voice = get_voice(args.name)
        warnings = [*heard(replace(voice, recorded=True)).warnings, *warnings, *of_other_words(voice)]
    result(str(user_folder() / f"{args.name}.flac"))
    if not args.quiet:
        if there is not None and there[0] == BUILTIN:
            note(f"warning: this hides the built-in voice {args.name!r} until it is removed")
        for warning in warnings:
            note(f"warning: {warning}")
    if args.sharpen:
        sharpened(args)
    if not args.quiet:
        note(f'try it: tts-fm say "Hello." --voice {args.name}')
    return 0


def sharpened(args: argparse.Namespace) -> None:
    """Learn the stored voice from its own recording; until that is done it speaks as it is."""
    from tts_fm.cli.adapt import Bar, alike
    from tts_fm.train.sharpen import sharpen

    with Bar(args.quiet) as bar:
        info = sharpen(args.name, args.minutes, bar.update, prompted=not args.no_prompt)
    if not args.quiet:
        note(f"sharpened in {info['training_seconds']} s{alike(info['figures'])}")


def run_pack(args: argparse.Namespace) -> int:
    """Write the zip and print its name."""
    from tts_fm.cli.common import check_writable
    from tts_fm.voices.adapters import is_voice, pack
    from tts_fm.voices.stored import catalogue

    known = catalogue().get(args.voice)
    place = Path(args.voice) if known is None else known[0] / args.voice
    if not place.is_dir() or not is_voice(place):
        raise ValueError(f"{args.voice} is no adapted voice; tts-fm adapt makes one")
    if Path(args.zip).suffix.lower() != ".zip":
        raise ValueError(f"the file must end in .zip, got {args.zip}")
    check_writable(Path(args.zip))
    result(str(pack(place, args.zip)))
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Delete a voice of the user."""
    from tts_fm.voices.stored import remove_voice

    remove_voice(args.name)
    if not args.quiet:
        note(f"removed {args.name}")
    return 0
