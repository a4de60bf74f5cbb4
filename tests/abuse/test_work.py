"""Work is bounded before it is begun: pauses, texts that grow, deadlines, readers that stop, clients that want all."""

from __future__ import annotations

import threading
import time
import tracemalloc

import numpy as np
import pytest
from tiny_model import tiny_tts_folder

from tts_fm.audio.stream import AudioStream
from tts_fm.serve.metrics import Metrics
from tts_fm.serve.tickets import AHEAD, QueueFull, RequestTimeout
from tts_fm.serve.worker import Scheduler
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS, Request
from tts_fm.voices.stored import Voice

LONG = "The birch canoe slid on the smooth planks. " * 12


@pytest.fixture(scope="module")
def tts(tmp_path_factory) -> TTS:
    return TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def voice() -> Voice:
    t = np.arange(24_000 * 2) / 24_000
    return Voice("hum", (0.1 * np.sin(2 * np.pi * 150 * t)).astype(np.float32), None, "en-us")


@pytest.fixture
def scheduler(tts, voice):
    made = []

    def make(**limits) -> Scheduler:
        made.append(Scheduler(tts, Metrics(), **limits))
        return made[-1]

    yield make
    for one in made:
        one.stop()


class Client:
    """Somebody who asks a scheduler; takes what comes only if he reads."""

    def __init__(self, scheduler, text, voice, client="", reads=True, timeout=60.0) -> None:
        self.said, self.over, self.reads = [], threading.Event(), reads
        settings = Settings(steps=1, chunk_seconds=3.0)
        self.ticket = scheduler.submit(Request(text, voice, settings=settings), self.hear, timeout, True, client)

    def hear(self, kind, value) -> None:
        self.said.append((kind, value))
        if kind == "chunk" and self.reads:
            self.ticket.taken()
        if kind in ("done", "error"):
            self.over.set()

    @property
    def chunks(self) -> int:
        return sum(kind == "chunk" for kind, _ in self.said)

    @property
    def end(self):
        assert self.over.wait(60)
        return self.said[-1]


def test_a_minute_of_pauses_takes_no_memory(tts, voice, tmp_path):
    """Twenty minutes of silence between short words, to a file: 58 MB as samples, of which there is never a tenth."""
    text = "Yes. " + "<break 10s> " * 60 + "No. " + "<break 10s> " * 60 + "So."
    tts.say("Yes.", voice, steps=1)
    tracemalloc.start()
    with AudioStream(tmp_path / "a.wav", "wav") as stream:
        for chunk in tts.stream(text, voice, steps=1):
            stream.write(chunk.speech, chunk.pause)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.samples > 1200 * 24_000 and (tmp_path / "a.wav").stat().st_size > 57e6
    assert peak < 6e6


def test_pauses_count_as_audio(scheduler, voice):
    kind, error = Client(scheduler(max_audio_seconds=60), "Hi. " + "<break 10s> " * 7 + "You.", voice).end
    assert kind == "error" and "the limit is 60 s" in str(error)


def test_a_text_that_grows_is_refused_before_it_is_phonemised(scheduler, tts, voice, monkeypatch):
    """U+FDFA is one character that is read as eighteen."""
    monkeypatch.setattr(tts.engine, "durations", lambda *_: pytest.fail("it was planned"))
    kind, error = Client(scheduler(), "\ufdfa" * 4096, voice).end
    assert kind == "error" and isinstance(error, ValueError) and "s of audio" in str(error)
    with pytest.raises(ValueError, match="written out"):
        tts.plan(Request("\ufdfa" * 99_000, voice))


def test_planning_stops_at_the_deadline(scheduler, tts, voice, monkeypatch):
    durations, planned = tts.engine.durations, []

    def slow(*arguments):
        planned.append(time.monotonic())
        time.sleep(0.02)
        return durations(*arguments)

    monkeypatch.setattr(tts.engine, "durations", slow)
    client = Client(scheduler(max_audio_seconds=36_000), LONG * 20, voice, timeout=0.3)
    kind, error = client.end
    assert kind == "error" and isinstance(error, RequestTimeout)
    assert sum(at > client.ticket.deadline for at in planned) <= 1 and len(planned) < 100


def test_who_does_not_read_is_not_spoken_for_and_holds_nobody_up(scheduler, voice):
    line = scheduler(max_active=2, batch_frames=600)
    deaf = [Client(line, LONG, voice, client=f"deaf {n}", reads=False) for n in range(6)]
    assert Client(line, LONG, voice, client="honest").end[0] == "done"
    assert Client(line, "Hello.", voice, client="deaf 0").end[0] == "done"
    assert all(client.chunks <= AHEAD and not client.over.is_set() for client in deaf)
    deaf[0].reads = True
    for _ in range(deaf[0].chunks):
        deaf[0].ticket.taken()
    assert deaf[0].end[0] == "done" and deaf[0].chunks > AHEAD


def test_a_crowd_of_deaf_is_dropped_the_eldest_first(scheduler, voice):
    line = scheduler(max_active=4, max_queue=2, batch_frames=600)
    deaf = []
    for n in range(5):
        deaf.append(Client(line, LONG, voice, client=f"deaf {n}", reads=False))
        while deaf[-1].chunks < AHEAD:
            time.sleep(0.01)
    assert deaf[0].end[0] == "error" and isinstance(deaf[0].end[1], RequestTimeout)
    assert not deaf[-1].over.is_set()


def test_the_greedy_make_room_and_wait_their_turn(scheduler, tts, voice, monkeypatch):
    gate, speak = threading.Event(), tts.speak

    def held(jobs, on_progress=None):
        assert gate.wait(60)
        return speak(jobs, on_progress)

    monkeypatch.setattr(tts, "speak", held)
    line, over = scheduler(max_active=1, max_queue=3, batch_frames=600), []
    greedy = [Client(line, LONG, voice, client="greedy")]
    while line.queued or not line._active:
        time.sleep(0.01)
    greedy += [Client(line, LONG, voice, client="greedy") for _ in range(3)]
    modest = Client(line, "Hello.", voice, client="modest")
    assert greedy[-1].end[0] == "error" and isinstance(greedy[-1].end[1], QueueFull)
    with pytest.raises(QueueFull):
        Client(line, LONG, voice, client="greedy")
    gate.set()
    assert modest.end[0] == "done"
    over = [client.over.is_set() for client in greedy[:3]]
    assert over == [False] * 3  # he came last and was served before the first of them was through
    assert [client.end[0] for client in greedy[:3]] == ["done"] * 3
