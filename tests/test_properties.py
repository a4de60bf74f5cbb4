"""Without hypothesis a test file is collected, its property tests are skipped and its other tests run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
USERS = sorted(p.name for p in TESTS.rglob("test_*.py") if "from properties import" in p.read_text("utf-8"))


def test_no_file_imports_hypothesis_itself() -> None:
    direct = [p.name for p in TESTS.rglob("*.py") if "\nfrom hypothesis" in p.read_text("utf-8")]
    assert not direct and len(USERS) >= 10


def test_without_hypothesis_others_still_run(tmp_path: Path) -> None:
    pytest.importorskip("hypothesis")
    (tmp_path / "hypothesis.py").write_text("raise ImportError('none here')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def run(*what: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what]
        done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    run("--collect-only", *USERS)
    told = run("test_text_markup.py")
    assert "skipped" in told and "passed" in told
