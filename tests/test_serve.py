"""The server against a real model of toy size: OpenAI's own client, streams, batches, and what a hostile client may
send.
"""

from __future__ import annotations

import io
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from serve_toys import JSON, LONG, SPEECH, Running, alone, home, pcm_of, tts, two_voices  # noqa: E402

from tts_fm.serve.run import ServeConfig, create_app  # noqa: E402


@pytest.fixture(scope="module")
def served(tts):
    with Running(tts) as running:
        yield running


# --- the official client


def test_the_official_client_gets_files_and_streams(served, tts, tmp_path):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=served.url + "/v1", api_key="unused", max_retries=0) as client:
        assert [m.id for m in client.models.list()][:3] == ["tts-fm", "tts-1", "tts-1-hd"]
        assert client.models.retrieve("tts-fm").owned_by == "tts_fm"
        truth = alone(tts, "Hello there.")
        for format, kind in (("mp3", "MP3"), ("wav", "WAV"), ("flac", "FLAC"), ("opus", "OGG")):
            file = tmp_path / f"a.{format}"
            client.audio.speech.create(
                model="tts-1", voice="anna", input="Hello there.", response_format=format
            ).write_to_file(file)
            wave, rate = soundfile.read(file)
            assert soundfile.info(file).format.startswith(kind) and abs(len(wave) / rate - len(truth) / 24_000) < 0.1
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="anna", input=LONG, response_format="pcm"
        ) as stream:
            streamed = np.frombuffer(b"".join(stream.iter_bytes()), "<i2")
        expected = np.concatenate([np.rint(c.wave * 32767) for c in tts.stream(LONG, "anna")])
        assert len(streamed) == len(expected) and np.abs(streamed - expected).max() <= 1
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.speech.create(model="tts-1", voice="alice", input="Hello.")
        assert refused.value.param == "voice" and "anna" in str(refused.value)


# --- what comes back


def test_answers_equal_the_library_and_say_what_they_are(served, tts):
    answer = served.say(response_format="wav", seed=5, steps=3, cfg=0.0, speed=1.5)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    wave, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    assert rate == 24_000 and np.abs(wave - alone(tts, "Hello there.", seed=5, steps=3, cfg=0.0, speed=1.5)).max() <= 1
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert "generated speech" in file.comment and "seed 5" in file.comment
    assert answer.headers["x-tts-fm-seed"] == "5" and answer.headers["x-tts-fm-generated"] == "speech"
    assert len(pcm_of(served.say(response_format="pcm"))) == len(alone(tts, "Hello there."))
    assert np.array_equal(
        pcm_of(served.say(response_format="pcm")), pcm_of(served.say(response_format="pcm", voice={"id": "default"}))
    )


def test_a_streamed_wav_says_that_its_length_is_unknown_and_a_whole_one_is_exact(served):
    answer = served.say(input=LONG, response_format="wav")
    assert "content-length" not in answer.headers and int(answer.headers["x-tts-fm-chunks"]) > 1
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert file.frames == len(file.read()) == (len(answer.content) - answer.content.index(b"data") - 8) // 2
        assert "generated speech" in file.comment
    at = answer.content.index(b"data") + 4
    assert answer.content[4:8] == answer.content[at : at + 4] == b"\xff" * 4
    whole = served.say(response_format="wav").content
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8
    at = whole.index(b"data") + 4
    assert int.from_bytes(whole[at : at + 4], "little") == len(whole) - at - 4


def test_sse_carries_the_same_audio(served):
    import base64

    for text in ("Hello there.", LONG):
        answer = served.say(input=text, response_format="pcm", stream_format="sse")
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
        audio = b"".join(base64.b64decode(e["audio"]) for e in events[:-1])
        assert audio == served.say(input=text, response_format="pcm").content
        assert events[-1]["type"] == "speech.audio.done" and all(e["type"] == "speech.audio.delta" for e in events[:-1])


@pytest.mark.parametrize("format", ["pcm", "wav", "mp3", "opus", "aac"])
def test_the_first_chunk_comes_before_the_last_is_spoken(served, monkeypatch, format):
    if format == "aac":
        pytest.importorskip("av")
    tts, slow = served.scheduler.tts, threading.Event()
    speak = tts.speak

    def gated(jobs, on_progress=None):
        if any(job.index > 0 for job in jobs):
            assert slow.wait(20)
        return speak(jobs, on_progress)

    monkeypatch.setattr(tts, "speak", gated)
    monkeypatch.setattr(served.scheduler, "batch_frames", 1)  # one chunk at a time
    with served.client.stream(
        "POST", SPEECH, json={"input": LONG, "voice": "anna", "response_format": format}
    ) as answer:
        pieces, first, least = answer.iter_raw(), 0, 500 if format == "opus" else 1000
        while first < least:  # more than the head of a file
            first += len(next(pieces))
        assert not slow.is_set()
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
        asked = [
            {"input": texts[n], "seed": n, "voice": ("anna", "ben")[n % 2], "response_format": "pcm"} for n in range(12)
        ]
        answers = list(pool.map(lambda body: served.say(**body), asked))
    monkeypatch.setattr(tts, "speak", speak)
    assert max(sizes) > 2
    for n, answer in enumerate(answers):
        truth = alone(tts, texts[n], seed=n, voice=("anna", "ben")[n % 2])
        assert (
            answer.status_code == 200
            and len(truth) == len(pcm_of(answer))
            and np.abs(truth - pcm_of(answer)).max() <= 1
        )


def test_every_valid_request_has_room(served):
    """The longest fields, in the longest spelling that JSON has for them, are not too large a body."""
    body = json.dumps({"input": "\U0001f600" * 4095 + "a", "instructions": "\U0001f600" * 4096, "voice": "nobody"})
    answer = served.client.post(SPEECH, content=body, headers=JSON)
    assert len(body) > 98_000 and answer.status_code == 400 and answer.json()["error"]["param"] == "voice"


def test_lists_health_and_metrics(served):
    listed = served.client.get("/v1/audio/voices").json()
    assert [voice["id"] for voice in listed["voices"]] == [voice["id"] for voice in listed["data"]] == ["anna", "ben"]
    assert served.client.get("/health").json()["status"] == "ok"
    page = served.client.get("/metrics").text
    assert 'tts_fm_requests_total{path="/v1/audio/speech",status="200"}' in page and "tts_fm_queue_length 0" in page
    samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(samples["tts_fm_audio_seconds_total"]) > 0
    assert samples['tts_fm_request_seconds_bucket{le="+Inf"}'] == samples["tts_fm_request_seconds_count"]


# --- bad input


BAD = [
    ({"input": ""}, "input"), ({"input": "?!,"}, "input"), ({"input": "a" * 4097}, "input"), ({"input": 7}, "input"),
    ({"input": None}, "input"), ({"input": "\ud800 broken"}, "input"),
    ({"response_format": "exe"}, "response_format"), ({"stream": 2}, "stream"),
    ({"stream_format": "x"}, "stream_format"),
    ({"speed": 0.2}, "speed"), ({"speed": 4.1}, "speed"), ({"speed": "1,5"}, "speed"), ({"speed": True}, "speed"),
    ({"speed": "nan"}, "speed"), ({"speed": "1_0"}, "speed"), ({"speed": ""}, "speed"), ({"speed": "9"}, "speed"),
    ({"steps": 0}, "steps"), ({"steps": "2.5"}, "steps"), ({"seed": "9" * 30}, "seed"),
    ({"steps": 65}, "steps"), ({"steps": 2.5}, "steps"), ({"cfg": -1}, "cfg"), ({"seed": -1}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"voice": "../anna"}, "voice"), ({"voice": "/etc/passwd"}, "voice"),
    ({"voice": "http://x/y.wav"}, "voice"),
    ({"voice": "ann"}, "voice"), ({"voice": ""}, "voice"), ({"voice": "a\0b"}, "voice"),
    ({"voice": {"id": "nobody"}}, "voice"),
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


NO_JSON = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 60_000,
    b'{"seed": ' + b"1" * 5000 + b"}",
    b'{"input": "\xff"}',
]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_bodies_that_are_no_request(served, body):
    answer = served.client.post(SPEECH, content=body, headers=JSON)
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_helpful_messages(served):
    assert "'anna'" in served.say(voice="ana").json()["error"]["message"]
    assert served.client.get("/v1/models/gpt-9").json()["error"]["code"] == "model_not_found"
    assert "instructions" in served.say(instructions="Whisper.").headers["x-tts-fm-warning"]


def test_what_is_left_out_is_said_also_of_streams(served):
    for text in ("[odd](/ʘa/) one", f"[odd](/ʘa/) {LONG}"):
        answer = served.say(input=text, response_format="pcm")
        assert answer.status_code == 200 and "does not know \\u0298" in answer.headers["x-tts-fm-warning"]


def test_size_kind_method_and_path(served):
    assert served.client.post(SPEECH, content=b"x" * 200_000, headers=JSON).status_code == 413
    assert served.client.post(SPEECH, content=(b"x" * 9000 for _ in range(20)), headers=JSON).status_code == 413
    assert served.client.post(SPEECH, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    wrong = served.client.get(SPEECH)
    assert (
        wrong.status_code == 405
        and wrong.headers["allow"] == "POST"
        and wrong.json()["error"]["type"] == "invalid_request_error"
    )
    assert served.client.get("/v1/audio/../../etc/passwd").status_code == 404
    assert "error" in served.client.get("/nothing").json()


def test_no_text_in_the_log(served, caplog):
    caplog.set_level(logging.INFO)
    served.say(input="Zanzibar pineapple.")
    served.say(input="Zanzibar pineapple.", voice="pineapple")
    served.say(input="\x00\x07 Zanzibar pineapple \u202e")
    assert "pineapple" not in caplog.text.lower() and "zanzibar" not in caplog.text.lower()


# --- the description


def test_the_description_is_what_is_served(served):
    described = served.client.get("/openapi.json").json()
    post = described["paths"][SPEECH]["post"]
    assert "422" not in post["responses"] and {"200", "400", "401", "413", "415", "429", "500", "503", "504"} <= set(
        post["responses"]
    )
    fields = described["components"]["schemas"]["SpeechRequest"]["properties"]
    assert fields["input"]["maxLength"] == 4096 and {"type": "null"} in fields["speed"]["anyOf"]


def test_fuzzing_by_the_description_finds_no_fault(tts):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import load_all_checks
    from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

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
        @settings(
            max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        def check(case):
            if isinstance(case.body, dict):
                case.body = case.body | fixed  # noqa: B023 - it is called in this turn of the loop
            answer = case.call()
            statuses.add(answer.status_code)
            assert answer.status_code < 500, answer.text
            known = [positive_data_acceptance]  # whether a text can be spoken is not in the schema
            if answer.status_code == 413:
                known.append(negative_data_rejection)  # which does not take "too large" for a refusal
            case.validate_response(answer, excluded_checks=known)

        check()
    app.state.scheduler.stop()
    assert {200, 400} <= statuses
