"""What test_train.py runs in processes of their own: a toy run that may be told to die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import torch
from tiny_model import tiny_flow

from tts_fm.config import TrainConfig
from tts_fm.data.batches import TrainItem
from tts_fm.train.trainer import Trainer


class Noise:
    """Utterances of noise, 60 to 200 frames; those in `broken` hold a NaN."""

    unknown = 0

    def __init__(self, count: int = 23, broken: tuple[int, ...] = ()) -> None:
        self.frames = [60 + 6 * i for i in range(count)]
        self.broken = broken

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> TrainItem:
        rng, frames = np.random.default_rng(index), self.frames[index]
        mel = rng.normal(size=(frames, 100)).astype(np.float32)
        if index in self.broken:
            mel[:] = np.nan
        return TrainItem(mel, rng.integers(2, 20, 5), np.full(5, frames / 5))


def toy_config(**changes) -> TrainConfig:
    settings = {
        "steps": 10,
        "batch_frames": 500,
        "warmup": 2,
        "decay": 4,
        "bf16": False,
        "log_every": 1,
        "valid_every": 4,
        "save_every": 3,
    }
    return TrainConfig(**(settings | changes))


def toy_trainer(
    folder: Path, items: Noise | None = None, on_valid=None, model: dict | None = None, **changes
) -> Trainer:
    """A run with dropout, so that all there is to randomness takes part."""
    return Trainer(
        tiny_flow(**({"dropout": 0.1} | (model or {}))),
        items or Noise(),
        Noise(9),
        toy_config(**changes),
        folder,
        on_valid,
    )


def work(rank: int, world: int, port: int, folder: str, die: dict[int, tuple[int, int]], changes: dict) -> None:
    """One of `world` processes. die: {rank: (step, signal)}: the process gets the signal in the middle of that
    update.
    """
    torch.set_num_threads(1)
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ |= {name: str(value) for name, value in names.items()}
    trainer = toy_trainer(Path(folder), **changes)
    assert trainer.world == world
    step, number = die.get(rank, (-1, 0))
    take = trainer.take

    def dying(good: torch.Tensor) -> None:
        if trainer.step == step:
            os.kill(os.getpid(), number)
        take(good)

    trainer.take = dying  # type: ignore[method-assign]
    trainer.run()
    if number != signal.SIGKILL:
        trainer.accelerator.end_training()
