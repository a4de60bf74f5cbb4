"""The corpus maker with a network that is no network: its durations and wave are known, so every frame of the manifest
can be told.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data_prep import kokoro, kokoro_filter, kokoro_model, kokoro_plan, shared
from data_prep.kokoro_model import FRAME, HELD_OUT, IDS, RATE, Kokoro, load_voices, tokens_of
from data_prep.kokoro_texts import short_text
from recipes.builtin import ceiling
from tts_fm.audio.files import read_audio
from tts_fm.data.manifest import read_manifest
from tts_fm.errors import ModelError

LEAD, TAIL = 3, 1


class Session:
    """As onnxruntime's: a token lasts 1 + id % 3 frames, and is a tone whose level is the first number of the style."""

    def __init__(self, names: tuple[str, ...] = ("tokens", "style", "speed"), extra: int = 0) -> None:
        self.names, self.extra, self.seen = names, extra, []

    def get_inputs(self):
        return [SimpleNamespace(name=name) for name in self.names]

    def run(self, _, feed):
        tokens, style, speed = (feed[name] for name in self.names)
        assert (
            tokens.dtype == np.int64
            and style.shape == (1, 256)
            and speed.shape == (1,)
            and tokens[0, 0] == tokens[0, -1] == 0
        )
        self.seen.append((tokens[0].tolist(), style[0], float(speed[0])))
        frames = np.array([LEAD, *(1 + tokens[0, 1:-1] % 3), TAIL])
        time = np.arange(frames.sum() * FRAME + self.extra) / RATE
        return [
            (0.3 * float(style[0, 0]) * np.sin(2 * np.pi * 150 * time)).astype(np.float32),
            frames.astype(np.float32),
        ]


def style(value: float) -> np.ndarray:
    return np.full((510, 1, 256), value, np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "kokoro" / "voices"
    home.mkdir(parents=True)
    for name, value in {"af_one": 1.0, "bm_two": 0.5, "zf_three": 0.25, HELD_OUT[0]: 1.0}.items():
        style(value).tofile(home / f"{name}.bin")
    return tmp_path / "kokoro"


@pytest.fixture
def fake(monkeypatch) -> Session:
    session = Session()
    kokoro._kokoro.cache_clear()
    monkeypatch.setattr(kokoro, "open_session", lambda parts: session)
    yield session
    kokoro._kokoro.cache_clear()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text(
        "The birch canoe slid on the smooth planks.\n\nIt cost $5 in 1999.\n"
        + "far too long " * 40
        + "\n?!\nA third one.\n"
    )
    return path


def test_units_become_its_symbols():
    spelt = {number: char for char, number in IDS.items()}

    def said(unit: str, lang: str = "en-us") -> str:
        return "".join(spelt[number] for number in tokens_of(unit, lang))

    american = ["O", "ʧ", "ɜɹ", "əɹ", "u", "ɔɹ", "ᵊl", "ˈ", " "]
    assert [said(unit) for unit in ("o͡ʊ", "t͡ʃ", "ɜː", "ɚ", "uː", "ɔː͡ɹ", "ə͡l", "ˈ", " ")] == american
    british = {"ə͡ʊ": "Q", "ɜː": "ɜː", "uː": "uː", "e͡ə": "ɛː", "i͡ə": "ɪə"}
    assert {unit: said(unit, "en-gb") for unit in british} == british
    assert said("☃") == "" and len(set(IDS.values())) == len(IDS)


def test_every_unit_of_the_builtin_voice_can_be_said():
    vocab = (
        (Path(kokoro.__file__).parents[1] / "tts_fm" / "assets" / "builtin" / "vocab.txt")
        .read_text("utf-8")
        .split("\n")
    )
    units = [unit for unit in vocab if unit and not unit.startswith("<")]
    assert len(units) > 60 and all(tokens_of(unit, lang) for unit in units for lang in ("en-us", "en-gb"))


def test_a_clip_has_the_times_of_its_units():
    session = Session(("input_ids", "style", "speed"))
    voices = {"af_one": style(1.0).reshape(-1, 256), "zf_three": style(0.25).reshape(-1, 256)}
    spoken = Kokoro(session, voices).speak(["ɚ", "☃", "."], "en-us", {"af_one": 0.5, "zf_three": 0.5}, 1.1)
    tokens, mixed, speed = session.seen[0]
    assert (
        tokens == [0, IDS["ə"], IDS["ɹ"], IDS["."], 0]
        and speed == pytest.approx(1.1)
        and mixed[0] == pytest.approx(0.625)
    )
    assert spoken.frames == [2 + IDS["ə"] % 3 + IDS["ɹ"] % 3, 0, 1 + IDS["."] % 3] and (spoken.lead, spoken.tail) == (
        LEAD,
        TAIL,
    )
    assert len(spoken.wave) == FRAME * (LEAD + TAIL + sum(spoken.frames))


@pytest.mark.parametrize("units, voices, told", [
    (["☃"], {"af_one": 1.0}, "0 symbols"), (["a"] * 511, {"af_one": 1.0}, "511 symbols"),
    (["a"], {HELD_OUT[0]: 1.0}, "held out"), (["a"], {"af_none": 1.0}, "not there"),
])  # fmt: skip
def test_what_cannot_be_spoken(units, voices, told):
    with pytest.raises(ValueError, match=told):
        Kokoro(Session(), {"af_one": style(1.0).reshape(-1, 256)}).speak(units, "en-us", voices)


def test_a_second_output_that_is_no_durations_is_refused():
    with pytest.raises(ModelError, match="not Kokoro's durations"):
        Kokoro(Session(extra=5 * FRAME), {"af_one": style(1.0).reshape(-1, 256)}).speak(["a"], "en-us", {"af_one": 1.0})


def test_voices_in_all_forms_and_none_that_is_held_out(folder):
    np.save(folder / "voices" / "af_four.npy", style(2.0))
    import torch

    torch.save(torch.from_numpy(style(3.0)), folder / "voices" / "am_five.pt")
    voices = load_voices(folder / "voices")
    assert sorted(voices) == ["af_four", "af_one", "am_five", "bm_two", "zf_three"] and {
        v.shape for v in voices.values()
    } == {(510, 256)}
    (folder / "voices" / "af_one.bin").write_bytes(b"1234")
    with pytest.raises(ModelError, match="not rows of 256"):
        load_voices(folder / "voices")
    with pytest.raises(ModelError, match="no English voice"):
        load_voices(folder)


def test_the_plan_depends_on_nothing_but_its_seed():
    names, texts = ["af_one", "bm_two", "zf_three", *HELD_OUT], [(f"Text {n}.", "book") for n in range(40)]
    plan = kokoro_plan.make_plan(texts, names, 800)
    assert plan == kokoro_plan.make_plan(texts, names[::-1], 800) != kokoro_plan.make_plan(texts, names, 800, seed=1)
    assert plan[:20] == kokoro_plan.make_plan(texts, names, 20)
    assert not {name for clip in plan for name in clip.voices} & set(HELD_OUT)
    for clip in plan:
        assert clip.lang in ("en-gb", "en-us") and 0.88 <= clip.speed <= 1.12
        assert sum(clip.voices.values()) == pytest.approx(1, abs=0.002)
        first = next(iter(clip.voices))
        assert clip.speaker.startswith("point") or (first[0] == "b") == (clip.lang == "en-gb")
    drawn = [clip for clip in plan if clip.speaker.startswith("point")]
    alone = [clip for clip in plan if clip.speaker in names]
    assert 0.3 < len(drawn) / 800 < 0.5 and 0.2 < len(alone) / 800 < 0.4
    several = [clip.speaker for clip in plan if clip not in alone]
    assert {several.count(speaker) for speaker in several} == {4}, "a new voice speaks several clips"
    assert 0.25 < sum(clip.source != "book" for clip in plan) / 800 < 0.45
    assert len({clip.text for clip in plan if clip.source == "book"}) == 40
    splits = {clip.speaker: clip.split for clip in plan if clip not in alone}
    assert all(splits.get(clip.speaker, clip.split) == clip.split for clip in plan)
    assert {clip.split for clip in plan} == {"train", "valid"}


def test_short_texts_are_of_all_kinds_and_can_be_said():
    texts = [short_text(random.Random(n)) for n in range(300)]
    assert {kind for _, kind in texts} == {"short", "sentence", "list", "number", "letters", "dialogue"}
    assert not [text for text, _ in texts if any(char.isdigit() or char in "{}$%:" for char in text)]
    assert sum(len(text.split()) <= 3 for text, _ in texts) > 80
    assert texts[:50] == [short_text(random.Random(n)) for n in range(50)]


def test_a_corpus_from_the_command_line(folder, texts, tmp_path, fake, caplog):
    line = ["prepare", str(folder), str(tmp_path / "out"), "--texts", str(texts), "--clips", "12", "--jobs", "1"]
    caplog.set_level("INFO")
    assert shared.run(kokoro.main, line) == 0
    assert "dropped 2: no word, or over 220 characters" in caplog.text
    made = read_manifest(tmp_path / "out" / "manifest.jsonl", audio=True)
    assert [u.id for u in made] == [f"k0_{n:05d}" for n in range(12)] and any("five dollars" in u.text for u in made)
    for utterance in made:
        wave, rate = read_audio(utterance.path(tmp_path / "out"))
        frames = utterance.lead_frames + sum(utterance.unit_frames) + utterance.tail_frames
        assert (
            rate == RATE
            and abs(len(wave) - frames * FRAME) <= 1
            and utterance.about["speed"]
            and utterance.lead_frames == LEAD
        )
    # once more: nothing is spoken again but what is gone, or was cut short by a kill
    spoken = len(fake.seen)
    before = (tmp_path / "out" / "manifest.jsonl").read_bytes()
    (tmp_path / "out" / "audio" / "k0_00003.flac").unlink()
    notes = (tmp_path / "out" / "clips.jsonl").read_bytes()
    (tmp_path / "out" / "clips.jsonl").write_bytes(notes[:-30])
    assert shared.run(kokoro.main, line) == 0 and len(fake.seen) == spoken + 2
    assert (tmp_path / "out" / "manifest.jsonl").read_bytes() == before
    # and the clips of a corpus can be made elsewhere from its manifest
    again = [
        "prepare",
        str(folder),
        str(tmp_path / "copy"),
        "--plan",
        str(tmp_path / "out" / "manifest.jsonl"),
        "--jobs",
        "1",
    ]
    assert shared.run(kokoro.main, again) == 0
    assert (tmp_path / "copy" / "manifest.jsonl").read_bytes() == before
    assert (tmp_path / "copy" / "audio" / "k0_00003.flac").read_bytes() == (
        tmp_path / "out" / "audio" / "k0_00003.flac"
    ).read_bytes()


class Deaf:
    """Hears what is written, but for one clip, and likes all but another; counts."""

    def __init__(self, rows, misheard: str, bad: str) -> None:
        self.rows, self.misheard, self.bad, self.now, self.count = iter(rows), misheard, bad, None, 0

    def transcribe(self, wave: np.ndarray, rate: int) -> str:
        assert rate == RATE and wave.ndim == 1
        self.now, self.count = next(self.rows), self.count + 1
        return "something else" if self.now.id == self.misheard else self.now.text.upper().replace(", ", ",")

    def sound(self, wave: np.ndarray, rate: int) -> float:
        return 3.1 if self.now.id == self.bad else 3.2


def test_only_what_is_heard_and_sounds_well_is_kept(folder, texts, tmp_path, fake, monkeypatch, caplog):
    out = tmp_path / "out"
    line = ["prepare", str(folder), str(out), "--texts", str(texts), "--clips", "8", "--jobs", "1"]
    caplog.set_level("INFO")
    assert shared.run(kokoro.main, line) == 0 and "8 of 8 spoken, " in caplog.text
    rows = read_manifest(out / "manifest.jsonl")
    ears = Deaf(rows, misheard=rows[1].id, bad=rows[6].id)
    monkeypatch.setattr(kokoro_filter, "open_ears", lambda asr: ears)
    assert shared.run(kokoro.main, [*line, "--filter"]) == 0
    assert [u.id for u in read_manifest(out / "manifest.jsonl")] == [r.id for r in rows if r not in (rows[1], rows[6])]
    assert "dropped 1: heard otherwise" in caplog.text and "dropped 1: DNSMOS below 3.2" in caplog.text
    # once more: only the verdict that a kill has cut short is asked for again
    notes = (out / "heard.jsonl").read_bytes()
    (out / "heard.jsonl").write_bytes(notes[:-20])
    ears.rows = iter(rows[-1:])
    assert shared.run(kokoro.main, [*line, "--filter"]) == 0 and ears.count == 9
    assert len(read_manifest(out / "manifest.jsonl")) == 6 and len(read_manifest(out / "spoken.jsonl")) == 8


def test_letters_may_be_heard_together_and_a_bad_new_voice_goes():
    assert kokoro_filter.words_wrong("The B B C, at ten.", "the BBC at 10") == 0
    assert kokoro_filter.words_wrong("Plan A.", "Plan B.") == 1
    rows = [SimpleNamespace(id=n, speaker=who, text="Hm.") for n, who in enumerate(["point1"] * 3 + ["mix1"] * 3)]
    verdicts = {n: kokoro_filter.Verdict(n, "", int(n % 3 != 0), 3.5) for n in range(6)}
    assert [row.id for row in kokoro_filter.kept(rows, verdicts, shared.Dropped())] == [3]


def test_too_much_that_cannot_be_spoken_is_an_error(folder, tmp_path, fake, caplog):
    row = {
        "id": "a",
        "audio": "a.wav",
        "text": "One.",
        "speaker": "s",
        "seconds": 1,
        "voices": {HELD_OUT[0]: 1.0},
        "speed": 1.0,
    }
    plan = tmp_path / "plan.jsonl"
    plan.write_text(json.dumps(row))
    assert (
        shared.run(kokoro.main, ["prepare", str(folder), str(tmp_path / "out"), "--plan", str(plan), "--jobs", "1"])
        == 2
    )
    assert (
        "1 of 1 clips failed" in caplog.text
        and "held out" in caplog.text
        and not (tmp_path / "out" / "manifest.jsonl").exists()
    )
    del row["voices"]
    plan.write_text(json.dumps(row))
    assert shared.run(kokoro.main, ["prepare", str(folder), str(tmp_path / "out"), "--plan", str(plan)]) == 2
    assert "names no voices and speed" in caplog.text


def test_download_fetches_what_prepare_reads(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(kokoro_model.hub, "download", lambda url, target, **_: asked.append((url, Path(target))))
    assert shared.run(kokoro.main, ["download", str(tmp_path)]) == 0
    assert asked[0] == (f"{kokoro.REPOSITORY}/onnx/model.onnx", tmp_path / "model.onnx") and len(asked) == 55
    assert asked[1] == (f"{kokoro.REPOSITORY}/voices/af_alloy.bin", tmp_path / "voices" / "af_alloy.bin")


# --- real ONNX files, where onnx and onnxruntime are installed
# -------------------------------------------------------------------------


def network(path: Path, operation: str = "Round") -> Path:
    """A graph with Kokoro's inputs: every token lasts 2.4 / speed frames, rounded, at least 1; the wave is silence of
    that length.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    h, t = onnx.helper, onnx.TensorProto
    constant = {"share": ([1], t.FLOAT, [2.4]), "zero": ([], t.FLOAT, [0.0]), "one": ([], t.FLOAT, [1.0]),
                "frame": ([1], t.INT64, [FRAME])}  # fmt: skip
    nodes = [
        h.make_node("Cast", ["tokens"], ["some"], to=t.FLOAT), h.make_node("Mul", ["some", "zero"], ["zeros"]),
        h.make_node("Add", ["zeros", "share"], ["even"]), h.make_node("Div", ["even", "speed"], ["long"]),
        h.make_node(operation, ["long"], ["rounded"]), h.make_node("Clip", ["rounded", "one", ""], ["inside"]),
        h.make_node("ReduceSum", ["inside"], ["all"], keepdims=0), h.make_node("Cast", ["all"], ["whole"], to=t.INT64),
        h.make_node("Mul", ["whole", "frame"], ["samples"]), h.make_node("ConstantOfShape", ["samples"], ["audio"]),
    ]  # fmt: skip
    inputs = [h.make_tensor_value_info("tokens", t.INT64, [1, "n"]),
    h.make_tensor_value_info("style", t.FLOAT, [1, 256]),
              h.make_tensor_value_info("speed", t.FLOAT, [1])]  # fmt: skip
    outputs = [h.make_tensor_value_info("audio", t.FLOAT, ["s"])]
    constants = [h.make_tensor(name, kind, shape, values) for name, (shape, kind, values) in constant.items()]
    graph = h.make_graph(nodes, "g", inputs, outputs, constants)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_durations_inside_an_export_are_found(tmp_path):
    data = network(tmp_path / "model.onnx").read_bytes()
    (tmp_path / "a").write_bytes(data[:100])
    (tmp_path / "b").write_bytes(data[100:])
    session = kokoro_model.open_session([tmp_path / "a", tmp_path / "b"])
    spoken = Kokoro(session, {"af_one": style(1.0).reshape(-1, 256)}).speak(["a", "ɚ"], "en-us", {"af_one": 1.0}, 0.5)
    assert (spoken.lead, spoken.frames, spoken.tail) == (5, [5, 10], 5)


def test_exports_without_durations_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no output with durations.*timestamped"):
        kokoro_model.open_session([network(tmp_path / "model.onnx", "Floor")])
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="no ONNX model"):
        kokoro_model.open_session([tmp_path / "bad.onnx"])
    with pytest.raises(ModelError, match="no such file"):
        kokoro_model.open_session([tmp_path / "none.onnx"])


# --- what the teacher reaches


def test_the_teacher_speaks_a_list_in_the_voices_of_its_prompts(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """A held-out voice too; recordings of people are left out. The tone is heard again through a vocoder."""
    for module in ("speechmos", "torch", "vocos"):
        pytest.importorskip(module)
    from tts_fm.audio.files import load

    assets = Path(ceiling.__file__).parents[2] / "tts_fm" / "assets" / "builtin" / "vocoder"
    session = Session()
    monkeypatch.setattr(ceiling, "open_session", lambda parts: session)
    prompts = [HELD_OUT[0], "real_a", "bm_two"]
    rows = [{"id": name, "text": "A long way home.", "ref_audio": f"{name}.flac"} for name in prompts]
    for name in prompts:
        (tmp_path / f"{name}.flac").touch()  # its name is all that matters
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "waves"
    ceiling.main([str(folder), str(tmp_path / "list.jsonl"), "--vocoder", str(assets), "--measures", "dnsmos",
                  "--audio", str(out)])  # fmt: skip
    assert sorted(path.stem for path in (out / "1").iterdir()) == sorted([HELD_OUT[0], "bm_two"])
    first, second = (load(out / "1" / f"{name}.wav") for name in (HELD_OUT[0], "bm_two"))
    assert np.abs(first).max() == pytest.approx(2 * np.abs(second).max(), rel=1e-2)
    tone = np.abs(np.fft.rfft(load(out / "2" / f"{HELD_OUT[0]}.wav")))
    assert abs(tone.argmax() * RATE / (2 * len(tone) - 2) - 150) < 10
    said = capsys.readouterr().out
    assert said.count("spoken by: ") == 2 and "spoken by: the teacher" in said
