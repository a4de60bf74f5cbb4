"""What programs written for other servers send: names, paths, methods, capitals, null, numbers as text, unknown fields,
pages of other origins.
"""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from serve_toys import SPEECH, Running, home, pcm_of, tts, two_voices  # noqa: E402
from test_serve_access import asgi  # noqa: E402

from tts_fm.cli.serve import config_from  # noqa: E402
from tts_fm.serve.config import ServeConfig  # noqa: E402
from tts_fm.serve.names import OPENAI_VOICES, other_names, own_path, stored_voice  # noqa: E402
from tts_fm.serve.run import create_app  # noqa: E402
from tts_fm.voices.stored import BUILTIN, read_index  # noqa: E402

OPENAI = "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split()
MANY = {"input": "The birch canoe slid. Glue the sheet to it.", "chunk_seconds": 2}  # more than one chunk
SHIPPED = tuple(read_index(BUILTIN))


@pytest.fixture(scope="module")
def served(tts):
    with Running(tts, cors=("https://page.example",)) as running:
        yield running


def test_every_voice_of_openai_is_one_of_ours():
    assert set(OPENAI_VOICES) == set(OPENAI)
    for name in OPENAI:
        for spelt in (name, name.upper(), name.title()):
            assert stored_voice(spelt, SHIPPED) == OPENAI_VOICES[name] and OPENAI_VOICES[name] in SHIPPED
    assert stored_voice("nobody", SHIPPED) is None and stored_voice("alloy", ()) is None
    assert stored_voice("default", SHIPPED) == stored_voice("Default", SHIPPED) == SHIPPED[0]


def test_a_stored_voice_of_that_name_wins():
    known = ("anna", "Echo", "echo", "alloy")
    assert stored_voice("alloy", known) == "alloy" and stored_voice("Echo", known) == "Echo"
    assert stored_voice("ECHO", known) == "Echo" and stored_voice("ANNA", known) == "anna"
    assert stored_voice("fable", known) == "anna", "the first, where the built-in voices are not there"
    others = other_names(known)
    assert "alloy" not in others and "echo" not in others and others["fable"] == "anna"


@pytest.mark.parametrize("name", ["alloy", "SHIMMER", "Default", "ANNA"])
def test_names_are_understood_and_the_answer_says_who_speaks(served, name):
    answer = served.say(voice=name, response_format="pcm")
    assert answer.status_code == 200 and answer.headers["x-tts-fm-voice"] == "anna"
    assert answer.content == served.say(voice="anna", response_format="pcm").content


def test_the_lists_name_the_aliases(served):
    listed = served.client.get("/v1/audio/voices").json()
    assert set(listed["data"][0]["aliases"]) == set(OPENAI) and listed["data"][1]["aliases"] == []
    models = served.client.get("/v1/audio/models").json()
    assert models["models"] == models["data"] and models["data"][0]["id"] == "tts-fm"
    assert {"tts-1", "tts-1-hd", "gpt-4o-mini-tts"} <= {model["id"] for model in models["data"]}
    assert all(served.client.get(f"/v1/models/{m['id']}").json()["id"] == m["id"] for m in models["data"])


@pytest.mark.parametrize("path", ["/audio/speech", "/v1/audio/speech/", "/audio/speech/"])
def test_speech_is_found_under_other_paths(served, path):
    answer = served.client.post(path, json={"input": "Hello there.", "response_format": "pcm"})
    assert answer.status_code == 200 and answer.content == served.say(response_format="pcm").content


@pytest.mark.parametrize(
    "path", ["/v1/voices", "/audio/voices", "/voices", "/models", "/audio/models", "/models/tts-1"]
)
def test_lists_are_found_under_other_paths(served, path):
    assert served.client.get(path).json() == served.client.get(own_path(path)).json() != {"detail": "Not Found"}
    assert served.client.get(path).status_code == 200


def test_head_is_get_without_its_body_and_options_say_what_works(served):
    for path in ("/health", "/v1/models", "/v1/audio/voices", "/voices"):
        head, get = served.client.head(path), served.client.get(path)
        assert head.status_code == 200 and head.content == b""
        assert head.headers["content-length"] == str(len(get.content)) and head.headers["content-type"]
        options = served.client.options(path)
        assert options.status_code == 204 and "GET" in options.headers["allow"]
    assert served.client.head(SPEECH).status_code == 405
    assert "POST" in served.client.options(SPEECH).headers["allow"]


# --- fields


def test_null_is_the_default(served):
    nothing = dict.fromkeys(
        (
            "model",
            "voice",
            "response_format",
            "speed",
            "instructions",
            "stream_format",
            "stream",
            "steps",
            "cfg",
            "grid",
        )
    )
    answer = served.client.post(SPEECH, json={"input": "Hello there."} | nothing)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/mpeg"
    assert "x-tts-fm-warning" not in answer.headers
    assert served.client.post(SPEECH, json={"input": None}).json()["error"]["param"] == "input"


def test_numbers_may_be_text(served):
    numbers = {"speed": 1.5, "steps": 2, "seed": 3, "cfg": 0.5}
    as_text = {"speed": "1.5", "steps": "2.0", "seed": "3", "cfg": "5e-1"}
    truth = served.say(response_format="pcm", **numbers)
    assert truth.content == served.say(response_format="PCM", **as_text).content
    assert served.say(response_format="pcm", speed="1.0").content == served.say(response_format="pcm").content


def test_unknown_fields_are_ignored_and_named(served):
    answer = served.say(response_format="pcm", sped=3, lang_code="a", volume_multiplier=1.0)
    told = answer.headers["x-tts-fm-warning"]
    assert answer.content == served.say(response_format="pcm").content
    assert "'sped' was ignored (did you mean 'speed'?)" in told and "lang_code" in told and "volume_multiplier" in told
    many = served.say(**{f"field {n}\r\nx: y": n for n in range(30)})
    assert many.status_code == 200 and "22 more" in many.headers["x-tts-fm-warning"] and "x" not in many.headers


def test_any_model_is_taken_and_an_unlisted_one_is_told(served):
    for model in ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "tts-fm"):
        assert "x-tts-fm-warning" not in served.say(model=model).headers
    answer = served.say(model="kokoro")
    assert answer.status_code == 200 and "one model" in answer.headers["x-tts-fm-warning"]


# --- formats and streams


def test_capitals_do_not_matter(served):
    assert served.say(response_format="MP3").headers["content-type"] == "audio/mpeg"
    assert served.say(response_format="Wav", stream_format="AUDIO").content[:4] == b"RIFF"


def test_stream_says_whether_it_is_sent_while_it_is_spoken(served):
    one, many = {"response_format": "pcm"}, {"response_format": "pcm"} | MANY
    assert "content-length" in served.say(**one).headers and "content-length" not in served.say(**many).headers
    for asked in (one, many):
        streamed, whole = served.say(stream=True, **asked), served.say(stream=False, **asked)
        assert "content-length" not in streamed.headers and "content-length" in whole.headers
        assert streamed.content == whole.content


@pytest.mark.parametrize("format", ["mp3", "opus", "ogg", "aac"])
def test_a_stream_is_the_speech_whose_samples_pcm_gives(served, format):
    if format == "aac":
        pytest.importorskip("av")
    answer = served.say(**MANY, response_format=format)
    assert answer.status_code == 200 and "content-length" not in answer.headers
    assert int(answer.headers["x-tts-fm-chunks"]) > 1
    assert answer.content == served.say(**MANY, response_format=format).content, "the same request, the same bytes"
    truth = pcm_of(served.say(**MANY, response_format="pcm")) / 32768
    if format == "aac":
        from tts_fm.audio.files import read_audio

        wave, rate = read_audio(answer.content)
    else:
        wave, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 24_000 and 0 <= len(wave) - len(truth) < 4000
    size = 1 << (len(wave) + len(truth)).bit_length()
    product = np.fft.irfft(np.fft.rfft(wave, size) * np.conj(np.fft.rfft(truth, size)))
    assert product.max() > 0.5 * np.linalg.norm(wave) * np.linalg.norm(truth) and product.argmax() < 4000


def test_aac_without_its_package_is_told(served, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    error = served.say(response_format="aac").json()["error"]
    assert error["param"] == "response_format" and "tts-fm[media]" in error["message"]


# --- pages of other origins


def test_pages_of_the_named_origin_alone_are_let_in(served):
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    for origin, right in (("https://page.example", True), ("https://evil.example", False)):
        before = served.client.options(SPEECH, headers={"origin": origin} | ask)
        assert (before.status_code == 200) is right
        assert before.headers.get("access-control-allow-origin") == (origin if right else None)
        answer = served.client.get("/v1/models", headers={"origin": origin})
        assert answer.headers.get("access-control-allow-origin") == (origin if right else None)
        if right:
            assert "authorization" in before.headers["access-control-allow-headers"].lower()
            assert "x-tts-fm-warning" in answer.headers["access-control-expose-headers"]


def test_without_the_option_no_origin_is_let_in_and_a_key_is_not_needed_to_ask(tts):
    async def ask(**config):
        app = create_app(tts, ServeConfig(api_key="correct horse", **config))
        headers = {"origin": "https://page.example", "access-control-request-method": "POST"}
        async with asgi(app, **headers) as client:
            return await client.options(SPEECH), await client.get("/v1/models")

    for answer in asyncio.run(ask()):
        assert "access-control-allow-origin" not in answer.headers
    before, refused = asyncio.run(ask(cors=("*",)))
    assert before.status_code == 200 and before.headers["access-control-allow-origin"] == "*"
    assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == "*"


def test_origins_of_the_command_line_are_checked():
    from tts_fm.cli.main import parse

    config = config_from(parse(["serve", "--cors", "http://localhost:3000/", "--cors", "https://a.example"]))
    assert config.cors == ("http://localhost:3000", "https://a.example")
    for wrong in ("localhost:3000", "https://a.example/page", "", "https://a b"):
        with pytest.raises(ValueError, match="origin"):
            config_from(parse(["serve", "--cors", wrong]))
