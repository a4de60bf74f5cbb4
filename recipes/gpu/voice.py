"""The built-in voice trained on for some minutes of a GPU: flow, durations, and the vocoder against discriminators, all
at the same time, each a process of its own.

    recipes/gpu/run.sh train --cache CACHE --out RESULTS --runs RUNS --minutes 8     begins at the shipped weights
    recipes/gpu/run.sh train --corpus PIECES --out RESULTS --runs RUNS --minutes 9   unpacks a corpus first (pack.py)
    recipes/gpu/run.sh train --cache CACHE --out RESULTS --device cpu --small        the same code, a few updates

--one-by-one 0.6: the vocoder begins when the flow has had so much of the minutes, and learns from its mels.

CACHE: a folder as recipes/builtin/cache.py writes it. RUNS gets checkpoints, one a minute, so that what fails late is
not lost; a part that fails or hangs begins once more from there, in a more careful way. RESULTS gets a few files under
16 MB, which `python -m recipes.gpu.pack join RESULTS tts_fm/assets` puts in their places. The minutes begin with the
command; bringing the weights follows them. Networks and losses are those of recipes/builtin.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recipes.gpu.pack import bring, unpack
from tts_fm import files
from tts_fm.checkpoint import load_flow_model

BUILTIN = Path(__file__).resolve().parents[1] / "builtin"
SHIPPED = Path(__file__).resolve().parents[2] / "tts_fm" / "assets" / "builtin"
NEEDED = "split speaker units unit_frames lead_frames tail_frames speed sample samples frame frames".split()
LENGTHS = ("0.03", "0.15")  # of the flow's averages that are brought beside the usual one (recipes/builtin/averages.py)
TELL_EVERY, GRACE, HANGS = 15, 40, 180  # seconds: a line for people; to save at the end; without a line in the log


def options(small: bool) -> dict[str, list[str]]:
    """What each recipe is told, beside its folders, its weights and its minutes; `again`: what is added at the second
    attempt.
    """
    told = {
        "flow": "--span 0.4 --as-spoken --fall 0.5",
        "vocoder": "--layers 8 --adversarial-from 0",
        "again_flow": "--eager --batch-frames 40000",
        "again_vocoder": "--judged 16 --batch 32",
        "again_duration": "",
    }
    if small:
        told["cache"] = "--no-copies --jobs 1"
        told["flow"] += " --snapshots 1 --batch-frames 700 --steps 2 --eager --threads 1"
        told["predicted"] = "--clips 2 --batch 2"
        told["duration"] = "--batch 2 --steps 2 --save 2"
        told["vocoder"] += " --batch 2 --judged 2 --channels 2 --steps 3 --judges-first 1 --sitting 3"
        told["again_flow"] = told["again_vocoder"] = ""
    else:
        told["cache"] = ""
        told["flow"] += " --snapshots 400 --batch-frames 80000 --lr 1.2e-3 --workers 8 --threads 1 --valid-every 1000"
        told["predicted"] = "--clips 1500 --batch 64"
        told["duration"] = "--batch 128 --steps 10000000 --save 400"
        told["vocoder"] += " --batch 48 --judged 48 --channels 32 --sitting 8 --crop 96 --judges-first 400"
        told["vocoder"] += " --lr 4e-4 --judges-lr 6e-4 --share 0.4 --steps 10000000"
    return {name: line.split() for name, line in told.items()}


def adopt(cache: Path, out: Path, vocab: Sequence[str]) -> str:
    """Make `out` a cache of those clips of `cache` that can be trained on, and say what was left out. ValueError where
    that is all of them.

    A clip is left out when its row is not as cache.py writes it, when it has units that the model does not know, or
    when it is not whole. Where none is to validate, every fiftieth becomes so.
    """
    rows, known = json.loads((cache / "index.json").read_text("utf-8")), set(vocab)
    samples, frames = ((cache / name).stat().st_size // size for name, size in (("wav.i16", 2), ("mel.f16", 200)))

    def fault(row: dict) -> str:
        if missing := [name for name in NEEDED if name not in row]:
            return f"without {missing[0]}"
        if unknown := sorted(set(row["units"]) - known):
            return f"with the unknown unit {unknown[0]!r}"
        if len(row["units"]) != len(row["unit_frames"]):
            return "with as many times as it has not units"
        whole = row["sample"] + row["samples"] <= samples and row["frame"] + row["frames"] <= frames
        return "" if whole else "that is not whole"

    faults = [fault(row) for row in rows]
    good = [row for row, wrong in zip(rows, faults, strict=True) if not wrong]
    counts = {wrong: faults.count(wrong) for wrong in sorted(set(faults)) if wrong}
    told = ", ".join(f"{count} {wrong}" for wrong, count in counts.items())
    if not good:
        raise ValueError(f"{cache} has no clip to train on: {told or 'it is empty'}")
    if not any(row["split"] == "valid" for row in good):
        good = [row | {"split": "train" if number % 50 else "valid"} for number, row in enumerate(good)]
    out.mkdir(parents=True, exist_ok=True)
    for name in ("wav.i16", "mel.f16"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to((cache / name).resolve())
    files.write_json(out / "index.json", good, indent=None)
    hours = sum(row["samples"] for row in good) / 24_000 / 3600
    return f"{len(good)} clips, {hours:.1f} hours" + (f"; left out: {told}" if told else "")


@dataclass
class Part:
    """What runs beside the others: recipes one after the other. `again` is added to the last one's line when it has to
    begin once more.
    """

    name: str
    lines: list[list[str]]
    again: list[str]
    folder: Path
    until: float
    state: str = "waits"
    process: subprocess.Popen[bytes] | None = None

    def log(self) -> Path:
        return self.folder.with_suffix(".txt")

    def steps(self) -> int:
        """Updates in the checkpoint, 0 where there is none."""
        last = self.folder / "last.pt"
        return int(torch.load(last, map_location="cpu", weights_only=True, mmap=True)["step"]) if last.exists() else 0

    def last_line(self) -> str:
        log = self.folder / "log.jsonl"
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        return lines[-1] if lines else ""

    def run(self) -> None:
        """All recipes; never raises: what went wrong is in `state` and in the log."""
        try:
            for number, line in enumerate(self.lines):
                code = self.once(line)
                last = number == len(self.lines) - 1
                if code and last and time.time() < self.until - 45:
                    self.state = f"began again after code {code}"
                    code = self.once([*line, *self.again])
                if code and not last:  # the vocoder learns from true mels alone
                    self.lines[-1] = self.lines[-1][: self.lines[-1].index("--predicted")]
                elif code:
                    self.state = f"FAILED with code {code}"
            self.state = self.state if self.state.startswith("FAILED") else f"done ({self.state})"
        except OSError as error:
            self.state = f"FAILED: {error}"

    def once(self, line: list[str]) -> int:
        """One recipe as a process; its exit code. Ended when it tells nothing for HANGS seconds, or does not end."""
        self.state = self.state if self.state.startswith("began again") else "runs"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        begin = time.time()
        with self.log().open("ab") as log:
            log.write(f"$ {shlex.join(line)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(line, stdout=log, stderr=log, env=environment())
            while (code := self.process.poll()) is None:
                time.sleep(0.2)
                own = self.folder / "log.jsonl"
                heard = max(begin, own.stat().st_mtime if own.exists() else 0.0)
                silent = self.name != "duration" and time.time() - heard > HANGS and time.time() < self.until
                if silent or time.time() > self.until + GRACE:
                    self.end()
        return code

    def end(self) -> None:
        """Ask the process to stop; a few seconds later it does."""
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment() -> dict[str, str]:
    """Of the processes: our modules, one thread for each product on the CPU (there are many processes), recordings of
    forwards off, memory that grows in place.
    """
    root = str(BUILTIN.parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    new = {"PYTHONPATH": path, "TTS_FM_GRAPHS": "0", "PYTHONUNBUFFERED": "1"}
    new |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return os.environ | new | {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


class Voice:
    """One run: folders, what the recipes are told, and when they end. flow_share: of the minutes, before the vocoder
    begins; None: both at the same time.
    """

    def __init__(
        self,
        device: str,
        small: bool,
        out: Path,
        runs: Path,
        start: Path,
        extra: dict[str, str],
        flow_share: float | None = None,
    ) -> None:
        if flow_share is not None and not 0 < flow_share < 1:
            raise ValueError(f"--one-by-one is the flow's share of the minutes, between 0 and 1, not {flow_share}")
        self.flow_share = flow_share
        self.runs, self.out, self.start, self.device = runs, out, start, device
        self.told = options(small)
        for name, line in extra.items():
            self.told[name] += shlex.split(line)

    def parts(self, minutes: float, begin: float) -> list[Part]:
        """What is to be done within the minutes from `begin` on."""
        cache, mels, one_by_one = self.runs / "cache", self.runs / "predicted", self.flow_share is not None
        first = 1.0 if self.flow_share is None else self.flow_share
        share = {"flow": first, "vocoder": 1 - first if one_by_one else 1.0}
        ends = {"flow": begin + 60 * minutes * share["flow"], "vocoder": begin + 60 * minutes}

        def line(recipe: str, *words: str | Path) -> list[str]:
            where = ["--device", self.device]
            return [sys.executable, str(BUILTIN / f"{recipe}.py"), *map(str, words), *where, *self.told[recipe]]

        def clock(of: str, early: float = 0.0) -> list[str]:
            return ["--minutes", f"{minutes * share[of]:.3f}", "--until", f"{ends[of] - early:.1f}"]

        lines = {
            "flow": [[*line("flow", cache, self.runs / "flow", "--start", self.start), *clock("flow")]],
            "vocoder": [
                # one by one, it learns from what the flow has become
                line("predicted", cache, self.runs / "flow" if one_by_one else self.start, mels),
                [
                    *line("vocoder", cache, self.runs / "vocoder", "--start", self.start / "vocoder"),
                    *clock("vocoder"),
                    *("--predicted", str(mels)),  # last, see Part.run
                ],
            ],
            # it measures itself at its end
            "duration": [
                [
                    *line("duration", cache, self.runs / "duration", "--start", self.start / "duration"),
                    *clock("flow", 15),
                ]
            ],
        }
        if (mels / "index.json").exists():
            del lines["vocoder"][0]
        ends["duration"] = ends["flow"]
        return [
            Part(name, its, self.told[f"again_{name}"], self.runs / name, ends[name]) for name, its in lines.items()
        ]

    def train(self, parts: list[Part], begin: float) -> None:
        """All parts at the same time, or the vocoder behind the others; a line for each of them now and then."""
        last = [part for part in parts if part.name == "vocoder" and self.flow_share is not None]
        for together in ([part for part in parts if part not in last], last):
            threads = [threading.Thread(target=part.run, daemon=True) for part in together]
            for thread in threads:
                thread.start()
            told = time.time()
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.2)
                if time.time() - told > TELL_EVERY:
                    told = time.time()
                    for part in together:
                        print(f"{told - begin:4.0f} s {part.name:8} {part.state}: {part.last_line()}", flush=True)

    def bring(self, averages: bool, rows: list[list[str]]) -> None:
        """What was trained, and every log, in RESULTS. What fails is told in `rows`; the others come all the same."""
        import export

        built, others = self.runs / "assets" / "builtin", self.runs / "others"

        def other() -> None:
            for length in LENGTHS:
                export.export_flow(self.runs / "flow", others / length, length)

        tasks: dict[str, Callable[[], object]] = {
            "flow": lambda: export.export_flow(self.runs / "flow", built),
            "other averages": other,
            "vocoder": lambda: export.export_vocoder(self.runs / "vocoder", built / "vocoder"),
            "duration": lambda: export.export_network(self.runs / "duration", built / "duration"),
        }
        for name, task in tasks.items():
            if name == "other averages" and not averages:
                continue
            try:
                task()
            except Exception as error:
                rows.append([name, "", f"NOT EXPORTED: {type(error).__name__}: {error}"])
                (self.runs / "export.txt").open("a").write(f"{name}\n{traceback.format_exc()}\n")
        for path in bring(self.runs, self.out):
            rows.append([path.name, "", f"{path.stat().st_size / 1e6:.1f} MB"])


def train(
    device: torch.device,
    small: bool,
    out: Path,
    cache: Path | None = None,
    pieces: Path | None = None,
    runs: Path | None = None,
    minutes: float = 8.0,
    averages: bool = False,
    start: Path = SHIPPED,
    extra: dict[str, str] | None = None,
    flow_share: float | None = None,
) -> list[list[str]]:
    """Train all three and fill RESULTS; returns the table that is printed. ValueError without anything to train on."""
    if str(BUILTIN) not in sys.path:
        sys.path.insert(0, str(BUILTIN))  # its recipes import each other by their plain names
    begin = time.time()
    runs = out.parent / f"{out.name}-runs" if runs is None else runs
    run = Voice(device.type, small, out, runs, start, extra or {}, flow_share)
    if pieces is not None:
        cache = runs / "unpacked"
        if not (cache / "index.json").exists():
            from cache import main as fill

            unpack(pieces, runs / "corpus")
            fill([str(runs / "corpus"), str(cache), *run.told["cache"]])
    if cache is None:
        raise ValueError("nothing to train on: give --cache or --corpus")
    corpus = adopt(cache, runs / "cache", load_flow_model(start).vocab)
    print(corpus, flush=True)
    parts = run.parts(minutes, begin)
    run.train(parts, begin)
    rows = [["part", "updates", "how it went, and the last line of its log"], ["corpus", "", corpus]]
    rows += [[part.name, str(part.steps()), f"{part.state}: {part.last_line()}"] for part in parts]
    files.write_text(runs / "table.txt", "".join(" | ".join(row) + "\n" for row in rows))
    for folder in ("assets", "others"):
        shutil.rmtree(runs / folder, ignore_errors=True)
    run.bring(averages, rows)
    return rows
