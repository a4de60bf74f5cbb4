"""Write a model's networks as graphs that onnxruntime runs, `tts-fm export onnx`: what engines/sessions.py opens.

A graph (engines/graphs.py) is traced by torch; its weights become references into the folder's .safetensors files,
found by their content, so the graphs of the built-in voice come to half a megabyte. They are run and compared with the
networks before they are kept.
"""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tts_fm import __version__, files
from tts_fm.audio.mel import N_MELS, from_spectrum
from tts_fm.checkpoint.load import find_model, load_flow_model, save_flow_model
from tts_fm.config import to_dict
from tts_fm.engines import Utterance
from tts_fm.engines.graphs import Graph, graphs_of, phones_graph
from tts_fm.engines.onnx import WITHHELD, Field, OnnxEngine, straight
from tts_fm.engines.phones import GRAPH as PHONES
from tts_fm.engines.sessions import FORMAT, GRAPHS, MANIFEST, Place, open_session, tensors_of, weights_mark
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.model.aligner import load_aligner
from tts_fm.model.duration import load_duration_model
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.folder import CONFIG, read_config
from tts_fm.model.vocoder import load_vocoder

QUANTISED = (
    "velocity",
)  # the graphs that are worth it: frame counts of 8 bit durations differ, the vocoder gains little
TOLERANCE, LOOSE = 1e-4, 0.2  # largest error of a float32 and of an int8 graph, relative to the largest value
SUMMED = 5e-3  # that of a vocoder's wave, whose phases may be sums of pitches over all frames before
SMALL = 64  # numbers: smaller tables stay in the graph, but for a network's own (a.name), which adapters may change
#: parts of a model folder that graphs point into
WEIGHTS = ("model.safetensors", "duration/model.safetensors", "vocoder/vocoder.safetensors")
# the other files of a model folder; graphs have no use for the classifier, but the folder may be spoken with by torch
OTHERS: tuple[str, ...] = ("config.json", "vocab.txt", "duration/config.json", "vocoder/vocoder.json")
OTHERS += ("classifier/model.safetensors", "classifier/config.json", "quick/adapter.safetensors", "quick/config.json")
TYPES = {"F32": 1, "F16": 10, "BF16": 16}  # what ONNX calls the types of safetensors

log = logging.getLogger(__name__)


def export_onnx(
    model: str | Path, folder: str | Path, int8: bool = False, vocoder: str | Path | None = None, **how: Any
) -> dict[str, Any]:
    """Put the graphs of a model (a folder, or published weights with `variant=` and `vocab=` as for load_flow_model)
    into `folder`, which becomes a model folder itself; it may be the model's own. An aligner's folder is taken too.

    int8: graphs with 8 bit matrix products too. vocoder: a vocoder folder, for models that come without one. Returns
    what graphs.json says, with the largest relative error of every graph. Raises ModelError for a model that cannot be
    read or whose graphs do not agree with it, ValueError where a vocoder is missing, or is given to an aligner.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingDependency(f'export needs {package}: pip install "tts-fm[export]"') from error
    folder, source = Path(folder), find_model(model)
    if is_aligner(source):
        if int8 or vocoder is not None or how:
            raise ValueError(
                f"{model} is an aligner, whose graph takes no options: leave out --int8, --vocoder and others"
            )
        return _export_aligner(source, folder)
    _as_folder(source, folder, vocoder, how)
    flow = load_flow_model(folder)
    durations = load_duration_model(folder / "duration") if (folder / "duration").is_dir() else None
    straight(flow.config.path)
    if flow.config.text == "aligned" and durations is None:
        raise ValueError(f"{model} has no duration model, without which an `aligned` model does not speak")
    graphs = graphs_of(flow, durations, load_vocoder(folder / "vocoder", compute="float32"))
    stored, manifest = _stored(folder), _begun(folder, to_dict(flow.config))
    errors: dict[str, float] = manifest["errors"]
    for name, graph in graphs.items():
        log.info("graph %s", name)
        made, manifest["places"][name] = _linked(_traced(graph), stored)
        _written(made, folder, name, manifest)
        if name != "velocity":
            errors[name] = _error(graph, folder, name, manifest)
        if int8 and name in QUANTISED:
            quantised, manifest["int8"][f"{name}.int8"] = _with_int8(made, manifest["places"][name])
            kept = {tensor.name for tensor in quantised.graph.initializer}
            places = {key: place for key, place in manifest["places"][name].items() if key in kept}
            manifest["places"][f"{name}.int8"] = places
            _written(quantised, folder, f"{name}.int8", manifest)
    _kept(folder, manifest, made)
    for kind in ("float32", "int8") if int8 else ("float32",):
        errors[f"velocity.{kind}"] = velocity_error(flow, OnnxEngine(folder, kind))
    _kept(folder, manifest, made)
    return manifest


def is_aligner(source: Path) -> bool:
    """Whether a folder holds an aligner, which has its vocabulary in config.json, and no flow model."""
    if not (source / CONFIG).is_file() or (source / "vocab.txt").is_file():
        return False
    return {"vocab", "dilations"} <= set(read_config(source / CONFIG))


def _export_aligner(source: Path, folder: Path) -> dict[str, Any]:
    """See export_onnx."""
    model = load_aligner(source)
    folder.mkdir(parents=True, exist_ok=True)
    if not source.samefile(folder):
        for name in (CONFIG, WEIGHTS[0]):
            files.copy(source / name, folder / name)
    manifest = _begun(folder, {name: value for name, value in model.config.items() if name != "vocab"})
    graph = phones_graph(model)
    made, manifest["places"][PHONES] = _linked(_traced(graph), _stored(folder))
    _written(made, folder, PHONES, manifest)
    manifest["errors"][PHONES] = _error(graph, folder, PHONES, manifest)
    _kept(folder, manifest, made)
    return manifest


def _begun(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """graphs.json before any graph is made, and the folder for it."""
    (folder / GRAPHS).mkdir(exist_ok=True)
    return {
        "format": FORMAT,
        "model": config,
        "made_with": {"tts_fm": __version__, "torch": torch.__version__, "onnxruntime": version("onnxruntime")},
        "weights": {name: weights_mark(folder / name) for name in WEIGHTS if (folder / name).is_file()},
        "graphs": [], "errors": {}, "places": {}, "int8": {},
    }  # fmt: skip


def _kept(folder: Path, manifest: dict[str, Any], made: Any) -> None:
    """Write graphs.json. ModelError, and no graphs.json, where a graph differs from its network. made: any graph."""
    path = folder / GRAPHS / MANIFEST
    manifest["made_with"]["opset"] = {entry.domain or "onnx": entry.version for entry in made.opset_import}
    found = manifest["errors"].items()
    allowed = {
        name: LOOSE if "int8" in name else SUMMED if name == "vocoder" else TOLERANCE for name in manifest["errors"]
    }
    wrong = {name: error for name, error in found if not error < allowed[name]}
    if wrong:
        path.unlink(missing_ok=True)
        told = ", ".join(f"{name} by {error:.2g}" for name, error in wrong.items())
        raise ModelError(f"graphs differ from their networks, relative to the largest value: {told}")
    files.write_json(path, manifest, indent=None)


def velocity_error(flow: FlowModel, engine: OnnxEngine) -> float:
    """How far graphs are from the network, for an utterance of random numbers, with all conditions and without: the
    largest difference of a velocity, relative to the largest velocity."""
    config, random = flow.config, np.random.default_rng(1)
    frames, prompt, symbols = 97, 60, 12
    mel = random.normal(config.mel_mean, config.mel_std, (prompt, N_MELS)).astype(np.float32)
    durations = [float(prompt), *[(frames - prompt) / (symbols - 1)] * (symbols - 1)]
    asked = Utterance(mel, random.integers(0, config.vocab, symbols).tolist(), durations, frames, 0)
    if config.text != "aligned":
        asked.durations = None
    x, t = random.normal(size=(1, frames, N_MELS)).astype(np.float32), np.array([0.3], np.float32)
    field = Field(engine, [asked], [float(t[0])])
    worst = 0.0
    for branch, (drop_audio, drop_text) in WITHHELD.items():
        wanted = flow.velocity(
            torch.from_numpy(x),
            float(t[0]),
            torch.from_numpy(mel)[None],
            torch.tensor([asked.ids]),
            drop_audio=drop_audio,
            drop_text=drop_text,
            durations=None if asked.durations is None else torch.tensor([asked.durations]),
        )
        found = field.of(branch, x, t)
        worst = max(worst, float(np.abs(found - wanted.numpy()).max() / max(float(wanted.abs().max()), 1e-9)))
    return worst


def _as_folder(source: Path, folder: Path, vocoder: str | Path | None, how: dict[str, Any]) -> None:
    """Make `folder` a model folder with what `source` holds; nothing is done where the two are the same."""
    inside = source.is_dir() and folder.exists() and source.samefile(folder)
    if not inside:
        folder.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            for name in (*WEIGHTS, *OTHERS):
                if (source / name).is_file():
                    (folder / name).parent.mkdir(exist_ok=True)
                    files.copy(source / name, folder / name)
        else:
            flow = load_flow_model(source, **how)
            save_flow_model(folder, flow, extra={"variant": flow.settings["variant"]})
    if vocoder is not None:
        (folder / "vocoder").mkdir(exist_ok=True)
        for name in ("vocoder.safetensors", "vocoder.json"):
            files.copy(Path(vocoder) / name, folder / "vocoder" / name)
    if not (folder / "vocoder").is_dir():
        raise ValueError(
            "this model has no vocoder of its own, and Griffin-Lim has no graph; give a vocoder folder with --vocoder "
            "(tts-fm convert makes one of vocos-mel-24khz)"
        )


def _traced(graph: Graph) -> Any:
    """The graph as onnx_ir sees it, weights in memory."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.module,
            (),
            None,
            kwargs=graph.inputs,
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=graph.dynamic,
            optimize=False,  # folding constants would make new weights
            verbose=False,
        )
    assert program is not None
    return program.model


def _stored(folder: Path) -> dict[bytes, tuple[str, int, int]]:
    """Where the numbers of every stored tensor lie: digest of type and numbers -> file, offset, length."""
    places = {}
    for name in WEIGHTS:
        if (folder / name).is_file():
            raw = np.memmap(folder / name, np.uint8, "r")
            for offset, kind, shape in tensors_of(folder / name).values():
                size = math.prod(shape) * {"F32": 4, "F16": 2, "BF16": 2}[kind]
                places[_digest(kind, raw[offset : offset + size])] = (name, offset, size)
    return places


def _digest(kind: str, data: Any) -> bytes:
    return hashlib.blake2b(kind.encode() + b"\0" + data.tobytes(), digest_size=16).digest()


def _linked(model: Any, stored: dict[bytes, tuple[str, int, int]]) -> tuple[Any, dict[str, Place]]:
    """The graph as an onnx.ModelProto whose weights are references, and where each of them points: 16 bit ones are cast
    in the graph.
    """
    import onnx_ir as ir
    from onnx import TensorProto, helper

    casts, places = [], {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor.dtype != ir.DataType.FLOAT or (tensor.size < SMALL and "." not in name):
            continue
        found = _place(tensor.numpy(), stored)
        if found is None:
            log.debug("%s is not among the stored weights and stays in the graph", name)
            continue
        (file, offset, length), kind = found
        value.const_value = ir.ExternalTensor(
            file, offset, length, ir.DataType(TYPES[kind]), shape=tensor.shape, name=name
        )
        if kind != "F32":
            casts.append(name)
        places[name if kind == "F32" else f"{name}.stored"] = [file, offset, kind, *tensor.shape.numpy()]
    proto = ir.to_proto(model)
    proto.graph.ClearField("value_info")
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name in casts:
        tensors[name].name = f"{name}.stored"
    nodes = [helper.make_node("Cast", [f"{name}.stored"], [name], to=TensorProto.FLOAT) for name in casts]
    nodes += [node for node in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return proto, places


def _place(array: np.ndarray, stored: dict[bytes, tuple[str, int, int]]) -> tuple[tuple[str, int, int], str] | None:
    """Where a weight is stored, and as what type; None where it is not."""
    upper = torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16).view(torch.int16).numpy()
    for kind, numbers in (("F16", array.astype(np.float16)), ("F32", array), ("BF16", upper)):
        if (place := stored.get(_digest(kind, numbers))) is not None:
            return place, kind
    return None


def _with_int8(model: Any, stored: dict[str, Place]) -> tuple[Any, dict[str, list[Place]]]:
    """The graph with products of 8 bit numbers in place of those with weights, but for the first and the last, and what
    the weights of each are made of: name -> the stored matrices that it joins.

    The graph has places for the 8 bit weights; engines/sessions.py makes them when it opens it. The other factor is
    quantised as it comes, in one scale for all of it.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto.FromString(model.SerializeToString())
    made: dict[str, Any] = {output: node for node in model.graph.node for output in node.output}
    matrices = {}
    for node in model.graph.node:
        turned = made.get(node.input[1]) if node.op_type == "MatMul" else None
        if turned is not None and turned.op_type == "Transpose":
            parts = _stored_rows(turned.input[0], made, stored)
            if parts is not None:
                matrices[node.output[0]] = parts
    inner = list(matrices)[1:-1]
    nodes: list[Any] = []
    places: dict[str, list[Place]] = {}
    for node in model.graph.node:
        if node.output[0] not in inner:
            nodes.append(node)
            continue
        q, x, parts = f"int8.{len(places)}", node.input[0], matrices[node.output[0]]
        places[q] = parts
        columns, rows = parts[0][4], sum(part[3] for part in parts)
        for name, kind, dims in ((f"{q}.weight", TensorProto.INT8, (columns, rows)), (f"{q}.scale", 1, (rows,))):
            tensor = model.graph.initializer.add(name=name, data_type=kind, dims=dims)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="made when the graph is opened")
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [x], [f"{q}.x", f"{q}.x_scale", f"{q}.x_zero"]),
            helper.make_node("MatMulInteger", [f"{q}.x", f"{q}.weight", f"{q}.x_zero"], [f"{q}.product"]),
            helper.make_node("Cast", [f"{q}.product"], [f"{q}.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{q}.x_scale", f"{q}.scale"], [f"{q}.both"]),
            helper.make_node("Mul", [f"{q}.float", f"{q}.both"], [node.output[0]]),
        ]
    _keep_used(model, nodes)
    return model, places


def _stored_rows(name: str, made: dict[str, Any], stored: dict[str, Place]) -> list[Place] | None:
    """The stored matrices, one below the other, that a constant is: through casts and joins; None for anything else."""
    if name in stored:
        return [stored[name]] if len(stored[name]) == 5 else None
    node = made.get(name)
    if node is None or not (node.op_type == "Cast" or (node.op_type == "Concat" and node.attribute[0].i == 0)):
        return None
    rows: list[Place] = []
    for part in node.input:
        found = _stored_rows(part, made, stored)
        if found is None:
            return None
        rows += found
    return rows


def _keep_used(model: Any, nodes: list[Any]) -> None:
    """Give a graph these nodes, without those whose results nobody uses, and without weights that nobody uses."""
    needed, kept = {output.name for output in model.graph.output}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend(weights)


def _written(made: Any, folder: Path, name: str, manifest: dict[str, Any]) -> None:
    files.write_bytes(folder / GRAPHS / f"{name}.onnx", made.SerializeToString())
    manifest["graphs"].append(name)


def _error(graph: Graph, folder: Path, name: str, manifest: dict[str, Any]) -> float:
    """The largest difference between a graph and its network, relative to the largest value."""
    session = open_session(folder, name, manifest)
    found = session.run(None, {key: value.numpy() for key, value in graph.inputs.items()})
    with torch.no_grad():
        wanted = graph.module(**graph.inputs)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    pairs = [(got, want.numpy()) for got, want in zip(found, wanted, strict=True)]
    if name == "vocoder":  # a phase may be a whole turn off
        pairs = [(from_spectrum(got[0]), from_spectrum(want[0])) for got, want in pairs]
    return max(float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-9)) for got, want in pairs)
