"""What the clients that people use send, replayed: tests/clients/*.json, written down from their public sources."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from serve_toys import Running, home, tts  # noqa: E402

from tts_fm.serve.config import ServeConfig, host_and_port  # noqa: E402

FOLDER = Path(__file__).parent / "clients"
CLIENTS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
STEPS = [(name, number) for name, client in CLIENTS.items() for number, _ in enumerate(client.get("steps", ()))]
TALKS = [(name, number) for name, client in CLIENTS.items() for number, _ in enumerate(client.get("connections", ()))]


@pytest.fixture(scope="module")
def served(tts):
    """A server with the built-in voices' names, as a fresh install has them."""
    with Running(tts, cors=("http://localhost:3000",)) as running:
        yield running


@pytest.fixture(autouse=True)
def no_voices_of_ones_own(own_surroundings):
    """The built-in voices are all there are."""


def seconds_of(data: bytes, kind: str) -> float:
    """Read by libsndfile, which knows nothing of what wrote it."""
    if kind == "pcm":
        return len(data) / 48_000
    wave, rate = soundfile.read(io.BytesIO(data))
    assert np.abs(wave).max() > 0.001
    return len(wave) / rate


def test_the_clients_that_are_promised_are_there():
    promised = "open_webui librechat sillytavern home_assistant_openai home_assistant_wyoming livekit pipecat"
    assert set(promised.split()) <= set(CLIENTS) and all(client["source"] for client in CLIENTS.values())


@pytest.mark.parametrize(("name", "number"), STEPS, ids=[f"{name}-{number}" for name, number in STEPS])
def test_a_recorded_request_is_answered_as_its_client_needs_it(served, name, number):
    step = CLIENTS[name]["steps"][number]
    ask, wanted = step["ask"], step["answer"]
    answer = served.client.request(ask["method"], ask["path"], headers=ask.get("headers"), json=ask.get("json"))
    assert answer.status_code == wanted["status"], answer.text
    for header, value in wanted.get("headers", {}).items():
        assert answer.headers[header] == value
    for key, fields in wanted.get("lists", {}).items():
        rows = answer.json()[key]
        assert rows and all(isinstance(row[field], str) for row in rows for field in fields)
    assert answer.headers.get("content-type", "").startswith(wanted.get("type", ""))
    if ask["method"] != "POST":
        return
    assert "voice" not in wanted or answer.headers["x-tts-fm-voice"] == wanted["voice"]
    told = re.sub(
        r"the model does not know .*?; left out", "", answer.headers.get("x-tts-fm-warning", "")
    )  # the tiny one
    assert all(word in told for word in wanted.get("warns", ())) and bool(told) == bool(wanted.get("warns"))
    data = answer.content
    if wanted["type"] == "text/event-stream":
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
        assert [event["type"] for event in events[-2:]] == ["speech.audio.delta", "speech.audio.done"]
        data = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert seconds_of(data, "pcm" if wanted["type"] == "audio/pcm" else wanted["type"]) > 0.2


def test_the_official_client_plays_alloy_in_every_way_it_has(served, tmp_path):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0) as client:
        asked = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hello there."}
        client.audio.speech.create(**asked).write_to_file(tmp_path / "a.mp3")
        assert seconds_of((tmp_path / "a.mp3").read_bytes(), "mp3") > 0.2
        for how in ({"response_format": "wav"}, {"response_format": "pcm", "speed": 1.5}, {"stream_format": "sse"}):
            with client.audio.speech.with_streaming_response.create(**asked, **how) as stream:
                assert stream.headers["x-tts-fm-voice"] == "heart" and b"".join(stream.iter_bytes())
        assert client.models.retrieve("tts-1-hd").id == "tts-1-hd"


# --- Wyoming


class WithWyoming(Running):
    """A server that also answers on a second socket."""

    def __init__(self, tts, **config):
        from tts_fm.serve.run import create_app, server

        super().__init__(tts, **config)
        self.wyoming = socket.create_server(("127.0.0.1", 0))
        self.app = create_app(tts, self.config, self.wyoming)
        self.scheduler, self.server = self.app.state.scheduler, server(self.app)
        self.thread._kwargs = {"sockets": [self.sock]}
        self.thread._target = self.server.run


@pytest.fixture(scope="module")
def wyoming(tts):
    pytest.importorskip("wyoming")
    with WithWyoming(tts, timeout=20) as running:
        yield running


async def talk(server, events: list[dict], last: str) -> list:
    """What is answered, up to an event of the type `last` or an error."""
    from wyoming.client import AsyncTcpClient
    from wyoming.event import Event

    heard = []
    async with AsyncTcpClient(*server.wyoming.getsockname()) as client:
        for event in events:
            await client.write_event(Event(event["type"], event.get("data", {})))
        while not heard or heard[-1].type not in (last, "error"):
            heard.append(await asyncio.wait_for(client.read_event(), 30))
            assert heard[-1] is not None, "the connection was closed"
    return heard


@pytest.mark.parametrize(("name", "number"), TALKS, ids=[f"{name}-{number}" for name, number in TALKS])
def test_a_recorded_conversation_is_answered(wyoming, tts, name, number):
    talked = CLIENTS[name]["connections"][number]
    heard = asyncio.run(talk(wyoming, talked["events"], talked["answers"][-1]))
    kinds = [event.type for event in heard]
    assert list(dict.fromkeys(kinds)) == talked["answers"]
    if "audio-chunk" in kinds:
        form = {"rate": 24_000, "width": 2, "channels": 1}
        assert all(form.items() <= event.data.items() for event in heard if event.type == "audio-chunk")
        audio = np.frombuffer(b"".join(event.payload or b"" for event in heard), "<i2")
        texts = [e["data"]["text"] for e in talked["events"] if e["type"] == "synthesize"]
        # in a recorded voice: what the library gives for the same text in pieces
        voice = (talked["events"][0]["data"]["voice"]).get("name") or "emma"
        truth = np.rint(np.concatenate([c.wave for c in tts.stream(iter(texts[-1]), voice)]) * 32767)
        assert len(audio) == len(truth) and np.abs(audio - truth).max() <= 1
    if kinds == ["info"]:
        (program,) = heard[0].data["tts"]
        assert program["supports_synthesize_streaming"] and program["installed"] and program["attribution"]["name"]
        assert {"name": "emma", "languages": ["en-GB"]}.items() <= program["voices"][6].items()
        assert program["voices"][0]["name"] == "nova"


BROKEN = (
    b"no json\n", b"[]\n", b'{"type": 7}\n', b'{"no": "type"}\n', b"x" * 500_000 + b"\n", b"\n",
    b'{"type": "synthesize", "data_length": 99999999999}\n', b'{"type": "synthesize", "payload_length": "x"}\n',
    b'{"type": "synthesize", "data": {}}\n', b'{"type": "synthesize", "data": {"text": 7}}\n', b'{"type": "a"',
)  # fmt: skip


def test_what_is_no_event_ends_its_connection_alone(wyoming):
    for data in BROKEN:
        with socket.create_connection(wyoming.wyoming.getsockname(), timeout=20) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1 << 16).startswith((b"", b'{"type": "error"'))
    heard = asyncio.run(talk(wyoming, [{"type": "synthesize", "data": {"text": "... !"}}], "audio-stop"))
    assert heard[0].type == "error" and "empty" in heard[0].data["text"]
    assert asyncio.run(talk(wyoming, [{"type": "describe"}], "info"))


def test_addresses_of_the_option():
    from tts_fm.cli.main import parse
    from tts_fm.cli.serve import config_from

    assert config_from(parse(["serve"])).wyoming is None
    assert host_and_port(config_from(parse(["serve", "--wyoming"])).wyoming) == ("127.0.0.1", 10200)
    assert host_and_port("0.0.0.0:1") == ("0.0.0.0", 1) and host_and_port("[::1]:2") == ("::1", 2)
    for wrong in ("", "here", "1:2:3", "99999", "a:b", "::1", "-1"):
        with pytest.raises(ValueError, match="10200"):
            ServeConfig(wyoming=wrong).check()


def test_without_the_package_the_extra_is_named(tts, monkeypatch):
    import sys

    from tts_fm.errors import MissingDependency
    from tts_fm.serve.run import listen_wyoming

    monkeypatch.setitem(sys.modules, "wyoming", None)
    with pytest.raises(MissingDependency, match=r"tts-fm\[wyoming\]"):
        listen_wyoming(ServeConfig(wyoming="0"))
