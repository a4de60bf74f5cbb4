"""Both engines say the same: graphs against truth tables and against the networks, alone and in batches, whole and
adapted. Graphs are traced once for each network.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_model_batch import tiny
from tiny_model import VOCAB, tiny_flow, tiny_tts_folder

from tts_fm.audio.mel import from_spectrum
from tts_fm.checkpoint.load import save_flow_model
from tts_fm.engines import Utterance, export
from tts_fm.engines.export import export_onnx, velocity_error
from tts_fm.engines.graphs import Spectrum
from tts_fm.engines.load import load_engine
from tts_fm.engines.onnx import WITHHELD, Field, OnnxEngine
from tts_fm.engines.sessions import quantised, tensors_of
from tts_fm.engines.torch import TorchEngine
from tts_fm.errors import ModelError
from tts_fm.model.vocoder import Vocoder, save_vocoder
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS, Request
from tts_fm.voices.adapters import Adapter, base_digest
from tts_fm.voices.stored import Voice

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
GOLDEN = Path(__file__).parent / "golden"
SYMBOLS = json.loads((GOLDEN / "text.json").read_text())["vocab"]
TABLES = {"cond": "full", "uncond": "null"}  # truth table -> branch


@pytest.fixture(scope="module", autouse=True)
def quick_tracing():
    """Torch reads the sources of all its ONNX operators anew for every graph, a third of the time of a small one, and
    the vocoder here is always the same: both are kept.
    """
    import onnx_ir
    from onnxscript._framework_apis import torch_2_5 as operators

    traced, kept = export._traced, {}

    def traced_once(graph):
        if not isinstance(graph.module, Spectrum):
            return traced(graph)
        if "vocoder" not in kept:
            kept["vocoder"] = onnx_ir.to_proto(traced(graph)).SerializeToString()
        return onnx_ir.from_proto(onnx.ModelProto.FromString(kept["vocoder"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_traced", traced_once)
        if hasattr(operators, "get_torchlib_ops"):
            patch.setattr(operators, "get_torchlib_ops", functools.cache(operators.get_torchlib_ops))
        yield


def vocoder_folder(path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(8)
        vocoder = Vocoder(dim=16, layers=1)
    return save_vocoder(path, vocoder.module.state_dict(), vocoder.config, torch.float32)


@pytest.fixture(scope="module", params=["f5-v1", "f5-v0", "e2"])
def published(request, tmp_path_factory):
    """A published network as graphs, and its truth tables."""
    name, folder = request.param.replace("-", "_"), tmp_path_factory.mktemp("published")
    weights = GOLDEN / f"{name}.weights.safetensors"
    export_onnx(
        weights,
        folder,
        int8=True,
        vocoder=vocoder_folder(tmp_path_factory.mktemp("vocoder")),
        variant=request.param,
        vocab=SYMBOLS,
    )
    return folder, load_file(GOLDEN / f"{name}.io.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny model like the built-in one, style encoder and all, with graphs beside its weights."""
    path = tiny_tts_folder(tmp_path_factory.mktemp("model"))
    flow = tiny_flow(style=16, style_rank=8)
    save_flow_model(path, flow, dtype=torch.float16, extra={"defaults": {"steps": 2, "cfg": 1.0}})
    export_onnx(path, path, int8=True)
    return path


@pytest.fixture(scope="module")
def voice() -> Voice:
    t = np.arange(24_000 * 2) / 24_000
    wave = 0.1 * np.sin(2 * np.pi * 150 * t) * (1 + np.sin(2 * np.pi * 3 * t))
    return Voice("hum", wave.astype(np.float32), "a hum that lasts two seconds", "en-us")


def asked(io: dict, b: int = 0) -> Utterance:
    return Utterance(io["cond"][b].numpy(), io["ids"][b].tolist(), None, 151, 11)


def test_published_velocities(published):
    folder, io = published
    engine = OnnxEngine(folder, "float32")
    x, t = io["x"].numpy(), io["t"].numpy()
    frames = x.shape[1]
    for b in range(len(x)):
        u = Utterance(io["cond"][b].numpy(), io["ids"][b].tolist(), None, frames, 0)
        field = Field(engine, [u], t.tolist())
        for table, branch in TABLES.items():
            found = field.of(branch, x[b : b + 1], t[b : b + 1])
            assert np.abs(found[0] - io[f"velocity.{table}"][b].numpy()).max() < 1e-4


@pytest.mark.parametrize("key", ["euler.7.sway-1.0.cfg2.0", "euler.32.swayNone.cfg0.0", "midpoint.8.sway-1.0.cfg1.5"])
def test_published_samples(published, key):
    folder, io = published
    method, steps = key.split(".")[:2]
    how = Settings(steps=int(steps), method=method, sway=0.0 if "None" in key else -1.0, cfg=float(key.split("cfg")[1]))
    mel = OnnxEngine(folder, "float32").sample([asked(io)], how.with_defaults({}))[0]
    assert np.abs(mel - io[f"sample.{key}"][0].numpy()).max() < 1e-4
    rounded = OnnxEngine(folder, "int8").sample([asked(io)], how.with_defaults({}))[0]
    assert 1e-5 < np.abs(rounded - mel).mean() < 0.1 * np.abs(mel).mean()


def test_averaged_text(tmp_path):
    """The third form: of the others `published` fill up, and `folder` is aligned."""
    model = tiny(
        text="average",
        patch=2,
        depth=1,
        text_layers=1,
        given_flag=True,
        mel_mean=-2.0,
        mel_std=3.0,
        text_frame_layers=1,
    )
    save_flow_model(tmp_path, model)
    vocoder_folder(tmp_path / "vocoder")
    made = export_onnx(tmp_path, tmp_path)
    assert made["errors"]["velocity.float32"] < 1e-4 and not made["int8"]


def test_graphs_agree_with_the_networks(folder):
    engine = OnnxEngine(folder, "float32")
    torch_engine = TorchEngine.load(folder, dtype=torch.float32)
    assert velocity_error(torch_engine.model, engine) < 1e-5
    assert 1e-5 < velocity_error(torch_engine.model, OnnxEngine(folder)) < 0.1  # int8 is the first choice
    rng = np.random.default_rng(0)
    prompt, ids = rng.normal(-2, 3, (80, 100)).astype(np.float32), [1, 20, 30, 5, 1]
    for speed in (1.0, 0.5):
        wanted = torch_engine.durations(ids, prompt, speed)
        assert np.allclose(engine.durations(ids, prompt, speed), wanted, atol=1e-3)
    mel = rng.normal(-4, 2, (33, 100)).astype(np.float32)
    assert np.abs(engine.decode(mel) - torch_engine.decode(mel)).max() < 1e-5
    assert engine.decode(mel[:2]).shape == (256,)
    assert engine.vocab == torch_engine.vocab and engine.defaults == torch_engine.defaults


def test_inverse_of_the_spectrum_is_torch_s():
    rng = np.random.default_rng(0)
    spectrum = np.concatenate([rng.normal(-3, 3, (40, 513)), rng.normal(0, 9, (40, 513))], 1).astype(np.float32)
    magnitude, phase = torch.from_numpy(spectrum).T.split(513)
    wanted = torch.istft(
        torch.polar(magnitude.exp().clamp(max=100), phase)[None], 1024, 256, 1024, torch.hann_window(1024)
    )
    assert np.abs(from_spectrum(spectrum) - wanted[0].numpy()).max() < 1e-4


HOWS = [
    {},
    {"steps": 3, "cfg": 0.0, "method": "heun"},
    {"cfg": 2.0, "cfg_audio": 0.5},
    {"cfg": 1.0, "cfg_audio": 0.5, "cfg_joint": 1.5},
    {"cfg": 2.0, "cfg_audio_interval": (0.0, 0.3)},
    {"cfg": 2.0, "cfg_rescale": 0.7, "cfg_interval": (0.0, 0.6)},
    {"grid": (0.0, 0.2, 0.7, 1.0), "duration": 1.5},
]


@pytest.mark.parametrize("how", HOWS, ids=[",".join(how) or "plain" for how in HOWS])
def test_engines_speak_alike(folder, voice, how):
    one = TTS.load(folder, engine="torch", dtype="float32").say("Hello, Alice.", voice, **how)
    other = TTS.load(folder, engine="onnx", dtype="float32").say("Hello, Alice.", voice, **how)
    assert one.wave.shape == other.wave.shape
    assert np.abs(one.chunks[0].mel - other.chunks[0].mel).max() < 1e-3
    assert np.abs(one.wave - other.wave).max() < 1e-3 * max(1.0, np.abs(one.wave).max())


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_batch_changes_no_bit(folder, voice, dtype):
    tts = TTS.load(folder, engine="onnx", dtype=dtype)
    texts = ["Hello, Alice.", "Hello, Robert.", "The birch canoe slid on the smooth planks."]
    requests = [Request(text, voice, settings=Settings(item=str(i))) for i, text in enumerate(texts)]
    batched = dict(tts.batch(requests))
    for i, text in enumerate(texts):
        assert np.array_equal(batched[i].wave, tts.say(text, voice, item=str(i)).wave)


def test_together_as_on_a_gpu_the_chunks_are_the_same(folder, voice, monkeypatch):
    texts = ["Hello, Alice. <break 1s> Who is there?", "The birch canoe slid on the smooth planks."]
    requests = [Request(text, voice, settings=Settings(item=str(i))) for i, text in enumerate(texts)]
    tts = TTS.load(folder, engine="torch", dtype="float32")
    apart = dict(tts.batch(requests))
    monkeypatch.setattr(TorchEngine, "together", True)
    monkeypatch.setattr(TorchEngine, "durations", lambda *_: pytest.fail("one by one"))
    monkeypatch.setattr(TorchEngine, "decode", lambda *_: pytest.fail("one by one"))
    for i, speech in tts.batch(requests):
        assert [chunk.text for chunk in speech.chunks] == [chunk.text for chunk in apart[i].chunks]
        assert speech.wave.shape == apart[i].wave.shape
        assert np.abs(speech.wave - apart[i].wave).max() < 1e-4
        for word, other in zip(speech.words, apart[i].words, strict=True):
            assert word.text == other.text and abs(word.start - other.start) < 1e-3


def test_full_memory_is_told_with_a_batch_that_may_fit(folder, voice, monkeypatch):
    tts = TTS.load(folder, engine="torch", dtype="float32")
    jobs = tts.plan(Request("Hello. <break 1s> Hello.", voice))

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(tts.engine.model, "sample", full)
    frames = jobs[0].shape[0]
    assert [job.shape for job in jobs] == [jobs[0].shape] * 2
    said = rf"for 2 x {frames} mel frames at once \(CUDA out of memory\): batches of {frames} frames may fit"
    with pytest.raises(MemoryError, match=said):
        tts.speak(jobs)
    with pytest.raises(MemoryError, match=rf"for 1 x {frames} mel frames .* give shorter chunks, or --device cpu"):
        tts.speak(jobs[:1])


def test_steps_are_told_once_for_a_batch(folder):
    engine, told = OnnxEngine(folder), []
    rng = np.random.default_rng(0)
    prompt = rng.normal(-2, 3, (40, 100)).astype(np.float32)
    batch = [Utterance(prompt, [0, 1, 20, 1], [40.0, 5, 20, 8 + b], 73 + b, b) for b in range(2)]
    engine.sample(batch, Settings(steps=3).with_defaults({}), lambda i, t, mels: told.append((i, t, mels())))
    assert [i for i, *_ in told] == [0, 1, 2] and told[0][1] == 0
    assert [mel.shape for mel in told[-1][2]] == [(73, 100), (74, 100)]
    assert all(np.array_equal(mel[:40], prompt) for mel in told[1][2])
    with pytest.raises(ValueError, match="torch engine"):
        engine.sample(batch, Settings(method="dopri5").with_defaults({}))


def test_what_is_given_in_the_middle_stays(folder):
    """As edits ask for it: frames before and behind are given."""
    rng = np.random.default_rng(0)
    mel = rng.normal(-2, 3, (60, 100)).astype(np.float32)
    given = (np.arange(60) < 20) | (np.arange(60) >= 45)
    u = Utterance(mel, [1, 20, 30, 1], [20.0, 10, 15, 15], 60, 3, given)
    how = Settings(steps=3).with_defaults({})
    found = OnnxEngine(folder, "float32").sample([u], how)[0]
    wanted = TorchEngine.load(folder, dtype=torch.float32).sample([u], how)[0]
    assert np.array_equal(found[given], mel[given])
    assert np.abs(found - wanted).max() < 1e-3


def test_quantised_weights_are_within_half_a_level(folder):
    name, (offset, kind, shape) = next(
        (name, entry) for name, entry in tensors_of(folder / "model.safetensors").items() if len(entry[2]) == 2
    )
    stored = load_file(folder / "model.safetensors")[name].float().numpy()
    place = ["model.safetensors", offset, kind, *shape]
    for levels in (127, 63):
        weights, scale = quantised([place, place], folder, {}, levels)
        assert weights.dtype == np.int8 and np.abs(weights.astype(int)).max() == levels
        twice = np.concatenate([stored, stored]).T
        assert (np.abs(weights * scale - twice) <= scale / 2 * 1.001 + 1e-12).all()
    # products of unsigned 8 bit numbers with these, added in pairs as vpmaddubsw does: 7 bits never overflow
    assert 2 * 255 * 63 < 2**15 <= 2 * 255 * 127


def test_changed_weights_reach_both_kinds(folder):
    """An adapted voice's: merged before they are rounded, in the graphs that have them and in no other."""
    name = "transformer_blocks.0.attn.to_k.weight"
    offset = tensors_of(folder / "model.safetensors")[name][0]
    twice = TorchEngine.load(folder, dtype=torch.float32)
    parameter = dict(twice.model.net.named_parameters())[name]
    with torch.no_grad():
        parameter.mul_(2.0)
    for kind, most in (("float32", 1e-5), ("int8", 0.1)):
        base = OnnxEngine(folder, kind)
        engine = OnnxEngine(folder, kind)
        engine._base, engine.changes = base, {("model.safetensors", offset): lambda: parameter.detach().numpy().copy()}
        assert velocity_error(twice.model, engine) < most
        assert velocity_error(twice.model, base) > 10 * velocity_error(twice.model, engine)
        assert engine._session("vocoder") is base._session("vocoder")
        assert engine._session("velocity") is not base._session("velocity")


def test_changes_are_added_to_changes(folder):
    """A few-step student's, then an adapted voice's: as both at once."""
    name = "transformer_blocks.0.attn.to_k.weight"
    at = ("model.safetensors", tensors_of(folder / "model.safetensors")[name][0])
    base, weight = OnnxEngine(folder, "float32"), load_file(folder / "model.safetensors")[name].float().numpy()
    more = np.random.default_rng(0).normal(size=(3, *weight.shape)).astype(np.float32)
    one, two, both = (
        Adapter(str(k), base_digest(folder), "base", 1.0, {f"flow/{name}": change})
        for k, change in enumerate([more[0], more[1], more[0] + more[1]])
    )
    twice = base.adapted(one, "one").adapted(two, "two")
    np.testing.assert_allclose(twice.changes[at](), weight + more[0] + more[1], atol=1e-6)
    np.testing.assert_allclose(base.adapted(both, "both").changes[at](), twice.changes[at](), atol=1e-6)
    assert not base.changes


def test_auto_takes_graphs_where_they_are(folder, tmp_path):
    assert isinstance(load_engine(folder), OnnxEngine) and isinstance(load_engine(folder, dtype="int8"), OnnxEngine)
    assert isinstance(load_engine(folder, dtype="bfloat16"), TorchEngine)
    assert isinstance(load_engine(folder, "torch"), TorchEngine)
    assert isinstance(load_engine(tiny_tts_folder(tmp_path)), TorchEngine)
    with pytest.raises(ModelError, match="tts-fm export onnx"):
        load_engine(tmp_path, "onnx")
    for bad in ({"engine": "tensorrt"}, {"engine": "torch", "dtype": "int8"}, {"engine": "onnx", "dtype": "bfloat16"},
                {"engine": "onnx", "device": "cuda"}, {"engine": "onnx", "variant": "e2"}):  # fmt: skip
        with pytest.raises(ValueError):
            load_engine(folder, **bad)


def test_withheld_conditions_differ(folder):
    rng = np.random.default_rng(0)
    u = Utterance(rng.normal(-2, 3, (40, 100)).astype(np.float32), [0, 1, 20, 1], [40.0, 5, 20, 8], 73, 0)
    field = Field(OnnxEngine(folder, "float32"), [u], [0.5])
    x, t = rng.normal(size=(1, 73, 100)).astype(np.float32), np.array([0.5], np.float32)
    found = [field.of(branch, x, t) for branch in WITHHELD]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(found, found[1:] + found[:1], strict=True))
    assert len(VOCAB) == len(field.engine.vocab)
