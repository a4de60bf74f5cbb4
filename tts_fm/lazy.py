"""Names that a package offers without importing its modules: `from tts_fm.audio import load` loads tts_fm.audio.files,
and no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def offer(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package's __init__.

    names: a module of the package -> its public names, separated by spaces; ".room.module" is one of another room.
    """
    homes = {name: module for module, its in names.items() for name in its.split()}

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f".{homes[name]}", package), name)

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return getattr_, dir_, sorted(homes)
