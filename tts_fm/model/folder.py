"""Model folders, one way for all of them: a JSON file of sizes and a safetensors file of weights, checked against each
other before a layer is built.

Used by the flow model (checkpoint/load.py), the duration model, the aligner and the vocoder. What is wrong is a
ModelError that names the file and the field or the tensor. It knows no network: each says by `Field` what its sizes
may be.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tts_fm import files
from tts_fm.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

M = TypeVar("M", bound="nn.Module")
Shapes = Mapping[str, tuple[int, ...]]
WEIGHTS, CONFIG = "model.safetensors", "config.json"
FLOATS = {"F64", "F32", "F16", "BF16"}  # what safetensors calls the types that weights may have
MOST_TEXT = 64 << 20  # bytes of a configuration
MOST_SYMBOLS = 100_000


@dataclass(frozen=True)
class Field:
    """What a field of a configuration may be: a number from `low` to `high`, with `each` a list of them; or, where
    `kind` is str, a list of different strings.
    """

    kind: type[int] | type[float] | type[str]
    low: float = -math.inf
    high: float = math.inf
    each: bool = False

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        if self.kind is str:
            strings = isinstance(value, list) and all(isinstance(v, str) and v for v in value)
            good = strings and 0 < len(value) <= MOST_SYMBOLS and len(set(value)) == len(value)
            return None if good else f"must be a list of different strings, at most {MOST_SYMBOLS}"
        if self.each:
            if not isinstance(value, list | tuple) or not 0 < len(value) <= 1000:
                return "must be a list of numbers"
            return next((fault for v in value if (fault := Field(self.kind, self.low, self.high).fault(v))), None)
        number = isinstance(value, int) or (self.kind is float and isinstance(value, float))
        if not number or isinstance(value, bool) or not self.low <= value <= self.high:
            return f"must be a {'whole ' if self.kind is int else ''}number from {self.low:g} to {self.high:g}"
        return None


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file. ModelError for anything else, NaN and infinity among it."""
    path = Path(path)

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no number")

    try:
        if path.stat().st_size > MOST_TEXT:
            raise ValueError(f"it has more than {MOST_TEXT >> 20} MB")
        value = json.loads(path.read_text("utf-8"), parse_constant=refuse)
        if not isinstance(value, dict):
            raise ValueError(f"it holds {type(value).__name__}, not an object")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise ModelError(f"{path} is not a model's configuration: nested too deeply") from None
    except ValueError as error:
        raise ModelError(f"{path} is not a model's configuration: {error}") from None
    return value


def check_fields(values: Mapping[str, Any], fields: Mapping[str, Field], path: str | os.PathLike[str]) -> None:
    """ModelError that names the file, the field and what it may be, for values that `fields` do not allow or know."""
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise ModelError(f"{path}: unknown field {unknown[0]!r}; there are {', '.join(fields)}")
    for name, value in values.items():
        if fault := fields[name].fault(value):
            raise ModelError(f"{path}: {name} is {str(value)[:60]}; it {fault}")


def read_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a safetensors file, from its header alone. ModelError for a damaged file and for
    tensors that are no floating-point numbers.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            types = {name: part.get_dtype() for name, part in parts.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
    except (SafetensorError, OSError, ValueError, UnicodeError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {_first_line(error)}") from None
    if wrong := [name for name, kind in types.items() if kind not in FLOATS]:
        raise ModelError(f"{path}: {wrong[0]} holds {types[wrong[0]]}, not floating-point numbers")
    return shapes


def read_tensors(path: str | os.PathLike[str], float32: bool = True) -> dict[str, Tensor]:
    """The tensors of a safetensors file as float32, or as they are. ModelError for a damaged file and for numbers that
    are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {_first_line(error)}") from None
    for name, value in tensors.items():
        if not bool(torch.isfinite(value.sum(dtype=torch.float64))):
            raise ModelError(f"{path}: {name} holds NaN or infinite weights; take an earlier checkpoint")
    return {name: value.float() for name, value in tensors.items()} if float32 else tensors


def read_pickle(path: str | os.PathLike[str], within: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors of a .pt or .bin file, of the first of its entries `within` that holds some, else of the file itself.

    Read with weights_only: nothing in it can run. Entries that are no tensors are left out. ModelError for a file that
    is missing, damaged, holds more than plain data, or whose tensors are not plain numbers in memory of their own
    (sparse, quantised, complex, or unpacked from less than a hundredth of their size).
    """
    import torch

    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise ModelError(f"there is no file {path}") from None
    except Exception as error:  # torch raises many kinds for damaged and for refused files
        raise ModelError(
            f"{path} is damaged, or holds more than plain data, which is not read: {_first_line(error)}"
        ) from None
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds {type(state).__name__}, not named weights")
    state = next((state[name] for name in within if isinstance(state.get(name), dict)), state)
    tensors = {name: v for name, v in state.items() if isinstance(name, str) and isinstance(v, torch.Tensor)}
    for name, value in tensors.items():
        plain = value.layout == torch.strided and not (value.is_meta or value.is_quantized or value.is_complex())
        if not plain or value.nbytes > 100 * value.untyped_storage().nbytes():
            raise ModelError(f"{path}: {name} is not a plain array of numbers")
    if not tensors:
        there = ", ".join(str(name)[:40] for name in list(state)[:3])
        raise ModelError(f"{path} holds no weights; its entries are {there or 'none'}")
    return tensors


def check_shapes(wanted: Shapes, got: Shapes, path: str | os.PathLike[str]) -> None:
    """ModelError that names what weights lack, what they have too much, and what has another shape."""
    wrong = {
        "lacks": [k for k in wanted if k not in got],
        "has what the network does not know:": [k for k in got if k not in wanted],
        "has another shape for": [f"{k} {got[k]}, not {wanted[k]}" for k in wanted if k in got and got[k] != wanted[k]],
    }
    if any(wrong.values()):
        faults = "; ".join(f"it {what} {_first(names)}" for what, names in wrong.items() if names)
        raise ModelError(f"{path} does not fit its network: {faults}")


def members(shapes: Shapes | Mapping[str, Any], group: str) -> int:
    """How many numbered members `group` has among these names: "blocks.0.x", "blocks.7.y" -> 2."""
    depth = group.count(".") + 1
    return len({name.split(".")[depth] for name in shapes if name.startswith(group + ".")})


def check_layers(layers: Mapping[str, tuple[int, str]], shapes: Shapes, path: str | os.PathLike[str]) -> None:
    """ModelError when a configuration asks for another number of layers than the weights have, before any is built.

    layers: field -> (its value, the group of numbered names in the weights).
    """
    for name, (value, group) in layers.items():
        if value != (there := members(shapes, group)):
            raise ModelError(f"{path}: {name} is {value}, the weights have {there} ({group}.*)")


def meta_shapes(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's weights, without memory for them."""
    import torch

    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build().state_dict().items()}


def load(
    build: Callable[..., M],
    fields: Mapping[str, Field],
    layers: Mapping[str, str],
    weights: Path,
    settings: Path,
    what: str,
) -> M:
    """A network from its two files, in eval mode, float32.

    build: its class, whose arguments `fields` describes; layers: field -> group of numbered names, for fields that say
    how many layers there are (of a list: its length). what: the model's kind, for errors. Raises ModelError.
    """
    import torch

    for file in (weights, settings):
        if not file.is_file():
            raise ModelError(f"{what}: {file} is missing; a folder with {weights.name} and {settings.name} is needed")
    values = read_config(settings)
    check_fields(values, fields, settings)
    shapes = read_shapes(weights)
    counts = {name: values[name] for name in layers if name in values}
    sizes = {name: len(value) if isinstance(value, Sequence) else value for name, value in counts.items()}
    check_layers({name: (size, layers[name]) for name, size in sizes.items()}, shapes, settings)
    try:
        check_shapes(meta_shapes(lambda: build(**values)), shapes, weights)
        with torch.random.fork_rng([]):  # its first values are drawn, and then replaced
            model = build(**values)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{settings}: no {what} can be built from it: {_first_line(error)}") from None
    model.load_state_dict(read_tensors(weights))
    return model.eval()


def save(
    folder: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    names: tuple[str, str] = (WEIGHTS, CONFIG),
) -> None:
    """Write weights and settings (plain JSON values) into a folder, which is made if missing; both appear whole or not
    at all. dtype: how the tensors are stored, by default as they are. ValueError for tensors that are not finite in it.
    """
    with files.writing_together(folder) as beside:
        save_weights(beside / names[0], tensors, dtype)
        files.write_json(beside / names[1], settings)


def save_weights(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Write a safetensors file; arguments as in `save`."""
    import torch
    from safetensors.torch import save as encode

    kept = {}
    for name, value in tensors.items():
        kept[name] = value.detach().to("cpu", dtype or value.dtype).contiguous()
        if not bool(torch.isfinite(kept[name]).all()):
            raise ValueError(f"{name} holds numbers that are not finite in {kept[name].dtype}; the model is not saved")
    files.write_bytes(path, encode(kept, {"format": "pt"}))


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
