"""A voice in few steps: what a student changes in the weights of its teacher for the numbers of steps that it speaks.

    quick/config.json           {"format": 1, "steps": {"2": 1.0, "4": 0.5}, "base": {"name", "digest"}, "texture": {}}
    quick/adapter.safetensors   changes of the flow network, as those of an adapted voice (voices/adapters.py)

`steps` says which share of the changes speaks at a number of steps: a student that was taught two of them pulls too
hard at four. The folder lies beside the weights. Speech with as many Euler steps at the usual times, without guidance,
is the student's; whatever else is asked for is the teacher's. recipes/builtin/straighten.py trains students, fold.py
writes the folder, texture.py counts what its speech lacks. It knows no networks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
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
    """A student: the numbers of steps at which it speaks, with which share of its changes, and the model's folder, from
    which they are read when it first speaks.
    """

    steps: Mapping[int, float]
    base: tuple[str, str]  # name and `base_digest` of its teacher
    folder: Path
    texture: texture.Tables  # of its speech, not its teacher's

    def speaks(self, settings: Settings) -> bool:
        """Whether speech with these settings, defaults filled in, is the student's."""
        return (
            settings.steps in self.steps
            and settings.method == "euler"
            and settings.grid is None
            and settings.sway == TABLE["sway"].default
            and not np.any(settings.scales)
            and not settings.guide
        )

    def adapter(self, steps: int) -> Adapter:
        """Its changes for a number of steps, one of `steps`. ModelError for a file that is damaged, and where the
        weights beside it are not its teacher's.
        """
        (name, digest), (mark, tensors), share = self.base, self._stored, self.steps[steps]
        decides = hashlib.sha256(mark + json.dumps([digest, share]).encode()).hexdigest()[:32]
        plain = {key: share * value for key, value in tensors.items() if not key.endswith((".a", ".b"))}
        return Adapter(decides, digest, name, share, tensors | plain)

    @cached_property
    def _stored(self) -> tuple[bytes, dict[str, np.ndarray]]:
        """What tells the file from others, and its tensors."""
        place, digest = self.folder / FOLDER, self.base[1]
        if base_digest(self.folder) != digest:
            raise ModelError(
                f"the few-step student in {place} belongs to the weights {digest[:8]}, not to those beside it: take "
                f"another number of steps, or remove the folder (recipes/builtin/fold.py makes such a student)"
            )
        try:
            data = (place / WEIGHTS).read_bytes()
        except OSError as error:
            raise ModelError(f"the few-step student in {place} cannot be read: {error}") from error
        return hashlib.sha256(data).digest(), float_tensors(data, str(place))


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
        steps = {int(n): float(share) for n, share in config["steps"].items()}
        if not all(0 <= share <= 2 for share in steps.values()):
            raise ValueError(f"steps holds shares from 0 to 2, not {steps}")
        return Quick(steps, base, Path(folder), gains)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the few-step student in {place} cannot be read: {error!r}") from error


def write_quick(folder: str | os.PathLike[str], changes: Mapping[str, np.ndarray], steps: Mapping[int, float]) -> int:
    """Write a student into a model's folder, in place of one that is there; returns the bytes of its weights.

    changes: of the flow network, by the names of voices/adapters.py without `flow/`. steps: as in Quick. ValueError for
    numbers that are not finite in float16.
    """
    data = half_tensors({f"flow/{name}": value for name, value in changes.items()})
    base = {"name": Path(folder).resolve().name, "digest": base_digest(folder)}
    with files.making_folder(Path(folder) / FOLDER, replace=True) as fresh:
        (fresh / WEIGHTS).write_bytes(data)
        files.write_json(
            fresh / CONFIG, {"format": FORMAT, "steps": {str(n): share for n, share in steps.items()}, "base": base}
        )
    return len(data)
