"""The vocoder's training: discriminators that learn, gradients of the lengths that were asked for, exact resume."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tts_fm.audio.mel import log_mel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import crops
import generator
import judges as discriminators
import pitches
import vocoder

SAMPLES = 40_000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of tones in noise, as cache.py writes them, and predicted mels for one."""
    folder = tmp_path_factory.mktemp("cache")
    time = np.arange(SAMPLES) / 24_000
    rng = np.random.default_rng(0)
    waves = [0.3 * np.sin(2 * np.pi * f * time) + 0.02 * rng.normal(size=SAMPLES) for f in (150, 320)]
    (np.concatenate(waves) * 32767).astype(np.int16).tofile(folder / "wav.i16")
    rows = [{"split": s, "samples": SAMPLES, "sample": n * SAMPLES} for n, s in enumerate(("train", "valid"))]
    (folder / "index.json").write_text(json.dumps(rows))
    mel = generator.log_mels(torch.from_numpy(waves[0][None].astype(np.float32)))[0].numpy()
    (folder / "predicted").mkdir()
    mel.astype(np.float16).tofile(folder / "predicted" / "mel.f16")
    (folder / "predicted" / "index.json").write_text(json.dumps([rows[0] | {"frame": 0, "frames": len(mel)}]))
    return folder


def options(cache: Path, out: Path, *more: str) -> argparse.Namespace:
    line = [str(cache), str(out), "--layers", "1", "--batch", "2", "--channels", "2", "--steps", "6", "--device", "cpu"]
    return vocoder.parse([*line, "--adversarial-from", "1", "--judges-first", "1", "--sitting", "3", *more])


def clips_of(cache: Path) -> tuple[crops.Clips, crops.Predicted]:
    wave = crops.held(cache / "wav.i16", np.int16, torch.device("cpu"))
    found = pitches.Pitches(cache, torch.device("cpu"))
    return crops.Clips(cache, "train", 48, wave, found), crops.Predicted(cache / "predicted", 48, wave, found)


def walk(run: vocoder.Run, cache: Path, steps: int) -> dict[str, Tensor]:
    clips, predicted = clips_of(cache)
    figures: dict[str, Tensor] = {}
    for _ in range(steps):
        figures = run.update(crops.draw(clips, predicted, run.step, 2))
    return figures


def test_a_resumed_run_is_the_same_run(cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = vocoder.Run(options(cache, tmp_path / "none"))
    begin = {k: v.clone() for k, v in whole.model.state_dict().items()}
    walk(whole, cache, 2)
    (tmp_path / "run").mkdir()
    whole.save(tmp_path / "run" / "last.pt")
    figures = walk(whole, cache, 2)
    resumed = vocoder.Run(options(cache, tmp_path / "run"))
    assert resumed.step == 2 and walk(resumed, cache, 2) == figures
    for part in ("model", "judges"):
        for a, b in zip(*(getattr(run, part).state_dict().values() for run in (whole, resumed)), strict=True):
            assert torch.equal(a, b)
    assert all(torch.equal(whole.average[k], resumed.average[k]) for k in whole.average)
    assert {"own", "fool", "match", "mel", "stft", "pitch", "turning"} <= figures.keys() and not torch.equal(
        begin["head.out.weight"], whole.model.state_dict()["head.out.weight"]
    )


def test_the_generator_waits_for_the_discriminators(cache: Path, tmp_path: Path) -> None:
    run = vocoder.Run(options(cache, tmp_path, "--adversarial-from", "0", "--judges-first", "2"))
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    theirs = [v.clone() for v in run.judges.state_dict().values()]
    walk(run, cache, 2)
    assert all(torch.equal(v, before[k]) for k, v in run.model.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(theirs, run.judges.state_dict().values(), strict=True))
    assert "mel" in walk(run, cache, 1)


def test_spoken_mels_are_judged_and_held_near_the_first_weights(cache: Path, tmp_path: Path) -> None:
    """Mels without a recording change what is learnt; the more the first weights count, the nearer it stays to them."""
    spoken = crops.Spoken(cache / "predicted", 48, torch.device("cpu"))
    torch.manual_seed(0)
    (tmp_path / "start").mkdir()
    save_file(generator.Generator(layers=1).state_dict(), tmp_path / "start" / vocoder.WEIGHTS)
    moved = []
    for anchor in ("0", "30"):
        start = ("--start", str(tmp_path / "start"), "--spoken", str(cache / "predicted"), "--anchor", anchor)
        torch.manual_seed(1)
        run = vocoder.Run(options(cache, tmp_path / "none", "--adversarial-from", "0", "--lr", "1e-2", *start))
        clips, _ = clips_of(cache)
        for _ in range(12):
            others = spoken.batch(run.step, 2, seed=1)
            figures = run.update(crops.draw(clips, None, run.step, 2), others)
        moved.append(float(figures["near"]))
    assert moved[0] > 1.5 * moved[1] > 0
    with pytest.raises(SystemExit):
        options(cache, tmp_path / "none", "--spoken", str(cache / "predicted"))


def test_copies_of_nothing_recorded_are_judged_without_their_features() -> None:
    torch.manual_seed(0)
    seats, noise = discriminators.Judges(windows=(512,), periods=(3,), channels=4), torch.randn(3, 6000)
    pair, both = seats(noise[:1], noise[1:2]), seats(noise[[0, 2]], noise[1:2])
    assert torch.allclose(both.match, pair.match) and not torch.allclose(both.fool, pair.fool)


def test_discriminators_learn_to_tell_speech_from_its_copy() -> None:
    torch.manual_seed(0)
    seats = discriminators.Judges(windows=(512,), periods=(3,), channels=4)
    time = torch.arange(6000) / 24_000
    real = torch.sin(2 * torch.pi * torch.tensor([[150.0], [320.0]]) * time) * 0.3
    fake = real + 0.1 * torch.randn(2, 6000)
    optimiser = torch.optim.AdamW(seats.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        verdict = seats(fake, real)
        optimiser.zero_grad()
        verdict.own.backward()
        optimiser.step()
        losses.append(verdict.own.item())
    assert losses[-1] < 0.5 * losses[0]
    same = seats(real, real)
    assert same.match.item() == 0 and seats(fake, real).match.item() > 0.01
    only = seats(fake, real, sitting=[1])
    assert only.own.item() < seats(fake, real).own.item()


def test_the_balance_gives_lengths_as_asked_for() -> None:
    balance = discriminators.Balance(share=0.5)
    first, second = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 200.0]])
    assert torch.allclose(balance.add(first, second), torch.tensor([[3.0, 4.0 + 2.5]]))
    assert torch.allclose(balance.add(first, second * 3), torch.tensor([[3.0, 4.0 + 7.5 / 1.02]]))  # averaged: 1.02


def test_phases_are_to_go_on_as_in_speech() -> None:
    """What is later by some samples counts as the same, a pitch that is off does not, and noise is off by chance."""
    time, loss = torch.arange(24_000) / 24_000, generator.SpectralLoss()

    def vowel(pitch: float, later: float = 0.0) -> Tensor:
        """Harmonics so far apart that each lies alone in its bins."""
        return sum(torch.sin(2 * torch.pi * n * pitch * (time - later)) / n for n in (1, 4, 7))[None] * 0.2

    same, shifted, off = (
        float(loss(wave, vowel(300.0))[2]) for wave in (vowel(300.0), vowel(300.0, 3e-4), vowel(310.0))
    )
    noise = float(loss(torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0)) * 0.1, vowel(300.0))[2])
    assert same < 1e-3 and shifted < 0.05 and off > 3 * shifted and 0.6 < noise < 1.2


def test_the_network_is_that_of_the_package() -> None:
    """The same names, and the same waves from the weights that ship."""
    pytest.importorskip("vocos")
    from tts_fm.model.vocoder import load_vocoder

    folder = Path(__file__).resolve().parents[1] / "tts_fm" / "assets" / "builtin" / "vocoder"
    own = generator.Generator(layers=8)
    own.load_state_dict(load_file(folder / vocoder.WEIGHTS))
    theirs = load_vocoder(folder)
    assert own.state_dict().keys() == theirs.module.state_dict().keys()
    mel = torch.randn(2, 40, 100, generator=torch.Generator().manual_seed(0)) * 2 - 4
    with torch.no_grad():
        found = own.head(own.backbone(mel.transpose(1, 2)))
    assert torch.allclose(found, theirs.decode(mel), atol=1e-5)


def test_log_mels_are_those_of_the_corpus() -> None:
    waves = np.random.default_rng(3).normal(0, 0.1, (2, 9000)).astype(np.float32)
    found = generator.log_mels(torch.from_numpy(waves)).numpy()
    assert np.allclose(found, np.stack([log_mel(wave) for wave in waves]), atol=2e-4)


@pytest.mark.parametrize(("size", "bands"), [(256, 40), (1024, 100), (2048, 160)])
def test_filters_are_those_of_librosa(size: int, bands: int) -> None:
    mel = pytest.importorskip("librosa").filters.mel
    wanted = mel(sr=24_000, n_fft=size, n_mels=bands, htk=True, norm=None)
    assert np.allclose(generator.triangles(size, bands), wanted, atol=1e-5)


def test_crops_are_what_lies_there(cache: Path) -> None:
    clips, predicted = clips_of(cache)
    mel, wave, pitch = predicted.batch(3, 4, seed=1)
    assert wave.shape == (4, 47 * 256) and mel.shape == (4, 48, 100) and pitch.shape == (4, 48, 2)
    assert torch.allclose(pitch[..., 0], torch.tensor(150.0), atol=0.5) and (pitch[..., 1] > 0.9).all()  # of the tone
    spoken = crops.Spoken(cache / "predicted", 48, torch.device("cpu")).batch(3, 4, seed=1)
    whole = np.fromfile(cache / "predicted" / "mel.f16", np.float16).reshape(-1, 100)
    places = np.lib.stride_tricks.sliding_window_view(whole, 48, axis=0).transpose(0, 2, 1)
    assert all((places == crop).all((1, 2)).any() for crop in spoken.numpy().astype(np.float16))
    true = generator.log_mels(wave)  # these "predicted" mels are the speech's own
    assert float((true - mel)[:, 4:-4].abs().mean()) < 0.05
    sound = clips.batch(3, 3, seed=1).wave
    assert torch.equal(sound, clips.batch(3, 3, seed=1).wave)
    assert not torch.equal(sound, clips.batch(4, 3, seed=1).wave)
    samples = np.fromfile(cache / "wav.i16", np.int16)[:SAMPLES] / 32768
    for crop in sound.numpy():  # somewhere in the clip, at some level
        inside = np.correlate(samples, crop / np.linalg.norm(crop), "valid")
        at = int(inside.argmax())
        assert inside[at] > 0.999 * np.linalg.norm(samples[at : at + len(crop)])
