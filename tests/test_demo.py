"""The demo's service, without a browser: takes, stops, sessions, limits, files."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from demo_toys import TEXT, EvenAligner, speech_like

from tts_fm.audio.files import load
from tts_fm.demo.commands import OWN
from tts_fm.demo.runs import Cancelled, Pace, Run, until_stopped
from tts_fm.demo.service import Service
from tts_fm.demo.sessions import FieldError
from tts_fm.settings import Settings

pytest_plugins = ["demo_fixtures"]
FREE = Run(lambda: False)  # runs to its end


def spoken(service: Service, text: str = TEXT, **settings):
    request = service.request(text, service.voice("ann", None), service.settings(**{"steps": 3, "cfg": 1.0} | settings))
    take = None
    for take, _total in service.speak(request, FREE):  # noqa: B007
        pass
    return take


def test_chunks_join_to_what_say_returns(service):
    take = spoken(service, seed=3)
    assert len(take.chunks) > 1
    speech = service.finish(take)
    truth = service.tts.say(TEXT, "ann", settings=Settings(steps=3, cfg=1.0, seed=3))
    np.testing.assert_allclose(speech.wave, truth.wave, atol=1e-4)
    assert speech.words == truth.words


def test_a_chunk_spoken_again_changes_alone_and_reproducibly(service):
    take = spoken(service)
    before = [chunk.wave for chunk in take.chunks]
    assert service.again(take, 2, FREE) == 1
    assert service.again(take, 2, FREE) == 2
    np.testing.assert_array_equal(take.chunks[0].wave, before[0])
    other = spoken(service, seed=2)  # chunk 2 with seed 0 + 2 is chunk 2 of the whole with seed 2
    np.testing.assert_allclose(take.chunks[1].wave, other.chunks[1].wave, atol=1e-5)
    assert not np.allclose(take.chunks[1].mel, service.tts.plan(take.request)[1].frames)
    for number in (0, 99, 1.5, None):
        with pytest.raises(ValueError, match="from 1 to"):
            service.again(take, number, FREE)
    with pytest.raises(ValueError, match="press Speak first"):
        service.again(None, 1, FREE)


def test_moments_end_in_the_result(service):
    take = spoken(service, steps=3)
    found = service.moments(take, 1, FREE)
    assert [m.step for m in found] == [0, 1, 2, 3]
    assert [m.time for m in found] == sorted(m.time for m in found) and found[-1].time == 1.0
    np.testing.assert_allclose(found[-1].mel, take.chunks[0].mel, atol=1e-5)
    assert not np.allclose(found[0].mel[:20], found[-1].mel[:20], atol=1e-3)
    many = service.moments(spoken(service, "Hi.", steps=32), 1, FREE)
    assert len(many) == 9 and (many[0].step, many[-1].step) == (0, 32)
    assert all(np.abs(m.wave).max() <= 1 for m in many)


def test_stop_takes_effect_at_the_next_step_and_leaves_nothing_behind(service):
    seen = []

    def tell(*at):
        seen.append(at)
        service.stop("s/clone")

    request = service.request(TEXT, service.voice("ann", None), service.settings(steps=8))
    with pytest.raises(Cancelled), service.running("s/clone", tell) as run:
        list(service.speak(request, run))
    assert len(seen) == 1
    assert service.stop("s/clone") is False  # nothing runs any more
    service.arm("s/clone")  # stopped while it waited in the queue
    assert service.stop("s/clone") is True
    with pytest.raises(Cancelled), service.running("s/clone"):
        raise AssertionError("must not begin")
    with service.running("s/clone") as run:
        run.check()  # a later request is not stopped
        service.leave("other")
        run.check()
        service.leave("s")
        with pytest.raises(Cancelled):
            run.check()


def test_the_browser_is_told_at_first_and_then_seldom(monkeypatch):
    now = [5.0]
    monkeypatch.setattr("tts_fm.demo.runs.time.monotonic", lambda: now[0])
    pace, told = Pace(), 0
    for _ in range(1000):  # ten seconds of a quick model's steps
        told += pace.due()
        now[0] += 0.01
    assert 36 <= told <= 41 and Pace().due()


def test_stop_keeps_what_has_come(service):
    def results(count: int):
        yield from range(count)
        raise Cancelled

    assert list(until_stopped(results(3))) == [0, 1, 2]
    with pytest.raises(Cancelled):
        list(until_stopped(results(0)))
    request = service.request(TEXT, service.voice("ann"), service.settings(steps=4))
    with service.running("s/clone", lambda step, steps, spoken, chunks: spoken == 1 and service.stop("s/clone")) as run:
        takes = list(until_stopped(service.speak(request, run)))
    assert len(takes) == 1 < takes[0][1]


def test_many_are_named_when_they_are_bad_and_tell_how_many_are_done(service):
    voice, settings, seen = service.voice("ann"), service.settings(steps=2), []
    requests = [service.request(text, voice, settings) for text in ("One.", "?!", "Two.", "!")]
    with pytest.raises(ValueError, match="b: .*\nd: "):
        list(service.many(requests, "abcd", FREE))
    run = Run(lambda: False, lambda step, steps, spoken, chunks: seen.append((spoken, chunks)))
    assert sorted(number for number, _ in service.many(requests[::2], "ac", run)) == [0, 1]
    assert {chunks for _, chunks in seen} == {2} and seen[0] == (0, 2)


def test_requests_in_turn_give_what_they_give_together(service):
    voice, settings = service.voice("ann"), service.settings(steps=2)
    requests = [service.request(text, voice, settings) for text in ("One.", TEXT, "Two.")]
    told = list(service.in_turn(requests, "abc", FREE))
    assert [number for number, _, _ in told] == sorted(number for number, _, _ in told) and len(told) == 4
    together = dict(service.many(requests, "abc", FREE))
    done = {number: speech for number, _, speech in told if speech is not None}
    assert done.keys() == together.keys()
    for number, speech in done.items():
        np.testing.assert_allclose(speech.wave, together[number].wave, atol=1e-4)
    with pytest.raises(FieldError, match="b: ") as caught:
        list(service.in_turn([requests[0], replace(requests[0], text="?!")], "ab", FREE))
    assert caught.value.field == "text"


def test_an_edit_is_that_of_the_library_and_can_be_stopped(service, home):
    from tts_fm.edit.change import edit

    old, new, settings = "Hello there, my friend.", "Hello there, my brother.", service.settings(steps=2)
    edited = service.edit(str(home / "me.wav"), old, new, settings, FREE)
    truth = edit(service.tts, load(home / "me.wav"), old, new, aligner=EvenAligner(), settings=settings)
    np.testing.assert_array_equal(edited.wave, truth.wave)
    with pytest.raises(Cancelled):
        service.edit(str(home / "me.wav"), old, new, settings, Run(lambda: True))
    for recording, text, words in (
        (None, old, "upload or record"),
        (str(home / "me.wav"), "a" * 401, "400 characters"),
        (str(home / "voices" / "voices.json"), old, "the recording is not audio"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            service.edit(recording, text, new, settings, FREE)
        assert str(home) not in str(caught.value)


def test_two_sessions_at_once_get_what_they_would_get_alone(service):
    alone = service.finish(spoken(service, "One two three four.", seed=1)).wave
    results = {}

    def visitor(name: int) -> None:
        results[name] = service.finish(spoken(service, "One two three four.", seed=1)).wave

    threads = [threading.Thread(target=visitor, args=(k,)) for k in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(results) == 3 and all(np.array_equal(wave, alone) for wave in results.values())


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 1}, {"steps": 33}, {"steps": 2.5}, {"steps": float("nan")}, {"cfg": float("nan")}, {"cfg": -1},
    {"seed": -1}, {"seed": 0.5},
     {"speed": 0}, {"speed": float("inf")}, {"method": "magic"}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(service, wrong):
    with pytest.raises(FieldError, match=next(iter(wrong))) as caught:
        service.settings(**wrong)
    assert caught.value.field == next(iter(wrong))


def test_zero_is_a_value_and_none_is_the_models_own(service):
    assert service.settings(cfg=0, seed=None).cfg == 0
    assert (service.settings().steps, service.settings().cfg) == (2, 1.0)


def test_texts_and_recordings_are_bounded_and_errors_name_no_path(service, tmp_path):
    voice = service.voice("ann", None)
    for text, words in (("", "empty"), (" \n", "empty"), ("a" * 401, "401 characters")):
        with pytest.raises(ValueError, match=words):
            service.request(text, voice, Settings())
    with pytest.raises(ValueError, match="upload or record"):
        service.voice(OWN, None)
    with pytest.raises(ValueError, match="there is no voice"):
        service.voice("/etc/passwd", None)
    for name, data in (("silent.wav", np.zeros(48_000)), ("short.wav", speech_like(0.1))):
        soundfile.write(tmp_path / name, data, 24_000)
        with pytest.raises(ValueError) as caught:
            service.voice(OWN, str(tmp_path / name))
        assert str(tmp_path) not in str(caught.value)
    (tmp_path / "fake.wav").write_bytes(b"<html>")
    with pytest.raises(ValueError) as caught:
        service.voice(OWN, str(tmp_path / "fake.wav"))
    assert str(tmp_path) not in str(caught.value)


def test_the_first_visitor_finds_it_warm(service, monkeypatch):
    said = []
    monkeypatch.setattr(service.tts, "say", lambda text, voice: said.append(voice))
    service.warm_up()
    service._do(lambda: None)  # behind it, in the same thread
    assert said == ["ann"]


def test_result_files_are_swept(service, monkeypatch):
    path = Path(service.save_wave(speech_like(1), "x", "seed 0"))
    assert "generated speech" in path.read_bytes().decode("latin-1")
    service.place()
    assert path.is_file()
    monkeypatch.setattr("tts_fm.demo.service.KEEP_SECONDS", -1.0)
    service.place()
    assert not path.exists()
