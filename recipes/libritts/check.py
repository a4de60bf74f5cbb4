"""What the stages of run.sh need, looked for before the first of them begins: packages, devices, disk, espeak.

    python -m recipes.libritts.check --stage 0 --stop-stage 6 --processes 8 --device auto --measures wer sim dnsmos

Prints how many GPUs there are to use (0: the CPU). Everything that is missing is told at once, with the one pip command
that brings it; exit code 5 for packages, 2 for the rest.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from tts_fm.errors import MissingDependency

STAGES = {0: "download", 1: "prepare", 2: "align", 3: "train", 4: "export", 5: "synthesise", 6: "score"}
# stage -> packages; a stage that is not here needs what every install has
PACKAGES = {
    2: ("torch", "torchaudio", "phonemizer"),
    3: ("torch", "torchaudio", "accelerate", "tensorboard"),
    4: ("torch",),
    5: ("torch", "torchaudio", "vocos"),
}
SHARDS = ("webdataset", "fsspec")  # with --shards, for stage 3
MEASURES = {"wer": ("faster_whisper", "jiwer"), "sim": ("resemblyzer",), "dnsmos": ("speechmos", "onnxruntime")}
EXTRA = {
    **dict.fromkeys(("torch", "torchaudio", "vocos"), "torch"),
    **dict.fromkeys(("accelerate", "tensorboard"), "train"),
    **dict.fromkeys(SHARDS, "shards"),
    **dict.fromkeys(("onnx", "onnxscript"), "export"),
    **dict.fromkeys(("faster_whisper", "jiwer", "resemblyzer", "speechmos", "onnxruntime"), "eval"),
}
GIGABYTES = {0: 160, 1: 1, 3: 10, 5: 2}  # that stages leave behind, with all parts of LibriTTS and f5_base


def needed(stages: Iterable[int], measures: Sequence[str]) -> list[str]:
    """Packages that these stages need, each once."""
    names = [name for stage in stages for name in PACKAGES.get(stage, ())]
    if 6 in stages:
        names += [name for measure in measures for name in MEASURES.get(measure, ())]
    return list(dict.fromkeys(names))


def check_packages(names: Sequence[str]) -> None:
    """MissingDependency that names every package that is not there, and one pip command for all."""
    missing = [name for name in names if find_spec(name) is None]
    if not missing:
        return
    extras = sorted({EXTRA[name] for name in missing if name in EXTRA})
    others = [name for name in missing if name not in EXTRA]
    what = ([f"tts-fm[{','.join(extras)}]"] if extras else []) + others
    raise MissingDependency(f"{', '.join(missing)} missing: pip install {' '.join(map(repr, what))}")


def check_devices(device: str, processes: int) -> int:
    """How many GPUs these processes use. ValueError for more processes than GPUs, or for a device that is not here."""
    from tts_fm.devices import name_of

    kind = name_of(None if device == "auto" else device).split(":")[0]
    if kind != "cuda":
        return 0
    import torch

    there = torch.cuda.device_count()
    if processes > there:
        raise ValueError(f"{processes} processes but {there} GPUs; one process a GPU: --processes {there}")
    return processes


def check_disk(stages: Iterable[int], root: Path, out: Path, downloads: bool) -> None:
    """ValueError when a folder that stages fill has less room than they take."""
    for folder, which in ((root, (0, 1)), (out, (3, 5))):
        wanted = sum(GIGABYTES[stage] for stage in which if stage in stages and (stage or downloads))
        place = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
        free = shutil.disk_usage(place).free / 1e9
        if free < wanted:
            raise ValueError(f"{folder} has {free:.0f} GB free, the stages take about {wanted} GB; name another folder")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m recipes.libritts.check", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", type=int, default=0)
    parser.add_argument("--stop-stage", type=int, default=6)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--corpus-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--shards", action="store_true", help="training is from tar shards")
    parser.add_argument("--measures", nargs="*", default=list(MEASURES))
    args = parser.parse_args(argv)
    stages = [s for s in range(args.stage, args.stop_stage + 1) if s != 2 or "aligned" in args.recipe]
    check_packages([*needed(stages, args.measures), *(SHARDS if args.shards and 3 in stages else ())])
    if args.recipe != "tiny":
        there = (args.corpus_root / "LibriTTS").is_dir() or (args.corpus_root / "LibriTTS_R").is_dir()
        check_disk(stages, args.corpus_root, args.out, downloads=not there)
    if 2 in stages:
        from tts_fm.text.phonemes import phoneme_units

        phoneme_units("a", "en-us")  # espeak is told of now
    gpus = check_devices(args.device, args.processes) if set(stages) & {2, 3, 5} else 0
    sys.stdout.write(f"{gpus}\n")


if __name__ == "__main__":
    from data_prep.shared import run

    raise SystemExit(run(main))
