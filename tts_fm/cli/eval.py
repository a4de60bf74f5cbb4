"""`tts-fm eval`: speak a list of sentences and measure them (evaluate.py)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tts_fm.cli.adapt import add_sharpen, sharper
from tts_fm.cli.common import add_model_options, add_speaking_options, check_writable, load_tts, settings_from
from tts_fm.cli.terminal import new_verb, note, result, result_json

EXAMPLES = """A line of LIST is {"id": ..., "text": ..., "ref_audio": ..., "ref_text": ...}; paths relative to the list,
ref_text optional.
The packages come with pip install "tts-fm[eval]".
"""


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(
        subparsers, "eval", "measure a voice on a list: WER, similarity, DNSMOS, real-time factor", epilog=EXAMPLES
    )
    parser.add_argument("list", metavar="LIST", help="JSONL file")
    parser.add_argument("-o", "--output", "--out", metavar="FILE", help="also write everything, item by item, as JSON")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    parser.add_argument(
        "--asr", metavar="W", help="what transcribes: a folder with a Whisper for CTranslate2, or a size such as base"
    )
    parser.add_argument(
        "--measures", default="wer,sim,dnsmos", metavar="A,B", help="which of wer, sim, dnsmos (default: all)"
    )
    parser.add_argument("--audio", metavar="DIR", help="keep the waves there")
    parser.add_argument(
        "--no-ref-text", action="store_true", help="do not tell the model the transcripts of the prompts"
    )
    add_sharpen(parser)
    add_speaking_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the list and the settings, load, speak, measure, print; 3 when items failed."""
    from tts_fm.evaluate.lists import read_eval_list
    from tts_fm.evaluate.report import SpeakWith, evaluate
    from tts_fm.voices.stored import get_voice

    items = read_eval_list(args.list)
    overrides = settings_from(args)
    if args.output is not None:
        check_writable(Path(args.output))
    named = {item.ref_audio: (str(item.ref_audio), None if args.no_ref_text else item.ref_text) for item in items}
    voices = None
    if args.sharpen:
        counted = enumerate(named.items(), 1)
        voices = {path: get_voice(*sharper(args, *each, number, len(named))) for number, (path, each) in counted}
    tts = load_tts(args)

    from tqdm import tqdm

    with tqdm(
        total=len(items), unit="item", desc="evaluating", disable=True if args.quiet else None, file=sys.stderr
    ) as bar:
        report = evaluate(
            items,
            SpeakWith(tts, ref_text=not args.no_ref_text, voices=voices, **overrides),
            args.asr,
            args.output,
            measures=[m.strip() for m in args.measures.split(",") if m.strip()],
            about={"list": str(args.list), "model": str(args.model or "built-in")}
            | ({"sharpened": True} if args.sharpen else {}),
            audio=args.audio,
            on_item=lambda done, total, item: bar.update(done - bar.n),
        )
    if args.json:
        result_json(report.to_dict())
    else:
        result(report.table())
    if report.overall.failed:
        note(f"error: {report.overall.failed} of {report.overall.items} items failed")
        return 3
    return 0
