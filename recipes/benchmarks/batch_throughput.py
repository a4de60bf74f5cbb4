"""How much `tts-fm batch` gains: seconds of audio made in a second, one by one with `say`, in exact batches, and with
worker processes.

    python recipes/benchmarks/batch_throughput.py [--items 64] [--batch 8] [--workers 2] [--threads 2] [--commands 3]
      [--steps N]

All ways speak the same sentences with the same voice, seeds and steps, in one run, and write files. `commands` starts
`tts-fm say` anew for every sentence, as a shell loop would (measured on a few of them). Model loading is timed apart,
but for `commands` and `workers`, where it is part of what one waits for. The largest difference of samples between the
ways is printed too. Run it with nothing else running.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm.audio.files import read_audio
from tts_fm.batch.lists import Item, read_list
from tts_fm.batch.plan import model_digest
from tts_fm.batch.rounds import Options
from tts_fm.batch.run import run_batch
from tts_fm.errors import TtsFmError
from tts_fm.evaluate.report import hardware
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS

SUBJECTS = (
    "The old man",
    "A small boat",
    "Her brother",
    "The quiet street",
    "Every child",
    "The last train",
    "My neighbour",
    "That box",
)
VERBS = ("came back", "was seen", "stood still", "went missing", "looked different", "made a sound")
ENDS = (
    ".",
    " before the sun rose.",
    " when nobody was there.",
    " and then, after a while, the rain began to fall.",
    " across the lake.",
)


def sentences(count: int) -> list[str]:
    """Sentences of three to fourteen words, all different up to 240."""
    return [f"{SUBJECTS[k % 8]} {VERBS[k // 8 % 6]}{ENDS[(k + k // 48) % 5]}" for k in range(count)]


def one_by_one(tts: TTS, items: list[Item], out: Path) -> None:
    out.mkdir()
    for item in items:
        tts.say(item.parts[0].text, item.parts[0].voice, settings=item.settings).save(out / f"{item.id}.wav")


def commands(items: list[Item], out: Path, model: str | None) -> None:
    out.mkdir()
    for item in items:
        line = [sys.executable, "-m", "tts_fm", "say", item.parts[0].text, "-q", "-o", str(out / f"{item.id}.wav")]
        line += ["--model", model] if model else []
        line += ["--steps", str(item.settings.steps)] if item.settings.steps is not None else []
        line += ["--voice", item.parts[0].voice] if item.parts[0].voice else []
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def audio_seconds(out: Path) -> float:
    return sum(len(wave) / rate for wave, rate in (read_audio(path) for path in out.glob("*.wav")))


def difference(one: Path, other: Path) -> float:
    """Largest difference of samples between two folders with the same items; infinite where a length differs."""
    worst = 0.0
    for path in one.glob("*.wav"):
        a, b = read_audio(path)[0], read_audio(other / path.name)[0]
        worst = max(worst, float(np.abs(a - b).max()) if len(a) == len(b) else float("inf"))
    return worst


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(args.threads)
    (folder / "list.txt").write_text("\n".join(sentences(args.items)))
    items = read_list(folder / "list.txt", settings=Settings(steps=args.steps), voice=args.voice).items
    load, digest = partial(TTS.load, args.model), model_digest(args.model)
    began = time.perf_counter()
    tts = load()
    report: dict[str, Any] = {"hardware": hardware(), "threads": args.threads, "items": args.items}
    report["load seconds"] = time.perf_counter() - began
    tts.say("Warm up, please.", items[0].parts[0].voice)
    alone = Options(batch=args.batch)
    ways = {
        "say": lambda out: one_by_one(tts, items, out),
        f"batch {args.batch}": lambda out: run_batch(items, out, lambda: tts, alone, digest),
        f"batch {args.batch}, {args.workers} workers": lambda out: run_batch(
            items, out, load, replace(alone, workers=args.workers), digest
        ),
        "commands": lambda out: commands(items[: args.commands], out, args.model),
    }
    report["ways"] = {}
    for number, (name, way) in enumerate(ways.items()):
        if (name == "commands" and not args.commands) or ("workers" in name and args.workers < 2):
            continue
        out = folder / str(number)
        began = time.perf_counter()
        way(out)
        seconds, spoken = time.perf_counter() - began, audio_seconds(out)
        row = {
            "audio seconds": spoken,
            "seconds": seconds,
            "audio per second": spoken / seconds,
            "rtf": seconds / spoken,
        }
        first = report["ways"].setdefault("say", row)
        row["times say"] = row["audio per second"] / first["audio per second"]
        report["ways"][name] = row
        if number and name != "commands":
            row["largest difference to say"] = difference(folder / "0", out)
    return report


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model folder (default: the built-in one)")
    parser.add_argument("--voice", help="voice name or recording (default: the first)")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="processes of the third way; below 2 leaves it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--commands", type=int, default=3, help="sentences that `tts-fm say` is started for; 0 leaves it out"
    )
    parser.add_argument("--steps", type=int, help="of the solver (default: the model's)")
    parser.add_argument("--json", action="store_true")
    args = parsed(parser)
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = measure(args, Path(folder))
    except (TtsFmError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    print(
        f"{report['hardware']}; {args.threads} threads, {args.items} items; the model loads in "
        f"{report['load seconds']:.1f} s"
    )
    for name, row in report["ways"].items():
        same = (
            f"; differs from say by {row['largest difference to say']:.1e} at most"
            if "largest difference to say" in row
            else ""
        )
        print(
            f"{name:<24}{row['audio per second']:7.1f} s of audio a second (RTF {row['rtf']:.3f}), "
            f"{row['times say']:.2f} x say{same}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
