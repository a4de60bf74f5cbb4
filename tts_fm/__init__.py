"""tts_fm: text and a few seconds of a voice become speech, by flow matching. Importing this does not import torch."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it as true; the module typing is slow to import
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
__all__ = ["TTS", "__version__", "adapt_voice", "load_flow_model"]

_HOMES = {
    "load_flow_model": "tts_fm.checkpoint.load",
    "TTS": "tts_fm.synthesis",
    "adapt_voice": "tts_fm.train.voice",
}  # public name -> the room it lives in


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tts_fm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
