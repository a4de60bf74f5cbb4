"""A voice in few steps: what a student changes in the weights of its teacher for the numbers of steps it was taught.

    quick/config.json           {"format": 1, "steps": [2, 4], "scale": 1.0, "base": {"name", "digest"}, "texture": {}}
    quick/adapter.safetensors   changes of the flow network, as those of an adapted voice (voices/adapters.py)

The folder lies beside the weights. Speech with as many Euler steps at the usual times, without guidance, is the
student's; whatever else is asked for is the teacher's. recipes/builtin/straighten.py trains students, fold.py writes
the folder, texture.py counts what its speech lacks. It knows no networks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tts_fm import files
from tts_fm.audio import texture
from tts_fm.errors import ModelError
from tts_fm.settings import TABLE, Settings
from tts_fm.voices.adapters import WEIGHTS, Adapter, base_digest, float_tensors, half_tensors

FOLDER, CONFIG, FORMAT = "quick", "config.json", 1


@dataclass(frozen=True)
class Quick:
    """A student: the numbers of steps that it was taught, and the model's folder, from which its changes are read when
    it first speaks.
    """

    steps: tuple[int, ...]
    scale: float
    base: tuple[str, str]  # name and `base_digest` of its teacher
    folder: Path
    texture: texture.Tables  # of its speech, not its teacher's

    def speaks(self, settings: Settings) -> bool:
        """Whether speech with these settings, defaults filled in, is what the student was taught."""
        return (
            settings.steps in self.steps
            and settings.method == "euler"
            and settings.grid is None
            and settings.sway == TABLE["sway"].default
            and not np.any(settings.scales)
            and not settings.guide
        )

    @cached_property
    def adapter(self) -> Adapter:
        """Its changes. ModelError for a file that is damaged, and where the weights beside it are not its teacher's."""
        place, (name, digest) = self.folder / FOLDER, self.base
        if base_digest(self.folder) != digest:
            raise ModelError(
                f"the few-step student in {place} belongs to the weights {digest[:8]}, not to those beside it: take "
                f"another number of steps, or remove the folder (recipes/builtin/fold.py makes such a student)"
            )
        try:
            data = (place / WEIGHTS).read_bytes()
        except OSError as error:
            raise ModelError(f"the few-step student in {place} cannot be read: {error}") from error
        decides = hashlib.sha256(data + json.dumps([digest, self.scale]).encode()).hexdigest()[:32]
        return Adapter(decides, digest, name, self.scale, float_tensors(data, str(place)))


def read_quick(folder: str | os.PathLike[str]) -> Quick | None:
    """The student in a model's folder; None where there is none. ModelError for a damaged config.json."""
    place = Path(folder) / FOLDER
    if not place.is_dir():
        return None
    try:
        config = json.loads((place / CONFIG).read_text("utf-8"))
        if config["format"] != FORMAT:
            raise ValueError(f"its form is {config['format']!r}; this version reads {FORMAT}")
        base = str(config["base"]["name"]), str(config["base"]["digest"])
        gains = texture.check(config.get("texture", {}))
        steps = tuple(int(n) for n in config["steps"])
        return Quick(steps, float(config["scale"]), base, Path(folder), gains)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the few-step student in {place} cannot be read: {error!r}") from error


def write_quick(folder: str | os.PathLike[str], changes: Mapping[str, np.ndarray], steps: Sequence[int]) -> int:
    """Write a student into a model's folder, in place of one that is there; returns the bytes of its weights.

    changes: of the flow network, by the names of voices/adapters.py without `flow/`. ValueError for numbers that are
    not finite in float16.
    """
    data = half_tensors({f"flow/{name}": value for name, value in changes.items()})
    base = {"name": Path(folder).resolve().name, "digest": base_digest(folder)}
    with files.making_folder(Path(folder) / FOLDER, replace=True) as fresh:
        (fresh / WEIGHTS).write_bytes(data)
        files.write_json(fresh / CONFIG, {"format": FORMAT, "steps": [*steps], "scale": 1.0, "base": base})
    return len(data)
