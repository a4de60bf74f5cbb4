"""The settings of one request, the same for the command line, Python, the demo and the server; checked in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

METHODS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}  # forwards of the velocity in one step


@dataclass(frozen=True)
class Settings:
    """How to speak. None means "the model's own default"; 0 is a value."""

    steps: int | None = None  # intervals of the solver, 1 to 256
    cfg: float | None = None  # classifier-free guidance, 0 (off) to 20
    temperature: float | None = None  # standard deviation of the noise, 0 to 2; below 1 smoother and less varied
    match: float | None = None  # how far the statistics of the speech's spectrum are moved to the prompt's, 0 to 1
    method: str = "euler"  # "euler", "midpoint", "heun" or "rk4"
    sway: float = -1.0  # sway sampling coefficient, -1 (dense near the noise) to 1
    seed: int = 0  # the same seed, text and voice give the same audio
    item: str = ""  # an id that is mixed into the seed, so that the items of a list differ
    speed: float = 1.0  # 0.25 to 4; 2 is twice as fast
    duration: float | None = None  # seconds of the whole, instead of the model's own estimate
    lang: str | None = None  # accent of the phones: "en-us", "en-gb"; None = the voice's
    loudness: float | None = None  # LUFS of the result, -40 to -9; None = as the model speaks
    chunk_seconds: float = 12.0  # longest stretch that is spoken in one go, 2 to 25

    def with_defaults(self, defaults: dict[str, Any]) -> Settings:
        """Fill `steps`, `cfg`, `temperature` and `match` from a model's defaults (32, 2, 1 and 0 where it has none, as
        F5-TTS).
        """
        return replace(
            self,
            steps=self.steps if self.steps is not None else defaults.get("steps", 32),
            cfg=self.cfg if self.cfg is not None else defaults.get("cfg", 2.0),
            temperature=self.temperature if self.temperature is not None else defaults.get("temperature", 1.0),
            match=self.match if self.match is not None else defaults.get("match", 0.0),
        )

    def check(self) -> Settings:
        """Raise ValueError for a number out of range or not finite; returns self."""
        _inside("steps", self.steps, 1, 256, whole=True)
        _inside("cfg", self.cfg, 0, 20)
        _inside("temperature", self.temperature, 0, 2)
        _inside("match", self.match, 0, 1)
        _inside("sway", self.sway, -1, 1)
        _inside("seed", self.seed, 0, 2**63 - 1, whole=True)
        _inside("speed", self.speed, 0.25, 4)
        _inside("duration", self.duration, 0.1, 6 * 3600)
        _inside("loudness", self.loudness, -40, -9)
        _inside("chunk_seconds", self.chunk_seconds, 2, 25)
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        return self

    def forwards(self) -> int:
        """Network forwards for one chunk; a guided evaluation counts as two."""
        return (self.steps or 0) * METHODS[self.method] * (2 if self.cfg else 1)

    def solver(self) -> dict[str, Any]:
        """The options of model.sample; after `with_defaults`."""
        return {name: getattr(self, name) for name in ("steps", "cfg", "method", "sway", "temperature")}

    def solver_key(self) -> tuple:
        """What items must share to be solved in one batch."""
        return tuple(self.solver().values())


def _inside(name: str, value: float | None, low: float, high: float, whole: bool = False) -> None:
    if value is None:
        return
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else (int, float))
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise ValueError(
            f"{name} must be {'a whole number' if whole else 'a number'} from {low:g} to {high:g}, got {value!r}"
        )
