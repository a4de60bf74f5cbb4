"""Every public name of tts_fm.flow is used by the product or by a recipe: what only tests reach is not done."""

from __future__ import annotations

import ast
from pathlib import Path

from tts_fm import flow

ROOT = Path(__file__).parents[1]


def used_in(path: Path) -> set[str]:
    """Names that a file reads, as themselves or as attributes; definitions and imports do not count."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    names = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return names | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def unused(names: list[str]) -> list[str]:
    files = [p for folder in ("tts_fm", "recipes", "demo") for p in (ROOT / folder).rglob("*.py")]
    used = set().union(*map(used_in, files))
    return sorted(set(names) - used)


def test_every_public_name_has_a_user() -> None:
    assert not unused(flow.__all__)
    assert unused([*flow.__all__, "no_such_name_anywhere"]) == ["no_such_name_anywhere"]


def test_every_public_name_is_there() -> None:
    assert all(getattr(flow, name) is not None for name in flow.__all__)
    surface = "make_path log_likelihood couple solve time_grid ClassifierGuidance FittedSolver straightness"
    assert set(surface.split()) <= set(flow.__all__)
