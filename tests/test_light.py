"""Speaking without torch: what is loaded, what works, and what is said where something is missing. These tests import
no torch, so that they run where there is none (`make test-light`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tts_fm import TTS
from tts_fm.audio.files import load, read_audio
from tts_fm.cli import main as cli
from tts_fm.data.manifest import read_manifest
from tts_fm.devices import QUIET, be_quiet, sums_of_products_fit, usable_cores
from tts_fm.engines.align import BUILTIN as ALIGNER
from tts_fm.engines.align import Aligner
from tts_fm.engines.onnx import OnnxEngine
from tts_fm.engines.sessions import GRAPHS, MANIFEST
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.synthesis import BUILTIN, Request

ROOT = Path(__file__).parents[1]
VOICES = ("heart", "george", "nova")
HEAVY = ("torch", "torchaudio", "scipy", "librosa", "numba", "vocos", "transformers")


@pytest.fixture(scope="module")
def tts() -> TTS:
    return TTS.load()


def run(*command: str, code: str | None = None) -> subprocess.CompletedProcess:
    start = [sys.executable, "-c", code] if code else [sys.executable, "-m", "tts_fm"]
    return subprocess.run([*start, *command], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_a_sentence_loads_nothing_heavy_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    code = (
        "import sys; from tts_fm.cli.main import main; code = main(sys.argv[1:]); "
        f"print([m for m in {HEAVY!r} if m in sys.modules]); sys.exit(code)"
    )
    done = run("say", "A word.", "-o", str(tmp_path / "a.wav"), "-q", "--steps", "2", code=code)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    wave, rate = read_audio(tmp_path / "a.wav")
    assert rate == 24_000 and len(wave) > 8_000 and np.abs(wave).max() > 0.05
    assert not list((tmp_path / "temporary").iterdir())  # onnxruntime's telemetry would keep its session's number here


def test_the_built_in_voice_is_graphs_and_int8(tts):
    assert isinstance(tts.engine, OnnxEngine) and tts.engine.kind == "int8"
    assert "onnxruntime, int8" in tts.engine.about()


def test_a_batch_and_a_stream_are_what_is_said_alone(tts):
    texts = ["Yes.", "Tomorrow, perhaps."]
    batched = dict(tts.batch([Request(text) for text in texts]))
    for i, text in enumerate(texts):
        assert np.array_equal(batched[i].wave, tts.say(text).wave)
    streamed = np.concatenate([chunk.wave for chunk in tts.stream(texts[1])])
    assert np.array_equal(streamed, tts.say(texts[1]).wave)


def test_the_built_in_voice_is_attuned_to_recordings_but_not_to_those_of_the_package(tts):
    recording = ROOT / "tts_fm" / "assets" / "voices" / "heart.flac"
    text = json.loads((recording.parent / "voices.json").read_text("utf-8"))["heart"]["text"]
    assert tts.defaults["attune"] == 1.0
    attuned, plain = (tts.say("A word.", recording, ref_text=text, steps=2, attune=share) for share in (None, 0.0))
    guessed, shipped = tts.say("A word.", recording, steps=2), tts.say("A word.", "heart", steps=2)
    waves = plain.wave, attuned.wave, guessed.wave
    assert not any(np.array_equal(waves[i], waves[i - 1]) for i in range(3))
    assert shipped.settings.match == plain.settings.match > attuned.settings.match == guessed.settings.match


def test_a_sentence_that_is_cut_goes_on_at_once(tts):
    text, how = "The old man walked slowly down to the grey sea.", {"first_seconds": 1.5, "steps": 2}
    cut, whole = tts.say(text, **how), tts.say(text, steps=2)
    assert [chunk.text for chunk in cut.chunks] == ["The old man", "walked slowly down to the grey sea."]
    assert len(whole.chunks) == 1 and abs(cut.seconds - whole.seconds) < 0.5
    times = [time for word in cut.words for time in (word.start, word.end)]
    assert times == sorted(times) and len(cut.words) == 10 and times[-1] <= cut.seconds
    joint = cut.chunks[0].samples
    around = np.abs(cut.wave[joint - 4800 : joint + 4800]).reshape(-1, 240).max(1)  # in hundredths of a second
    assert np.count_nonzero(around < 0.01) <= 25
    assert np.array_equal(np.concatenate([chunk.wave for chunk in tts.stream(text, **how)]), cut.wave)


def test_a_prompt_is_worked_on_once(tts, monkeypatch):
    tts.say("One.")
    ran = []
    run = OnnxEngine.run  # of any engine, a student's too
    monkeypatch.setattr(OnnxEngine, "run", lambda self, graph, **given: ran.append(graph) or run(self, graph, **given))
    tts.say("Two.")
    assert "velocity" in ran and not {"pace", "style"} & set(ran)


def test_a_list_becomes_files(tmp_path):
    (tmp_path / "list.txt").write_text("Good morning.\nGood night.\n")
    done = run("batch", str(tmp_path / "list.txt"), "-o", str(tmp_path / "out"), "-q", "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 2


def test_the_server_answers():
    pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    from tts_fm.serve.run import create_app

    assert httpx is not None
    with TestClient(create_app(TTS.load())) as client:
        answer = client.post("/v1/audio/speech", json={"input": "Hello.", "response_format": "wav", "model": "tts-fm"})
        assert answer.status_code == 200 and answer.content[:4] == b"RIFF"


DATA = ROOT / "tests" / "data" / "aligned"


def test_words_are_found_without_torch(tmp_path):
    """Every line of a manifest, as near to its known times as with torch."""
    code = (
        "import sys; from tts_fm.cli.main import main; code = main(sys.argv[1:]); "
        f"print([m for m in {HEAVY!r} if m in sys.modules]); sys.exit(code)"
    )
    out = tmp_path / "times.jsonl"
    done = run("align", str(DATA / "manifest.jsonl"), "-o", str(out), "-q", code=code)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    ends, right = (
        [np.cumsum([row.lead_frames, *(row.unit_frames or ())]) * row.frame_seconds for row in read_manifest(path)]
        for path in (out, DATA / "manifest.jsonl")
    )
    assert np.median(np.abs(np.concatenate(ends) - np.concatenate(right))) <= 0.015


def test_a_recording_is_edited_without_torch(tmp_path):
    source = DATA / "k0_01361.opus"
    words = ["--text", "Grace paid eighteen dollars for books.", "--new", "Grace paid eighty dollars for books."]
    done = run("edit", str(source), *words, "-o", str(tmp_path / "b.wav"), "--steps", "2", "--json", "-q")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (change,) = told["changes"]
    assert (change["old"], change["new"]) == ("eighteen", "eighty") and 0 < change["start"] < change["end"]
    wave, rate = read_audio(tmp_path / "b.wav")
    assert rate == 24_000 and len(wave) == pytest.approx(told["seconds"] * rate, abs=2)  # told in 0.1 ms
    recorded = load(source)
    start = round(change["start"] * rate) - 2400  # the joint reaches somewhat into what stays
    assert np.abs(wave[:start] - recorded[:start]).max() < 1e-3  # 16 bits


def test_an_aligner_without_a_graph_names_the_extra(tmp_path):
    shutil.copytree(ALIGNER, tmp_path / "a", ignore=shutil.ignore_patterns(GRAPHS))
    if find_spec("torch") is None:
        with pytest.raises(MissingDependency, match=r"an aligner without a graph needs torch.*tts-fm\[torch\]"):
            Aligner.load(tmp_path / "a")
    (tmp_path / "a" / GRAPHS).mkdir()
    shutil.copy(BUILTIN / GRAPHS / MANIFEST, tmp_path / "a" / GRAPHS)
    with pytest.raises(ModelError):
        Aligner.load(tmp_path / "a")
    with pytest.raises(ModelError, match="another kind of model"):
        Aligner.load(BUILTIN)
    shutil.copytree(ALIGNER, tmp_path / "b")
    written_over(tmp_path / "b" / "model.safetensors")
    with pytest.raises(ModelError, match="not finite"):
        Aligner.load(tmp_path / "b").align(load(DATA / "k0_01361.opus"), "Grace paid eighteen dollars for books.")


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed here")
@pytest.mark.parametrize(
    "command",
    [
        ["say", "Hello.", "--engine", "torch"],
        ["say", "Hello.", "--dtype", "bfloat16"],
        ["say", "Hello.", "--device", "cuda"],
        ["say", "Hello.", "--model", "weights.safetensors", "--variant", "e2"],
        ["export", "onnx", "a", "b"],
        ["align", "m.jsonl", "--device", "cuda"],
        ["score", "m.jsonl"],
        ["convert", "weights.safetensors", "other.safetensors"],
    ],
    ids=" ".join,
)
def test_what_needs_torch_names_the_extra(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    (tmp_path / "m.jsonl").write_text('{"id": "a", "audio": "a.wav", "text": "A.", "speaker": "s", "seconds": 1}\n')
    assert cli.main(command) == 5
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "pip install" in said[0] and "tts-fm[" in said[0]


# ---- graphs that are not what they should be


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(BUILTIN, tmp_path / "model"))


def edited(folder: Path, **changes: object) -> None:
    path = folder / GRAPHS / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_copy_of_the_folder_speaks(folder):
    assert TTS.load(folder, engine="onnx").say("Yes.", steps=1).seconds > 0.2


def written_over(path: Path) -> None:
    """All numbers of a .safetensors file become NaN, which the size and the header of the file do not show."""
    data = path.read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    path.write_bytes(data[:head] + b"\xff" * (len(data) - head))


FAULTS = {
    "another version": (lambda f: edited(f, format=99), "format 99"),
    "no manifest": (lambda f: (f / GRAPHS / MANIFEST).unlink(), "no graphs"),
    "a manifest that is no JSON": (lambda f: (f / GRAPHS / MANIFEST).write_text("{"), "cannot be read"),
    "a manifest of another kind": (lambda f: (f / GRAPHS / MANIFEST).write_text("[1]"), "cannot be read"),
    "a graph is missing": (lambda f: (f / GRAPHS / "vocoder.onnx").unlink(), "vocoder.onnx is missing"),
    "other weights": (lambda f: (f / "model.safetensors").write_bytes(b"\1" * 99), "not the file"),
    "weights that are no numbers": (lambda f: written_over(f / "model.safetensors"), "not finite"),
    "durations that are no numbers": (lambda f: written_over(f / "duration" / "model.safetensors"), "not finite"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot be read"),
    "a damaged graph": (lambda f: (f / GRAPHS / "times.onnx").write_bytes(b"\0\1\2 nothing"), "cannot be opened"),
    "half a graph": (
        lambda f: (f / GRAPHS / "times.onnx").write_bytes((f / GRAPHS / "times.onnx").read_bytes()[:5000]),
        "cannot be opened",
    ),
    "a damaged configuration": (lambda f: (f / "config.json").write_text("{}"), "no model folder"),
    "places outside": (lambda f: edited(f, int8={"velocity.int8": {"a": [["../x", 0, "F16", 1, 1]]}}), "points into"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_graphs_that_cannot_be_used_say_so(fault, folder):
    spoil, told = FAULTS[fault]
    spoil(folder)
    with pytest.raises(ModelError, match=told) as caught:
        TTS.load(folder, engine="onnx").say("Yes.", steps=1)
    assert "\n" not in str(caught.value)


def test_kinds_that_are_not_there(folder):
    edited(folder, int8={})
    assert OnnxEngine(folder).kind == "float32"
    with pytest.raises(ModelError, match="no int8 graphs"):
        OnnxEngine(folder, "int8")
    with pytest.raises(ValueError, match="int8 or float32"):
        OnnxEngine(folder, "float16")


def test_a_processor_without_the_instructions_gets_seven_bits(folder, monkeypatch):
    from tts_fm.engines import sessions

    def spoken() -> list[np.ndarray]:
        tts = TTS.load(folder)
        return [tts.say("Hello there.", voice, steps=2, duration=1.0).chunks[0].mel for voice in VOICES]

    usual = spoken()
    monkeypatch.setattr(sessions, "sums_of_products_fit", lambda: not sums_of_products_fit())
    difference = np.mean([np.abs(one - other).mean() for one, other in zip(usual, spoken(), strict=True)])
    assert 0 < difference < 0.1


def test_threads_are_few_and_quiet(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert usable_cores() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert usable_cores() >= 1
    for name in QUIET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")  # what the user says stays
    be_quiet()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE" and os.environ["OPENBLAS_NUM_THREADS"] == "4"


@pytest.mark.parametrize(
    ("load", "training", "waits"), [(0.1, True, None), (2.0, True, "PASSIVE"), (0.1, False, "PASSIVE")]
)
def test_training_spins_on_a_machine_that_does_nothing_else(monkeypatch, load, training, waits):
    for name in QUIET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    be_quiet(training)
    assert os.environ.get("OMP_WAIT_POLICY") == waits and os.environ["OPENBLAS_NUM_THREADS"] == "1"
