"""What mkdocs fills in from the code: the table of settings, and all public names; sounds get a player."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from tts_fm.settings import EVERYWHERE, offered

ROOT = Path(__file__).resolve().parents[1]
MARK, API = "<!-- settings -->", "<!-- api -->"
SOUND = re.compile(r"\[([^]]*)\]\(([\w./-]+\.mp3)\)")


def settings_table() -> str:
    """Every setting of a request as a Markdown table."""
    rows = ["| option | field | what it does | range | default |", "|---|---|---|---|---|"]
    for setting in offered(EVERYWHERE[0]):
        default = setting.unset if setting.default is None else f"`{setting.default}`"
        rows.append(f"| `{setting.option}` | `{setting.name}` | {setting.help} | {setting.range} | {default} |")
    return "\n".join(rows)


def homes(package: str) -> dict[str, str]:
    """The public names of a package, each with the module that it lives in. Imports none of these."""
    module = importlib.import_module(package)
    if package == "tts_fm":
        return {name: module._HOMES[name] for name in module.__all__ if name in module._HOMES}
    return {name: f"{package}.{home}" for home, names in module.NAMES.items() for name in names.split()}


def public_packages() -> list[str]:
    """The packages that offer names, tts_fm first."""
    found = sorted((ROOT / "tts_fm").glob("*/__init__.py"))
    return ["tts_fm", *(f"tts_fm.{p.parent.name}" for p in found if "\nNAMES = " in p.read_text("utf-8"))]


def api() -> str:
    """A section for each package, an entry of mkdocstrings for each of its names."""
    parts = []
    for package in public_packages():
        parts.append(f"## {package}\n")
        parts.append(f"{(importlib.import_module(package).__doc__ or '').strip()}\n")
        parts += [f"::: {home}.{name}\n" for name, home in sorted(homes(package).items())]
    return "\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    if API in markdown:
        markdown = markdown.replace(API, api())
    markdown = SOUND.sub(r'<audio controls preload="none" src="\2" title="\1"></audio>', markdown)
    return markdown.replace(MARK, settings_table())
