"""The teacher's graph on torch against onnxruntime, operator by operator, and a small quantised graph as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_prep.kokoro_torch import OPERATORS, Graph
from tts_fm.errors import ModelError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
rng = np.random.default_rng(0)
X = rng.normal(size=(2, 3, 8)).astype(np.float32)
W = rng.normal(size=(4, 3, 3)).astype(np.float32)
V = rng.normal(size=(8,)).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES = [
    ("Add", [X, V], {}), ("Sub", [X, V], {}), ("Mul", [X, V], {}), ("Div", [ints(7, -7), ints(2, 2)], {}),
    ("Pow", [np.abs(X), np.array(1.5, np.float32)], {}), ("MatMul", [X, X.transpose(0, 2, 1)], {}),
    ("Clip", [X, np.array(-0.5, np.float32), np.array(0.5, np.float32)], {}),
    ("Concat", [X, X + 1], {"axis": 1}), ("CumSum", [X, ints(2)[0]], {}), ("Expand", [V, ints(3, 8)], {}),
    ("Conv", [X, W, V[:4]], {"pads": [2, 2], "strides": [2], "dilations": [2], "group": 1, "kernel_shape": [3]}),
    ("ConvTranspose", [X, W.transpose(1, 0, 2)[:3].copy(), V[:4]],
     {"pads": [1, 1], "strides": [2], "group": 1, "output_padding": [1], "kernel_shape": [3], "dilations": [1]}),
    ("Gather", [X, ints(2, 0, 1)], {"axis": 1}), ("Gather", [X, ints(-1)[0]], {"axis": 2}),
    ("LayerNormalization", [X, V, V + 1], {"axis": -1, "epsilon": 1e-5}), ("LeakyRelu", [X], {"alpha": 0.2}),
    ("NonZero", [(X > 0).astype(np.float32)], {}), ("Pad", [X, ints(0, 0, 2, 0, 0, 3)], {"mode": "reflect"}),
    ("Range", [ints(1)[0], ints(9)[0], ints(3)[0]], {}), ("ReduceMean", [X, ints(2)], {"keepdims": 1}),
    ("ReduceSum", [X, ints(1)], {"keepdims": 0}), ("Reshape", [X, ints(0, -1)], {}), ("Round", [X * 5], {}),
    ("Resize", [X, np.zeros(0, np.float32), np.array([1, 1, 3], np.float32)],
     {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}),
    ("Resize", [X, np.zeros(0, np.float32), np.array([1, 1, 2.5], np.float32)],
     {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    ("Slice", [X, ints(1), ints(2**62), ints(2), ints(2)], {}), ("Softmax", [X], {"axis": -1}),
    ("Split", [X, ints(1, 2)], {"axis": 1}), ("Squeeze", [X[:1], ints(0)], {}), ("Unsqueeze", [X, ints(0, -1)], {}),
    ("ScatterND", [V, ints(1, 5).reshape(2, 1), V[:2]], {}), ("Shape", [X], {}),
    ("STFT", [rng.normal(size=(1, 60)).astype(np.float32), ints(5)[0], np.hanning(20).astype(np.float32), ints(20)[0]],
     {"onesided": 1}),
    ("Transpose", [X], {"perm": [0, 2, 1]}), ("Where", [X > 0, X, V], {}), ("Atan", [X], {}), ("Sigmoid", [X], {}),
]  # fmt: skip


def session(nodes, feed, outputs, constants=()):
    h = onnx.helper
    inputs = [h.make_tensor_value_info(k, h.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feed.items()]
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    domains = [h.make_opsetid("", 20), h.make_opsetid("com.microsoft", 1)]
    graph = h.make_graph(nodes, "g", inputs, ends, list(constants))
    return h.make_model(graph, opset_imports=domains, ir_version=9)


@pytest.mark.parametrize(("kind", "given", "how"), CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)])
def test_an_operator_is_onnxruntimes(kind, given, how):
    names = [f"x{n}" if array.size else "" for n, array in enumerate(given)]
    outputs = ["y0", "y1"] if kind == "Split" else ["y0"]
    feed = {name: np.asarray(array) for name, array in zip(names, given, strict=True) if name}
    model = session([onnx.helper.make_node(kind, names, outputs, **how)], feed, outputs)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    how = {name: value.encode() if isinstance(value, str) else value for name, value in how.items()}
    tensors = [torch.from_numpy(np.array(array)) if array.size else None for array in given]
    found = OPERATORS[kind](*tensors, **how)
    for mine, its in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        np.testing.assert_allclose(mine.numpy(), its, rtol=1e-4, atol=2e-5)


def quantised(array: np.ndarray, name: str) -> tuple[list, float]:
    """8 bits about zero: [weights, zero point] as constants, and the scale."""
    scale = float(np.abs(array).max() / 127)
    whole, zero = np.round(array / scale).astype(np.int8), np.array(0, np.int8)
    return [onnx.numpy_helper.from_array(whole, name), onnx.numpy_helper.from_array(zero, f"{name}_zero")], scale


def small_graph(last: str = "Tanh"):
    """tokens -> durations; style -> a harmonic source: the sine of a quantised product with an offset, where voiced."""
    h, arr = onnx.helper, onnx.numpy_helper.from_array
    weight, scale = quantised(rng.normal(size=(256, 4)).astype(np.float32), "w")
    offset = rng.normal(size=4).astype(np.float32)
    nodes = [
        h.make_node("DynamicQuantizeLinear", ["style"], ["q", "qs", "qz"]),
        h.make_node("MatMulInteger", ["q", "w", "qz", "w_zero"], ["p"]),
        h.make_node("Mul", ["qs", "ws"], ["s"]),
        h.make_node("Div", ["offset", "s"], ["o"]),
        h.make_node("Floor", ["o"], ["of"]),
        h.make_node("Cast", ["of"], ["oi"], to=6),
        h.make_node("Add", ["p", "oi"], ["sum"]),
        h.make_node("Cast", ["sum"], ["sumf"], to=1),
        h.make_node("Mul", ["sumf", "s"], ["pitch"]),
        h.make_node("Sin", ["pitch"], ["wave"]),
        h.make_node("Greater", ["pitch", "zero"], ["above"]),
        h.make_node("Cast", ["above"], ["voiced"], to=1),
        h.make_node("Mul", ["wave", "voiced"], ["source"], name="sin_gen"),
        h.make_node(last, ["source"], ["audio"]),
        h.make_node("Cast", ["tokens"], ["t"], to=1),
        h.make_node("Round", ["t"], ["durations"]),
    ]  # fmt: skip
    constants = [*weight, arr(np.array(scale, np.float32), "ws"), arr(offset, "offset"),
                 arr(np.array(0, np.float32), "zero")]  # fmt: skip
    feed = {"tokens": ints(0, 5, 0).reshape(1, 3), "style": rng.normal(size=(1, 256)).astype(np.float32)}
    return session(nodes, feed, ["audio"], constants), feed, ["audio", "durations"]


def test_a_quantised_graph_is_near_onnxruntimes_and_its_offsets_are_not_rounded(monkeypatch):
    import data_prep.kokoro_torch as module

    monkeypatch.setattr(module, "VOICED", 0.0)
    monkeypatch.setattr(module, "UNVOICED", 0.0)
    model, feed, _ = small_graph()
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    wave, durations = Graph(model.SerializeToString()).run(None, feed)
    assert durations.tolist() == [0, 5, 0]
    np.testing.assert_allclose(wave, wanted.ravel(), atol=0.3)  # the 8 bits of what weights meet
    assert np.corrcoef(wave, wanted.ravel())[0, 1] > 0.98


def test_the_source_has_the_noise_of_the_original_network():
    model, feed, _ = small_graph()
    graphs = [Graph(model.SerializeToString(), seed=n) for n in range(400)]
    waves = np.arctanh(np.stack([graph.run(None, feed)[0] for graph in graphs]))  # (400, 4)
    voiced = np.abs(waves.mean(0)) > 0.01
    assert voiced.any() and not voiced.all()
    assert waves.std(0)[voiced].mean() < 0.1 and waves.std(0)[~voiced] == pytest.approx(0.1 / 3, rel=0.15)


def test_graphs_of_something_else_are_refused():
    with pytest.raises(ModelError, match="look like the harmonic source"):
        Graph(small_graph(last="Sigmoid")[0].SerializeToString())
