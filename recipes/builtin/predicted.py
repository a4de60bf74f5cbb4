"""Mels as the flow model makes them, in time with true speech: what the vocoder is fine-tuned on.

    python recipes/builtin/predicted.py runs/builtin/cache runs/builtin/flow runs/builtin/predicted --clips 600

A true log-mel is mixed with noise as the conditional path does at a time t0 and solved from there to 1 (SDEdit: Meng
2021, arXiv 2108.01073): pitch and timing stay those of the recording, the fine structure is the model's own. A model
folder's own temperature and texture are used, so that the mels are as smooth as what its vocoder is given. Writes
mel.f16 and index.json (rows of the cache with `frame` in the new file and `sample` in the cache's wav.i16).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flow import Corpus

from tts_fm import devices, files
from tts_fm.audio import texture
from tts_fm.audio.mel import N_MELS
from tts_fm.checkpoint import load_flow_model
from tts_fm.config import ModelConfig, from_dict
from tts_fm.data.batches import TrainItem, pad_texts
from tts_fm.model.flow_model import FlowModel

STEPS = 4
ROUND = 64  # frames: lengths of batches are multiples, so that few shapes occur


def load_run(run: Path) -> FlowModel:
    """The averaged weights of a training run of flow.py, or a model folder, in bfloat16, on the CPU."""
    if not (run / "settings.json").exists():
        return load_flow_model(run).eval().to(torch.bfloat16)
    settings = json.loads((run / "settings.json").read_text())
    model = FlowModel(from_dict(ModelConfig, settings["model"]), settings["vocab"])
    model.load_state_dict(torch.load(run / "last.pt", map_location="cpu", weights_only=True, mmap=True)["average"])
    return model.eval().to(torch.bfloat16)


@dataclass
class Start:
    """A clip on its way: the true mel, its noise, and how much of it is prompt."""

    item: TrainItem
    noise: np.ndarray  # (T, 100)
    prompt: int  # frames

    @classmethod
    def drawn(cls, item: TrainItem, patch: int, rng: np.random.Generator) -> Start:
        """The first fifth is prompt; whole patches."""
        frames = len(item.mel) // patch * patch
        noise = rng.standard_normal((frames, item.mel.shape[1]), np.float32)
        return cls(item, noise, frames // 5 // patch * patch)


def predict(model: FlowModel, starts: Sequence[Start], at: float, cfg: float) -> list[np.ndarray]:
    """Log-mels (T, 100) of clips, solved from the time `at` on: the prompt true, the rest the model's."""
    temperature = model.settings.get("defaults", {}).get("temperature", 1.0)
    tables = texture.check(model.settings.get("texture", {}))
    frames, prompts = [len(s.noise) for s in starts], [s.prompt for s in starts]
    longest = -(-max(frames) // ROUND) * ROUND
    true, noise = (torch.zeros(len(starts), longest, N_MELS) for _ in range(2))
    for b, (start, n) in enumerate(zip(starts, frames, strict=True)):
        true[b, :n], noise[b, :n] = torch.from_numpy(start.item.mel[:n]), torch.from_numpy(start.noise)
    ids, durations = pad_texts([(s.item.ids, s.item.durations) for s in starts])
    spoken = model.sample(
        true[:, : max(prompts)],
        ids,
        frames,
        grid=at + (1 - at) * torch.linspace(0, 1, STEPS + 1),
        noise=(1 - at) * temperature * noise + at * model.normalise(true),
        cfg=cfg,
        durations=durations,
        prompt_frames=prompts,
        pad_to=longest,
    )
    whole = spoken.float().cpu().numpy()
    return [
        np.concatenate([whole[b, :p], texture.textured(whole[b, p:n], tables, STEPS)])
        for b, (p, n) in enumerate(zip(prompts, frames, strict=True))
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("flow", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--cfg", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=1, help="clips of like length that begin at the same time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    args = parser.parse_args(argv)
    from tqdm import tqdm

    torch.set_num_threads(args.threads)
    device = devices.pick(args.device)
    model = load_run(args.flow).to(device)
    clips = Corpus(args.cache, "train", model.vocab)
    args.out.mkdir(parents=True, exist_ok=True)
    rng, rows, frames = np.random.default_rng(0), [], 0
    chosen = rng.permutation(len(clips))[: args.clips]
    chosen = chosen[np.argsort([clips.frames[i] for i in chosen], kind="stable")] if args.batch > 1 else chosen
    with (args.out / "mel.f16").open("wb") as file:
        for at in tqdm(range(0, len(chosen), args.batch), unit="batch"):
            numbers = chosen[at : at + args.batch].tolist()
            starts = [Start.drawn(clips[i], model.config.patch, rng) for i in numbers]
            for i, mel in zip(numbers, predict(model, starts, rng.uniform(0.1, 0.45), args.cfg), strict=True):
                file.write(mel.astype(np.float16).tobytes())
                rows.append(clips.rows[i] | {"frame": frames, "frames": len(mel)})
                frames += len(mel)
    files.write_json(args.out / "index.json", rows)


if __name__ == "__main__":
    main()
