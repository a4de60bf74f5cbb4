"""The documentation says what is: links lead somewhere, commands are accepted, Python compiles, forms are YAML."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from newcomer import BLOCK, commands

from tts_fm.cli.main import parse, with_dashes
from tts_fm.settings import offered

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md"), ROOT / "README.md"])
NOTEBOOKS = sorted(ROOT.glob("docs/*.ipynb"))


def blocks(page: Path, *kinds: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text("utf-8")) if kind in kinds]


def calls(page: Path) -> list[list[str]]:
    """The `tts-fm` calls of a page's shell blocks, as words."""
    found = []
    for command in commands(page.read_text("utf-8")):
        lexer = shlex.shlex(command.text if command.kind == "sh" else "", posix=True, punctuation_chars="|;&<>()")
        lexer.commenters, lexer.whitespace_split = "#", True
        words = list(lexer)
        if "tts-fm" in words and words[0] != "docker":
            rest = words[words.index("tts-fm") + 1 :]
            stop = next((i for i, word in enumerate(rest) if word and set(word) <= set("|;&<>")), len(rest))
            found.append(rest[:stop])
    return found


CALLS = [(page.name, " ".join(words), words) for page in PAGES for words in calls(page)]


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


def test_a_console_block_is_read_as_what_is_typed_and_what_is_printed() -> None:
    typed = commands("```console\n$ tts-fm say 'A # b' -o a.wav  # a comment\na.wav\n$ echo \\\n  two\n```\n")
    assert [" ".join(command.words) for command in typed] == ["tts-fm say 'A", "echo two"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_python_without_outputs(path: Path) -> None:
    """`make notebooks` runs them; what they print is not kept, so that a change is a change of the text."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5 and not any(cell.get("outputs") for cell in cells)
    ast.parse("\n".join(code))
    for cell in cells:
        for name in re.findall(r"`((?:docs|recipes|tests)/[\w./-]+)`", "".join(cell["source"])):
            assert (ROOT / name).exists(), name


def test_every_known_issue_says_where_it_was_published() -> None:
    files = sorted((ROOT / "tests" / "known_issues").glob("test_*.py"))
    assert len(files) > 20
    for path in files:
        cited = re.match(r'"""[\w.-]+/([\w.-]+)#(\d+)', path.read_text("utf-8"))
        assert cited and path.stem.endswith(f"_{cited[2]}"), path.name


def test_all_public_names_are_on_the_page_of_the_api() -> None:
    from test_public import PUBLIC

    hooks = load_hooks()
    assert set(hooks.public_packages()) == set(PUBLIC)
    page = hooks.on_page_markdown((ROOT / "docs" / "api.md").read_text("utf-8"), page=None)
    shown = {line.removeprefix("::: ") for line in page.splitlines() if line.startswith("::: tts_fm.")}
    for package, names in PUBLIC.items():
        at = "tts_fm." if package == "tts_fm" else f"{package}."
        for name in names.split():
            assert name == "__version__" or any(x.startswith(at) and x.endswith(f".{name}") for x in shown), name


def test_files_that_the_documentation_names_are_there() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:tts_fm|recipes|data_prep|tests|docs)/[\w./-]+)`", page.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def load_hooks() -> Any:
    """docs/hooks.py, which lies in no package."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    sys.modules["docs_hooks"] = hooks
    spec.loader.exec_module(hooks)
    return hooks


def test_the_table_of_settings_is_filled_in_and_sounds_get_a_player() -> None:
    hooks = load_hooks()
    page = hooks.on_page_markdown((ROOT / "docs" / "settings.md").read_text("utf-8"), page=None)
    rows = [line.split("|")[2].strip(" `") for line in page.splitlines() if line.startswith("| `--")]
    assert rows == [setting.name for setting in offered("cli")] and hooks.MARK not in page
    heard = hooks.on_page_markdown("- [nova](nova-01.mp3), [start](../start.md)", page=None)
    assert '<audio controls preload="none" src="nova-01.mp3"' in heard and "[start](../start.md)" in heard


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
