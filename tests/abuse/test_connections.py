"""Connections that never ask, half-closed ones, and the server's end: by signals, with clients that wait."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from serve_toys import LONG, SPEECH, Gate, Running, home, tts, two_voices, until  # noqa: E402

HELLO = json.dumps({"input": "Hello there.", "voice": "anna", "response_format": "wav"}).encode()


def connect(server: Running) -> socket.socket:
    host, port = server.sock.getsockname()[:2]
    return socket.create_connection((host, port), timeout=20)


def asked(body: bytes = HELLO, **headers: str) -> bytes:
    lines = [f"POST {SPEECH} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def all_of(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    return data


def closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_more_unfinished_requests_than_there_are_places_keep_nobody_out(tts, monkeypatch):
    monkeypatch.setattr("tts_fm.serve.connections.PLACES", 8)
    with Running(tts) as server:
        crowd = [connect(server) for _ in range(40)]
        for n, sock in enumerate(crowd):
            sock.sendall(b"POST /v1/audio/speech HTTP/1.1\r\nHost: local" if n % 2 else asked()[:-5])
        until(lambda: len(server.server.server_state.connections) <= 9)
        assert server.say().status_code == 200 and server.client.get("/health").status_code == 200
        assert closed(crowd[0]) and closed(crowd[20])
        for sock in crowd:
            sock.close()


def test_headers_must_come_in_time_on_a_new_connection_and_on_a_kept_one(tts, monkeypatch):
    monkeypatch.setattr("tts_fm.serve.connections.HEAD_SECONDS", 0.3)
    with Running(tts) as server:
        new, kept, silent = (connect(server) for _ in range(3))
        kept.sendall(asked())
        while b"data" not in kept.recv(1 << 20):
            pass
        for sock in (new, kept):
            with contextlib.suppress(ConnectionError):
                for letter in b"POST ":
                    sock.sendall(bytes([letter]))
                    time.sleep(0.02)
        assert closed(new) and closed(silent)
        with contextlib.suppress(ConnectionError):
            all_of(kept)  # what was left of the answer, then the end
        assert server.say().status_code == 200


def test_a_client_that_has_sent_all_and_waits_gets_its_answer(tts):
    with Running(tts) as server:
        for body in (HELLO, json.dumps({"input": LONG, "voice": "anna", "response_format": "pcm"}).encode()):
            sock = connect(server)
            sock.sendall(asked(body))
            sock.shutdown(socket.SHUT_WR)
            data = all_of(sock)
            assert b"HTTP/1.1 200 OK" in data and len(data) > 20_000


def test_a_client_that_has_gone_is_not_spoken_for(tts, monkeypatch):
    monkeypatch.setattr("tts_fm.serve.connections.PROBE_SECONDS", 0.05)
    with Running(tts) as server:
        gate = Gate(tts, monkeypatch)
        sock = connect(server)
        sock.sendall(asked())
        assert gate.entered.wait(10)
        sock.close()
        until(lambda: server.metrics.value("cancelled_total") == 1)
        gate.open.set()


@pytest.mark.parametrize("format", ["mp3", "pcm"])
def test_who_waits_when_the_server_ends_is_told_so(tts, monkeypatch, caplog, format):
    with Running(tts) as server:
        server.server.config.timeout_graceful_shutdown = 0.3
        gate = Gate(tts, monkeypatch)
        sock = connect(server)
        sock.sendall(asked(json.dumps({"input": "Hello.", "voice": "anna", "response_format": format}).encode()))
        assert gate.entered.wait(10)
        server.server.should_exit = True
        data = all_of(sock)
        gate.open.set()
    assert b"503" in data.split(b"\r\n")[0] and json.loads(data.split(b"\r\n\r\n")[1])["error"]["code"] == "stopping"
    assert len(caplog.text.splitlines()) < 5


SLOW = pytest.mark.skipif("TTS_FM_ABUSE" not in os.environ, reason="make abuse")


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGTERM],
        pytest.param([signal.SIGINT], marks=SLOW),
        pytest.param([signal.SIGTERM, signal.SIGTERM], marks=SLOW),
    ],
)
def test_signals_end_the_process_with_code_0_and_without_leftovers(home, tmp_path, signals):
    """The real command, with a folder of its own for temporary files; a second signal does not wait for requests."""
    (tmp_path / "tmp").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "TTS_FM_HOME": str(home)}
    command = [sys.executable, "-m", "tts_fm", "serve", "--port", str(port), "-m", str(home / "model")]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _answers(url), 120)
            if len(signals) > 1:  # a request that would take for minutes, on a connection that stays
                sock = socket.create_connection(("127.0.0.1", port))
                sock.sendall(asked(json.dumps({"input": LONG * 8, "response_format": "pcm", "steps": 64}).encode()))
                time.sleep(0.3)
            for sign in signals:
                process.send_signal(sign)
                time.sleep(0.3)
            error = process.stderr.read().decode()
            assert process.wait(20) == 0 and "Traceback" not in error
        finally:
            process.kill()
    assert list((tmp_path / "tmp").iterdir()) == [], tempfile.gettempdir()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("form", ["mp3", "opus", "flac", "wav"])
def test_a_full_disk_is_told_in_openai_s_form_or_not_needed(tts, form) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Running(tts) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            answer = httpx.post(server.url + SPEECH, json={"input": "Hello.", "response_format": form, "voice": "anna"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert answer.status_code == 200 or "message" in answer.json()["error"]
        again = httpx.post(server.url + SPEECH, json={"input": "Hello.", "response_format": form, "voice": "anna"})
        assert again.status_code == 200


def test_a_long_pause_is_sent_in_parts_that_nobody_has_to_hold(tts) -> None:
    """Half an hour of silence in one chunk, of which the reader takes a first piece."""
    body = {"input": "Hi. " + "<break 10s> " * 170 + "There.", "response_format": "pcm", "voice": "anna", "steps": 1}
    with Running(tts) as server, connect(server) as sock:
        tracemalloc.start()
        sock.sendall(asked(json.dumps(body).encode()))
        assert sock.recv(1 << 16)
        time.sleep(1.0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20e6
