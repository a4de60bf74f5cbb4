"""Kokoro's ONNX graph on torch, so that a GPU speaks a corpus some hundred times as fast as speech.

`Graph` has the two methods of an onnxruntime session that kokoro_model.Kokoro uses. Weights of 8 bits are turned back
into floats, and what they are multiplied with is not rounded, so such an export sounds as the original does. The noise
that the original network adds to its harmonic source, and that exports lack, is added again (SineGen of the neural
source-filter model, Wang 2019, arXiv 1904.12088: a deviation of .003 where there is pitch, and a third of the
harmonics' amplitude .1 where there is none).

Needs the package onnx. Floats are on the device; shapes and indices stay on the CPU, so that a clip waits for the
device once or twice only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tts_fm.errors import ModelError

VOICED, UNVOICED = 0.003, 0.1 / 3  # deviation of the source's noise
TINY = 1e-20
DTYPES = {1: torch.float32, 6: torch.float32, 7: torch.int64, 9: torch.bool, 10: torch.float32, 11: torch.float64}


def _to(x: Tensor, device: torch.device) -> Tensor:
    return x.to(device)


def _beside(x: Tensor, other: Tensor) -> Tensor:
    return x.to(other.device)


def _near(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All on one device: what is on the CPU goes to the others', but for plain numbers, which may stay."""
    devices = {x.device for x in tensors}
    if len(devices) == 1:
        return tensors
    (device,) = devices - {torch.device("cpu")}
    return tuple(_to(x, device) if x.dim() and x.device != device else x for x in tensors)


def _list(x: Tensor) -> list[int]:
    return [int(n) for n in x.reshape(-1).tolist()]


def _binary(f: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda a, b: f(*_near(a, b))


def _gather(x: Tensor, index: Tensor, *, axis: int = 0) -> Tensor:
    flat = x.index_select(axis, _beside((index.reshape(-1) % x.shape[axis]).long(), x))
    return flat.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _reshape(x: Tensor, shape: Tensor, **_: Any) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(_list(shape))])


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    first, last = _list(starts), _list(ends)
    which = _list(axes) if axes is not None else list(range(len(first)))
    places: list[Any] = [slice(None)] * x.dim()
    for n, axis in enumerate(which):
        places[axis] = slice(first[n], min(last[n], 2**31), _list(steps)[n] if steps is not None else 1)
    return x[tuple(places)]


def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.dim() + axes.numel()
    for axis in sorted(n % rank for n in _list(axes)):
        x = x.unsqueeze(axis)
    return x


def _squeeze(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(_list(axes)))


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, pads: Sequence[int], strides: Sequence[int],
          dilations: Sequence[int], group: int = 1, **_: Any) -> Tensor:  # fmt: skip
    return F.conv1d(x, weight, bias, strides[0], pads[0], dilations[0], group)


def _conv_transpose(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, pads: Sequence[int],
                    strides: Sequence[int], group: int = 1, output_padding: Sequence[int] = (0,),
                    **_: Any) -> Tensor:  # fmt: skip
    # without offsets it is the way back from the spectrum: TF32's rounding would be heard where speech is faint
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=bias is not None):
        return F.conv_transpose1d(x, weight, bias, strides[0], pads[0], output_padding[0], group)


def _integer(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """MatMulInteger and ConvInteger on floats: what they are given was not rounded (zero point 0)."""

    def product(x: Tensor, weight: Tensor, _zero: Tensor, zero: Tensor, **how: Any) -> Tensor:
        return f(x, weight.float() - zero.float(), **how)

    return product


def _resize(x: Tensor, _: Tensor | None, scales: Tensor, *, mode: bytes, **__: Any) -> Tensor:
    scale = [float(n) for n in scales.tolist()]
    if mode == b"nearest":
        return F.interpolate(x, scale_factor=scale[2:], mode="nearest")
    return F.interpolate(x, scale_factor=scale[2:], mode="linear", align_corners=False, recompute_scale_factor=False)


def _pad(x: Tensor, pads: Tensor, *_: Tensor, mode: bytes) -> Tensor:
    sizes = _list(pads)
    rank = len(sizes) // 2
    if any(sizes[: rank - 1] + sizes[rank:-1]):
        raise ModelError("the graph pads another axis than the last; take another export of Kokoro")
    flat = x.reshape(1, -1, x.shape[-1])
    return F.pad(flat, (sizes[rank - 1], sizes[-1]), mode.decode()).reshape(*x.shape[:-1], -1)


def _stft(signal: Tensor, step: Tensor, window: Tensor, length: Tensor, *, onesided: int) -> Tensor:
    wave = signal.reshape(len(signal), -1)
    spectrum = torch.stft(wave, int(length), int(step), window=_beside(window, wave), center=False,
                          onesided=bool(onesided), return_complex=True)  # fmt: skip
    parts = torch.view_as_real(spectrum).transpose(1, 2)  # (B, T, F, 2)
    # the angle is taken with y > 0, where atan2 has y >= 0: a negative real number must have the angle pi, not -pi
    return torch.where((parts == 0) & _beside(torch.tensor([False, True]), parts), TINY, parts)


def _scatter(data: Tensor, index: Tensor, values: Tensor, **_: Any) -> Tensor:
    out = data.clone()
    out[tuple(_beside(index, out).unbind(-1))] = _beside(values, out)
    return out


def _lstm(x: Tensor, weights: list[Tensor], bias: Tensor) -> Tensor:
    """(T, B, I) -> (T, D, B, H), zero at first; weights as torch has them."""
    zero = x.new_zeros(2, x.shape[1], weights[1].shape[1])
    out, *_ = torch._VF.lstm(x, (zero, zero), weights, True, 1, 0.0, False, True, False)
    return out.unflatten(2, (2, -1)).transpose(1, 2)


def _fused(a: Tensor, b: Tensor, *, transA: int = 0, transB: int = 0, alpha: float = 1.0, **_: Any) -> Tensor:
    a, b = _near(a.transpose(-1, -2) if transA else a, b.transpose(-1, -2) if transB else b)
    return alpha * (a @ b)


def _skip_norm(x: Tensor, skip: Tensor, gain: Tensor, offset: Tensor, *, epsilon: float) -> Tensor:
    return F.layer_norm(x + skip, gain.shape, gain, offset, epsilon)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": _binary(torch.add), "Sub": _binary(torch.sub), "Mul": _binary(torch.mul), "Pow": _binary(torch.pow),
    "Div": _binary(lambda a, b: a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")),
    "And": _binary(torch.logical_and), "Equal": _binary(torch.eq), "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge), "Less": _binary(torch.lt), "MatMul": _binary(torch.matmul),
    "Atan": lambda x: torch.atan(x).nan_to_num(0.0),  # of 0 / 0: a silent bin has no phase
    "Cos": torch.cos, "Sin": torch.sin, "Exp": torch.exp, "Sqrt": torch.sqrt, "Floor": torch.floor,
    "Round": torch.round, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh,
    "Cast": lambda x, *, to, **_: x.to(DTYPES[to]),
    "Clip": lambda x, low=None, high=None: x.clamp(*(None if end is None else end.item() for end in (low, high))),
    "Concat": lambda *xs, axis: torch.cat(_near(*xs), axis),
    "ConstantOfShape": lambda shape, *, value: torch.full(_list(shape), value.item()),
    "Conv": _conv, "ConvTranspose": _conv_transpose, "ConvInteger": _integer(_conv),
    "CumSum": lambda x, axis, **_: x.cumsum(int(axis)),
    "Expand": lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, _list(shape))),
    "FastGelu": lambda x, bias: F.gelu(x + bias, approximate="tanh"), "FusedMatMul": _fused,
    "Gather": _gather,
    "LayerNormalization": lambda x, gain, offset, *, epsilon, **_: F.layer_norm(x, gain.shape, gain, offset, epsilon),
    "LeakyRelu": lambda x, *, alpha: F.leaky_relu(x, alpha), "MatMulInteger": _integer(torch.matmul),
    "NonZero": lambda x: torch.nonzero(x).T, "Pad": _pad,
    "Range": lambda first, last, step: torch.arange(first.item(), last.item(), step.item()),
    "ReduceMean": lambda x, axes, **_: x.mean(_list(axes), keepdim=True),
    "ReduceSum": lambda x, axes, **_: x.sum(_list(axes)),
    "Reshape": _reshape, "Resize": _resize, "STFT": _stft, "ScatterND": _scatter,
    "Shape": lambda x, **_: torch.tensor(x.shape), "SkipLayerNormalization": _skip_norm, "Slice": _slice,
    "Softmax": lambda x, *, axis: x.softmax(axis),
    "Split": lambda x, sizes, *, axis: x.split(_list(sizes), axis),
    "Squeeze": _squeeze, "Transpose": lambda x, *, perm: x.permute(perm), "Unsqueeze": _unsqueeze,
    "Where": lambda c, a, b: torch.where(*_near(c, a, b)),
}  # fmt: skip


def _lstm_weights(given: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """ONNX's quantised weights (directions, in, 4 H) and biases (directions, 8 H), gates i o f c, as torch wants them:
    w_ih, w_hh, b_ih, b_hh for each direction, gates i f c o.
    """

    def gates(x: Tensor) -> Tensor:
        i, o, f, c = x.chunk(4)
        return torch.cat([i, f, c, o]).contiguous()

    w, r, bias, w_scale, w_zero, r_scale, r_zero = (x.cpu() for x in given)
    found = []
    for d in range(2):
        for weight, scale, zero in ((w, w_scale, w_zero), (r, r_scale, r_zero)):
            found.append(gates(((weight[d].float() - zero[d].float()) * scale[d]).T))
        found += [gates(part) for part in bias[d].chunk(2)]
    return found, bias


def _target(cast: Any) -> int:
    """The type that a Cast makes, as ONNX numbers them."""
    return next(int(a.i) for a in cast.attribute if a.name == "to")


class Graph:
    """A float or dynamically quantised export of Kokoro as an onnxruntime session looks: inputs, and run() -> wave and
    durations. ModelError for an operator that it does not have.
    """

    def __init__(self, data: bytes | Path, device: str | torch.device = "cpu", seed: int = 0) -> None:
        import onnx

        graph = (onnx.load(data) if isinstance(data, Path) else onnx.load_model_from_string(data)).graph
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)  # of the source's noise
        self.inputs = [SimpleNamespace(name=place.name) for place in graph.input]
        values: dict[str, Any] = {"": None}
        for one in graph.initializer:
            array = torch.from_numpy(np.array(onnx.numpy_helper.to_array(one)))
            values[one.name] = self._placed(array)
        steps, self.noisy = [], self._source(graph)
        # a quantised graph rounds the offsets of its convolutions to int32: they stay as they are
        self.rounded = {node.input[0] for node in graph.node if node.op_type == "Cast" and _target(node) == 6}
        ready = set(values)
        for node in graph.node:
            step = self._step(node, values)
            if ready.issuperset(node.input):  # a constant
                found = step[0](*(values[name] for name in step[1]), **step[2])
                found = found if isinstance(found, tuple) else (found,)
                values |= dict(zip(step[3], map(self._placed, found), strict=True))
                ready |= set(node.output)
            else:
                steps.append(step)
        needed = {name for step in steps for name in step[1]}
        self.constants = {name: value for name, value in values.items() if name in needed}
        self.steps, self.outputs = steps, [graph.output[0].name, self._durations(graph)]
        last = {name: number for number, step in enumerate(steps) for name in step[1]}
        self.dead: list[list[str]] = [[] for _ in steps]  # what no later step needs: memory goes back
        for name, number in last.items():
            if name not in self.constants and name not in self.outputs:
                self.dead[number].append(name)

    def _placed(self, x: Tensor) -> Tensor:
        """Floats go to the device, but for plain numbers; shapes and indices stay."""
        return _to(x, self.device) if x.is_floating_point() and x.dim() else x

    def _step(self, node: Any, values: dict[str, Any]) -> tuple[Callable[..., Any], list[str], dict, list[str]]:
        import onnx

        how = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if "value" in how:
            how["value"] = onnx.numpy_helper.to_array(how["value"])
        names, outputs = list(node.input), [name for name in node.output if name]
        if node.op_type == "DynamicQuantizeLinear":  # passes floats on, with a scale of 1 and a zero point of 0
            one, zero = torch.ones(()), torch.zeros(())
            return (lambda x: (x, one, zero)), names, {}, outputs
        if node.op_type == "DynamicQuantizeLSTM":
            weights, bias = _lstm_weights([values[names[n]] for n in (1, 2, 3, 8, 9, 10, 11)])
            weights = [_to(w, self.device) for w in weights]
            return (lambda x: _lstm(x, weights, bias)), names[:1], {}, outputs[:1]
        if node.op_type == "DequantizeLinear":
            return (lambda x, scale, zero: self._placed((x.float() - zero.float()) * scale)), names, how, outputs
        if node.op_type in ("MatMulInteger", "ConvInteger") and names[1] in values and names[3] in values:
            weight = _to(values[names[1]].float() - values[names[3]].float(), self.device)
            plain = torch.matmul if node.op_type == "MatMulInteger" else _conv
            return (lambda x, **k: plain(x, weight, **k)), names[:1], how, outputs
        if node.op_type == "Floor" and node.output[0] in self.rounded:
            return (lambda x: x), names, {}, outputs
        if node.op_type not in OPERATORS:
            raise ModelError(f"the graph has the operator {node.op_type}, which kokoro_torch.py does not know")
        if node.output[0] == self.noisy:
            return self._with_noise, names, {}, outputs
        return OPERATORS[node.op_type], names, how, outputs

    @staticmethod
    def _source(graph: Any) -> str:
        """The harmonics times whether there is pitch: what is mixed just before the only Tanh."""
        made = {name: node for node in graph.node for name in node.output}
        place = [node for node in graph.node if node.op_type == "Tanh"]
        if len(place) != 1:
            raise ModelError(f"{len(place)} places of this graph look like the harmonic source; it is no Kokoro")
        node = place[0]
        while node.op_type != "Mul" or "sin" not in node.name:
            before = [made[name] for name in node.input if name in made]
            if not before:
                raise ModelError("this graph's harmonic source is not found; take another export of Kokoro")
            node = before[0]
        return node.output[0]

    def _with_noise(self, harmonics: Tensor, voiced: Tensor) -> Tensor:
        noise = torch.randn(harmonics.shape, generator=self.generator, device=self.device)
        return harmonics * voiced + noise * (VOICED * voiced + UNVOICED * (1 - voiced))

    @staticmethod
    def _durations(graph: Any) -> str:
        """As kokoro_model finds them: what the only Round, or the Clip behind it, yields."""
        (place,) = [node for node in graph.node if node.op_type == "Round"]
        inside = place.output[0]
        clips = [node for node in graph.node if node.op_type in ("Clip", "Max") and inside in node.input]
        return clips[0].output[0] if clips else inside

    def get_inputs(self) -> list[SimpleNamespace]:
        return self.inputs

    @torch.inference_mode()
    def tensors(self, feed: Mapping[str, np.ndarray]) -> list[Tensor]:
        """The wave (S,) and the durations (N,), where they were computed."""
        values: dict[str, Any] = dict(self.constants)
        for name, array in feed.items():
            tensor = torch.from_numpy(array)
            values[name] = self._placed(tensor)
        for (function, names, how, outputs), dead in zip(self.steps, self.dead, strict=True):
            found = function(*[values[name] for name in names], **how)
            if isinstance(found, tuple):
                values.update(zip(outputs, found, strict=False))
            else:
                values[outputs[0]] = found
            for name in dead:
                del values[name]
        return [values[name].reshape(-1) for name in self.outputs]

    def run(self, _: None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [found.float().cpu().numpy() for found in self.tensors(feed)]
