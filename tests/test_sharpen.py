"""A recording that is learnt before it speaks, with the toys of test_adapt: learnt once, found again, and the same
wherever `--sharpen` is given.
"""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
import soundfile
from test_adapt import RATE, babble, model, toys  # noqa: F401

from tts_fm.cli.main import main
from tts_fm.synthesis import TTS
from tts_fm.train import sharpen
from tts_fm.train.sharpen import sharpened
from tts_fm.voices.adapters import read_voice
from tts_fm.voices.stored import Voice, get_voice

SAID = "Hello there, my friend. It was late."


@pytest.fixture
def place(model, tmp_path, monkeypatch):  # noqa: F811
    """A recording `me.wav`, and an empty cache. One clip is learnt in three updates."""
    monkeypatch.setenv("TTS_FM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TTS_FM_MODEL", str(model))
    monkeypatch.setattr("tts_fm.train.voice.config_for", few_updates())
    soundfile.write(tmp_path / "me.wav", babble(6.0), RATE)
    return tmp_path


def few_updates():
    from dataclasses import replace

    from tts_fm.train.voice import config_for

    return lambda seconds, frames: replace(config_for(seconds, frames), updates=3)


def folders(place):
    return sorted(p for p in (place / "cache" / "sharpened").iterdir())


def never(*_, **__):
    raise AssertionError("learnt anew")


def test_a_recording_is_learnt_once(place, model, monkeypatch):  # noqa: F811
    voice = get_voice(place / "me.wav", SAID)
    found = sharpened(voice, model)
    assert found.name == "me" and get_voice(found).adapter is not None and get_voice(found).text
    assert sorted(p.name for p in found.iterdir()) == ["adapter.safetensors", "prompt.flac", "voice.json"]
    assert sorted(p.name for p in found.parent.iterdir()) == ["lock", "me"]
    monkeypatch.setattr(sharpen, "learn", never)
    assert sharpened(get_voice(place / "me.wav", SAID), model) == found
    for other in (get_voice(place / "me.wav", "Something else was said here."), Voice("you", voice.wave, SAID)):
        with pytest.raises(AssertionError, match="learnt anew"):
            sharpened(other, model)
    with pytest.raises(ValueError, match="no sharpening"):
        sharpened(get_voice(found), model)


def test_what_was_stopped_goes_on_to_the_same_voice(place, model, monkeypatch):  # noqa: F811
    voice = get_voice(place / "me.wav", SAID)
    whole = read_voice(sharpened(voice, model)).adapter.digest
    monkeypatch.setenv("TTS_FM_CACHE", str(place / "other"))
    for stage, at in (("training", 2), ("speaking samples", 0)):  # in the second the voice is there, but not ended

        def stop(told, done, total, left, stage=stage, at=at):
            if (told, done) == (stage, at):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sharpened(voice, model, on_progress=stop)
    trained = []
    found = sharpened(voice, model, on_progress=lambda stage, *_: trained.append(stage))
    assert "aligning" not in trained and read_voice(found).adapter.digest == whole


def test_the_cache_keeps_the_voices_that_were_asked_for_last(place, model, monkeypatch):  # noqa: F811
    monkeypatch.setattr(sharpen, "KEPT", 2)
    voice = get_voice(place / "me.wav", SAID)
    first, second = (sharpened(Voice(name, voice.wave, SAID), model) for name in ("a", "b"))
    for days, found in ((9, first), (8, second)):
        os.utime(found.parent, (time.time() - 86_400 * days,) * 2)
    assert sharpened(Voice("a", voice.wave, SAID), model) == first
    third = sharpened(Voice("c", voice.wave, SAID), model)
    assert folders(place) == sorted(p.parent for p in (first, third)) and not second.exists()
    sharpened(Voice("d", voice.wave, SAID), model)
    assert len(folders(place)) == 3, "what was asked for this week stays: a list may speak in all of them"


def test_say_speaks_in_the_voice_that_was_learnt(place, capsys, monkeypatch):
    """The same as the folder that it learnt, and with the recording alone another."""
    told = ["Hello there.", "-r", str(place / "me.wav"), "--ref-text", SAID]
    assert main(["say", *told, "--sharpen", "-o", str(place / "a.wav")]) == 0
    assert "me is sharpened: similarity" in capsys.readouterr().err
    monkeypatch.setattr(sharpen, "learn", never)
    assert main(["say", *told, "--sharpen", "-o", str(place / "b.wav")]) == 0
    assert "is sharpened" not in capsys.readouterr().err
    learnt = next(folders(place)[0].glob("*/voice.json")).parent
    assert main(["say", "Hello there.", "--voice", str(learnt), "--sharpen", "-o", str(place / "c.wav")]) == 0
    assert main(["say", *told, "-o", str(place / "d.wav"), "-q"]) == 0
    a, b, c, d = ((place / f"{name}.wav").read_bytes() for name in "abcd")
    assert a == b == c != d


def test_a_list_speaks_in_the_voices_that_were_learnt(place, capsys):
    soundfile.write(place / "you.wav", babble(6.0, 1), RATE)
    rows = [
        {"id": "a", "text": "Hello there.", "ref_audio": "me.wav", "ref_text": SAID},
        {"id": "b", "text": "It was late.", "ref_audio": "you.wav", "ref_text": SAID},
        {"id": "c", "text": "It was late.", "ref_audio": "me.wav", "ref_text": SAID},
    ]
    (place / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line = ["batch", str(place / "list.jsonl"), "-o", str(place / "out"), "--sharpen", "-q"]
    assert main([*line, "--dry-run"]) == 0 and not (place / "cache").exists()
    assert main(line) == 0
    assert len(folders(place)) == 2
    done = [json.loads(line) for line in (place / "out" / "results.jsonl").read_text().splitlines()]
    assert {row["id"]: row["voice"] for row in done if row.get("id")} == {"a": "me", "b": "you", "c": "me"}


def test_voices_of_a_list_that_cannot_be_learnt_are_all_told(place, capsys):
    """At once, before anything is spoken; with --skip-bad these are cloned."""
    for name in ("wrong", "worse"):
        soundfile.write(place / f"{name}.wav", babble(6.0), RATE)
    rows = [
        {"id": name, "text": "Hello there.", "ref_audio": f"{name}.wav", "ref_text": f"It is {text}, my friend."}
        for name, text in (("me", "this"), ("wrong", "wrong"), ("worse", "wrong"))
    ]
    (place / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line = ["batch", str(place / "list.jsonl"), "-o", str(place / "out"), "--sharpen"]
    assert main([*line, "-q"]) == 2
    told = capsys.readouterr().err
    assert "'wrong' cannot be sharpened" in told and "'worse' cannot be sharpened" in told and "--skip-bad" in told
    assert not list(place.glob("out/*.wav"))
    assert main([*line, "--skip-bad"]) == 0
    told = capsys.readouterr().err
    assert (
        told.count("cloned: the voice") == 2
        and "voice 3 of 3: reading" in told
        and len(list(place.glob("out/*.wav"))) == 3
    )
    assert main([*line, "--runner", "ray", "-q"]) == 2 and "Ray" in capsys.readouterr().err


def test_a_book_is_read_by_the_voices_that_were_learnt(place):
    (place / "book.txt").write_text("It was late. “Hello there,” my friend said.\n")
    line = ["book", str(place / "book.txt"), "-o", str(place / "book.m4a"), "--quotes", str(place / "me.wav")]
    assert main([*line, "-r", str(place / "me.wav"), "--ref-text", SAID, "--sharpen", "-q"]) == 0
    assert len(folders(place)) == 2  # with its text, and with what an ASR heard
    assert (place / "book.m4a").stat().st_size > 0


def test_a_list_is_measured_in_the_voices_that_were_learnt(place, monkeypatch, capsys):
    row = {"id": "a", "text": "Hello there.", "ref_audio": "me.wav", "ref_text": SAID}
    (place / "list.jsonl").write_text(json.dumps(row))
    spoke, real = [], TTS.say

    def say(self, text, voice=None, **how):
        spoke.append(voice)
        return real(self, text, voice, **how)

    monkeypatch.setattr(TTS, "say", say)
    assert main(["eval", str(place / "list.jsonl"), "--measures", "", "--sharpen", "--json", "-q"]) == 0
    assert spoke[-1].adapter is not None and json.loads(capsys.readouterr().out)["about"]["sharpened"] is True
    assert main(["eval", str(place / "list.jsonl"), "--measures", "", "--json", "-q"]) == 0
    assert spoke[-1] == str(place / "me.wav") and "sharpened" not in json.loads(capsys.readouterr().out)["about"]


@pytest.mark.parametrize("module", ["tts_fm.train.voice", "filelock"])
def test_without_torch_it_is_one_line_until_the_voice_is_learnt(place, module, monkeypatch, capsys):
    line = ["say", "Hello.", "-r", str(place / "me.wav"), "--sharpen", "-q", "-o", str(place / "a.wav")]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        assert main(line) == 5
        assert "needs torch" in capsys.readouterr().err and not (place / "a.wav").exists()
    assert main(line) == 0
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        assert main(line) == 0
