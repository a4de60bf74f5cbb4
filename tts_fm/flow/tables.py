"""The numbers of solvers and grids, without torch: Butcher tables, pruned knots, and F5-TTS's grid.

solvers.py and times.py compute with them; whoever only counts forwards, or solves with numpy, takes them from here.
"""

from __future__ import annotations

import math
from typing import NamedTuple


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
