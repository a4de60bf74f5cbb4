"""A served toy model: what the tests of the server share. Imported only where fastapi, uvicorn and httpx are there."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from tiny_model import tiny_tts_folder

from tts_fm.serve.run import ServeConfig, create_app, listen, server
from tts_fm.synthesis import TTS
from tts_fm.voices.stored import add_voice

LONG = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the "
    "depth of a well. " * 3
)
SPEECH = "/v1/audio/speech"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A model, and the stored voices anna and ben."""
    folder = tmp_path_factory.mktemp("serve")
    time_axis = np.arange(48_000) / 24_000
    wave = sum(np.sin(2 * np.pi * f * time_axis) / k for k, f in enumerate((140, 280, 420, 840), 1))
    wave *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_axis)
    soundfile.write(folder / "ref.wav", 0.2 * wave, 24_000)
    for name in ("anna", "ben"):
        add_voice(name, folder / "ref.wav", folder=folder / "voices")
    tiny_tts_folder(folder / "model")
    return folder


@pytest.fixture(scope="module")
def tts(home) -> TTS:
    return TTS.load(home / "model")


@pytest.fixture(autouse=True)
def two_voices(own_surroundings, home, monkeypatch) -> None:
    monkeypatch.setenv("TTS_FM_HOME", str(home))
    monkeypatch.setattr("tts_fm.voices.stored.BUILTIN", home / "none")


class Running:
    """A uvicorn on a free port, in a thread."""

    def __init__(self, tts, **config) -> None:
        self.config = ServeConfig(port=0, **config)
        self.app = create_app(tts, self.config)
        self.scheduler, self.metrics = self.app.state.scheduler, self.app.state.metrics
        self.sock = listen(self.config)
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        self.server = server(self.app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.sock]}, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.client = httpx.Client(base_url=self.url, timeout=60)
        return self

    def __exit__(self, *_):
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.sock.close()
        assert not self.thread.is_alive()

    def say(self, **body):
        return self.client.post(SPEECH, json={"input": "Hello there.", "voice": "anna"} | body)


def pcm_of(answer) -> np.ndarray:
    return np.frombuffer(answer.content, "<i2")


def alone(tts, text, **settings) -> np.ndarray:
    """What the library says, as 16 bit."""
    return np.rint(tts.say(text, settings.pop("voice", "anna"), **settings).wave * 32767)


class Gate:
    """Holds the model back until it is opened; what is held can still be cancelled."""

    def __init__(self, tts, monkeypatch) -> None:
        self.open, self.entered, self.speak = threading.Event(), threading.Event(), tts.speak
        self.calls: list[int] = []
        monkeypatch.setattr(tts, "speak", self.gated)

    def gated(self, jobs, on_progress=None):
        self.entered.set()
        self.calls.append(len(jobs))
        while not self.open.wait(0.01):
            if on_progress is not None:
                on_progress(0, 1, 0, 1)
        return self.speak(jobs, on_progress)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
