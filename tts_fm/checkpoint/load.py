"""Checkpoints: our folder form, the published F5/E2 files, and the way from .pt to .safetensors. Nothing here runs code
from a file.

Folder form: model.safetensors (the network's parameters), config.json ({"model": ModelConfig, "tokenizer": {...}, ...})
and vocab.txt (one symbol a line). Published form: one .safetensors, names behind a prefix, mel and rotary buffers among
them, no configuration at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tts_fm import files
from tts_fm.audio import steady, texture
from tts_fm.config import ModelConfig, from_dict, to_dict
from tts_fm.errors import ModelError
from tts_fm.model.folder import (
    check_layers,
    check_shapes,
    read_config,
    read_pickle,
    read_shapes,
    read_tensors,
    save_weights,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tts_fm.flow.fitted import FittedSolver
    from tts_fm.model.flow_model import FlowModel

T = TypeVar("T")
PREFIXES = ("ema_model.transformer.", "ema_model.", "transformer.", "net.")
BUFFERS = ("initted", "step", "update")  # bookkeeping of a moving average
BUFFER_PARTS = ("mel_spec.", "rotary_embed.")  # tables that are computed, not learnt
PICKLES = (".pt", ".pth", ".ckpt")
REMOTE = ("hf://", "http://", "https://")
BLOCKS = {"dit": "transformer_blocks", "unett": "layers"}  # what the weights call them
MODEL, CONFIG, VOCAB = "model.safetensors", "config.json", "vocab.txt"
SOLVER = "solver.json"  # solvers that were fitted to this very model; a folder may do without
# may be in a folder
PARTS = (
    "vocoder/vocoder.safetensors", "vocoder/vocoder.json", "duration/model.safetensors", "duration/config.json",
    "classifier/model.safetensors", "classifier/config.json",
)  # fmt: skip


def load_flow_model(
    path: str | os.PathLike[str],
    variant: str | None = None,
    vocab: Sequence[str] | str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> FlowModel:
    """A model ready to speak (eval mode), float32 unless `dtype` says otherwise.

    path: one of our folders, a published .safetensors file, or either as hf://owner/repo[@rev]/... Published files need
    variant ("f5-v1", "f5-v0", "e2") and vocab, a list or the path of a vocab.txt (default: vocab.txt beside the file).
    Raises ModelError for files that are missing, damaged or of another network, ValueError for a variant or vocabulary
    that is missing or does not fit.
    """
    place = find_model(path)
    if place.is_dir():
        model = _load_folder(place, variant, vocab)
    elif place.suffix == ".safetensors":
        model = _load_published(place, variant, vocab)
    elif place.suffix in PICKLES:
        raise ModelError(f"{place} is a pickle; turn it into safetensors first: tts-fm convert {place} OUT.safetensors")
    else:
        raise ModelError(
            f"{place} is no model: a folder with {MODEL}, {CONFIG} and {VOCAB}, or a published .safetensors file is"
        )
    return model.to(device=device, dtype=dtype).eval()


def save_flow_model(
    folder: str | os.PathLike[str],
    model: FlowModel,
    tokenizer: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write our folder form; other files in the folder stay. Every file appears whole or not at all.

    tokenizer: {"name": "char" | "pinyin" | "phoneme", "lang": ...}, by default the model's own. dtype: torch.float16
    halves the file, None keeps the model's. extra: further plain JSON entries of config.json, other than "model" and
    "tokenizer". Raises ValueError for weights that are not finite in dtype.
    """
    from tts_fm.text.tokens import save_vocab

    settings = {
        "model": to_dict(model.config),
        "tokenizer": tokenizer or model.tokenizer_settings,
    }
    clash = set(settings) & set(extra or {})
    if clash:
        raise ValueError(f"extra may not hold {', '.join(sorted(clash))}: the model says that itself")
    with files.writing_together(folder) as saving:
        save_vocab(saving / VOCAB, model.vocab)
        files.write_json(saving / CONFIG, settings | dict(extra or {}))
        save_weights(saving / MODEL, model.net.state_dict(), dtype)


def convert_pt(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """A published or own training .pt -> .safetensors with the averaged weights (the plain ones where there are no
    others).

    The file is read with weights_only, so it cannot run code. Returns `out`. Raises ModelError for a file that is
    missing, damaged, holds anything but plain data, or no F5/E2 network.
    """
    source, target = find_model(path), Path(out)
    if target.suffix != ".safetensors":
        raise ValueError(f"the output must end in .safetensors, got {target}")
    found = read_pickle(source, ("ema_model_state_dict", "model_state_dict"))
    tensors = strip(found)
    if "proj_out.weight" not in tensors:
        raise ModelError(f"{source} holds no F5 or E2 network; its entries are {', '.join(list(found)[:3])}")
    save_weights(target, {PREFIXES[0] + k: v.clone() for k, v in tensors.items()})
    return target


def find_model(path: str | os.PathLike[str]) -> Path:
    """A local path; hf:// and https:// are fetched: a file, or our folder form where the name has no suffix.
    ModelError: nothing there.
    """
    spec = os.fspath(path)
    if spec.startswith(REMOTE):
        from tts_fm.checkpoint import fetch

        if Path(spec).suffix in (".safetensors", *PICKLES):
            return fetch.resolve(spec)
        return fetch.resolve_folder(spec, (MODEL, CONFIG, VOCAB), PARTS)
    place = Path(spec)
    if not place.exists():
        raise ModelError(f"there is no model at {place}")
    return place


def strip(tensors: Mapping[str, T]) -> dict[str, T]:
    """Parameters by the network's own names: prefixes gone, buffers and bookkeeping dropped."""
    kept = {}
    for name, value in tensors.items():
        bare = name.removeprefix("ema_model.")
        if bare in BUFFERS or any(part in bare for part in BUFFER_PARTS):
            continue
        prefix = next((p for p in PREFIXES if name.startswith(p)), "")
        kept[name.removeprefix(prefix)] = value
    return kept


def _load_folder(folder: Path, variant: str | None, vocab: Sequence[str] | str | os.PathLike[str] | None) -> FlowModel:
    if variant is not None:
        raise ValueError(f"{folder} says itself what it is: leave variant out")
    missing = [name for name in (MODEL, CONFIG, VOCAB) if not (folder / name).is_file()]
    if missing and not (missing == [VOCAB] and vocab is not None):
        raise ModelError(f"{folder} is no model folder: {', '.join(missing)} missing")
    settings = read_config(folder / CONFIG)
    config = _model_config(settings, folder / CONFIG)
    shapes = strip(read_shapes(folder / MODEL))
    layers = {
        "depth": BLOCKS[config.backbone],
        "text_layers": "text_embed.text_blocks",
        "text_frame_layers": "text_embed.frame_blocks",
    }
    check_layers({name: (getattr(config, name), group) for name, group in layers.items()}, shapes, folder / CONFIG)
    symbols = _symbols(folder / VOCAB if vocab is None else vocab)
    if len(symbols) != config.vocab:
        raise ModelError(
            f"the vocabulary has {len(symbols)} symbols but {folder / CONFIG} says that the model was built for "
            f"{config.vocab}"
        )
    model = _built(config, symbols, settings, shapes, folder / MODEL)
    model.solvers = fitted_solvers(folder)
    return model


def fitted_solvers(folder: Path) -> dict[int, FittedSolver]:
    """The solvers in a model folder, by number of evaluations. ModelError where they were fitted to other weights."""
    from tts_fm.flow.fitted import read_solvers

    if not (folder / SOLVER).is_file():
        return {}
    try:
        solvers = read_solvers((folder / SOLVER).read_text("utf-8"))
        for solver in solvers.values():
            solver.check_for(model=files.digest(folder / MODEL))
    except (ValueError, OSError) as error:
        raise ModelError(f"{folder / SOLVER}: {error}") from None
    return solvers


def _load_published(path: Path, variant: str | None, vocab: Sequence[str] | str | os.PathLike[str] | None) -> FlowModel:
    from tts_fm.model.published import check_variant, published_config

    check_variant(variant)
    assert variant is not None
    shapes = strip(read_shapes(path))
    config = published_config(variant, shapes)
    if vocab is None and not (path.parent / VOCAB).is_file():
        raise ValueError(
            f"published weights carry no vocabulary: pass vocab, {config.vocab} symbols in a list or the path of a "
            "vocab.txt"
        )
    symbols = _symbols(path.parent / VOCAB if vocab is None else vocab)
    if len(symbols) != config.vocab:
        rows = f"{config.vocab} ({config.vocab + 1} rows with the filler)"
        raise ValueError(f"the vocabulary has {len(symbols)} symbols but {path.name} was trained with {rows}")
    settings = {"model": to_dict(config), "tokenizer": {"name": "pinyin"}, "variant": variant}
    return _built(config, symbols, settings, shapes, path)


def _model_config(settings: dict[str, Any], path: Path) -> ModelConfig:
    """The network's sizes; the other entries of config.json are checked too. ModelError."""
    from tts_fm.settings import Settings

    try:
        if not isinstance(settings.get("model"), dict):
            raise ValueError("model is missing, or no object")
        sigma = settings.get("sigma_min", 0.0)
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 <= sigma < 1:
            raise ValueError(f"sigma_min is {sigma!r}; a number from 0 to below 1 is needed")
        config = from_dict(ModelConfig, _with_path(settings))
        tokenizer = settings.get("tokenizer", {"name": "char"})
        if not isinstance(tokenizer, dict) or not isinstance(tokenizer.get("name"), str):
            raise ValueError('tokenizer must be an object such as {"name": "char"}')
        if not isinstance(tokenizer.get("lang", ""), str):
            raise ValueError(f"tokenizer.lang is {tokenizer['lang']!r}; a code such as en-us is needed")
        defaults = settings.get("defaults", {})
        if not isinstance(defaults, dict):
            raise ValueError("defaults must be an object")
        Settings(**defaults).check()
        texture.check(settings.get("texture", {}))
        steady.check(settings.get("steady", False))
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"{path} is not a model's configuration: {error}") from None
    return config


def _built(
    config: ModelConfig, vocab: list[str], settings: dict[str, Any], shapes: Mapping[str, tuple[int, ...]], source: Path
) -> FlowModel:
    """Build without memory, compare every name and shape, then put the tensors in as float32."""
    import torch

    from tts_fm.model.flow_model import FlowModel

    try:
        with torch.device("meta"):
            model = FlowModel(config, vocab, settings.get("tokenizer"))
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{source} has a configuration that no network can be built from: {error}") from error
    model.settings = settings
    check_shapes({k: tuple(v.shape) for k, v in model.net.state_dict().items()}, shapes, source)
    model.net.load_state_dict(strip(read_tensors(source)), assign=True)
    return model


def _with_path(settings: dict[str, Any]) -> dict[str, Any]:
    """The model's part of config.json; files from before there were paths have sigma_min beside it."""
    model = settings["model"]
    sigma = settings.get("sigma_min", 0.0)
    return {"path": f"ot({sigma})"} | model if sigma else model


def read_weights(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The parameters of a model folder as they are stored, by the network's own names. ModelError."""
    return strip(read_tensors(Path(folder) / MODEL, float32=False))


def with_weights(model: FlowModel, weights: Mapping[str, Tensor]) -> FlowModel:
    """The model with some parameters in place of its own, in its dtype; all others are shared, not copied."""
    import torch

    from tts_fm.model.flow_model import FlowModel

    with torch.device("meta"):
        fresh = FlowModel(model.config, model.vocab, model.tokenizer_settings)
    state = model.net.state_dict() | {k: v.to(model.device, model.dtype) for k, v in weights.items()}
    fresh.net.load_state_dict(state, assign=True)
    fresh.settings = model.settings
    return fresh.eval()


def _symbols(vocab: Sequence[str] | str | os.PathLike[str]) -> list[str]:
    from tts_fm.text.tokens import load_vocab

    if not isinstance(vocab, str | os.PathLike):
        return list(vocab)
    if os.fspath(vocab).startswith(REMOTE):
        from tts_fm.checkpoint import fetch

        vocab = fetch.resolve(vocab)
    return load_vocab(vocab)
