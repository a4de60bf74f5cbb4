"""Which engine a model gets: onnxruntime's on CPUs where the model has graphs, PyTorch's for all the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tts_fm.devices import need_torch
from tts_fm.engines import Engine

ENGINES = ("auto", "onnx", "torch")


def engine_of(folder: Path, engine: str = "auto", device: str = "cpu", dtype: Any = None, **how: Any) -> str:
    """ "onnx" or "torch": which one load_engine takes for these arguments."""
    from tts_fm.engines.onnx import KINDS
    from tts_fm.engines.sessions import has_graphs

    if engine not in ENGINES:
        raise ValueError(f"there is no engine {engine!r}; one of {', '.join(ENGINES)}")
    if engine != "auto":
        return engine
    name = _type_name(dtype)
    light = device == "cpu" and not how and name in (None, *KINDS) and has_graphs(folder)
    return "onnx" if light or name == "int8" else "torch"


def _type_name(dtype: Any) -> str | None:
    return None if dtype is None else str(dtype).removeprefix("torch.")


def load_engine(
    folder: Path,
    engine: str = "auto",
    device: str = "cpu",
    dtype: Any = None,
    threads: int | None = None,
    **how: Any,
) -> Engine:
    """The engine for a model folder, or for published weights, which only torch reads.

    engine: "onnx", "torch", or "auto": onnx where the device is the CPU, the folder has graphs and nothing was asked
    for that only torch has. dtype: None = what is quickest here; onnx: "int8" or "float32"; torch: the name of a
    floating type, or a torch.dtype. threads: of one computation, None = all cores; onnx only, torch has its own for the
    whole process. how: as for load_flow_model; torch only. Raises ValueError for an engine or dtype
    that does not exist, ModelError for graphs or weights that are missing or damaged, MissingDependency without torch.
    """
    name, asked = _type_name(dtype), engine
    engine = engine_of(folder, engine, device, dtype, **how)
    if engine == "onnx":
        from tts_fm.engines.onnx import OnnxEngine

        if device != "cpu":
            raise ValueError(f"the onnx engine runs on cpu, not on {device}; engine torch does")
        if how:
            raise ValueError(f"{', '.join(how)} is for published weights, which only the torch engine reads")
        return OnnxEngine(folder, name, threads)
    if name == "int8":
        raise ValueError("the torch engine has no int8; float32, bfloat16 or float16 works, or engine onnx")
    need_torch("a model without graphs" if asked == "auto" else "the torch engine")
    from tts_fm.engines.torch import TorchEngine, dtype_named

    return TorchEngine.load(folder, device, None if name is None else dtype_named(name), **how)
