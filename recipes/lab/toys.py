"""Flow matching in the plane, from exact fields: the pictures of docs/flow.md.

    python recipes/lab/toys.py docs/flow

Data: three Gaussians. Noise: one. For such data the marginal velocity of every path is known in closed form, so nothing
here is trained but the ReFlow student. Writes paths.png (how points travel along the straight, the VP and the VE path),
fields.png (conditional against marginal velocity, crossing lines), coupling.png (minibatch optimal transport),
reflow.png (one round), solvers.png (error against the number of evaluations, fitted solvers among them), guidance.png
(classifier and classifier-free guidance towards one Gaussian) and laws.png (laws of training times). Prints the figures
that the text quotes. Needs matplotlib; a minute of one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from tts_fm.flow.coupling import minibatch_ot
from tts_fm.flow.fitted import FittedSolver, fit_rows, refine
from tts_fm.flow.guidance import ClassifierGuidance, cfg
from tts_fm.flow.path import Path as FlowPath
from tts_fm.flow.path import along_path, make_path
from tts_fm.flow.solvers import Velocity, nfe, solve
from tts_fm.flow.straighten import lesson_loss, reflow, straightness, u_shaped
from tts_fm.flow.times import draw_times, logit_normal, mode, time_grid, uniform_times

MEANS = torch.tensor([[2.0, 0.5], [-1.0, 1.5], [0.3, -1.8]])
STDS = torch.tensor([0.3, 0.5, 0.2])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, seed: int = 0) -> Tensor:
    """(count, 1, 2): one frame of two channels an item."""
    return torch.randn(count, 1, 2, generator=generator(seed))


def data(count: int, seed: int = 1) -> Tensor:
    which = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator(seed))
    return (MEANS[which] + STDS[which, None] * noise(count, seed + 100)[:, 0])[:, None]


def marginal(path: FlowPath):
    """The exact velocity of the mixture along a path: the mean of the conditional ones given where one is."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        a, da, b, db = (c.double()[:, None] for c in path.coefficients(t.double()))
        variance = (a * STDS) ** 2 + b**2  # (B, modes)
        away = x.double() - a[..., None] * MEANS  # (B, modes, 2)
        log = WEIGHTS.log() - variance.log() - away.square().sum(-1) / (2 * variance)
        each = da[..., None] * MEANS + ((a * da * STDS**2 + b * db) / variance)[..., None] * away
        return (log.softmax(-1)[..., None] * each).sum(1, keepdim=True).to(x.dtype)

    return velocity


def trajectories(path: FlowPath, x0: Tensor, steps: int = 200) -> Tensor:
    """(steps + 1, B, 2) states on the way."""
    seen: list[Tensor] = []
    grid = time_grid(steps) * path.end
    end = solve(marginal(path), path.start(x0), grid, "midpoint", lambda i, x, t, v: seen.append(x))
    return torch.stack([*seen, end])[:, :, 0]


def draw_paths(folder: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4))
    for axis, name in zip(axes, ("ot", "vp(0.1, 20)", "ve(0.02, 4)"), strict=True):
        path = make_path(name)
        way = trajectories(path, noise(60))
        axis.plot(way[:, :, 0], way[:, :, 1], color="0.6", linewidth=0.5)
        axis.scatter(*way[0].T, s=5, color="tab:blue", label="noise")
        axis.scatter(*way[-1].T, s=5, color="tab:red", label="data")
        bent = float((way[1:] - way[:-1]).norm(dim=-1).sum(0).div((way[-1] - way[0]).norm(dim=-1)).median())
        print(f"{name}: a path is {bent:.2f} times as long as the line between its ends (median of 60)")
        axis.set(title=f"{name}, {bent:.2f} times the straight line", aspect="equal")
    axes[0].legend()
    save(figure, folder / "paths.png")


def draw_fields(folder: Path) -> None:
    path, figure = make_path("ot"), plt.figure(figsize=(8, 4))
    x0, x1 = noise(25), data(25)
    left, right = figure.subplots(1, 2)
    for a, b in zip(x0[:, 0], x1[:, 0], strict=True):
        left.plot([a[0], b[0]], [a[1], b[1]], color="0.7", linewidth=0.7)
    left.scatter(*x0[:, 0].T, s=8)
    left.scatter(*x1[:, 0].T, s=8, color="tab:red")
    left.set(title="conditional: lines that cross", aspect="equal")
    way = trajectories(path, x0)
    right.plot(way[:, :, 0], way[:, :, 1], color="0.7", linewidth=0.7)
    axis = torch.linspace(-3, 3, 13)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 1, 2)
    v = marginal(path)(places, torch.full((len(places),), 0.5))
    right.quiver(*places[:, 0].T, *v[:, 0].T, width=0.003, color="tab:green")
    right.set(title="marginal: what is learnt (arrows: t = 0.5)", aspect="equal")
    save(figure, folder / "fields.png")


def draw_coupling(folder: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(8, 4))
    x0, x1 = noise(40), data(40)
    for axis, (name, start) in zip(
        axes, {"independent": x0, "minibatch OT": minibatch_ot(x0, x1)}.items(), strict=True
    ):
        far = float((start - x1).square().sum(-1).mean())
        print(f"coupling {name}: mean squared distance {far:.2f} in the plane (batch of 40)")
        for a, b in zip(start[:, 0], x1[:, 0], strict=True):
            axis.plot([a[0], b[0]], [a[1], b[1]], color="0.7", linewidth=0.7)
        axis.set(title=f"{name}: {far:.2f}", aspect="equal")
    save(figure, folder / "coupling.png")


class Student(nn.Module):
    """(x (B, 1, 2), t) -> velocity."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def forward(self, x: Tensor, t: Tensor, until: Tensor | None = None) -> Tensor:
        time = torch.stack([t, t**2, (3 * t).sin(), (3 * t).cos()], -1)
        return self.layers(torch.cat([x[:, 0], time], -1))[:, None]


def draw_reflow(folder: Path, updates: int = 1500) -> None:
    teacher = marginal(make_path("ot"))
    x0 = noise(8000, 5)
    x1 = solve(teacher, x0, time_grid(40), "midpoint")
    torch.manual_seed(0)  # the student's first weights
    student, g = Student(), generator(6)
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-3)
    for step in range(updates):
        pick = torch.randint(len(x0), (256,), generator=g)
        loss = lesson_loss(student, reflow(x0[pick], x1[pick], u_shaped(256, g)), torch.ones(256, 1))
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, 2 * (1 - step / updates))
        optimiser.step()
    fresh = noise(400, 9)
    figure, axes = plt.subplots(1, 2, figsize=(8, 4))
    for axis, (name, field) in zip(axes, {"before": teacher, "after one round": student}.items(), strict=True):
        bend = float(straightness(field, fresh).mean())
        with torch.no_grad():
            one = solve(field, fresh, [0.0, 1.0])[:, 0]
        print(f"ReFlow, {name}: straightness {bend:.3f} (0 = straight)")
        axis.scatter(*data(400)[:, 0].T, s=3, color="0.8")
        axis.scatter(*one.T, s=3, color="tab:red")
        axis.set(title=f"{name}: one Euler step; straightness {bend:.2f}", aspect="equal")
    save(figure, folder / "reflow.png")


def draw_solvers(folder: Path) -> None:
    path = make_path("ot")
    field, x0 = marginal(path), noise(400, 3)
    grid = torch.as_tensor(time_grid(64, "sway"))
    states = [x0]
    for a, b in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        states.append(solve(field, states[-1], [a, b], "rk4"))
    known, end = torch.stack(states, 1), states[-1]
    figure, axis = plt.subplots(figsize=(6, 4))

    def off(x: Tensor) -> float:
        return float((x - end)[200:].square().mean().sqrt())

    for method in ("euler", "midpoint", "rk4"):
        counts = [n for n in (1, 2, 3, 4, 6, 8, 12, 16) if nfe(method, n) <= 32]
        errors = [off(solve(field, x0, time_grid(n), method)) for n in counts]
        axis.loglog([nfe(method, n) for n in counts], errors, marker="o", label=method)
    sway = [off(solve(field, x0, time_grid(n, "sway"))) for n in (2, 3, 4, 6, 8, 12, 16)]
    axis.loglog((2, 3, 4, 6, 8, 12, 16), sway, marker="o", label="euler, sway")
    fitted: list[float] = []
    for n in (2, 3, 4, 6, 8):
        solver: FittedSolver = fit_rows(field, known[:200], grid, [float(t) for t in time_grid(n, "sway")[:-1]])
        fitted.append(off(solver.solve(field, x0)))
    axis.loglog((2, 3, 4, 6, 8), fitted, marker="s", label="fitted (BNS), sway")
    refined: list[float] = []
    for n in (2, 4):
        start = fit_rows(field, known[:200], grid, [float(t) for t in time_grid(n, "sway")[:-1]])
        better = refine(start, [(field, x0[:200], end[:200], None)] * 150)
        refined.append(off(better.solve(field, x0)))
    axis.loglog((2, 4), refined, marker="*", label="fitted, then refined")
    print(f"2 and 4 evaluations, refined by gradients: {refined[0]:.3f}, {refined[1]:.3f}")
    print(f"2, 4, 8 evaluations: euler with sway {sway[0]:.3f}, {sway[2]:.3f}, {sway[4]:.3f}; fitted "
          f"{fitted[0]:.3f}, {fitted[2]:.3f}, {fitted[4]:.3f}")  # fmt: skip
    other = make_path("cosine")
    moved = solve(along_path(field, path, other), other.start(x0), time_grid(200), "midpoint")
    print(f"the same field solved along the cosine path ends {off(moved):.4f} away")
    axis.set(xlabel="evaluations of the velocity", ylabel="distance to the accurate end (RMS)")
    axis.legend()
    save(figure, folder / "solvers.png")


def draw_guidance(folder: Path) -> None:
    path, wanted, x0 = make_path("ot"), 1, noise(300, 12)
    field = marginal(path)

    def of_mode(x: Tensor, t: Tensor) -> Tensor:
        a, b = t[:, None], 1 - t[:, None]
        variance = (a * STDS[wanted]) ** 2 + b**2
        away = x[:, 0] - a * MEANS[wanted]
        return (MEANS[wanted] + (a * STDS[wanted] ** 2 - b) / variance * away)[:, None]

    def log_prob(x: Tensor, t: Tensor) -> Tensor:
        a, b = t[:, None], 1 - t[:, None]
        variance = (a * STDS) ** 2 + b**2
        log = WEIGHTS.log() - variance.log() - (x - a[..., None] * MEANS).square().sum(-1) / (2 * variance)
        return log.log_softmax(-1)[:, wanted]

    fields: dict[str, Velocity] = {
        "classifier, scale 1": ClassifierGuidance(field, log_prob, 1.0),
        "classifier, scale 3": ClassifierGuidance(field, log_prob, 3.0),
        "classifier-free, w = 2": cfg(lambda x, t, need: (of_mode(x, t), field(x, t)), 2.0),
    }
    figure, axes = plt.subplots(1, 3, figsize=(12, 4))
    for axis, (name, guided) in zip(axes, fields.items(), strict=True):
        found = solve(guided, x0, time_grid(100), "midpoint")[:, 0]
        spread = float(found.std(0).mean())
        print(f"guidance, {name}: spread {spread:.2f}, the Gaussian's is {float(STDS[wanted]):.2f}")
        axis.scatter(*data(400)[:, 0].T, s=3, color="0.8")
        axis.scatter(*found.T, s=3, color="tab:red")
        axis.set(title=f"{name}: spread {spread:.2f}", aspect="equal")
    save(figure, folder / "guidance.png")


def draw_laws(folder: Path) -> None:
    count, g = 20_000, generator(4)
    drawn = {
        "uniform": uniform_times(count, g),
        "logit_normal(0, 1)": logit_normal(count, g),
        "mode(1.29)": mode(count, g),
        "sway(-1)": draw_times("sway(-1)", count, g),
        "u_shaped (ReFlow)": u_shaped(count, g),
    }
    figure, axis = plt.subplots(figsize=(6, 3))
    for name, t in drawn.items():
        axis.hist(t.numpy(), bins=50, range=(0, 1), density=True, histtype="step", label=name)
    axis.set(xlabel="t: 0 is noise, 1 is data", ylabel="density")
    axis.legend()
    save(figure, folder / "laws.png")


def save(figure: Figure, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, dpi=70, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for draw in (draw_paths, draw_fields, draw_coupling, draw_reflow, draw_solvers, draw_guidance, draw_laws):
        draw(args.folder)


if __name__ == "__main__":
    main()
