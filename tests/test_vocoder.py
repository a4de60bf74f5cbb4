"""Vocos against the golden file, batches against single items, files good and bad; Griffin-Lim by the mel it gives
back.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tts_fm.audio.mel import log_mel
from tts_fm.errors import ModelError
from tts_fm.model import vocoder as v
from tts_fm.model.harmonics import Harmonics

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def gold() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "vocos.io.safetensors")


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "vocos.weights.safetensors")


def test_golden_wave(gold):
    vocoder = v.load_vocoder(GOLDEN / "vocos.weights.safetensors")
    wave = vocoder.decode(gold["mel"].transpose(1, 2))
    assert wave.shape == gold["audio"].shape == (1, (94 - 1) * 256) and wave.dtype == torch.float32
    assert (wave - gold["audio"]).abs().max() < 1e-5
    assert vocoder.config["dim"] == 64 and vocoder.config["layers"] == 3


def mels(gold) -> torch.Tensor:
    mel = gold["mel"].transpose(1, 2)
    return torch.cat([mel, mel.flip(1) + 0.3, mel * 0.9])


def with_pitch(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with harmonics, of random numbers, by which frames have a pitch."""
    generator = torch.Generator().manual_seed(0)
    new = {f"head.harmonics.{name}": value.shape for name, value in Harmonics(64).state_dict().items()}
    made = {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in new.items()}
    made["head.harmonics.pitch.bias"][0] = 30.0
    return state | made


@pytest.mark.parametrize("kind", ["vocos", "with harmonics", "griffin-lim"])
def test_batch_is_single(kind: str, gold, state):
    weights = state if kind == "vocos" else with_pitch(state)
    vocoder = v.GriffinLim(4) if kind == "griffin-lim" else v.vocoder_from_state(weights)
    mel, lengths = mels(gold), [94, 2, 61]
    close = 1e-4 if kind == "with harmonics" else 1e-5  # a phase is a sum over all frames before
    for batch, counts in ((mel, None), (mel, lengths), (mel, torch.tensor(lengths))):
        waves = vocoder.decode(batch, counts)
        assert waves.shape == (3, 93 * 256)
        for b, n in enumerate(lengths if counts is not None else [94] * 3):
            alone = vocoder.decode(mel[b : b + 1, :n])[0]
            assert (waves[b, : len(alone)] - alone).abs().max() < close
            assert not waves[b, len(alone) :].any()
    mel[1, 2:] = float("nan")  # padding is never looked at
    alone = vocoder.decode(mel, lengths)
    assert torch.isfinite(alone).all()
    if kind != "griffin-lim":  # as on a GPU, in one forward
        together = vocoder._decode_padded(mel, lengths)
        assert together.shape == alone.shape and (together - alone).abs().max() < close


def test_decode_says_what_it_takes(gold, state):
    vocoder, mel = v.vocoder_from_state(state), mels(gold)
    for bad in (mel.transpose(1, 2), mel[0], mel[:, :1]):
        with pytest.raises(ValueError, match="T, 100"):
            vocoder.decode(bad)
    for lengths in ([94], [94, 94, 95], [94, 94, 1]):
        with pytest.raises(ValueError, match="lengths"):
            vocoder.decode(mel, lengths)


def test_bfloat16_backbone_is_close(gold, state):
    vocoder = v.vocoder_from_state(state, compute="bfloat16")
    wave = vocoder.decode(gold["mel"].transpose(1, 2))
    assert wave.dtype == torch.float32
    assert 0 < (wave - gold["audio"]).norm() / gold["audio"].norm() < 0.2
    with pytest.raises(ValueError, match="float8"):
        v.vocoder_from_state(state, compute="float8")


def test_a_vocoder_with_harmonics_is_known_by_its_weights(gold, state, tmp_path: Path):
    v.save_vocoder(tmp_path, with_pitch(state))
    vocoder, plain = v.load_vocoder(tmp_path), v.vocoder_from_state(state)
    assert vocoder.config["harmonic"] and not plain.config["harmonic"]
    assert json.loads((tmp_path / "vocoder.json").read_text())["harmonic"] is True
    mel = gold["mel"].transpose(1, 2)
    assert (vocoder.decode(mel) - plain.decode(mel)).abs().max() > 1e-2
    lacking = {k: t for k, t in with_pitch(state).items() if k != "head.harmonics.rest.bias"}
    save_file(lacking, tmp_path / "vocoder.safetensors")
    with pytest.raises(ModelError, match=r"it lacks head\.harmonics\.rest\.bias"):
        v.load_vocoder(tmp_path)


@pytest.mark.parametrize(("dtype", "error"), [(None, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_save_and_load(dtype, error: float, gold, state, tmp_path: Path):
    v.save_vocoder(tmp_path / "a" / "b", state, {"licence": "Apache-2.0", "compute": "float32"}, dtype)
    folder = tmp_path / "a" / "b"
    assert sorted(p.name for p in folder.iterdir()) == ["vocoder.json", "vocoder.safetensors"]
    stored = load_file(folder / "vocoder.safetensors")
    assert set(stored) == set(state) and stored["backbone.embed.weight"].dtype == (dtype or torch.float32)
    vocoder = v.load_vocoder(folder)
    assert all(p.dtype == torch.float32 for p in vocoder.module.parameters())
    assert (vocoder.decode(gold["mel"].transpose(1, 2)) - gold["audio"]).abs().max() < error
    assert v.load_vocoder(folder, compute="bfloat16").compute == "bfloat16"
    assert json.loads((folder / "vocoder.json").read_text())["licence"] == "Apache-2.0"


def test_another_mel_is_refused(state, tmp_path: Path):
    v.save_vocoder(tmp_path, state)
    config = json.loads((tmp_path / "vocoder.json").read_text())
    for change in ({"mel_scale": "slaney"}, {"hop_length": 300, "sample_rate": 22050}, {"power": 2}, {"log": "log10"}):
        (tmp_path / "vocoder.json").write_text(json.dumps({**config, "mel": {**config["mel"], **change}}))
        with pytest.raises(ValueError, match="another mel") as error:
            v.load_vocoder(tmp_path)
        assert all(key in str(error.value) for key in change)
    del config["mel"]["floor"]
    (tmp_path / "vocoder.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="floor is missing"):
        v.load_vocoder(tmp_path)
    with pytest.raises(ValueError, match="another mel"):
        v.save_vocoder(tmp_path, state, {"mel": {"n_mels": 80}})


def test_bad_files(state, tmp_path: Path):
    good = tmp_path / "good"
    v.save_vocoder(good, state)
    with pytest.raises(ModelError, match="no vocoder"):
        v.load_vocoder(tmp_path / "missing")
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="convert"):
        v.load_vocoder(tmp_path / "x.bin")
    (tmp_path / "cut.safetensors").write_bytes((good / "vocoder.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a readable safetensors"):
        v.load_vocoder(tmp_path / "cut.safetensors")
    cases = {
        "not a Vocos": {"a": torch.zeros(1)},
        "mel bins": {**state, "backbone.embed.weight": torch.zeros(64, 80, 7)},
        "it lacks backbone.norm.weight": {k: t for k, t in state.items() if k != "backbone.norm.weight"},
        "does not know: backbone.surprise": {**state, "backbone.surprise": torch.zeros(1)},
        "another shape for backbone.norm.bias": {**state, "backbone.norm.bias": torch.zeros(65)},
        "NaN": {**state, "head.out.bias": torch.full((1026,), float("nan"))},
    }
    for match, tensors in cases.items():
        save_file(tensors, tmp_path / "bad.safetensors")
        with pytest.raises(ModelError, match=match):
            v.load_vocoder(tmp_path / "bad.safetensors")
    for text in ("{", "[]", "{}", '"x"'):
        (good / "vocoder.json").write_text(text)
        with pytest.raises(ModelError, match="vocoder.json"):
            v.load_vocoder(good)
    v.save_vocoder(good, state)
    (good / "vocoder.json").write_text((good / "vocoder.json").read_text().replace('"layers": 3', '"layers": 4'))
    with pytest.raises(ModelError, match="layers is 4, the weights have 3"):
        v.load_vocoder(good)


def test_convert_published_form(gold, state, tmp_path: Path):
    published = {**state, "feature_extractor.mel_spec.mel_scale.fb": torch.zeros(513, 100)}
    torch.save(published, tmp_path / "pytorch_model.bin")
    v.convert_vocos(tmp_path / "pytorch_model.bin", tmp_path / "out")
    wave = v.load_vocoder(tmp_path / "out").decode(gold["mel"].transpose(1, 2))
    assert (wave - gold["audio"]).abs().max() < 1e-5
    save_file(published, tmp_path / "published.safetensors")
    assert torch.equal(v.load_vocoder(tmp_path / "published.safetensors").decode(gold["mel"].transpose(1, 2)), wave)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/tts_fm_test_evil"),))


def test_convert_never_runs_code(tmp_path: Path):
    torch.save({"a": Evil()}, tmp_path / "evil.bin")
    (tmp_path / "junk.bin").write_bytes(b"junk" * 100)
    (tmp_path / "empty.bin").touch()
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "nested.bin")
    for name in ("evil", "junk", "empty", "nested", "missing"):
        with pytest.raises(ModelError, match=name) as error:
            v.convert_vocos(tmp_path / f"{name}.bin", tmp_path / "out")
        assert "\n" not in str(error.value)
    assert not Path("/tmp/tts_fm_test_evil").exists() and not (tmp_path / "out").exists()


def test_griffin_lim_gives_the_mel_back(gold):
    mel = gold["mel"].transpose(1, 2)
    got = v.GriffinLim().decode(mel)
    assert got.shape == (1, 93 * 256) and torch.isfinite(got).all()
    error = (torch.from_numpy(np.stack([log_mel(wave) for wave in got.numpy()])) - mel)[:, 2:-2].abs()
    assert error.mean() < 0.1  # 0.07; a wave with random phases is at 0.4
    assert torch.equal(got, v.GriffinLim().decode(mel))
    with pytest.raises(ValueError, match="iterations"):
        v.GriffinLim(0)


def test_mel_inversion_is_non_negative_least_squares(gold):
    """Its mel comes back, no magnitude is negative, and it beats the clamped pseudo-inverse it starts from."""
    from librosa.filters import mel as filters

    mel = gold["mel"].transpose(1, 2)
    basis = torch.from_numpy(filters(sr=24000, n_fft=1024, n_mels=100, htk=True, norm=None))  # (100, 513)
    spec = v.GriffinLim()._magnitudes(mel)
    start = (torch.linalg.pinv(basis) @ mel.exp().transpose(1, 2)).clamp(min=1e-5)
    assert spec.shape == (1, 513, 94) and (spec >= 0).all()
    ours, plain = ((basis @ s - mel.exp().transpose(1, 2)).norm() / mel.exp().norm() for s in (spec, start))
    assert ours < 0.01 and ours < plain
