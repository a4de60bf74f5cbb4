"""Names of files elsewhere, and where in the cache each is kept. Asks nobody."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
HF_FORM = "hf://owner/repo[@revision]/path/to/file"


@dataclass(frozen=True)
class Remote:
    """One file elsewhere: where from, where to, and how it may be told to the user."""

    url: str
    target: Path  # in the cache
    shown: str  # without query or secrets
    token: str | None = None


def cache_dir() -> Path:
    """TTS_FM_CACHE, or the platform's own place for caches. ValueError where there is no home folder to have one in."""
    try:
        if given := os.environ.get("TTS_FM_CACHE"):
            return Path(given).expanduser()
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "tts_fm"
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tts_fm" / "Cache"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tts_fm"
    except RuntimeError:  # no HOME, and a user whom the system does not know
        raise ValueError("there is no home folder to keep downloads in; set TTS_FM_CACHE to a folder") from None


def is_offline() -> bool:
    """Whether TTS_FM_OFFLINE or HF_HUB_OFFLINE forbids the network."""
    return any(
        os.environ.get(k, "").strip().lower() in ("1", "true", "yes", "on")
        for k in ("TTS_FM_OFFLINE", "HF_HUB_OFFLINE")
    )


def is_loopback(host: str | None) -> bool:
    """Whether a host name is this machine."""
    return host in ("127.0.0.1", "::1", "localhost")


def check_url(url: str) -> urllib.parse.SplitResult:
    """https, or http to this machine; no user:password@; ValueError otherwise, without what may be secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{_start(url)!r}... is not a URL; it must look like https://host/path/file") from None
    if not host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not is_loopback(host)):
        where = f"{parts.scheme}://{printable(host or '')}"
        raise ValueError(f"{where} is not fetched; only https URLs are (and http on 127.0.0.1)")
    if parts.username is not None or parts.password is not None or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError(
            f"the URL for {printable(host)} holds a password, a space or a control character; use HF_TOKEN, and quote "
            "spaces as %20"
        )
    return parts


def _start(url: str) -> str:
    """As much of a broken URL as cannot hold a password or a key."""
    return re.match(r"[A-Za-z0-9+.:-]{0,20}/{0,2}", url)[0]  # type: ignore[index]  # it matches always


def printable(text: str) -> str:
    """What a stranger wrote, fit for a line of a message: 100 letters at most, none of them a control character."""
    return "".join(c if c.isprintable() else "?" for c in text[:100])


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


def token() -> str | None:
    """HF_TOKEN; None where there is none. ValueError, which does not show it, for one that cannot be sent."""
    given = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", given):
        raise ValueError("HF_TOKEN holds a line break, a space or a letter that no token has; set it anew")
    return given or None


def remote(spec: str) -> Remote:
    """What a remote name stands for. ValueError for a name that is not of one of the forms."""
    if spec.startswith("hf://"):
        owner, repo, revision, file = parse_hf(spec)
        if not file:
            raise ValueError(f"{spec!r} names a whole repository where one file is needed: {HF_FORM}")
        endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        url = f"{endpoint}/{owner}/{repo}/resolve/{revision}/{urllib.parse.quote(file)}"
        check_url(url)
        target = cache_dir().joinpath("hf", owner, repo, revision, *file.split("/"))
        return Remote(url, target, spec, token())
    parts = check_url(spec)
    name = urllib.parse.unquote(parts.path.rsplit("/", 1)[-1])
    name = name if NAME.fullmatch(name) else "file"
    target = cache_dir() / "url" / hashlib.sha256(spec.encode()).hexdigest()[:16] / name
    return Remote(spec, target, urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")))


def is_remote(spec: str) -> bool:
    """Whether a name is hf:// or a URL, rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", spec) is not None
