"""The inference path with a tiny random model: what is promised of every model, whatever it has learnt."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import soundfile
import torch
from tiny_model import tiny_tts_folder

from tts_fm.audio.mel import FRAMES_PER_SECOND
from tts_fm.engines.jobs import grouped, speech_edges
from tts_fm.model.vocoder import Vocoder
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS, Request
from tts_fm.voices.stored import Voice

TEXTS = ["Hello, Alice.", "The birch canoe slid on the smooth planks. It was late.", "Yes!"]


@pytest.fixture(scope="module")
def tts(tmp_path_factory) -> TTS:
    return TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def voice() -> Voice:
    t = np.arange(24_000 * 2) / 24_000
    wave = 0.1 * np.sin(2 * np.pi * 150 * t) * (1 + np.sin(2 * np.pi * 3 * t))
    return Voice("hum", wave.astype(np.float32), "a hum that lasts two seconds", "en-us")


def test_the_same_request_gives_the_same_audio_alone_in_a_batch_and_streamed(tts, voice):
    requests = [Request(text, voice, settings=Settings(item=str(i))) for i, text in enumerate(TEXTS)]
    batched = dict(tts.batch(requests))
    small = dict(tts.batch(requests, batch_frames=1))
    for i, text in enumerate(TEXTS):
        alone = tts.say(text, voice, item=str(i))
        assert alone.seconds > 0.2 and np.abs(alone.wave).max() > 0
        np.testing.assert_allclose(batched[i].wave, alone.wave, atol=1e-5)
        np.testing.assert_allclose(small[i].wave, alone.wave, atol=1e-5)
    streamed = list(tts.stream(TEXTS[1], voice, item="1", chunk_seconds=2.0))
    whole = tts.say(TEXTS[1], voice, item="1", chunk_seconds=2.0)
    assert len(streamed) == len(whole.chunks) > 1
    np.testing.assert_allclose(
        np.concatenate([c.mel for c in streamed]), np.concatenate([c.mel for c in whole.chunks]), atol=1e-4
    )
    assert streamed[-1].start == pytest.approx(whole.chunks[-1].start)


def test_seed_and_item_change_the_noise_and_nothing_global_is_touched(tts, voice):
    before = torch.random.get_rng_state()
    one, two, other = (tts.say("Hello.", voice, **k).wave for k in ({"seed": 1}, {"seed": 2}, {"seed": 1, "item": "x"}))
    assert np.abs(one - two).max() > 1e-4 and np.abs(one - other).max() > 1e-4
    assert torch.equal(before, torch.random.get_rng_state())


def test_breaks_speed_and_duration_are_kept_to_the_frame(tts, voice):
    plain = tts.say("Hello there.", voice)
    paused = tts.say("<break 0.5s> Hello there.", voice)
    assert paused.seconds - plain.seconds == pytest.approx(0.5, abs=1e-6)
    assert paused.words[0].start - plain.words[0].start == pytest.approx(0.5, abs=2e-3)
    assert np.abs(paused.wave[:12_000]).max() == 0
    fixed = tts.say("Hello there.", voice, duration=2.0)
    assert fixed.seconds == pytest.approx(2.0, abs=0.03)
    assert (
        tts.say("Hello there, my friend.", voice, speed=0.5).seconds
        > tts.say("Hello there, my friend.", voice, speed=2.0).seconds
    )


def test_word_times_are_in_order_and_inside_the_audio(tts, voice):
    speech = tts.say(TEXTS[1], voice, chunk_seconds=3.0)
    assert [w.text for w in speech.words] == "The birch canoe slid on the smooth planks It was late".split()
    times = [t for w in speech.words for t in (w.start, w.end)]
    assert times == sorted(times) and times[-1] <= speech.seconds


def test_settings_reach_the_count_of_forwards_and_the_file(tts, voice, tmp_path):
    speech = tts.say("Hello.", voice, steps=3, cfg=0.0, method="midpoint")
    assert speech.forwards == 6 and tts.say("Hello.", voice).forwards == 4  # the folder's defaults: 2 steps, guided
    speech.save(tmp_path / "a.flac")
    with soundfile.SoundFile(tmp_path / "a.flac") as file:
        assert file.samplerate == 24_000 and len(file) == len(speech.wave) and "generated" in file.comment
    assert not list(tmp_path.glob("*.part"))


def test_progress_can_cancel(tts, voice):
    class Stop(Exception):
        pass

    seen = []

    def progress(step, steps, chunk, chunks):
        seen.append((step, steps, chunk, chunks))
        if step == 1:
            raise Stop

    with pytest.raises(Stop):
        tts.say("Hello.", voice, steps=4, on_progress=progress)
    assert seen == [(0, 4, 0, 1), (1, 4, 0, 1)]
    assert len(tts.say("Hello.", voice).wave)  # the model is as before


def test_progress_counts_all_chunks(tts, voice):
    """Whatever was batched together: the share that is done never falls, and every chunk counts once."""
    seen: list[tuple[int, int, int, int]] = []
    speech = tts.say(" ".join(TEXTS * 3), voice, steps=2, chunk_seconds=2.0, on_progress=lambda *now: seen.append(now))
    assert len(speech.chunks) > 3 and {(steps, chunks) for _, steps, _, chunks in seen} == {(2, len(speech.chunks))}
    shares = [spoken * 2 + step for step, _, spoken, _ in seen]
    assert shares == sorted(shares) and shares[0] == 0 and len({spoken for _, _, spoken, _ in seen}) > 1


@pytest.mark.parametrize(
    "text, part",
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("!!! ... ---", "nothing"),
        ("a" * 100_001, "limit"),
        ("<break 99s> Hi.", "break"),
    ],
)
def test_texts_that_cannot_be_said_are_refused_in_one_line(tts, voice, text, part):
    with pytest.raises(ValueError, match=part) as error:
        tts.say(text, voice)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"steps": 257},
        {"cfg": float("nan")},
        {"cfg": -1.0},
        {"speed": 0.0},
        {"speed": float("inf")},
        {"seed": -1},
        {"duration": -2.0},
        {"method": "magic"},
        {"sway": 3.0},
        {"loudness": 3.0},
        {"chunk_seconds": 0.0},
        {"steps": 2.5},
    ],
)
def test_numbers_out_of_range_are_refused_and_named(tts, voice, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        tts.say("Hello.", voice, **bad)


def test_unknown_symbols_are_told(tts, voice):
    speech = tts.say("[word](/ʘa/) yes", voice)
    assert any("ʘ" in warning for warning in speech.warnings)


def test_groups_stay_within_the_budget_and_lose_nothing(tts, voice):
    jobs = [job for i, text in enumerate(TEXTS * 3) for job in tts.plan(Request(text, voice), i)]
    groups = list(grouped(jobs, 1500))
    assert sorted(id(j) for g in groups for j in g) == sorted(map(id, jobs))
    assert all(len(g) == 1 or len(g) * max(j.frames for j in g) <= 1500 for g in groups)


def test_the_time_of_a_batch_is_shared_by_its_items(tts, voice, monkeypatch):
    """A batch that takes 6 s on a clock of our own, three items in it: 2 s each, not 6 s on the first."""
    clock, sample = [0.0], tts.engine.sample

    def slowly(batch, settings, report=None):
        clock[0] += 6.0
        return sample(batch, settings, report)

    monkeypatch.setattr("tts_fm.synthesis.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(tts.engine, "sample", slowly)
    jobs = [job for number in range(3) for job in tts.plan(Request(TEXTS[0], voice), number)]
    assert [chunk.compute_seconds for chunk in tts.speak(jobs)] == [2.0, 2.0, 2.0]


def test_model_from_the_hub(tmp_path, monkeypatch):
    """hf://owner/repo@revision brings the vocoder and the duration model along with the weights."""
    tiny_tts_folder(tmp_path / "org" / "tiny" / "resolve" / "v1")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TTS_FM_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("TTS_FM_OFFLINE", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        there = TTS.load("hf://org/tiny@v1")
        server.shutdown()
    assert isinstance(there.engine.vocoder, Vocoder) and there.engine.duration_model is not None


def test_match(tts, voice):
    """The mean spectrum of what is said moves to the prompt's; words and their times stay."""
    from tts_fm.audio.match import loud
    from tts_fm.audio.mel import log_mel

    prompt = torch.from_numpy(log_mel(tts.voice(voice).wave))
    free, near = (tts.say("Hello there, one and all.", voice, match=match, steps=2) for match in (0.0, 1.0))
    mean = prompt[loud(prompt)].mean(0).numpy()
    far, close = (
        np.abs(s.chunks[0].mel[loud(torch.from_numpy(s.chunks[0].mel)).numpy()].mean(0) - mean).mean()
        for s in (free, near)
    )
    assert (
        close < 0.9 * far
        and [w.text for w in near.words] == [w.text for w in free.words]
        and len(near.wave) == len(free.wave)
    )
    assert Settings().with_defaults({"match": 1.0}).match == 1.0 and Settings().with_defaults({}).match == 0.0
    with pytest.raises(ValueError, match="match must be a number from 0 to 1"):
        tts.say("Hello.", voice, match=1.5)


def test_temperature(tts, voice):
    """Without noise there is one reading only; with it, seeds differ. A model's default holds where nothing is said."""
    cold = [tts.say("Hello.", voice, seed=seed, temperature=0.0, steps=2).wave for seed in (1, 2)]
    warm = [tts.say("Hello.", voice, seed=seed, temperature=0.5, steps=2).wave for seed in (1, 2)]
    assert np.array_equal(*cold) and not np.array_equal(*warm)
    assert (
        Settings().with_defaults({"temperature": 0.6}).temperature == 0.6
        and Settings().with_defaults({}).temperature == 1.0
    )
    with pytest.raises(ValueError, match="temperature must be a number from 0 to 2"):
        tts.say("Hello.", voice, temperature=float("nan"))


@pytest.mark.parametrize(
    "given",
    [{"grid": (0.0, 0.9, 1.0)}, {"cfg_audio": 0.0}, {"cfg_joint": 1.0}, {"cfg_audio_interval": (0.0, 0.1)},
     {"cfg_interval": (0.5, 1.0)}, {"cfg_rescale": 1.0},
     {"method": "rk4_classic"}, {"sway": 0.5}],
    ids=str,
)  # fmt: skip
def test_every_setting_of_the_solver_reaches_the_network(tts, voice, given):
    plain, other = (tts.say("Hello.", voice, cfg=3.0, **more).chunks[0].mel for more in ({}, given))
    assert np.abs(plain[: len(other)] - other[: len(plain)]).max() > 1e-3


def test_an_adaptive_solver_gives_the_same_alone_and_in_a_batch_and_is_counted(tts, voice):
    pytest.importorskip("torchdiffeq")
    settings, told = Settings(method="dopri5", cfg=1.0, steps=2), []
    requests = [Request(text, voice, settings=settings) for text in ("Hello.", "Good day.", "Yes.")]
    together = dict(tts.batch(requests, on_progress=lambda *counts: told.append(counts)))
    for number, request in enumerate(requests):
        alone = tts.say(request.text, voice, settings=settings)
        assert np.array_equal(alone.wave, together[number].wave) and alone.forwards == together[number].forwards > 12
    assert all(0 <= step <= steps == 2 for step, steps, _, _ in told)


@pytest.mark.parametrize("floor", [-12.0, -5.0, -4.3, -3.0, -1.0, 0.0])
def test_silence_is_cut_in_voices_with_noise_too(floor) -> None:
    """A second of speech that fades, half a second of the voice's noise on both sides, which is cut to a tenth; noise
    that is as loud as speech is kept.
    """
    noise = floor + 0.1 * np.random.default_rng(0).standard_normal((47, 1))
    speech = np.concatenate([np.zeros(74), np.linspace(0, floor, 20)])[:, None]
    mel = np.repeat(np.concatenate([noise, speech, noise[::-1]]), 100, 1).astype(np.float32)  # (188, 100)
    start, stop = speech_edges(mel, 0.1, 0.1)
    if floor < -2.3:
        assert abs(start / FRAMES_PER_SECOND - 0.4) < 0.03 and 1.4 < stop / FRAMES_PER_SECOND < 1.65
    else:
        assert (start, stop) == (0, len(mel))
    assert speech_edges(mel, None, 0.1) == (0, stop)
