"""The last layer fitted to a recording: the least squares are right, speech comes nearer, and what cannot be fitted is
spoken as it was.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import tiny_tts_folder

from tts_fm.audio.mel import log_mel
from tts_fm.cli.main import main
from tts_fm.engines import attune
from tts_fm.engines.attune import MATCH, OTHER_WORDS, RIDGE, SHOWN, TIMES, Attuner, Said, fitted, missed, said_in
from tts_fm.engines.export import export_onnx
from tts_fm.engines.onnx import OnnxEngine
from tts_fm.engines.torch import TorchEngine
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS, Request
from tts_fm.text.symbols import SILENCE
from tts_fm.voices.stored import BUILTIN, Voice, get_voice

TEXT = "The birch canoe slid."
NAME = "heart"
WHOLE = Settings(attune=1.0, match=1.0)
SAID = json.loads((BUILTIN / "voices.json").read_text("utf-8"))[NAME]["text"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_tts_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def graphs(model, tmp_path_factory) -> Path:
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("models") / "graphs"
    export_onnx(model, folder)
    return folder


@pytest.fixture(scope="module")
def tts(model) -> TTS:
    torch.set_num_threads(1)
    return TTS.load(model)


@pytest.fixture(scope="module")
def voice() -> Voice:
    return get_voice(BUILTIN / f"{NAME}.flac", SAID)


class Planted:
    """An engine whose velocity misses every recording by a linear map of white features, which it knows."""

    vocab, patch, scale = ["<unk>", SILENCE, "a"], 2, (-2.0, 3.0)

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.weight, self.bias = self.rng.normal(size=(200, 8)), self.rng.normal(size=200)

    def features(self, utterance, x, times):
        (_, frames, _), at = x.shape, np.array(times)[:, None, None]
        features = self.rng.normal(size=(len(times), frames // 2, 8))
        error = (features @ self.weight.T + self.bias).reshape(x.shape)
        speech = (self.mel(utterance) - self.scale[0]) / self.scale[1]
        noise = (x - at * speech) / (1 - at)
        return speech - noise - error, features

    def mel(self, utterance):
        """The recording rises by one a frame, so that its parts can be told wherever they stand."""
        shown, frames = len(utterance.prompt), utterance.frames
        order = [*range(frames - shown, frames), *range(frames - shown)]  # its beginning behind its end
        return np.repeat(np.array(order, float)[:, None], 100, 1)


def test_a_planted_map_is_found_but_for_the_ridge() -> None:
    """White features of variance 1: the penalty of RIDGE a position shrinks the solution by 1 / (1 + RIDGE), and so do
    positions at which nothing is missing: of the background, the quietest twentieth of the recording."""
    engine, frames = Planted(), 400
    mel = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 100, 1)
    weight, bias = fitted(engine, Said(mel, np.array([1, 2, 2, 1]), np.full(4, 100.0), np.ones(frames)))
    assert weight.shape == (200, 8) and bias.shape == (200,)
    left = heard(frames // 20, frames) / (1 + RIDGE)
    np.testing.assert_allclose(weight / left, engine.weight, atol=0.15)
    np.testing.assert_allclose(bias / left, engine.bias, atol=0.15)


def heard(quiet: int, frames: int) -> float:
    """Which share of the positions that are fitted is no background, that being the recording's first frames: all but
    the parts that are shown, from its end, are spoken."""
    return 1 - len(SHOWN) * quiet / sum(frames * (1 - share) for share in SHOWN)


def test_the_words_of_a_recording_lie_where_they_are_heard(tts, voice) -> None:
    said, warnings = said_in(voice, tts.engine.vocab, 2)
    mel, ids, durations = said.mel, said.ids, said.durations
    assert (said.sure == 1).all() and not warnings
    assert len(mel) % 2 == 0 and len(mel) <= len(log_mel(voice.wave))
    assert durations.sum() == pytest.approx(len(mel), abs=1) and (durations >= 0).all()
    assert tts.engine.vocab[ids[0]] == tts.engine.vocab[ids[-1]] == SILENCE
    assert mel[: int(durations[0])].mean() < mel.mean() - 2  # nepers: silence


def test_a_stored_voice_is_checked_for_its_words(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TTS_FM_HOME", str(tmp_path))
    recording = str(BUILTIN / f"{NAME}.flac")
    for name, text, warned in (("right", SAID, False), ("wrong", "Six spoons of fresh snow peas.", True)):
        assert main(["voice", "add", name, recording, "--text", text]) == 0
        assert (OTHER_WORDS in capsys.readouterr().err) == warned


@pytest.mark.parametrize("kind", ["first half", "second half", "twice"])
def test_half_a_transcript_is_not_taken_for_the_whole(tts, voice, kind) -> None:
    words = SAID.split()
    half = len(words) // 2
    text = " ".join({"first half": words[:half], "second half": words[half:], "twice": words * 2}[kind])
    (said, _), (heard, _) = (said_in(replace(voice, text=one), tts.engine.vocab, 2) for one in (text, None))
    np.testing.assert_array_equal(said.ids, heard.ids)
    np.testing.assert_array_equal(said.sure, heard.sure)


def test_both_engines_give_the_same_features(graphs, model, tts, voice) -> None:
    """And the last layer makes the velocity of them."""
    said, _ = said_in(voice, tts.engine.vocab, 2)
    asked, mel, _ = attune.planned(tts.engine, said, 0.4)
    x = np.random.default_rng(0).normal(size=(len(TIMES), *mel.shape)).astype(np.float32)
    networks = TorchEngine.load(model, dtype=torch.float32)
    wanted = networks.features(asked, x, TIMES)
    found = OnnxEngine(graphs, "float32").features(asked, x, TIMES)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    layer = networks.model.net.proj_out
    made = wanted[1] @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(made.reshape(wanted[0].shape), wanted[0], atol=1e-4)


def test_the_velocity_comes_nearer_to_the_recording(tts, voice, monkeypatch) -> None:
    """With other noise than that of the fit."""
    said, _ = said_in(voice, tts.engine.vocab, 2)
    attuned, _ = Attuner(tts.engine).of(voice, WHOLE)
    engine = tts.engine.adapted(attuned.adapter, "v")
    drawn = attune.seeded_normal
    monkeypatch.setattr(attune, "seeded_normal", lambda seed, shape: drawn(1000 + seed, shape))
    before, after = (np.mean([np.square(e).mean() for _, e, _ in missed(one, said)]) for one in (tts.engine, engine))
    assert after < 0.9 * before


def test_speech_is_another_and_the_same_in_a_batch(tts, voice) -> None:
    plain, whole, half = (tts.say(TEXT, voice, attune=share).wave for share in (0.0, 1.0, 0.5))
    assert plain.shape == whole.shape and not np.allclose(plain, whole) and not np.allclose(half, whole)
    voices = voice, get_voice(BUILTIN / "lewis.flac")
    found = dict(tts.batch([Request(TEXT, one, settings=Settings(attune=1.0)) for one in voices]))
    assert np.array_equal(found[0].wave, whole)


def test_less_of_match_is_left_to_do(tts, voice) -> None:
    attuner = Attuner(tts.engine)
    assert attuner.of(voice, WHOLE)[1].match == pytest.approx(MATCH)
    assert attuner.of(voice, replace(WHOLE, match=0.5))[1].match == pytest.approx(MATCH / 2)
    assert attuner.of(voice, replace(WHOLE, attune=0.0))[1].match == 1.0


def test_bands_that_the_recording_does_not_have_stay() -> None:
    """A telephone's: where nothing is, the network is not to learn silence."""
    frames = 400
    mel = np.repeat(np.linspace(-400, 0, frames, dtype=np.float32)[:, None], 100, 1)
    mel[:, 66:] = -11.5

    class Telephone(Planted):
        def mel(self, utterance):
            return mel[super().mel(utterance)[:, 0].astype(int)]

    engine = Telephone()
    weight, bias = fitted(engine, Said(mel, np.array([1, 2, 2, 1]), np.full(4, 100.0), np.ones(frames)))
    there = np.tile(np.arange(100) < 66, 2)
    left = heard(frames // 20, frames) / (1 + RIDGE)
    np.testing.assert_allclose(weight[there] / left, engine.weight[there], atol=0.15)
    assert not weight[~there].any() and not bias[~there].any()


def test_the_background_of_a_recording_is_not_learnt() -> None:
    """Whatever the network misses in its pauses, the solution is the same, and as small as if nothing were missing."""
    frames = 400
    mel = np.repeat(np.where(np.arange(frames) < frames / 4, -5.0, 0.0)[:, None], 100, 1)

    class Noisy(Planted):
        def __init__(self, noise):
            super().__init__()
            self.noise = noise

        def mel(self, utterance):
            return mel[super().mel(utterance)[:, 0].astype(int)]

        def features(self, utterance, x, times):
            velocity, features = super().features(utterance, x, times)
            return velocity + np.where(self.mel(utterance) < -4, self.noise, 0.0), features

    said = Said(mel, np.array([1, 2, 2, 1]), np.full(4, 100.0), np.ones(frames))
    quiet, loud = (fitted(Noisy(noise), said) for noise in (0.0, 5.0))
    for one, other in zip(quiet, loud, strict=True):
        np.testing.assert_array_equal(one, other)
    left = heard(frames // 4, frames) / (1 + RIDGE)
    np.testing.assert_allclose(quiet[1] / left, Planted().bias, atol=0.3)


def test_a_part_that_is_doubtful_does_not_count() -> None:
    """Its errors are of another map, and nothing of that is in the solution."""
    frames = 400
    mel = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 100, 1)

    class Half(Planted):
        def features(self, utterance, x, times):
            velocity, features = super().features(utterance, x, times)
            wrong = self.mel(utterance)[:, 0] < frames / 4  # the recording's first quarter
            return velocity + np.where(wrong[:, None], 5.0, 0.0), features

    said = Said(mel, np.array([1, 2, 2, 1]), np.full(4, 100.0), np.ones(frames))
    doubtful = replace(said, sure=(mel[:, 0] >= frames / 4).astype(float))
    bias = {name: fitted(engine, one)[1] - engine.bias for name, engine, one in (
        ("right", Planted(), said), ("wrong", Half(), said), ("doubtful", Half(), doubtful)
    )}  # fmt: skip
    assert np.abs(bias["right"]).mean() < 0.2 and np.abs(bias["doubtful"]).mean() < 0.2
    assert np.abs(bias["wrong"]).mean() > 1


@pytest.mark.parametrize("kind", ["without text", "other words", "too many words"])
def test_without_its_words_the_sounds_that_are_heard_count(tts, voice, kind) -> None:
    text = {"without text": None, "other words": "Six spoons of fresh snow peas.", "too many words": SAID * 9}[kind]
    attuned, settings = Attuner(tts.engine).of(replace(voice, text=text), WHOLE)
    assert attuned.adapter is not None and settings.match == MATCH
    assert attuned.warnings == (() if text is None else (OTHER_WORDS,))
    with_words, _ = Attuner(tts.engine).of(voice, WHOLE)
    one, other = (np.concatenate([x.ravel() for x in v.adapter.tensors.values()]) for v in (attuned, with_words))
    assert np.corrcoef(one, other)[0, 1] > 0.5 and not np.allclose(one, other)


@pytest.mark.parametrize("kind", ["short", "noise", "silent", "shipped"])
def test_what_cannot_be_fitted_is_spoken_as_it_was(tts, voice, kind, caplog) -> None:
    caplog.set_level(logging.INFO, "tts_fm.engines.attune")
    voice = {
        "short": Voice("short", voice.wave[: 24_000 * 5 // 4], "A word."),
        "noise": Voice("noise", 0.1 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)),
        "silent": Voice("silent", np.zeros(48_000, np.float32)),
        "shipped": get_voice(NAME),
    }[kind]
    found, settings = Attuner(tts.engine).of(voice, WHOLE)
    assert found.adapter is voice.adapter and settings == WHOLE
    assert ("is copied as it is" in caplog.text) == (kind != "shipped")
    assert found.warnings == voice.warnings


def test_graphs_of_before_are_passed_over(graphs, voice, monkeypatch) -> None:
    """They give the velocity alone: speech goes on without the fit."""
    engine = OnnxEngine(graphs, "float32")
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda graph, **feed: run(graph, **feed)[: 1 if graph == "velocity" else None])
    assert Attuner(engine).of(voice, WHOLE)[0].adapter is None
