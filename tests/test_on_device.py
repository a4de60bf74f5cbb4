"""What `--device cuda` is asked: published networks, padding, recorded forwards, vocoder, durations and an update, each
beside the CPU in float32. On a CPU the same code compares with itself.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import VOCAB, tiny_flow

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from recipes.gpu.check import batch_of
from recipes.gpu.speed import recording, stand_in_for_vocos
from tts_fm import devices
from tts_fm.checkpoint.load import load_flow_model
from tts_fm.config import TrainConfig
from tts_fm.model.duration import DurationModel
from tts_fm.train.optimiser import adamw

GOLDEN = Path(__file__).parent / "golden"
SYMBOLS = json.loads((GOLDEN / "text.json").read_text())["vocab"]
E2 = {"backbone": "unett", "depth": 2, "shared_adaln": False, "text": "filler", "text_dim": 100, "text_layers": 0}
SPEECH = torch.randn(3, 30, 100, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(2, 20, (3, 6), generator=torch.Generator().manual_seed(1))


def spoken(model, items=slice(None), **how) -> torch.Tensor:
    lengths, seeds = [48, 40, 44][items], [1, 2, 3][items]
    how = {"steps": 3, "cfg": 2.0, "seeds": seeds, "durations": torch.full((3, 6), 8.0)[items]} | how
    return model.sample(SPEECH[items], IDS[items], lengths, **how).float().cpu()


@pytest.mark.parametrize("variant", ["f5-v1", "f5-v0", "e2"])
def test_published_networks(variant: str, device: str) -> None:
    name = variant.replace("-", "_")
    model = load_flow_model(GOLDEN / f"{name}.weights.safetensors", variant=variant, vocab=SYMBOLS, device=device)
    io = load_file(GOLDEN / f"{name}.io.safetensors")
    how = {"frames": 151, "steps": 7, "cfg": 2.0, "noise": io["sample.noise_seed11"]}
    with devices.precision(device, tf32=False):
        v = model.velocity(io["x"], io["t"], cond=io["cond"], text=io["ids"])
        mel = model.sample(io["cond"], text=io["ids"], **how)
    assert v.device.type == "cpu" and (v - io["velocity.cond"]).abs().max() < 1e-4
    assert mel.device.type == torch.device(device).type
    assert (mel.cpu() - io["sample.euler.7.sway-1.0.cfg2.0"]).abs().max() < 2e-4


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-4), ("bfloat16", 0.05), ("float16", 0.01)])
@pytest.mark.parametrize("config", [{"depth": 2}, {"style": 8, "style_rank": 4}], ids=["plain", "style"])
def test_padding_changes_nothing(config: dict, dtype: str, limit: float, device: str) -> None:
    """In half precision a GPU takes another kernel for padded batches."""
    model = tiny_flow(**config).eval()
    true = spoken(model)
    model.to(device, getattr(torch, dtype))
    with devices.precision(device, tf32=False):
        together = spoken(model)
        alone = [spoken(model, slice(b, b + 1))[0] for b in range(3)]
    scale = true.norm(dim=(1, 2))
    assert float(((together - true).norm(dim=(1, 2)) / scale).max()) < limit
    for b, mel in enumerate(alone):
        assert float((together[b, : len(mel)] - mel).norm() / scale[b]) < limit


@pytest.mark.parametrize("lengths", [slice(0, 1), slice(None)], ids=["one", "padded"])
def test_recorded_forwards_are_the_same(lengths: slice, device: str) -> None:
    model = tiny_flow(depth=2).eval().to(device, devices.speaking_dtype(device))
    with recording(False):
        plain = [spoken(model, lengths, seeds=seeds) for seeds in ([1, 2, 3][lengths], [4, 5, 6][lengths])]
    with recording(True):
        again = [spoken(model, lengths, seeds=seeds) for seeds in ([1, 2, 3][lengths], [4, 5, 6][lengths])]
    assert model.recordings.works
    assert len(model.recordings.kept) == (torch.device(device).type == "cuda")
    for one, other in zip(plain, again, strict=True):
        assert float((one - other).norm() / one.norm()) < 1e-3


def test_waves_of_unlike_length(device: str) -> None:
    stand_in_for_vocos()
    from tts_fm.model.vocoder import Vocoder

    vocoder, mels, lengths = Vocoder(dim=32, layers=2), SPEECH * 2 - 3, [30, 2, 17]
    true = vocoder.decode(mels, lengths)
    waves = vocoder.to(device).decode(mels, lengths).cpu()
    assert waves.shape == true.shape and (waves - true).abs().max() < 1e-4 * max(1.0, float(true.abs().max()))


def test_durations(device: str) -> None:
    with devices.seeded("cpu", 3):
        model = DurationModel(VOCAB, dim=16, layers=1, style_dim=16, prompt_dim=16, prompt_layers=1).eval()
    texts = [[5, 6, 7], [8], list(range(2, 22))]
    true = model.durations_behind(texts, SPEECH[0])
    found = model.to(device).durations_behind(texts, SPEECH[0])
    for one, other in zip(true, found, strict=True):
        assert (one - other).abs().max() < 1e-3


@pytest.mark.parametrize("config", [{}, {"text": "filler", "shared_adaln": False}, E2], ids=["aligned", "f5", "e2"])
def test_updates_make_the_loss_fall(config: dict, device: str) -> None:
    """Autocast, a padded batch, the backward pass and the optimiser, by a number: the loss of one batch, learnt."""
    place = torch.device(device)
    model, b = tiny_flow(**config).to(place).train(), batch_of(4, 64).to(place)
    optimiser, losses = adamw(model, TrainConfig(learning_rate=5e-3)), []
    for _ in range(10):
        generator = torch.Generator(place).manual_seed(0)  # the same noise and times every time
        with devices.autocast(place, torch.bfloat16):
            loss = model(b.mel, b.mask, b.hidden, b.ids, b.durations, b.drop_audio, b.drop_text, generator).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses)) and losses[-1] < 0.9 * losses[0], losses
