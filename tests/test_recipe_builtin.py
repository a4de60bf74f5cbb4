"""The recipes of the built-in voice around its training: stored paths and what is fitted to them, a student, the
aligner, copies by a vocoder, samples. On tones, with toy networks.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_model import tiny_tts_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import aligner
import cache as caches
import copy_synthesis
import duration
import export
import fit_solver
import fold
import measure_aligner
import mel_judges
import samples
import spoken
import straighten
import teacher_paths
import texture
import tones

from tts_fm.audio.files import load
from tts_fm.checkpoint.load import load_flow_model, save_flow_model
from tts_fm.engines.align import Aligner
from tts_fm.errors import ModelError
from tts_fm.flow.fitted import read_solvers
from tts_fm.model.aligner import load_aligner
from tts_fm.model.duration import load_duration_model
from tts_fm.synthesis import TTS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.write(tmp_path_factory.mktemp("tones") / "corpus", ["a", "a", "b", "b"], valid=1)


@pytest.fixture(scope="module")
def cache(corpus: Path) -> Path:
    caches.main([str(corpus), str(corpus.parent / "cache"), "--no-copies", "--jobs", "1"])
    return corpus.parent / "cache"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tts_folder(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def paths(cache: Path, teacher: Path) -> Path:
    """6 paths, made by two calls."""
    for count in ("2", "6"):
        run(teacher_paths, cache, cache.parent / "paths", "--model", teacher, "--count", count, "--steps", "4")
    return cache.parent / "paths"


def run(recipe, *words: object) -> object:
    """A recipe's main, as from the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [recipe.__name__, *map(str, words)])
        return recipe.main()


def test_paths_are_those_of_the_teacher_and_one_call_makes_the_same(
    cache: Path, teacher: Path, paths: Path, tmp_path: Path
) -> None:
    stored = teacher_paths.TeacherPaths(paths)
    assert len(stored) == 6 and len(stored.grid) == 5
    run(teacher_paths, cache, tmp_path, "--model", teacher, "--count", "3", "--steps", "4")
    again = teacher_paths.TeacherPaths(tmp_path)
    assert all(torch.equal(stored[i].states, again[i].states) for i in range(3))
    path, row = stored[2], stored.rows[2]
    model = load_flow_model(teacher)
    spoken = model.sample(
        path.prompt[None], [row["ids"]], row["frames"], grid=stored.grid, cfg=0.0, seeds=[row["seed"]],
        durations=torch.tensor([row["durations"]]), temperature=model.settings["defaults"].get("temperature", 1.0),
    )  # fmt: skip
    speech = model.normalise(spoken[0, len(path.prompt) :])
    off = (path.states[-1, len(path.prompt) :] - speech).norm() / speech.norm()
    assert off < 0.03, "in the types of the teacher and of the file"


def test_a_solver_is_fitted(teacher: Path, paths: Path, tmp_path: Path) -> None:
    out = tmp_path / "solver.json"
    how = ["--steps", "2", "--fitted", "3", "--checked", "2", "--search", "1"]
    run(fit_solver, paths, "--model", teacher, "--out", out, *how)
    solver = read_solvers(out.read_text())[2]
    assert solver.about["steps"] == 2 and 0 <= solver.about["distance"]["fitted"] < solver.about["distance"]["euler"]


def test_a_student_of_few_steps(
    teacher: Path,
    paths: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(straighten, "HELD_OUT", 1)
    how = "--steps 2 --save 2 --batch-frames 1100 --eager --device cpu --warmup 1 --lr 0.05 --ema 0.1".split()
    run(straighten, paths, tmp_path, "--teacher", teacher, *how)
    before, student = load_flow_model(teacher), load_flow_model(tmp_path / "model")
    assert student.config.span and not before.config.span
    old, new = before.state_dict(), student.state_dict()
    changed = {name for name in old if not torch.allclose(old[name], new[name], atol=2e-3)}
    assert changed and not any("text_embed" in name for name in changed), "the text side is frozen"
    assert (tmp_path / "model" / "duration").is_dir()
    caplog.clear()
    with caplog.at_level("INFO"):
        monkeypatch.setattr(straighten, "HELD_OUT", 4)
        run(straighten, paths, tmp_path, "--search", "2", "--width", "0.2")
    told = [float(number) for number in re.findall(r"searched on 2 paths: (\S+) -> (\S+)", caplog.text)[0]]
    assert told[1] <= told[0]
    defaults = json.loads((tmp_path / "model" / "config.json").read_text())["defaults"]
    assert defaults["steps"] == 2 and len(defaults["grid"]) == 3 and str(defaults["grid"][1]) in caplog.text
    speech = TTS.load(tmp_path / "model", engine="torch").say("Hello.", cfg=0.0)
    assert list(speech.settings.grid) == defaults["grid"] and speech.forwards == 2


def test_judges_of_mels_are_learnt_from_and_kept(
    teacher: Path, paths: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lessons alone, and with judges who wait for two updates: the same until then, and another student after
    them; the run goes on with the judges that it had.
    """
    monkeypatch.setattr(straighten, "HELD_OUT", 1)
    how = "--batch-frames 1100 --eager --device cpu --warmup 1 --lr 0.05 --ema 0.1 --shares 1:1 --save 2".split()

    def trained(name: str, steps: int, *more: object) -> dict[str, torch.Tensor]:
        run(straighten, paths, tmp_path / name, "--teacher", teacher, *how, "--steps", steps, *more)
        return load_flow_model(tmp_path / name / "model").state_dict()

    judged = ("--judges", cache, "--judges-first", 2)
    alone, both = trained("alone", 2), trained("judged", 2, *judged)
    assert all(torch.equal(value, both[name]) for name, value in alone.items())
    before = torch.load(tmp_path / "judged" / mel_judges.STATE, weights_only=True)
    alone, both = trained("alone", 4), trained("judged", 4, *judged)
    assert not all(torch.equal(value, both[name]) for name, value in alone.items())
    after = torch.load(tmp_path / "judged" / mel_judges.STATE, weights_only=True)
    assert [int(s["optimiser"]["state"][0]["step"]) for s in (before, after)] == [2, 4]
    started = trained("started", 1, "--start", tmp_path / "judged" / "model", "--lr", "0", "--batch-frames", "1000")
    assert all(torch.allclose(value, both[name], atol=2e-3) for name, value in started.items())


def test_judges_tell_what_is_smoother_than_speech_and_pull_away_from_it() -> None:
    """Crops of one texture against crops of its running mean: they are told apart in some updates, and what is added to
    a loss leads to more of the fine structure.
    """
    generator = torch.Generator().manual_seed(0)
    judges = mel_judges.MelJudges.__new__(mel_judges.MelJudges)
    judges.args = argparse.Namespace(seed=0, judges_first=40, judges_share=1.0)
    torch.manual_seed(0)
    judges.parts = torch.nn.ModuleList([mel_judges.Patches(8), mel_judges.Frames(16)])
    judges.optimiser = torch.optim.AdamW(judges.parts.parameters(), lr=2e-3, fused=True)
    rough = lambda count: torch.randn(count, mel_judges.CROP, 100, generator=generator)  # noqa: E731
    judges.recordings = lambda count, rng: rough(count)
    spoken = torch.ones(2, mel_judges.CROP, dtype=torch.bool)
    for step in range(42):
        smooth = torch.nn.functional.avg_pool1d(rough(2), 5, 1, 2).requires_grad_()
        lesson = (smooth * 0.01).square().sum()
        added = judges.loss(smooth, lesson, spoken, step)
        assert float(added) == 0 and added.requires_grad == (step >= 40)
    (pull,) = torch.autograd.grad(added, smooth)
    lengths = pull.norm(), torch.autograd.grad(lesson, smooth)[0].norm()
    assert float(lengths[0]) == pytest.approx(float(lengths[1]), rel=1e-3), "as long as its share says"
    with torch.no_grad():
        scores = [[float(part(mel).mean()) for mel in (rough(4), smooth, smooth - 2 * pull / pull.std())]
                  for part in judges.parts]  # fmt: skip
    assert all(real > made + 0.3 for real, made, _ in scores)
    assert sum(pulled for _, _, pulled in scores) > sum(made for _, made, _ in scores)


def test_a_student_is_folded_into_its_teacher(teacher: Path, cache: Path, paths: Path, tmp_path: Path) -> None:
    """Whole, it speaks as the student does, with the texture that this one lacks; a share of it is smaller; with other
    settings the teacher speaks.
    """
    model = Path(shutil.copytree(teacher, tmp_path / "model"))
    student = straighten.student_of(load_flow_model(teacher))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.net.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
        student.net.text_embed.load_state_dict(load_flow_model(teacher).net.text_embed.state_dict())
    other = Path(shutil.copytree(teacher, tmp_path / "student"))
    save_flow_model(other, student, dtype=torch.float32, extra={"defaults": {"steps": 2, "cfg": 0.0}})
    speak = lambda place, **how: TTS.load(place, dtype=torch.float32).say("Hello.", cfg=0.0, **how).wave  # noqa: E731
    plain = speak(model)
    run(fold, other, model, "--keep", "1", "--also", "4:1,6:0")
    wanted = speak(other)
    assert np.abs(speak(model) - wanted).max() < 0.02 * np.abs(wanted).max() < np.abs(plain - wanted).max()
    for how in ({"steps": 3}, {"method": "midpoint"}, {"grid": (0.0, 0.4, 1.0)}, {"sway": -0.5}):
        assert np.array_equal(speak(model, **how), speak(teacher, **how)), how
    assert not np.array_equal(speak(model, steps=4), speak(teacher, steps=4))
    np.testing.assert_allclose(speak(model, steps=6), speak(teacher, steps=6), atol=1e-5)  # nothing of its changes
    run(texture, cache, model, "--count", "2", "--steps", "2")
    tables = [json.loads((place / "config.json").read_text())["texture"] for place in (model, model / "quick")]
    assert tables[0].keys() == {"2"} and tables[1].keys() == {"2", "4", "6"}
    for place, gains in (other, tables[1]), (model, {}):
        about = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(about | {"texture": gains}))
    before, wanted = wanted, speak(other)
    assert np.abs(speak(model) - wanted).max() < 0.02 * np.abs(wanted).max() < np.abs(before - wanted).max()
    whole = (model / "quick" / "adapter.safetensors").stat().st_size
    run(fold, other, model, "--keep", "0.5")
    assert (model / "quick" / "adapter.safetensors").stat().st_size < 0.6 * whole
    with pytest.raises(ValueError, match="no student"):
        run(fold, teacher, model)
    with pytest.raises(ValueError, match="--keep is a share"):
        run(fold, other, model, "--keep", "0")
    config = json.loads((model / "quick" / "config.json").read_text())
    (model / "quick" / "config.json").write_text(json.dumps(config | {"base": config["base"] | {"digest": "0" * 16}}))
    with pytest.raises(ModelError, match="belongs to the weights 00000000"):
        speak(model)
    assert np.array_equal(speak(model, steps=3), speak(teacher, steps=3)), "who does not ask the student is not told"
    (model / "quick" / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="cannot be read"):
        TTS.load(model)


def test_what_a_voice_lacks_of_the_texture_of_recordings_is_counted_and_given_back(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_tts_folder(tmp_path / "model")
    before = TTS.load(folder).say("Hello.").wave
    with caplog.at_level("INFO"):
        run(texture, cache, folder, "--count", "2", "--steps", "3", "1")
    found = json.loads((folder / "config.json").read_text())
    assert found["model"] and list(found["texture"]) == ["1", "3"] and "3 steps, gains" in caplog.text
    told = [[float(n) for n in re.findall(r"\d\.\d\d", line)] for line in caplog.text.splitlines() if " Hz: " in line]
    assert told == found["texture"]["1"] + found["texture"]["3"]
    tts = TTS.load(folder)
    assert tts.engine.texture == {int(steps): gains for steps, gains in found["texture"].items()}
    assert not np.array_equal(tts.say("Hello.").wave, before)
    with pytest.raises(ValueError, match="no two clips"):
        list(texture.drawn([{"id": "a", "seconds": 3.0, "lang": "en-us"}], 1, 0))


def test_what_the_vocoder_gets_is_kept(cache: Path, tmp_path: Path) -> None:
    """Behind the first clip that is drawn, the voice speaks what `spoken.py` has kept."""
    folder = tiny_tts_folder(tmp_path / "model")
    run(spoken, cache, folder, tmp_path / "spoken", "--count", "2", "--steps", "3", "1")
    index = json.loads((tmp_path / "spoken" / "index.json").read_text())
    mels = np.fromfile(tmp_path / "spoken" / "mel.f16", np.float16).reshape(-1, 100)
    assert {row["steps"] for row in index} == {3, 1} and sum(row["frames"] for row in index) == len(mels)
    rows = [row for row in export.clips_of(cache) if row["split"] == "train"]
    prompt, text = next(texture.drawn(rows, 2, 0))
    export.write_clip(cache, prompt, tmp_path / "prompt.flac")
    chunk = TTS.load(folder).say(text["text"], str(tmp_path / "prompt.flac"), steps=3, seed=0).chunks[0]
    assert np.array_equal(mels[: index[0]["frames"]], chunk.mel.astype(np.float16))


def test_an_aligner_is_trained_and_measured(
    corpus: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(aligner, cache, tmp_path / "aligner", "--steps", "2", "--save", "2", "--batch", "2", "--device", "cpu")
    assert load_aligner(tmp_path / "aligner").vocab[0] != ""
    with pytest.raises(ValueError, match="every clip is read otherwise than its units say"):
        run(measure_aligner, corpus, "--aligner", tmp_path / "aligner")
    (row,) = [row for row in map(json.loads, (corpus / "manifest.jsonl").open()) if row["split"] == "valid"]
    units = Aligner.load(tmp_path / "aligner").align(load(corpus / row["audio"]), row["text"], row["lang"]).units
    row |= {"units": units, "unit_frames": [4] * len(units), "audio": str(corpus / row["audio"])}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    run(measure_aligner, tmp_path, "--aligner", tmp_path / "aligner", "--out", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures == json.loads(capsys.readouterr().out) and figures["clips"] == 1
    assert figures["all"]["boundaries"] == len(units) + 1 and figures["read_otherwise"] == 0


def test_durations_are_learnt_and_measured(cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = [cache, tmp_path, "--steps", "2", "--save", "2", "--batch", "2", "--device", "cpu"]
    duration.main([str(word) for word in words])
    assert load_duration_model(tmp_path).vocab == load_duration_model(tmp_path).config["vocab"]
    caplog.clear()
    with caplog.at_level("INFO"):
        duration.main([str(word) for word in [*words, "--valid-only"]])
    assert '"clips": 1' in caplog.text


def test_copies_of_a_corpus(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Judge:
        asr, encoder = None, SimpleNamespace(name="none")

        def __init__(self, asr: str) -> None:
            assert asr == "none"

        def __call__(self, truth: np.ndarray, copy: np.ndarray, text: str) -> dict[str, float]:
            assert text == tones.TEXT and len(copy) <= len(truth)
            return {}

    monkeypatch.setattr(copy_synthesis, "Judge", Judge)
    out = tmp_path / "report.json"
    words = [
        "griffin-lim",
        "--corpus",
        corpus,
        "--clips",
        "1",
        "--asr",
        "none",
        "--out",
        out,
        "--audio",
        tmp_path / "a",
    ]
    assert run(copy_synthesis, *words) == 0
    (item,) = json.loads(out.read_text())["1 clips of valid"]["items"]
    assert item["mel_l1"] < 1.0 and len(list((tmp_path / "a").glob("*.wav"))) == 2
    assert run(copy_synthesis, tmp_path / "none", "--corpus", corpus) in (2, 4)


def test_samples_and_their_page(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SENTENCES", ("Hello.",))
    tts = TTS.load(teacher)
    monkeypatch.setattr(samples.TTS, "load", lambda: tts)
    run(samples, tmp_path, "--voices", "nova")
    links = re.findall(r"\]\((.*?)\)", (tmp_path / "index.md").read_text())
    assert sorted(links) == ["nova-01.mp3", "nova-prompt.mp3", "nova-ten.mp3"] and all(
        (tmp_path / link).stat().st_size for link in links
    )
