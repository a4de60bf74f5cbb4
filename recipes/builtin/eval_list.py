"""An evaluation list of the clips that were held back, and its prompts, for `tts-fm eval`.

    python recipes/builtin/eval_list.py runs/builtin/cache runs/builtin/list

Each text of a voice that was not trained on is to be spoken after another clip of that voice; where no such voice has
two clips, after one of the voices that are shipped.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import VOICES, best_clip, clips_of, write_clip

from tts_fm import files

PROMPT = 1.5  # seconds that a prompt has at least, if there is such a one


def pairs_of(rows: Sequence[dict[str, Any]], items: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(what is said, its prompt) of up to so many clips, the voices by turns. ValueError where there is nothing."""
    voices, shipped = defaultdict(list), [row for row in rows if row["speaker"] in VOICES.values()]
    for row in rows:
        if row["split"] == "valid":
            voices[row["speaker"]].append(row)
    if not voices:
        raise ValueError("the cache has no clip of the split valid")
    found = []
    for its in voices.values():
        for number, row in enumerate(its):
            others = its[number + 1 :] + its[:number]
            longer = [other for other in others if other["seconds"] >= PROMPT]
            if prompts := longer or others:
                found.append((number, row, prompts[0]))
    if not found and shipped:
        prompt = best_clip(shipped)
        found = [(number, row, prompt) for its in voices.values() for number, row in enumerate(its)]
    if not found:
        raise ValueError("no voice of the split valid has two clips, and none of the shipped voices is there")
    found.sort(key=lambda pair: pair[0])
    return [(row, prompt) for _, row, prompt in found[:items]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path, help="folder for list.jsonl and the prompts")
    parser.add_argument("--items", type=int, default=64)
    args = parser.parse_args(argv)
    lines = []
    args.out.mkdir(parents=True, exist_ok=True)
    for row, prompt in pairs_of(clips_of(args.cache), args.items):
        name = f"{prompt['id']}.flac"
        if not (args.out / name).exists():
            write_clip(args.cache, prompt, args.out / name)
        item = {"id": row["id"], "text": row["text"], "ref_audio": name, "ref_text": prompt["text"]}
        lines.append(json.dumps(item, ensure_ascii=False) + "\n")
    files.write_text(args.out / "list.jsonl", "".join(lines))


if __name__ == "__main__":
    main()
