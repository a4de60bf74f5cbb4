"""One small file for each fault that somebody published about a program of this kind, and that must not be ours.

The first line of each names repository and number; what follows says what was complained of, and the test shows what
happens here. Most ask the plan of what would be spoken, which takes milliseconds.
"""

from __future__ import annotations

import pytest

from tts_fm import TTS


@pytest.fixture(scope="session")
def tts() -> TTS:
    """The built-in voice."""
    return TTS.load()
