"""The voice that ships: it is there, small enough, and speaks offline. How well it speaks is measured by `make
eval`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tts_fm import TTS
from tts_fm.audio.texture import modulations
from tts_fm.engines.load import load_engine
from tts_fm.engines.quick import read_quick
from tts_fm.engines.sessions import listed, read_manifest, tensors_of
from tts_fm.synthesis import BUILTIN

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "tts_fm" / "assets"


@pytest.fixture(scope="module")
def tts() -> TTS:
    return TTS.load()


def test_assets_are_small_and_hold_no_pickle():
    files = [p for p in ASSETS.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 48e6
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".txt", ".flac", ".md", ".py", ".onnx"}
    assert (ASSETS / "MODEL_CARD.md").is_file()


def test_there_are_six_to_ten_named_voices(tts):
    assert 6 <= len(tts.voices()) <= 10
    for name in tts.voices():
        voice = tts.voice(name)
        assert 2 <= len(voice.wave) / 24_000 <= 12 and voice.lang in ("en-us", "en-gb")


def test_it_speaks_at_a_human_pace_and_level(tts):
    speech = tts.say("The birch canoe slid on the smooth planks.", steps=4)
    assert 1.5 < speech.seconds < 5
    assert 0.1 < np.abs(speech.wave).max() <= 1
    level = np.sqrt(np.mean(speech.wave**2))
    assert 0.01 < level < 0.3
    frames = np.lib.stride_tricks.sliding_window_view(speech.wave, 2400)[::1200].std(axis=1)
    assert np.mean(frames > 0.2 * level) > 0.5  # speech most of the time, not a click in silence


def test_two_steps_are_a_student_s_and_less_smooth_than_the_teacher_s():
    """Modulations of the fine structure, harmonics among them, before the texture is given back."""
    engine, quick, power = load_engine(BUILTIN), read_quick(BUILTIN), {}
    engine.texture = {}
    assert quick is not None and quick.texture.keys() == quick.steps.keys()
    fresh = TTS(engine, replace(quick, texture={}))
    for who, how in {"student": {"steps": 2}, "teacher": {"grid": (0.0, 0.292893, 1.0)}}.items():
        chunks = fresh.stream("The birch canoe slid on the smooth planks, and rice is good to eat.", match=0.0, **how)
        power[who] = modulations(chunk.mel for chunk in chunks)[:, 35:60].sum()
    assert power["student"] > 1.5 * power["teacher"]


@pytest.mark.parametrize("text", ["Hello.", "Yes!", "Tomorrow?"])
def test_short_words_are_neither_empty_nor_endless(tts, text):
    assert 0.3 < tts.say(text, steps=4).seconds < 1.8


def test_the_first_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], "README.md", "exec"), {})
    assert (tmp_path / "hello.wav").stat().st_size > 20_000
    assert "Hello" in capsys.readouterr().out


def test_every_weight_that_a_voice_may_change_is_changed_in_the_graphs_too() -> None:
    """A graph holds none of its own: what lies in it alone, an adapted voice could not change."""
    manifest = read_manifest(BUILTIN)
    placed = [
        places for graph in (*manifest["places"].values(), *manifest["int8"].values()) for places in graph.values()
    ]
    found = {tuple(place[:2]) for places in placed for place in listed(places)}
    for file in ("model.safetensors", "duration/model.safetensors"):
        lacking = [name for name, (offset, _, _) in tensors_of(BUILTIN / file).items() if (file, offset) not in found]
        assert not lacking, f"{file}: {lacking}"
