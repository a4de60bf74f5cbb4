"""Graphs on the disk and onnxruntime's sessions of them: what `tts-fm export onnx` wrote is checked and opened here.

    FOLDER/                 a model folder, weights and all
      onnx/graphs.json      which graphs there are, what made them, which weights they point into
      onnx/NAME.onnx        a graph; its weights are references into the folder's .safetensors files
      onnx/NAME.int8.onnx   the same with 8 bit matrix products, whose weights are made when it is opened

graphs.json: format; graphs (names); weights (file -> its mark); places (graph -> initialiser -> where it is stored);
int8 (graph -> product -> the stored matrices that it joins). A place is [file, offset, type, rows, columns, ...].
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm import devices
from tts_fm.devices import sums_of_products_fit
from tts_fm.errors import ModelError

FORMAT = 1  # of graphs.json and of the graphs' inputs and outputs
GRAPHS, MANIFEST = "onnx", "graphs.json"
AGAIN = "make them again: tts-fm export onnx MODEL FOLDER --int8"
STORAGE = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}  # of tensors; bfloat16 is half of a float32

Place = list[Any]  # [file, offset, type, *dimensions]
Key = tuple[str, int]  # file and offset: which tensor
Changes = Mapping[Key, Callable[[], np.ndarray]]  # what makes tensors in place of the stored ones, float32


def has_graphs(folder: Path) -> bool:
    """Whether a model folder holds graphs."""
    return (folder / GRAPHS / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """graphs.json, checked: the graphs are of this version and there, and the weights those that they point into.
    ModelError.
    """
    path = folder / GRAPHS / MANIFEST
    if not path.is_file():
        raise ModelError(f"{folder} holds no graphs for onnxruntime; {AGAIN}")
    try:
        found = json.loads(path.read_text("utf-8"))
        form, graphs, weights = found["format"], list(found["graphs"]), dict(found["weights"])
        places = (*found["places"].values(), *found["int8"].values())
        files = {place[0] for graph in places for each in graph.values() for place in listed(each)}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        raise ModelError(f"{path} cannot be read ({error}); {AGAIN}") from error
    if form != FORMAT:
        raise ModelError(f"the graphs in {path.parent} have format {form}, this version reads {FORMAT}; {AGAIN}")
    for name in graphs:
        if not (path.parent / f"{name}.onnx").is_file():
            raise ModelError(f"{path.parent / name}.onnx is missing; {AGAIN}")
    if unknown := files - set(weights):
        raise ModelError(f"{path} points into {sorted(unknown)[0]}, whose content it does not know; {AGAIN}")
    for name, mark in weights.items():
        if weights_mark(folder / name) != mark:
            raise ModelError(f"{folder / name} is not the file that the graphs were made of; {AGAIN}")
    return found


def listed(places: Any) -> list[Place]:
    """One place, or several, as a list."""
    return places if isinstance(places[0], list) else [places]


def weights_mark(path: Path) -> str:
    """What tells whether a .safetensors file has its tensors where graphs look for them: its size and its header."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            header = file.read(min(int.from_bytes(head, "little"), 1 << 24))
        return f"{path.stat().st_size}:{hashlib.sha256(head + header).hexdigest()[:16]}"
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error


def tensors_of(path: Path) -> dict[str, tuple[int, str, tuple[int, ...]]]:
    """The tensors of a .safetensors file: name -> offset in the file, type, shape. (8 bytes of size, a JSON header, the
    numbers.) ModelError for a damaged header.
    """
    try:
        with open(path, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(min(size, 1 << 26)))
        return {
            name: (8 + size + entry["data_offsets"][0], entry["dtype"], tuple(entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error


def read_place(folder: Path, place: Place) -> np.ndarray:
    """A stored tensor as float32."""
    file, offset, kind, *shape = place
    found = np.fromfile(folder / file, STORAGE[kind], int(np.prod(shape)), offset=offset).reshape(shape)
    if kind == "BF16":
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found.astype(np.float32)


def quantised(places: list[Place], folder: Path, changes: Changes, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Stored matrices (rows, columns), one below the other, as 8 bit weights (columns, all rows) and the scale of each
    row, whose largest number becomes `levels`."""
    weights, scales = [], []
    for place in places:
        change = changes.get((place[0], place[1]))
        matrix = read_place(folder, place) if change is None else change()
        scale = np.maximum(np.abs(matrix).max(1, keepdims=True), 1e-12) / np.float32(levels)
        matrix /= scale
        weights.append(np.rint(matrix, out=matrix).astype(np.int8))
        scales.append(scale[:, 0])
    return np.ascontiguousarray(np.concatenate(weights).T), np.concatenate(scales)


def open_session(
    folder: Path, name: str, manifest: Mapping[str, Any], threads: int = 0, changes: Changes | None = None
) -> Any:
    """A session for the graph of that name. Threads wait instead of spinning, so that a core that another program uses
    costs its share and no more. changes: tensors that take the place of stored ones. Raises MissingDependency,
    ModelError.
    """
    onnxruntime = devices.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # errors come as exceptions
    # what a run used goes back to the system: as quick, and two threads that speak take 40 MB less at their peak
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.resolve()))
    path = folder / GRAPHS / f"{name}.onnx"
    try:
        made = replaced(folder, name, manifest, changes or {})
        if made:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in made.values()]
            options.add_external_initializers(list(made), values)
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many kinds, none of them exported
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"the graph {path} cannot be opened ({reason}); {AGAIN}") from error


def replaced(folder: Path, name: str, manifest: Mapping[str, Any], changes: Changes) -> dict[str, np.ndarray]:
    """Initialisers that are not read from the folder's files as they are: 8 bit weights, and changed ones, which are
    rounded as the stored ones are.
    """
    levels, made = 127 if sums_of_products_fit() else 63, {}
    for product, places in manifest["int8"].get(name, {}).items():
        made[f"{product}.weight"], made[f"{product}.scale"] = quantised(places, folder, changes, levels)
    for initialiser, place in manifest["places"].get(name, {}).items():
        change = changes.get((place[0], place[1]))
        if change is not None:
            if place[2] == "BF16":
                raise ModelError("weights stored in bfloat16 cannot be changed in a graph; engine torch can do it")
            made[initialiser] = np.ascontiguousarray(change(), STORAGE[place[2]])
    return made


def touched(name: str, manifest: Mapping[str, Any], changes: Changes) -> bool:
    """Whether any weight of a graph is changed."""
    graphs = (*manifest["places"].get(name, {}).values(), *manifest["int8"].get(name, {}).values())
    return any((place[0], place[1]) in changes for places in graphs for place in listed(places))
