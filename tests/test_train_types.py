"""What a run may compute in, and published weights as its start."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from test_recipes import manifest
from test_train import figures
from train_worker import Noise, toy_trainer

from recipes.libritts import recipes, train
from tts_fm.text.tokens import save_vocab
from tts_fm.train.state import read_average
from tts_fm.train.stopping import StopRequest

GOLDEN = Path(__file__).parent / "golden"
F5 = GOLDEN / "f5_v1.weights.safetensors"


@pytest.fixture(autouse=True)
def own_accelerator() -> Iterator[None]:
    """accelerate keeps one kind of precision for a whole process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def test_half_types_stay_near_float32(tmp_path: Path):
    """Autocast is on (the losses are not those of float32), and the weights stay float32."""
    for name, how in {"full": {}, "bf16": {"bf16": True}, "fp16": {"fp16": True}}.items():
        AcceleratorState._reset_state()
        toy_trainer(tmp_path / name, steps=3, **how).run()
    full, bf16, fp16 = (figures(tmp_path / name) for name in ("full", "bf16", "fp16"))
    for half in (bf16, fp16):
        assert half != full and all(half[step] == pytest.approx(full[step], rel=0.02) for step in full)
    assert {v.dtype for v in read_average(tmp_path / "bf16")[0].values()} == {torch.float32}


def test_without_a_scaler_fp16_skips_what_is_not_finite(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    trainer = toy_trainer(tmp_path, Noise(broken=(0,)), fp16=True, steps=8)
    trainer.run()
    assert "not finite" in caplog.text
    assert all(bool(v.isfinite().all()) for v in read_average(tmp_path)[0].values())


@pytest.mark.skipif("TTS_FM_COMPILE" not in os.environ, reason="minutes of compiling: make test-compile")
def test_compiled_blocks_give_the_same_losses(tmp_path: Path):
    """Items of one length: every shape is compiled anew (tests/test_recipe_flow.py has several)."""
    from tiny_model import tiny_flow
    from train_worker import toy_config

    from tts_fm.train.trainer import Trainer

    even = Noise()
    even.frames = [96] * len(even)
    toy_trainer(tmp_path / "eager", even, model={"dropout": 0.0}, steps=3).run()
    Trainer(tiny_flow(), even, None, toy_config(steps=3), tmp_path / "compiled", compiled=True).run()
    eager, compiled = figures(tmp_path / "eager"), figures(tmp_path / "compiled")
    assert all(compiled[step] == pytest.approx(eager[step], rel=1e-4) for step in eager)


def test_a_stop_that_ends_the_compiler_too_is_a_stop(caplog: pytest.LogCaptureFixture):
    """As `timeout`, Slurm and Ctrl-C do it: all processes of the group get the signal."""
    with pytest.raises(KeyboardInterrupt), StopRequest().listening():
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("CppCompileError: C++ compile error")
    assert "asked to stop while torch.compile was at work" in caplog.text
    with pytest.raises(RuntimeError), StopRequest().listening():
        raise RuntimeError("CppCompileError: C++ compile error")
    with pytest.raises(ZeroDivisionError), StopRequest().listening():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError


def test_finetuning_starts_from_published_weights(tmp_path: Path):
    """Symbols that the vocabulary lacks are added, and the weights are the published ones but for two small updates."""
    vocab = tmp_path / "vocab.txt"
    save_vocab(vocab, json.loads((GOLDEN / "text.json").read_text())["vocab"])

    small = ["train.steps=2", "train.batch_frames=300", "train.log_every=1", "train.checkpointing=false"]
    small += ["train.tensorboard=false", "train.workers=0", "train.bf16=false"]
    reached = train.train(
        recipes.get("finetune", small), manifest(tmp_path), tmp_path / "run", init=str(F5), init_vocab=str(vocab)
    )
    assert reached == 2 and set(figures(tmp_path / "run")) == {1, 2}
    before = train.published(str(F5), "f5-v1", str(vocab), [])
    average, _ = read_average(tmp_path / "run")
    name = "net.proj_out.weight"
    assert torch.allclose(average[name], before.state_dict()[name], atol=1e-3)


def test_full_memory_is_told_with_a_batch_that_would_fit(tmp_path: Path):
    trainer = toy_trainer(tmp_path, batch_frames=500)

    def update() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    trainer.update = update  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"batches of 500 frames \(CUDA out of memory\): try train.batch_frames=250"):
        trainer.run()
