"""Checkpoints in parts: any number of processes goes on from them, and the folder is whole or the one from before. Runs
from tar shards.
"""

from __future__ import annotations

import math
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from test_train import figures
from train_worker import corpus, launch, toy_config, toy_trainer

from tts_fm import files
from tts_fm.config import TrainConfig
from tts_fm.data.manifest import Utterance, write_manifest
from tts_fm.train import state
from tts_fm.train.processes import dealt
from tts_fm.train.state import newest, read_average

MODEL = {"shared_adaln": False, "dropout": 0.1}
HALF = {"sharded_checkpoints": True, "model": MODEL, "steps": 2, "decay": 1, "valid_every": 100}
FULL = HALF | {"steps": 4}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process from begin to end with four batches an update, in one file."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    toy_trainer(folder, accumulate=4, **(FULL | {"sharded_checkpoints": False})).run()
    return folder


def same_course(a: Path, b: Path) -> None:
    """The same losses, and weights that differ in the last digits only."""
    for key in ("loss", "norm"):
        one, two = figures(a, key), figures(b, key)
        assert list(one) == list(two) == [1, 2, 3, 4]
        assert all(math.isclose(one[step], two[step], rel_tol=1e-4) for step in one), key
    one, two = read_average(a), read_average(b)
    assert one[1] == two[1] == 4 and one[0].keys() == two[0].keys()
    assert all(torch.allclose(one[0][name], value, atol=1e-4) for name, value in two[0].items())


def test_two_processes_go_on_from_the_parts_of_one(run: Path, tmp_path: Path):
    toy_trainer(tmp_path, accumulate=4, **HALF).run()
    assert launch(tmp_path, shard=True, accumulate=2, **FULL) == [0, 0]
    same_course(run, tmp_path)


def test_one_process_goes_on_from_the_parts_of_two(run: Path, tmp_path: Path):
    assert launch(tmp_path, shard=True, accumulate=2, **HALF) == [0, 0]
    names = sorted(path.name for path in (tmp_path / "last").iterdir())
    assert names == ["run.pt", *(f"shard-0000{i}-model-00001-of-00001.safetensors" for i in (1, 2))]
    toy_trainer(tmp_path, accumulate=4, **FULL).run()
    same_course(run, tmp_path)


def test_hybrid_shards_of_four_processes(run: Path, tmp_path: Path):
    """HSDP, two groups of two; and back to one process and one file."""
    assert launch(tmp_path, world=4, shard=True, replicas=2, **HALF) == [0] * 4
    toy_trainer(tmp_path, accumulate=4, **(FULL | {"sharded_checkpoints": False})).run()
    same_course(run, tmp_path)
    assert newest(tmp_path) == tmp_path / "last.pt" and not (tmp_path / "last").exists()


def test_a_kill_between_the_renames_leaves_the_one_before(tmp_path: Path):
    toy_trainer(tmp_path, **HALF).run()
    (tmp_path / "last").rename(tmp_path / "last.before")
    assert newest(tmp_path) == tmp_path / "last.before" and toy_trainer(tmp_path, **FULL).step == 2
    (tmp_path / "last.before" / "run.pt").unlink()
    with pytest.raises(ValueError, match=r"last.before is damaged \(run.pt is missing\), and no state before it"):
        newest(tmp_path)


def test_of_two_forms_the_later_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    toy_trainer(tmp_path, **HALF).run()
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kinds: None)  # killed before the other one was removed
    toy_trainer(tmp_path, **(FULL | {"sharded_checkpoints": False})).run()
    assert (tmp_path / "last").is_dir() and newest(tmp_path) == tmp_path / "last.pt"


def test_damaged_parts_and_those_of_another_model(tmp_path: Path):
    toy_trainer(tmp_path, **HALF).run()
    with pytest.raises(ValueError, match="last belongs to another model"):
        toy_trainer(tmp_path, **(HALF | {"model": MODEL | {"depth": 2}}))
    with pytest.raises(ValueError, match=r"has the shape \(.*\), not"):
        toy_trainer(tmp_path, **(HALF | {"model": MODEL | {"text_dim": 32}}))
    part = next((tmp_path / "last").glob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:-4000])
    with pytest.raises(ValueError, match="last is damaged .*remove it to begin anew"):
        toy_trainer(tmp_path, **HALF)


def test_damaged_parts_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    toy_trainer(tmp_path, **(FULL | {"save_every": 2})).run()
    assert state.numbers_of(tmp_path / "last.before")["step"] == 4  # at the end it is saved once more
    (tmp_path / "last" / "run.pt").write_bytes(b"")
    assert toy_trainer(tmp_path, **FULL).step == 4 and "going on from" in caplog.text


def test_a_full_disk_leaves_the_parts_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    toy_trainer(tmp_path, **HALF).run()
    longer = toy_trainer(tmp_path, **FULL)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_state", full)
    with pytest.raises(OSError, match="No space left"):
        longer.run()
    assert state.numbers_of(tmp_path / "last")["step"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"replicas": 2}, "replicas goes with shard=True"), ({"replicas": 0, "shard": True}, "replicas must be")],
)
def test_replicas_that_make_no_sense(changes: dict, said: str):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**changes)


# --- from tar shards


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 short clips; the manifest of the folder, and beside it shards/."""
    pytest.importorskip("webdataset")
    from data_prep.shards import pack

    folder, rng, rows = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for i in range(300):
        wave = rng.normal(scale=0.1, size=int(rng.integers(3_000, 9_000)))
        soundfile.write(folder / f"{i}.wav", wave, 24_000, subtype="PCM_16")
        rows.append(Utterance(str(i), f"{i}.wav", "a bed", "s", len(wave) / 24_000))
    write_manifest(folder / "m.jsonl", rows)
    assert pack(str(folder / "m.jsonl"), str(folder / "shards"), megabytes=0.3) >= 4
    return folder


def test_two_processes_from_shards_resume_exactly(clips: Path, tmp_path: Path):
    """Killed in the middle and gone on: what a run from the folder, by two processes, came to."""
    how = {"steps": 6, "sharded_checkpoints": True, "model": {"text": "average", "dropout": 0.1}}
    assert launch(tmp_path / "folder", manifest=str(clips / "m.jsonl"), **how) == [0, 0]
    how["manifest"] = str(clips / "shards" / "manifest.jsonl")
    die = {0: (4, signal.SIGKILL), 1: (4, signal.SIGKILL)}
    assert launch(tmp_path / "shards", die, **how) == [-9, -9]
    assert state.numbers_of(tmp_path / "shards" / "last")["step"] == 3
    assert launch(tmp_path / "shards", **how) == [0, 0]
    one, two = read_average(tmp_path / "folder"), read_average(tmp_path / "shards")
    assert one[1] == two[1] == 6 and all(torch.equal(one[0][name], two[0][name]) for name in one[0])
    assert figures(tmp_path / "folder") == figures(tmp_path / "shards")


def test_shards_are_dealt_out_to_nodes(clips: Path, monkeypatch: pytest.MonkeyPatch):
    """Four processes on two nodes: those of a node deal its own utterances out among themselves."""
    items, config = corpus(str(clips / "shards" / "manifest.jsonl")), toy_config(by_node=True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    found = [dealt(items, config, rank, 4) for rank in range(4)]
    assert [place for place, _ in found] == [(0, 2), (1, 2), (0, 2), (1, 2)]
    numbers = [set(share.numbers.tolist()) for _, share in found]
    assert numbers[0] == numbers[1] and numbers[2] == numbers[3] and not numbers[0] & numbers[2]
    assert len(numbers[0] | numbers[2]) == 300
    assert dealt(items, toy_config(), 3, 4) == ((3, 4), items)
    with pytest.raises(ValueError, match="the same number of processes on every node, not 5 with 2 here"):
        dealt(items, config, 0, 5)
    with pytest.raises(ValueError, match="deals shards out to 50 nodes"):
        dealt(items, config, 0, 100)


def test_another_number_of_nodes_is_told():
    config = toy_config(by_node=True)
    saved = {"config": {"accumulate": 1}, "processes": 4, "nodes": 2}
    assert state.changes(saved, config, 4, 2) == []
    assert state.changes(saved, config, 4, 4) == ["the shards were dealt out to 2 nodes, are to 4"]
    assert state.changes(saved | {"device": "cuda"}, config, 4, 2, "cuda") == []
    (told,) = state.changes(saved | {"device": "cuda"}, config, 4, 2, "cpu")
    assert told.startswith("it ran on cuda, runs on cpu")
