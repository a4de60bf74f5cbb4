"""The classifier of noisy mels: what it learns from tones of two heights, its folder, and speech that it guides."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import tiny_config, tiny_tts_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import cache as caches
import classifier as recipe
import tones

from tts_fm import TTS
from tts_fm.cli.main import main as cli
from tts_fm.errors import ModelError
from tts_fm.flow import make_path
from tts_fm.model.classifier import Guide, NoisyClassifier, load_classifier, save_classifier

CLASSES = ["accent=us", "accent=gb", "pitch=low", "pitch=mid", "pitch=high"]


def tiny(seed: int = 0, **changes) -> NoisyClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = NoisyClassifier(CLASSES, **({"dim": 8, "layers": 1} | changes)).eval()
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice that can be guided."""
    path = tiny_tts_folder(tmp_path_factory.mktemp("guided"))
    save_classifier(tiny(), path / "classifier")
    return path


# ---- the network


def test_padding_and_neighbours_change_nothing_and_probabilities_add_up():
    model, x, t = tiny(), torch.randn(2, 20, 100, generator=gen()), torch.tensor([0.2, 0.9])
    padded = torch.cat([x, torch.full((2, 7, 100), 50.0)], dim=1)
    mask = torch.arange(27)[None].expand(2, -1) < 20
    for name, log in model(padded, t, mask).items():
        alone = torch.cat([model(x[b : b + 1], t[b : b + 1])[name] for b in range(2)])
        assert torch.allclose(log, alone, atol=1e-5) and torch.allclose(log.exp().sum(1), torch.ones(2))
    assert [log.shape[1] for log in model(x, t).values()] == [2, 3]


def test_a_folder_gives_the_same_network_and_bad_ones_are_told(tmp_path):
    model, x = tiny(), torch.randn(1, 9, 100, generator=gen())
    save_classifier(model, tmp_path)
    again = load_classifier(tmp_path, tiny_config())
    assert again.config == model.config and not any(p.requires_grad for p in again.parameters())
    assert torch.allclose(again(x, torch.ones(1))["pitch"], model(x, torch.ones(1))["pitch"], atol=1e-2)
    with pytest.raises(ModelError, match=r"mels are normalised by \(-2\.44, 3\.72\), those of .* by \(0\.0, 1\.0\)"):
        load_classifier(tmp_path, tiny_config(mel_mean=0.0, mel_std=1.0))
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong, told in (
        ({"layers": 3}, "layers is 3, the weights have 1"),
        ({"classes": ["low", "high"]}, "question=class"),
        ({"classes": CLASSES[:3]}, "another shape"),
        ({"dim": "wide"}, "dim is wide"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(ModelError, match=told):
            load_classifier(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"classifier: .*model\.safetensors is missing"):
        load_classifier(tmp_path)


# ---- what it does to a velocity


def toy_field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(x)


def test_a_guide_adds_its_share_of_the_velocity_to_the_frames_that_are_made():
    x, t, frames = torch.randn(2, 12, 100, generator=gen()), torch.full((2,), 0.4), torch.zeros(2, 12, dtype=torch.bool)
    frames[0, 3:12], frames[1, 3:9] = True, True
    model = tiny()
    added = {}
    for scale in (1, 3):
        v = Guide(model, f"pitch=low:{scale}")(toy_field, frames, make_path("ot"))(x, t) - 1
        assert torch.equal(v[~frames], torch.zeros_like(v[~frames]))
        for b in range(2):  # a tenth of the velocity's size for every unit of scale
            size = float(toy_field(x, t)[b, frames[b]].norm())
            assert float(v[b].norm()) == pytest.approx(0.1 * scale * size, rel=1e-4)
        added[scale] = v
    assert torch.allclose(added[3], 3 * added[1], atol=1e-5)
    alone = Guide(model, "pitch=low")(toy_field, frames[1:, :9], make_path("ot"))(x[1:, :9], t[1:]) - 1
    assert torch.allclose(added[1][1:, :9], alone, atol=1e-5), "neither neighbours nor padding have a part in it"
    step = 1e-2 * added[1] / added[1].flatten(1).norm(dim=1)[:, None, None]
    before, after = (model(x + way * step, t, frames)["pitch"][:, 0] for way in (-1, 1))
    assert bool((after > before).all()), "it points to where the class is likelier"


def test_a_guide_of_scale_0_changes_nothing_and_two_add_up_in_turn():
    x, t = torch.randn(1, 8, 100, generator=gen()), torch.full((1,), 0.4)
    frames, path = torch.ones(1, 8, dtype=torch.bool), make_path("ot")
    off = Guide(tiny(), "pitch=low:0")(toy_field, frames, path)
    assert torch.equal(off(x, t), toy_field(x, t))
    one = Guide(tiny(), "accent=gb:2")(toy_field, frames, path)
    both = Guide(tiny(), "accent=gb:2,pitch=high:0.5")(toy_field, frames, path)
    assert torch.allclose(both(x, t), Guide(tiny(), "pitch=high:0.5")(one, frames, path)(x, t))


@pytest.mark.parametrize("name", ["vp(0.1, 20)", "ve(0.05, 20)", "cosine", "ot(0.1)"])
def test_on_every_path_the_same_speech_is_heard(name):
    """The classifier sees what it would see of the same data and noise on the straight path."""
    path, model, seen = make_path(name), tiny(), []
    plain = model.forward
    model.forward = lambda x, t, mask: seen.append((x.detach(), t.detach())) or plain(x, t, mask)  # type: ignore
    x0, x1, t = torch.randn(2, 9, 100, generator=gen()), torch.randn(2, 9, 100, generator=gen(1)), torch.rand(2) * 0.9
    x_t, _ = path.sample(x0, x1, t)
    Guide(model, "pitch=low")(toy_field, torch.ones(2, 9, dtype=torch.bool), path)(x_t, t)
    (x, s), at = seen[0], seen[0][1][:, None, None]
    assert torch.allclose(x, at * x1 + (1 - at) * x0, atol=1e-4) and bool(((s >= 0) & (s <= 1)).all())


def test_what_a_guide_cannot_be():
    with pytest.raises(ValueError, match="this model has none.*recipes/builtin/classifier"):
        Guide(None, "pitch=low")
    for text in ("mood=low", "pitch=deep"):
        with pytest.raises(ValueError, match=f"guide {text} is not known; there are accent=us, accent=gb, pitch=low, "):
            Guide(tiny(), text)


# ---- from the outside


def test_a_guided_voice_speaks_otherwise_alone_and_in_a_batch_alike(folder):
    tts = TTS.load(folder, engine="torch", dtype="float32")
    how = {"voice": "nova", "cfg": 0.0}
    plain, guided = (tts.say("Hello.", **how, guide=guide) for guide in (None, "pitch=low:2"))
    assert plain.wave.shape == guided.wave.shape and plain.forwards == guided.forwards
    assert np.abs(plain.chunks[0].mel - guided.chunks[0].mel).max() > 0.05
    from tts_fm.settings import Settings
    from tts_fm.synthesis import Request

    settings = Settings(cfg=0.0, guide="pitch=low:2")
    texts = ("Hello.", "Hello, Alice. Good day.")
    for number, speech in tts.batch([Request(text, "nova", settings=settings) for text in texts]):
        alone = tts.say(texts[number], **how, guide="pitch=low:2")
        assert np.abs(speech.wave - alone.wave).max() < 1e-3


@pytest.mark.parametrize(
    ("guide", "told"),
    [
        ("mood=glad:1", "guide mood=glad is not known; there are accent=us, accent=gb, pitch=low, pitch=mid"),
        ("pitch=deep:1", "guide pitch=deep is not known"),
        ("pitch=low:11", "must have a scale from 0 to 10"),
        ("pitch=low:lots", "must read NAME=CLASS:SCALE"),
        ("", "must read NAME=CLASS:SCALE"),
    ],
)
def test_the_command_line_tells_a_bad_guide_in_one_line(folder, tmp_path, capsys, guide, told):
    words = ["say", "Hello.", "--model", str(folder), "--guide", guide, "-o", str(tmp_path / "a.wav")]
    try:
        code = cli(words)
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err.strip()
    assert code == 2 and told in error.splitlines()[-1] and not (tmp_path / "a.wav").exists()


def test_the_command_line_takes_the_engine_that_can_guide(folder, tmp_path, capsys):
    out = tmp_path / "a.wav"
    assert cli(["say", "Hello.", "--model", str(folder), "--guide", "pitch=low:1.0", "-o", str(out)]) == 0
    assert out.stat().st_size > 1000
    bare = tiny_tts_folder(tmp_path / "bare")
    assert cli(["say", "Hello.", "--model", str(bare), "--guide", "pitch=low:1.0", "-o", str(out)]) == 2
    assert "this model has none" in capsys.readouterr().err


def test_the_onnx_engine_says_who_can(monkeypatch):
    from tts_fm.engines.onnx import OnnxEngine
    from tts_fm.settings import Settings

    engine = object.__new__(OnnxEngine)
    with pytest.raises(ValueError, match="guide needs the gradient of a classifier.*--engine torch"):
        engine.check(Settings(guide="pitch=low"))
    engine.check(Settings())


# ---- the recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tones of 120 to 195 Hz, of two accents, with their pitches as the recipe keeps them (librosa is slow)."""
    where = tmp_path_factory.mktemp("tones")
    source = tones.write(where / "corpus", list("abcdef"), valid=2)
    lines = [json.loads(line) for line in (source / "manifest.jsonl").open(encoding="utf-8")]
    for number, line in enumerate(lines):
        line["lang"] = ("en-us", "en-gb")[number % 2]
    (source / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    caches.main([str(source), str(where / "cache"), "--no-copies", "--jobs", "1"])
    return where / "cache"


def trained(corpus: Path, out: Path, steps: int) -> dict[str, torch.Tensor]:
    out.mkdir(parents=True, exist_ok=True)
    known = {f"tone_{number:03d}": 120.0 + 15 * number for number in range(6)}
    (out / "pitch.json").write_text(json.dumps(known))
    words = [corpus, out, "--steps", steps, "--save", 3, "--batch", 4, "--dim", 8, "--layers", 1, "--device", "cpu"]
    recipe.main([str(word) for word in words])
    return load_classifier(out / "model").state_dict()


def test_the_recipe_learns_and_a_stopped_run_is_the_run_that_was_not(corpus, tmp_path):
    whole = trained(corpus, tmp_path / "whole", 6)
    state = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)
    assert state["step"] == 6
    steps = iter((3, 6))
    with pytest.MonkeyPatch.context() as patch:  # the rate follows the share of --steps: stop a run of 6 after 3
        plain = recipe.loss_at

        def stopped(model, clips, step, args):
            if step == 3 and next(steps, None) == 3:
                raise KeyboardInterrupt
            return plain(model, clips, step, args)

        patch.setattr(recipe, "loss_at", stopped)
        with pytest.raises(KeyboardInterrupt):
            trained(corpus, tmp_path / "cut", 6)
        cut = trained(corpus, tmp_path / "cut", 6)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    logged = [json.loads(line) for line in (tmp_path / "cut" / "log.jsonl").open()]
    assert [line["step"] for line in logged] == [3, 3, 6] or [line["step"] for line in logged] == [3, 6]
    assert {"accent@1.0", "pitch@0.1"} <= set(logged[-1])


def test_labels_are_the_accent_and_the_tercile(corpus):
    pitch = {f"tone_{number:03d}": 120.0 + 15 * number for number in range(6)}
    clips = recipe.Clips(corpus, "train", pitch, [130.0, 155.0])
    assert clips.labels["accent"].tolist() == [0, 1, 0, 1] and clips.labels["pitch"].tolist() == [0, 1, 1, 2]
    mel, labels = clips.batch(3, 5, 0)
    again, _ = clips.batch(3, 5, 0)
    assert torch.equal(mel, again) and len(mel) == 5 and 90 <= mel.shape[1] <= 282
    assert all(len(each) == 5 for each in labels.values())


def test_the_pitch_of_a_tone_is_heard(corpus, tmp_path):
    pytest.importorskip("librosa")
    rows = json.loads((corpus / "index.json").read_text())
    found = recipe.pitches(corpus, rows[:2], tmp_path / "pitch.json")
    assert found == pytest.approx([120.0, 135.0], rel=0.02)
    assert recipe.pitches(corpus, rows[:2], tmp_path / "pitch.json") == found
