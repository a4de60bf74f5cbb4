"""A voice of one's own: what training on a person's recordings has changed in a model, as a folder that any engine can
read.

    voice.json             name, language, the prompt's text, the base model, figures, licence, consent, and `match`:
                           how far speech takes on the prompt's spectrum (audio/match.py) unless somebody says otherwise
    adapter.safetensors    low-rank and plain differences of weights
    prompt.flac            a few seconds of the voice, 24 kHz
    samples/               a sentence before and after (nothing reads them)
    .work/                 the state of learning, while it lasts

Tensors by name: "flow/X.weight.a" (r, in) and "flow/X.weight.b" (out, r) change the weight X of the flow network by
scale * b a (Hu 2021, arXiv 2106.09685), of a convolution (out, in / groups, kernel) with the rest of its axes as one;
"flow/X" and "duration/X" are added to the parameter X as they are. The same three files in one zip are a voice too; it
is read in place, so nothing in it can become a path. numpy only: it knows no networks.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tts_fm import files
from tts_fm.audio.files import load
from tts_fm.errors import ModelError
from tts_fm.settings import TABLE

INFO, WEIGHTS, PROMPT, WORK = "voice.json", "adapter.safetensors", "prompt.flac", ".work"
LARGEST = {INFO: 1 << 20, WEIGHTS: 256 << 20, PROMPT: 16 << 20}  # bytes that are read at most
MOST_ENTRIES = 100  # files in a zip
FORMAT = 1
BASE_FILES = ("model.safetensors", "vocab.txt", "duration/model.safetensors")  # what an adapter's changes belong to


@dataclass(frozen=True)
class Adapter:
    """Changes of a base model's weights. Two adapters are the same when their digests are."""

    digest: str  # SHA-256 of its file and of what decides how it speaks
    base: str  # `base_digest` of the model that it was trained on
    base_name: str
    scale: float = field(compare=False)
    tensors: Mapping[str, np.ndarray] = field(compare=False, repr=False)
    prompted: bool = True  # whether the prompt is shown to the network; without it speech costs half
    defaults: Mapping[str, Any] = field(default_factory=dict, compare=False)  # of Settings, before the model's

    def part(self, name: str) -> dict[str, np.ndarray]:
        """The tensors of one network, "flow" or "duration", by its own names."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


@dataclass(frozen=True)
class AdaptedVoice:
    """What a voice's folder or zip holds."""

    info: dict[str, Any]
    adapter: Adapter
    wave: np.ndarray  # (S,) float32, 24 kHz


# ---- arithmetic


class Merged(Mapping[str, np.ndarray]):
    """The parameters that an adapter changes: name -> new value, float32, added up when it is asked for and not kept:
    those of a whole network take more memory than its 8 bit graph. Both engines merge with this, before they round.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        weight: Callable[[str], np.ndarray],
        adapter: Adapter,
        part: str,
    ) -> None:
        """shapes: of the base's parameters; weight: the value of one by name. part: "flow" or "duration". ModelError
        for names and shapes that do not fit.
        """
        self.weight, self.scale, self.tensors = weight, adapter.scale, adapter.part(part)
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name in sorted({key.removesuffix(".a").removesuffix(".b") for key in self.tensors}):
            if name not in shapes:
                raise ModelError(
                    f"the voice changes {name!r}, which the {part} network does not have: it is of another model"
                )
            self.shapes[name] = wanted = tuple(shapes[name])
            whole = self.tensors.get(name)
            found = low_rank_shape(name, self.tensors) if whole is None else whole.shape
            if whole is None and len(wanted) > 2:  # a convolution's kernels are one axis
                wanted = wanted[0], math.prod(wanted[1:])
            if found != wanted:
                raise ModelError(f"the voice's change of {name!r} has the shape {found}, the weight {wanted}")

    def __getitem__(self, name: str) -> np.ndarray:
        shape = self.shapes[name]
        whole = self.tensors.get(name)
        change = low_rank(name, self.tensors, self.scale) if whole is None else whole.astype(np.float32)
        return np.asarray(self.weight(name), np.float32) + change.reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def low_rank_shape(name: str, tensors: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """(out, in) of b a; ModelError where the two do not fit together."""
    a, b = tensors.get(f"{name}.a"), tensors.get(f"{name}.b")
    if a is None or b is None:
        raise ModelError(f"the voice has one half of the change of {name!r} only; it is damaged")
    if a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1]:
        raise ModelError(f"the halves of the voice's change of {name!r} do not fit: {b.shape} and {a.shape}")
    return len(b), a.shape[1]


def low_rank(name: str, tensors: Mapping[str, np.ndarray], scale: float) -> np.ndarray:
    """scale * b a, (out, in)."""
    a, b = tensors[f"{name}.a"], tensors[f"{name}.b"]
    return (b.astype(np.float32) @ a.astype(np.float32)) * np.float32(scale)


def check_base(adapter: Adapter, folder: str | os.PathLike[str] | None, voice: str) -> None:
    """ModelError when the model in `folder` (None: no files) is not the one that the adapter was trained on."""
    if folder is not None and base_digest(folder) == adapter.base:
        return
    here = f"{Path(folder).name} ({base_digest(folder)[:8]})" if folder is not None else "a model without files"
    raise ModelError(
        f"the voice {voice!r} belongs to the model {adapter.base_name} ({adapter.base[:8]}), not to {here}; choose "
        "that model, or adapt the voice again"
    )


def base_digest(folder: str | os.PathLike[str]) -> str:
    """Which model a folder holds: a hash of the weights and symbols that an adapter's changes are relative to. For a
    file: of that file."""
    place = Path(folder)
    parts = [place] if place.is_file() else [place / name for name in BASE_FILES if (place / name).is_file()]
    stats = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in parts]
    total = hashlib.sha256()
    for path, size, changed_at in stats:
        total.update(f"{path.name}\0{_file_digest(path, size, changed_at)}\0".encode())
    return total.hexdigest()[:16]


@lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, changed_at: int) -> str:
    return files.digest(path)


# ---- reading


def is_voice(path: str | os.PathLike[str]) -> bool:
    """Whether there is a voice's folder or zip at a path; what is in it is not looked at."""
    place = Path(path)
    return (place / INFO).is_file() or (place.suffix.lower() == ".zip" and place.is_file())


def read_voice(path: str | os.PathLike[str]) -> AdaptedVoice:
    """A voice's folder or zip, checked: every number finite, every file within its size. ModelError, one line."""
    return parse(read_files(path), str(path))


def read_files(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """The three files of a voice by name. ModelError for what is missing, too large, or no voice."""
    place = Path(path)
    if place.is_dir():
        missing = [name for name in LARGEST if not (place / name).is_file()]
        if missing:
            raise ModelError(f"{place} is no voice: {', '.join(missing)} missing")
        for name, most in LARGEST.items():
            if (place / name).stat().st_size > most:
                raise ModelError(f"{place / name} has more than {most >> 20} MB; that is no voice")
        return {name: (place / name).read_bytes() for name in LARGEST}
    try:
        with zipfile.ZipFile(place) as archive:
            return _from_zip(archive, str(place))
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise ModelError(
            f"{place} cannot be read as a voice: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error


def _from_zip(archive: zipfile.ZipFile, name: str) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ModelError(f"{name} holds {len(entries)} files; a voice has a handful")
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        link = (entry.external_attr >> 16) & 0o170000 == 0o120000
        if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in entry.filename or link:
            raise ModelError(f"{name} holds a path that leads out of it ({entry.filename[:60]!r}); it is not read")
    homes = {entry.filename.removesuffix(INFO) for entry in entries if PurePosixPath(entry.filename).name == INFO}
    if len(homes) != 1:
        raise ModelError(f"{name} is no voice: it has {len(homes) or 'no'} {INFO}")
    home, found = homes.pop(), {}
    for wanted, most in LARGEST.items():
        try:
            with archive.open(home + wanted) as file:
                found[wanted] = file.read(most + 1)
        except KeyError:
            raise ModelError(f"{name} is no voice: {wanted} missing") from None
        if len(found[wanted]) > most:
            raise ModelError(f"{wanted} in {name} has more than {most >> 20} MB; that is no voice")
    return found


def parse(parts: Mapping[str, bytes], source: str) -> AdaptedVoice:
    """The files of a voice, understood and checked."""
    info = _info(parts[INFO], source)
    tensors = float_tensors(parts[WEIGHTS], source)
    try:
        wave = load(io.BytesIO(parts[PROMPT]), max_seconds=60.0)
    except ValueError as error:
        raise ModelError(f"the prompt of the voice {source} cannot be read: {error}") from error
    match = float(info.get("match", 0.0))
    decides = json.dumps([info["base"]["digest"], info["scale"], info["prompted"], *([match] if match else [])])
    digest = hashlib.sha256(parts[WEIGHTS] + decides.encode()).hexdigest()[:32]
    adapter = Adapter(
        digest, info["base"]["digest"], info["base"]["name"], info["scale"], tensors, info["prompted"], {"match": match}
    )
    return AdaptedVoice(info, adapter, wave)


def _info(data: bytes, source: str) -> dict[str, Any]:
    try:
        info = json.loads(data.decode("utf-8"))
        if info["format"] != FORMAT:
            raise ModelError(f"{source} is a voice of the form {info['format']!r}; this version reads {FORMAT}")
        kinds = {"name": str, "scale": float, "prompted": bool, "base": dict}
        wrong = [key for key, kind in kinds.items() if not isinstance(info[key], kind)]
        wrong += [f"base.{key}" for key in ("name", "digest") if not isinstance(info["base"].get(key), str)]
        wrong += [key for key in ("lang", "text") if not isinstance(info.get(key), str | None)]
        wrong += [] if _is_match(info.get("match", 0.0)) else ["match"]
        if wrong or not math.isfinite(info["scale"]):
            raise ValueError(f"{', '.join(wrong) or 'scale'} is not what it must be")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{INFO} of the voice {source} cannot be read: {error!r}") from error
    return info


def _is_match(value: Any) -> bool:
    """Whether the setting may be this; a voice has one of its own, so None may not."""
    try:
        TABLE["match"].check(value)
    except ValueError:
        return False
    return value is not None


def float_tensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    """The changes in a file, every number finite. ModelError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors

    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{WEIGHTS} of the voice {source} is damaged: {error}") from error
    for name, value in tensors.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise ModelError(f"{name!r} of the voice {source} holds what are no finite numbers; it is damaged")
        if not name.startswith(("flow/", "duration/")):
            raise ModelError(f"the voice {source} changes {name!r}, which no network here has")
    return tensors


# ---- writing


def write_voice(
    folder: str | os.PathLike[str],
    info: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    wave: np.ndarray,
    rate: int,
) -> None:
    """Write a voice's folder; it appears whole, with voice.json last. Tensors are stored as float16.

    info: name, lang, text, base {"name", "digest"}, scale, prompted, and whatever else shall be kept. Raises ValueError
    for tensors that are not finite.
    """
    from tts_fm.audio.files import write_audio

    data = half_tensors(tensors)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    write_audio(place / PROMPT, wave, rate, "flac")
    files.write_bytes(place / WEIGHTS, data)
    files.write_json(place / INFO, {"format": FORMAT} | dict(info))


def half_tensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A file of changes, as float16. ValueError for numbers that are not finite in it."""
    from safetensors.numpy import save as save_tensors

    with np.errstate(over="ignore"):  # told below
        half = {name: np.ascontiguousarray(value, np.float16) for name, value in sorted(tensors.items())}
    bad = [name for name, value in half.items() if not np.isfinite(value).all()]
    if bad:
        raise ValueError(f"{bad[0]} holds numbers that are not finite in float16; nothing is saved")
    return save_tensors(half)


def pack(folder: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """A voice's folder as one zip, samples and all; returns `target`. ModelError when there is no sound voice."""
    place, out = Path(folder), Path(target)
    read_voice(place)
    members = [place / name for name in LARGEST] + sorted((place / "samples").glob("*.*"))
    with files.writing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in members:
            archive.write(path, f"{place.resolve().name}/{path.relative_to(place).as_posix()}")
    return out


def install(
    source: str | os.PathLike[str], target: str | os.PathLike[str], prompted: bool | None = None
) -> dict[str, Any]:
    """Copy a checked voice, from a folder or zip, to the folder `target`, in place of what is there; returns its info.

    prompted: None = as it was made.
    """
    found = read_files(source)
    info = parse(found, str(source)).info
    if prompted is not None:
        info = info | {"prompted": prompted}
        found[INFO] = (json.dumps(info, indent=1, ensure_ascii=False) + "\n").encode()
    with files.making_folder(target, replace=True) as fresh:
        for name, data in found.items():
            (fresh / name).write_bytes(data)
    return info
