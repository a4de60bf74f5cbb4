"""Fully sharded data parallelism (FSDP2, torch's fully_shard): each of n processes keeps 1/n of the weights, moments
and averages.

Attention, feed-forward and modulation parts are gathered when they run, one at a time; everything else is gathered for
the whole update. What is saved is whole, so that a run may go on with any number of processes, sharded or not.
accelerate itself takes FSDP to no CPU, and its checkpoints depend on the number of processes; so this goes straight to
torch. It knows no training loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tts_fm.model.dit import Modulation
from tts_fm.model.layers import Attention, FeedForward


def shard(model: nn.Module, replicas: int = 1) -> None:
    """Shard a model in place among all processes of the default group; its parameters become DTensors.

    replicas: so many groups of neighbouring ranks hold it whole among them, and only gradients go from group to group
    (HSDP): with as many as there are nodes, weights are gathered within a node. ValueError when the processes cannot be
    grouped so.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    world, kind = torch.distributed.get_world_size(), next(model.parameters()).device.type
    if world % replicas:
        raise ValueError(f"{world} processes cannot be {replicas} replicas; train.replicas must divide them")
    shape, names = ((replicas, world // replicas), ("replicas", "shards")) if replicas > 1 else ((world,), ("shards",))
    mesh = init_device_mesh(kind, shape, mesh_dim_names=names)
    for part in model.modules():
        if isinstance(part, (Attention, FeedForward, Modulation)):
            fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gathered(values: Any) -> Any:
    """The same dicts and lists with every sharded tensor gathered. All processes must call it, in the same order."""
    if hasattr(values, "full_tensor"):  # a DTensor
        return values.full_tensor()
    if isinstance(values, Mapping):
        return {key: gathered(value) for key, value in values.items()}
    if isinstance(values, list):
        return [gathered(value) for value in values]
    return values


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor cut as `pattern` is, where that is sharded and of the same shape; else itself."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(pattern, DTensor) or value.shape != pattern.shape:
        return value
    return distribute_tensor(value.to(pattern.device, pattern.dtype), pattern.device_mesh, pattern.placements)


def cut(values: Mapping[str, Tensor], pattern: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole state dict cut as another one is; names that the pattern lacks stay as they are."""
    return {name: like(value, pattern[name]) if name in pattern else value for name, value in values.items()}


def cut_optimiser(state: dict[str, Any], optimiser: Any) -> dict[str, Any]:
    """A whole optimiser state cut as the parameters of `optimiser` are."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    moments = {
        index: {
            name: like(value, parameters[index]) if torch.is_tensor(value) else value for name, value in kept.items()
        }
        for index, kept in state["state"].items()
    }
    return state | {"state": moments}
