"""Adapted voices at work: merged exactly, beside each other, by name, by folder, in batches and in the server."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from adapted_toys import ATTENTION, adapted
from demo_toys import speech_like, store_voices
from tiny_model import tiny_tts_folder

from tts_fm.checkpoint.load import load_flow_model, save_flow_model
from tts_fm.engines.quick import write_quick
from tts_fm.errors import ModelError
from tts_fm.model.duration import load_duration_model, save_duration_model
from tts_fm.synthesis import TTS, Request
from tts_fm.voices.adapters import pack, read_voice, write_voice
from tts_fm.voices.stored import (
    Voice,
    add_adapted,
    add_voice,
    catalogue,
    get_voice,
    remove_voice,
    user_folder,
    voice_digest,
)

TEXT = "The birch canoe slid on the smooth planks."


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_tts_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tts(model) -> TTS:
    torch.set_num_threads(1)
    return TTS.load(model)


def test_what_is_edited_in_a_voice_counts_at_once(model, tmp_path):
    place = adapted(tmp_path / "me", model, 1)
    assert get_voice(place).adapter.defaults == {"match": 0.0}
    info = json.loads((place / "voice.json").read_text())
    (place / "voice.json").write_text(json.dumps(info | {"match": 0.5}))
    assert get_voice(place).adapter.defaults == {"match": 0.5}
    add_adapted("mine", place)
    before = voice_digest("mine")  # by which a list knows what to speak again
    (user_folder() / "mine" / "voice.json").write_text(json.dumps(info))
    assert voice_digest("mine") != before


def test_an_adapted_voice_is_the_model_with_its_weights_changed(model, tmp_path):
    """Against a model folder whose weights were changed by hand, in double precision, and which knows no adapters."""
    place = adapted(tmp_path / "me", model, 1)
    by_hand = shutil.copytree(model, tmp_path / "changed")
    tensors = {k: torch.tensor(np.asarray(v)).double() for k, v in read_voice(place).adapter.tensors.items()}
    flow = load_flow_model(model)
    durations = load_duration_model(model / "duration")
    with torch.no_grad():
        weights = dict(flow.net.named_parameters())
        q = f"flow/{ATTENTION}.weight"
        weights[f"{ATTENTION}.weight"].add_((tensors[f"{q}.b"] @ tensors[f"{q}.a"]).float())
        weights["transformer_blocks.0.offset"].add_(tensors["flow/transformer_blocks.0.offset"].float())
        durations.head.bias.add_(tensors["duration/head.bias"].float())
    save_flow_model(by_hand, flow, extra={"defaults": {"steps": 2, "cfg": 1.0}})
    save_duration_model(durations, by_hand / "duration", half=False)
    ours = TTS.load(model, dtype=torch.float32).say(TEXT, place)
    voice = get_voice(place)
    theirs = TTS.load(by_hand, dtype=torch.float32).say(TEXT, replace(voice, adapter=None), match=0.0)
    np.testing.assert_allclose(ours.wave, theirs.wave, atol=1e-4)
    plain = TTS.load(model, dtype=torch.float32).say(TEXT, replace(voice, adapter=None), match=0.0)
    assert plain.wave.shape != ours.wave.shape or np.abs(plain.wave - ours.wave).max() > 1e-3


def test_a_few_step_student_speaks_in_adapted_voices_too(model, tmp_path):
    """Both changes are added to the weights, in either order; where the student is not asked, the voice's alone."""
    place = adapted(tmp_path / "me", model, 1)
    quick = Path(shutil.copytree(model, tmp_path / "quick"))
    student = read_voice(adapted(tmp_path / "student", model, 2)).adapter.part("flow")
    student = {name: value for name, value in student.items() if name[-2:] in (".a", ".b")}  # a sum would be rounded
    write_quick(quick, student, steps={2: 1.0})
    by_hand = adapted(tmp_path / "both", model, 1)
    both = dict(read_voice(place).adapter.tensors)
    for name, value in student.items():
        both[f"flow/{name}"] = np.concatenate([both[f"flow/{name}"], value], "ab".index(name[-1]))
    write_voice(by_hand, json.loads((place / "voice.json").read_text()), both, speech_like(2.3), 24_000)
    tts = TTS.load(quick, dtype=torch.float32)
    plain = TTS.load(model, dtype=torch.float32)
    ours = tts.say(TEXT, place, cfg=0.0).wave
    np.testing.assert_allclose(ours, plain.say(TEXT, by_hand, cfg=0.0).wave, atol=1e-4)
    assert np.abs(ours - plain.say(TEXT, place, cfg=0.0).wave).max() > 1e-3
    assert np.array_equal(tts.say(TEXT, place).wave, plain.say(TEXT, place).wave), "guided"


def test_by_name_by_folder_and_by_zip_it_is_one_voice(tts, model, tmp_path):
    place = adapted(tmp_path / "me", model, 1)
    packed = pack(place, tmp_path / "me.zip")
    stored = add_adapted("mine", packed)
    assert stored.name == "mine" and "mine" in tts.voices()
    truth = tts.say(TEXT, place).wave
    for spec in (packed, "mine"):
        assert np.array_equal(tts.say(TEXT, spec).wave, truth)
    before = voice_digest("mine")
    add_adapted("mine", adapted(tmp_path / "other", model, 2))
    assert voice_digest("mine") != before
    assert not np.array_equal(tts.say(TEXT, "mine").wave, truth)
    assert voice_digest(str(place)) == voice_digest(str(packed)) != voice_digest(str(tmp_path / "other"))
    remove_voice("mine")
    assert "mine" not in catalogue() and not list(user_folder().glob("mine*"))


def test_a_recording_may_take_the_place_of_an_adapted_voice(tts, model, tmp_path):
    import soundfile

    add_adapted("mine", adapted(tmp_path / "me", model, 1))
    soundfile.write(tmp_path / "a.wav", speech_like(3.0), 24_000)
    add_voice("mine", tmp_path / "a.wav")
    assert get_voice("mine").adapter is None and not (user_folder() / "mine").exists()


def test_several_voices_in_one_batch_are_each_as_alone(tts, model, tmp_path):
    voices: list[Voice] = [get_voice(adapted(tmp_path / f"v{k}", model, k)) for k in range(3)]
    voices.append(Voice("plain", speech_like(2.5), None, "en-us"))
    requests = [Request(TEXT, voice) for voice in voices for _ in range(2)]
    alone = [tts.say(TEXT, voice).wave for voice in voices]
    for number, speech in tts.batch(requests):
        assert np.array_equal(speech.wave, alone[number // 2])
    assert len({wave.tobytes() for wave in alone}) == 4


def test_the_least_used_of_many_is_forgotten_and_comes_again(tts, model, tmp_path, monkeypatch):
    monkeypatch.setattr("tts_fm.engines.adapted.KEPT", 2)
    fresh = TTS(tts.engine)
    voices = [get_voice(adapted(tmp_path / f"v{k}", model, k)) for k in range(3)]
    first = fresh.say(TEXT, voices[0]).wave
    for voice in voices[1:]:
        fresh.say(TEXT, voice)
    assert np.array_equal(fresh.say(TEXT, voices[0]).wave, first) and len(fresh._engines._made) == 2


def test_without_its_prompt_only_the_speech_goes_through_the_network(tts, model, tmp_path):
    whole = get_voice(adapted(tmp_path / "with", model, 1))
    half = get_voice(adapted(tmp_path / "without", model, 1, prompted=False))
    one, other = tts.plan(Request(TEXT, whole))[0], tts.plan(Request(TEXT, half))[0]
    assert len(one.prompt) > 100 and len(other.prompt) == 0
    assert other.frames == pytest.approx(one.frames - len(one.prompt), abs=1)
    spoken = tts.say(TEXT, half)
    assert spoken.seconds == pytest.approx(tts.say(TEXT, whole).seconds, abs=0.5)
    assert np.abs(spoken.wave).max() > 0 and np.isfinite(tts.say(TEXT, half, match=1.0).wave).all()


def test_another_model_is_refused_by_name(model, tmp_path):
    other = tiny_tts_folder(tmp_path / "elsewhere")
    (other / "vocab.txt").write_text((other / "vocab.txt").read_text("utf-8").replace("h\n", "H\n", 1), "utf-8")
    with pytest.raises(ModelError, match=r"'v1' belongs to the model tiny \(\w{8}\), not to elsewhere"):
        TTS.load(other).say(TEXT, adapted(tmp_path / "me", model, 1))


def test_a_batch_says_again_what_another_adapter_said(tts, model, tmp_path):
    from tts_fm.batch.lists import read_list
    from tts_fm.batch.run import run_batch

    (tmp_path / "list.jsonl").write_text('{"id": "a", "text": "Hello there.", "voice": "mine"}\n')
    waves = []
    for seed in (1, 2):
        add_adapted("mine", adapted(tmp_path / f"v{seed}", model, seed))
        items = read_list(tmp_path / "list.jsonl").items
        assert run_batch(items, tmp_path / "out", lambda: tts, model="m").spoken == 1
        assert run_batch(items, tmp_path / "out", lambda: tts, model="m").skipped == 1
        waves.append((tmp_path / "out" / "a.wav").read_bytes())
    assert waves[0] != waves[1]


def test_a_server_answers_each_voice_as_say_does(tts, model, tmp_path):
    pytest.importorskip("fastapi")
    from serve_toys import Running

    store_voices(user_folder(), ("anna",))
    names = ["anna", "v0", "v1", "v2"]
    for k in range(3):
        add_adapted(f"v{k}", adapted(tmp_path / f"v{k}", model, k))
    truth = {name: np.rint(tts.say(TEXT, name).wave * 32767).astype(np.int16) for name in names}
    with Running(tts) as served, ThreadPoolExecutor(8) as pool:
        asked = names * 2
        answers = list(pool.map(lambda name: served.say(input=TEXT, voice=name, response_format="pcm"), asked))
        assert {voice["id"] for voice in served.client.get("/v1/audio/voices").json()["data"]} >= set(names)
    for name, answer in zip(asked, answers, strict=True):
        assert answer.status_code == 200, answer.text
        assert np.array_equal(np.frombuffer(answer.content, "<i2"), truth[name]), name
