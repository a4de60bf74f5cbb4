"""The built-in voice trained on for some minutes of a GPU: flow, durations, and the vocoder against discriminators.

    recipes/gpu/run.sh train --corpus PIECES --out RESULTS [--minutes 9]           begins at the shipped weights
    recipes/gpu/run.sh train --corpus PIECES --out RESULTS --device cpu --small    the same code, a few updates

PIECES: recipes/gpu/pack.py. RESULTS/runs holds checkpoints, so that the same command goes on; RESULTS/assets gets
float16 weights in files under 16 MB, which `python -m recipes.gpu.pack join RESULTS/assets tts_fm/assets` puts in their
places. The minutes begin with the command. Networks and losses are those of recipes/builtin.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from recipes.gpu.pack import bring, unpack

BUILTIN = Path(__file__).resolve().parents[1] / "builtin"
SHIPPED = Path(__file__).resolve().parents[2] / "tts_fm" / "assets" / "builtin"
SHARES = {"flow": 0.5, "annealing": 0.1, "durations": 0.1, "vocoder": 0.3}  # of the minutes that unpacking leaves
FOREVER = str(10**7)


def options(small: bool) -> dict[str, list[str]]:
    """What each recipe is told, beside its folders, its weights and its minutes."""
    if small:
        return {
            "cache": ["--no-copies", "--jobs", "1"],
            "flow": ["--batch-frames", "700", "--steps", "1", "--decay", "0", "--eager"],
            "predicted": ["--clips", "2"],
            "durations": ["--batch", "2", "--steps", "2", "--save", "2"],
            "vocoder": "--batch 2 --channels 2 --steps 2 --judges-first 1 --sitting 3".split(),
        }
    return {
        "cache": [],
        "flow": ["--batch-frames", "200000", "--steps", FOREVER, "--decay", "0", "--workers", "10"],
        "predicted": ["--clips", "300"],
        "durations": ["--batch", "128", "--steps", FOREVER, "--save", "400"],
        "vocoder": f"--batch 48 --judged 48 --channels 32 --sitting 8 --judges-first 300 --steps {FOREVER}".split(),
    }


class Voice:
    """One run: folders, the weights that it begins at, and the minutes that are left when the corpus is there."""

    def __init__(self, device: torch.device, small: bool, out: Path, start: Path) -> None:
        self.runs, self.out, self.start = out / "runs", out, start
        self.told, self.where = options(small), ["--device", device.type]
        self.minutes = 0.0
        self.rows = [["part", "updates", "seconds", "last line of its log"]]

    def line(self, name: str, part: str, start: Path, *more: str) -> list[str]:
        """The command line of a recipe that trains."""
        folders = [str(self.runs / "cache"), str(self.runs / name), "--start", str(start)]
        limit = ["--minutes", f"{SHARES[part] * self.minutes:.3f}"]
        return [*folders, *self.where, *self.told["flow" if name == "flow" else part], *limit, *more]

    def steps(self, name: str) -> int:
        """Updates in the checkpoint of a run, 0 where there is none."""
        last = self.runs / name / "last.pt"
        return int(torch.load(last, map_location="cpu", weights_only=True, mmap=True)["step"]) if last.exists() else 0

    def note(self, name: str, begin: float) -> None:
        log = self.runs / name / "log.jsonl"
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        self.rows.append([name, str(self.steps(name)), f"{time.time() - begin:.0f}", lines[-1] if lines else ""])

    def unpack(self, pieces: Path) -> None:
        import cache

        if not (self.runs / "cache" / "index.json").exists():
            unpack(pieces, self.runs / "corpus")
            cache.main([str(self.runs / "corpus"), str(self.runs / "cache"), *self.told["cache"]])

    def flow(self) -> None:
        """As the last phase of recipes/builtin/run.sh; then the rate falls to zero in as many updates as fit."""
        import flow

        begin, first, how = time.time(), self.steps("flow"), ["--span", "0.4", "--as-spoken"]
        flow.main(self.line("flow", "flow", self.start, *how))
        done = self.steps("flow")
        rest = max(1, round((done - first) * SHARES["annealing"] / SHARES["flow"]))
        how += ["--steps", str(done + rest), "--decay", str(rest)]
        flow.main(self.line("flow", "annealing", self.start, *how))
        self.note("flow", begin)

    def durations(self) -> None:
        import duration

        begin = time.time()
        duration.main(self.line("duration", "durations", self.start / "duration"))
        self.note("duration", begin)

    def vocoder(self) -> None:
        import predicted
        import vocoder

        begin, mels = time.time(), str(self.runs / "predicted")
        if not (self.runs / "predicted" / "index.json").exists():
            folders = [str(self.runs / "cache"), str(self.runs / "flow"), mels]
            predicted.main([*folders, *self.where, *self.told["predicted"]])
        how = ["--layers", "8", "--adversarial-from", "0", "--predicted", mels]
        vocoder.main(self.line("vocoder", "vocoder", self.start / "vocoder", *how))
        self.note("vocoder", begin)

    def bring(self) -> None:
        """Float16 weights in shards under out/assets."""
        import export

        built = self.runs / "assets" / "builtin"
        export.export_flow(self.runs / "flow", built)
        export.export_vocoder(self.runs / "vocoder", built / "vocoder")
        export.export_duration(self.runs / "duration", built / "duration")
        for path in bring(self.runs / "assets", self.out / "assets"):
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            self.rows.append([path.relative_to(self.out).as_posix(), "", "", size])


def train(
    device: torch.device, small: bool, pieces: Path, out: Path, minutes: float = 9.0, start: Path = SHIPPED
) -> list[list[str]]:
    """Train all three and write OUT/assets; returns the table that is printed."""
    if str(BUILTIN) not in sys.path:
        sys.path.insert(0, str(BUILTIN))  # its recipes import each other by their plain names
    begin, run = time.time(), Voice(device, small, out, start)
    run.unpack(pieces)
    run.minutes = max(0.0, minutes - (time.time() - begin) / 60)
    run.flow()
    run.durations()
    run.vocoder()
    run.bring()
    return run.rows
