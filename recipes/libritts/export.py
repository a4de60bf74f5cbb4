"""A trained run becomes a model folder that `tts-fm say --model` and TTS.load read.

    python -m recipes.libritts.export runs/tiny models/tiny [--vocoder FOLDER] [--duration FOLDER] [--float32]

The averaged weights of the run's last state are taken. A vocoder (default: the built-in one where it is installed) and,
for aligned models, a duration model with the same vocabulary are copied beside them; without a vocoder the model speaks
through Griffin-Lim.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file, this folder would hide the package `recipes`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from recipes.libritts.train import SETTINGS
from tts_fm.config import ModelConfig, from_dict
from tts_fm.errors import ModelError

BUILTIN = Path(__file__).resolve().parents[2] / "tts_fm" / "assets" / "builtin"
log = logging.getLogger(__name__)


def export(
    run_folder: Path, out: Path, vocoder: Path | None = None, duration: Path | None = None, half: bool = True
) -> Path:
    """Write the model folder; returns it. ModelError for a folder without a run, ValueError for a duration model of
    another vocabulary.
    """
    import torch

    from tts_fm.checkpoint.load import save_flow_model
    from tts_fm.model.flow_model import FlowModel
    from tts_fm.train.lora import merged_state
    from tts_fm.train.state import newest, read_average

    if not (run_folder / SETTINGS).is_file() or newest(run_folder) is None:
        raise ModelError(
            f"{run_folder} holds no run: {SETTINGS} and last.pt (or last/) are needed; train first (stage 3)"
        )
    settings = json.loads((run_folder / SETTINGS).read_text("utf-8"))
    average, step = read_average(run_folder)
    model = FlowModel(from_dict(ModelConfig, settings["model"]), settings["vocab"], tokenizer=settings["tokenizer"])
    model.load_state_dict(merged_state(average, 1.0))
    extra = {"defaults": settings["defaults"], "recipe": settings["recipe"], "trained_steps": step}
    save_flow_model(out, model, dtype=torch.float16 if half else torch.float32, extra=extra)
    vocoder = vocoder or (BUILTIN / "vocoder" if (BUILTIN / "vocoder").is_dir() else None)
    if vocoder is not None:
        shutil.copytree(vocoder, out / "vocoder", dirs_exist_ok=True)
    else:
        log.warning("no vocoder: %s speaks through Griffin-Lim; give one with --vocoder", out)
    if model.config.text == "aligned":
        _add_durations(settings["vocab"], out, duration or BUILTIN / "duration")
    log.info("%s: step %d of recipe %s", out, step, settings["recipe"])
    return out


def _add_durations(vocab: list[str], out: Path, source: Path) -> None:
    from tts_fm.model.duration import load_duration_model

    if load_duration_model(source).vocab != vocab:
        raise ValueError(
            f"the duration model {source} has another vocabulary; train with --vocab of its symbols, or give --duration"
        )
    shutil.copytree(source, out / "duration", dirs_exist_ok=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m recipes.libritts.export", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("out", type=Path, help="model folder to write")
    parser.add_argument("--vocoder", type=Path)
    parser.add_argument("--duration", type=Path)
    parser.add_argument("--float32", action="store_true", help="do not halve the weights")
    args = parser.parse_args(argv)
    export(args.run, args.out, args.vocoder, args.duration, not args.float32)


if __name__ == "__main__":
    from data_prep.shared import run

    raise SystemExit(run(main))
