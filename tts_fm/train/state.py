"""The state of a run on the disk, in two forms, either of which any number of processes goes on from, sharded or not.

last.pt is whole, written by the main process. last/ (train.sharded_checkpoints) is a folder into which every process
writes what it holds, as safetensors, through torch.distributed.checkpoint: nothing is gathered anywhere. Beside the
tensors both have the step and some numbers. It knows tensors by their names, and neither training nor networks.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tts_fm import files
from tts_fm.config import TrainConfig, to_dict

logger = logging.getLogger(__name__)
WHOLE, PARTS, NUMBERS = "last.pt", "last", "run.pt"
# fields that may change from one part of a run to the next and leave its course as it is
FREE = {
    "steps", "decay", "log_every", "valid_every", "save_every", "workers", "checkpointing", "tensorboard", "shard",
    "peak_tflops", "most_skipped", "deterministic", "accumulate", "sharded_checkpoints", "replicas",
}  # fmt: skip


def flat(tensors: Mapping[Any, Any], before: str = "") -> dict[str, Tensor]:
    """Nested dicts of tensors as one, by names with points; tensors of no axis get one, which safetensors needs."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value.reshape(1) if value.ndim == 0 else value
    return found


def moments(optimiser: Any) -> dict[int, dict[str, Tensor]]:
    """AdamW's state by the number of the parameter, as state_dict counts them; the tensors themselves."""
    inner = getattr(optimiser, "optimizer", optimiser)
    parameters = [p for group in inner.param_groups for p in group["params"]]
    return {number: inner.state[p] for number, p in enumerate(parameters) if inner.state.get(p)}


def make_moments(optimiser: Any, place: Path) -> None:
    """Give the parameters that have moments in a folder the state that AdamW would make at its first step."""
    inner = getattr(optimiser, "optimizer", optimiser)
    numbers = {int(name.split(".")[1]) for name in sizes_of(place) if name.startswith("optimiser.")}
    for number, p in enumerate(p for group in inner.param_groups for p in group["params"]):
        if number in numbers and not inner.state.get(p):
            zero = torch.zeros((), dtype=torch.float32, device=p.device)
            inner.state[p] = {"step": zero, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}


def write_whole(folder: Path, state: dict[str, Any]) -> None:
    """Write last.pt, by one process. OSError."""
    files.write_state(folder / WHOLE, state)
    for place in (folder / PARTS, files.before_of(folder / PARTS)):
        shutil.rmtree(place, ignore_errors=True)  # of before the run changed its form


def save_parts(
    folder: Path, tensors: Mapping[str, Any], numbers: dict[str, Any], main: bool, wait: Callable[[], object]
) -> None:
    """Write last/, all processes together; what was there stands until it is complete. OSError.

    tensors: nested, whole or sharded (DTensor). numbers: plain values. wait: returns when all processes have called it.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    part = files.part_of(folder / PARTS)
    if main:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    wait()
    writer = HuggingFaceStorageWriter(str(part), save_distributed=True)
    with _told(folder / PARTS), torch_is_quiet():
        save(flat(tensors), storage_writer=writer, no_dist=alone())
    if main:
        files.write_state(part / NUMBERS, numbers)
        files.replace_folder(part, folder / PARTS)
        for place in (folder / WHOLE, files.before_of(folder / WHOLE)):
            place.unlink(missing_ok=True)  # of before the run changed its form
    wait()


def load_parts(place: Path, tensors: Mapping[str, Any]) -> None:
    """Fill tensors, whole or cut in any way, from a folder. ValueError when they are not the ones in there."""
    wanted, there = flat(tensors), sizes_of(place)
    for name in sorted(wanted.keys() ^ there.keys()):
        raise ValueError(f"{name} is {'lacking' if name in wanted else 'not known'}")
    for name, value in wanted.items():
        if value.shape != there[name]:
            raise ValueError(f"{name} has the shape {tuple(there[name])}, not {tuple(value.shape)}")
    fill(dict(wanted), place, alone())


def fill(tensors: dict[str, Tensor], place: Path, single: bool) -> None:
    """Read these tensors of a folder. single: this process alone, else all together. OSError."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with _told(place), torch_is_quiet():
        load(tensors, storage_reader=HuggingFaceStorageReader(str(place)), no_dist=single)


def sizes_of(place: Path) -> dict[str, torch.Size]:
    """The tensors in a folder, by name, and their shapes. ValueError for a damaged one."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    try:
        return {
            name: found.size  # type: ignore[union-attr]
            for name, found in HuggingFaceStorageReader(str(place)).read_metadata().state_dict_metadata.items()
        }
    except Exception as error:  # safetensors has errors of its own
        raise ValueError(str(error).splitlines()[0]) from None


def newest(folder: Path) -> Path | None:
    """The state to go on from, last/ or last.pt, or the one kept from before it where it is damaged, which is told;
    where both forms are there (a kill in between) the later one. ValueError when all is damaged.
    """
    parts, whole = standing_parts(folder / PARTS), folder / WHOLE
    there = whole.exists() or files.before_of(whole).exists()
    if parts is None or not there:
        return whole if there else parts
    return parts if numbers_of(parts)["step"] >= files.read_state(whole)["step"] else whole


def standing_parts(place: Path) -> Path | None:
    """A folder that can be read: `place` or the one from before it; None when there is neither. ValueError."""
    faults = []
    for each in (place, files.before_of(place)):
        if each.is_dir():
            try:
                sizes_of(each), numbers_of(each)
            except ValueError as error:
                faults.append(f"{each} is damaged ({error})")
                continue
            if faults:
                logger.warning("%s; going on from %s, the state before it", faults[0], each)
            return each
    if faults:
        raise ValueError(f"{' and '.join(faults)}, and no state before it was kept; remove it to begin anew")
    return None


def numbers_of(place: Path) -> dict[str, Any]:
    """What a folder holds beside tensors. ValueError when it cannot be read."""
    state = files.read_state(place / NUMBERS)
    if state is None:
        raise ValueError(f"{NUMBERS} is missing")
    return state


def read_average(folder: Path) -> tuple[dict[str, Tensor], int]:
    """(averaged weights, step) of a run's newest state, whole and on the CPU. FileNotFoundError when there is none."""
    place = newest(folder)
    if place is None:
        raise FileNotFoundError(2, "there is no state of a run", str(folder))
    if not place.is_dir():
        state = files.read_state(place)
        return state["average"], state["step"]
    before = "average."
    average = {name: torch.zeros(size) for name, size in sizes_of(place).items() if name.startswith(before)}
    fill(average, place, True)
    return {name.removeprefix(before): value for name, value in average.items()}, numbers_of(place)["step"]


def alone() -> bool:
    """Whether this process has no others beside it."""
    return not torch.distributed.is_initialized()


@contextlib.contextmanager
def _told(place: Path) -> Iterator[None]:
    """torch.distributed.checkpoint's exceptions are no Exceptions: one line, as an OSError."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        if isinstance(first, OSError) and first.errno is not None:
            raise type(first)(first.errno, first.strerror, str(place)) from None
        raise OSError(5, " ".join(str(first).split()) or type(first).__name__, str(place)) from None


@contextlib.contextmanager
def torch_is_quiet() -> Iterator[None]:
    """Inside, torch.distributed.checkpoint does not remark on every save."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def changes(state: dict[str, Any], config: TrainConfig, world: int, nodes: int = 1, device: str = "cpu") -> list[str]:
    """What is another than when the state was saved, and so makes the run another one from here on."""
    was, now = state.get("config", {}), to_dict(config)
    now = {name: list(value) if isinstance(value, tuple) else value for name, value in now.items()}
    was = {name: list(value) if isinstance(value, tuple) else value for name, value in was.items()}
    changed = [f"{k} was {v!r}, is {now[k]!r}" for k, v in was.items() if k in now and now[k] != v and k not in FREE]
    processes = state.get("processes", 1)
    batches = processes * was.get("accumulate", config.accumulate)
    if batches != world * config.accumulate:
        changed.append(
            f"an update had {batches} batches ({processes} processes), has {world * config.accumulate} ({world})"
        )
    if config.by_node and state.get("nodes", 1) != nodes:
        changed.append(f"the shards were dealt out to {state.get('nodes', 1)} nodes, are to {nodes}")
    if state.get("device", device) != device:
        changed.append(f"it ran on {state['device']}, runs on {device}: noise and rounding are others from here on")
    return changed
