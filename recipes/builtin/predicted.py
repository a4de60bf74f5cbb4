"""Mels as the flow model makes them, in time with true speech: what the vocoder is fine-tuned on.

    python recipes/builtin/predicted.py runs/builtin/cache runs/builtin/flow runs/builtin/predicted --clips 600

A true log-mel is mixed with noise as the conditional path does at a time t0 and solved from there to 1 (SDEdit: Meng
2021, arXiv
2108.01073): pitch and timing stay those of the recording, the fine structure is the model's own. Writes mel.f16 and
  index.json (rows of
the cache with `frame` in the new file and `sample` in the cache's wav.i16).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from flow import Corpus

from tts_fm import devices
from tts_fm.checkpoint import load_flow_model
from tts_fm.config import ModelConfig, from_dict
from tts_fm.model.flow_model import FlowModel

STEPS = 4


def load_run(run: Path) -> FlowModel:
    """The averaged weights of a training run of flow.py, or a model folder, in bfloat16, on the CPU."""
    if not (run / "settings.json").exists():
        return load_flow_model(run).eval().to(torch.bfloat16)
    settings = json.loads((run / "settings.json").read_text())
    model = FlowModel(from_dict(ModelConfig, settings["model"]), settings["vocab"])
    model.load_state_dict(torch.load(run / "last.pt", map_location="cpu", weights_only=True, mmap=True)["average"])
    return model.eval().to(torch.bfloat16)


def predict(
    model: FlowModel, mel: np.ndarray, ids: np.ndarray, durations: np.ndarray, rng: np.random.Generator, cfg: float
) -> np.ndarray:
    """(T, 100) log-mel with the symbols at their frames -> (T, 100): the first fifth true, the rest the model's."""
    frames = len(mel) // model.config.patch * model.config.patch
    true = torch.from_numpy(mel[:frames])[None]  # (1, T, 100)
    start = rng.uniform(0.1, 0.45)
    noise = torch.from_numpy(rng.standard_normal(true.shape, np.float32))
    begin = (1 - start) * noise + start * model.normalise(true)
    prompt = frames // 5 // model.config.patch * model.config.patch
    grid = start + (1 - start) * torch.linspace(0, 1, STEPS + 1)
    spoken = model.sample(
        true[:, :prompt],
        torch.from_numpy(ids)[None],
        [frames],
        grid=grid,
        noise=begin,
        cfg=cfg,
        durations=torch.from_numpy(durations).float()[None],
        prompt_frames=[prompt],
    )
    return spoken[0].float().cpu().numpy()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("flow", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--cfg", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    args = parser.parse_args(argv)
    from tqdm import tqdm

    torch.set_num_threads(args.threads)
    model = load_run(args.flow).to(devices.pick(args.device))
    clips = Corpus(args.cache, "train", model.vocab)
    args.out.mkdir(parents=True, exist_ok=True)
    rng, rows, frames = np.random.default_rng(0), [], 0
    with (args.out / "mel.f16").open("wb") as file:
        for i in tqdm(rng.permutation(len(clips))[: args.clips], unit="clip"):
            item = clips[int(i)]
            assert item.durations is not None
            mel = predict(model, item.mel, item.ids, item.durations, rng, args.cfg)
            file.write(mel.astype(np.float16).tobytes())
            rows.append(clips.rows[i] | {"frame": frames, "frames": len(mel)})
            frames += len(mel)
    (args.out / "index.json").write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
