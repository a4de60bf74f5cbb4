"""The built-in voice taught by its teacher within one loan of a GPU: the teacher speaks a corpus there, the flow is
trained on it, then a student of few steps; by the clock, one behind the other.

    python -m recipes.gpu.teach pack KOKORO TEACHER --texts FILE ... [--calls 8000]      here: a folder of 63 MB
    python -m recipes.gpu.teach run TEACHER RUNS OUT --start MODEL --minutes 12.5        there; once more goes on
    python -m recipes.gpu.teach watch RUNS                         there: until the next stage, or the run, has ended
    python -m recipes.gpu.teach take OUT tts_fm/assets STUDENT     here again: the weights in their places

TEACHER: Kokoro's weights, its voices and the plan of recipes/gpu/speak.py, compressed. The teacher begins at once;
MODEL, the weights to go on from, may come while it speaks. While it does, the flow's blocks are compiled, on noise. OUT
gets flow-1.safetensors ..., then student-1.safetensors ..., under 16 MB each; RUNS a log for every process. What fails
is told at once with the end of its log, by `watch` too, whose exit code is then 1. With --small --device cpu the same
code does next to nothing of each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from recipes.builtin import stages
from recipes.gpu import speak
from recipes.gpu.pack import join, shard, whole
from recipes.gpu.voice import BUILTIN, adopt, environment
from tts_fm import devices, files
from tts_fm.checkpoint import load_flow_model
from tts_fm.checkpoint.load import CONFIG, MODEL, VOCAB
from tts_fm.errors import ModelError

PLAN, VOICES = "plan.jsonl.xz", "voices.safetensors"
ROWS = 8  # of the voices' rows, one for every number of tokens, one in so many travels
# when each ends, as a share of the minutes; the lessons of the student end where its judges begin
ENDS = {"speak": 0.28, "flow": 0.77, "student": 0.86, "judged": 0.98}
TOLD = {
    "speak": "--jobs 15",
    "flow": "--span 0.4 --as-spoken --fall 0.55 --times sway(-1) --room 0.35 --lr 1e-3 --batch-frames 80000"
    " --workers 13 --threads 1 --valid-every 1000",
    "paths": "--count 200",
    "student": f"{stages.TOLD['student']} --batch-frames 12288 --eager",
    "judged": f"{stages.TOLD['judged']} --batch-frames 12288 --eager",
}
SMALL = {
    "speak": "--jobs 1",
    "flow": "--span 0.4 --as-spoken --fall 0.5 --room 0.5 --batch-frames 2000 --eager --valid-every 1000",
    "paths": "--count 5",
    "student": stages.SMALL["student"],
    "judged": stages.SMALL["judged"],
}
NO_LIMIT = "10000000"  # steps: the clock ends each stage
WALKERS, WALKING = 4, 0.45  # processes that store paths, and their share of the time until the judges begin
GRACE = 20  # seconds to save
TELL_EVERY = 15  # seconds


# --- here


def pack(kokoro: Path, out: Path, rows: Sequence[dict[str, Any]]) -> int:
    """Write the teacher and what it is to say; returns the bytes."""
    from data_prep.kokoro_model import load_voices

    out.mkdir(parents=True, exist_ok=True)

    def squeeze(path: Path) -> None:
        (out / f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))

    with ThreadPoolExecutor() as pool:
        list(pool.map(squeeze, speak.weights_of(kokoro)))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / PLAN).write_bytes(lzma.compress(lines.encode()))
    voices = {
        name: table[ROWS // 2 :: ROWS].astype(np.float16) for name, table in load_voices(kokoro / "voices").items()
    }
    save_file(voices, out / VOICES)
    return sum(path.stat().st_size for path in out.iterdir())


# --- there


def unpack(teacher: Path, out: Path) -> Path:
    """The teacher as speak.py reads it, in `out`; returns the plan. ModelError where something is missing."""
    parts = sorted(teacher.glob("*.xz"))
    if len(parts) < 2 or not (teacher / VOICES).is_file() or not (teacher / PLAN).is_file():
        raise ModelError(f"{teacher} is no packed teacher: python -m recipes.gpu.teach pack KOKORO {teacher}")
    (out / "voices").mkdir(parents=True, exist_ok=True)

    def spread(path: Path) -> None:
        (out / path.stem).write_bytes(lzma.decompress(path.read_bytes()))

    with ThreadPoolExecutor() as pool:
        list(pool.map(spread, parts))
    for name, table in load_file(teacher / VOICES).items():
        np.save(out / "voices" / f"{name}.npy", table.astype(np.float32).repeat(ROWS, 0))
    plan = out / "plan.jsonl.gz"
    plan.write_bytes(gzip.compress((out / "plan.jsonl").read_bytes(), 1))
    return plan


def noise(out: Path, vocab: Sequence[str], clips: int = 240) -> Path:
    """A cache of noise of a corpus's lengths, for compiling."""
    out.mkdir(parents=True, exist_ok=True)
    rng, rows, place = np.random.default_rng(0), [], 0
    units = [unit for unit in vocab if not unit.startswith("<")]
    with (out / "mel.f16").open("wb") as mels:
        for number in range(clips):
            times = rng.integers(2, 7, rng.integers(30, 110)).tolist()
            samples = (sum(times) + 8) * speak.FRAME
            frames = samples // 256 + 1
            mels.write(rng.normal(-3, 2, (frames, 100)).astype(np.float16).tobytes())
            row = {"units": rng.choice(units, len(times)).tolist(), "unit_frames": times, "speaker": str(number // 3)}
            row |= {"lead_frames": 5, "tail_frames": 3, "split": "train" if number % 12 else "valid"}
            rows.append(row | {"frame": place, "frames": frames, "speed": 1.0, "sample": 0, "samples": samples})
            place += frames
    files.write_json(out / "index.json", rows, indent=None)
    return out


@dataclass
class Run:
    """One loan. Times are those of time.time()."""

    teacher: Path
    runs: Path
    out: Path
    start: Path
    minutes: float
    device: str
    small: bool
    begin: float = field(default_factory=time.time)

    def say(self, what: str, failed: bool = False) -> None:
        """On the standard output and in what `watch` reads."""
        line = f"{time.time() - self.begin:4.0f} s {what}"
        print(line, flush=True)
        with (self.runs / "told.jsonl").open("a") as file:
            file.write(json.dumps({"told": line, "failed": failed}) + "\n")

    def until(self, stage: str) -> float:
        return self.begin + 60 * self.minutes * ENDS[stage]

    def clock(self, stage: str) -> list[str]:
        return ["--minutes", f"{max(0.01, (self.until(stage) - time.time()) / 60):.3f}", "--until",
                f"{self.until(stage):.1f}"]  # fmt: skip

    def process(self, name: str, *words: object) -> subprocess.Popen[bytes]:
        line = [sys.executable, *map(str, words), "--device", self.device]
        log = (self.runs / f"{name}.txt").open("ab")
        log.write(f"$ {shlex.join(line)}\n".encode())
        log.flush()
        return subprocess.Popen(line, stdout=log, stderr=log, env=environment())

    def told(self, stage: str) -> list[str]:
        return (SMALL if self.small else TOLD)[stage].split()

    def wait(self, name: str, process: subprocess.Popen[bytes], until: float) -> bool:
        """Whether it ended well, by then."""
        told = time.time()
        while process.poll() is None and time.time() < until:
            time.sleep(0.2)
            if time.time() - told > TELL_EVERY and (lines := self.log(name)):
                told = time.time()
                self.say(f"{name}: {lines[-1]}")
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.returncode == 0:
            self.say(f"{name} has ended: {(self.log(name) or [''])[-1]}")
            return True
        self.say("\n".join([f"{name} FAILED with code {process.returncode}", *self.log(name)[-6:]]), failed=True)
        return False

    def log(self, name: str) -> list[str]:
        path = self.runs / f"{name}.txt"
        return path.read_text("utf-8", "replace").splitlines() if path.is_file() else []

    # the stages

    def speak(self) -> Path:
        """The corpus. ModelError where there is none."""
        cache, done, compiled = self.runs / "spoken", True, None
        spoken = (cache / "index.json").is_file()
        if not spoken:
            plan = unpack(self.teacher, self.runs / "kokoro")
            minutes = f"{(self.until('speak') - time.time()) / 60:.3f}"
            words = [plan.parent, plan, cache, "--minutes", minutes, *self.told("speak")]
            speaking = self.process("speak", "-m", "recipes.gpu.speak", "cache", *words)
            self.say("the teacher speaks")
        vocab = self.vocab()
        self.say(f"{self.start} is there")
        if not self.small:
            some = noise(self.runs / "noise", vocab)
            words = ["--start", self.start, "--steps", "8", "--minutes", "3", *self.told("flow")]
            compiled = self.process("compiled", BUILTIN / "flow.py", some, self.runs / "compiled", *words)
        if not spoken:
            done = self.wait("speak", speaking, self.until("speak") + 3 * GRACE)
        if compiled is not None:
            self.wait("compiled", compiled, time.time() + GRACE)
        if not done:
            raise ModelError("without a corpus there is nothing to learn")
        self.say(adopt(cache, self.runs / "cache", vocab))
        return self.runs / "cache"

    def vocab(self) -> list[str]:
        """Of the weights to go on from, as soon as they are there and can be read. ModelError when that is too late."""
        while True:
            try:
                return load_flow_model(self.start).vocab
            except Exception as error:  # half of a file, perhaps, while it is copied
                if time.time() > self.until("flow") - 60:
                    raise ModelError(f"{self.start} has not come, or cannot be read: {error}") from error
            time.sleep(0.5)

    def flow(self, cache: Path) -> Path:
        """The folder of the voice with its new weights. ModelError where there are none."""
        import export

        words = [BUILTIN / "flow.py", cache, self.runs / "flow", "--start", self.start, *self.told("flow")]
        for again in ([], ["--eager"]):
            if self.wait("flow", self.process("flow", *words, *self.clock("flow"), *again), self.until("flow") + GRACE):
                break
            if time.time() > self.until("flow") - 30:
                break
        built = self.runs / "built"
        shutil.copytree(self.start, built, dirs_exist_ok=True)
        export.export_flow(self.runs / "flow", built)
        self.bring(built, "flow")
        return built

    def student(self, cache: Path, built: Path) -> None:
        """A student for two steps; it is brought in its judged form, or in the first."""
        folders = [self.runs / f"paths{number}" for number in range(WALKERS)]
        walkers = [
            self.process(folder.name, BUILTIN / "teacher_paths.py", cache, folder, "--model", built, "--seed", number,
                         *self.told("paths"))
            for number, folder in enumerate(folders)
        ]  # fmt: skip
        ready = time.time() + WALKING * (self.until("student") - time.time())
        for process in walkers:
            try:
                process.wait(None if self.small else max(0.1, ready - time.time()))
            except subprocess.TimeoutExpired:
                process.terminate()  # what it has stored is whole
                process.wait()
        count = together(folders, self.runs / "paths")
        self.say(f"{count} paths")
        made = ""
        for name, more in (("student", []), ("judged", ["--start", self.runs / "student/model", "--judges", cache])):
            clock = [] if self.small else ["--steps", NO_LIMIT, "--save", NO_LIMIT, *self.clock(name)]
            words = [self.runs / "paths", self.runs / name, "--teacher", built, *more, *self.told(name), *clock]
            end = self.until(name) + GRACE * (9 if self.small else 1)
            if not self.wait(name, self.process(name, BUILTIN / "straighten.py", *words), end):
                break
            made = name
        if made:
            self.bring(self.runs / made / "model", "student")

    def bring(self, folder: Path, name: str) -> None:
        paths = shard(folder / MODEL, self.out, name=name)
        self.say(f"{name} is in {self.out}: {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB")

    def go(self) -> int:
        self.runs.mkdir(parents=True, exist_ok=True)
        (self.runs / "ended").unlink(missing_ok=True)
        if str(BUILTIN) not in sys.path:
            sys.path.insert(0, str(BUILTIN))  # its recipes import each other by their plain names
        try:
            cache = self.speak()
            self.student(cache, self.flow(cache))
        except Exception as error:
            self.say(f"ENDED by {type(error).__name__}: {error}", failed=True)
            raise
        finally:
            files.write_text(self.runs / "ended", "")
        return int(any(json.loads(line)["failed"] for line in (self.runs / "told.jsonl").open()))


def together(folders: Sequence[Path], out: Path) -> int:
    """The paths of teacher_paths.py's folders in one; returns how many. A path that is not whole is left out."""
    out.mkdir(parents=True, exist_ok=True)
    place, count = 0, 0
    with (out / "paths.f16").open("wb") as numbers, (out / "index.jsonl").open("w") as index:
        for folder in folders:
            if not (folder / "index.jsonl").is_file():
                continue
            with (folder / "paths.f16").open("rb") as some:
                for line in (folder / "index.jsonl").open():
                    row = json.loads(line)
                    some.seek(2 * row["start"])
                    data = some.read(2 * row["size"])
                    if len(data) == 2 * row["size"]:
                        numbers.write(data)
                        index.write(json.dumps(row | {"start": place}) + "\n")
                        place, count = place + row["size"], count + 1
    return count


def watch(runs: Path, seconds: float) -> int:
    """Print what the run tells until one of its stages has brought something, or it has ended or failed, or so many
    seconds have passed; 1 when something has failed.
    """
    path, until = runs / "told.jsonl", time.time() + seconds
    seen = int((runs / "seen").read_text()) if (runs / "seen").is_file() else 0
    failed = stop = False
    while not stop and time.time() < until:
        stop = (runs / "ended").is_file()
        rows = [json.loads(line) for line in path.open()] if path.is_file() else []
        for row in rows[seen:]:
            print(row["told"], flush=True)
            failed = failed or row["failed"]
            stop = stop or row["failed"] or " is in " in row["told"]
        seen = len(rows)
        (runs / "seen").write_text(str(seen))
        time.sleep(0.2)
    return int(failed)


# --- here again


def take(out: Path, assets: Path, student: Path) -> list[Path]:
    """The flow's weights in assets/builtin, and the student as fold.py wants it; returns what was written. ModelError
    where a shard is missing, ValueError where there is nothing.
    """
    written = join(out, assets)
    if (first := out / "student-1.safetensors").is_file():
        student.mkdir(parents=True, exist_ok=True)
        save_torch(whole(first), student / MODEL)
        settings = json.loads((assets / "builtin" / CONFIG).read_text("utf-8"))
        settings["model"]["span"] = True  # it is told how long a step is
        files.write_json(student / CONFIG, settings)
        shutil.copyfile(assets / "builtin" / VOCAB, student / VOCAB)
        written.append(student / MODEL)
    return written


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one, two, three, four = (verbs.add_parser(name) for name in ("pack", "run", "watch", "take"))
    one.add_argument("kokoro", type=Path)
    one.add_argument("teacher", type=Path)
    speak.add_plan(one)
    two.add_argument("teacher", type=Path)
    two.add_argument("runs", type=Path)
    two.add_argument("out", type=Path)
    two.add_argument("--start", type=Path, required=True, help="folder of the voice to go on from; it may come later")
    two.add_argument("--minutes", type=float, default=12.5, help="from the command to the last weights")
    two.add_argument("--device", help="cpu, cuda (default: a GPU if there is one)")
    two.add_argument("--small", action="store_true")
    three.add_argument("runs", type=Path)
    three.add_argument("--seconds", type=float, default=570.0, help="at most")
    four.add_argument("out", type=Path)
    four.add_argument("assets", type=Path)
    four.add_argument("student", type=Path)
    args = parser.parse_args(argv)
    if args.verb == "take":
        for path in take(args.out, args.assets, args.student):
            print(path)
        return 0
    if args.verb == "pack":
        rows = speak.plan(args.kokoro, args.texts, args.calls, args.seed, args.each)
        print(f"{args.teacher}: {pack(args.kokoro, args.teacher, rows) / 1e6:.1f} MB")
        return 0
    if args.verb == "watch":
        return watch(args.runs, args.seconds)
    device = str(devices.pick(args.device))
    return Run(args.teacher, args.runs, args.out, args.start, args.minutes, device, args.small).go()


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
