"""The paths that a trained voice takes from noise to speech, stored: what few-step students and fitted solvers learn.

    python recipes/builtin/teacher_paths.py CACHE runs/lab/paths --count 1000

Conditions are as at inference: a clip of the cache, trimmed as a reference and half of the time somebody else's by
resampling, is the prompt; the units of another clip are spoken with the durations that the duration model gives them.
What is learnt from is the teacher's own speech alone. Writes index.jsonl and paths.f16, to which a later call adds. A
record is the prompt's log-mel (Tp, 100), then the states at every time of the grid (S, T, 100), normalised; T frames
of prompt and speech, an even number. 1.3 MB and about 0.6 s of one core for a path of eight steps.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alter import alter, draw
from cache import WAVES
from export import clips_of
from torch import Tensor

from tts_fm import devices
from tts_fm.audio.mel import FRAMES_PER_SECOND, SAMPLE_RATE, log_mel
from tts_fm.audio.prompt import check_reference
from tts_fm.checkpoint.load import load_flow_model
from tts_fm.engines.sound import EDGE_SILENCE
from tts_fm.flow.coupling import seeded_pairs
from tts_fm.flow.times import f5_grid
from tts_fm.model.duration import DurationModel, load_duration_model
from tts_fm.model.flow_model import FlowModel
from tts_fm.synthesis import BUILTIN, LEAD
from tts_fm.text.symbols import SILENCE, UNKNOWN

LONGEST = 1024  # frames of prompt and speech


@dataclass(frozen=True)
class TeacherPath:
    """One stored path, as it is used in training."""

    prompt: Tensor  # (Tp, 100) log-mel
    ids: Tensor  # (N,) int64
    durations: Tensor  # (N,) mel frames, the prompt's among them
    states: Tensor  # (S, T, 100) normalised, from noise to speech


class TeacherPaths:
    """The paths in a folder, read as they are asked for."""

    def __init__(self, folder: Path, count: int | None = None) -> None:
        lines = (folder / "index.jsonl").read_text("utf-8").splitlines()
        self.rows = [json.loads(line) for line in lines[:count]]
        self.grid = torch.tensor(self.rows[0]["grid"], dtype=torch.float32)
        self.numbers = np.memmap(folder / "paths.f16", dtype=np.float16, mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TeacherPath:
        row = self.rows[index]
        prompt, frames, start = row["prompt"], row["frames"], row["start"]
        size = (prompt + len(self.grid) * frames) * 100
        numbers = torch.from_numpy(self.numbers[start : start + size].astype(np.float32)).reshape(-1, 100)
        states = numbers[prompt:].reshape(len(self.grid), frames, 100)
        return TeacherPath(numbers[:prompt], torch.tensor(row["ids"]), torch.tensor(row["durations"]), states)


def draw_condition(
    waves: np.ndarray, rows: list[dict], durations: DurationModel, vocab: dict[str, int], rng: np.random.Generator
) -> tuple[Tensor, list[int], list[float]]:
    """(prompt (Tp, 100), ids, frames of each): who speaks and what is said, both drawn of the rows; Tp is even. waves:
    the cache's samples, int16.
    """
    while True:
        spoken, voice = (rows[int(i)] for i in rng.integers(len(rows), size=2))
        if not (2.2 <= voice["seconds"] <= 7 and 1.5 <= spoken["seconds"] <= 8 and voice["lang"] == spoken["lang"]):
            continue
        wave = waves[voice["sample"] : voice["sample"] + voice["samples"]].astype(np.float32) / 32768
        if rng.random() < 0.5:
            wave = alter(torch.from_numpy(wave), draw(rng)).numpy()
        try:
            wave = check_reference(wave, rate=SAMPLE_RATE).wave
        except ValueError:  # next to no speech in it
            continue
        prompt = torch.from_numpy(log_mel(wave))
        prompt = prompt[: len(prompt) // 2 * 2]
        ids = [vocab[SILENCE], *(vocab[unit] for unit in spoken["units"]), vocab[SILENCE]]
        frames = durations.durations(torch.tensor([ids]), prompt[None])[0].tolist()
        frames[0], frames[-1] = min(frames[0], LEAD * FRAMES_PER_SECOND), EDGE_SILENCE * FRAMES_PER_SECOND / 2
        if len(prompt) + sum(frames) < LONGEST:
            return prompt, [vocab[UNKNOWN], *ids], [float(len(prompt)), *frames]


@torch.no_grad()
def walk(
    model: FlowModel,
    prompt: Tensor,
    ids: list[int],
    durations: list[float],
    seed: int,
    grid: Tensor,
    temperature: float,
    every: int = 1,
) -> Tensor:
    """The states (S, T, 100) at each `every`-th time of the grid, by Euler steps without guidance, as the voice
    speaks; on the model's device.
    """
    frames = round(sum(durations)) // 2 * 2
    device = model.device
    mel, given = model.prompt(prompt[None], 1, frames)
    lengths, none = torch.tensor([durations], device=device), torch.zeros(1, dtype=torch.bool, device=device)
    condition = model.inference_condition(mel, given, model.ids([ids], 1), None, lengths, none)
    noise = seeded_pairs([seed], torch.empty(1, frames, 100), [frames])  # the same on every device
    x = model.path.start(noise).to(device) * temperature
    states = [x[0]]
    for i, (t, end) in enumerate(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True)):
        x = x + (end - t) * model.step(x, torch.tensor([t], device=device), condition)
        if (i + 1) % every == 0:
            states.append(x[0])
    return torch.stack(states)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder of cache.py")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=BUILTIN, help="the teacher, with its duration model")
    parser.add_argument("--count", type=int, default=1000, help="paths in the folder in the end")
    parser.add_argument("--steps", type=int, default=8, help="intervals of the stored grid")
    parser.add_argument("--finer", type=int, default=1, help="the teacher takes this many steps for each of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = devices.pick(args.device)
    model = load_flow_model(args.model, device=device, dtype=devices.speaking_dtype(device))
    durations = load_duration_model(args.model / "duration")
    temperature = model.settings.get("defaults", {}).get("temperature", 1.0)
    grid = torch.as_tensor(f5_grid(args.steps * args.finer, epss=False))
    rows = [row for row in clips_of(args.cache) if row["split"] == "train"]
    waves = np.memmap(args.cache / WAVES, np.int16, "r")
    vocab = {symbol: i for i, symbol in enumerate(model.vocab)}
    args.out.mkdir(parents=True, exist_ok=True)
    index = args.out / "index.jsonl"
    known = [json.loads(line) for line in index.open(encoding="utf-8")] if index.exists() else []
    position = known[-1]["start"] + known[-1]["size"] if known else 0
    from tqdm import tqdm

    with (args.out / "paths.f16").open("r+b" if known else "wb") as numbers, index.open("a", encoding="utf-8") as lines:
        numbers.seek(2 * position)  # what an interrupted call left behind is written over
        for number in tqdm(range(len(known), args.count), unit="path"):
            rng = np.random.default_rng((args.seed, number))
            prompt, ids, frames = draw_condition(waves, rows, durations, vocab, rng)
            seed = int(rng.integers(2**53))
            states = walk(model, prompt, ids, frames, seed, grid, temperature, args.finer)
            record = torch.cat([prompt, states.flatten(0, 1).cpu()]).half().numpy()
            numbers.write(record.tobytes())
            numbers.flush()
            row: dict[str, Any] = {"prompt": len(prompt), "frames": states.shape[1], "start": position}
            row |= {"size": record.size, "ids": ids, "durations": [round(n, 4) for n in frames], "seed": seed}
            print(json.dumps(row | {"grid": grid[:: args.finer].tolist()}), file=lines, flush=True)
            position += record.size


if __name__ == "__main__":
    main()
