"""From recordings to a stored voice, with a toy model, a toy aligner and toy listeners: what is kept, what is dropped
and why, and that a run may be killed at any moment.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from test_data_recordings import babble, quiet
from tiny_model import VOCAB, tiny_tts_folder

from tts_fm import files
from tts_fm.cli.main import main
from tts_fm.data.listing import Recording, find_recordings
from tts_fm.engines.align import Alignment
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.synthesis import TTS
from tts_fm.text.chunks import plan_chunks
from tts_fm.text.tokens import PhonemeTokenizer
from tts_fm.text.word_times import Word
from tts_fm.train.adapt import AdaptConfig, config_for, updates_for
from tts_fm.train.sharpen import sharpen
from tts_fm.train.voice import SAMPLE_TEXTS, AdaptOptions, adapt_voice
from tts_fm.train.voice_items import prepare, second_voice, split
from tts_fm.voices.stored import add_voice, get_voice

RATE = 24_000
OPTIONS = AdaptOptions(updates=6)


class ToyAligner:
    """Every unit as long as the others; a text with "wrong" in it is not what is heard, en-gb fits best."""

    def align(self, wave, text, lang="en-us"):
        plans = plan_chunks(text, PhonemeTokenizer(VOCAB), lang, 1e9)
        units = [unit for plan in plans for unit in plan.units]
        total = len(wave) / 256
        if len(units) * 2 > total:
            raise ValueError("the text has more phones than the recording holds")
        size = (total - 20) / len(units)
        score = -3.0 if "wrong" in text else -0.3 if lang == "en-gb" else -0.5
        return Alignment(units, [size] * len(units), 10.0, 10.0, [Word("x", 0.5, 0.6)], score)


class Listener:
    """Tells voices apart by their level, hears always the same words."""

    def embed(self, wave, rate):
        return np.array([1.0, 0.0]) if np.abs(wave).max() > 0 else np.array([0.0, 1.0])

    def transcribe(self, wave, rate):
        return "Hello there, my friend."


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("tts_fm.train.voice.Aligner.load", lambda folder=None: ToyAligner())
    monkeypatch.setattr("tts_fm.train.voice.speaker_encoder", lambda: Listener().embed)
    monkeypatch.setattr("tts_fm.evaluate.metrics.Whisper", lambda *_: Listener().transcribe)
    small = dict(rank=2, alpha=2.0, batch=2, length=400, warmup=2, valid_every=3, save_every=1)
    monkeypatch.setattr("tts_fm.train.adapt.AdaptConfig", lambda **how: AdaptConfig(**small | how))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_tts_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Nine recordings of 4 s with their texts."""
    place = tmp_path / "rec"
    place.mkdir()
    for n in range(9):
        soundfile.write(place / f"{n}.wav", babble(4.0, n), RATE)
        (place / f"{n}.txt").write_text("Hello there, my friend. It was late.")
    return place


def prepared(folder, **how):
    listen = {"transcribe": lambda: Listener().transcribe, "embed": lambda: Listener().embed}
    return prepare(find_recordings(folder), VOCAB, ToyAligner(), **listen | how)


# --- preparation


def test_clips_are_aligned_and_the_accent_is_found(folder):
    found = prepared(folder)
    assert len(found.clips) == 9 and found.lang == "en-gb" and 34 < found.seconds < 37
    for clip in found.clips:
        assert clip.item.durations.sum() == pytest.approx(len(clip.item.mel), abs=1.0)
        assert VOCAB[clip.item.ids[0]] == VOCAB[clip.item.ids[-1]] == "<sil>"
    assert found.lines()[0].startswith("kept        9 pieces   0:3")
    assert prepared(folder, lang="en-us").lang == "en-us"


def test_what_is_dropped_is_told_with_its_reason(folder):
    (folder / "0.txt").write_text("This is the wrong text.")
    (folder / "1.txt").write_text("word " * 300)
    soundfile.write(folder / "2.wav", np.zeros(4 * RATE), RATE)
    soundfile.write(folder / "3.wav", babble(0.4), RATE)
    soundfile.write(folder / "4.wav", 0.1 * np.random.default_rng(0).standard_normal(4 * RATE), RATE)
    (folder / "5.wav").write_bytes(b"RIFF")
    found = prepared(folder)
    assert [clip.piece.id for clip in found.clips] == ["6.wav", "7.wav", "8.wav"]
    reasons = {name: why for name, _, why in found.table.dropped}
    told = ["not what is heard", "do not fit", "silent", "shorter", "noise or music", "cannot be read"]
    for number, words in enumerate(told):
        assert words in reasons[f"{number}.wav"], number
    assert len(found.table.lines()) == 7


def test_no_more_is_read_than_is_needed(folder, monkeypatch):
    monkeypatch.setattr("tts_fm.train.voice_items.ENOUGH", 10.0)
    found = prepared(folder)
    assert len(found.clips) == 3 and all("are enough" in why for _, _, why in found.table.dropped)


def test_long_recordings_are_cut_and_recordings_without_text_are_heard(tmp_path):
    long = np.concatenate([part for n in range(5) for part in (babble(5.0, n), quiet(0.5))])
    soundfile.write(tmp_path / "talk.wav", long, RATE)
    found = prepared(tmp_path)
    assert len(found.clips) >= 3 and all(3 <= clip.piece.seconds <= 12 for clip in found.clips)
    assert found.clips[0].piece.text == "Hello there, my friend."
    with pytest.raises(MissingDependency, match="ASR"):
        prepared(tmp_path, transcribe=None)


def test_an_alignment_is_cut_in_its_pauses():
    """Words of 3 s each with pauses of 0.5 s between them; every stretch keeps its units and all frames are there."""
    second = 93.75
    units, frames, words = [], [], []
    for n in range(6):
        words.append(Word(f"w{n}", 3.5 * n, 3.5 * n + 3))
        units += ["a", "b", " "]
        frames += [1.5 * second, 1.5 * second, 0.5 * second]
    whole = Alignment(units[:-1], frames[:-1], 0.0, 0.0, words, -0.5)
    parts = split(whole)
    assert len(parts) == 3 and [len(part.words) for part in parts] == [2, 2, 2]
    total = sum(part.lead + sum(part.frames) + part.tail for part in parts)
    assert total == pytest.approx(sum(frames[:-1]))
    assert all("a" in part.units and part.units[0] == "a" for part in parts)


def test_another_speaker_is_dropped_and_two_are_refused(folder):
    people = {3: np.array([0.0, 1.0])}
    calls = iter(range(99))
    voices = lambda: lambda wave, rate: people.get(next(calls), np.array([1.0, 0.0]))  # noqa: E731
    found = prepared(folder, embed=voices)
    assert len(found.clips) == 8 and found.table.dropped[0][2] == "another speaker"
    turns = iter(range(99))
    with pytest.raises(ValueError, match="several people speak"):
        prepared(folder, embed=lambda: lambda *_: np.eye(2)[next(turns) % 2])


@pytest.mark.parametrize(("second", "across", "found"), [(4, 0.7, 4), (4, 0.85, 0), (3, 0.7, 3), (5, 0.7, 4)])
def test_two_people_who_speak_as_much_are_told_apart(second, across, found):
    """Nine pieces whose similarities are known: 0.93 within a person, `across` between two."""
    person = np.arange(9) < second
    alike = np.where(person[:, None] == person, 0.93, across) + 0.07 * np.eye(9)
    assert second_voice(np.linalg.cholesky(alike)).sum() == found


def test_without_a_speaker_encoder_it_says_so(folder):
    def missing():
        raise MissingDependency("no resemblyzer")

    found = prepared(folder, embed=missing)
    assert len(found.clips) == 9 and "not checked" in found.notes[0]


@pytest.mark.parametrize("text", ["This is the wrong text.", "one"])
def test_where_nothing_is_left_the_reasons_are_the_error(tmp_path, text):
    soundfile.write(tmp_path / "a.wav", babble(4.0) if "wrong" in text else babble(0.3), RATE)
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match="nothing can be learnt.*\n.*(not what is heard|shorter)"):
        prepared(tmp_path)


# --- the voice


def test_a_voice_is_made_and_speaks(folder, model, tmp_path):
    told = []
    place, options = tmp_path / "me", replace(OPTIONS, consent="mine")
    voice = TTS.adapt(folder, place, options=options, model=model, on_progress=lambda *a: told.append(a))
    info = {key: value for key, value in json.loads((place / "voice.json").read_text()).items() if key != "format"}
    assert sorted(p.name for p in place.iterdir()) == ["adapter.safetensors", "prompt.flac", "samples", "voice.json"]
    assert sum(p.stat().st_size for p in place.rglob("*")) < 4 << 20
    assert voice.adapter is not None and voice.name == "me"
    assert info["consent"] == "mine" and info["clips"] == 9 and info["lang"] == "en-gb" and info["updates"] == 6
    assert {"similarity_before", "similarity_after", "loss_before", "symbol_ms_after"} <= set(info["figures"])
    assert ("training", 6, 6) in [t[:3] for t in told]
    tts = TTS.load(model)
    ours, cloned = tts.say("Hello.", place), tts.say("Hello.", replace(get_voice(place), adapter=None))
    assert ours.voice == "me" and not np.array_equal(ours.wave, cloned.wave)
    assert {p.name for p in (place / "samples").iterdir()} == {"before.flac", "after.flac"}


def test_a_voice_takes_on_its_prompts_spectrum_where_that_is_more_alike(folder, model, tmp_path, monkeypatch):
    """An ear for which only speech with the prompt's spectrum sounds like the person."""
    place = tmp_path / "me"
    assert adapt_voice(folder, place, OPTIONS, model)["match"] == 0.0  # the toy listener hears no difference
    tts = TTS.load(model)
    plain, matched = ([tts.say(t, place, match=m).wave for t in SAMPLE_TEXTS] for m in (0.0, 1.0))
    assert not np.array_equal(plain[0], matched[0])

    def ear(wave, rate):
        return np.eye(2)[int(any(np.array_equal(wave, one) for one in plain))]

    monkeypatch.setattr("tts_fm.train.voice.speaker_encoder", lambda: ear)
    info = adapt_voice(folder, place, OPTIONS, model)
    assert info["match"] == 1.0 == json.loads((place / "voice.json").read_text())["match"]
    assert info["figures"]["similarity_after"] == 1.0
    np.testing.assert_array_equal(tts.say(SAMPLE_TEXTS[0], place).wave, matched[0])


def test_killed_at_any_moment_it_ends_with_the_same_adapter(folder, model, tmp_path):
    class Killed(BaseException):
        pass

    adapt_voice(folder, tmp_path / "whole", replace(OPTIONS, name="me"), model)
    for stage, at in (("aligning", 4), ("training", 1), ("training", 3), ("training", 5), ("learning the pace", 20)):

        def kill(what, done, total, left, stage=stage, at=at):
            if (what, done) == (stage, at):
                raise Killed

        with pytest.raises(Killed):
            adapt_voice(folder, tmp_path / "killed", replace(OPTIONS, name="me"), model, on_progress=kill)
    told = []
    adapt_voice(
        folder, tmp_path / "killed", replace(OPTIONS, name="me"), model, on_progress=lambda *a: told.append(a[0])
    )
    assert "aligning" not in told  # what was prepared is not prepared again
    for name in ("adapter.safetensors", "prompt.flac"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "killed" / ".work").exists()


def test_other_recordings_begin_anew(folder, model, tmp_path):
    def kill(what, done, *_):
        if (what, done) == ("training", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt_voice(folder, tmp_path / "me", OPTIONS, model, on_progress=kill)
    (folder / "8.wav").unlink()
    assert adapt_voice(folder, tmp_path / "me", OPTIONS, model)["clips"] == 8


def test_two_runs_do_not_share_a_folder(folder, model, tmp_path):
    (tmp_path / "me" / ".work").mkdir(parents=True)
    with files.locked(tmp_path / "me" / ".work" / "lock"), pytest.raises(ValueError, match="another run is at work"):
        adapt_voice(folder, tmp_path / "me", OPTIONS, model)


def test_a_dry_run_and_a_failed_one_leave_nothing(folder, model, tmp_path, capsys):
    heard = []
    assert adapt_voice(folder, tmp_path / "me", OPTIONS, model, dry_run=True, on_prepared=heard.append) == {}
    assert heard[0].table.kept and not (tmp_path / "me").exists()
    for n in range(9):
        (folder / f"{n}.txt").write_text("all wrong")
    assert main(["adapt", str(folder), "-o", str(tmp_path / "me"), "-m", str(model)]) == 2
    assert "not what is heard" in capsys.readouterr().err and not (tmp_path / "me").exists()


def test_a_full_disk_keeps_what_was_learnt(folder, model, tmp_path, monkeypatch):
    real = files.write_bytes

    def full(path, data, sync=False):
        if Path(path).name == "adapter.safetensors":
            raise OSError(28, "No space left on device", str(path))
        real(path, data, sync)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        adapt_voice(folder, tmp_path / "me", OPTIONS, model)
    assert (tmp_path / "me" / ".work" / "state.pt").is_file()
    monkeypatch.undo()


def test_minutes_become_updates(folder, model, tmp_path, monkeypatch):
    """Six seconds, where three updates that are tried take 0.6 s by this clock."""
    ticks = itertools.count(0, 0.6)
    clock = SimpleNamespace(**vars(time) | {"perf_counter": lambda: next(ticks)})
    monkeypatch.setattr("tts_fm.train.voice.time", clock)
    assert adapt_voice(folder, tmp_path / "me", AdaptOptions(minutes=0.1), model)["updates"] == 30


def test_one_clip_is_learnt_in_batches_no_longer_than_it_is(monkeypatch):
    monkeypatch.undo()
    one = config_for(4.0, [342])
    assert 342 <= one.length < 342 + 64 and one.updates < updates_for(4.0)
    assert config_for(20.0, [1900]).length == AdaptConfig().length
    assert config_for(9.0, [342, 500]) == AdaptConfig(updates=updates_for(9.0))


def test_one_clip_sharpens_a_stored_voice(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tts_fm.train.voice.BUILTIN", model)
    soundfile.write(tmp_path / "me.wav", babble(6.0), RATE)
    with pytest.raises(ValueError, match="no added voice"):
        sharpen("me")
    assert main(["voice", "add", "me", "--ref-audio", str(tmp_path / "me.wav"), "--sharpen", "-q"]) == 0
    voice = get_voice("me")
    assert voice.adapter is not None and voice.adapter.prompted
    assert TTS.load(model).say("Hello.", "me").seconds > 0
    assert main(["voice", "pack", "me", str(tmp_path / "me.zip")]) == 0
    assert main(["voice", "add", "you", str(tmp_path / "me.zip"), "--no-prompt"]) == 0
    assert get_voice("you").adapter.prompted is False
    add_voice("plain", tmp_path / "me.wav")
    assert main(["voice", "pack", "plain", str(tmp_path / "x.zip")]) == 2


@pytest.mark.parametrize(
    "args, code, words",
    [
        (["--minutes", "0"], 2, "minutes of training"),
        (["--updates", "0"], 2, "updates must be"),
        (["--lang", "fr"], 2, "en-us and en-gb"),
        (["-m", "nowhere"], 4, "no model"),
        (["--consent", " "], 2, "consent"),
    ],
)
def test_wrong_usage_is_one_line(folder, tmp_path, capsys, args, code, words):
    assert main(["adapt", str(folder), "-o", str(tmp_path / "me"), *args]) == code
    err = capsys.readouterr().err
    assert words in err and len(err.strip().splitlines()) == 1 and not (tmp_path / "me").exists()


def test_a_model_without_durations_is_refused(folder, model, tmp_path):
    import shutil

    other = shutil.copytree(model, tmp_path / "other")
    shutil.rmtree(other / "duration")
    with pytest.raises(ModelError, match="cannot be adapted"):
        adapt_voice(folder, tmp_path / "me", OPTIONS, other)
    with pytest.raises(ValueError, match="no recording"):
        adapt_voice([Recording(folder / "0.wav")][:0] or folder / "none", tmp_path / "me", OPTIONS, model)
