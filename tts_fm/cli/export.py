"""`tts-fm export`: a model's networks as graphs for onnxruntime."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

from tts_fm.cli.terminal import new_verb, note, result, result_json
from tts_fm.errors import MissingDependency

EXAMPLES = """examples:
  tts-fm export onnx my_model my_model --int8
  tts-fm export onnx my_aligner my_aligner
  tts-fm export onnx model_1250000.safetensors f5 --variant f5-v1 --vocab vocab.txt --vocoder vocos --int8
"""


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "export", "write a model as graphs that run without torch", epilog=EXAMPLES)
    parser.add_argument("form", choices=("onnx",), help="onnx: what the onnx engine reads")
    parser.add_argument(
        "model", metavar="MODEL", help="a model folder, an aligner's folder, or published .safetensors weights"
    )
    parser.add_argument("folder", metavar="FOLDER", help="a model folder to make or to add the graphs to")
    parser.add_argument("--int8", action="store_true", help="also a velocity with 8 bit products, about twice as fast")
    parser.add_argument("--vocoder", metavar="DIR", help="a vocoder folder, for models that come without one")
    parser.add_argument("--variant", metavar="NAME", help="for published weights: f5-v1, f5-v0 or e2")
    parser.add_argument("--vocab", metavar="FILE", help="for published weights: their vocab.txt")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, and tell how far the graphs are from the networks."""
    if find_spec("torch") is None:
        raise MissingDependency('export needs torch, which is not installed: pip install "tts-fm[export]"')
    from tts_fm.engines.export import export_onnx

    how = {name: getattr(args, name) for name in ("variant", "vocab") if getattr(args, name) is not None}
    if not args.quiet:
        note("tracing, which takes a minute or two")
    made = export_onnx(args.model, args.folder, args.int8, args.vocoder, **how)
    if args.json:
        result_json({name: made[name] for name in ("graphs", "errors", "made_with")})
        return 0
    result(args.folder)
    if not args.quiet:
        worst = "; ".join(f"{name} {error:.1e}" for name, error in sorted(made["errors"].items()))
        note(f"largest differences from the networks, relative: {worst}")
    return 0
