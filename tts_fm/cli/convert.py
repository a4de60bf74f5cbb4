"""`tts-fm convert`: published pickles become safetensors, read with weights_only, so that nothing in them runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tts_fm.cli.common import check_writable
from tts_fm.cli.terminal import new_verb, note, result

EXAMPLES = """examples:
  tts-fm convert model_1250000.pt f5.safetensors
  tts-fm convert --vocoder vocos-mel-24khz/pytorch_model.bin my-model/vocoder
"""


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "convert", "turn published .pt or vocoder weights into safetensors", epilog=EXAMPLES)
    parser.add_argument(
        "source",
        metavar="IN",
        help="an F5-TTS or E2-TTS .pt (its averaged weights are kept): path or hf://owner/repo/file",
    )
    parser.add_argument("target", metavar="OUT", help="the .safetensors file to write; with --vocoder, a folder")
    parser.add_argument("--vocoder", action="store_true", help="IN is the pytorch_model.bin of vocos-mel-24khz")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert and print the path of the result."""
    from tts_fm.checkpoint.fetch import resolve

    target = Path(args.target)
    source = resolve(args.source)
    if not args.vocoder and target.suffix != ".safetensors":
        raise ValueError(f"OUT must end in .safetensors, got {target}; with --vocoder it is a folder")
    there = target / "vocoder.safetensors" if args.vocoder else target
    if there.exists() and not args.overwrite:
        raise ValueError(f"{there} exists; --overwrite replaces it")
    if args.vocoder:
        from tts_fm.model.vocoder import convert_vocos

        if target.exists() and not target.is_dir():
            raise ValueError(f"{target} is a file; with --vocoder, OUT is a folder")
        written = convert_vocos(source, target)
    else:
        from tts_fm.checkpoint.load import convert_pt

        check_writable(target)
        written = convert_pt(source, target)
    result(str(written))
    if not args.quiet and not args.vocoder:
        note(
            f'try it: tts-fm say "Hello." --model {written} --variant f5-v1 --vocab vocab.txt --ref-audio ... '
            "--ref-text ..."
        )
    return 0
