"""What runs on a GPU, checked without one: torch's fake tensors have a device and a type, so that a tensor made on the
wrong device, or a wait for the device in the middle of a step, is an error here already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_model import VOCAB, tiny_flow
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn.utils import parametrize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import crops
import generator
import judges

from tts_fm import devices
from tts_fm.config import TrainConfig
from tts_fm.data.batches import Batch
from tts_fm.flow.loss import cfm_loss
from tts_fm.flow.solvers import solve
from tts_fm.flow.times import time_grid
from tts_fm.model import layers
from tts_fm.model.aligner import AlignerModel
from tts_fm.model.dit import modulate
from tts_fm.model.duration import DurationModel
from tts_fm.model.replay import Forward
from tts_fm.model.vocoder import Vocoder
from tts_fm.train.guard import Guard
from tts_fm.train.lora import add_low_rank
from tts_fm.train.optimiser import adamw, follow, step_if

CUDA = torch.device("cuda", 0)
NETWORKS: dict[str, dict] = {
    "aligned": {"depth": 2},
    "filler": {"text": "filler", "shared_adaln": False},
    "average": {"text": "average"},
    "style": {"style": 8, "style_rank": 4},
    "e2": {"backbone": "unett", "depth": 2, "shared_adaln": False, "text": "filler", "text_dim": 100, "text_layers": 0},
}


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Fake tensors, and autocast as on a card that has bfloat16: without a driver torch would leave it out."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: True)
    with FakeTensorMode() as mode:
        yield mode


def made(build: Callable[[], nn.Module]) -> nn.Module:
    """A network, built with real numbers, on the GPU that is not there."""
    with unset_fake_temporarily():
        module = build()
    return on_cuda(module)


def on_cuda(module: nn.Module) -> nn.Module:
    """A module whose parameters and buffers are fake CUDA tensors."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = nn.Parameter(
                    torch.empty(value.shape, dtype=value.dtype, device=CUDA), value.requires_grad
                )
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=CUDA)
    return module


def batch(items: int = 2, frames: int = 64) -> Batch:
    mask = torch.ones(items, frames, dtype=torch.bool)
    flags = torch.zeros(items, dtype=torch.bool)
    ids, durations = torch.zeros(items, 8, dtype=torch.int64), torch.full((items, 8), frames / 8)
    return Batch(torch.zeros(items, frames, 100), mask, mask.clone(), ids, durations, flags, flags.clone())


def velocity_of(flow, b: Batch) -> Callable[[Tensor, Tensor], Tensor]:
    c = flow.condition(flow.normalise(b.mel), b.mask, b.ids, b.mask, b.durations, b.drop_text)
    return lambda x, t: flow.net(x, t, c.given, c.given_mask, c.text, c.mask, voice=c.voice)


@pytest.mark.parametrize("half", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_stays_on_its_device_and_waits_for_nothing(name: str, half: torch.dtype) -> None:
    """Loss, clipping, guard, optimiser and average, under autocast, as Trainer.update has them."""
    flow = made(lambda: tiny_flow(**NETWORKS[name])).train()
    config = TrainConfig(spike=4.0, warmup=1)
    b, optimiser, guard = batch().to(CUDA), adamw(flow, config), Guard(config, CUDA)
    average = [value.detach().clone() for value in flow.state_dict().values()]
    with devices.autocast(CUDA, half):
        x1 = flow.normalise(b.mel)
        noise, t = torch.empty_like(x1), torch.empty(len(x1), device=CUDA)
        loss = cfm_loss(velocity_of(flow, b), x1, b.hidden & b.mask, t=t, x0=noise).loss
    assert loss.device == CUDA and loss.dtype == torch.float32
    for p in flow.parameters():  # a backward pass would ask the driver for a context
        p.grad = torch.empty(p.shape, device=CUDA)
    norm = nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
    step_if(optimiser, guard.judge(norm, 5))
    follow(average, flow.state_dict().values(), 0.99)
    assert {value.device for value in average} == {CUDA} and norm.device == CUDA


def test_mels_of_a_batch_are_made_on_the_device() -> None:
    there = replace(batch(), mel=torch.zeros(2, 0, 100), waves=torch.zeros(2, 63 * 256 + 1024)).to(CUDA)
    assert there.mel.device == CUDA and there.mel.shape == (2, 64, 100) and there.waves is None


@pytest.mark.parametrize("change", ["recomputed blocks", "low-rank changes"])
def test_what_a_run_may_change_in_a_network(change: str) -> None:
    def build() -> nn.Module:
        flow = tiny_flow(depth=2)
        if change == "low-rank changes":
            add_low_rank(flow.net, 4, 4, 0)
        else:
            flow.net.recompute_blocks()
        return flow

    flow = made(build).train()
    b = batch().to(CUDA)
    with devices.autocast(CUDA, torch.bfloat16):
        found = velocity_of(flow, b)(torch.empty(2, 64, 100, device=CUDA), torch.empty(2, device=CUDA))
    assert found.device == CUDA and found.requires_grad


def test_autocast_is_on() -> None:
    x = torch.empty(4, 4, device=CUDA)
    with devices.autocast(CUDA, torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with devices.autocast(CUDA, torch.float32):
            assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["euler", "rk4"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_and_solvers(name: str, method: str, dtype: torch.dtype) -> None:
    flow = made(lambda: tiny_flow(**NETWORKS[name]).to(dtype)).eval()
    b, asked = batch().to(CUDA), []
    mel = flow.normalise(b.mel)
    c = flow.inference_condition(mel, b.mask, b.ids, b.mask, b.durations, b.drop_text)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        asked.append(t.device.type)
        return flow.step(x, t.to(CUDA), c)

    with torch.no_grad():
        found = solve(velocity, torch.empty(2, 64, 100, device=CUDA), time_grid(4, "sway"), method)
    assert found.device == CUDA and found.dtype == torch.float32 and found.shape == (2, 64, 100) and asked


def test_the_vocoders_training_stays_on_its_device_and_waits_for_nothing() -> None:
    """recipes/builtin: crops, mels, discriminators, losses, balance and optimiser, as vocoder.Run.update has them."""
    wave = torch.empty(100_000, dtype=torch.int16, device=CUDA)
    real = crops.cut(wave, [1, 2, 3], 47 * 256) / 32768.0
    model = made(lambda: generator.Generator(layers=2))
    seats, spectral = made(lambda: judges.Judges(channels=4)), made(generator.SpectralLoss)
    pitch = torch.empty(3, 48, 2, device=CUDA)
    fake, found = model.heard(generator.log_mels(real).transpose(1, 2))
    assert fake.shape == real.shape and fake.device == CUDA
    with parametrize.cached():
        verdict = seats(fake, real)
    losses = (*spectral(fake, real), generator.pitch_error(found, pitch), generator.turning(found, pitch, real))
    balance = judges.Balance(0.4)
    for _ in range(2):
        gradient = balance.add(real, fake)
    assert {part.device for part in (*verdict, *losses, gradient)} == {CUDA}
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    for p in model.parameters():
        p.grad = torch.empty(p.shape, device=CUDA)
    step_if(optimiser, torch.isfinite(nn.utils.clip_grad_norm_(model.parameters(), 1.0)))


def test_attention_asks_for_the_kernel_without_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = layers.varlen_attn
    monkeypatch.setattr(layers, "varlen_attn", lambda *a: (calls.append("varlen"), real(*a))[1])
    attention = made(lambda: layers.Attention(128, 2).to(torch.bfloat16))
    x = torch.empty(3, 40, 128, device=CUDA, dtype=torch.bfloat16)
    mask = torch.ones(3, 40, dtype=torch.bool, device=CUDA)
    angles = layers.rotary_angles(40, CUDA)
    assert attention(x, angles, mask).device == CUDA and calls == ["varlen"]
    assert attention(x, angles, None).device == CUDA and calls == ["varlen"]  # nothing padded: torch's own fused kernel
    made(lambda: layers.Attention(128, 2))(x.float(), angles, mask)  # float32 has no such kernel
    assert calls == ["varlen"]


def test_compiled_blocks_do_not_spell_attention_out_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """13 x 12 x 2812^2 scores a block would be out of memory."""
    calls: list[str] = []
    real = layers.F.scaled_dot_product_attention
    monkeypatch.setattr(
        layers.F, "scaled_dot_product_attention", lambda *a, **k: (calls.append("fused"), real(*a, **k))[1]
    )
    attention = made(lambda: layers.Attention(128, 2))
    attention.explicit = True  # what compile_blocks sets
    attention(torch.empty(3, 40, 128, device=CUDA), layers.rotary_angles(40, CUDA), None)
    assert calls == ["fused"]


def test_a_modulated_norm_keeps_its_type_under_autocast() -> None:
    x, part = (torch.empty(2, n, 64, device=CUDA, dtype=torch.bfloat16) for n in (40, 1))
    with devices.autocast(CUDA, torch.bfloat16):
        assert modulate(x, part, part).dtype == torch.bfloat16
        assert modulate(x.float(), part, part).dtype == torch.float32


def test_small_networks() -> None:
    ids, mel = torch.zeros(2, 8, dtype=torch.int64, device=CUDA), torch.empty(2, 50, 100, device=CUDA)
    lengths = torch.full((2,), 50, device=CUDA)
    aligner = made(lambda: AlignerModel(VOCAB, dim=16, dilations=(1, 2)))
    assert aligner(mel, lengths).device == CUDA
    durations = made(
        lambda: DurationModel(VOCAB, dim=16, layers=1, style_dim=16, prompt_dim=16, prompt_layers=1)
    ).eval()
    style = durations.prompt(mel, lengths)
    hidden = durations.embed(ids)
    assert style.device == hidden.device == CUDA


@pytest.mark.parametrize("harmonic", [False, True])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_the_vocoder_under_autocast(compute: str, harmonic: bool) -> None:
    with unset_fake_temporarily():
        vocoder = Vocoder(dim=16, layers=1, compute=compute, harmonic=harmonic)
    on_cuda(vocoder.module)
    wave = vocoder.decode(torch.empty(2, 30, 100))  # a mel from the CPU comes along
    assert wave.device == CUDA and wave.dtype == torch.float32 and wave.shape == (2, 29 * 256)


def test_waves_of_unlike_length_are_made_together() -> None:
    with unset_fake_temporarily():
        vocoder = Vocoder(dim=16, layers=1)
    on_cuda(vocoder.module)
    waves = vocoder.decode(torch.empty(2, 30, 100), [30, 20])
    assert waves.device == CUDA and waves.shape == (2, 29 * 256)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_graph_would_record_stays_on_its_device(name: str) -> None:
    """And looks at no number, which a recording could not: fake tensors have none."""
    flow = made(lambda: tiny_flow(**NETWORKS[name]).to(torch.bfloat16)).eval()
    b = batch().to(CUDA)
    c = flow.inference_condition(flow.normalise(b.mel), b.mask, b.ids, b.mask, b.durations, b.drop_text)
    x, t = torch.empty(2, 64, 100, device=CUDA), torch.empty(2, device=CUDA)
    with torch.no_grad():
        modulations = flow.net.modulations(t)
        forward = Forward(flow.step, x, t, c, modulations, record=False)
        assert forward(x, t, c, modulations).device == CUDA
        held = [forward.x, forward.t, *forward.modulations, forward.condition.text, forward.condition.mask]
    assert {tensor.device for tensor in held} == {CUDA}
