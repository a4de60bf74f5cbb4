"""docs/abuse.md names tests that are there, and no failure that is left."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (\w+): (\w+) \|$", (ROOT / "docs" / "abuse.md").read_text(), re.M)


def test_every_row_has_its_test() -> None:
    assert len(ROWS) >= 77
    for case, _, now, file, name in ROWS:
        path = next(p for p in (ROOT / f"tests/abuse/test_{file}.py", ROOT / f"tests/test_{file}.py") if p.is_file())
        assert re.search(rf"^def test_?\w*{name.removeprefix('test_')}", path.read_text(), re.M), (case, file, name)
        assert now not in ("hang", "leak", "crash", "wrong", "bug", "traceback", "failed"), case
