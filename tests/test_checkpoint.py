"""Checkpoints: round trips, published files, conversion, and what every kind of wrong file says."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_model_batch import tiny
from tiny_model import tiny_flow

from tts_fm.checkpoint.load import convert_pt, load_flow_model, save_flow_model
from tts_fm.errors import ModelError
from tts_fm.files import digest
from tts_fm.flow import FittedSolver, OTPath, VEPath, write_solvers

GOLDEN = Path(__file__).parent / "golden"
F5_VOCAB = json.loads((GOLDEN / "text.json").read_text())["vocab"]
F5 = GOLDEN / "f5_v1.weights.safetensors"


@pytest.fixture
def saved(tmp_path):
    model = tiny(text="aligned", patch=2, shared_adaln=True, given_flag=True, mel_mean=-2.0, mel_std=3.0)
    folder = tmp_path / "voice"
    save_flow_model(folder, model, {"name": "phoneme", "lang": "en-gb"}, extra={"about": "a test"})
    return model, folder


def test_round_trip(saved):
    model, folder = saved
    again = load_flow_model(folder)
    assert again.config == model.config and again.vocab == model.vocab and not again.training
    assert again.tokenizer_settings == {"name": "phoneme", "lang": "en-gb"} and again.settings["about"] == "a test"
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "vocab.txt"]


def test_half_precision_file_reads_as_float32(saved):
    model, folder = saved
    full = (folder / "model.safetensors").stat().st_size
    save_flow_model(folder, model, dtype=torch.float16)
    assert (folder / "model.safetensors").stat().st_size < 0.6 * full
    again = load_flow_model(str(folder))
    assert again.dtype == torch.float32
    for name, value in model.state_dict().items():
        assert (again.state_dict()[name] - value).abs().max() < 2e-3
    assert load_flow_model(folder, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_weights_that_float16_cannot_hold(saved):
    model, folder = saved
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.net.proj_out.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"proj_out\.bias"):
        save_flow_model(folder, model, dtype=torch.float16)
    assert (folder / "model.safetensors").read_bytes() == before


def test_saving_that_fails_leaves_the_old_files(saved):
    model, folder = saved
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    model.vocab = ["a"] * 12  # refused: every symbol needs one id
    with pytest.raises(ValueError):
        save_flow_model(folder, model)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def break_config(folder, change):
    settings = json.loads((folder / "config.json").read_text())
    change(settings)
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "damage,says",
    [
        (lambda f: (f / "config.json").unlink(), "config.json missing"),
        (lambda f: (f / "config.json").write_text("{"), "not a model's configuration"),
        (lambda f: (f / "config.json").write_text("[]"), "not a model's configuration"),
        (lambda f: break_config(f, lambda s: s["model"].update(dimm=3)), "did you mean 'dim'"),
        (lambda f: break_config(f, lambda s: s["model"].update(backbone="rnn")), "one of dit, unett"),
        (lambda f: break_config(f, lambda s: s["model"].update(depth=3)), "depth is 3, the weights have 2"),
        (lambda f: break_config(f, lambda s: s["model"].update(depth=1)), "depth is 1, the weights have 2"),
        (lambda f: break_config(f, lambda s: s["model"].update(text_dim=8)), "another shape for"),
        (lambda f: (f / "vocab.txt").write_text("a\nb\n"), "2 symbols .* built for 12"),
        (lambda f: (f / "vocab.txt").write_text(""), "empty"),
        (lambda f: (f / "model.safetensors").write_bytes(b"nothing"), "not a readable safetensors"),
        (lambda f: os.truncate(f / "model.safetensors", 2000), "not a readable safetensors"),
    ],
)
def test_damaged_folders(saved, damage, says):
    damage(saved[1])
    with pytest.raises(ModelError, match=says):
        load_flow_model(saved[1])


def test_wrong_paths(tmp_path, saved):
    with pytest.raises(ModelError, match="no model at"):
        load_flow_model(tmp_path / "nowhere")
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(ModelError, match="tts-fm convert"):
        load_flow_model(tmp_path / "a.pt")
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(ModelError, match="is no model"):
        load_flow_model(tmp_path / "a.wav")
    with pytest.raises(ValueError, match="leave variant out"):
        load_flow_model(saved[1], variant="f5-v1")


def test_published_needs_variant_and_vocabulary(tmp_path):
    with pytest.raises(ValueError, match="f5-v1, f5-v0, e2"):
        load_flow_model(F5, vocab=F5_VOCAB)
    with pytest.raises(ValueError, match="pass vocab"):
        load_flow_model(F5, variant="f5-v1")
    with pytest.raises(ValueError, match=r"32 symbols .* 33 \(34 rows"):
        load_flow_model(F5, variant="f5-v1", vocab=F5_VOCAB[:-1])
    with pytest.raises(ModelError, match="not of e2"):
        load_flow_model(F5, variant="e2", vocab=F5_VOCAB)
    shutil.copy(F5, tmp_path / "m.safetensors")
    (tmp_path / "vocab.txt").write_text("".join(f"{c}\n" for c in F5_VOCAB))
    assert load_flow_model(tmp_path / "m.safetensors", variant="f5-v1").vocab == F5_VOCAB
    assert load_flow_model(F5, variant="f5-v1", vocab=tmp_path / "vocab.txt").vocab == F5_VOCAB


@pytest.mark.parametrize("prefix", ["ema_model.transformer.", "ema_model.", "transformer.", ""])
def test_prefixes_and_buffers(tmp_path, prefix):
    old = "ema_model.transformer."
    tensors = {prefix + k.removeprefix(old): v for k, v in load_file(F5).items()}
    extra = ["initted", "step", prefix.removesuffix("transformer.") + "mel_spec.mel_stft.mel_scale.fb"]
    save_file(tensors | {k: torch.ones(2) for k in extra}, tmp_path / "m.safetensors")
    model, truth = (load_flow_model(p, variant="f5-v1", vocab=F5_VOCAB) for p in (tmp_path / "m.safetensors", F5))
    assert all(torch.equal(v, truth.state_dict()[k]) for k, v in model.state_dict().items())
    with pytest.raises(ModelError, match=r"lacks proj_out\.bias"):
        tensors.pop(prefix + "proj_out.bias")
        save_file(tensors, tmp_path / "m.safetensors")
        load_flow_model(tmp_path / "m.safetensors", variant="f5-v1", vocab=F5_VOCAB)


def test_published_becomes_a_folder(tmp_path):
    model = load_flow_model(F5, variant="f5-v1", vocab=F5_VOCAB)
    save_flow_model(tmp_path / "f5", model)
    again = load_flow_model(tmp_path / "f5")
    assert again.config == model.config and again.tokenizer_settings == {"name": "pinyin"}
    assert torch.equal(again.net.proj_out.weight, model.net.proj_out.weight)


def test_remote_names_go_through_the_hub(monkeypatch, tmp_path, saved):
    from tts_fm.checkpoint import fetch

    (tmp_path / "v.txt").write_text("".join(f"{c}\n" for c in F5_VOCAB))
    files = {"hf://a/b/m.safetensors": F5, "https://c.org/v.txt": tmp_path / "v.txt"}
    monkeypatch.setattr(fetch, "resolve", lambda spec: files[spec])
    monkeypatch.setattr(fetch, "resolve_folder", lambda spec, names, optional=(): {"hf://a/voice": saved[1]}[spec])
    model = load_flow_model("hf://a/b/m.safetensors", variant="f5-v1", vocab="https://c.org/v.txt")
    assert model.vocab == F5_VOCAB
    assert load_flow_model("hf://a/voice").vocab == saved[0].vocab


@pytest.mark.parametrize("key", ["ema_model_state_dict", "model_state_dict"])
def test_convert(tmp_path, key):
    weights = load_file(F5)
    if key == "model_state_dict":
        weights = {k.removeprefix("ema_model."): v for k, v in weights.items()}
    state = {
        key: weights | {"initted": torch.tensor(True), "step": torch.tensor(5)},
        "optimizer_state_dict": {"lr": 0.1},
        "update": 7,
    }
    torch.save(state, tmp_path / "m.pt")
    out = convert_pt(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert sorted(load_file(out)) == sorted(k for k in load_file(F5) if "inv_freq" not in k)
    model = load_flow_model(out, variant="f5-v1", vocab=F5_VOCAB)
    assert torch.equal(model.net.proj_out.weight, load_file(F5)["ema_model.transformer.proj_out.weight"])


class Trap:
    def __reduce__(self):
        return (os.system, ("touch trapped",))


def test_convert_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": Trap()}, "bad.pt")
    torch.save({"weights": torch.ones(2)}, "other.pt")
    Path("broken.pt").write_bytes(b"PK not a zip")
    for name, says in (
        ("bad", "more than plain data"),
        ("other", "no F5 or E2"),
        ("broken", "damaged"),
        ("missing", "no model at"),
    ):
        with pytest.raises(ModelError, match=says):
            convert_pt(f"{name}.pt", "out.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.pt", "broken.pt", "other.pt"]
    with pytest.raises(ValueError, match="safetensors"):
        convert_pt("other.pt", "out.bin")


def test_import_needs_no_torch():
    code = (
        "import sys, tts_fm, tts_fm.checkpoint; assert 'torch' not in sys.modules; "
        "print(tts_fm.__version__); tts_fm.load_flow_model"
    )
    here = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=here)
    assert run.returncode == 0 and run.stdout.strip() == "0.1.0", run.stderr


def test_the_path_is_stored_and_read(tmp_path):
    for name, path in {"ot": OTPath(), "ve(0.02, 20)": VEPath(0.02, 20.0)}.items():
        save_flow_model(tmp_path / "model", tiny_flow(path=name))
        assert load_flow_model(tmp_path / "model").path == path
    break_config(tmp_path / "model", lambda s: s["model"].update(path="line"))
    with pytest.raises(ModelError, match="unknown path 'line'; one of ot, vp, ve, cosine"):
        load_flow_model(tmp_path / "model")
    # files from before there were paths
    break_config(tmp_path / "model", lambda s: (s["model"].pop("path"), s.update(sigma_min=1e-4)))
    assert load_flow_model(tmp_path / "model").path == OTPath(1e-4)


def test_solvers_beside_the_weights_are_read_for_these_weights_only(tmp_path):
    folder = tmp_path / "model"
    save_flow_model(folder, tiny_flow())
    about = {"model": digest(folder / "model.safetensors"), "cfg": 0.0}
    solver = dataclasses.replace(FittedSolver.euler([0.0, 0.25, 1.0]), about=about)
    (folder / "solver.json").write_text(write_solvers({2: solver}))
    assert load_flow_model(folder).solvers == {2: solver}
    other = dataclasses.replace(solver, about=about | {"model": "0" * 64})
    for text, says in ((write_solvers({2: other}), "was fitted for model '000"), ("{}", "no fitted solvers")):
        (folder / "solver.json").write_text(text)
        with pytest.raises(ModelError, match=f"solver.json.*{says}"):
            load_flow_model(folder)
