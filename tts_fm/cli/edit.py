"""`tts-fm edit`: other words in a recording, in its own voice; the rest of it stays as it is."""

from __future__ import annotations

import argparse
from typing import Any

from tts_fm.cli import common, terminal
from tts_fm.cli.say import ProgressBar

EXAMPLES = """examples:
  tts-fm edit talk.wav --text "We meet on Monday at noon." --new "We meet on Friday at noon." -o talk2.wav
  tts-fm edit talk.wav --text "It was, um, very good." --new "It was very good." -o clean.wav
"""


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = terminal.new_verb(subparsers, "edit", "change words in a recording", epilog=EXAMPLES)
    parser.add_argument("recording", metavar="REC", help="up to 30 s of one person speaking. Ask its owner first")
    parser.add_argument("--text", required=True, metavar="OLD", help="exactly what is said in it")
    parser.add_argument(
        "--new", required=True, metavar="NEW", help="what it shall say; only the words that differ are spoken anew"
    )
    parser.add_argument(
        "-o",
        "--output",
        "--out",
        default="edited.wav",
        metavar="FILE",
        help="- for standard output (default: edited.wav)",
    )
    parser.add_argument(
        "--format", choices=common.OUTPUT_FORMATS, help="default: by the suffix of the output, wav for standard output"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON, instead of the path")
    parser.add_argument(
        "--aligner", metavar="FOLDER", help="what finds the words in the recording (default: the built-in one)"
    )
    common.add_speaking_options(parser, "edit")
    common.add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked without the models, then load them and edit."""
    common.must_be_file(args.recording, "recording")
    overrides = common.settings_from(args)
    output = common.Output(args.output, args.format)
    if args.json and output.path is None:
        raise ValueError("--json and -o - both want standard output; give -o a file name")

    from tts_fm.edit.change import LONGEST, edit
    from tts_fm.edit.recording import Recording
    from tts_fm.settings import Settings

    recording = Recording.load(args.recording, LONGEST)
    from tts_fm.engines.align import Aligner

    aligner, tts = Aligner.load(args.aligner), common.load_tts(args)
    with ProgressBar(args.quiet) as bar:
        edited = edit(
            tts, recording, args.text, args.new, aligner=aligner, settings=Settings(**overrides), on_progress=bar.update
        )
    output.write(edited)
    if args.json:
        terminal.result_json(facts(edited, output))
    elif output.path is not None:
        terminal.result(str(output.path))
    if not args.quiet:
        for span in edited.spans:
            terminal.note(f"{span.start:.2f} to {span.end:.2f} s: {span.old!r} is now {span.new!r}")
        for warning in edited.warnings:
            terminal.note(f"warning: {warning}")
    return 0


def facts(edited: Any, output: common.Output) -> dict[str, Any]:
    """What --json prints."""
    return {
        "file": str(output.path),
        "seconds": round(edited.seconds, 4),
        "rate": edited.rate,
        "settings": common.settings_facts(edited.settings),
        "compute_seconds": round(edited.compute_seconds, 4),
        "changes": [vars(span) for span in edited.spans],
        "words": [vars(word) for word in edited.words],
        "warnings": edited.warnings,
    }
