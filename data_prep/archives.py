"""From a corpus's web address to its files on this disk: fetched with resume and checksum, unpacked member by member.

An archive is foreign input. Only regular files and folders are written, inside the folder that was named, into a
temporary folder that takes its place when all is there; links, devices, absolute and `..` paths, doubled names and
bombs are errors, and nothing is left behind.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tts_fm import checkpoint as hub
from tts_fm import files
from tts_fm.errors import ModelError

MOST_MEMBERS = 3_000_000
MOST_GROWTH = 20  # times the archive's own size that it may unpack to
SPARE = 1 << 28  # bytes that must stay free on the disk
BLOCK = 1 << 20
MOST_PADDING = 1 << 26  # bytes behind the last member
BAD_NAME = re.compile(r"[\x00-\x1f\x7f\\]|^/|^[A-Za-z]:")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """One file to fetch and what comes out of it."""

    url: str
    unpacked: str  # the folder, below the corpus root, that it brings; its presence means that all of it was unpacked
    sha256: str | None  # None = nobody published one; it is noted on the first download and checked from then on
    gigabytes: float  # of the archive, about
    into: str = ""  # folder to unpack into, for archives without a folder of their own
    md5: str | None = None  # where only this is published; it shows damage, not malice

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def get(
    archives: list[Archive], root: str | os.PathLike[str], mirror: str | None = None, keep: bool = False
) -> list[Path]:
    """Fetch and unpack what is not there yet below `root`; returns the folders.

    mirror: a base URL that has the same file names. keep: do not delete an archive once it is unpacked. ModelError: no
    space, cannot be fetched, wrong checksum, damaged or unsafe archive.
    """
    root = Path(root)
    missing = [a for a in archives if not (root / a.unpacked).is_dir()]
    # unpacked, and one archive
    need = sum(1.7 * a.gigabytes for a in missing) + max((a.gigabytes for a in missing), default=0.0)
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free / 1e9
    if need > free:
        names = ", ".join(a.name for a in missing)
        raise ModelError(f"{names} need about {need:.0f} GB with what they unpack to; {root} has {free:.0f} GB free")
    for archive in missing:
        url = archive.url if mirror is None else f"{mirror.rstrip('/')}/{archive.name}"
        sums = root / "downloads" / "sha256.json"
        wanted = archive.sha256 or _noted(sums).get(archive.name)
        file = hub.download(url, root / "downloads" / archive.name, wanted)
        if wanted is None:
            _check_md5(file, archive.md5)
            _note(sums, archive.name, file)
        unpack(file, root, archive.unpacked, archive.into)
        if not keep:
            file.unlink()
    return [root / a.unpacked for a in archives]


def _noted(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _check_md5(file: Path, wanted: str | None) -> None:
    if wanted is None:
        return
    with open(file, "rb") as data:
        found = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != wanted:
        file.unlink()
        raise ModelError(
            f"{file} has MD5 {found}, {wanted} is published: it was changed, or damaged on its way; not kept, run again"
        )


def _note(path: Path, name: str, file: Path) -> None:
    found = files.digest(file)
    files.write_json(path, _noted(path) | {name: found})
    log.warning(
        "no SHA-256 of %s is published; that of this download, %s, is noted in %s and checked from now on",
        name,
        found,
        path,
    )


def unpack(file: str | os.PathLike[str], root: str | os.PathLike[str], unpacked: str, into: str = "") -> Path:
    """Unpack a .tar.gz, .tar.bz2, .tar.xz, .tar or .zip so that root/unpacked appears whole or not at all; returns that
    folder.

    Other files of the archive (a README beside the folder) are put in their places where there are none yet. ModelError
    for an archive that is truncated, unsafe, too large or does not hold `unpacked`.
    """
    file, root = Path(file), Path(root)
    target, temporary = root / unpacked, root / f".unpacking-{file.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write_members(file, temporary / into)
        if not (temporary / unpacked).is_dir():
            raise ModelError(f"{file} does not hold {unpacked}; is it the archive it is named after?")
        target.parent.mkdir(parents=True, exist_ok=True)
        for beside in (temporary / unpacked).parent.iterdir():
            place = target.parent / beside.name
            if place != target and not place.exists():
                files.keep(beside, place)
        files.keep(temporary / unpacked, target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ModelError(
            f"{file} is damaged or cut off ({str(error) or type(error).__name__}); delete it and download again"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(f"no space left to unpack {file} in {root}; make room and run again") from None
        raise ModelError(f"cannot unpack {file}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write_members(file: Path, folder: Path) -> None:
    """All members below `folder`, which is new and ours."""
    limit, written, count = max(file.stat().st_size * MOST_GROWTH, 1 << 20), 0, 0
    checked = 0
    for name, size, source in _members(file):
        count += 1
        written += size
        if count > MOST_MEMBERS or written > limit:
            raise ModelError(
                f"{file} unpacks to more than {MOST_MEMBERS} files or {limit / 1e9:.1f} GB; it is not what it should be"
            )
        if written - checked >= SPARE or count == 1:
            checked = written
            if shutil.disk_usage(folder.parent).free < SPARE + size:
                raise OSError(errno.ENOSPC, "no space left")
        place = folder / _safe(name, file)
        if source is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with source, open(place, "xb") as out:
                got = _copy(source, out, size)
        except FileExistsError:
            raise ModelError(f"{file} holds {name} twice") from None
        if got != size:
            raise ModelError(f"{file} is cut off: {name} has {got} of {size} bytes; delete it and download again")


def _copy(source: IO[bytes], out: IO[bytes], size: int) -> int:
    """Copy at most size + 1 bytes, so that a lying header costs nothing; returns how many."""
    got = 0
    while got <= size and (block := source.read(min(BLOCK, size + 1 - got))):
        out.write(block)
        got += len(block)
    return got


def _members(file: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """(name, size, open file, None for a folder) of every member, in the archive's order. ModelError for anything
    else.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.is_dir():
                    yield info.filename, 0, None
                elif kind in (0, stat.S_IFREG) and not info.flag_bits & 1:
                    yield info.filename, info.file_size, archive.open(info)
                else:
                    raise ModelError(
                        f"{file} holds {info.filename}, a link, device or encrypted file; it is not unpacked"
                    )
        return
    with tarfile.open(file, "r:*") as tar:
        while (member := tar.next()) is not None:
            if member.isdir():
                yield member.name, 0, None
            elif member.isreg() and not member.issparse():
                source = tar.extractfile(member)
                assert source is not None
                yield member.name, member.size, source
            else:
                raise ModelError(
                    f"{file} holds {member.name}, which is a link or device, not a file or folder; it is not unpacked"
                )
            tar.members.clear()  # type: ignore[attr-defined]  # else the headers of all members stay in memory
        padding = 0  # read on to the end of the compressed stream, where its checksum is
        while block := tar.fileobj.read(BLOCK):
            padding += len(block)
            if padding > MOST_PADDING:
                raise ModelError(f"{file} goes on behind its end; it is not what it should be")


def _safe(name: str, file: Path) -> Path:
    """The relative path of a member. ModelError for one that could leave the folder."""
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if BAD_NAME.search(name) or ".." in parts or any(len(p.encode()) > 255 for p in parts):
        raise ModelError(f"{file} holds {name!r}, a path that leads outside or cannot be written; it is not unpacked")
    return Path(*parts)
