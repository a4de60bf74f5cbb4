"""The server against a real model of toy size: OpenAI's own client, streams, batches, limits, and what a hostile client may try."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

import soundfile  # noqa: E402
from tiny_model import tiny_tts_folder  # noqa: E402

from tts_fm.serve import ServeConfig, config_from, create_app, listen, read_key  # noqa: E402
from tts_fm.settings import Settings  # noqa: E402
from tts_fm.synthesis import TTS  # noqa: E402
from tts_fm.voices import add_voice  # noqa: E402

LONG = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the depth of a well. " * 3
SPEECH = "/v1/audio/speech"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    time_axis = np.arange(48_000) / 24_000
    wave = sum(np.sin(2 * np.pi * f * time_axis) / k for k, f in enumerate((140, 280, 420, 840), 1))
    wave *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_axis)
    soundfile.write(folder / "ref.wav", 0.2 * wave, 24_000)
    for name in ("anna", "ben"):
        add_voice(name, folder / "ref.wav", folder=folder / "voices")
    return folder


@pytest.fixture(scope="module")
def tts(home):
    return TTS.load(tiny_tts_folder(home / "model"))


@pytest.fixture(autouse=True)
def two_voices(own_surroundings, home, monkeypatch):
    monkeypatch.setenv("TTS_FM_HOME", str(home))
    monkeypatch.setattr("tts_fm.voices.BUILTIN", home / "none")


class Running:
    """A uvicorn on a free port, in a thread."""

    def __init__(self, tts, **config) -> None:
        self.config = ServeConfig(port=0, **config)
        self.app = create_app(tts, self.config)
        self.engine, self.metrics = self.app.state.engine, self.app.state.metrics
        self.sock = listen(self.config)
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, access_log=False))
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


@pytest.fixture(scope="module")
def served(tts):
    with Running(tts) as running:
        yield running


def pcm_of(answer) -> np.ndarray:
    return np.frombuffer(answer.content, "<i2")


def alone(tts, text, **settings) -> np.ndarray:
    """What the library says, as 16 bit."""
    return np.rint(tts.say(text, settings.pop("voice", "anna"), **settings).wave * 32767)


# --- the official client -----------------------------------------------------------------------------------------------------------


def test_the_official_client_gets_files_and_streams(served, tts, tmp_path):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=served.url + "/v1", api_key="unused", max_retries=0) as client:
        assert [m.id for m in client.models.list()] == ["tts-fm"]
        assert client.models.retrieve("tts-fm").owned_by == "tts_fm"
        truth = alone(tts, "Hello there.")
        for format, kind in (("mp3", "MP3"), ("wav", "WAV"), ("flac", "FLAC"), ("opus", "OGG")):
            file = tmp_path / f"a.{format}"
            client.audio.speech.create(model="tts-1", voice="anna", input="Hello there.", response_format=format).write_to_file(file)
            wave, rate = soundfile.read(file)
            assert soundfile.info(file).format.startswith(kind) and abs(len(wave) / rate - len(truth) / 24_000) < 0.1
        with client.audio.speech.with_streaming_response.create(model="tts-1", voice="anna", input=LONG, response_format="pcm") as stream:
            streamed = np.frombuffer(b"".join(stream.iter_bytes()), "<i2")
        expected = np.concatenate([np.rint(c.wave * 32767) for c in tts.stream(LONG, "anna")])
        assert len(streamed) == len(expected) and np.abs(streamed - expected).max() <= 1
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")
        assert refused.value.param == "voice" and "anna" in str(refused.value)


# --- what comes back ---------------------------------------------------------------------------------------------------------------


def test_answers_equal_the_library_and_say_what_they_are(served, tts):
    answer = served.say(response_format="wav", seed=5, steps=3, cfg=0.0, speed=1.5)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    wave, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    assert rate == 24_000 and np.abs(wave - alone(tts, "Hello there.", seed=5, steps=3, cfg=0.0, speed=1.5)).max() <= 1
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert "generated speech" in file.comment and "seed 5" in file.comment
    assert answer.headers["x-tts-fm-seed"] == "5" and answer.headers["x-tts-fm-generated"] == "speech"
    assert len(pcm_of(served.say(response_format="pcm"))) == len(alone(tts, "Hello there."))
    assert np.array_equal(pcm_of(served.say(response_format="pcm")), pcm_of(served.say(response_format="pcm", voice={"id": "default"})))


def test_a_streamed_wav_has_an_exact_header_and_metadata(served):
    answer = served.say(input=LONG, response_format="wav")
    assert "content-length" not in answer.headers and int(answer.headers["x-tts-fm-chunks"]) > 1
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert file.frames == len(file.read()) == (len(answer.content) - answer.content.index(b"data") - 8) // 2
        assert "generated speech" in file.comment
    assert int.from_bytes(answer.content[4:8], "little") == len(answer.content) - 8


def test_sse_carries_the_same_audio(served):
    import base64

    for text in ("Hello there.", LONG):
        answer = served.say(input=text, response_format="pcm", stream_format="sse")
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
        audio = b"".join(base64.b64decode(e["audio"]) for e in events[:-1])
        assert audio == served.say(input=text, response_format="pcm").content
        assert events[-1]["type"] == "speech.audio.done" and all(e["type"] == "speech.audio.delta" for e in events[:-1])


def test_the_first_chunk_comes_before_the_last_is_spoken(served, monkeypatch):
    tts, slow = served.engine.tts, threading.Event()
    speak = tts.speak

    def gated(jobs, on_progress=None):
        if any(job.index > 0 for job in jobs):
            assert slow.wait(20)
        return speak(jobs, on_progress)

    monkeypatch.setattr(tts, "speak", gated)
    monkeypatch.setattr(served.engine, "batch_frames", 1)  # one chunk at a time
    with served.client.stream("POST", SPEECH, json={"input": LONG, "voice": "anna", "response_format": "pcm"}) as answer:
        pieces = answer.iter_raw()
        assert len(next(pieces)) > 0 and not slow.is_set()
        slow.set()
        assert sum(map(len, pieces)) > 0


def test_concurrent_requests_share_batches_and_equal_single_ones(served, tts, monkeypatch):
    sizes, speak = [], tts.speak

    def counted(jobs, on_progress=None):
        sizes.append(len(jobs))
        return speak(jobs, on_progress)

    monkeypatch.setattr(tts, "speak", counted)
    texts = [f"This is sentence number {n}, and it goes on for {n} words." for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        asked = [{"input": texts[n], "seed": n, "voice": ("anna", "ben")[n % 2], "response_format": "pcm"} for n in range(12)]
        answers = list(pool.map(lambda body: served.say(**body), asked))
    monkeypatch.setattr(tts, "speak", speak)
    assert max(sizes) > 2
    for n, answer in enumerate(answers):
        truth = alone(tts, texts[n], seed=n, voice=("anna", "ben")[n % 2])
        assert answer.status_code == 200 and len(truth) == len(pcm_of(answer)) and np.abs(truth - pcm_of(answer)).max() <= 1


# --- bad input ---------------------------------------------------------------------------------------------------------------------

BAD = [
    ({"input": ""}, "input"), ({"input": "?!,"}, "input"), ({"input": "a" * 4097}, "input"), ({"input": 7}, "input"),
    ({"input": None}, "input"), ({"input": "\ud800 broken"}, "input"),
    ({"response_format": "aac"}, "response_format"), ({"response_format": "exe"}, "response_format"),
    ({"speed": 0.2}, "speed"), ({"speed": 4.1}, "speed"), ({"speed": "1"}, "speed"), ({"speed": True}, "speed"), ({"steps": 0}, "steps"),
    ({"steps": 65}, "steps"), ({"steps": 2.5}, "steps"), ({"cfg": -1}, "cfg"), ({"seed": -1}, "seed"), ({"seed": 2**63}, "seed"),
    ({"spede": 1}, None), ({"voice": "../anna"}, "voice"), ({"voice": "/etc/passwd"}, "voice"), ({"voice": "http://x/y.wav"}, "voice"),
    ({"voice": "ann"}, "voice"), ({"voice": ""}, "voice"), ({"voice": "a\0b"}, "voice"), ({"voice": {"id": "nobody"}}, "voice"),
    ({"voice": {"path": "/etc/passwd"}}, "voice"), ({"voice": "x" * 5000}, "voice"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param"), BAD, ids=[str(b[0])[:40] for b in BAD])
def test_bad_fields_are_refused_by_name(served, change, param):
    answer = served.client.post(SPEECH, content=json.dumps({"input": "Hello.", "voice": "anna"} | change), headers=JSON)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == param and error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]
    assert served.say().status_code == 200


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite(served, value):
    answer = served.client.post(SPEECH, content=f'{{"input": "Hi.", "speed": {value}}}', headers=JSON)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "speed"


NO_JSON = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b'{"seed": ' + b"1" * 5000 + b"}", b'{"input": "\xff"}']


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_bodies_that_are_no_request(served, body):
    answer = served.client.post(SPEECH, content=body, headers=JSON)
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_helpful_messages(served):
    assert "one of mp3" in served.say(response_format="aac").json()["error"]["message"]
    assert "'anna'" in served.say(voice="ana").json()["error"]["message"]
    assert "'speed'" in served.say(sped=1).json()["error"]["message"]
    assert served.say(model="gpt-9").status_code == 404 and served.say(model="gpt-9").json()["error"]["code"] == "model_not_found"
    assert "instructions" in served.say(instructions="Whisper.").headers["x-tts-fm-warning"]


def test_what_is_left_out_is_said_also_of_streams(served):
    for text in ("[odd](/ʘa/) one", f"[odd](/ʘa/) {LONG}"):
        answer = served.say(input=text, response_format="pcm")
        assert answer.status_code == 200 and "does not know \\u0298" in answer.headers["x-tts-fm-warning"]


def test_size_kind_method_and_path(served):
    assert served.client.post(SPEECH, content=b"x" * 100_000, headers=JSON).status_code == 413
    assert served.client.post(SPEECH, content=(b"x" * 9000 for _ in range(20)), headers=JSON).status_code == 413
    assert served.client.post(SPEECH, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    wrong = served.client.get(SPEECH)
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST" and wrong.json()["error"]["type"] == "invalid_request_error"
    assert served.client.get("/v1/audio/../../etc/passwd").status_code == 404
    assert "error" in served.client.get("/nothing").json()


def test_lists_health_and_metrics(served):
    assert served.client.get("/v1/audio/voices").json()["voices"] == ["anna", "ben"]
    assert served.client.get("/health").json()["status"] == "ok"
    page = served.client.get("/metrics").text
    assert 'tts_fm_requests_total{path="/v1/audio/speech",status="200"}' in page and "tts_fm_queue_length 0" in page
    samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(samples["tts_fm_audio_seconds_total"]) > 0
    assert samples['tts_fm_request_seconds_bucket{le="+Inf"}'] == samples["tts_fm_request_seconds_count"]


# --- the queue, time, people who leave ---------------------------------------------------------------------------------------------


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


def test_a_full_queue_is_429_and_the_rest_is_served(tts, monkeypatch):
    with Running(tts, max_queue=2, max_active=1) as server, ThreadPoolExecutor(8) as pool:
        gate = Gate(tts, monkeypatch)
        first = pool.submit(server.say)
        assert gate.entered.wait(10)
        others = [pool.submit(server.say) for _ in range(2)]
        until(lambda: server.engine.queued == 2)
        refused = server.say()
        assert refused.status_code == 429 and 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert server.client.get("/health").json() == {"status": "ok", "queue": 2, "version": server.app.version}
        gate.open.set()
        assert [f.result(20).status_code for f in (first, *others)] == [200] * 3
        assert server.metrics.value("rejected_total") == 1


def test_a_request_that_takes_too_long_is_504(tts, monkeypatch):
    with Running(tts, timeout=1) as server:
        gate = Gate(tts, monkeypatch)
        late = server.say()
        assert late.status_code == 504 and late.json()["error"]["code"] == "timeout"
        gate.open.set()
        assert server.say().status_code == 200


def test_work_for_a_client_that_left_is_given_up(tts, monkeypatch):
    with Running(tts) as server:
        gate = Gate(tts, monkeypatch)
        for body in ({"input": "Hello."}, {"input": LONG, "response_format": "pcm"}):
            gate.entered.clear()
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(server.url + SPEECH, json=body, timeout=httpx.Timeout(5, read=0.3))
            until(lambda: not server.engine._active and not server.engine.queued)
        assert server.metrics.value("cancelled_total") == 2
        gate.open.set()
        assert server.say().status_code == 200


def test_leaving_in_the_middle_of_a_stream_ends_it(tts, monkeypatch):
    with Running(tts, batch_frames=500) as server:
        with server.client.stream("POST", SPEECH, json={"input": LONG * 3, "response_format": "pcm", "chunk_seconds": 2}) as answer:
            next(answer.iter_raw())
        until(lambda: not server.engine._active)
        assert server.metrics.value("cancelled_total") == 1 and server.say().status_code == 200


def test_one_bad_chunk_harms_nobody_else(tts, monkeypatch, caplog):
    speak = tts.speak

    def fragile(jobs, on_progress=None):
        if any(job.settings.seed == 666 for job in jobs):
            raise RuntimeError("secret words of the user")
        return speak(jobs, on_progress)

    monkeypatch.setattr(tts, "speak", fragile)
    caplog.set_level(logging.INFO)
    with Running(tts) as server, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda seed: server.say(seed=seed), (1, 666, 2, 666, 3)))
        assert [a.status_code for a in answers] == [200, 500, 200, 500, 200]
        assert "secret" not in answers[1].text and answers[1].json()["error"]["type"] == "server_error"
        assert server.client.get("/health").status_code == 200
    assert "secret" not in caplog.text and "RuntimeError" in caplog.text


def test_a_stream_that_fails_midway_is_broken_off(tts, monkeypatch):
    speak = tts.speak

    def fragile(jobs, on_progress=None):
        if any(job.index > 0 for job in jobs):
            raise RuntimeError("no")
        return speak(jobs, on_progress)

    monkeypatch.setattr(tts, "speak", fragile)
    with Running(tts, batch_frames=500) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            server.say(input=LONG, response_format="wav")
        assert server.say().status_code == 200


def test_shutting_down_answers_those_who_wait(tts, monkeypatch):
    with Running(tts) as server, ThreadPoolExecutor(1) as pool:
        gate = Gate(tts, monkeypatch)
        waiting = pool.submit(server.say)
        assert gate.entered.wait(10)
        server.engine.stop()
        assert waiting.result(10).status_code == 503
        assert server.client.get("/health").status_code == 503 and server.say().status_code == 503
        gate.open.set()


def test_a_long_text_does_not_hold_up_a_short_one(tts, monkeypatch):
    with Running(tts, batch_frames=500) as server, ThreadPoolExecutor(2) as pool:
        gate = Gate(tts, monkeypatch)
        long = pool.submit(server.say, input=LONG, chunk_seconds=2)
        assert gate.entered.wait(10)
        short = pool.submit(server.say)
        until(lambda: server.engine.queued == 1)
        gate.open.set()
        short.result(20)
        assert not long.done()
        assert long.result(60).status_code == 200


# --- who may ask -------------------------------------------------------------------------------------------------------------------


def asgi(app, **headers):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers)


HEADERS = (None, "", "Bearer", "Bearer wrong horse", "correct horse", "Basic correct horse", "bearer correct horse", "Bearer correct horse")


def test_the_key(tts):
    app = create_app(tts, ServeConfig(api_key="correct horse"))

    async def statuses():
        result = []
        for header in HEADERS:
            async with asgi(app, **({} if header is None else {"Authorization": header})) as client:
                answer = await client.get("/v1/audio/voices")
                result.append(answer.status_code)
                assert answer.status_code == 200 or answer.json()["error"]["code"] == "invalid_api_key"
        async with asgi(app) as client:
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/metrics")).status_code == (await client.get("/openapi.json")).status_code == 401
        return result

    assert asyncio.run(statuses()) == [401, 401, 401, 401, 401, 401, 200, 200]


def test_foreign_host_names_are_refused(tts):
    app = create_app(tts, ServeConfig(hosts=("localhost", "::1")))

    async def statuses():
        async with asgi(app) as client:
            names = ("localhost:8000", "[::1]:80", "evil.example", "")
            return [(await client.get("/health", headers={"host": name})).status_code for name in names]

    assert asyncio.run(statuses()) == [200, 200, 403, 403]


def options(*argv):
    from tts_fm.cli import parse

    return parse(["serve", *argv])


def test_the_verb_reads_its_options(tmp_path, monkeypatch):
    monkeypatch.delenv("TTS_FM_API_KEY", raising=False)
    config = config_from(options())
    assert config.host == "127.0.0.1" and not config.public and config.hosts is not None and "localhost" in config.hosts
    public = config_from(options("--host", "0.0.0.0"))
    assert public.public and public.hosts is None and public.api_key is None
    (tmp_path / "key").write_text("a long secret\n")
    assert config_from(options("--api-key-file", str(tmp_path / "key"))).api_key == "a long secret"
    monkeypatch.setenv("TTS_FM_API_KEY", "from the environment")
    assert config_from(options()).api_key == "from the environment"
    for wrong in (["--port", "70000"], ["--max-queue", "0"], ["--timeout", "nan"], ["--api-key-file", str(tmp_path / "none")]):
        with pytest.raises(ValueError):
            config_from(options(*wrong))
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ValueError, match="holds no API key"):
        read_key(str(tmp_path / "key"))


def test_a_taken_port_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="cannot listen"):
            listen(ServeConfig(port=taken.getsockname()[1]))


def test_without_fastapi_the_extra_is_named(tts, monkeypatch):
    import sys

    from tts_fm.errors import MissingDependency

    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingDependency, match=r"tts-fm\[serve\]"):
        create_app(tts)


def test_no_text_in_the_log(served, caplog):
    caplog.set_level(logging.INFO)
    served.say(input="Zanzibar pineapple.")
    served.say(input="Zanzibar pineapple.", voice="pineapple")
    served.say(input="\x00\x07 Zanzibar pineapple \u202e")
    assert "pineapple" not in caplog.text.lower() and "zanzibar" not in caplog.text.lower()
    assert Settings().seed == 0


# --- the description ---------------------------------------------------------------------------------------------------------------


def test_the_description_is_what_is_served(served):
    described = served.client.get("/openapi.json").json()
    post = described["paths"][SPEECH]["post"]
    assert "422" not in post["responses"] and {"200", "400", "401", "413", "415", "429", "500", "503", "504"} <= set(post["responses"])
    fields = described["components"]["schemas"]["SpeechRequest"]["properties"]
    assert fields["input"]["maxLength"] == 4096 and "aac" not in fields["response_format"]["enum"]


def test_fuzzing_by_the_description_finds_no_fault(tts):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import load_all_checks
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    load_all_checks()
    app = create_app(tts, ServeConfig(max_chars=60, max_steps=2, max_audio_seconds=20))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    right, wrong = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    statuses = set()
    for operation, mode in [(found.ok(), mode) for found in schema.get_all_operations() for mode in (right, wrong)]:
        if mode is wrong and operation.path != SPEECH:
            continue  # nothing can be wrong about them
        fixed = {"voice": "anna", "model": "tts-fm"} if mode is right else {}

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        def check(case):
            if isinstance(case.body, dict):
                case.body = case.body | fixed  # noqa: B023 - it is called in this turn of the loop
            answer = case.call()
            statuses.add(answer.status_code)
            assert answer.status_code < 500, answer.text
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])  # whether a text can be spoken is not in the schema

        check()
    app.state.engine.stop()
    assert {200, 400} <= statuses
