"""Every benchmark takes --device, and what it names is where things are computed."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "recipes" / "benchmarks"
# the option itself; Kokoro's graph runs in onnxruntime; books that are finished are only read and listened to
NO_DEVICE = {"device.py", "adapt_recordings.py", "book_checks.py"}
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in NO_DEVICE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_device_that_is_not_there_is_told_before_anything_runs(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    needed = {"adapt.py": ["a", "b"], "book.py": ["speed", "a"], "data.py": ["a"], "engines_eval.py": ["a"]}
    monkeypatch.setattr(sys, "argv", [name, *needed.get(name, []), "--device", "hopper:7"])
    with pytest.raises(ValueError, match="the device 'hopper:7' cannot be used"):
        runpy.run_path(str(FOLDER / name), run_name="__main__")


def test_the_device_holds_for_all_that_is_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    import argparse

    from device import parsed

    monkeypatch.setenv("TTS_FM_DEVICE", "cuda:3")
    assert parsed(argparse.ArgumentParser(), []).device is None and os.environ["TTS_FM_DEVICE"] == "cuda:3"
    assert parsed(argparse.ArgumentParser(), ["--device", "cpu"]).device == "cpu"
    assert os.environ["TTS_FM_DEVICE"] == "cpu"
