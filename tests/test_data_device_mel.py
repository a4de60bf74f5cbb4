"""Log-mels that are made where the network is (train.mel_on_device): those of the loader, in batches and in a run."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from test_recipes import SMALL, manifest
from train_worker import Noise

from recipes.libritts import recipes, train
from tts_fm.config import TrainConfig
from tts_fm.data.batches import Loader, Share
from tts_fm.data.corpus import ManifestItems
from tts_fm.data.manifest import Utterance

CONFIG = TrainConfig(batch_frames=400, seed=3)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> ManifestItems:
    """20 clips from 0.01 s on, some at 16 kHz or with a silent half; one is a little longer than it is said to be."""
    folder, rng, rows = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for i in range(20):
        rate = 16_000 if i % 5 == 2 else 24_000
        wave = rng.normal(scale=0.1, size=round((0.01 + 0.02 * i) * rate))
        wave[: len(wave) // 2] *= i % 4 > 0
        soundfile.write(folder / f"{i}.wav", wave, rate, subtype="PCM_16")
        seconds = len(wave) / rate - (0.03 if i == 9 else 0)
        rows.append(Utterance(str(i), f"{i}.wav", "a", "s", seconds))
    return ManifestItems(rows, folder, ["a"])


def test_a_batch_has_the_mels_of_the_loader(items: ManifestItems) -> None:
    ours, theirs = Loader(items, dataclasses.replace(CONFIG, mel_on_device=True)), Loader(items, CONFIG)
    assert ours.buckets.per_epoch > 3
    for number in range(ours.buckets.per_epoch):
        there, wanted = ours[number], theirs[number]
        assert there.waves is not None and not there.mel.numel()
        made = there.to("cpu")
        assert made.waves is None and made.mel.shape == wanted.mel.shape
        assert torch.allclose(made.mel, wanted.mel, atol=2e-4)
        for name in ("mask", "hidden", "ids", "drop_audio", "drop_text"):
            assert torch.equal(getattr(made, name), getattr(wanted, name)), name
        assert not made.mel[~made.mask].any()


def test_a_share_of_the_utterances_has_waves_too(items: ManifestItems) -> None:
    share = Share(items, 1, 2)
    (one,), (two,) = share.waves([3]), items.waves([int(share.numbers[3])])
    assert one.wave is not None and np.array_equal(one.wave, two.wave) and one.frames == share.frames[3]


def test_training_is_the_same(tmp_path: Path) -> None:
    """With --set train.mel_on_device=true, as the recipes take it."""
    path, found = manifest(tmp_path), {}
    for way in ("false", "true"):
        recipe = recipes.get("tiny", [*SMALL, "train.tensorboard=false", f"train.mel_on_device={way}"])
        assert train.train(recipe, path, tmp_path / way, device="cpu") == 3
        lines = map(json.loads, (tmp_path / way / "log.jsonl").read_text().splitlines())
        found[way] = [line.get("loss", line.get("valid")) for line in lines]
    assert len(found["true"]) == 4
    assert all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(found["true"], found["false"], strict=True))


def test_what_does_not_go_with_it(items: ManifestItems) -> None:
    for other in ({"equalise": 3.0}, {"revoice": 1.0}, {"room": 0.5}, {"turned": 0.5}):
        with pytest.raises(ValueError, match="mel_on_device goes without equalise, revoice, room and turned"):
            TrainConfig(mel_on_device=True, **other)
    with pytest.raises(ValueError, match="mel_on_device needs recordings, but these utterances are kept as mels"):
        Loader(Noise(), dataclasses.replace(CONFIG, mel_on_device=True))
