"""The processes of a run: what joins them, and which of them deal out the batches of which utterances."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from tts_fm.config import TrainConfig
from tts_fm.data.batches import Items, Share


def dealt(items: Items, config: TrainConfig, rank: int, world: int) -> tuple[tuple[int, int], Items]:
    """((place, processes), items): among how many processes the batches of these utterances are dealt out, and which of
    them this one is. With `by_node` they are those of its node, as torchrun says, and the utterances its node's share.
    """
    if not config.by_node:
        return (rank, world), items
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if world % local:
        raise ValueError(
            f"train.by_node needs the same number of processes on every node, not {world} with {local} here"
        )
    return (rank % local, local), Share(items, rank // local, world // local)


@contextlib.contextmanager
def memory_told(config: TrainConfig) -> Iterator[None]:
    """Inside, a GPU whose memory is full is a ValueError that says which settings would fit."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        half = config.batch_frames // 2
        raise ValueError(
            f"not enough memory for batches of {config.batch_frames} frames ({str(error).split('. ')[0]}): try "
            f"train.batch_frames={half} with twice as many batches an update, or train.checkpointing=true"
        ) from None


def accelerator(config: TrainConfig, device: str | None) -> Any:
    """What joins the processes of a run. ValueError for what accelerate's own configuration must not ask for, and for a
    device that it cannot be told.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedType

    found = torch.accelerator.current_accelerator(check_available=True)
    if device is not None and torch.device(device).type not in ("cpu", found.type if found is not None else "cpu"):
        raise ValueError(
            f"a run cannot train on {device!r}; this machine has cpu{f' and {found.type}' if found else ''}"
        )
    # said aloud, because accelerate joins CPU processes only then
    on_cpu = torch.device(device).type == "cpu" if device is not None else not torch.accelerator.is_available()
    made = Accelerator(cpu=on_cpu, mixed_precision="fp16" if config.fp16 else None)
    if made.distributed_type == DistributedType.FSDP:
        raise ValueError(
            "FSDP is not asked for in accelerate's configuration: set shard=True and start the processes with torchrun"
        )
    return made
