"""What README, docs/start.md, docs/python.md and docs/extend.md show runs as it stands there, on the built-in voice.
tests/newcomer.sh does the same in an empty clone, with its installations and servers.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from newcomer import Command, check_output, commands, provide

from tts_fm import TTS
from tts_fm.cli.main import main as cli

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
SHOWN = [c for page in ("README.md", "docs/start.md") for c in commands((ROOT / page).read_text("utf-8"), page)]
PYTHON = [
    (page, [c.text for c in commands((ROOT / page).read_text("utf-8"), page) if c.kind == "python"])
    for page in ("README.md", "docs/python.md", "docs/extend.md")
]
#: what is not run in here, and by what it is
ELSEWHERE = {
    r"^make |^\. |^pip ": "newcomer.sh",
    r"^tts-fm demo": "test_demo_web.py",
    r"^tts-fm serve": "test_serve.py",
    r"^tts-fm adapt": "test_adapt.py",
    r"--play": "test_cli_play.py",
    r"\| aplay": "test_cli_say.py",
    r"^recipes/\w+/run\.sh": "test_recipe_run.py",
}
HERE = [c for c in SHOWN if c.kind == "sh" and not any(re.search(pattern, c.text) for pattern in ELSEWHERE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has, and weights of the published form."""
    folder, tts = tmp_path_factory.mktemp("reader"), TTS.load()
    list(provide(folder, lambda text, name: tts.say(text, "michael").save(folder / name)))
    shutil.copy(GOLDEN / "f5_v1.weights.safetensors", folder / "model_1250000.safetensors")
    vocab = json.loads((GOLDEN / "text.json").read_text("utf-8"))["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{symbol}\n" for symbol in vocab), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    yield


@pytest.mark.parametrize("command", HERE, ids=[f"{c.page}: {c.text}"[:80] for c in HERE])
def test_a_command_runs(command: Command, folder: Path) -> None:
    words = shlex.split(command.text)
    assert words[0] == "tts-fm"
    assert cli(words[1:]) == 0
    for name in command.outputs:
        check_output(folder / name)


def test_what_is_not_run_here_is_run_elsewhere() -> None:
    assert len(HERE) >= 14
    for pattern, where in ELSEWHERE.items():
        assert any(re.search(pattern, c.text) for c in SHOWN), f"{pattern} is shown no more"
        assert (ROOT / "tests" / where).is_file()


@pytest.mark.parametrize(("page", "blocks"), PYTHON, ids=[page for page, _ in PYTHON])
def test_python_runs(page: str, blocks: list[str]) -> None:
    space: dict[str, Any] = {}
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), space)
    if page == "README.md":
        assert tuple(space["mel"].shape) == (1, 600, 100) and os.path.getsize("hello.wav") > 20_000
