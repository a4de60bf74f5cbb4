"""The built-in voice from nothing to its figures with one command; the same again goes on where it was stopped.

    recipes/builtin/run.sh RUNS --kokoro KOKORO --texts lj.jsonl vctk.jsonl    the teacher speaks the corpus
    recipes/builtin/run.sh RUNS --kokoro KOKORO --texts ... --speak-minutes 5  ..., on a GPU, straight into the cache
    recipes/builtin/run.sh RUNS --corpus CORPUS                                a corpus that is there
    SMALL=1 recipes/builtin/run.sh RUNS                                        all of it on tones, in two minutes

KOKORO: model.onnx or part*.bin, and voices/ (data_prep/kokoro.py). Its clips are filtered by Whisper and DNSMOS where
the extra `eval` and Whisper's folder (asr.py) are there, and not with SMALL=1. Stages: the corpus and its cache; the
networks, which become a voice, with its graphs and its texture; predicted, tuned, its vocoder: it learns to speak what
the voice predicts; paths, student, judged, folded: a few-step student beside the voice; its texture, all graphs, the
figures. Hours of two CPU cores. RUNS gets a folder for each, and done.json the stages that have ended, which are not
begun again; a stage that was killed goes on. The voice is in RUNS/assets, or where --assets says (tts_fm/assets: it
ships).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from recipes.libritts.check import MEASURES, check_devices, check_packages
from tts_fm import files
from tts_fm.errors import ModelError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHIPPED = ROOT / "tts_fm" / "assets"
TRAINED = ("vocoder", "duration", "flow", "aligner", "classifier")
CLIPS = 18_000  # the teacher's
FEW = {
    "prepare": (12, 2),
    "speak": (10, 654),
}  # in small: clips, and a seed with which a voice is held back and one ships
BYTES_A_CLIP = 700_000  # FLAC, samples and mels, those of the altered copy too
# what the recipes are told beside their folders; `flow` is trained in two parts
TOLD = {
    "cache": "",
    "vocoder": "--layers 8 --steps 24000 --adversarial-from 24000 --threads 2",
    "duration": "",
    "flow": "--steps 7000 --decay 0",
    "as_spoken": "--steps 14400 --decay 2400 --span 0.4 --as-spoken",
    "aligner": "--steps 2500",
    "classifier": "--steps 1500",
    "texture": "",
    "predicted": "--clips 400 --threads 2",
    "tuned": "--layers 8 --batch 12 --lr 4e-4 --phases 30 --steps 12000 --adversarial-from 12000 --threads 2",
    "paths": "--count 800 --threads 2",
    "student": "--shares 1:0.2,2:0.5,4:0.15,any:0.15 --steps 800 --lr 1e-4 --warmup 30 --ema 0.98 --threads 2",
    "judged": "--shares 1:0.2,2:0.8 --steps 2200 --lr 1e-4 --warmup 50 --threads 2",
    "folded": "--steps 2 --also 4:0.5 --keep 0.69",
}
SMALL = {
    "cache": "--no-copies --jobs 1",
    "vocoder": "--layers 8 --steps 2 --adversarial-from 1 --judges-first 0 --batch 2 --channels 2",
    "duration": "--steps 2 --save 2 --batch 2",
    "flow": "--steps 1 --decay 0 --batch-frames 900 --eager",
    "as_spoken": "--steps 2 --decay 1 --batch-frames 900 --eager --span 0.4 --as-spoken",
    "aligner": "--steps 2 --save 2 --batch 2",
    "classifier": "--steps 2 --save 2 --batch 2 --dim 16 --layers 1",
    "texture": "--count 2 --steps 2",
    "predicted": "--clips 4",
    "tuned": "--layers 8 --batch 2 --phases 30 --steps 2 --adversarial-from 2",
    "paths": "--count 18 --steps 4",
    "student": "--steps 2 --save 2 --batch-frames 1024 --eager",
    "judged": "--shares 2:1 --steps 2 --save 2 --batch-frames 1024 --judges-first 1 --eager",
    "folded": "--steps 2 --also 4:0.5",
}


@dataclass(frozen=True)
class Stage:
    """A step of the way and the command line, behind the interpreter's name, that takes it."""

    name: str
    command: list[str]


def measures_here(asr: Path, small: bool) -> list[str]:
    """What can be measured: with the packages that are installed, and words where there is a Whisper."""
    found = [name for name, needs in MEASURES.items() if all(find_spec(each) is not None for each in needs)]
    return [name for name in found if name != "wer" or (asr.is_dir() and not small)]


def corpus_stages(args: argparse.Namespace) -> list[Stage]:
    """From nothing to the cache."""
    runs, cache = args.runs, args.runs / "cache"
    if args.kokoro is None:
        corpus = args.corpus or runs / "corpus"
        made = [] if args.corpus else [Stage("corpus", [str(HERE / "tones.py"), str(corpus)])]
        return [*made, Stage("cache", [str(HERE / "cache.py"), str(corpus), str(cache), *args.told["cache"]])]
    few, seed = FEW["speak" if args.speak_minutes else "prepare"]
    said = ["--texts", *map(str, args.texts)]
    said += ["--calls" if args.speak_minutes else "--clips", str(args.clips or (few if args.small else CLIPS))]
    said += ["--seed", str(seed)] if args.small else []
    if args.speak_minutes:
        plan = runs / "plan.jsonl.gz"
        speak = ["-m", "recipes.gpu.speak"]
        spoken = [str(args.kokoro), str(plan), str(cache), "--minutes", str(args.speak_minutes)]
        device = ["--device", args.device] if args.device else []
        return [
            Stage("corpus", [*speak, "plan", str(args.kokoro), str(plan), *said]),
            Stage("cache", [*speak, "cache", *spoken, *device]),
        ]
    parts = [] if (args.kokoro / "model.onnx").is_file() else ["--model", *map(str, parts_of(args.kokoro))]
    hears = {"wer", "dnsmos"} <= set(measures_here(args.asr, args.small))
    heard = ["--filter", "--asr", str(args.asr)] if hears else []
    prepare = ["-m", "data_prep.kokoro", "prepare", str(args.kokoro), str(runs / "corpus"), *said, *parts, *heard]
    cached = [str(HERE / "cache.py"), str(runs / "corpus"), str(cache), *args.told["cache"]]
    return [Stage("corpus", prepare), Stage("cache", cached)]


def parts_of(kokoro: Path) -> list[Path]:
    """The parts of the teacher's network."""
    return sorted(kokoro.glob("part*.bin"))


def stages_of(args: argparse.Namespace) -> list[Stage]:
    """All stages, in order."""
    runs, built, cache = args.runs, args.assets / "builtin", args.runs / "cache"
    device = ["--device", args.device] if args.device else []

    def trained(name: str, folder: str = "") -> Stage:
        recipe = folder or name
        words = [str(HERE / f"{recipe}.py"), str(cache), str(runs / recipe), *args.told[name], *device]
        return Stage(name, [*words, *shlex.split(getattr(args, recipe))])

    def more(name: str, recipe: str, *words: object) -> Stage:
        return Stage(name, [str(HERE / f"{recipe}.py"), *map(str, words), *args.told[name]])

    def graphs(name: str) -> list[Stage]:
        return [] if args.small else [Stage(name, ["-m", "tts_fm", "export", "onnx", str(built), str(built), "--int8"])]

    stages = [
        *corpus_stages(args),
        trained("vocoder"),
        trained("duration"),
        trained("flow"),
        trained("as_spoken", "flow"),
        trained("aligner"),
        trained("classifier"),
        Stage("voice", [str(HERE / "export.py"), str(runs), str(args.assets)]),
        *graphs("first graphs"),
        more("texture", "texture", cache, built),
        more("predicted", "predicted", cache, built, runs / "predicted", *device),
        more("tuned", "vocoder", cache, runs / "tuned", "--start", built / "vocoder", "--predicted",
             runs / "predicted", *device),
        Stage("its vocoder", [str(HERE / "export.py"), str(runs), str(args.assets), "--vocoder", "tuned"]),
        more("paths", "teacher_paths", cache, runs / "paths", "--model", built, *device),
        more("student", "straighten", runs / "paths", runs / "student", "--teacher", built, *device),
        more("judged", "straighten", runs / "paths", runs / "judged", "--teacher", built, "--start",
             runs / "student" / "model", "--judges", cache, *device),
        more("folded", "fold", runs / "judged" / "model", built),
        Stage("its texture", [str(HERE / "texture.py"), str(cache), str(built), *args.told["texture"]]),
        *graphs("graphs"),
    ]  # fmt: skip
    if not args.small:
        aligner = str(args.assets / "aligner")
        stages.append(Stage("aligner graphs", ["-m", "tts_fm", "export", "onnx", aligner, aligner]))
    measures = measures_here(args.asr, args.small)
    if measures:
        items = runs / "list" / "list.jsonl"
        told = ["--measures", ",".join(measures), "--asr", str(args.asr), "-o", str(runs / "figures.json")]
        stages.append(Stage("list", [str(HERE / "eval_list.py"), str(cache), str(items.parent), *args.told_list]))
        stages.append(Stage("figures", ["-m", "tts_fm", "eval", str(items), "--model", str(built), *told]))
    return stages


def check(args: argparse.Namespace) -> None:
    """What all stages need, looked for before the first of them. ValueError, ModelError, MissingDependency."""
    packages = ["torch", "torchaudio", "vocos", "accelerate", "soundfile", "phonemizer", "librosa"]
    packages += [] if args.small else ["onnx", "onnxscript"]
    if args.kokoro is not None:
        packages.append("onnx" if args.speak_minutes or parts_of(args.kokoro) else "onnxruntime")
    check_packages(packages)
    check_devices(args.device or "auto", 1)
    from tts_fm.text.phonemes import phoneme_units

    phoneme_units("a", "en-us")  # espeak is told of now
    if args.kokoro is not None:
        if not args.texts:
            raise ValueError("--kokoro needs --texts: manifests, or files with a text a line, that the teacher speaks")
        model = (args.kokoro / "model.onnx").is_file() or parts_of(args.kokoro)
        if not model or not (args.kokoro / "voices").is_dir():
            raise ModelError(
                f"{args.kokoro} needs model.onnx (or part*.bin) and voices/: python -m data_prep.kokoro download "
                f"{args.kokoro}"
            )
    elif args.corpus is None and not args.small:
        raise ValueError("from what? Give --kokoro and --texts, or --corpus; or SMALL=1, which takes tones")
    if args.corpus is not None and not (args.corpus / "manifest.jsonl").is_file():
        raise ValueError(f"{args.corpus} is no corpus: it has no manifest.jsonl")
    if args.small and args.assets.resolve() == SHIPPED:
        raise ValueError("what two updates make must not be shipped: name other --assets with SMALL=1")
    args.runs.mkdir(parents=True, exist_ok=True)
    clips = (args.corpus / "manifest.jsonl").read_bytes().count(b"\n") if args.corpus else args.clips or CLIPS
    wanted, free = 1e9 + (0 if args.small else clips * BYTES_A_CLIP), shutil.disk_usage(args.runs).free
    if free < wanted:
        raise ValueError(f"{args.runs} has {free / 1e9:.0f} GB free, the stages take about {wanted / 1e9:.0f} GB")


def ended_with_us() -> None:
    """In a stage's process, on Linux: it dies with the one that began it, so that a kill leaves nobody at work."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A request to stop goes to the stage, which saves what it has."""

    def stop(number: int, frame: FrameType | None) -> None:
        process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(stage: Stage, python: str) -> int:
    """The exit code of a stage."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path}
    # there are no threads here that could hold a lock while it forks
    process = subprocess.Popen([python, *stage.command], env=env, preexec_fn=ended_with_us)  # noqa: PLW1509
    with passed_on(process):
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # it has got it too, and saves
                continue


def go(stages: Sequence[Stage], notes: Path, python: str, small: bool) -> int:
    """Run what is not done, in order; returns the exit code of the first that fails, else 0. ValueError for a folder
    that was begun at another size.
    """
    done: dict[str, Any] = json.loads(notes.read_text("utf-8")) if notes.is_file() else {"small": small, "stages": {}}
    if done["small"] != small:
        raise ValueError(f"{notes.parent} was begun {'with' if done['small'] else 'without'} SMALL=1: name another one")
    again = False  # what is behind a stage that was run is run too
    for number, stage in enumerate(stages, start=1):
        what = f"== {number} of {len(stages)}, {stage.name}:"
        if not again and done["stages"].get(stage.name) == stage.command:
            print(what, "done", flush=True)
            continue
        again = True
        print(what, shlex.join(stage.command), flush=True)
        if code := run(stage, python):
            print(f"{what} ended with code {code}; the same command again goes on here", file=sys.stderr)
            return code if code > 0 else 128 - code
        done["stages"][stage.name] = stage.command
        files.write_json(notes, done)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "recipes/builtin/run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of all that is made")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--kokoro", type=Path, help="folder of the teacher")
    source.add_argument("--corpus", type=Path, help="manifest.jsonl and audio/")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], metavar="FILE", help="what the teacher speaks")
    parser.add_argument("--clips", type=int, help=f"that it speaks (default {CLIPS}; a dozen with SMALL=1)")
    parser.add_argument("--speak-minutes", type=float, default=0.0, metavar="M", help="it speaks on the GPU, so long")
    parser.add_argument("--asr", type=Path, metavar="WHISPER", help="folder (default ~/.cache/whisper-base-ct2)")
    parser.add_argument("--assets", type=Path, help="where the voice goes (default RUNS/assets)")
    parser.add_argument("--device", help="cpu, cuda (default: a GPU if there is one)")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the stages")
    parser.add_argument("--small", action="store_true", default=bool(os.environ.get("SMALL")), help="as SMALL=1")
    for name in TRAINED:
        parser.add_argument(f"--{name}", default="", metavar="WORDS", help=f"more for recipes/builtin/{name}.py")
    args = parser.parse_args(argv)
    from tts_fm.evaluate.metrics import WHISPER_FOLDER

    args.asr, args.assets = args.asr or WHISPER_FOLDER, args.assets or args.runs / "assets"
    args.told = {name: line.split() for name, line in (SMALL if args.small else TOLD).items()}
    args.told_list = ["--items", "2"] if args.small else []
    for name in ("runs", "kokoro", "corpus", "asr", "assets"):
        if getattr(args, name) is not None:
            setattr(args, name, getattr(args, name).absolute())
    args.texts = [path.absolute() for path in args.texts]
    check(args)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.locked(args.runs / "run.lock", wait=False))
        except BlockingIOError:
            raise ValueError(f"somebody is at work in {args.runs}; wait, or name another folder") from None
        return go(stages_of(args), args.runs / "done.json", args.python, args.small)


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
