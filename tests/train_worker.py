"""What test_train.py runs in processes of their own: a toy run that may be told to die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from tiny_model import VOCAB, tiny_flow

from tts_fm.config import TrainConfig
from tts_fm.data.batches import Items, TrainItem
from tts_fm.data.corpus import ManifestItems
from tts_fm.data.manifest import read_manifest
from tts_fm.data.storage import folder_of
from tts_fm.train.trainer import Trainer

DCP = "torch.distributed.checkpoint."


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
    folder: Path, items: Items | None = None, on_valid=None, model: dict | None = None, **changes
) -> Trainer:
    """A run with dropout, so that all there is to randomness takes part."""
    if "manifest" in changes:
        items = corpus(changes.pop("manifest"))
    return Trainer(
        tiny_flow(**({"dropout": 0.1} | (model or {}))),
        items or Noise(),
        Noise(9),
        toy_config(**changes),
        folder,
        on_valid,
    )


def corpus(manifest: str) -> ManifestItems:
    """A manifest's utterances, for models whose text is "average"."""
    return ManifestItems(read_manifest(manifest, audio=True), folder_of(manifest), VOCAB)


def work(rank: int, world: int, port: int, folder: str, die: dict[int, tuple[int, int]], changes: dict) -> None:
    """One of `world` processes; changes["nodes"]: on so many nodes. die: {rank: (step, signal)}: the process gets the
    signal in the middle of that update.
    """
    torch.set_num_threads(1)
    local = world // changes.pop("nodes", 1)
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank % local,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": local,
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


def launch(folder: Path, die: dict | None = None, world: int = 2, **changes) -> list[int | None]:
    """So many processes over gloo; returns their exit codes. The fork server has imported torch once for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["train_worker", "accelerate", "torch.distributed.fsdp", DCP + "hf_storage", DCP + "state_dict_saver"]
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        context.Process(target=work, args=(rank, world, port, str(folder), die or {}, changes)) for rank in range(world)
    ]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with mock.patch.dict(os.environ, PYTHONPATH=path):  # else the server does not find this file, and imports nothing
        for process in processes:
            process.start()
    for process in processes:
        process.join(240)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]
