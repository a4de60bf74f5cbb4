"""The CTC reader: its loss against a sum over all readings, a toy that learns to be legible, weights that never leave
the training.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import tiny_flow
from train_worker import toy_config

from tts_fm.data.batches import TrainItem
from tts_fm.train.ctc import WithCTC, ctc_loss
from tts_fm.train.trainer import Trainer, noise_generator


def test_the_loss_is_the_sum_over_all_readings():
    """Two texts, 4 and 3 positions: minus the logarithm of the probability of every path that collapses to the text, by
    enumeration.
    """
    logits = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]], dtype=torch.bool)
    texts, blank = [[0, 2], [1, 1]], 3
    nats = []
    for row, real, text in zip(logits.softmax(-1), mask.sum(1).tolist(), texts, strict=True):
        total = 0.0
        for path in itertools.product(range(4), repeat=real):
            said = [s for s, _ in itertools.groupby(path) if s != blank]
            total += float(np.prod([float(row[p, s]) for p, s in enumerate(path)])) if said == text else 0.0
        nats.append(-np.log(total))
    ids = torch.tensor([[0, 2, -1], [1, 1, -1]])
    assert float(ctc_loss(logits, mask, ids, torch.tensor([True, True]))) == pytest.approx(sum(nats) / 4, rel=1e-5)
    assert float(ctc_loss(logits, mask, ids, torch.tensor([False, True]))) == pytest.approx(nats[1] / 2, rel=1e-5)
    assert float(ctc_loss(logits, mask, ids, torch.tensor([False, False]))) == 0.0
    crowded = torch.tensor([[0, 2, 1], [1, 1, 1]])  # the second needs 5 positions
    assert torch.isfinite(ctc_loss(logits, mask, crowded, torch.tensor([True, True])))


class Bands:
    """Utterances whose symbol s sounds in mel bands 4 s to 4 s + 3 for 12 frames."""

    unknown = None

    def __init__(self, count: int = 16) -> None:
        self.frames = [96] * count

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> TrainItem:
        ids = np.random.default_rng(index).integers(2, 12, 8)
        mel = np.full((96, 100), -8.0, np.float32)
        for place, symbol in enumerate(ids):
            mel[12 * place : 12 * place + 12, 4 * symbol : 4 * symbol + 4] = 2.0
        return TrainItem(mel, ids)


def toy(folder: Path, text: str = "average", backbone: str = "dit", **changes) -> Trainer:
    shape = {"text": text, "backbone": backbone, "depth": 2, "shared_adaln": backbone == "dit", "text_frame_layers": 0}
    config = toy_config(
        **({"learning_rate": 3e-3, "valid_every": 1000, "save_every": 1000, "log_every": 1, "ctc": 1.0} | changes)
    )
    return Trainer(tiny_flow(**shape), Bands(), None, config, folder)


def reading(trainer: Trainer) -> float:
    """What the reader's loss is now, on a batch of its own: the whole less the flow model's."""
    b = trainer.loader[10_000]
    arguments = (b.mel, b.mask, b.hidden, b.ids, b.durations, b.drop_audio, b.drop_text)
    assert isinstance(trainer.model, WithCTC)
    whole = trainer.model(*arguments, noise_generator(torch.device("cpu"), 0, 0)).loss
    return float((whole - trainer.plain(*arguments, noise_generator(torch.device("cpu"), 0, 0)).loss).detach())


@pytest.mark.parametrize("backbone", ["dit", "unett"])
def test_a_toy_becomes_legible(tmp_path: Path, backbone: str):
    trainer = toy(tmp_path, backbone=backbone, steps=60, decay=10)
    before = reading(trainer)
    trainer.run()
    assert before > 4 and reading(trainer) < 0.6 * before


def test_a_resumed_run_is_exact_and_the_weights_stay_behind(tmp_path: Path):
    toy(tmp_path / "whole", steps=6, checkpointing=True).run()
    toy(tmp_path / "parts", steps=6, save_every=3).run(until=0.0)
    broken = toy(tmp_path / "parts", steps=6, save_every=3)
    update = broken.update
    broken.update = lambda: update() if broken.step < 4 else (_ for _ in ()).throw(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        broken.run()
    toy(tmp_path / "parts", steps=6).run()
    ends = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts")]
    for key in ("model", "average", "reader"):
        assert all(torch.allclose(ends[0][key][name], value, atol=1e-6) for name, value in ends[1][key].items()), key
    assert (
        list(ends[0]["model"])
        == list(ends[0]["average"])
        == list(tiny_flow(text="average", depth=2, text_frame_layers=0).state_dict())
    )
    with pytest.raises(ValueError, match="another model"):
        toy(tmp_path / "whole", ctc=0.0)


def test_off_is_as_it_was(tmp_path: Path):
    """Weight 0 builds no reader; a weight of next to nothing leaves the flow model's course as it is."""
    for name, weight in (("off", 0.0), ("faint", 1e-12)):
        toy(tmp_path / name, steps=3, clip=1e6, ctc=weight).run()
    off, faint = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("off", "faint"))
    assert "reader" not in off and "reader" in faint
    assert all(torch.allclose(off["model"][k], v, atol=1e-5) for k, v in faint["model"].items())
    rows = [
        [json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("off", "faint")
    ]
    assert [r["loss"] for r in rows[0]] == pytest.approx([r["loss"] for r in rows[1]], rel=1e-5)
