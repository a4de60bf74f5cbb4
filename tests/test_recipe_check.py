"""What the stages of a recipe need is looked for, and told at once, before the first of them begins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from recipes.libritts import check
from tts_fm.errors import MissingDependency

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_that_is_missing_is_named_with_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "find_spec", lambda name: None if name in ("accelerate", "jiwer", "phonemizer") else 1)
    check.check_packages(check.needed([0, 1, 4], ["wer"]))
    with pytest.raises(MissingDependency, match=r"phonemizer, accelerate, jiwer missing: pip install 'tts-fm\[eval,tr"):
        check.check_packages(check.needed(range(7), ["wer"]))
    assert "jiwer" not in check.needed(range(7), ["sim"]) and "accelerate" not in check.needed([4, 5], [])


def test_processes_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check.check_devices("cpu", 64) == 0
    monkeypatch.setattr("tts_fm.devices.name_of", lambda name: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert check.check_devices("auto", 4) == 4
    with pytest.raises(ValueError, match="8 processes but 4 GPUs; one process a GPU: --processes 4"):
        check.check_devices("auto", 8)


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 0, 20 * 10**9))
    check.check_disk([1, 3, 5], tmp_path / "a" / "b", tmp_path, downloads=False)
    with pytest.raises(ValueError, match="has 20 GB free, the stages take about 161 GB"):
        check.check_disk([0, 1], tmp_path, tmp_path, downloads=True)


def test_run_sh_tells_before_it_begins(tmp_path: Path) -> None:
    """accelerate is hidden: the run ends at once with exit code 5 and one line, no stage having begun."""
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'accelerate' else find(name, *more)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = ["bash", str(ROOT / "recipes" / "libritts" / "run.sh"), "--stage", "3", "--out", str(tmp_path / "out")]
    run = subprocess.run(
        [*command, "--measures", "wer"],
        env=os.environ | {"PYTHONPATH": path, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 5 and "accelerate missing: pip install 'tts-fm[train]'" in run.stderr, run.stderr
    assert "== stage" not in run.stderr and not (tmp_path / "out").exists() and "Traceback" not in run.stderr
