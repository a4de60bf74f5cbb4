"""A home with two voices, and a service with the tiny model: a pytest plugin of the demo's test modules."""

from __future__ import annotations

import pytest
import soundfile
from demo_toys import EvenAligner, speech_like, store_voices
from tiny_model import tiny_tts_folder

from tts_fm.demo.service import Service, VisitorLimits


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two stored voices, no built-in ones, and a recording."""
    folder = tmp_path_factory.mktemp("home")
    store_voices(folder / "voices")
    soundfile.write(folder / "me.wav", speech_like(4), 24_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tts_fm.voices.stored.user_folder", lambda: folder / "voices")
        patch.setattr("tts_fm.voices.stored.BUILTIN", folder / "none")
        patch.setattr("tts_fm.engines.align.Aligner.load", lambda folder=None: EvenAligner())
        yield folder


@pytest.fixture(scope="module")
def service(home, tmp_path_factory):
    from tts_fm.synthesis import TTS

    made = Service(
        TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model"))),
        VisitorLimits(characters=400, lines=5, list_characters=200),
    )
    yield made
    made.close()
