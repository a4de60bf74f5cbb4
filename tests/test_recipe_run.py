"""The scripts that run whole recipes, from their first stage to their last: which commands they give, and that these
are understood and fit together. A stand-in for python notes the commands; they run here, without a process for each.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpora import libritts_clip, packed

from data_prep import libritts
from recipes.libritts.recipes import get
from tts_fm.cli.main import main as cli

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["steps=2", "batch_frames=300", "log_every=1", "valid_every=2", "tensorboard=false"]
TOY = ["model.dim=64", "model.heads=1", "model.depth=1"]
NOTE = """#!/usr/bin/env bash
printf -v line '%s\\1' "$@"; printf '%s\\n' "$line" >> "$NOTED"  # in one piece: several may call it at once
[ "$2" != recipes.libritts.check ] || echo 0
"""


def commands(folder: Path, script: str, *words: str, **environment: str) -> list[list[str]]:
    """What a script tells python, in order."""
    noted, python = folder / "noted", folder / "python"
    python.write_text(NOTE)
    python.chmod(0o755)
    env = os.environ | {"NOTED": str(noted), "PYTHON": str(python)} | environment
    run = subprocess.run(["bash", ROOT / script, *words], cwd=folder, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [line.split("\1")[:-1] for line in noted.read_text().split("\n")[:-1]]


class Understood(Exception):
    """Raised instead of going on, once a command line has been read."""


def understood(monkeypatch: pytest.MonkeyPatch, main, words: list[str]) -> argparse.Namespace:
    """The options that a recipe reads from a command line, and nothing more."""
    read, found = argparse.ArgumentParser.parse_args, []

    def only_read(self, *given):
        found.append(read(self, *given))
        raise Understood

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", only_read)
        patch.setattr(sys, "argv", ["recipe", *words])
        with pytest.raises(Understood):
            main()
    return found[0]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Two small parts of LibriTTS, served as openslr.org does."""
    for part, speaker, count in (("train-clean-100", 19, 3), ("dev-clean", 84, 3)):
        for number in range(count):
            libritts_clip(tmp_path / "made", part, speaker, number, seconds=1.0 + number / 10)
        data = packed(tmp_path / "made", part)
        (tmp_path / "served").mkdir(exist_ok=True)
        (tmp_path / "served" / f"{part}.tar.gz").write_bytes(data)
        monkeypatch.setitem(libritts.PARTS, part, (0.001, 0.001, count, hashlib.sha256(data).hexdigest()))
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=tmp_path / "served"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_libritts_from_the_download_to_the_score(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [word for change in [*(f"train.{s}" for s in SMALL), *TOY] for word in ("--set", change)]
    words = ["--recipe", "tiny", "--corpus-root", "data", "--out", "out", "--parts", "train-clean-100 dev-clean"]
    words += ["--mirror", mirror, "--items", "2", "--device", "cpu", "--measures", "sim", *sets]
    told = commands(tmp_path, "recipes/libritts/run.sh", *words)
    modules = ["check", "download", "prepare", "train", "export", "list", "speak", "score"]
    assert len(told) == len(modules) and all(
        name in " ".join(line[1:3]) for name, line in zip(modules, told, strict=True)
    )
    monkeypatch.chdir(tmp_path)
    for flag, module, *rest in told:
        assert flag == "-m"
        main = importlib.import_module(module).main
        if "score" in rest:  # tests/test_recipe_scores.py
            assert understood(monkeypatch, lambda: main(rest), rest).measures == ["sim"]  # noqa: B023
        else:
            main(rest)
    assert len(list(Path("out/speech").glob("*.wav"))) == 2 and not list(Path("data/downloads").glob("*.gz"))


def test_libritts_with_alignment_shards_and_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--recipe", "f5_small_aligned", "--processes", "2", "--shards", "tars", "--restored", "--stage", "1"]
    told = commands(tmp_path, "recipes/libritts/run.sh", *words)
    named = [" ".join(line[1:3]) for line in told]
    assert [name.split(".")[-1].split()[0] for name in named] == [
        "check", "libritts", "tts_fm", "shards", "run", "export", "evaluation", "evaluation", "evaluation", "evaluation"
    ]  # fmt: skip
    aligned = "data/libritts_r.aligned.jsonl"
    assert told[2][1:4] == ["tts_fm", "align", "data/libritts_r.jsonl"] and aligned in told[2]
    monkeypatch.chdir(tmp_path)
    assert cli(told[2][2:]) == 4 and "data/libritts_r.jsonl" in capsys.readouterr().err  # understood, but not there
    assert told[3][2:] == ["pack", aligned, "tars"]
    assert told[4][1:5] == ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert told[4][6:9] == ["recipes.libritts.train", "f5_small_aligned", "tars/manifest.jsonl"]
    assert sorted(line[line.index("--shard") + 1] for line in told if "speak" in line) == ["0/2", "1/2"]


@pytest.mark.parametrize(
    ("recipe", "nodes", "port", "set_to"),
    [
        ("f5_base", "8", "node1:20123", ["by_node=true", "shard=true", "replicas=8", "sharded_checkpoints=true"]),
        ("f5_small_ctc", "2", "node1:20123", ["by_node=true"]),
        ("tiny", "1", "node1:20123", []),
    ],
)
def test_slurm_starts_every_node(recipe: str, nodes: str, port: str, set_to: list[str], tmp_path: Path) -> None:
    for name, line in (("scontrol", "printf 'node1\\nnode2\\n'"), ("srun", "printf '%s\\n' \"$@\"")):
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_NUM_NODES": nodes, "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_NODELIST": "x", "SLURM_JOB_ID": "60123"}
    env = os.environ | job | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "python"}
    words = ["bash", ROOT / "recipes/libritts/slurm.sh", recipe, "m.jsonl", "run", "--set", "train.steps=9"]
    told = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout.split()
    assert told[told.index("--nnodes") + 1] == nodes and told[told.index("--rdzv-endpoint") + 1] == port
    assert told[told.index("recipes.libritts.train") + 1 :][:3] == [recipe, "m.jsonl", "run"]
    given = [told[at + 1] for at, word in enumerate(told) if word == "--set"]
    assert given == [*(f"train.{field}" for field in set_to), "train.steps=9"]
    get(recipe, given)  # they go together
