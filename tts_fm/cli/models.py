"""`tts-fm models`: what can be spoken with, built in or downloaded; and `tts-fm version`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tts_fm import __version__
from tts_fm.cli.terminal import new_verb, note, result, result_json

ASSETS = Path(__file__).parents[1] / "assets"


def add_parser(subparsers: Any) -> None:
    """The parsers of both verbs."""
    parser = new_verb(subparsers, "models", "list the built-in and the downloaded models")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    new_verb(subparsers, "version", "print the version").set_defaults(run=run_version)


def run_version(args: argparse.Namespace) -> int:
    """Print the version."""
    result(f"tts-fm {__version__}")
    return 0


def run(args: argparse.Namespace) -> int:
    """Print a line for each model: what to give --model, its kind and size."""
    from tts_fm.checkpoint.names import cache_dir

    rows = built_in(ASSETS) + cached(cache_dir())
    if args.json:
        result_json(rows)
        return 0
    for row in rows:
        result(f"{row['name']}  {row['kind']}, {row['bytes'] / 1e6:.1f} MB")
    if not args.quiet:
        note(f"downloads are kept in {cache_dir()}" + ("" if rows else "; this install has no built-in model"))
    return 0


def built_in(assets: Path) -> list[dict[str, Any]]:
    """Model folders within the package's assets, and the parts within those."""
    rows = []
    for config in sorted(assets.rglob("config.json")):
        if (config.parent / "model.safetensors").is_file():
            inner = config.parent.relative_to(assets)
            rows.append(
                {
                    "name": str(inner),
                    "kind": kind_of(config),
                    "bytes": size_of(config.parent),
                    "path": str(config.parent),
                }
            )
    return rows


def cached(cache: Path) -> list[dict[str, Any]]:
    """Weights in the cache of downloads, by the name that --model takes where that is known."""
    rows = []
    files = (p for p in cache.rglob("*") if p.suffix in (".safetensors", ".pt", ".bin") and p.is_file())
    for path in sorted(files):
        inner = path.relative_to(cache).parts
        name = (
            f"hf://{inner[1]}/{inner[2]}@{inner[3]}/{'/'.join(inner[4:])}"
            if inner[0] == "hf" and len(inner) > 4
            else str(path)
        )
        config = path.with_name("config.json")
        kind = kind_of(config) if config.is_file() else path.suffix[1:]
        rows.append({"name": name, "kind": kind, "bytes": path.stat().st_size, "path": str(path)})
    return rows


def kind_of(config: Path) -> str:
    """A few words on a model from its config.json."""
    try:
        values = json.loads(config.read_text("utf-8"))
        model = values.get("model")
        if isinstance(model, dict) and "backbone" in model:
            return f"{model['backbone']} {model.get('dim')} x {model.get('depth')}, {model.get('text')} text"
        return str(values.get("kind") or values.get("name") or config.parent.name)
    except (OSError, ValueError, AttributeError):
        return "unreadable config.json"


def size_of(folder: Path) -> int:
    """Bytes of the files directly in a folder."""
    return sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
