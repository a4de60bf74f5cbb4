"""How a whole book fares: seconds by part and memory, kills at random moments, and one word edited.

    python recipes/benchmarks/book.py speed book.txt -o /tmp/book.m4b [--steps 8] [--chapters 1-3]
    python recipes/benchmarks/book.py kill book.txt -o /tmp/kill --times 20 [--steps 2] [--chapters 1]
    python recipes/benchmarks/book.py edit book.txt -o /tmp/edit [--steps 2] [--chapters 1] [--at 0.1]

Everything after the named options goes to `tts-fm book` as it is. Memory is the resident size of the command and of its
workers, looked at ten times a second. Seconds of a core (CPU) tell more than those of the clock where other programs
run. Whether the sound is right is asked by book_checks.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tts_fm"]


class Memory(threading.Thread):
    """Watches a process and all below it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.most_of_one, self.most_of_all, self.done = pid, 0, 0, False

    def run(self) -> None:
        while not self.done:
            sizes = [resident(pid) for pid in family(self.pid)]
            self.most_of_one = max([self.most_of_one, *sizes])
            self.most_of_all = max(self.most_of_all, sum(sizes))
            time.sleep(0.1)


def resident(pid: int) -> int:
    """Bytes that a process holds; 0 of one that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(match[1]) * 1024 if match else 0


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    found, front = [pid], [pid]
    while front:
        below: list[int] = []
        for one in front:
            for task in Path(f"/proc/{one}/task").glob("*/children"):
                try:
                    below += [int(child) for child in task.read_text().split()]
                except OSError:
                    continue
        found, front = found + below, below
    return found


def run(arguments: list[str]) -> tuple[dict[str, Any], float, Memory]:
    """One command: what it printed as JSON, seconds, memory."""
    began = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, cwd=ROOT)
    memory = Memory(process.pid)
    memory.start()
    printed, _ = process.communicate()
    memory.done = True
    memory.join()
    if process.returncode:
        raise SystemExit(f"tts-fm {' '.join(arguments)} ended with {process.returncode}")
    return json.loads(printed), time.perf_counter() - began, memory


def speed(args: argparse.Namespace, rest: list[str]) -> None:
    """A table: seconds of reading, speaking, writing; times faster than listening; memory beside that of `say`."""
    began = time.perf_counter()
    subprocess.run([*COMMAND, "book", args.file, "--list", "--json"], stdout=subprocess.DEVNULL, cwd=ROOT, check=True)
    reading = time.perf_counter() - began
    facts, seconds, memory = run(["book", args.file, "-o", args.out, "--json", *rest])
    with tempfile.TemporaryDirectory() as folder:
        text = "The birch canoe slid on the smooth planks. " * 40
        _, _, say = run(["say", text, "-o", f"{folder}/x.wav", "--json"])
    other = seconds - facts["speaking_seconds"] - facts["writing_seconds"]
    rows = {
        "minutes of sound": facts["seconds"] / 60,
        "words spoken": facts["words_spoken"],
        "seconds in all": seconds,
        "  speaking": facts["speaking_seconds"],
        "  from the last word to the file": facts["writing_seconds"],
        "  start, reading, planning": other,
        "  (list alone)": reading,
        "share that is not speaking, %": 100 * (seconds - facts["speaking_seconds"]) / seconds,
        "times faster than listening": facts["seconds"] / seconds,
        "CPU seconds": facts["cpu_seconds"]["all"],
        "  of the thread that writes": facts["cpu_seconds"]["writing"],
        "times faster, by CPU on 2 cores": 2 * facts["seconds"] / facts["cpu_seconds"]["all"],
        "MB, the largest process": memory.most_of_one / 2**20,
        "MB, all processes": memory.most_of_all / 2**20,
        "MB, say": say.most_of_one / 2**20,
    }
    for name, value in rows.items():
        print(f"{name:32} {value:12,.1f}")


def kill(args: argparse.Namespace, rest: list[str]) -> None:
    """Kill the command (-9, its workers too) at random moments until it has ended by itself; compare the bytes."""
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    whole, cut = out / f"whole.{args.kind}", out / f"cut.{args.kind}"
    _, seconds, _ = run(["book", args.file, "-o", str(whole), "--json", "-q", *rest])
    chance, killed = random.Random(args.seed), 0
    part = seconds * min(1.0, 6 / args.times)  # so that so many fit in
    while True:
        process = subprocess.Popen(
            [*COMMAND, "book", args.file, "-o", str(cut), "-q", *rest], cwd=ROOT, start_new_session=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(chance.uniform(0.1, 0.5) * part if killed < args.times else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            continue
        if process.returncode:
            raise SystemExit(f"ended with {process.returncode}")
        break
    same = whole.read_bytes() == cut.read_bytes()
    print(f"killed {killed} times; the same bytes: {same}")
    if not same:
        raise SystemExit(1)


def edit(args: argparse.Namespace, rest: list[str]) -> None:
    """Speak a book, change one word in the middle of it, and count what is spoken again."""
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    text = Path(args.file).read_text("utf-8")
    own = folder / f"book{Path(args.file).suffix}"
    own.write_text(text, "utf-8")
    out = folder / f"edited.{args.kind}"
    run(["book", str(own), "-o", str(out), "--json", "-q", *rest])
    work = Path(f"{out}.work")
    before = {path.name for path in work.glob("*.flac")}
    words = [m for m in re.finditer(r"(?<=[a-z] )[a-z]{5,9}(?= [a-z])", text) if m.start() > args.at * len(text)]
    word = words[0]
    own.write_text(text[: word.start()] + "wonderful" + text[word.end() :], "utf-8")
    run(["book", str(own), "-o", str(out), "--json", "-q", *rest])
    new = {path.name for path in work.glob("*.flac")} - before
    print(f"{len(before)} paragraphs; {word.group()!r} became 'wonderful': {len(new)} spoken again")
    if len(new) != 1:
        raise SystemExit(1)


def main() -> None:
    """Read the arguments and run one part."""
    from device import use, with_device

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, work in (("speed", speed), ("kill", kill), ("edit", edit)):
        part = parts.add_parser(name, help=work.__doc__)
        part.set_defaults(work=work)
        part.add_argument("file")
        part.add_argument("-o", "--out", default=f"/tmp/book-{name}.m4b" if name == "speed" else f"/tmp/book-{name}")
        part.add_argument("--seed", type=int, default=0)
        with_device(part)
        if name == "kill":
            part.add_argument("--times", type=int, default=20)
        if name == "edit":
            part.add_argument("--at", type=float, default=0.5, help="share of the text behind which a word is changed")
        if name != "speed":
            part.add_argument("--kind", default="m4b")
    args, rest = parser.parse_known_args()
    use(args.device)
    args.work(args, rest)


if __name__ == "__main__":
    main()
