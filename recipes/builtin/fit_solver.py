"""Fit solvers of few steps to a voice as it is: solver.json beside its weights, for `--method fitted`.

    python recipes/builtin/teacher_paths.py CACHE runs/lab/paths --count 200
    python recipes/builtin/fit_solver.py runs/lab/paths --model tts_fm/assets/builtin --steps 2 4

No network is trained: n (n + 5) / 2 numbers say how n velocities are combined (tts_fm/flow/fitted.py)
and where they take place. For each set of evaluation times that is tried, the rows are least-squares problems along the
stored paths, one after the other; the times are those of the stored grid, first spread like the usual grid, then moved
one at a time while the error on the fitted half gets smaller (--search 0: not moved). Minutes of one core. Printed for
each number of steps: distance to the accurate end over the speech of paths that were not fitted, Euler and fitted.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from teacher_paths import TeacherPath, TeacherPaths
from torch import Tensor

from tts_fm import devices
from tts_fm.checkpoint.load import MODEL, SOLVER, load_flow_model
from tts_fm.files import digest, write_text
from tts_fm.flow.fitted import FittedSolver, RowFit, read_solvers, write_solvers
from tts_fm.flow.path import path_name
from tts_fm.flow.solvers import Velocity
from tts_fm.model.flow_model import FlowModel
from tts_fm.synthesis import BUILTIN

log = logging.getLogger(__name__)


class Fields:
    """The velocity of every stored path under its own condition, which is made once; nothing is padded."""

    def __init__(self, model: FlowModel, paths: TeacherPaths, numbers: Sequence[int]) -> None:
        self.model, self.items = model, [paths[i] for i in numbers]
        self.fields = [self.field(item) for item in self.items]

    @torch.no_grad()
    def field(self, item: TeacherPath) -> Velocity:
        frames = item.states.shape[1]
        mel, given = self.model.prompt(item.prompt[None], 1, frames)
        ids, durations = self.model.ids([item.ids.tolist()], 1), item.durations[None]
        condition = self.model.inference_condition(mel, given, ids, None, durations, torch.zeros(1, dtype=torch.bool))

        @torch.no_grad()
        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return self.model.step(x, t, condition)

        return velocity

    def weight(self, item: TeacherPath) -> Tensor:
        """(1, T): the speech counts, the prompt does not."""
        return (torch.arange(item.states.shape[1])[None] >= len(item.prompt)).float()

    def fit(self, at: Sequence[float], times: Tensor) -> FittedSolver:
        fit = RowFit(at)
        while not fit.done:
            place = int((times - fit.aim).abs().argmin())
            for item, field in zip(self.items, self.fields, strict=True):
                fit.add(field, item.states[:1], item.states[place][None], self.weight(item))
            fit.solve_row()
        return fit.solver()

    def error(self, solver: FittedSolver) -> float:
        """Root mean square distance to the end over the speech, nepers of log-mel."""
        total = frames = 0.0
        for item, field in zip(self.items, self.fields, strict=True):
            off = (solver.solve(field, item.states[:1]) - item.states[-1]).square().mean(-1)
            total += float((off * self.weight(item)).sum())
            frames += float(self.weight(item).sum())
        return self.model.config.mel_std * (total / frames) ** 0.5


def search(fields: Fields, times: Tensor, n: int, rounds: int) -> FittedSolver:
    """The best rows at the best times: coordinate descent over the stored grid from its own even choice."""
    size = len(times) - 1
    places = [round(k * size / n) for k in range(n)]

    def tried(places: list[int]) -> tuple[float, FittedSolver]:
        solver = fields.fit([float(times[p]) for p in places], times)
        error = fields.error(solver)
        log.info("%d steps at %s: %.4f", n, [round(t, 3) for t in solver.times], error)
        return error, solver

    best = tried(places)
    for _ in range(rounds):
        before = best[0]
        for k in range(1, n):
            for move in (-1, 1):
                other = [*places[:k], places[k] + move, *places[k + 1 :]]
                if other[k - 1] < other[k] < ([*other[1:], size])[k]:
                    found = tried(other)
                    if found[0] < best[0]:
                        best, places = found, other
        if best[0] == before:
            break
    return best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, help="folder of teacher_paths.py")
    parser.add_argument("--model", type=Path, default=BUILTIN, help="the folder that gets solver.json")
    parser.add_argument("--out", type=Path, help="write it there instead")
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4], help="one solver for each")
    parser.add_argument("--fitted", type=int, default=24, help="paths that are fitted")
    parser.add_argument("--checked", type=int, default=16, help="paths that only measure")
    parser.add_argument("--search", type=int, default=3, help="rounds of moving the times")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    model = load_flow_model(args.model, dtype=devices.speaking_dtype("cpu"))
    if model.config.span:
        parser.error("a few-step student takes its steps as it learnt them: fit its teacher")
    paths = TeacherPaths(args.paths)
    fields = Fields(model, paths, range(args.checked, args.checked + args.fitted))
    checked = Fields(model, paths, range(args.checked))
    about: dict[str, Any] = {"model": digest(args.model / MODEL), "cfg": 0.0}
    about["path"] = path_name(model.path)
    about["temperature"] = model.settings.get("defaults", {}).get("temperature", 1.0)
    target = args.out or args.model / SOLVER
    solvers = read_solvers(target.read_text("utf-8")) if target.exists() else {}
    solvers = {n: s for n, s in solvers.items() if s.about.get("model") == about["model"]}
    for n in args.steps:
        found = search(fields, paths.grid, n, args.search)
        plain = FittedSolver.euler(paths.grid[[round(k * (len(paths.grid) - 1) / n) for k in range(n + 1)]])
        figures = {"euler": round(checked.error(plain), 4), "fitted": round(checked.error(found), 4)}
        log.info("%d steps, paths that were not fitted: %s", n, figures)
        solvers[n] = FittedSolver(found.times, found.a, found.b, about | {"steps": n, "distance": figures})
    write_text(target, write_solvers(solvers))


if __name__ == "__main__":
    main()
