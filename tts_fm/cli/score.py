"""`tts-fm score`: how well each text of a manifest fits its recording, the worst first."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.cli.common import add_model_options, check_writable, load_tts
from tts_fm.cli.terminal import new_verb, note, result

if TYPE_CHECKING:
    from tts_fm.model.flow_model import FlowModel

EXAMPLES = """examples:
  tts-fm score data/mine.jsonl -o scores.jsonl           the worst line first
  tts-fm score data/mine.jsonl --by error --steps 4      quicker, sorted by the flow classifier
Every figure is that with the text minus that without it; higher is better. Exit codes: 0 all scored, 2 a fault in the
manifest, 3 some lines were left out, 4 the model's files, 5 a missing package.
"""
FIGURES = ("likelihood", "straightness", "error", "aligner")


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "score", "find wrong transcripts: how well each text fits its recording", EXAMPLES)
    parser.add_argument("manifest", metavar="MANIFEST", help="JSONL with id, audio, text, speaker, seconds")
    parser.add_argument("-o", "--out", metavar="OUT", help="JSONL for the scores (default: printed)")
    parser.add_argument("--by", choices=FIGURES, default="error", help="figure to sort by (default: error)")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="solver steps, 1 to 256 (default: 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of noise and of the divergence's estimate")
    parser.add_argument("--lang", metavar="CODE", help="accent of all lines (default: each line's own)")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score everything, sort, print or write; 3 when lines were left out."""
    from tqdm import tqdm

    from tts_fm.data.manifest import read_manifest

    source = Path(args.manifest)
    if not 1 <= args.steps <= 256:
        raise ValueError(f"--steps must be from 1 to 256, got {args.steps}")
    utterances = read_manifest(source)
    if args.out is not None:
        check_writable(Path(args.out))
    from tts_fm.data.waves import read_wave
    from tts_fm.edit.score import score
    from tts_fm.engines.align import Aligner
    from tts_fm.files import is_full, write_text

    model, aligner = torch_model(args), Aligner.load()
    rows, faults = [], 0
    for u in tqdm(utterances, unit="line", desc="scoring", disable=True if args.quiet else None, file=sys.stderr):
        try:
            found = score(model, aligner, read_wave(u.place(source.parent)), u.text, args.lang or u.lang, args.steps,
                          seed=args.seed)  # fmt: skip
        except (ValueError, OSError) as error:
            if is_full(error):
                raise
            faults += 1
            note(f"left out: {u.id}: {' '.join(str(error).split())}")
            continue
        figures = {name: round(value, 4) for name, value in dataclasses.asdict(found).items()}
        rows.append({"id": u.id, **figures, "text": u.text})
    rows.sort(key=lambda row: row[args.by])
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    if args.out is not None:
        write_text(Path(args.out), "\n".join([*lines, ""]))
        result(str(args.out))
    else:
        for line in lines:
            result(line)
    if faults:
        note(f"error: {faults} of {len(utterances)} lines were left out")
    return 3 if faults else 0


def torch_model(args: argparse.Namespace) -> FlowModel:
    """The flow model of the options, as torch computes it: gradients pass through it."""
    from tts_fm.engines.torch import TorchEngine

    args.engine = "torch"
    engine = load_tts(args).engine
    if not isinstance(engine, TorchEngine):
        raise ValueError("scoring needs the torch engine")
    return engine.model
