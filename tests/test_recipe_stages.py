"""The built-in voice from nothing with one command: that its stages fit together, that a killed run goes on, and that
what lacks is told before the first of them.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_recipe_run import understood

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import cache as caches
import eval_list
import export
import tones

from data_prep.shared import run as exit_with
from recipes.builtin import stages
from tts_fm.cli.main import main as cli
from tts_fm.errors import ModelError
from tts_fm.evaluate.lists import read_eval_list
from tts_fm.voices.stored import read_index

ROOT = Path(__file__).resolve().parents[1]
ALL = ["corpus", "cache", "vocoder", "duration", "flow", "as_spoken", "aligner", "classifier", "voice", "texture"]
ALL += ["predicted", "tuned", "its vocoder", "paths", "student", "judged", "folded", "its texture"]
# notes what it is told; once, at the stage that is named, it kills the program that called it, and ends with it
STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$NOTED"
case "$*" in *"$KILLS"*) [ -e "$NOTED.killed" ] || { touch "$NOTED.killed"; kill -KILL $PPID; exec sleep 60; } ;; esac
"""


@pytest.fixture
def kokoro(tmp_path: Path) -> Path:
    (tmp_path / "kokoro" / "voices").mkdir(parents=True)
    for number in (2, 1):
        (tmp_path / "kokoro" / f"part{number}.bin").write_bytes(b"")
    (tmp_path / "texts.txt").write_text("Hello.\n")
    return tmp_path / "kokoro"


def lines(monkeypatch: pytest.MonkeyPatch, *words: object) -> dict[str, list[str]]:
    """The command lines of all stages, by name."""
    found: list[stages.Stage] = []
    with monkeypatch.context() as patch:
        patch.setattr(stages, "go", lambda its, *rest: found.extend(its) or 0)
        assert stages.main(list(map(str, words))) == 0
    return {stage.name: stage.command for stage in found}


@pytest.mark.parametrize("way", ["small", "corpus", "kokoro", "speak"])
def test_every_stage_understands_what_it_is_told(
    way: str, kokoro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, asr, runs = tmp_path / "corpus", tmp_path / "whisper", tmp_path / "runs"
    for folder in (corpus, asr):
        folder.mkdir()
    (corpus / "manifest.jsonl").write_text("{}\n")
    taught = ["--kokoro", kokoro, "--texts", tmp_path / "texts.txt", "--clips", 70]
    words = {"small": ["--small"], "corpus": ["--corpus", corpus], "kokoro": taught}
    words["speak"] = [*taught, "--speak-minutes", 1.5]
    told = lines(monkeypatch, runs, *words[way], "--device", "cpu", "--asr", asr, "--flow", "--ema 0.99")
    assert [name for name in told if name in ALL] == ALL[way == "corpus" :]
    assert ("graphs" in told) == (way != "small") and list(told)[-2:] == ["list", "figures"]
    for name, line in told.items():
        if line[:2] == ["-m", "tts_fm"]:
            assert cli(line[2:]) == 4, "understood, but there is no model and no list"
            assert name != "figures" or ("wer,sim,dnsmos" in line) == (way != "small")
            continue
        module, rest = (line[1], line[2:]) if line[0] == "-m" else (Path(line[0]).stem, line[1:])
        args = understood(monkeypatch, importlib.import_module(module).main, rest)
        if name in ALL[2:8]:
            assert (args.steps <= 2) == (way == "small") and args.cache == runs / "cache" and args.device == "cpu"
            assert args.out == runs / ("flow" if name == "as_spoken" else name)
        if name in ("flow", "as_spoken"):
            assert args.ema == 0.99
        if name in ("tuned", "student", "judged"):
            assert (args.steps <= 2) == (way == "small") and args.out == runs / name and args.device == "cpu"
        if name == "tuned":
            assert args.adversarial_from == args.steps, "no adversary"
    if way == "kokoro":
        parts = told["corpus"][told["corpus"].index("--model") + 1 :][:2]
        assert [Path(part).name for part in parts] == ["part1.bin", "part2.bin"] and "--filter" in told["corpus"]


def test_a_run_that_is_killed_at_a_stage_goes_on_there(tmp_path: Path) -> None:
    python, noted, runs = tmp_path / "python", tmp_path / "noted", tmp_path / "runs"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"NOTED": str(noted), "KILLS": "duration.py", "PYTHONPATH": path, "SMALL": "1"}
    command = [sys.executable, "-m", "recipes.builtin.stages", str(runs), "--python", str(python), "--device", "cpu"]
    codes, told = [], []
    for _ in range(3):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        codes.append(done.returncode)
        told.append(done.stdout)
    assert codes == [-signal.SIGKILL, 0, 0], told
    names = [Path(line.split()[0]).stem for line in noted.read_text().splitlines()]
    assert names[:5] == ["tones", "cache", "vocoder", "duration", "duration"] and names.count("flow") == 2
    assert len(names) == len(json.loads((runs / "done.json").read_text())["stages"]) + 1
    assert told[1].count(": done") == 3 and told[2].count(": done") == len(names) - 1


def test_every_stage_may_be_the_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    its = [stages.Stage(name, [name]) for name in "abcd"]
    for at in range(4):
        seen: list[str] = []
        notes = tmp_path / f"{at}.json"
        for fails in (its[at].name, ""):

            def work(stage: stages.Stage, python: str, fails: str = fails, seen: list[str] = seen) -> int:
                seen.append(stage.name)
                return 7 * (stage.name == fails)

            monkeypatch.setattr(stages, "run", work)
            assert stages.go(its, notes, "python", True) == (7 if fails else 0)
        assert seen == [*"abcd"[: at + 1], *"abcd"[at:]]
    seen.clear()
    changed = [its[0], stages.Stage("b", ["b", "more"]), *its[2:]]
    assert stages.go(changed, notes, "python", True) == 0 and seen == list("bcd"), "and what is behind it"
    with pytest.raises(ValueError, match="was begun with SMALL=1"):
        stages.go(its, notes, "python", False)


def test_what_lacks_is_told_before_the_first_stage(
    kokoro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = str(tmp_path / "runs")
    for words, error, said in (
        ([], ValueError, "from what"),
        (["--kokoro", str(kokoro)], ValueError, "needs --texts"),
        (["--kokoro", str(tmp_path), "--texts", "x"], ModelError, r"needs model.onnx \(or part\*.bin\) and voices/"),
        (["--small", "--assets", str(stages.SHIPPED)], ValueError, "must not be shipped"),
        (["--small", "--device", "cuda:7"], ValueError, "cannot be used"),
        (["--small", "--corpus", str(tmp_path)], ValueError, "is no corpus: it has no manifest.jsonl"),
    ):
        with pytest.raises(error, match=said):
            stages.main([runs, *words])
    monkeypatch.setattr("recipes.libritts.check.find_spec", lambda name: None if name == "onnxscript" else 1)
    assert exit_with(stages.main, [runs, "--corpus", str(tmp_path)]) == 5
    assert not (tmp_path / "runs").exists()


# --- what is made of the cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    corpus = tones.write(folder / "corpus", ["af_nova", "bm_lewis", "af_nova", "x", "x", "y"], valid=3)
    caches.main([str(corpus), str(folder / "cache"), "--jobs", "1"])
    return folder / "cache"


def test_voices_are_clips_of_the_cache(cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export.export_voices(cache, tmp_path / "voices")
    assert set(read_index(tmp_path / "voices")) == {"nova", "lewis"}
    assert "no clip is by af_heart: no voice heart" in caplog.text and not list(cache.glob("*.flac"))
    with pytest.raises(ValueError, match="has no clip by any of"):
        (tmp_path / "index.json").write_text("[]")
        export.export_voices(tmp_path, tmp_path / "none")


def test_the_steadiest_clip_is_the_voice() -> None:
    row = {"id": "a", "seconds": 5.0, "text": "So.", "unit_frames": [9, 9, 40]}
    rows = [row | {"unit_frames": [20, 9, 1]}, row | {"id": "b"}, row | {"seconds": 2.0, "unit_frames": [1, 1, 1]}]
    assert export.best_clip([*rows, row | {"text": "So?", "unit_frames": [1, 1]}])["id"] == "b"
    assert export.best_clip(rows[2:]) is rows[2], "a short one is better than none"


def test_the_list_has_voices_that_were_held_back(cache: Path, tmp_path: Path) -> None:
    eval_list.main([str(cache), str(tmp_path), "--items", "5"])
    items = read_eval_list(tmp_path / "list.jsonl")
    assert [(item.id, item.ref_audio.stem) for item in items] == [("tone_003", "tone_004"), ("tone_004", "tone_003")]
    rows = export.clips_of(cache)
    alone = [row for row in rows if row["id"] != "tone_004"]
    assert [prompt["speaker"] for _, prompt in eval_list.pairs_of(alone, 5)] == ["af_nova", "af_nova"]
    with pytest.raises(ValueError, match="no clip of the split valid"):
        eval_list.pairs_of(rows[:3], 5)
    wave = np.fromfile(cache / "wav.i16", np.int16)[: rows[0]["samples"]]
    export.write_clip(cache, rows[0], tmp_path / "clip.flac")
    from tts_fm.audio.files import load

    assert np.array_equal(np.round(load(tmp_path / "clip.flac") * 32768), wave)
