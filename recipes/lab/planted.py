"""Do wrong transcripts stand out? Plants errors in a manifest, scores it with `tts-fm score`, prints areas.

    python recipes/lab/planted.py CORPUS/manifest.jsonl runs/lab/planted --clips 21

Every clip comes once with its own text and once with an error, of three kinds in turn: another clip's text, two words
swapped, the sound cut off after 70 %. The area (AUC) is the chance that a right line scores above a wrong one; 0.5 is
a guess. Half a minute of a core for a clip.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tts_fm.audio.files import load, write_audio
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.cli.main import main as tts_fm
from tts_fm.cli.score import FIGURES
from tts_fm.data.manifest import Utterance, read_manifest, write_manifest

KINDS = ("other", "swapped", "cut")


def with_error(right: Utterance, kind: str, others: Sequence[Utterance], folder: Path, rng: random.Random) -> Utterance:
    """The same line with one error in it; its id ends in the kind."""
    wrong = dataclasses.replace(right, id=f"{right.id}.{kind}")
    if kind == "other":
        near = min((u for u in others if u.id != right.id), key=lambda u: abs(len(u.text) - len(right.text)))
        return dataclasses.replace(wrong, text=near.text)
    if kind == "swapped":
        words = right.text.split()
        i = rng.randrange(len(words) - 2)
        words[i], words[i + 2] = words[i + 2], words[i]
        return dataclasses.replace(wrong, text=" ".join(words))
    wave = load(right.audio)
    wave = wave[: round(0.7 * len(wave))]
    write_audio(folder / f"{wrong.id}.wav", wave, SAMPLE_RATE)
    return dataclasses.replace(wrong, audio=f"{wrong.id}.wav", seconds=len(wave) / SAMPLE_RATE)


def area(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The chance that one of `right` is above one of `wrong`."""
    return sum((r > w) + 0.5 * (r == w) for r in right for w in wrong) / (len(right) * len(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=21)
    parser.add_argument("--steps", default="8")
    parser.add_argument("--model", help="folder (default: the built-in one)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    known = [u for u in read_manifest(args.manifest) if u.split == "valid" and 2 <= u.seconds <= 5]
    known = [u for u in known if len(u.text.split()) >= 4]
    rng = random.Random(0)
    rng.shuffle(known)
    bare: dict[str, Any] = dict(units=None, unit_frames=None, lead_frames=0.0, tail_frames=0.0)
    clips = [
        dataclasses.replace(u, audio=str(u.path(args.manifest.parent).resolve()), **bare) for u in known[: args.clips]
    ]
    lines = [dataclasses.replace(u, id=f"{u.id}.right") for u in clips]
    lines += [with_error(u, KINDS[k % 3], clips, args.out, rng) for k, u in enumerate(clips)]
    write_manifest(args.out / "manifest.jsonl", lines)
    scores = args.out / "scores.jsonl"
    model = ["--model", args.model] if args.model else []
    if code := tts_fm(["score", str(args.out / "manifest.jsonl"), "-o", str(scores), "--steps", args.steps, *model]):
        raise SystemExit(code)
    rows = [json.loads(line) for line in scores.open(encoding="utf-8")]
    for name in FIGURES:
        of = {kind: [r[name] for r in rows if r["id"].endswith("." + kind)] for kind in ("right", *KINDS)}
        areas = {kind: round(area(of["right"], of[kind]), 3) for kind in KINDS if of[kind]}
        print(name, areas, "all", round(area(of["right"], [x for kind in KINDS for x in of[kind]]), 3))


if __name__ == "__main__":
    main()
