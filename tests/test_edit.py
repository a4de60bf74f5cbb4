"""Editing: what is kept is kept to the last sample, what is new is where it should be, and the joints are not heard."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tiny_model import VOCAB, tiny_flow, tiny_tts_folder

from tts_fm.audio.joints import FADE, splice
from tts_fm.audio.mel import HOP, SAMPLE_RATE, log_mel
from tts_fm.edit.change import EDGE, MARGIN, differences, edit, layout, read, word_ranges
from tts_fm.edit.recording import Edited
from tts_fm.engines.torch import TorchEngine
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS
from tts_fm.text.tokens import PhonemeTokenizer

OLD = "The birch canoe slid on the smooth planks."
NEW = "The birch canoe slid on the rough planks."


class Even:
    """An aligner for which every unit lasts as long, between 10 frames of silence on either side."""

    def __init__(self, score: float = -0.3, edge: float = 10.0) -> None:
        self.score, self.edge, self.asked = score, edge, []

    def align(self, wave, text, lang):
        self.asked.append((text, lang))
        units = planned(text).units
        size = (len(wave) / HOP - 2 * self.edge) / len(units)
        return SimpleNamespace(
            units=units, frames=[size] * len(units), lead=self.edge, tail=self.edge, score=self.score, words=[]
        )


def planned(text: str):
    return read(text, PhonemeTokenizer(VOCAB), "en-us")


def speech_like(seconds: float = 3.0) -> np.ndarray:
    """(S,) float32: a buzz in syllables."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.2 * buzz * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def tts(tmp_path_factory) -> TTS:
    return TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return speech_like()


def changed(old: str, new: str) -> list[tuple[str, str]]:
    """Words that go and words that come, as the diff finds them."""
    a, b = planned(old), planned(new)
    edges = np.arange(len(a.units) + 1) * 6.0
    found = differences(a, b, a.units, edges, "en-us")
    return [(" ".join(a.words[slice(*s.words)]), " ".join(b.words[slice(*s.new_words)])) for s in found]


# ---- what changes


@pytest.mark.parametrize(
    ("new", "truth"),
    [
        (NEW, [("smooth", "rough")]),
        ("The birch canoe slid on the planks.", [("smooth", "")]),
        ("The old birch canoe slid on the smooth planks.", [("The", "The old")]),  # "The" is too short to join to
        ("The birch canoe quickly slid on the smooth planks.", [("", "quickly")]),
        ("My birch canoe slid on the smooth table.", [("The", "My"), ("planks.", "table.")]),
        ("The birch canoe slid on the smooth planks?", [("planks.", "planks?")]),
        ("THE BIRCH canoe slid on the smooth planks today.", [("planks.", "planks today.")]),
        ("Birch canoe slid on the smooth planks.", [("The", "")]),
        ("The [birch](/bɪɹtʃ/) canoe slid on the smooth planks.", [("The birch", "The birch")]),  # other phones
        ("The birch canoe slid.", [("slid on the smooth planks.", "slid.")]),
    ],
)
def test_only_words_that_differ_change(new, truth):
    assert changed(OLD, new) == truth


def test_what_is_too_short_between_two_changes_changes_too():
    assert changed("Take one of my red apples home now.", "Take two of his red apples home now.") == [
        ("one of my", "two of his")
    ]


def test_units_of_a_stretch_lie_between_the_spaces_around_it():
    old, new = planned(OLD), planned(NEW)
    (s,) = differences(old, new, old.units, np.arange(len(old.units) + 1) * 6.0, "en-us")
    assert "".join(old.units[slice(*s.units)]) == " smˈuːð "
    assert "".join(new.units[slice(*s.new_units)]) == " ɹˈʌf "


def test_words_own_their_stress_and_their_marks():
    units = planned("Hello, my friend!").units
    ranges = word_ranges(["Hello,", "my", "friend!"], units, "en-us")
    assert ["".join(units[a:b]) for a, b in ranges] == ["həlˈo͡ʊ,", "ma͡ɪ", "fɹˈɛnd!"]
    first, last = word_ranges(["zzz", "my"], ["m", "a͡ɪ"], "en-us")[0]
    assert first >= last  # a word that is not heard has no units


# ---- what stays


def test_the_recording_stays_to_the_sample_outside_of_the_change(tts, wave):
    result = edit(tts, wave, OLD, NEW, aligner=Even())
    (span,) = result.spans
    begin, end = round(span.start * SAMPLE_RATE), round((result.seconds - span.end) * SAMPLE_RATE)
    assert (span.old, span.new) == ("smooth", "rough")
    np.testing.assert_array_equal(result.wave[: begin - FADE - 24], wave[: begin - FADE - 24])
    np.testing.assert_array_equal(
        result.wave[len(result.wave) - end + FADE + 24 :], wave[len(wave) - end + FADE + 24 :]
    )
    assert result.wave.dtype == np.float32 and np.abs(result.wave).max() <= 1
    assert [w.text for w in result.words] == NEW.strip(".").split()
    assert all(a.end <= b.start for a, b in zip(result.words[:-1], result.words[1:], strict=True))
    rough = result.words[6]
    assert span.start <= rough.start < rough.end <= span.end


def test_words_behind_a_change_move_with_it(tts, wave):
    before = edit(tts, wave, OLD, NEW, aligner=Even())
    longer = edit(tts, wave, OLD, OLD.replace("smooth", "incredibly beautiful"), aligner=Even())
    grown = longer.seconds - before.seconds
    assert grown > 0.1
    assert longer.words[-1].start - before.words[-1].start == pytest.approx(grown, abs=0.002)


def test_the_same_seed_gives_the_same_samples_and_another_changes_the_stretch_only(tts, wave):
    one, two, other = (edit(tts, wave, OLD, NEW, aligner=Even(), settings=Settings(seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.wave, two.wave)
    middle = slice(*(round(t * SAMPLE_RATE) for t in (one.spans[0].start, one.spans[0].end)))
    assert not np.allclose(one.wave[middle], other.wave[middle], atol=1e-3)


def test_given_frames_are_those_of_the_recording_and_times_add_up(tts, wave):
    mel = log_mel(wave)
    old, new = planned(OLD), planned("A birch canoe slid on the rough planks today.")
    found = Even().align(wave, OLD, "en-us")
    edges = np.cumsum([found.lead, *found.frames])
    stretches = differences(old, new, found.units, edges, "en-us")
    units, frames, whole, given, places = layout(tts, mel, found, edges, new, stretches, 1.0)
    assert len(units) == len(frames) and sum(frames) == pytest.approx(len(whole)) and len(given) == len(whole)
    at = 0
    for place in places:
        np.testing.assert_array_equal(whole[place.start - (place.first - at) : place.start], mel[at : place.first])
        assert not given[place.start : place.start + place.length].any()
        at = place.last
    assert int(given.sum()) == len(mel) - sum(place.last - place.first for place in places)
    for s, place in zip(stretches, places, strict=True):  # the margins are spoken anew
        assert place.first <= edges[s.units[0]] - MARGIN and place.last >= edges[s.units[1]] + MARGIN


def test_new_words_keep_the_pace_of_the_speaker(tts, wave):
    slow = np.concatenate([wave, wave])
    length = [edit(tts, w, OLD, NEW, aligner=Even()).spans[0] for w in (wave, slow)]
    quick = edit(tts, wave, OLD, NEW, aligner=Even(), settings=Settings(speed=1.5)).spans[0]
    short, long = (span.end - span.start for span in length)
    assert long > 1.4 * short and quick.end - quick.start < short


@pytest.mark.parametrize(
    "new", ["My birch canoe slid on the smooth planks.", "The birch canoe slid on the smooth table."]
)
def test_changes_at_the_ends_of_a_recording_without_silence(tts, wave, new):
    result = edit(tts, wave, OLD, new, aligner=Even(edge=0.0))
    first = new.startswith("My")
    assert abs(result.wave[0 if first else -1]) < 1e-6
    assert result.spans[0].start == 0.0 if first else result.spans[0].end == pytest.approx(result.seconds, abs=1e-3)


def test_whatever_words_change_everything_has_its_place(tts, wave):
    rng = np.random.default_rng(1)
    words = "one two three four five six seven eight nine ten eleven twelve".split()
    mel = log_mel(wave)
    for trial in range(40):
        new = [word for word in words if rng.random() > 0.15] or ["one"]
        for _ in range(rng.integers(0, 4)):
            new.insert(rng.integers(0, len(new) + 1), str(rng.choice(["apple", "river", "a", "six"])))
        found = Even(edge=float(rng.choice([0, 2, 10]))).align(wave, " ".join(words), "en-us")
        edges = np.cumsum([found.lead, *found.frames])
        stretches = differences(planned(" ".join(words)), planned(" ".join(new)), found.units, edges, "en-us")
        if not stretches:
            continue
        _, frames, whole, given, places = layout(tts, mel, found, edges, planned(" ".join(new)), stretches, 1.0)
        assert min(frames) >= 0 and sum(frames) == pytest.approx(len(whole)) and np.isfinite(whole).all(), trial
        result, knots, _ = splice(wave, np.zeros((len(whole) - 1) * HOP, np.float32), places)
        assert np.all(np.diff([a for a, _ in knots]) >= 0) and np.all(np.diff([b for _, b in knots]) >= 0)
        assert abs(len(result) - (len(whole) - 1) * HOP) < HOP + len(places) * 330
        kept = sum(
            max(0, b - a)
            for a, b in zip([0, *[p.last for p in places]], [*[p.first for p in places], len(mel)], strict=True)
        )
        assert int(given.sum()) == kept


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "new", "words"),
    [
        (OLD, OLD.upper(), "says the same"),
        (OLD, "Nothing like it at all!", "no words of the recording would be left"),
        ("", NEW, "the transcript is empty"),
        (OLD, " ", "the new text is empty"),
        (OLD, "?!", "can be spoken"),
        (OLD, NEW + " <break 1s> Yes.", "<break>"),
        (OLD * 20, NEW, "more than anybody can say"),
        (OLD, NEW + " And then some more words came." * 20, "the limit is 45 s"),
    ],
)
def test_bad_texts(tts, wave, text, new, words):
    with pytest.raises(ValueError, match=words):
        edit(tts, wave, text, new, aligner=Even())


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros(48_000, np.float32), "silent"),
        (np.ones(100, np.float32), "0.5 to 30 s"),
        (np.ones(31 * SAMPLE_RATE, np.float32), "0.5 to 30 s"),
        (np.full(48_000, np.nan, np.float32), "finite"),
        (np.ones((2, 48_000), np.float32), "mono"),
    ],
)
def test_bad_recordings(tts, bad, words):
    with pytest.raises(ValueError, match=words):
        edit(tts, bad, OLD, NEW, aligner=Even())


def test_settings_and_models_that_do_not_fit(tts, wave):
    for settings in (Settings(duration=3.0), Settings(loudness=-20.0)):
        with pytest.raises(ValueError, match="of the recording"):
            edit(tts, wave, OLD, NEW, aligner=Even(), settings=settings)
    other = TTS(TorchEngine(tiny_flow(text="average"), tts.engine.vocoder))
    with pytest.raises(ValueError, match="`average`.*`aligned` model"):
        edit(other, wave, OLD, NEW, aligner=Even())


def test_a_transcript_that_does_not_fit_is_told(tts, wave):
    assert not edit(tts, wave, OLD, NEW, aligner=Even()).warnings
    (warning,) = edit(tts, wave, OLD, NEW, aligner=Even(score=-8.0)).warnings
    assert "hardly fits" in warning


def test_progress_may_stop_it(tts, wave):
    seen = []

    def stop(*at):
        seen.append(at)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        edit(tts, wave, OLD, NEW, aligner=Even(), settings=Settings(steps=5), on_progress=stop)
    assert seen == [(0, 5, 0, 1)]


# ---- the command


@pytest.fixture
def recording(tmp_path, monkeypatch, wave):
    monkeypatch.setattr("tts_fm.engines.align.Aligner.load", lambda folder=None: Even())
    monkeypatch.setenv("TTS_FM_MODEL", str(tiny_tts_folder(tmp_path / "model")))
    soundfile.write(tmp_path / "talk.wav", wave, SAMPLE_RATE)
    return tmp_path / "talk.wav"


def test_the_command_writes_what_is_edited_with_a_note(recording, capsys):
    from tts_fm.cli.main import main

    out = recording.with_name("new.flac")
    assert main(["edit", str(recording), "--text", OLD, "--new", NEW, "-o", str(out), "--seed", "2"]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == str(out) and "'smooth' is now 'rough'" in shown.err
    with soundfile.SoundFile(out) as file:
        assert (
            file.samplerate == SAMPLE_RATE
            and "edited recording, generated speech at" in file.comment
            and "seed 2" in file.comment
        )
    assert main(["edit", str(recording), "--text", OLD, "--new", NEW, "-o", str(out), "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["changes"][0]["new"] == "rough" and len(told["words"]) == 8


def test_the_command_refuses_in_one_line(recording, capsys):
    from tts_fm.cli.main import main

    soundfile.write(recording.with_name("long.wav"), np.tile(speech_like(), 11), SAMPLE_RATE)
    faults = [
        ([str(recording), "--text", OLD, "--new", OLD], "says the same"),
        (["nowhere.wav", "--text", OLD, "--new", NEW], "no recording nowhere.wav"),
        ([str(recording.with_name("long.wav")), "--text", OLD, "--new", NEW], "30.0 s"),
        ([str(recording), "--text", OLD], "--new"),
        ([str(recording), "--text", OLD, "--new", NEW, "--steps", "0"], "steps"),
        ([str(recording), "--text", OLD, "--new", NEW, "--duration", "3"], "duration"),
    ]
    for arguments, words in faults:
        assert main(["edit", *arguments, "-o", str(recording.with_name("x.wav"))]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and words in lines[0], lines
    assert not recording.with_name("x.wav").exists()


def test_edited_tells_its_length():
    assert Edited(np.zeros(SAMPLE_RATE, np.float32), [], [], Settings(), 0.0).seconds == 1.0 and EDGE * HOP > 2 * FADE
