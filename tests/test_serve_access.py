"""Who may use the server: keys, host names, and the options and failures of `tts-fm serve`."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from serve_toys import home, tts, two_voices  # noqa: E402

from tts_fm.cli.serve import config_from  # noqa: E402
from tts_fm.serve.config import ServeConfig, read_key  # noqa: E402
from tts_fm.serve.run import create_app, listen  # noqa: E402


def asgi(app, **headers):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers)


HEADERS = (
    None,
    "",
    "Bearer",
    "Bearer wrong horse",
    "correct horse",
    "Basic correct horse",
    "bearer correct horse",
    "Bearer correct horse",
)


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
    from tts_fm.cli.main import parse

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
    for wrong in (
        ["--port", "70000"],
        ["--max-queue", "0"],
        ["--timeout", "nan"],
        ["--api-key-file", str(tmp_path / "none")],
    ):
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
    from tts_fm.errors import MissingDependency

    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingDependency, match=r"tts-fm\[serve\]"):
        create_app(tts)
