"""How a whole book fares: seconds by part and memory, kills at random moments, and words cut out of the finished EPUB.

    python recipes/benchmarks/book.py speed book.txt -o /tmp/book.m4b [--steps 8] [--chapters 1-3]
    python recipes/benchmarks/book.py kill book.txt -o /tmp/kill --times 20 [--steps 2] [--chapters 1]
    python recipes/benchmarks/book.py words aloud.epub --count 20 --asr base

Everything after the named options goes to `tts-fm book` as it is. Memory is the resident size of the command and of its
workers, looked at ten times a second.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import posixpath
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
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
        "  writing": facts["writing_seconds"],
        "  start, reading, planning": other,
        "  (list alone)": reading,
        "share that is not speaking, %": 100 * (seconds - facts["speaking_seconds"]) / seconds,
        "times faster than listening": facts["seconds"] / seconds,
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
    while True:
        process = subprocess.Popen(
            [*COMMAND, "book", args.file, "-o", str(cut), "-q", *rest], cwd=ROOT, start_new_session=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(chance.uniform(0.1, 0.5) * seconds if killed < args.times else None)
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


def words(args: argparse.Namespace, rest: list[str]) -> None:
    """Cut random words out of the sound of an EPUB with overlays and let Whisper say what they are."""
    import soundfile

    from tts_fm.evaluate.metrics import WHISPER_FOLDER, Whisper

    listen = Whisper(args.asr or WHISPER_FOLDER)
    chance = random.Random(args.seed)
    right = 0
    with zipfile.ZipFile(args.file) as book:
        clips = all_clips(book)
        chosen = chance.sample([k for k, clip in enumerate(clips) if len(bare(clip[0])) > 3], args.count)
        for k in chosen:
            word, path, begin, end = clips[k]
            with soundfile.SoundFile(io.BytesIO(book.read(path))) as file:
                file.seek(round(begin * file.samplerate))
                wave = file.read(max(1, round((end - begin) * file.samplerate)), dtype="float32")
                rate = file.samplerate
            heard = listen(wave, rate)
            near = bare(word) in bare(heard) or (bare(heard) in bare(word) and len(bare(heard)) > 2)
            right += near
            print(f"{word:20} {begin:9.2f} to {end:9.2f}  heard {heard.strip()!r}{'' if near else '   <-'}")
    print(
        f"{right} of {len(chosen)} are heard as the word; a word cut out alone is harder to hear than in its sentence"
    )


def all_clips(book: zipfile.ZipFile) -> list[tuple[str, str, float, float]]:
    """(word, sound file, begin, end) of every clip."""
    found = []
    for name in sorted(n for n in book.namelist() if n.endswith(".smil")):
        folder = posixpath.dirname(name)
        texts: dict[str, dict[str, str]] = {}
        for match in re.finditer(
            r'<text src="([^"#]+)#([^"]+)"/><audio src="([^"]+)" clipBegin="([\d.]+)s" clipEnd="([\d.]+)s"',
            book.read(name).decode(),
        ):
            document = posixpath.normpath(posixpath.join(folder, match[1]))
            if document not in texts:
                page = book.read(document).decode()
                texts[document] = dict(re.findall(r'<span id="(heard\d+)">([^<]*)</span>', page))
            sound = posixpath.normpath(posixpath.join(folder, match[3]))
            found.append((texts[document].get(match[2], ""), sound, float(match[4]), float(match[5])))
    return found


def bare(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def main() -> None:
    """Read the arguments and run one part."""
    from device import use, with_device

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, work in (("speed", speed), ("kill", kill), ("words", words)):
        part = parts.add_parser(name, help=work.__doc__)
        part.set_defaults(work=work)
        part.add_argument("file")
        part.add_argument("-o", "--out", default=f"/tmp/book-{name}.m4b" if name == "speed" else f"/tmp/book-{name}")
        part.add_argument("--seed", type=int, default=0)
        with_device(part)
        if name == "kill":
            part.add_argument("--times", type=int, default=20)
            part.add_argument("--kind", default="m4b")
        if name == "words":
            part.add_argument("--count", type=int, default=20)
            part.add_argument("--asr")
    args, rest = parser.parse_known_args()
    use(args.device)
    args.work(args, rest)


if __name__ == "__main__":
    main()
