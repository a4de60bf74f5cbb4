"""Fine-tuning in low rank through the one training loop: what stays frozen, exact resume, merging, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_model import VOCAB, tiny_config, tiny_flow
from train_worker import toy_trainer

from tts_fm.config import TrainConfig, to_dict
from tts_fm.train.lora import ADDED, merged_state

LORA = {"lora_rank": 2, "learning_rate": 1e-2}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def state(folder: Path) -> dict:
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.mark.parametrize("backbone", [{}, {"backbone": "unett", "depth": 2, "patch": 1, "shared_adaln": False}])
def test_only_low_rank_changes_are_trained_and_they_merge(tmp_path, backbone):
    heard = []
    trainer = toy_trainer(tmp_path, on_valid=lambda model, step: heard.append(model), model=backbone, **LORA)
    before = {name: value.clone() for name, value in trainer.plain.named_parameters()}
    trainer.run()
    moved = {name for name, value in trainer.plain.named_parameters() if not torch.equal(value, before[name])}
    assert any(ADDED in name for name in moved)
    assert all(ADDED in name or name.endswith((".bias", ".offset")) for name in moved)
    plain = {name for name, _ in tiny_flow(**{"dropout": 0.1} | backbone).named_parameters()}
    assert {name for name, _ in heard[-1].named_parameters()} == plain  # what speaks is a plain network
    trainer.plain.load_state_dict(trainer.average)
    x, ids = torch.randn(1, 30, 100), torch.randint(2, 20, (1, 5))
    parts = {"durations": torch.full((1, 5), 6.0)}
    trainer.plain.eval()
    merged = trainer.averaged()
    torch.testing.assert_close(
        merged.velocity(x, 0.4, None, ids, **parts),
        trainer.plain.velocity(x, 0.4, None, ids, **parts),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_killed_run_in_low_rank_ends_with_the_same_bits(tmp_path):
    toy_trainer(tmp_path / "whole", **LORA).run()
    broken = toy_trainer(tmp_path / "broken", **LORA)
    taken = broken.take

    def stop(good):
        taken(good)
        if broken.step == 4:
            raise KeyboardInterrupt

    broken.take = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    toy_trainer(tmp_path / "broken", **LORA).run()
    one, two = state(tmp_path / "whole"), state(tmp_path / "broken")
    assert one["step"] == two["step"] == 10
    assert all(torch.equal(value, two["average"][name]) for name, value in one["average"].items())


def test_an_exported_run_is_merged(tmp_path):
    from recipes.libritts.export import export
    from tts_fm.checkpoint.load import load_flow_model

    toy_trainer(tmp_path / "run", **LORA).run()
    settings = {"recipe": "finetune", "vocab": VOCAB, "tokenizer": {"name": "phoneme"}, "defaults": {}}
    settings |= {"model": to_dict(tiny_config(text="aligned", dropout=0.1)), "train": to_dict(TrainConfig())}
    (tmp_path / "run" / "settings.json").write_text(json.dumps(settings))
    from tts_fm.model.duration import DurationModel, save_duration_model

    save_duration_model(DurationModel(VOCAB, dim=16, layers=1, style_dim=16, prompt_dim=16), tmp_path / "durations")
    export(tmp_path / "run", tmp_path / "model", duration=tmp_path / "durations", half=False)
    wanted = merged_state(state(tmp_path / "run")["average"], 1.0)
    found = load_flow_model(tmp_path / "model").state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    save_duration_model(DurationModel(["a"], dim=16, layers=1, style_dim=16, prompt_dim=16), tmp_path / "others")
    with pytest.raises(ValueError, match="has another vocabulary; train with --vocab"):
        export(tmp_path / "run", tmp_path / "model", duration=tmp_path / "others")


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lora_rank"):
        toy_trainer(tmp_path, lora_rank=2, shard=True)
