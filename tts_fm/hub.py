"""From the name of a model file to a checked file on this disk: plain paths, hf://owner/repo[@revision]/file, https
URLs.

Downloads use the standard library alone, so that no hub client is needed: https only (http on the loopback for tests
and mirrors), resumed after a break, checked by length and SHA-256, renamed into the cache when whole. Environment:
TTS_FM_CACHE (folder), TTS_FM_OFFLINE or HF_HUB_OFFLINE (1 = never ask the network), HF_ENDPOINT (a mirror), HF_TOKEN
(sent to the endpoint only, never shown). A file in the cache is not asked for again, so name a commit instead of a
branch where it matters. Nothing here knows what is inside the files.
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
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_fm import files

from .errors import ModelError

ATTEMPTS = 5  # tries of one download before giving up; what has arrived is kept in between
PAUSE = 0.5  # seconds before the second try, doubled each time
TIMEOUT = 30.0  # seconds without a byte
BLOCK = 1 << 20  # bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
HF_FORM = "hf://owner/repo[@revision]/path/to/file"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Remote:
    """One file elsewhere: where from, where to, and how it may be told to the user."""

    url: str
    target: Path  # in the cache
    shown: str  # without query or secrets
    token: str | None = None


def cache_dir() -> Path:
    """TTS_FM_CACHE, or the platform's own place for caches."""
    if given := os.environ.get("TTS_FM_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tts_fm"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tts_fm" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tts_fm"


def is_offline() -> bool:
    """Whether TTS_FM_OFFLINE or HF_HUB_OFFLINE forbids the network."""
    return any(
        os.environ.get(k, "").strip().lower() in ("1", "true", "yes", "on")
        for k in ("TTS_FM_OFFLINE", "HF_HUB_OFFLINE")
    )


# --- names


def _check_url(url: str) -> urllib.parse.SplitResult:
    """https, or http to this machine; no user:password@; ValueError otherwise."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL ({error})") from None
    if not host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not _is_loopback(host)):
        raise ValueError(f"{parts.scheme}://{host or ''} is not fetched; only https URLs are (and http on 127.0.0.1)")
    if parts.username is not None or parts.password is not None or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError(
            f"the URL for {host} holds a password, a space or a control character; use HF_TOKEN, and quote spaces as "
            "%20"
        )
    return parts


def _is_loopback(host: str | None) -> bool:
    return host in ("127.0.0.1", "::1", "localhost")


def parse_hf(spec: str) -> tuple[str, str, str, str]:
    """ "hf://owner/repo@rev/a/b.safetensors" -> (owner, repo, revision, "a/b.safetensors"); revision "main" and file ""
    when not given.

    ValueError for names that could leave the cache folder or are not a repository's.
    """
    owner, _, rest = spec.removeprefix("hf://").partition("/")
    repo, _, file = rest.partition("/")
    repo, at, revision = repo.partition("@")
    revision = revision if at else "main"
    parts = file.split("/") if file else []
    safe = all(
        p not in ("", ".", "..") and not re.search(r'[\x00-\x1f\x7f\\:*?"<>|]', p) and len(p) < 200 for p in parts
    )
    if not (
        spec.startswith("hf://") and safe and all(NAME.fullmatch(x) and ".." not in x for x in (owner, repo, revision))
    ):
        raise ValueError(f"{spec!r} does not name a file of a repository; it must look like {HF_FORM}")
    return owner, repo, revision, file


def _remote(spec: str) -> _Remote:
    if spec.startswith("hf://"):
        owner, repo, revision, file = parse_hf(spec)
        if not file:
            raise ValueError(f"{spec!r} names a whole repository where one file is needed: {HF_FORM}")
        endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        url = f"{endpoint}/{owner}/{repo}/resolve/{revision}/{urllib.parse.quote(file)}"
        _check_url(url)
        target = cache_dir().joinpath("hf", owner, repo, revision, *file.split("/"))
        return _Remote(url, target, spec, (os.environ.get("HF_TOKEN") or "").strip() or None)
    parts = _check_url(spec)
    name = urllib.parse.unquote(parts.path.rsplit("/", 1)[-1])
    name = name if NAME.fullmatch(name) else "file"
    target = cache_dir() / "url" / hashlib.sha256(spec.encode()).hexdigest()[:16] / name
    return _Remote(spec, target, urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")))


# --- network


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only, takes the token along to the same host only, and notes the SHA-256 a hub
    announces on its way.
    """

    announced: str | None = None

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), _check_url(newurl)
        if new.scheme == "http" and not (old.scheme == "http" and _is_loopback(old.hostname)):
            raise ValueError(f"{old.hostname} redirects to plain http, which is not followed")
        self.announced = _announced(headers) or self.announced
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        secret = req.unredirected_hdrs.get("Authorization")
        if request is not None and secret and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", secret)
        return request


def _announced(headers: Any) -> str | None:
    """The SHA-256 in X-Linked-ETag, by which a hub names a large file; None when there is none."""
    tag = (headers.get("X-Linked-Etag") or "").strip('"').lower()
    return tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None


def _open(remote: _Remote, headers: dict[str, str]) -> tuple[Any, str | None]:
    """The response and the SHA-256 announced for it."""
    request = urllib.request.Request(
        remote.url, headers={"User-Agent": "tts_fm", "Accept-Encoding": "identity", **headers}
    )
    if remote.token:
        request.add_unredirected_header("Authorization", f"Bearer {remote.token}")
    redirects = _Redirects()
    handlers: list[Any] = [redirects]
    if _is_loopback(urllib.parse.urlsplit(remote.url).hostname):
        handlers.append(urllib.request.ProxyHandler({}))
    response = urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT)
    return response, _announced(response.headers) or redirects.announced


def _hash_file(path: Path) -> Any:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest


def _fetch_once(remote: _Remote, part: Path, note: Path, sha256: str | None, progress: bool) -> tuple[bool, str | None]:
    """One request, continuing `part` where that is safe. Returns (all of it has arrived, expected SHA-256)."""
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    tag = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        tag = json.loads(note.read_text())["etag"]
    headers = {"Range": f"bytes={have}-", **({"If-Range": tag} if tag else {})} if have and (tag or sha256) else {}
    response, announced = _open(remote, headers)
    with response:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range") or "")
        go_on = bool(headers) and response.status == 206 and span is not None and int(span[1]) == have
        if response.status != 200 and not go_on:
            part.unlink(missing_ok=True)
            return False, None
        length = response.headers.get("Content-Length")
        total = int(span[2]) if go_on and span else int(length) if length and length.isdigit() else None
        have = have if go_on else 0
        if total is not None and shutil.disk_usage(part.parent).free < total - have + BLOCK:
            raise ModelError(
                f"{remote.shown} needs {(total - have) / 1e6:.0f} MB, {part.parent} has less free; set TTS_FM_CACHE "
                "elsewhere"
            )
        etag = response.headers.get("ETag") or ""
        # a weak tag does not prove equal bytes
        note.write_text(json.dumps({"etag": etag if etag.startswith('"') else None}))
        bar = tqdm(
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            desc=remote.target.name,
            disable=None if progress else True,
        )
        with open(part, "ab" if go_on else "wb") as file, bar:
            while block := response.read(BLOCK):
                file.write(block)
                have += len(block)
                bar.update(len(block))
                if total is not None and have > total:
                    break
    if total is not None and have > total:
        part.unlink()
    return have == total or total is None, sha256 or announced


def _download(remote: _Remote, sha256: str | None, progress: bool) -> None:
    """Fill remote.target, or raise ModelError and leave what has come, from which the next run goes on."""
    target = remote.target
    part, note = files.part_of(target), target.with_name(target.name + ".tag.json")
    log.info("fetching %s", remote.shown)
    problem = "it ended early every time"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        fresh = not part.exists()
        try:
            whole, wanted = _fetch_once(remote, part, note, sha256, progress)
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # the part is longer than the file has become
                part.unlink(missing_ok=True)
            elif error.code in (401, 403):
                raise ModelError(
                    f"cannot fetch {remote.shown}: {problem}; if it is private or gated, set HF_TOKEN"
                ) from None
            elif error.code < 500 and error.code not in (408, 429):
                raise ModelError(
                    f"cannot fetch {remote.shown}: {problem}; check the name, or give a path on this disk"
                ) from None
            continue
        except ValueError as error:
            raise ModelError(f"cannot fetch {remote.shown}: {error}") from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            problem = str(getattr(error, "reason", None) or error or type(error).__name__)
            continue
        if not whole:
            continue
        got = _hash_file(part).hexdigest() if wanted else None
        if got == wanted:
            files.keep(part, target)
            note.unlink(missing_ok=True)
            return
        part.unlink()
        if fresh:  # else the part from before may be at fault: once more from the start
            raise ModelError(
                f"{remote.shown} has SHA-256 {got}, {wanted} was expected: it was changed, or damaged on its way; not "
                "kept"
            )
    hint = (
        "run again to go on from there" if part.exists() else "try again later, or give a path to a file on this disk"
    )
    raise ModelError(f"cannot fetch {remote.shown} ({ATTEMPTS} tries): {problem}; {hint}")


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


def is_remote(spec: str) -> bool:
    """Whether a name is hf:// or a URL, rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", spec) is not None


def resolve(spec: str | os.PathLike[str], sha256: str | None = None, progress: bool = True) -> Path:
    """The file that `spec` names, fetched into the cache if it has to be.

    spec: a path, hf://owner/repo[@revision]/file, or an https URL. sha256: 64 hex digits that the file must have;
    without it, for hf://, the sum that the hub announces is checked. progress: a bar on stderr when that is a terminal.
    ModelError (exit 4): missing, offline, cannot be fetched, wrong sum. ValueError: a name that is not one of these
    forms.
    """
    spec, sha256 = os.fspath(spec), _check_sum(sha256)
    if not is_remote(spec):
        path = Path(spec).expanduser()
        if not path.exists():
            raise ModelError(f"no such file: {path}; give a path that exists, {HF_FORM}, or an https URL")
        if sha256 and path.is_file() and (got := _hash_file(path).hexdigest()) != sha256:
            raise ModelError(f"{path} has SHA-256 {got}, {sha256} was expected; fetch it again")
        return path
    remote = _remote(spec)
    target = remote.target
    if _is_good(target, sha256):
        return target
    if is_offline():
        raise ModelError(
            f"{remote.shown} is not at {target} and TTS_FM_OFFLINE or HF_HUB_OFFLINE is set; unset it or put it there"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_name(target.name + ".lock")):
            if not _is_good(target, sha256):
                _download(remote, sha256, progress)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(
            f"cannot keep {remote.shown} in {target.parent}: {reason}; set TTS_FM_CACHE to a folder with space"
        ) from None
    return target


def download(url: str, target: str | os.PathLike[str], sha256: str | None = None, progress: bool = True) -> Path:
    """Fetch one URL to `target` (a corpus, not the cache): checked, resumable and atomic as in `resolve`. ModelError,
    ValueError alike.
    """
    place, sha256 = Path(target), _check_sum(sha256)
    remote = dataclasses.replace(_remote(url), target=place)
    if _is_good(place, sha256):
        return place
    if is_offline():
        raise ModelError(
            f"{place} is not there and TTS_FM_OFFLINE or HF_HUB_OFFLINE is set; unset it or put {remote.shown} there"
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _lock(place.with_name(place.name + ".lock")):
            _download(remote, sha256, progress)
    except OSError as error:
        raise ModelError(f"cannot keep {remote.shown} in {place.parent}: {error.strerror or error}") from None
    return place


def _is_good(target: Path, sha256: str | None) -> bool:
    return target.is_file() and (sha256 is None or _hash_file(target).hexdigest() == sha256)


def resolve_folder(
    spec: str | os.PathLike[str], files: Sequence[str], optional: Sequence[str] = (), progress: bool = True
) -> Path:
    """A folder that holds `files` (and those of `optional` that exist): a path as it is, or
    hf://owner/repo[@revision][/folder] fetched.

    ModelError when one of `files` is missing there.
    """
    spec = os.fspath(spec)
    if not is_remote(spec):
        folder = Path(spec).expanduser()
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
