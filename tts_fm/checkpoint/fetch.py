"""Files that names stand for, fetched into the cache: tried again after a break, gone on with where that is safe,
checked before they take their place.

What has come of a file is kept for the next run only where the rest can be asked for safely (a strong ETag, or a known
digest); after any other failure nothing stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import json
import logging
import os
import re
import time
import urllib.error
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tts_fm import files
from tts_fm.checkpoint.names import HF_FORM, Remote, cache_dir, is_offline, is_remote, parse_hf, printable, remote
from tts_fm.checkpoint.transfer import Expected, Refused, asking, receive
from tts_fm.errors import ModelError

ATTEMPTS = 5  # tries of one download before giving up
PAUSE = 0.5  # seconds before the second try, doubled each time
BLOCK = 1 << 20  # bytes

log = logging.getLogger(__name__)


def _hash_file(path: Path, form: str = "sha256") -> str:
    digest = hashlib.sha256() if form == "sha256" else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


class _Partial:
    """What has come of a file so far, and the tag by which the server knew it."""

    def __init__(self, target: Path, sha256: str | None) -> None:
        self.target, self.sha256 = target, sha256
        self.part, self.note = files.part_of(target), target.with_name(target.name + ".tag.json")

    @property
    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def tag(self) -> str | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            tag = json.loads(self.note.read_text())["etag"]
            return tag if isinstance(tag, str) and tag.isascii() and tag.isprintable() else None
        return None

    @property
    def can_go_on(self) -> bool:
        return self.have > 0 and (self.tag is not None or self.sha256 is not None)

    def remove(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def check(self, expected: Expected | None) -> str | None:
        """What is wrong with the whole file; None = nothing."""
        if expected is None:
            return _misshapen(self.part, self.target.name)
        got = _hash_file(self.part, expected.form)
        if got == expected.digest:
            return None
        name = {"sha256": "SHA-256", "git": "git digest"}[expected.form]
        return f"it has {name} {got}, {expected.digest} was expected"


def _misshapen(path: Path, name: str) -> str | None:
    """Of a file whose digest nobody tells: what shows that it is not what its name says, such as a page that asks for a
    password.
    """
    if name.endswith(".safetensors"):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                entries = json.loads(file.read(length) if length <= path.stat().st_size else b"")
                last = max((entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"))
            except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
                return "what came is not a safetensors file"
        whole = 8 + length + last
        return None if whole == path.stat().st_size else f"it has {path.stat().st_size:,} bytes of {whole:,}"
    if name.endswith(".json") and path.stat().st_size < 1 << 26:
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return "what came is not JSON"
    return None


def _fetch_once(source: Remote, partial: _Partial, progress: bool) -> tuple[bool, Expected | None]:
    """One request, continuing where that is safe. Returns (all of it has arrived, expected digest)."""
    from tqdm import tqdm

    sha256 = Expected("sha256", partial.sha256) if partial.sha256 else None
    with asking(source, partial.have, partial.tag, sha256 is not None) as answer:
        expected = sha256 or answer.expected
        if not answer.end_is_told and expected is None:
            raise Refused("the server does not say how long it is, so a cut one could not be told from a whole one")
        partial.note.write_text(json.dumps({"etag": answer.tag}))
        look: dict[str, Any] = {"unit": "B", "unit_scale": True, "disable": None if progress else True}
        with tqdm(total=answer.total, initial=answer.start, desc=source.target.name, **look) as bar:
            return receive(answer, partial.part, source.shown, bar.update), expected


def _download(source: Remote, sha256: str | None, progress: bool) -> None:
    """Fill source.target, or raise ModelError; what has come is left where the next run can go on from it."""
    partial = _Partial(source.target, sha256)
    log.info("fetching %s", source.shown)
    try:
        _try_often(source, partial, progress)
    except (ValueError, OSError) as error:  # Refused, or a redirect that is not followed
        partial.remove()
        if isinstance(error, OSError):
            raise
        raise ModelError(f"cannot fetch {source.shown}: {error}; nothing of it is kept") from None
    finally:
        with contextlib.suppress(OSError):
            if not partial.can_go_on:
                partial.remove()


def _try_often(source: Remote, partial: _Partial, progress: bool) -> None:
    problem = "it ended early every time"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        fresh = not partial.part.exists()
        try:
            whole, expected = _fetch_once(source, partial, progress)
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"HTTP {error.code} {printable(error.reason or '')}"
            _give_up(source, error.code, problem)
            if error.code == 416:  # the part is longer than the file has become
                partial.remove()
            continue
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "filename", None) is not None:  # of this disk, not of the network
                raise
            problem = printable(str(getattr(error, "reason", None) or error or type(error).__name__))
            continue
        if not whole:
            continue
        fault = partial.check(expected)
        if fault is None:
            files.keep(partial.part, source.target)
            return
        partial.remove()
        if fresh:  # else the part from before may be at fault: once more from the start
            raise ModelError(f"{source.shown}: {fault}: it was changed, or damaged on its way; not kept")
    hint = "run again to go on from there" if partial.can_go_on else "try again later, or give a file on this disk"
    raise ModelError(f"cannot fetch {source.shown} ({ATTEMPTS} tries): {problem}; {hint}")


def _give_up(source: Remote, code: int, problem: str) -> None:
    """ModelError for a status that will be the same at the next try."""
    if code in (401, 403):
        raise ModelError(f"cannot fetch {source.shown}: {problem}; if it is private or gated, set HF_TOKEN")
    if code < 500 and code not in (408, 416, 429):
        raise ModelError(f"cannot fetch {source.shown}: {problem}; check the name, or give a path on this disk")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time per file; freed by the system if the process dies. No lock where the platform has none."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- public


def _check_sum(sha256: str | None) -> str | None:
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 is {sha256!r}; 64 hexadecimal digits are needed")
    return sha256.lower() if sha256 else None


def resolve(spec: str | os.PathLike[str], sha256: str | None = None, progress: bool = True) -> Path:
    """The file that `spec` names, fetched into the cache if it has to be.

    spec: a path, hf://owner/repo[@revision]/file, or an https URL. sha256: 64 hex digits that the file must have;
    without it, for hf://, the sum that the hub announces is checked. progress: a bar on stderr when that is a terminal.
    ModelError (exit 4): missing, offline, cannot be fetched, wrong sum. ValueError: a name that is not one of these
    forms.
    """
    spec, sha256 = os.fspath(spec), _check_sum(sha256)
    if not is_remote(spec):
        path = Path(os.path.expanduser(spec))
        if not path.exists():
            raise ModelError(f"no such file: {path}; give a path that exists, {HF_FORM}, or an https URL")
        if sha256 and path.is_file() and (got := _hash_file(path)) != sha256:
            raise ModelError(f"{path} has SHA-256 {got}, {sha256} was expected; fetch it again")
        return path
    absent = "{name} is not at {target} and {why}; unset it or put it there"
    return _fetched(remote(spec), sha256, progress, absent, "; set TTS_FM_CACHE to a folder with space")


def download(url: str, target: str | os.PathLike[str], sha256: str | None = None, progress: bool = True) -> Path:
    """Fetch one URL to `target` (a corpus, not the cache): checked, resumable and atomic as in `resolve`. ModelError,
    ValueError alike.
    """
    sha256, source = _check_sum(sha256), dataclasses.replace(remote(url), target=Path(target))
    return _fetched(source, sha256, progress, "{target} is not there and {why}; unset it or put {name} there")


def _fetched(source: Remote, sha256: str | None, progress: bool, absent: str, hint: str = "") -> Path:
    """Where a file is, fetched if it has to be. ModelError in these words: `absent` if it may not be fetched, ending in
    `hint` if it cannot be kept.
    """
    target = source.target
    if _is_good(target, sha256):
        return target
    if is_offline():
        why = "TTS_FM_OFFLINE or HF_HUB_OFFLINE is set"
        raise ModelError(absent.format(name=source.shown, target=target, why=why))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_name(target.name + ".lock")):
            if not _is_good(target, sha256):  # another process may have fetched it meanwhile
                _download(source, sha256, progress)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"cannot keep {source.shown} in {target.parent}: {reason}{hint}") from None
    return target


def _is_good(target: Path, sha256: str | None) -> bool:
    return target.is_file() and (sha256 is None or _hash_file(target) == sha256)


def resolve_folder(
    spec: str | os.PathLike[str], files: Sequence[str], optional: Sequence[str] = (), progress: bool = True
) -> Path:
    """A folder that holds `files` (and those of `optional` that exist): a path as it is, or
    `hf://owner/repo[@revision][/folder]` fetched.

    ModelError when one of `files` is missing there.
    """
    spec = os.fspath(spec)
    if not is_remote(spec):
        folder = Path(os.path.expanduser(spec))
        if lacking := [f for f in files if not (folder / f).is_file()]:
            raise ModelError(f"{folder} has no {lacking[0]}; a folder with {', '.join(files)} is needed")
        return folder
    owner, repo, revision, inner = parse_hf(spec.rstrip("/"))
    base = f"hf://{owner}/{repo}@{revision}/{inner + '/' if inner else ''}"
    for name in files:
        resolve(base + name, progress=progress)
    for name in optional:
        try:
            resolve(base + name, progress=progress)
        except ModelError as error:
            if "HTTP 404" not in str(error) and not is_offline():
                raise
    return cache_dir().joinpath("hf", owner, repo, revision, *inner.split("/") if inner else ())
