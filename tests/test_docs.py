"""The documentation says what is: links lead somewhere, commands are accepted, Python compiles, forms are YAML."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tts_fm.cli.main import parse, with_dashes
from tts_fm.settings import offered

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *kinds: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text("utf-8")) if kind in kinds]


def commands(page: Path) -> list[list[str]]:
    """The `tts-fm` calls of a page's shell blocks, as words."""
    found = []
    for line in "".join(blocks(page, "sh", "console", "bash")).replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
        lexer.commenters, lexer.whitespace_split = "#", True
        words = list(lexer)
        if "tts-fm" in words and words[0] != "docker":
            rest = words[words.index("tts-fm") + 1 :]
            stop = next((i for i, word in enumerate(rest) if word and set(word) <= set("|;&<>")), len(rest))
            found.append(rest[:stop])
    return found


CALLS = [(page.name, " ".join(words), words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", [call[2] for call in CALLS], ids=[f"{page}: {line}"[:70] for page, line, _ in CALLS])
def test_the_command_line_takes_what_the_documentation_shows(words: list[str]) -> None:
    try:
        parse(with_dashes(words))
    except SystemExit as stop:
        assert stop.code in (0, None), words  # --help


def test_the_commands_are_found() -> None:
    assert len(CALLS) > 30 and any("--ref-audio" in words for _, _, words in CALLS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles_and_links_lead_somewhere(page: Path) -> None:
    for body in blocks(page, "python"):
        ast.parse(body)
    text = BLOCK.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        other = (page.parent / path) if path else page
        assert other.exists(), f"{page.name}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads], target


def test_files_that_the_documentation_names_are_there() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:tts_fm|recipes|data_prep|tests|docs)/[\w./-]+)`", page.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_table_of_settings_is_filled_in() -> None:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    sys.modules["docs_hooks"] = hooks
    spec.loader.exec_module(hooks)
    page = hooks.on_page_markdown((ROOT / "docs" / "settings.md").read_text("utf-8"), page=None)
    rows = [line.split("|")[2].strip(" `") for line in page.splitlines() if line.startswith("| `--")]
    assert rows == [setting.name for setting in offered("cli")] and hooks.MARK not in page


def test_every_page_is_in_the_navigation_and_forms_are_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    told = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    pages = [page for part in told["nav"] for value in part.values() for page in leaves(value)]
    assert sorted(pages) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md"))
    files = [
        *ROOT.glob(".github/**/*.yml"),
        ROOT / "compose.yaml",
        ROOT / ".pre-commit-config.yaml",
        ROOT / "CITATION.cff",
    ]
    assert len(files) > 8 and all(yaml.safe_load(file.read_text("utf-8")) for file in files)


def leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [page for part in value for page in (leaves(part) if isinstance(part, str) else part.values())]


def test_one_version_everywhere() -> None:
    import tts_fm

    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert tts_fm.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(rf"^## {re.escape(version)} ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)


def test_containers_copy_what_is_there_and_run_without_rights() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for name in ("Dockerfile", "Dockerfile.gpu"):
        text = (ROOT / name).read_text("utf-8")
        copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
        assert copied == kept and all((ROOT / word).exists() for word in copied)
        assert "\nUSER speaker\n" in text and "HEALTHCHECK" in text
        (chosen,) = re.findall(r'"/src\[([\w,]+)\]"', text)
        assert set(chosen.split(",")) <= set(extras)
