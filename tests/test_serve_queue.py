"""The server's line: what happens when it is full, when a request takes too long, when clients leave, and when speaking
fails.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

from serve_toys import LONG, SPEECH, Gate, Running, home, tts, two_voices, until  # noqa: E402


def test_a_full_queue_is_429_and_the_rest_is_served(tts, monkeypatch):
    with Running(tts, max_queue=2, max_active=1) as server, ThreadPoolExecutor(8) as pool:
        gate = Gate(tts, monkeypatch)
        first = pool.submit(server.say)
        assert gate.entered.wait(10)
        others = [pool.submit(server.say) for _ in range(2)]
        until(lambda: server.scheduler.queued == 2)
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
            until(lambda: not server.scheduler._active and not server.scheduler.queued)
        assert server.metrics.value("cancelled_total") == 2
        gate.open.set()
        assert server.say().status_code == 200


def test_leaving_in_the_middle_of_a_stream_ends_it(tts, monkeypatch):
    with Running(tts, batch_frames=500) as server:
        with server.client.stream(
            "POST", SPEECH, json={"input": LONG * 3, "response_format": "pcm", "chunk_seconds": 2}
        ) as answer:
            next(answer.iter_raw())
        until(lambda: not server.scheduler._active)
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
        server.scheduler.stop()
        assert waiting.result(10).status_code == 503
        assert server.client.get("/health").status_code == 503 and server.say().status_code == 503
        gate.open.set()


def test_a_long_text_does_not_hold_up_a_short_one(tts, monkeypatch):
    with Running(tts, batch_frames=500) as server, ThreadPoolExecutor(2) as pool:
        gate = Gate(tts, monkeypatch)
        long = pool.submit(server.say, input=LONG, chunk_seconds=2)
        assert gate.entered.wait(10)
        short = pool.submit(server.say)
        until(lambda: server.scheduler.queued == 1)
        gate.open.set()
        short.result(20)
        assert not long.done()
        assert long.result(60).status_code == 200
