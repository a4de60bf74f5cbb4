"""Train a few-step student of a voice: it takes two steps (or one, or four) where its teacher takes eight.

    python recipes/builtin/teacher_paths.py CORPUS runs/lab/paths --count 1000
    nice -n 10 python recipes/builtin/straighten.py runs/lab/paths runs/lab/student --minutes 90
    python recipes/builtin/straighten.py runs/lab/paths runs/lab/student --search 2
    tts-fm eval LIST --model runs/lab/student/model --steps 2

The student starts as its teacher, with an embedding of the step's length that is zero at first (ModelConfig.span). Text
side and voice encoder stay as they are. It reads no audio: what it learns from is what the teacher made of noise.
Lessons, in shares of the batches (--shares): `1`, `2`, `4`, `8`: its own walk of so many steps against the teacher's
path (rollout_loss); `any`: one step between two random times; `reflow`: straight lines; `split`: its own two steps in
one; `flow`: one step against --teacher-steps of the teacher, which runs for it (2: flow distillation, 4 to 8: mean
flow). Run it again to go on from the last checkpoint; log.jsonl has the distance from the teacher's end, in nepers of
log-mel, for each number of steps. --search N trains nothing: it finds the times of N steps at which the student (where
there is none, the teacher) ends nearest (O3S, flow.search_times), and the student speaks with them from then on.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import loop
import mel_judges
import numpy as np
import torch
from mel_judges import MelJudges
from teacher_paths import TeacherPath, TeacherPaths
from torch import Tensor

from tts_fm import devices
from tts_fm.checkpoint.load import CONFIG, load_flow_model, save_flow_model
from tts_fm.files import read_state, write_json, write_state
from tts_fm.flow.straighten import (
    Student,
    along,
    distilled,
    lesson_loss,
    reflow,
    rollout_loss,
    search_times,
    split,
    u_shaped,
    walk,
)
from tts_fm.model.condition import Condition
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.folder import read_config
from tts_fm.synthesis import BUILTIN

EDGES = (512, 768, 1024)  # frames that items are padded to
PROMPT_WEIGHT = 0.1  # of the prompt's frames in the loss: the state there is not heard, but it is seen
HELD_OUT = 16  # paths for measuring


def student_of(teacher: FlowModel) -> FlowModel:
    """The teacher's network with an embedding of the step's length that changes nothing yet; text side frozen."""
    config = dataclasses.replace(teacher.config, span=True)
    student = FlowModel(config, teacher.vocab, teacher.tokenizer_settings)
    missing, unknown = student.load_state_dict(teacher.state_dict(), strict=False)
    assert not unknown and all("span_embed" in name for name in missing)
    for part in (student.net.text_embed, student.net.style):
        if part is not None:
            part.requires_grad_(False)
    return student


class Batches:
    """Batches of stored paths as functions of the step: items of like length, padded to one of EDGES."""

    def __init__(self, paths: TeacherPaths, numbers: range, frames: int, seed: int = 0) -> None:
        self.paths, self.frames, self.seed = paths, frames, seed
        of_edge: dict[int, list[int]] = {edge: [] for edge in EDGES}
        for number in numbers:
            length = paths.rows[number]["frames"]
            of_edge[next(edge for edge in EDGES if edge >= length)].append(number)
        self.of_edge = {edge: members for edge, members in of_edge.items() if members}

    def draw(self, step: int) -> tuple[list[TeacherPath], int]:
        """(items, frames to pad them to)."""
        rng = np.random.default_rng((self.seed, step))
        edges, counts = list(self.of_edge), np.array([len(m) * e for e, m in self.of_edge.items()], float)
        edge = edges[int(rng.choice(len(edges), p=counts / counts.sum()))]
        members = self.of_edge[edge]
        chosen = rng.choice(len(members), size=max(1, self.frames // edge))
        return [self.paths[members[int(i)]] for i in chosen], edge


def collate(model: FlowModel, items: list[TeacherPath], frames: int) -> tuple[Condition, Tensor, Tensor]:
    """(condition, states (B, S, T, 100), weight (B, T)): all that does not change while the student learns, where the
    model is.
    """
    lengths = torch.tensor([item.states.shape[1] for item in items])
    mask = torch.arange(frames)[None] < lengths[:, None]
    given = torch.arange(frames)[None] < torch.tensor([len(item.prompt) for item in items])[:, None]
    mel = torch.zeros(len(items), frames, 100)
    states = torch.zeros(len(items), items[0].states.shape[0], frames, 100)
    for b, item in enumerate(items):
        mel[b, : len(item.prompt)] = model.normalise(item.prompt)
        states[b, :, : item.states.shape[1]] = item.states
    width = (max(len(item.ids) for item in items) // 32 + 1) * 32
    ids, durations = torch.full((len(items), width), -1), torch.zeros(len(items), width)
    for b, item in enumerate(items):
        ids[b, : len(item.ids)], durations[b, : len(item.ids)] = item.ids, item.durations
    none = torch.zeros(len(items), dtype=torch.bool)
    parts = (mel, given, ids, mask, durations, none, states)
    mel, given, ids, mask, durations, none, states = (devices.send(part, model.device) for part in parts)
    with torch.no_grad():
        condition = model.condition(mel, given, ids, mask, durations, none)
    return condition, states, torch.where(given, PROMPT_WEIGHT, 1.0) * mask


class Lessons:
    """The loss of a step, by the kind of lesson that is drawn for it."""

    def __init__(self, model: FlowModel, teacher: FlowModel, batches: Batches, grid: Tensor, how: Namespace) -> None:
        self.model, self.teacher, self.teacher_steps = model, teacher, how.teacher_steps
        self.batches, self.grid, self.huber, shares = batches, grid.to(model.device), how.huber, how.shares
        self.judges = MelJudges(model, how) if how.judges else None
        self.kinds, weights = list(shares), np.array(list(shares.values()), float)
        self.weights = weights / weights.sum()
        for kind in self.kinds:
            if kind not in ("any", "reflow", "split", "flow") and (not kind.isdigit() or (len(grid) - 1) % int(kind)):
                raise ValueError(
                    f"unknown lesson {kind!r}; any, reflow, split, flow, or steps that divide {len(grid) - 1}"
                )

    def __call__(self, step: int) -> Tensor:
        kind = str(np.random.default_rng((1, self.batches.seed, step)).choice(self.kinds, p=self.weights))
        condition, states, weight = collate(self.model, *self.batches.draw(step))
        student = student_call(self.model, condition)
        generator = torch.Generator().manual_seed(2**32 + step)
        if kind.isdigit():
            every = (len(self.grid) - 1) // int(kind)
            through = int(kind) <= 2 and self.judges is None
            loss, end = rollout_loss(student, states[:, ::every], self.grid[::every], weight, through, self.huber)
            if self.judges is not None and int(kind) <= 2:
                loss = loss + self.judges.loss(end, loss, weight == 1, step)
            return loss
        if kind == "reflow":
            lesson = reflow(states[:, 0], states[:, -1], u_shaped(len(states), generator).to(states.device))
            return lesson_loss(student, lesson, weight, self.huber)
        u = torch.rand(2, len(states), generator=generator).sort(0).values.to(states.device)
        places = 1 - torch.cos(np.pi / 2 * u)  # as dense as the grid
        lesson = along(states, self.grid, places[0], torch.maximum(places[1], places[0] + 1e-3).clamp(max=1.0))
        if kind == "split":
            share = torch.rand(len(states), generator=generator) * 0.8 + 0.1
            lesson = split(student, lesson.x, lesson.t, lesson.until, share.to(states.device))
        if kind == "flow":
            teacher = student_call(self.teacher, condition)  # the text side is the same in both
            field = lambda x, t: teacher(x, t, t)  # noqa: E731
            lesson = distilled(field, lesson.x, lesson.t, lesson.until, self.teacher_steps)
        return lesson_loss(student, lesson, weight, self.huber)


def student_call(model: FlowModel, c: Condition):
    """(x, t, until) -> mean velocity, for batches under one condition."""

    def student(x: Tensor, t: Tensor, until: Tensor) -> Tensor:
        modulations = model.net.modulations(t, until)
        return model.net(x, t, c.given, c.given_mask, c.text, c.mask, modulations, c.voice).float()

    return student


class Ends:
    """How far from the teacher's end a network's own steps lead, on some of the paths; conditions are made once."""

    def __init__(self, model: FlowModel, batches: Batches) -> None:
        self.model = model.eval()
        self.parts: list[tuple[Student, Tensor, Tensor, Tensor]] = []
        with devices.autocast(model.device, torch.bfloat16):
            for edge, members in batches.of_edge.items():
                size = max(1, batches.frames // edge)
                for start in range(0, len(members) - size + 1, size):
                    items = [batches.paths[i] for i in members[start : start + size]]
                    condition, states, weight = collate(model, items, edge)
                    self.parts.append((student_call(model, condition), states[:, 0], states[:, -1], weight == 1))

    def error(self, times: Sequence[float] | Tensor) -> float:
        """Root mean square over the speech, nepers of log-mel, of one step between each two of `times`."""
        with devices.autocast(self.model.device, torch.bfloat16):
            each = [(walk(call, x0, times) - end)[heard].square().mean() for call, x0, end, heard in self.parts]
        return self.model.config.mel_std * float(torch.stack(each).mean()) ** 0.5


def measure(model: FlowModel, batches: Batches, grid: Tensor, counts: tuple[int, ...]) -> dict[str, float]:
    """Distance to the teacher's end for each number of steps, on times of the stored grid."""
    ends = Ends(model, batches)
    return {f"end_{n}": round(ends.error(grid[:: (len(grid) - 1) // n]), 4) for n in counts if ends.parts}


def search(folder: Path, paths: TeacherPaths, args: Namespace) -> None:
    """Find the times of --search steps on half of the paths that were not learnt from, measure them on the others, and
    keep them in a student's config.json.
    """
    model, grid, n = load_flow_model(folder), paths.grid, args.search
    start = [float(grid[round(k * (len(grid) - 1) / n)]) for k in range(n + 1)]
    half = HELD_OUT // 2
    looked, others = (Ends(model, Batches(paths, those, EDGES[-1])) for those in (range(half), range(half, HELD_OUT)))
    times, error = search_times(looked.error, start, args.width)
    times = [round(t, 4) for t in times]
    logging.info("searched on %d paths: %.4f -> %.4f", half, looked.error(start), error)
    logging.info("on %d others: %.4f at %s", half, others.error(start), [round(t, 4) for t in start])
    logging.info("on %d others: %.4f, --grid %s", half, others.error(times), ",".join(map(str, times)))
    if model.config.span:  # a student's own times; a teacher takes any number of steps
        settings = read_config(folder / CONFIG)
        settings["defaults"] = settings.get("defaults", {}) | {"steps": n, "grid": times}
        write_json(folder / CONFIG, settings)


class Average:
    """The trained weights, averaged over the steps; kept in a file beside last.pt."""

    def __init__(self, model: FlowModel, decay: float, file: Path) -> None:
        self.model, self.decay, self.file, self.count = model, decay, file, 0
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        if file.exists():
            state = read_state(file, model.device)
            self.weights, self.count = state["weights"], state["count"]

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for name, p in self.model.named_parameters():
            if p.requires_grad:
                self.weights[name].lerp_(p, 1 - decay)
        self.count += 1

    def save(self) -> None:
        write_state(self.file, {"weights": self.weights, "count": self.count})


def parse_shares(text: str) -> dict[str, float]:
    return {part.split(":")[0]: float(part.split(":")[1]) for part in text.split(",")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    loop.add_options(parser, batch=0, save=200)
    mel_judges.add_options(parser)
    parser.add_argument("--teacher", type=Path, default=BUILTIN)
    parser.add_argument("--start", type=Path, help="folder of a student whose weights are taken to begin with")
    parser.add_argument("--paths", type=int, help="how many of the stored paths (default: all)")
    parser.add_argument("--batch-frames", type=int, default=3072)
    parser.add_argument("--shares", type=parse_shares, default="1:0.2,2:0.5,4:0.15,any:0.15")
    parser.add_argument("--teacher-steps", type=int, default=2, help="of the teacher in a lesson of kind `flow`")
    parser.add_argument("--huber", type=float, default=0.0)
    parser.add_argument("--ema", type=float, default=0.99, help="decay of the averaged weights, which are exported")
    parser.add_argument("--search", type=int, metavar="N", help="find the times of N steps instead of training")
    parser.add_argument("--width", type=float, default=0.02, help="how finely they are looked for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    folder, paths = args.out / "model", TeacherPaths(args.cache, args.paths)
    if args.search is not None:
        return search(folder if folder.is_dir() else args.teacher, paths, args)
    device = devices.pick(args.device)
    teacher = load_flow_model(args.teacher).to(device)
    model = student_of(teacher)
    if args.start:
        model.load_state_dict(load_flow_model(args.start).state_dict())
    model.to(device)
    train = Batches(paths, range(HELD_OUT, len(paths)), args.batch_frames, args.seed)
    valid = Batches(paths, range(min(HELD_OUT, len(paths))), args.batch_frames)
    lessons = Lessons(model, teacher, train, paths.grid, args)
    counts = tuple(n for n in (1, 2, 4, 8) if (len(paths.grid) - 1) % n == 0)
    logging.info("%d paths; before training %s", len(paths), measure(model, valid, paths.grid, counts))
    if not args.eager:
        model.net.compile_blocks()
    for part in ("duration", "vocoder", "classifier"):
        if (args.teacher / part).is_dir():
            shutil.copytree(args.teacher / part, folder / part, dirs_exist_ok=True)
    extra = {k: v for k, v in teacher.settings.items() if k not in ("model", "tokenizer", "sigma_min", "path")}

    average = Average(model, args.ema, args.out / "average.pt")
    if lessons.judges is not None:
        lessons.judges.resume(args.out, device)

    def averaged() -> FlowModel:
        copy = student_of(teacher)
        copy.load_state_dict(model.state_dict() | average.weights)
        return copy

    def save() -> None:
        average.save()
        if lessons.judges is not None:
            lessons.judges.save(args.out)
        save_flow_model(folder, averaged(), dtype=torch.float16, extra=extra)

    def figures() -> dict[str, float]:
        return measure(averaged(), valid, paths.grid, counts)

    def lesson(step: int) -> Tensor:
        average.update()  # with what the step before has left
        return lessons(step)

    trained = [p for p in model.parameters() if p.requires_grad]
    logging.info("%d of %d parameters are trained", count(trained), count(model.parameters()))
    loop.train(model, lesson, save, figures, args)


def count(parameters) -> int:
    return sum(p.numel() for p in parameters)


if __name__ == "__main__":
    main()
