"""Making a voice in the demo: recordings are judged at once, learnt from in the background, and only this session's."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio")

from demo_fixtures import home, service  # noqa: F401
from test_adapt import toys  # noqa: F401
from test_data_recordings import babble

from tts_fm.demo import tabs_adapt
from tts_fm.demo.commands import OWN
from tts_fm.demo.making import SENTENCES, Spoken, judged
from tts_fm.demo.runs import Cancelled, Run
from tts_fm.text.phonemes import phoneme_units_many
from tts_fm.voices.adapters import read_voice


@pytest.fixture
def fixed(service, monkeypatch, tmp_path):  # noqa: F811
    """The service as if its toy model were the built-in one, with few updates."""
    from tiny_model import tiny_tts_folder

    monkeypatch.setattr(service.maker, "model", str(tiny_tts_folder(tmp_path / "tiny")))
    monkeypatch.setattr("tts_fm.train.adapt.updates_for", lambda seconds: 4)
    service.tts.engine.source = Path(service.maker.model)
    return service


def takes(count: int = 3) -> list[Spoken]:
    wave = (babble(4.0) * 32767).astype(np.int16)
    return [Spoken(n, wave, "4.0 s: good", True) for n in range(count)]


def going(stopped: bool = False) -> Run:
    return Run(lambda: stopped)


def test_the_sentences_have_all_sounds_of_english_and_are_short_enough():
    assert len(SENTENCES) == len(set(SENTENCES)) == 20
    assert all(40 <= len(sentence) <= 80 for sentence in SENTENCES)
    heard = {unit for units in phoneme_units_many(list(SENTENCES), "en-us") for unit in units}
    consonants = set("b d f h j k l m n p s t v w z ð ŋ ɡ ɹ ʃ ʒ θ d͡ʒ t͡ʃ".split())
    vowels = set("æ ɛ ɪ iː uː ʊ ʌ ɑː ɔː e͡ɪ a͡ɪ o͡ʊ a͡ʊ ɔ͡ɪ ɚ ə".split())
    assert consonants <= heard, consonants - heard
    assert vowels <= heard, vowels - heard


@pytest.mark.parametrize("gain, words", [(1.0, "good"), (0.01, "quiet"), (30.0, "clipped"), (0.0, "silent")])
def test_a_recording_is_judged_at_once(tmp_path, gain, words):
    soundfile.write(tmp_path / "a.wav", (babble(3.0) * gain).clip(-1, 1), 24_000)
    spoken = judged(4, str(tmp_path / "a.wav"))
    assert words in spoken.said and spoken.good == (words == "good") and spoken.number == 4
    assert spoken.wave.dtype == np.int16


def test_a_voice_is_made_heard_and_taken_home(fixed, tmp_path):
    told = []
    made = fixed.maker.make(takes(), [], "my own voice", None, going().check, lambda *a: told.append(a))
    assert made.info["clips"] == 3 and made.info["consent"] == "my own voice" and made.lines[0].startswith("kept")
    assert ("training", 4, 4) in [entry[:3] for entry in told]
    before, after = (fixed.heard("Hello.", voice, going()) for voice in (fixed.maker.cloned(made), made.voice))
    assert not np.array_equal(soundfile.read(before)[0], soundfile.read(after)[0])
    packed = fixed.maker.zip(made, tmp_path)
    assert zipfile.is_zipfile(packed) and read_voice(packed).adapter == made.voice.adapter
    assert not list(made.folder.parent.glob("recordings"))  # what was said is gone
    fixed.maker.forget(made)
    assert not made.folder.exists()


def test_uploads_with_their_texts(fixed, tmp_path):
    for n in range(2):
        soundfile.write(tmp_path / f"c{n}.wav", babble(4.0), 24_000)
        (tmp_path / f"c{n}.txt").write_text("Hello there, my friend.")
    files = [str(path) for path in sorted(tmp_path.glob("c*"))]
    assert fixed.maker.make([], files, "mine", None, going().check, lambda *_: None).info["clips"] == 2
    with pytest.raises(ValueError, match="evil.exe is no recording"):
        fixed.maker.make([], [str(tmp_path / "evil.exe")], "mine", None, going().check, lambda *_: None)


@pytest.mark.parametrize("spoken, consent, words", [([], "mine", "no recordings yet"), (takes(1), " ", "whose voice")])
def test_what_is_missing_is_said(fixed, spoken, consent, words):
    with pytest.raises(ValueError, match=words):
        fixed.maker.make(spoken, [], consent, None, going().check, lambda *_: None)


def test_stop_leaves_nothing(fixed):
    before = set(fixed.root.glob("made-*"))
    with pytest.raises(Cancelled):
        fixed.maker.make(takes(), [], "mine", None, going(stopped=True).check, lambda *_: None)
    assert set(fixed.root.glob("made-*")) == before


def test_a_recording_is_sharpened_in_the_background(fixed, tmp_path):
    soundfile.write(tmp_path / "me.wav", babble(4.0), 24_000)
    recording = str(tmp_path / "me.wav")
    voice = fixed.voice(OWN, recording, "Hello there.")
    same, line = fixed.maker.sharper(recording, "Hello there.", voice)
    assert same is voice and "in the background" in line
    next(iter(fixed.maker._sharpened.values())).result(timeout=60)
    sharp, line = fixed.maker.sharper(recording, "Hello there.", voice)
    assert sharp.adapter is not None and "sharpened voice" in line and sharp.name == voice.name
    assert soundfile.info(fixed.heard("Hello.", sharp, going())).duration > 0.1


def test_a_recording_that_cannot_be_sharpened_is_cloned_all_the_same(fixed, home):  # noqa: F811
    recording = str(home / "me.wav")  # a buzz without high frequencies
    voice = fixed.voice(OWN, recording, "Not wrong here.")
    fixed.maker.sharper(recording, "this is wrong", voice)
    list(fixed.maker._sharpened.values())[-1].exception(timeout=60)
    same, line = fixed.maker.sharper(recording, "this is wrong", voice)
    assert same is voice and "could not be sharpened" in line and recording not in line


def test_the_page_walks_through_the_sentences(fixed, tmp_path):
    take, step, make, speak = tabs_adapt.handlers(fixed)
    soundfile.write(tmp_path / "a.wav", babble(3.0), 24_000)
    said, sentence, kept = take(str(tmp_path / "a.wav"), 0, [])
    assert "good" in said and "1 recorded" in sentence and [t.number for t in kept] == [0]
    said, _, kept = take(str(tmp_path / "a.wav"), 0, kept)
    assert len(kept) == 1  # said again
    number, sentence, cleared, line = step(1)(0, kept)
    assert number == 1 and SENTENCES[1] in sentence and cleared is None and line == ""
    assert step(-1)(0, kept)[0] == 0 and step(1)(19, kept)[0] == 19
    who = SimpleNamespace(session_hash="s")
    done = list(make(kept + takes(3)[1:], None, "my own voice", 0, who, lambda *_, **__: None))[-1]
    assert "The voice is made" in done[0] and "kept" in done[1]
    said, before, after = list(speak(done[3], "Hello.", who))[-1]
    assert Path(before).is_file() and Path(after).is_file() and before != after
    with pytest.raises(ValueError, match="no voice yet"):
        list(speak(None, "Hello.", who))
