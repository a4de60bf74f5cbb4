"""`tts-fm batch` under kill -9: lists of every form are spoken, killed at random moments, restarted, split into shards,
batched otherwise.

    python recipes/benchmarks/batch_show.py [--lines 200] [--steps 2] [--kills 3] [--seed N] [--keep DIR] [--model M]

The folder of a run that was killed and restarted must end bit for bit as that of an unbroken run (in results.jsonl all
but `rtf`, which is a measurement), with no .part left; so must --shard 0/2 and 1/2; another --batch size may differ by
TOLERANCE, and how many files differ at all is printed. Every run is the command itself, called for list after list in a
process that loads the model once. Exit code 1 where something is not as it must be. Some five minutes on two quiet
cores. `--seed` repeats a run's moments of killing, as far as timing allows.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm import files
from tts_fm.audio.files import read_audio, write_audio

TOLERANCE = 4  # steps of 16 bit audio (1.2e-4) between two batch sizes
FORMATS = {"txt": "wav", "jsonl": "flac", "tsv": "mp3", "lst": "wav", "ljspeech": "opus", "csv": "ogg", "toml": "flac"}
# of all lines; toml is one more
SHARES = {"txt": 0.2, "jsonl": 0.2, "tsv": 0.15, "lst": 0.15, "ljspeech": 0.15, "csv": 0.15}
OPENINGS = "Yes|No|Well|In the morning|At noon|Late at night|After all these years|Before the rain came".split("|")
SUBJECTS = "she|the old man|a small boat|my neighbour|every child|the last train".split("|")
ENDS = (
    "came home|was gone|stood still by the gate|made no sound at all|looked out over the cold grey lake and smiled"
).split("|")


def sentence(number: int) -> str:
    """One of 240 sentences of three to fifteen words."""
    opening, rest = OPENINGS[number % 8], number // 8
    return f"{opening}, {SUBJECTS[rest % 6]} {ENDS[(rest // 6 + number) % 5]}."


def write_lists(folder: Path, lines: int) -> dict[str, Path]:
    """Lists of all forms that have `lines` lines together, and the recording that some of them refer to; form ->
    file.
    """
    from tts_fm.voices.stored import catalogue, get_voice

    folder.mkdir(parents=True)
    names = list(catalogue())
    write_audio(folder / "ref.wav", get_voice(names[0]).wave, 24_000)
    counts = {form: max(1, round((lines - 1) * share)) for form, share in SHARES.items()}
    counts["txt"] += lines - 1 - sum(counts.values())
    texts, taken = {}, 0
    for form, count in counts.items():
        texts[form] = [sentence(number) for number in range(taken, taken + count)]
        taken += count
    spoken = "The reference says this."
    jsonl = [{"id": f"j{k}", "text": text, "voice": names[k % len(names)], "speed": (1.0, 1.15)[k % 2], "seed": k % 3}
             for k, text in enumerate(texts["jsonl"])]  # fmt: skip
    plain = {
        "txt": texts["txt"], "jsonl": [json.dumps(row) for row in jsonl],
        "tsv": [f"t{k}\t{spoken}\tref.wav\t{text}" for k, text in enumerate(texts["tsv"])],
        "lst": [f"l{k}|{spoken}|ref.wav|{text}" for k, text in enumerate(texts["lst"])],
        "ljspeech": [f"LJ{k:03d}|{text}|{text}" for k, text in enumerate(texts["ljspeech"])],
        "toml": ['ref_audio = "ref.wav"', 'gen_text = "Who is there? [two] It is me. [main] Come in, then."',
        'output_file = "play.wav"',
                 "[voices.two]", 'ref_audio = "ref.wav"'],
    }  # fmt: skip
    files = {form: folder / f"list.{'psv' if form == 'ljspeech' else form}" for form in FORMATS}
    for form, rows in plain.items():
        files[form].write_text("\n".join(rows) + "\n", encoding="utf-8")
    with open(files["csv"], "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["id", "text", "seed"], *([f"c{k}", text, k] for k, text in enumerate(texts["csv"]))]
        )
    return files


def speak_lists(lists: Path, out: Path, rest: list[str]) -> int:
    """`tts-fm batch` for every list, in this process, the model loaded once; the worst exit code."""
    from tts_fm.cli import batch
    from tts_fm.cli import main as cli

    names = vars(batch)
    real: Any = names["load_tts"]
    held: list[argparse.Namespace] = []
    load = cache(lambda: real(held[0]))

    def once(args: argparse.Namespace) -> object:
        held.append(args)
        return load()

    names["load_tts"] = once
    worst = 0
    for form, format in FORMATS.items():
        (source,) = [
            path for path in lists.glob("list.*") if path.suffix == (".psv" if form == "ljspeech" else f".{form}")
        ]
        line = [
            "batch",
            str(source),
            "-o",
            str(out / form),
            "--format",
            format,
            "--subtitles",
            "srt",
            "--quiet",
            "--workers",
            "1",
            *rest,
        ]
        worst = max(worst, cli.main(line))
    return worst


@dataclass
class Show:
    """The folders, the options that all runs share, and what was seen."""

    place: Path
    lines: int
    shared: list[str]
    faults: list[str] = field(default_factory=list)

    def start(self, out: str, *more: str) -> subprocess.Popen:
        line = [
            sys.executable,
            __file__,
            "--child",
            str(self.place / "lists"),
            str(self.place / out),
            *self.shared,
            *more,
        ]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)

    def whole(self, out: str, *more: str) -> float:
        """A run to its end; seconds."""
        began = time.monotonic()
        if code := self.start(out, *more).wait():
            self.faults.append(f"the run into {out} ended with exit code {code}")
        return time.monotonic() - began

    def done(self, out: str) -> int:
        """Lines of all results so far."""
        return sum(path.read_bytes().count(b"\n") for path in (self.place / out).glob("*/results*.jsonl"))

    def killed(self, out: str, after: int, wait: float) -> str:
        """A run that is killed `wait` seconds after `after` items are done; what was there then."""
        child = self.start(out)
        while child.poll() is None and self.done(out) < after:
            time.sleep(0.05)
        time.sleep(wait)
        ended = child.poll() is not None
        os.killpg(child.pid, signal.SIGKILL) if not ended else None
        child.wait()
        if ended:
            self.faults.append(f"the run that was to be killed after {after} items had ended by itself")
        parts = [path.name for path in (self.place / out).rglob(f"*{files.PART}")]
        return f"{self.done(out)} of {self.lines} done, half-written: {', '.join(parts) or 'nothing'}"

    def contents(self, out: str) -> dict[str, bytes]:
        """Every file, results as lines without `rtf`; of shards, as one whole run would have them."""
        found: dict[str, bytes] = {}
        for path in sorted((self.place / out).rglob("*")):
            name = path.relative_to(self.place / out).as_posix()
            if path.name.startswith("results") and path.suffix == ".jsonl":
                rows = [json.loads(line) for line in path.read_bytes().splitlines()]
                key = f"{path.parent.name}/results"
                found[key] = found.get(key, b"") + b"".join(
                    sorted(json.dumps(row | {"rtf": 0}).encode() + b"\n" for row in rows)
                )
            elif path.is_file():
                found[name] = path.read_bytes()
        return {
            name: b"".join(sorted(data.splitlines(True))) if name.endswith("/results") else data
            for name, data in found.items()
        }

    def same(self, out: str) -> str:
        """Compare a folder with the unbroken one, bit for bit."""
        truth, got = self.contents("unbroken"), self.contents(out)
        wrong = sorted(name for name in truth.keys() | got.keys() if truth.get(name) != got.get(name))
        if wrong:
            self.faults.append(
                f"{out} differs from unbroken in {len(wrong)} of {len(truth)} files: {', '.join(wrong[:5])}"
            )
        left = [name for name in got if name.endswith(files.PART)]
        self.faults += [f"{out}/{name} is left" for name in left]
        return f"{len(truth) - len(wrong)} of {len(truth)} files bit-identical, {len(left)} .part left"

    def near(self, out: str) -> str:
        """Compare the audio of a folder with the unbroken one, in steps of 16 bit."""
        worst, equal, lossless, files = 0.0, 0, 0, 0
        for path in sorted((self.place / "unbroken").rglob("*.*")):
            if path.suffix in (".jsonl", ".srt"):
                continue
            other = self.place / out / path.relative_to(self.place / "unbroken")
            files += 1
            equal += path.read_bytes() == other.read_bytes()
            (one, _), (two, _) = read_audio(path), read_audio(other)
            if len(one) != len(two):
                self.faults.append(f"{other} has {len(two)} samples, not {len(one)}")
            elif path.suffix in (".wav", ".flac"):
                lossless += 1
                worst = max(worst, float(np.abs(one - two).max()) * 32768)
        if worst > TOLERANCE:
            self.faults.append(f"{out} differs by {worst:.0f} steps of 16 bit")
        return (
            f"{equal} of {files} audio files bit-identical; "
            f"largest difference {worst:.0f} steps of 16 bit in {lossless} lossless files"
        )


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, help="of the moments of killing (default: drawn)")
    parser.add_argument("--keep", metavar="DIR", help="keep lists and folders here (must not exist)")
    parser.add_argument("--model")
    args = parsed(parser)
    if args.lines < 10:
        parser.error("--lines must be 10 or more")
    seed = random.SystemRandom().randrange(1_000_000) if args.seed is None else args.seed
    draw = random.Random(seed)
    place = Path(args.keep or tempfile.mkdtemp(prefix="batch_show."))
    shared = ["--steps", str(args.steps), *(["--model", args.model] if args.model else [])]
    show = Show(place, args.lines, shared)
    try:
        write_lists(place / "lists", args.lines)
        print(f"{args.lines} lines in {len(FORMATS)} forms, {args.steps} steps, --seed {seed}", flush=True)
        print(f"unbroken: {show.whole('unbroken'):.1f} s", flush=True)
        for kill in range(args.kills):
            share = (kill + draw.uniform(0.1, 0.9)) / args.kills
            seen = show.killed("killed", int(share * args.lines * 0.9), draw.uniform(0.0, 0.4))
            print(f"kill -9 number {kill + 1}: {seen}", flush=True)
        print(f"restarted: {show.whole('killed'):.1f} s; {show.same('killed')}", flush=True)
        seconds = show.whole("shards", "--shard", "0/2") + show.whole("shards", "--shard", "1/2")
        print(f"--shard 0/2 and 1/2: {seconds:.1f} s; {show.same('shards')}", flush=True)
        print(f"--batch 5: {show.whole('other', '--batch', '5'):.1f} s; {show.near('other')}", flush=True)
    finally:
        if args.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    for fault in show.faults:
        print(f"FAULT: {fault}")
    print("FAILED" if show.faults else "all as it must be")
    return 1 if show.faults else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(speak_lists(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
    sys.exit(main())
