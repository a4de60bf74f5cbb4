"""What mkdocs fills in: the table of settings, from the code."""

from __future__ import annotations

from typing import Any

from tts_fm.settings import EVERYWHERE, offered

MARK = "<!-- settings -->"


def settings_table() -> str:
    """Every setting of a request as a Markdown table."""
    rows = ["| option | field | what it does | range | default |", "|---|---|---|---|---|"]
    for setting in offered(EVERYWHERE[0]):
        default = setting.unset if setting.default is None else f"`{setting.default}`"
        rows.append(f"| `{setting.option}` | `{setting.name}` | {setting.help} | {setting.range} | {default} |")
    return "\n".join(rows)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    return markdown.replace(MARK, settings_table())
