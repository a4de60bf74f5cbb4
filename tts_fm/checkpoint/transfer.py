"""One request for one file: asked for plainly, measured, and known to be whole or not. Tries, digests and the cache are
fetch.py's.

A server may be broken or hostile. A byte now and then, which keeps a socket's timeout away for ever, an answer that is
longer than it said or never ends, and one whose end cannot be told from a break are all given up.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import socket
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_fm.checkpoint.names import Remote, check_url, is_loopback, printable
from tts_fm.errors import ModelError

TIMEOUT = 30.0  # seconds without a byte
WINDOW = 30.0  # seconds in which LEAST bytes a second must come
LEAST = 1000  # bytes a second
MOST_UNTOLD = 4 << 30  # bytes of a file whose length nobody tells
SPARE = 1 << 28  # bytes of the disk that such a file leaves free
BLOCK = 1 << 18  # bytes read at once


class Refused(ValueError):
    """An answer that will be no better at the next try."""


@dataclass(frozen=True)
class Expected:
    """A digest that a file must have. form: "sha256", or "git": SHA-1 of a file with git's header before it."""

    form: str
    digest: str


class Watch:
    """Breaks the connections on which too little comes; `slow` says that it has."""

    def __init__(self) -> None:
        self.bytes, self.slow = 0, False
        self._socks: list[socket.socket] = []
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for sock in self._socks:
            sock.close()

    def keep(self, sock: socket.socket) -> socket.socket:
        """Watch over this one too; a copy is kept, as TLS takes a socket for itself."""
        self._socks.append(sock.dup())
        return sock

    def _look(self) -> None:
        before = quiet = 0
        while not self._over.wait(WINDOW):
            came, before = self.bytes - before, self.bytes
            quiet = 0 if came else quiet + 1  # a stall is the timeout's, but headers, too, may come for ever
            if 0 < came < LEAST * WINDOW or quiet == 2:
                self.slow = True
                for sock in list(self._socks):
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
                return


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only, takes the token along to the same host only, and notes what a hub says of the
    file on its way.
    """

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), check_url(newurl)
        if new.scheme == "http" and not (old.scheme == "http" and is_loopback(old.hostname)):
            raise Refused(f"{old.hostname} redirects to plain http, which is not followed")
        self.said |= _said(headers)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        secret = req.unredirected_hdrs.get("Authorization")
        if request is not None and secret and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", secret)
        fp.close()  # else urllib reads the body of the redirect, however long
        return request


def _said(headers: Any) -> dict[str, str]:
    """What a hub says of a file that it keeps elsewhere: its "digest" (SHA-256) and "size"."""
    said = {}
    tag, size = (headers.get("X-Linked-Etag") or "").strip('"').lower(), headers.get("X-Linked-Size") or ""
    if re.fullmatch(r"[0-9a-f]{64}", tag):
        said["digest"] = tag
    if re.fullmatch(r"[0-9]{1,18}", size):
        said["size"] = size
    return said


def _opener(watch: Watch, redirects: _Redirects, proxies: bool) -> urllib.request.OpenerDirector:
    def watched(kind: Any) -> Callable[..., Any]:
        def make(*where: Any, **how: Any) -> Any:
            connection = kind(*where, **how)
            connect = connection._create_connection
            connection._create_connection = lambda *to, **as_: watch.keep(connect(*to, **as_))
            return connection

        return make

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(watched(http.client.HTTPConnection), req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            how = {"context": ssl.create_default_context()}
            return self.do_open(watched(http.client.HTTPSConnection), req, **how)

    handlers: list[Any] = [redirects, Http(), Https()]
    return urllib.request.build_opener(*handlers, *([] if proxies else [urllib.request.ProxyHandler({})]))


@dataclass
class Answer:
    """A response that has begun."""

    start: int  # bytes of the file before what comes
    total: int | None  # length of the whole file; None = not said
    end_is_told: bool  # a break can be told from the end
    tag: str | None  # by which the rest can be asked for later; None = it cannot
    expected: Expected | None  # the digest that the hub announces
    blocks: Iterator[bytes]  # TimeoutError when they come too slowly


@contextlib.contextmanager
def asking(remote: Remote, have: int, tag: str | None, sure: bool) -> Iterator[Answer]:
    """Ask for a file, or for what is behind `have` bytes of it: where `tag` still holds, or where its digest is known
    (`sure`), so that a wrong rest would be found out.

    Raises Refused for an answer that is of no use; HTTPError, OSError and HTTPException as urllib does.
    """
    headers = {"User-Agent": "tts_fm", "Accept-Encoding": "identity"}
    if have and (tag or sure):
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": tag} if tag else {})
    request = urllib.request.Request(remote.url, headers=headers)
    if remote.token:
        request.add_unredirected_header("Authorization", f"Bearer {remote.token}")
    redirects, watch = _Redirects(), Watch()
    opener = _opener(watch, redirects, not is_loopback(urllib.parse.urlsplit(remote.url).hostname))
    with watch:
        try:
            response = opener.open(request, timeout=TIMEOUT)
        except (OSError, http.client.HTTPException):
            if watch.slow:
                raise _too_slow() from None
            raise
        with response:
            if watch.slow:  # broken among the headers, which then look as if they had ended
                raise _too_slow()
            yield _answer(response, redirects.said | _said(response.headers), have, watch)


def _too_slow() -> Refused:
    return Refused(f"fewer than {LEAST:,} bytes a second come")


def _answer(response: Any, said: dict[str, str], have: int, watch: Watch) -> Answer:
    headers = response.headers
    if (encoding := headers.get("Content-Encoding") or "identity") != "identity":
        raise Refused(f"it comes packed ({printable(encoding)}), though the plain file was asked for")
    span = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", headers.get("Content-Range") or "")
    go_on = response.status == 206 and span is not None and int(span[1]) == have
    if response.status != 200 and not go_on:
        raise Refused(f"HTTP {response.status} is no answer to what was asked for")
    length = re.fullmatch(r"[0-9]{1,18}", headers.get("Content-Length") or "")
    sizes = {int(span[2])} if go_on and span else {int(length[0])} if length else set()
    sizes |= {int(said["size"])} if "size" in said else set()
    if len(sizes) > 1:
        raise Refused(f"the server gives it two lengths, {' and '.join(f'{size:,}' for size in sorted(sizes))} bytes")
    total, etag = next(iter(sizes), None), headers.get("ETag") or ""
    expected = Expected("sha256", said["digest"]) if "digest" in said else None
    if expected is None and "X-Repo-Commit" in headers and re.fullmatch(r'"[0-9a-f]{40}"', etag):
        expected = Expected("git", etag.strip('"'))
    tag = etag if etag.startswith('"') else None  # a weak tag does not prove equal bytes
    told = total is not None or bool(response.chunked)
    return Answer(have if go_on else 0, total, told, tag, expected, _blocks(response, watch))


def _blocks(response: Any, watch: Watch) -> Iterator[bytes]:
    """The body, as it comes."""
    try:
        while block := response.read1(BLOCK):
            watch.bytes += len(block)
            yield block
    except (OSError, http.client.HTTPException):
        if not watch.slow:
            raise
    if watch.slow:
        raise _too_slow()


def receive(answer: Answer, part: Path, shown: str, note: Callable[[int], Any]) -> bool:
    """Write what comes to `part`; returns whether the file is whole, as far as its length says. note: told the bytes of
    each block.

    Raises Refused for more than was said, ModelError for more than the disk has room for, OSError, with the path, where
    it cannot be written.
    """
    have, total = answer.start, answer.total
    room = shutil.disk_usage(part.parent).free
    if total is not None and room < total - have + (1 << 20):
        raise ModelError(
            f"{shown} needs {(total - have) / 1e6:.0f} MB, {part.parent} has less free; set TTS_FM_CACHE elsewhere"
        )
    most = total if total is not None else min(MOST_UNTOLD, max(room - SPARE, room // 2))
    try:
        file = open(part, "ab" if have else "wb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(part)) from error
    with contextlib.closing(file):
        for block in answer.blocks:
            have += len(block)
            if have > most:
                raise Refused(f"more than {most:,} bytes come" + ("" if total is None else ", which it should have"))
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(part)) from error
            note(len(block))
    return total is None or have == total
