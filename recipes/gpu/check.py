"""Every network in every type beside its own result in float32 on the CPU; weights and inputs are random."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from recipes.gpu.table import Table
from tts_fm import devices
from tts_fm.config import ModelConfig
from tts_fm.data.batches import Batch
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.published import e2, f5_v0, f5_v1

SYMBOLS = 60
# relative deviation of the velocity from the CPU's in float32 that a type may have
LIMITS = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2, "float16": 2e-2}


def networks(small: bool) -> dict[str, ModelConfig]:
    """The published networks and one like the built-in voice's, or the same at a toy size."""
    built = ModelConfig(vocab=SYMBOLS, patch=2, shared_adaln=True, given_flag=True, text_frame_layers=2)
    found = {"builtin": built, "f5_v1": f5_v1(SYMBOLS), "f5_v0": f5_v0(SYMBOLS), "e2": e2(SYMBOLS)}
    if small:
        found = {name: replace(c, dim=128, depth=2, heads=2) for name, c in found.items()}
    return found


def model_of(config: ModelConfig, device: torch.device) -> FlowModel:
    """A network with random weights, none of them zero, made where it will run: drawing 300 million numbers takes a
    CPU seconds.
    """
    with devices.seeded(device, 1), device:
        model = FlowModel(config, [chr(97 + i) for i in range(SYMBOLS)])
        for value in model.parameters():
            if not bool(value.any()):
                torch.nn.init.normal_(value, std=0.02)
    return model.to(device)


def batch_of(items: int, frames: int) -> Batch:
    """Random mels of which the last item is a quarter shorter, their first quarter given."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(items, frames, dtype=torch.bool)
    mask[-1, frames * 3 // 4 :] = items == 1
    hidden = mask.clone()
    hidden[:, : frames // 4] = False
    ids, flags = torch.randint(SYMBOLS, (items, 60), generator=generator), torch.zeros(items, dtype=torch.bool)
    mel = torch.randn(items, frames, 100, generator=generator)
    return Batch(mel, mask, hidden, ids, torch.full((items, 60), frames / 60), flags, flags)


@torch.no_grad()
def velocity(model: FlowModel, b: Batch) -> torch.Tensor:
    """The velocity at t = 0.5 of real frames, on the CPU in float32."""
    real = b.mask
    b = b.to(model.device)
    c = model.inference_condition(
        b.mel * ~b.hidden[..., None], b.mask & ~b.hidden, b.ids, b.mask, b.durations, b.drop_text
    )
    found = model.step(b.mel, torch.full((len(b.mel),), 0.5, device=model.device), c)
    return found.float().cpu()[real]


def check(device: torch.device, small: bool, seconds: float) -> int:
    """Print the deviation of every network and type; returns how many are above their limits, or failed."""
    table = Table("check", "network", "type", "deviation", "limit", seconds=seconds)
    b, above = batch_of(2, 96 if small else 256), 0
    for name, config in networks(small).items():
        with table.attempt(name, "float32 on the CPU"):
            model = model_of(config, device).eval()
            true = velocity(copy.deepcopy(model).cpu(), b)
            for kind, limit in LIMITS.items():
                with table.attempt(name, kind):
                    dtype = torch.float32 if kind == "tf32" else getattr(torch, kind)
                    with devices.precision(device, tf32=kind == "tf32"):
                        found = velocity(copy.deepcopy(model).to(dtype), b)
                    error = float((found - true).norm() / true.norm())
                    above += not error <= limit
                    table.row(name, kind, f"{error:.1e}", f"{limit:.0e}" + ("" if error <= limit else ", ABOVE IT"))
    return above + table.end()
