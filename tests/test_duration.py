"""Durations: the byte-ratio rule against hand-worked numbers, exact batching, floors and caps, pace from the prompt,
files.
"""

from __future__ import annotations

import json
import math

import pytest
import torch

from tts_fm.errors import ModelError
from tts_fm.model.duration import DurationModel, load_duration_model, save_duration_model
from tts_fm.text.pace import byte_ratio_frames

VOCAB = ["<unk>", "<sil>", " ", ",", ".", "a", "b", "t͡ʃ", "uː", "ʔ", "ˈ", "ˌ"]
ID = {symbol: i for i, symbol in enumerate(VOCAB)}


def ids_of(*symbols: str) -> torch.Tensor:
    return torch.tensor([[ID[s] for s in symbols]])


def tiny(seed: int = 0) -> DurationModel:
    torch.manual_seed(seed)
    model = DurationModel(VOCAB, dim=16, layers=2, style_dim=8, prompt_dim=12, prompt_layers=2).eval()
    for name, value in model.named_parameters():
        if "gamma" in name or "beta" in name or "absent" in name:
            torch.nn.init.normal_(value)  # zero at the start, which would hide a leak through GRN
    return model


def saying(frames: float) -> DurationModel:
    """A model that says `frames` for every symbol."""
    model = tiny()
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.constant_(model.head.bias, math.log(math.expm1(math.log1p(frames))))
    return model


@pytest.mark.parametrize(
    ("frames", "ref", "text", "speed", "compat", "expected"),
    [
        (500, "x" * 50, "y" * 20, 1.0, True, 200),  # 10 frames a byte
        (500, "x" * 50, "y" * 20, 2.0, True, 100),
        (500, "x" * 50, "y" * 9, 1.0, True, 300),  # under 10 bytes: 90 / 0.3
        (500, "x" * 50, "y" * 9, 2.0, True, 300),  # whatever speed was asked
        (500, "x" * 50, "y" * 9, 2.0, False, 45),
        (500, "x" * 50, "y" * 10, 1.0, True, 100),
        (300, "é" * 10, "日本語です", 1.0, True, 225),  # bytes, not characters: 300 / 20 * 15
        (100, "abc", "y" * 10, 1.0, True, 333),  # cut, not rounded
        (500, "x" * 50, "", 1.0, True, 0),
    ],
)
def test_byte_ratio_rule(frames: int, ref: str, text: str, speed: float, compat: bool, expected: int) -> None:
    assert byte_ratio_frames(frames, ref, text, speed, compat) == expected


BAD_RULES = [(0, "a", "b", 1.0), (10, "", "b", 1.0), (10, "a", "b", 0.0), (10, "a", "b", math.nan), (10, "a", "b", -1)]


@pytest.mark.parametrize("values", BAD_RULES)
def test_byte_ratio_rule_refuses(values: tuple) -> None:
    with pytest.raises(ValueError):
        byte_ratio_frames(*values)


def test_padding_and_neighbours_change_nothing() -> None:
    model, generator = tiny(), torch.Generator().manual_seed(1)
    sizes, prompts = (7, 12, 1, 5), (33, 0, 90, 4)
    ids = torch.full((4, 20), -1)
    mel = torch.randn(4, 120, 100, generator=generator)  # rubbish beyond each prompt's length
    for b, n in enumerate(sizes):
        ids[b, :n] = torch.randint(0, len(VOCAB), (n,), generator=generator)
    together = model(ids, mel, torch.tensor(prompts))
    spoken = model.durations(ids, mel, lengths=torch.tensor(prompts))
    assert together.shape == (4, 20) and (together >= 0).all()
    for b, (n, t) in enumerate(zip(sizes, prompts, strict=True)):
        alone = model(ids[b : b + 1, :n], mel[b : b + 1, :t] if t else None)
        torch.testing.assert_close(together[b, :n], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            spoken[b, :n], model.durations(ids[b : b + 1, :n], mel[b : b + 1, :t])[0], atol=1e-5, rtol=1e-5
        )
        assert (together[b, n:] == 0).all() and (spoken[b, n:] == 0).all()


def test_many_texts_behind_one_prompt() -> None:
    model, prompt = tiny().eval(), torch.randn(70, 100) - 2
    texts = [[3, 1, 4], [2], [1, 2, 3, 4, 3, 2, 1]]
    found = model.durations_behind(texts, prompt, 1.3)
    for ids, frames in zip(texts, found, strict=True):
        alone = model.durations(torch.tensor([ids]), prompt[None], 1.3)[0]
        assert frames.shape == (len(ids),) and (frames - alone).abs().max() < 1e-4


def test_the_prompt_matters_and_gradients_reach_everything() -> None:
    model = tiny()
    ids, mel = (
        ids_of("<sil>", "ˈ", "a", "b", " ", "uː", "."),
        torch.randn(1, 60, 100, generator=torch.Generator().manual_seed(0)),
    )
    assert not torch.allclose(model(ids, mel), model(ids, mel + 1), atol=1e-4)
    both = model(ids.repeat(2, 1), mel.repeat(2, 1, 1), torch.tensor([60, 0]))
    both.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_floors_and_caps() -> None:
    ids = ids_of("<sil>", "ˈ", "a", " ", "t͡ʃ", ",", "<unk>", "b")
    long, short = saying(300.0).durations(ids)[0], saying(0.2).durations(ids)[0]
    pause, phone = 1.5 * 93.75, 0.5 * 93.75
    torch.testing.assert_close(
        long, torch.tensor([pause, phone, phone, pause, pause, pause, 300.0, pause]), atol=1e-2, rtol=1e-4
    )
    torch.testing.assert_close(short, torch.tensor([0.2, 0.2, 1.5, 0.2, 1.5, 0.2, 0.2, 1.5]), atol=1e-4, rtol=1e-3)


def test_speed_divides() -> None:
    ids = ids_of("<sil>", "a", "b", ".").repeat(2, 1)
    model = saying(10.0)
    torch.testing.assert_close(model.durations(ids, speed=2.0), model.durations(ids) / 2)
    each = model.durations(ids, speed=torch.tensor([1.0, 0.5])).sum(1)
    torch.testing.assert_close(each, torch.tensor([40.0, 80.0]))
    assert (model.durations(ids, speed=100.0)[:, 1:3] == 1.5).all()  # the floor holds at any speed
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="speed"):
            model.durations(ids, speed=bad)


def test_wrong_inputs_say_what_is_wrong() -> None:
    model, ids = tiny(), ids_of("a", "b")
    with pytest.raises(ValueError, match="vocabulary"):
        model(ids + len(VOCAB))
    with pytest.raises(ValueError, match="shape"):
        model(ids[0])
    with pytest.raises(ValueError, match="log-mel"):
        model(ids, torch.zeros(1, 10, 80))
    with pytest.raises(ValueError, match="lengths"):
        model(ids, torch.zeros(1, 10, 100), torch.tensor([11]))


def test_save_and_load(tmp_path) -> None:
    model, ids = tiny(), ids_of("<sil>", "a", ",", "uː", ".", "<sil>")
    save_duration_model(model, tmp_path / "full", half=False)
    save_duration_model(model, tmp_path / "half")
    assert sorted(p.name for p in (tmp_path / "half").iterdir()) == ["config.json", "model.safetensors"]
    full, half = load_duration_model(tmp_path / "full"), load_duration_model(tmp_path / "half" / "model.safetensors")
    assert not half.training and half.vocab == VOCAB and half.head.weight.dtype == torch.float32
    torch.testing.assert_close(full(ids), model(ids), atol=0, rtol=0)
    torch.testing.assert_close(half(ids), model(ids), atol=0.05, rtol=0.02)
    other = (tmp_path / "half" / "config.json").rename(tmp_path / "settings.json")
    load_duration_model(tmp_path / "half" / "model.safetensors", other)
    with pytest.raises(ModelError, match="config.json is missing"):
        load_duration_model(tmp_path / "half")


@pytest.mark.parametrize("change", [{"dim": 32}, {"depth": 3}, {"vocab": ["a"]}])
def test_config_that_does_not_fit(tmp_path, change: dict) -> None:
    save_duration_model(tiny(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(ModelError):
        load_duration_model(tmp_path)


def test_damaged_files(tmp_path) -> None:
    save_duration_model(tiny(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(ModelError):
        load_duration_model(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError):
        load_duration_model(tmp_path)


def test_it_learns_that_pace_comes_from_the_prompt() -> None:
    """Prompts whose energy flickers fast or slowly stand for durations 4 and 12: a held-out phase of the flicker must
    tell them apart.
    """
    model, generator = tiny(), torch.Generator().manual_seed(3)
    ids = ids_of("<sil>", "a", "b", " ", "uː", ".").repeat(8, 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)

    def prompts() -> tuple[torch.Tensor, torch.Tensor]:
        slow = torch.arange(8) % 2
        period = torch.where(slow == 1, 48.0, 16.0)[:, None]
        phase = torch.rand(8, 1, generator=generator)
        wave = (2 * math.pi * (torch.arange(96) / period + phase)).sin()
        return (wave[..., None] * 3 - 2.44).expand(-1, -1, 100), torch.where(slow == 1, 12.0, 4.0)

    for _ in range(40):
        mel, wanted = prompts()
        loss = (model(ids, mel).log1p() - wanted[:, None].log1p()).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mel, wanted = prompts()
    assert ((model(ids, mel).mean(1) > 8) == (wanted > 8)).all()
