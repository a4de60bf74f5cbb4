"""Voices by name: stored prompts that ship or that a user adds (stored.py), and voices that a model was adapted to, as
folders that any engine can read (adapters.py).

It knows no networks: numpy arrays and files only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.voices.adapters import AdaptedVoice as AdaptedVoice
    from tts_fm.voices.adapters import Adapter as Adapter
    from tts_fm.voices.stored import Voice as Voice
    from tts_fm.voices.stored import add_voice as add_voice
    from tts_fm.voices.stored import catalogue as catalogue
    from tts_fm.voices.stored import get_voice as get_voice
    from tts_fm.voices.stored import remove_voice as remove_voice

NAMES = {"adapters": "AdaptedVoice Adapter", "stored": "Voice add_voice catalogue get_voice remove_voice"}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
