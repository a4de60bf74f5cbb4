"""The script that a machine with a GPU runs first, on the device of --device and at toy sizes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from recipes.gpu import parts


def test_all_parts_print_their_tables(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    parts.main(["--device", device, "--small"])
    told = capsys.readouterr().out
    for name in ("| f5_v1 | bfloat16 |", "| e2 | float32 |", "| builtin | training, eager |", "RTF", "| updates | 4 |"):
        assert name in told


def test_a_part_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no part is called fast; there are check, speed, train"):
        parts.main(["fast"])


def test_a_deviation_above_its_limit_is_an_error(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parts.LIMITS, "bfloat16", 1e-9)
    with pytest.raises(ValueError, match="f5_v1 in bfloat16 deviates"):
        parts.main(["check", "--device", device, "--small"])
