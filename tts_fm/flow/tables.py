"""The numbers of solvers, grids and guidance, without torch: Butcher tables, pruned knots, F5-TTS's grid, how often
guidance asks the network, how a guide reads.

The other modules compute with them; whoever only counts forwards, or solves with numpy, takes them from here.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple


class Table(NamedTuple):
    """Butcher table: stage j is evaluated at t + nodes[j] h with x + h sum_k stages[j][k] v_k; the step adds h sum
    weights v.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


TABLES: dict[str, Table] = {
    "euler": Table((0.0,), ((),), (1.0,)),
    "midpoint": Table((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "heun": Table((0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    # Kutta's 3/8 rule, which is what torchdiffeq (so F5-TTS) calls rk4; "rk4_classic" is the textbook's 1/6 form. Both
    # have order 4.
    "rk4": Table(
        (0.0, 1 / 3, 2 / 3, 1.0), ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), (1 / 8, 3 / 8, 3 / 8, 1 / 8)
    ),
    "rk4_classic": Table((0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
ADAPTIVE = ("dopri5",)  # solvers that choose their own steps
FITTED = "fitted"  # a solver that was fitted to the model (fitted.py), one evaluation a step

# Empirically pruned knots in 1/32 by number of steps (Fast F5-TTS, arXiv 2505.19931); other step counts have no table.
EPSS_KNOTS: dict[int, tuple[int, ...]] = {
    5: (0, 2, 4, 8, 16, 32),
    6: (0, 2, 4, 6, 8, 16, 32),
    7: (0, 2, 4, 6, 8, 16, 24, 32),
    10: (0, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32),
    12: (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32),
    16: (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32),
}


def f5_points(steps: int, sway: float | None = -1.0, epss: bool = True) -> list[float]:
    """steps + 1 times from 0 to 1, in double precision: EPSS knots where a table exists, else evenly spaced, then
    swayed (None or 0: not swayed). Unchecked; times.f5_grid checks.
    """
    even = [step / steps for step in range(steps + 1)]
    knots = [knot / 32 for knot in EPSS_KNOTS[steps]] if epss and steps in EPSS_KNOTS else even
    return [u + (sway or 0.0) * (math.cos(math.pi / 2 * u) - 1 + u) for u in knots[:-1]] + [1.0]


def float32(value: float) -> float:
    """As solvers round times."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def branches(t: float, scales: Any, interval: tuple[float, float], audio_interval: tuple[float, float]) -> int:
    """Forwards of one evaluation at flow time t. scales: one of `guidance.guided`, two of guided_split, three of
    guided_joint; intervals as there.
    """
    if isinstance(scales, tuple) and len(scales) == 3:
        return 4
    if not _inside(t, interval):
        return 1
    text, audio = scales if isinstance(scales, tuple) else (scales, scales)
    audio = audio if _inside(t, audio_interval) or not isinstance(scales, tuple) else 0
    return 1 + (audio != text) + (audio != 0)


def _inside(t: float, interval: tuple[float, float]) -> bool:
    low, high = map(float32, interval)
    return low <= t and (t < high or high >= 1)


# ---- guides: what a classifier pulls to

_GUIDE = r"[a-z]+=[a-z]+(:[0-9]{1,3}(\.[0-9]{1,6})?)?"
GUIDES = f"^{_GUIDE}(,{_GUIDE})*$"
STRONGEST_GUIDE = 10.0


def guides(text: str | None) -> list[tuple[str, str, float]]:
    """What "pitch=low:1.0,accent=gb" asks for: name, class and scale of each; a scale that is not said is 1. The text
    matches GUIDES, or is empty. ValueError for a scale that is too large.
    """
    parts = [part.partition(":") for part in (text or "").split(",") if part]
    found = [(*pair.partition("=")[::2], float(scale or 1)) for pair, _, scale in parts]
    for name, wanted, scale in found:
        if scale > STRONGEST_GUIDE:
            raise ValueError(f"guide {name}={wanted} must have a scale from 0 to {STRONGEST_GUIDE:g}, got {scale:g}")
    return found
