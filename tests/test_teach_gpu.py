"""What is done of one loan of a GPU: the teacher that travels, what is told, and what is kept of a run."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes.gpu import teach
from tts_fm.errors import ModelError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))


def test_the_teacher_arrives_as_it_left(tmp_path: Path) -> None:
    rng, here = np.random.default_rng(0), tmp_path / "kokoro"
    (here / "voices").mkdir(parents=True)
    slow = np.linspace(0, 1, 510)[:, None] * rng.normal(size=256)  # rows change little from one to the next
    slow.astype(np.float32).tofile(here / "voices" / "af_one.bin")
    parts = {f"part{number}.bin": rng.bytes(5000) for number in (1, 2)}
    for name, data in parts.items():
        (here / name).write_bytes(data)
    rows = [{"id": "g0", "parts": [{"text": "“é”"}]}, {"id": "g1", "parts": []}]
    assert teach.pack(here, tmp_path / "packed", rows) < 60_000, "16 bits, and one row in eight"
    plan = teach.unpack(tmp_path / "packed", tmp_path / "there")
    assert [json.loads(line) for line in gzip.decompress(plan.read_bytes()).decode().splitlines()] == rows
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").glob("part*")} == parts
    from data_prep.kokoro_model import load_voices

    found = load_voices(tmp_path / "there" / "voices")["af_one"]
    np.testing.assert_allclose(found[:510], slow, atol=0.04)
    with pytest.raises(ModelError, match=r"is no packed teacher: python -m recipes\.gpu\.teach pack"):
        teach.unpack(here, tmp_path / "no")


def test_noise_is_a_corpus_to_train_on(tmp_path: Path) -> None:
    from flow import Corpus

    vocab = ["<unk>", "<sil>", "a", " "]
    items = Corpus(teach.noise(tmp_path, vocab, clips=24), "train", vocab, paired=True)
    assert len(items) == 22 * 2, "each of 22 clips comes behind another one of its voice, too"
    for number in range(len(items)):
        item = items[number]
        assert len(item.mel) == items.frames[number]
        assert float(item.durations.sum()) == pytest.approx(len(item.mel), abs=2.1)


def test_paths_of_several_processes_become_one_folder(tmp_path: Path) -> None:
    from teacher_paths import TeacherPaths

    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = [{"prompt": 2, "frames": 4, "grid": [0.0, 1.0], "ids": [1], "durations": [6.0]}] * 2
        size = (2 + 2 * 4) * 100
        numbers = np.full(2 * size, number, np.float16)
        numbers[: (size if number == 1 else 2 * size)].tofile(folder / "paths.f16")  # one was stopped while it wrote
        lines = (json.dumps(row | {"start": n * size, "size": size}) + "\n" for n, row in enumerate(rows))
        (folder / "index.jsonl").write_text("".join(lines))
    assert teach.together([tmp_path / name for name in ("0", "1", "none", "2")], tmp_path / "all") == 5
    paths = TeacherPaths(tmp_path / "all")
    assert [int(path.states.unique()) for path in (paths[n] for n in range(5))] == [0, 0, 1, 2, 2]


def test_whoever_watches_hears_of_each_stage_and_of_what_fails(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = teach.Run(tmp_path, tmp_path, tmp_path, tmp_path, 1.0, "cpu", True)
    run.say("flow: 7 updates")
    run.say("flow is in OUT: 30.4 MB")
    assert teach.watch(tmp_path, 5) == 0 and "flow is in OUT" in capsys.readouterr().out
    failing = run.process("student", "-c", "print('why'); raise SystemExit(3)")
    assert not run.wait("student", failing, run.begin + 60)
    assert teach.watch(tmp_path, 5) == 1
    told = capsys.readouterr().out
    assert "student FAILED with code 3\n" in told and "\nwhy\n" in told and "flow" not in told


def test_weights_that_do_not_come_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "runs" / "spoken").mkdir(parents=True)
    (tmp_path / "runs" / "spoken" / "index.json").write_text("[]")
    run = teach.Run(tmp_path, tmp_path / "runs", tmp_path / "out", tmp_path / "start", 1.0, "cpu", True)
    with pytest.raises(ModelError, match="start has not come, or cannot be read: .*start"):
        run.go()
    assert teach.watch(tmp_path / "runs", 5) == 1, "at once: it has ended"


def test_what_is_brought_is_a_voice_and_a_student_of_it(tmp_path: Path) -> None:
    from straighten import student_of

    from recipes.gpu.pack import shard
    from tts_fm.checkpoint import load_flow_model, save_flow_model
    from tts_fm.config import ModelConfig
    from tts_fm.model.flow_model import FlowModel

    model = FlowModel(
        ModelConfig(text="aligned", vocab=4, dim=32, depth=1, heads=2, text_dim=16), ["<unk>", "<sil>", *"ab"]
    )
    save_flow_model(tmp_path / "assets" / "builtin", model)
    for name, made in {"flow": model, "student": student_of(model)}.items():
        save_flow_model(tmp_path / name, made)
        shard(tmp_path / name / "model.safetensors", tmp_path / "out", most=40_000, name=name)
    assert len(list((tmp_path / "out").iterdir())) > 4
    teach.take(tmp_path / "out", tmp_path / "assets", tmp_path / "there")
    found = load_flow_model(tmp_path / "there")
    assert found.config.span and found.vocab == model.vocab
    for name, tensor in made.state_dict().items():
        assert found.state_dict()[name].equal(tensor), name
