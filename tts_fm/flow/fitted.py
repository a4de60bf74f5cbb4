"""Solvers whose numbers are fitted to one frozen field: the same forwards, used better.

B batch, T frames, D channels, n steps, each one evaluation of the velocity. The non-stationary form (BNS, arXiv
2403.01329) is the most general explicit one:

    x_{i+1} = a_i x_0 + sum over j <= i of b_ij u(x_j, t_j)

Euler, midpoint, every table solver and the scale-time (bespoke) solvers of arXiv 2310.19075 are settings of a, b and t.
Two ways to fit: `fit_rows`, one linear least-squares problem a step along accurate paths, and `refine`, gradients
through the whole unrolled solver. Knows nothing of speech; which model a solver was fitted to stands in `about`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .solvers import OnStep, Settled, Velocity, checked_grid
from .tables import FITTED, TABLES

if TYPE_CHECKING:
    from torch import Tensor

FORM = "bns"


@dataclass(frozen=True)
class FittedSolver:
    """times[i]: where evaluation i takes place, n of them in [0, 1]; a[i] and b[i] (i + 1 numbers): row i of the form
    in the module docstring. about: what it was fitted to, plain JSON. ValueError for numbers that do not fit each
    other.
    """

    times: tuple[float, ...]
    a: tuple[float, ...]
    b: tuple[tuple[float, ...], ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.times)
        numbers = [*self.times, *self.a, *(number for row in self.b for number in row)]
        fits = n >= 1 and len(self.a) == n and [len(row) for row in self.b] == list(range(1, n + 1))
        if not fits or not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
            raise ValueError("a fitted solver needs n times, n numbers a and rows of 1, 2 ... n numbers b, all finite")
        if not all(0 <= t <= 1 for t in self.times):
            raise ValueError(f"a fitted solver's times must lie in [0, 1], got {list(self.times)}")

    def __len__(self) -> int:
        """Evaluations of the velocity."""
        return len(self.times)

    @classmethod
    def from_table(cls, method: str, grid: Tensor | Sequence[float]) -> FittedSolver:
        """A table solver on a grid (steps + 1,), to the bit."""
        if method not in TABLES:
            raise ValueError(f"unknown solver {method!r}; one of {', '.join(TABLES)}")
        table, times = TABLES[method], checked_grid(grid)
        nodes: list[float] = []
        rows: list[list[float]] = []
        walked: list[float] = []  # weights of all evaluations of finished steps
        for start, end in itertools.pairwise(times):
            h = end - start
            nodes += [start + node * h for node in table.nodes]
            ends = [*table.stages[1:], table.weights]  # what each evaluation leads to
            rows += [[*walked, *(h * w for w in row)] for row in ends]
            walked = rows[-1]
        return cls(tuple(nodes), (1.0,) * len(nodes), tuple(map(_padded, rows, range(1, len(rows) + 1))))

    @classmethod
    def euler(cls, grid: Tensor | Sequence[float]) -> FittedSolver:
        """Euler's method on a grid (n + 1,): n evaluations."""
        return cls.from_table("euler", grid)

    @classmethod
    def midpoint(cls, grid: Tensor | Sequence[float]) -> FittedSolver:
        """The midpoint method on a grid (n + 1,): 2 n evaluations."""
        return cls.from_table("midpoint", grid)

    @classmethod
    def bespoke(
        cls, times: Sequence[float], rates: Sequence[float], scales: Sequence[float], scale_rates: Sequence[float]
    ) -> FittedSolver:
        """The scale-time Euler step (arXiv 2310.19075, RK1) on n equal steps h of r: times t_0 ... t_n from 0 to 1,
        rates dt/dr > 0 and scale_rates ds/dr at the n starts, scales s_0 = 1 ... s_n > 0:

            x_{i+1} = [(s_i + h s'_i) x_i + h t'_i s_i u(x_i, t_i)] / s_{i+1}

        times i/n, rates and scales 1, scale_rates 0: Euler.
        """
        n = len(rates)
        if len(times) != n + 1 or len(scales) != n + 1 or len(scale_rates) != n or min(*rates, *scales) <= 0:
            raise ValueError("need n + 1 times and scales, n rates and scale_rates, rates and scales above 0")
        if times[0] != 0 or times[-1] != 1 or scales[0] != 1:
            raise ValueError("times must run from 0 to 1 and the first scale must be 1")
        h, a = 1 / n, 1.0
        row: list[float] = []
        firsts: list[float] = []
        rows: list[tuple[float, ...]] = []
        for i in range(n):
            keep = (scales[i] + h * scale_rates[i]) / scales[i + 1]
            a, row = a * keep, [*(keep * b for b in row), h * rates[i] * scales[i] / scales[i + 1]]
            firsts.append(a)
            rows.append(tuple(row))
        return cls(tuple(times[:-1]), tuple(firsts), tuple(rows))

    def solve(self, velocity: Velocity, x0: Any, on_step: OnStep | None = None) -> Any:
        """Carry x0 (B, T, D) at t = 0 to t = 1, tensors or arrays; velocity, dtypes and on_step as in flow.solve."""
        slope = Settled(velocity, x0)
        start = slope.state(x0)
        x, slopes = start, []
        for i, (t, a, row) in enumerate(zip(self.times, self.a, self.b, strict=True)):
            slopes.append(slope(x, t))
            if on_step is not None:
                on_step(i, slope.shown(x), slope.times(t), slope.shown(slopes[-1]))
            x = start if a == 1 else a * start
            for b, v in zip(row, slopes, strict=True):
                if b != 0:
                    x = x + b * v
        return slope.shown(x)

    def to_json(self) -> str:
        """Text that `from_json` reads, every number exact."""
        parts = {"form": FORM, "times": self.times, "a": self.a, "b": self.b, "about": dict(self.about)}
        return json.dumps(parts, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FittedSolver:
        """ValueError for anything but what `to_json` writes."""
        try:
            parts = json.loads(text)
            if parts["form"] != FORM:
                raise ValueError(f"form {parts['form']!r}")
            rows = tuple(tuple(float(x) for x in row) for row in parts["b"])
            times, a = (tuple(float(x) for x in parts[key]) for key in ("times", "a"))
            return cls(times, a, rows, dict(parts.get("about", {})))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no fitted solver: {error}") from None

    def check_for(self, **wanted: Any) -> None:
        """ValueError naming the first of `wanted` that differs from `about`: another model, guidance, number of
        steps.
        """
        for key, value in wanted.items():
            if self.about.get(key) != value:
                raise ValueError(
                    f"this solver was fitted for {key} {self.about.get(key)!r}, not {value!r}; fit another, or use a "
                    "method that knows no model"
                )


def read_solvers(text: str) -> dict[int, FittedSolver]:
    """A list of solvers as `write_solvers` makes it, by number of evaluations; ValueError for anything else."""
    try:
        solvers = [FittedSolver.from_json(json.dumps(each)) for each in json.loads(text)["solvers"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"these are no fitted solvers: {error}") from None
    return {len(solver): solver for solver in solvers}


def write_solvers(solvers: Mapping[int, FittedSolver]) -> str:
    """Text that `read_solvers` reads."""
    return json.dumps({"solvers": [json.loads(solvers[n].to_json()) for n in sorted(solvers)]}, indent=1) + "\n"


def chosen(solvers: Mapping[int, FittedSolver], steps: int, **wanted: Any) -> FittedSolver:
    """The solver of so many evaluations, fitted for `wanted`; ValueError says which there are."""
    if not solvers:
        raise ValueError(f"no solver was fitted to this model: method {FITTED} needs a solver.json beside it")
    if steps not in solvers:
        known = ", ".join(map(str, sorted(solvers)))
        raise ValueError(f"method {FITTED} works with steps {known} of this model, not {steps}")
    solvers[steps].check_for(**wanted)
    return solvers[steps]


def fit_rows(
    velocity: Velocity, states: Tensor, times: Tensor, at: Sequence[float], weight: Tensor | None = None
) -> FittedSolver:
    """Row by row by least squares: x_{i+1} is to be where accurate paths are at at[i + 1].

    states (B, S, T, D) at times (S,) increasing from 0 to 1: the paths, straight between the stored times. at: n
    evaluation times, the first 0; the last row aims at the end. weight (B, T): of the frames. Every row is fitted where
    the rows before it really lead, so it mends their errors as well.
    """
    fit = RowFit(at)
    while not fit.done:
        aim = fit.aim
        fit.add(velocity, states[:, 0], _state_at(states, times, aim), weight)
        fit.solve_row()
    return fit.solver()


class RowFit:
    """The normal equations of fit_rows, for data that comes in parts: add every part, then solve_row, n times over."""

    def __init__(self, at: Sequence[float]) -> None:
        if not at or at[0] != 0 or any(a >= b for a, b in itertools.pairwise(at)) or at[-1] >= 1:
            raise ValueError(f"evaluation times must increase from 0 and end before 1, got {list(at)}")
        self.at, self.a, self.b = [float(t) for t in at], [], []  # type: ignore[var-annotated]
        self._new()

    def _new(self) -> None:
        import torch

        size = len(self.a) + 2
        self.left, self.right = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)

    @property
    def done(self) -> bool:
        return len(self.a) == len(self.at)

    @property
    def aim(self) -> float:
        """The time that the row which is being fitted leads to."""
        return [*self.at[1:], 1.0][len(self.a)]

    def add(self, velocity: Velocity, x0: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Paths from x0 (B, T, D) that are at target (B, T, D) at `aim`."""
        import torch

        i, slope = len(self.a), Settled(velocity, x0)
        with torch.no_grad():
            slopes: list[Tensor] = []
            x = x0
            for k in range(i + 1):
                slopes.append(slope(x, self.at[k]))
                if k < i:
                    x = _row(x0, slopes, self.a[k], self.b[k])
            w = torch.ones(x0.shape[:2]) if weight is None else weight
            root = w.sqrt().reshape(*w.shape, *[1] * (x0.ndim - 2)).to(x0.device)
            columns = torch.stack([(part * root).flatten() for part in (x0, *slopes)]).double().cpu()  # (i + 2, all)
            self.left += columns @ columns.T
            self.right += columns @ (target * root).flatten().double().cpu()

    def solve_row(self) -> None:
        """The row whose data were added; the next one is waited for then."""
        import torch

        a, *row = torch.linalg.lstsq(self.left, self.right[:, None], driver="gelsd").solution[:, 0].tolist()
        self.a.append(a)
        self.b.append(tuple(row))
        if not self.done:
            self._new()

    def solver(self, about: Mapping[str, Any] | None = None) -> FittedSolver:
        """ValueError before every row is solved."""
        return FittedSolver(tuple(self.at), tuple(self.a), tuple(self.b), about or {})


def refine(
    start: FittedSolver,
    batches: Iterable[tuple[Velocity, Tensor, Tensor, Tensor | None]],
    rate: float = 5e-3,
    on_loss: Callable[[int, float], object] | None = None,
) -> FittedSolver:
    """Gradient steps (Adam, one a batch) through the whole unrolled solver, times included.

    batches: (velocity, x0 (B, T, D), accurate end (B, T, D), weight (B, T) or None); the velocity lets gradients pass
    from its result to x and t. Loss: mean over items of the log of the mean squared distance. The first time stays 0,
    the others stay in order. Returns the solver after the last batch.
    """
    import torch

    n = len(start)
    gaps = torch.tensor([*start.times[1:], 1.0]) - torch.tensor(start.times)
    free = [gaps.log().requires_grad_(True), torch.tensor(start.a).requires_grad_(True)]
    free += [torch.tensor(row).requires_grad_(True) for row in start.b]
    optimiser = torch.optim.Adam(free, lr=rate)

    def parts() -> tuple[Tensor, Tensor, list[Tensor]]:
        shares = free[0].softmax(0)
        return torch.cat([torch.zeros(1), shares.cumsum(0)[:-1]]), free[1], free[2:]

    for number, (velocity, x0, end, weight) in enumerate(batches):
        times, a, rows = parts()
        x, slopes = x0, []
        for i in range(n):
            slopes.append(velocity(x, times[i].expand(len(x0))))
            x = a[i] * x0 + sum(b * v for b, v in zip(rows[i], slopes, strict=True))
        squares = (x - end).square().flatten(2).mean(-1)  # (B, T)
        w = torch.ones_like(squares) if weight is None else weight
        loss = ((squares * w).sum(1) / w.sum(1)).clamp(min=1e-20).log().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if on_loss is not None:
            on_loss(number, loss.item())
    times, a, rows = parts()
    numbers = tuple(tuple(row.tolist()) for row in rows)
    return replace(start, times=tuple(times.clamp(0, 1).tolist()), a=tuple(a.tolist()), b=numbers)


def _row(x0: Tensor, slopes: Sequence[Tensor], a: float, row: Sequence[float]) -> Tensor:
    x = a * x0
    for b, v in zip(row, slopes, strict=False):
        x = x + b * v
    return x


def _padded(row: Sequence[float], size: int) -> tuple[float, ...]:
    return (*row, *[0.0] * (size - len(row)))


def _state_at(states: Tensor, times: Tensor, t: float) -> Tensor:
    right = min(max(int((times <= t).sum()), 1), len(times) - 1)
    share = (t - float(times[right - 1])) / (float(times[right]) - float(times[right - 1]))
    return (1 - share) * states[:, right - 1] + share * states[:, right]
