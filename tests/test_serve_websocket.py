"""A text in pieces over a WebSocket: the samples of the library, cancelled at once, bounded, keys and origins."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("wsproto")
httpx = pytest.importorskip("httpx")

import wsproto  # noqa: E402
from serve_toys import Gate, Running, home, tts, two_voices, until  # noqa: E402
from wsproto import events  # noqa: E402

from tts_fm.serve.phrases import Places  # noqa: E402
from tts_fm.serve.tickets import QueueFull  # noqa: E402

PATH = "/v1/audio/speech/stream"
TEXT = "The birch canoe slid. Glue the sheet to it.\n\nIt is easy to tell."


class Socket:
    """A client of its own making, on wsproto: sends messages, hears until one of a kind."""

    def __init__(self, server, path=PATH, **headers):
        import socket

        address = server.sock.getsockname()[:2]
        self.sock = socket.create_connection(address, timeout=30)
        self.conn = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        extra = [(name.replace("_", "-"), value) for name, value in headers.items()]
        host = headers.pop("host", f"localhost:{address[1]}")
        request = events.Request(host=host, target=path, extra_headers=[h for h in extra if h[0] != "host"])
        self.sock.sendall(self.conn.send(request))
        self._events = iter(())
        self.first = self.next()

    def next(self):
        while True:
            for event in self._events:
                if isinstance(event, events.Ping):
                    self.sock.sendall(self.conn.send(event.response()))
                    continue
                return event
            data = self.sock.recv(1 << 16)
            self.conn.receive_data(data or None)
            self._events = self.conn.events()

    def say(self, kind, **fields):
        self.send(json.dumps({"type": kind} | fields))

    def send(self, data):
        message = events.TextMessage if isinstance(data, str) else events.BytesMessage
        self.sock.sendall(self.conn.send(message(data=data)))

    def hear(self, *kinds):
        """Messages up to one of these kinds, and the audio."""
        told, audio, part = [], b"", ""
        while True:
            event = self.next()
            if isinstance(event, events.BytesMessage):
                audio += bytes(event.data)
            elif isinstance(event, events.TextMessage):
                part += event.data
                if not event.message_finished:
                    continue
                told, part = [*told, json.loads(part)], ""
                if told[-1]["type"] in kinds:
                    return told, np.frombuffer(audio, "<i2")
            else:
                assert isinstance(event, events.CloseConnection), event
                return [*told, {"type": "closed", "code": event.code}], np.frombuffer(audio, "<i2")

    def __enter__(self):
        assert isinstance(self.first, events.AcceptConnection), self.first
        return self

    def __exit__(self, *_):
        self.sock.close()


@pytest.fixture(scope="module")
def served(tts):
    with Running(tts) as running:
        yield running


def test_pieces_give_the_samples_of_the_library(served, tts):
    chunks = list(tts.stream(iter(TEXT), "ben", seed=4))
    truth = np.rint(np.concatenate([c.wave for c in chunks]) * 32767)
    with Socket(served) as socket:
        socket.say("session.config", voice="BEN", seed="4", model="tts-1", unheard_of=1)
        (ready,), _ = socket.hear("session.ready")
        assert ready["voice"] == "ben" and ready["sample_rate"] == 24_000 and "unheard_of" in ready["warnings"][0]
        for letter in TEXT:
            socket.say("input.text", text=letter)
        socket.say("input.done")
        told, audio = socket.hear("session.done", "error")
        assert told[-1]["type"] == "session.done" and told[-1]["total_sentences"] == len(chunks) == 3
        assert told[-1]["seconds"] == len(truth) / 24_000
        assert len(audio) == len(truth) and np.abs(audio - truth).max() <= 1
        starts = [message for message in told if message["type"] == "audio.start"]
        assert [message["sentence_text"] for message in starts] == [chunk.text for chunk in chunks]
        socket.say("input.text", text="Another.")  # in the same way, without a new configuration
        socket.say("input.done")
        again, audio = socket.hear("session.done", "error")
        assert again[-1]["total_sentences"] == 1 and len(audio) == tts.say("Another.", "ben", seed=4).wave.size


def test_the_first_sentence_is_heard_while_the_text_is_open_and_cancel_is_at_once(tts, monkeypatch):
    with Running(tts) as server, Socket(server) as socket:
        socket.say("input.text", text="One is here. Two")
        told, audio = socket.hear("audio.done", "error")
        assert told[-1] == {"type": "audio.done", "sentence_index": 0} and len(audio) > 1000
        gate = Gate(tts, monkeypatch)
        socket.say("input.text", text=" is here. Three")
        assert gate.entered.wait(10)
        socket.say("cancel")
        assert socket.hear("session.cancelled", "error")[0][-1]["type"] == "session.cancelled"
        until(lambda: not server.scheduler._active)
        gate.open.set()
        socket.say("input.text", text="Four.")
        socket.say("input.done")
        told, _ = socket.hear("session.done", "error")
        assert [m["sentence_text"] for m in told if m["type"] == "audio.start"] == ["Four."]


WRONG = [
    ("no json", "not valid JSON"), ("[]", "session.config"), ('{"type": "x"}', "input.text"), (b"bytes", "JSON text"),
    ('{"type": "input.text"}', "string"), ('{"type": "input.text", "text": 7}', "string"),
    ('{"type": "input.done"}', "no text"), ('{"type": "session.config", "voice": "nobody"}', "anna"),
    ('{"type": "session.config", "speed": 9}', "speed"),
    ('{"type": "session.config", "response_format": "mp3"}', "pcm"),
    ('{"type": "session.config", "steps": 65}', "steps"),
]  # fmt: skip


def test_what_is_wrong_is_told_and_the_connection_goes_on(served):
    with Socket(served) as socket:
        for message, told in WRONG:
            socket.send(message)
            error = socket.hear("error", "session.ready")[0][-1]
            assert error["type"] == "error" and told in error["message"], (message, error)
            assert error["error"]["message"] == error["message"]
        socket.say("input.text", text="... !")
        socket.say("input.done")
        assert "empty" in socket.hear("error", "session.done")[0][-1]["message"]
        socket.say("input.text", text="Hello.")
        socket.say("input.done")
        assert socket.hear("error", "session.done")[0][-1]["type"] == "session.done"


def test_what_waits_is_bounded(tts, monkeypatch):
    with Running(tts, max_chars=100, timeout=1) as server, Socket(server) as socket:
        gate = Gate(tts, monkeypatch)
        for _ in range(10):
            socket.say("input.text", text="A sentence of its own, of fifty characters or so. ")
        assert "400 characters wait" in socket.hear("error", "session.done")[0][-1]["message"]
        gate.open.set()
        socket.say("input.text", text="Still open")
        told = socket.hear("closed")[0]
        assert "no more text came" in told[-2]["message"] and told[-1]["code"] == 1008
    with Running(tts) as server, Socket(server) as socket:
        socket.send("x" * 70_000)
        assert socket.hear("closed")[0][-1] == {"type": "closed", "code": 1009}
        until(lambda: not server.app.state.service.places._taken)


def test_a_client_that_leaves_gives_up_its_place(tts, monkeypatch):
    with Running(tts) as server:
        gate = Gate(tts, monkeypatch)
        with Socket(server) as socket:
            socket.say("input.text", text="One is here. Two")
            assert gate.entered.wait(10) and server.app.state.service.places._taken.total() == 1
        until(lambda: not server.app.state.service.places._taken and not server.scheduler._active)
        gate.open.set()


def test_keys_hosts_and_origins_are_checked_as_over_http(tts):
    with Running(tts, api_key="correct horse", hosts=("localhost",), cors=("https://page.example",)) as server:
        right = {"authorization": "Bearer correct horse"}
        refused = [({}, 401), ({"authorization": "Bearer wrong"}, 401), (right | {"host": "evil.example"}, 403)]
        refused += [(right | {"origin": "https://evil.example"}, 403), (right | {"origin": "null"}, 403)]
        for headers, status in refused:
            answer = Socket(server, **headers).first
            assert isinstance(answer, events.RejectConnection) and answer.status_code == status, headers
        for origin in ({}, {"origin": "https://page.example"}):
            with Socket(server, path="/audio/speech/stream", **right, **origin) as socket:
                socket.say("session.config")
                assert socket.hear("session.ready", "error")[0][-1]["voice"] == "anna"


def test_a_connection_outlives_the_time_for_headers(tts, monkeypatch):
    monkeypatch.setattr("tts_fm.serve.connections.HEAD_SECONDS", 0.2)
    with Running(tts) as server, Socket(server) as socket:
        asyncio.run(asyncio.sleep(0.5))
        socket.say("session.config")
        assert socket.hear("session.ready", "closed")[0][-1]["type"] == "session.ready"


def test_one_client_has_half_the_places():
    places = Places(4)
    with places.one("a"), places.one("a"):
        with pytest.raises(QueueFull), places.one("a"):
            pass
        with places.one("b"), places.one("b"), pytest.raises(QueueFull), places.one("c"):
            pass
        with places.one("c"):
            pass
    assert not places._taken
