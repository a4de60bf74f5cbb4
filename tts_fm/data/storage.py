"""Where manifests and recordings are: files, members of tar shards, and both in object storages, through fsspec.

A place is a path (data/a.wav), a URL of a kind that fsspec knows (s3://bucket/a.wav, memory://a.wav), or a member of an
uncompressed tar file, named by the bytes it has in there: shards/000007.tar#1536:44312 begins at byte 1536 and is 44312
bytes long. So every recording of a shard is read by itself, in any order, and nothing has to be unpacked. It knows
neither utterances nor sound.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO

from tts_fm import files
from tts_fm.errors import MissingDependency

MEMBER = re.compile(r"(?P<shard>.+\.tar)#(?P<start>\d{1,15}):(?P<size>\d{1,15})", re.DOTALL)
EXTRA = 'pip install "tts-fm[shards]"'


class Unreadable(ValueError):
    """A place that cannot be read, and why."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"cannot read {place}: {reason}")
        self.reason = reason


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is for fsspec."""
    return "://" in os.fspath(place)


def joined(folder: str | os.PathLike[str], name: str) -> str:
    """A place that is named from a folder, which may be a URL; absolute paths and URLs stay as they are."""
    folder = os.fspath(folder)
    if is_url(name) or not is_url(folder):
        return name if is_url(name) else str(Path(folder) / name)
    return name if name.startswith("/") else f"{folder.rstrip('/')}/{name}"


def folder_of(place: str | os.PathLike[str]) -> str:
    """The folder in which a file is, a path or a URL."""
    place = os.fspath(place)
    return place.rpartition("/")[0] if is_url(place) else str(Path(place).parent)


def split(place: str) -> tuple[str, int, int | None]:
    """(file, first byte, number of bytes) of a place; None = all of the file."""
    found = MEMBER.fullmatch(place)
    return (found["shard"], int(found["start"]), int(found["size"])) if found else (place, 0, None)


@lru_cache(maxsize=64)
def _system(start: str) -> Any:
    """fsspec's file system of URLs that begin like this. MissingDependency, ValueError."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDependency(f"{start} needs fsspec ({error}): {EXTRA}") from error
    try:
        return url_to_fs(start)[0]
    except ImportError as error:  # a storage whose own package is not here, which fsspec names
        raise MissingDependency(f"{start} cannot be reached: {str(error).splitlines()[0]}") from error
    except ValueError as error:
        raise ValueError(f"{start} is no storage that fsspec knows ({str(error).splitlines()[0]})") from None


def system_of(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL and the path in it."""
    kind, _, rest = url.rpartition("://")
    system = _system(f"{kind}://{rest.split('/', 1)[0]}")
    return system, system._strip_protocol(url.rpartition("::")[2])


def size_of(place: str) -> int:
    """Bytes of a file. FileNotFoundError, OSError."""
    if not is_url(place):
        return os.stat(place).st_size
    system, path = system_of(place)
    return int(system.info(path)["size"])


def read(place: str) -> bytes:
    """All bytes of a place. Unreadable when they are not there."""
    return read_many([place])[0]


def read_many(places: Sequence[str]) -> list[bytes]:
    """The bytes of several places, in order; from a storage all at once where fsspec can. Unreadable names the place
    that fails.
    """
    found: list[bytes | None] = [None] * len(places)
    away: dict[int, tuple[Any, list[int]]] = {}
    for number, place in enumerate(places):
        if is_url(place):
            system = system_of(split(place)[0])[0]
            away.setdefault(id(system), (system, []))[1].append(number)
        else:
            found[number] = _local(place)
    for system, numbers in away.values():
        parts = [split(places[n]) for n in numbers]
        paths = [system_of(file)[1] for file, _, _ in parts]
        starts = [start for _, start, _ in parts]
        ends = [None if size is None else start + size for _, start, size in parts]
        try:
            got = system.cat_ranges(paths, starts, ends, on_error="return")
        except (OSError, ValueError) as error:  # of a storage that stops at the first fault
            raise Unreadable(f"{places[numbers[0]]}, or one with it", reason_of(error)) from None
        for n, data in zip(numbers, got, strict=True):
            found[n] = _whole(places[n], data)
    return [data for data in found if data is not None]


def _local(place: str) -> bytes:
    file, start, size = split(place)
    try:
        with open(file, "rb") as stream:
            stream.seek(start)
            data: bytes | Exception = stream.read(-1 if size is None else size)
    except (OSError, ValueError) as error:
        data = error
    return _whole(place, data)


def _whole(place: str, data: bytes | Exception) -> bytes:
    """What was read, when it is all of it."""
    if isinstance(data, Exception):
        raise Unreadable(place, reason_of(data))
    size = split(place)[2]
    if size is not None and len(data) != size:
        raise Unreadable(place, f"only {len(data)} bytes are there; the manifest is of another shard, or it is cut off")
    return bytes(data)


def reason_of(error: Exception) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "") or type(error).__name__


def faults_of(places: Iterable[str]) -> dict[str, str]:
    """{place: what is wrong} of those that are not there, by the sizes of their files: each is asked for once."""
    sizes: dict[str, int | str] = {}
    faults: dict[str, str] = {}
    for place in places:
        file, start, size = split(place)
        if file not in sizes:
            try:
                sizes[file] = size_of(file)
            except OSError:
                sizes[file] = f"no audio file {file}"
        there = sizes[file]
        if isinstance(there, str):
            faults[place] = there
        elif size is not None and start + size > there:
            faults[place] = f"{file} has {there} bytes, the recording is said to end at {start + size}"
    return faults


def write(place: str, data: bytes) -> None:
    """A file of these bytes, whole or not at all; its folder is made. OSError."""
    if is_url(place):
        system, path = system_of(place)
        system.makedirs(system._parent(path), exist_ok=True)
        system.pipe_file(path, data)
        return
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(place, data)


def opened(place: str) -> BinaryIO:
    """A file to read and seek in. Unreadable."""
    try:
        if not is_url(place):
            return open(place, "rb")
        system, path = system_of(place)
        return system.open(path, "rb")
    except OSError as error:
        raise Unreadable(place, reason_of(error)) from None


def found(pattern: str) -> list[str]:
    """The files whose names fit a pattern with *, in order."""
    if not is_url(pattern):
        return sorted(glob(pattern))
    system, path = system_of(pattern)
    return [system.unstrip_protocol(name) for name in sorted(system.glob(path))]
