"""Files that appear whole or not at all, digests, and locks: the only module that knows of temporary names and renames.

A file is written beside its place as NAME.part and then renamed, so whoever reads sees the old one or the new one. When
writing fails, nothing stays behind, and the OSError names the file that was wanted; what a kill leaves is written over
by the next attempt. One writer at a time for each file: where there may be more, take a lock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PART = ".part"
log = logging.getLogger(__name__)
BLOCK = 1 << 20  # bytes read at once

Place = str | os.PathLike[str]


def part_of(path: Place) -> Path:
    """Where a file is written before it takes its place."""
    path = Path(path)
    return path.with_name(path.name + PART)


@contextlib.contextmanager
def writing(path: Place, sync: bool = False, parents: bool = False) -> Iterator[Path]:
    """The temporary path to write to; when the block ends well it is renamed to `path`, else it is removed.

    sync: on the disk before it is renamed, so that it survives a power cut; for what took long to make. parents: make
    the folder it goes to. OSError of the block or of the rename, named after `path`.
    """
    path, part = Path(path), part_of(path)
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            part.unlink()  # of a killed run, or a link that somebody put there
        yield part
        if sync:
            _sync(part)
        os.replace(part, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part), os.fspath(part)):
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that a disk takes no more: what a next try meets as well."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        error = error.__cause__ or error.__context__
    return False


def copy(source: Place, path: Place) -> None:
    """A file like that at `source`."""
    with writing(path) as part:
        shutil.copyfile(source, part)


def write_bytes(path: Place, data: bytes, sync: bool = False) -> None:
    """A file of these bytes."""
    with writing(path, sync) as part, open(part, "xb") as file:
        file.write(data)


def write_text(path: Place, text: str) -> None:
    """A file of this text in UTF-8, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Place, value: Any, indent: int | None = 1) -> None:
    """A file of one JSON value; NaN and infinity are a ValueError."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def before_of(path: Place) -> Path:
    """Where the state before the one at `path` is kept: last.before.pt for last.pt."""
    path = Path(path)
    return path.with_stem(path.stem + ".before")


def write_state(path: Place, state: Any) -> None:
    """The state of a run as torch.save writes it, on the disk before it replaces the last one, which is kept beside it
    (`before_of`).
    """
    import torch

    with writing(path, sync=True) as part:
        with open(part, "xb") as file:  # given a name, torch hides the system's error
            try:
                torch.save(state, file)
            except RuntimeError as error:  # that torch could not end the file; the system's error stands behind it
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, before_of(path))


def read_state(path: Place, map_location: Any = "cpu") -> Any:
    """What `write_state` wrote (tensors and numbers, no code); None where there is nothing. A damaged file is named in
    a warning and set aside as NAME.damaged, and the state before it is read; ValueError when there is none.
    """
    path, before, fault = Path(path), before_of(path), "it is missing"
    if path.exists():
        state, fault = _load_state(path, map_location)
        if not fault:
            return state
        if not before.exists():
            raise ValueError(f"{path} is damaged ({fault}), and no state before it was kept; remove it to begin anew")
        with contextlib.suppress(OSError):
            os.replace(path, path.with_name(path.name + ".damaged"))
    elif not before.exists():
        return None
    state, its_fault = _load_state(before, map_location)
    if its_fault:
        raise ValueError(f"{path} is damaged ({fault}), and so is {before} ({its_fault}); remove both to begin anew")
    log.warning("%s is damaged (%s); going on from %s, the state before it", path, fault, before)
    return state


def _load_state(path: Path, map_location: Any) -> tuple[Any, str]:
    """A state, and what is wrong with its file ("" = nothing): torch alone does not see changed bytes."""
    import pickle
    import zipfile

    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                return None, f"the checksum of {name} does not fit"
        return torch.load(path, map_location=map_location, weights_only=True), ""
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        return None, (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def writing_together(folder: Place) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well all of its files move into `folder`, which is made if missing.

    All are written in full before the first takes its place. Other files of `folder` stay. OSError as in `writing`.
    """
    folder = Path(folder)
    beside = folder / f".saving{PART}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        yield beside
        for path in sorted(beside.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        if error.errno is None or not (error.filename is None or str(error.filename).startswith(str(beside))):
            raise
        raise type(error)(error.errno, error.strerror, str(folder)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def making_folder(path: Place, replace: bool = False) -> Iterator[Path]:
    """A new folder to fill; when the block ends well it becomes `path`, else it is removed with all that is in it.

    replace: in place of the folder that is there, which stays until then. FileExistsError when there is something at
    `path` that is not to be replaced; other OSErrors as in `writing`.
    """
    path, part = Path(path), part_of(path)
    old = path.with_name(f".{path.name}.old{PART}")
    if path.exists() and not replace:
        raise FileExistsError(17, "there is something of that name already", str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        yield part
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(part, path)
    except OSError as error:
        if error.errno is None or not (error.filename is None or str(error.filename).startswith(str(part))):
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def replace_folder(part: Place, path: Place) -> None:
    """A finished folder takes the place of `path`; the one before is kept beside it (`before_of`)."""
    if os.path.exists(path):
        shutil.rmtree(before_of(path), ignore_errors=True)
        os.replace(path, before_of(path))
    os.replace(part, path)


def keep(part: Place, path: Place) -> None:
    """Rename a finished file: for what is gathered over several runs, such as a download."""
    os.replace(part, path)


def remove_parts(folder: Place, names: Iterable[str]) -> None:
    """Remove what killed runs left half-written under these names in a folder, and nothing else."""
    folder = Path(folder)
    there = {entry.name for entry in os.scandir(folder) if entry.name.endswith(PART)}
    for name in names:
        if name + PART in there:
            (folder / (name + PART)).unlink(missing_ok=True)


def digest(path: Place) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Place, wait: bool = True) -> Iterator[None]:
    """While it lasts this process alone holds the lock file `path`; the system frees it when the process dies.

    wait: until it is free; else BlockingIOError when somebody holds it. File systems without locks go without.
    """
    import filelock

    lock = filelock.FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BlockingIOError(11, "somebody holds the lock", str(path)) from None
    except NotImplementedError:  # the file system knows no locks
        yield
        return
    try:
        yield
    finally:
        lock.release()
