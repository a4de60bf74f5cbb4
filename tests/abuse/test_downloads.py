"""A hub that is slow, endless, cut, packed or lying: downloads end, what is not whole is never kept, and no secret is
shown.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from safetensors.numpy import save

from tts_fm import checkpoint as hub
from tts_fm.checkpoint import fetch, transfer
from tts_fm.cli import main as cli
from tts_fm.errors import ModelError

DATA = bytes(range(256)) * 2000
GOOD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


class Hub:
    """Answers every request with what `send` yields, byte for byte, until the other side has gone."""

    def __init__(self, send: Callable[[bytes], Iterator[bytes]]) -> None:
        self.send, self.asked = send, []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}/model.bin"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self.answer, args=(self.sock.accept()[0],), daemon=True).start()

    def answer(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(4096)
            self.asked.append(head)
            for piece in self.send(head):
                sock.sendall(piece)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    for name in ("TTS_FM_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TTS_FM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setattr(transfer, "WINDOW", 0.25)
    made = []

    def make(*pieces: bytes) -> Hub:
        made.append(Hub(lambda _: iter(pieces)))
        return made[-1]

    make.by = lambda send: (made.append(Hub(send)), made[-1])[1]
    yield make
    for one in made:
        one.sock.close()


def kept(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock")


def drip(what: bytes, head: bytes = b"") -> Callable[[bytes], Iterator[bytes]]:
    def send(_: bytes) -> Iterator[bytes]:
        yield head
        for k in count():
            time.sleep(0.02)
            yield what[k % len(what) :][:1]

    return send


@pytest.mark.parametrize(
    "send",
    [
        drip(b"x", GOOD + b"Content-Length: 1000000\r\n\r\n"),
        drip(b"x", GOOD + b'ETag: "one"\r\nContent-Length: 1000000\r\n\r\n'),
        drip(b"1\r\nx\r\n", GOOD + b"Transfer-Encoding: chunked\r\n\r\n"),
        drip(b"0" * 60 + b"1", GOOD + b"Transfer-Encoding: chunked\r\n\r\n"),
        drip(b"X-A: b\r\n", GOOD),
        drip(b"a", b"HTTP/1.1 200 "),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"X: y\r\n", GOOD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"),
    ],
    ids=["body", "tagged", "chunks", "chunk size", "headers", "status", "continue", "trailers"],
)
def test_a_byte_now_and_then(serve, tmp_path, send):
    began = time.monotonic()
    with pytest.raises(ModelError, match="fewer than 1,000 bytes a second"):
        hub.resolve(serve.by(send).url)
    assert time.monotonic() - began < 10 and kept(tmp_path) == []


def test_a_body_without_end(serve, tmp_path, monkeypatch):
    def send(_: bytes) -> Iterator[bytes]:
        yield GOOD + b"Transfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + bytes(1 << 16) + b"\r\n"

    monkeypatch.setattr(transfer, "MOST_UNTOLD", 3_000_000)
    one = serve.by(send)
    with pytest.raises(ModelError, match="more than 3,000,000 bytes come; nothing of it is kept"):
        hub.resolve(one.url)
    assert kept(tmp_path) == [] and len(one.asked) == 1


def test_a_redirect_with_a_body_without_end(serve, tmp_path):
    good = serve(GOOD + b"Content-Length: 3\r\n\r\nabc")

    def send(_: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 302 Found\r\nLocation: " + good.url.encode() + b"\r\n\r\n"
        while True:
            yield bytes(1 << 16)

    assert hub.resolve(serve.by(send).url).read_bytes() == b"abc"


def test_a_full_disk_keeps_no_part(serve, tmp_path, monkeypatch):
    def full(self, block):
        raise OSError(28, "No space left on device")

    class Full:
        def __init__(self, *_) -> None:
            Path(_[0]).touch()

        write, close = full, lambda self: None

    monkeypatch.setattr(transfer, "open", Full, raising=False)
    with pytest.raises(ModelError, match=r"cannot keep .*No space left.*TTS_FM_CACHE"):
        hub.resolve(serve(GOOD + b'ETag: "one"\r\nContent-Length: 3\r\n\r\nabc').url)
    assert kept(tmp_path) == []


SUM = hashlib.sha256(DATA).hexdigest()
PACKED = gzip.compress(DATA)
CUT = {
    "no length": (GOOD + b"\r\n", DATA[:-1], "does not say how long it is"),
    "length": (GOOD + b"Content-Length: %d\r\n\r\n" % len(DATA), DATA[:-1], "ended early"),
    "chunked": (GOOD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(DATA), DATA[:-1], "tries"),
    "no last chunk": (GOOD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(DATA), DATA + b"\r\n", "tries"),
    "packed": (GOOD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED), PACKED, "packed .gzip"),
    "packed, cut": (GOOD + b"Content-Encoding: gzip\r\n\r\n", PACKED[:-1], "packed .gzip"),
    "linked size": (GOOD + b"X-Linked-Size: 9\r\nContent-Length: 8\r\n\r\n", b"12345678", "two lengths, 8 and 9 bytes"),
    "linked size, chunked": (
        GOOD + b"X-Linked-Size: 9\r\nTransfer-Encoding: chunked\r\n\r\n", b"a\r\n1234567890\r\n0\r\n\r\n",
        "more than 9 bytes come, which it should have",
    ),
    "linked digest": (GOOD + b'X-Linked-Etag: "%s"\r\n\r\n' % SUM.encode(), DATA[:-1], f"{SUM} was expected"),
    "git digest": (
        GOOD + b'X-Repo-Commit: 1\r\nETag: "%s"\r\nContent-Length: 3\r\n\r\n' % (b"0" * 40), b"abc",
        "git digest f2ba8f8",
    ),
    "length of 400 digits": (GOOD + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n", b"abc", "how long it is"),
    "too large for the disk": (GOOD + b"Content-Length: 999999999999999999\r\n\r\n", b"abc", "has less free"),
    "another status": (b"HTTP/1.1 206 OK\r\nContent-Length: 3\r\n\r\n", b"abc", "HTTP 206 is no answer"),
    "no answer": (b"", b"", "tries"),
    "no HTTP": (b"hello\r\n\r\n", b"", "tries"),
    "a terminal's letters": (b"HTTP/1.1 500 \x1b[31m\x07\r\n\r\n", b"", r"HTTP 500 \?\[31m\?"),
}  # fmt: skip


@pytest.mark.parametrize("case", CUT)
def test_what_is_not_whole_is_not_kept(serve, tmp_path, case):
    head, body, told = CUT[case]
    with pytest.raises(ModelError, match=told):
        hub.resolve(serve(head, body).url)
    assert kept(tmp_path) == []


def test_whole_ones_are_kept(serve, tmp_path):
    chunked = GOOD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(DATA), DATA)
    git = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest().encode()
    tagged = GOOD + b'X-Repo-Commit: 1\r\nETag: "%s"\r\nContent-Length: %d\r\n\r\n' % (git, len(DATA))
    linked = GOOD + b'X-Linked-Etag: "%s"\r\nX-Linked-Size: %d\r\n\r\n' % (SUM.encode(), len(DATA))
    for head in (chunked, tagged + DATA, linked + DATA):
        assert hub.resolve(serve(head).url).read_bytes() == DATA
    assert hub.resolve(serve(GOOD + b"\r\n" + DATA).url, SUM).read_bytes() == DATA  # no length, but the digest fits


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("page", [b"<html>Log in, please</html>", b"", b"{", b"[" * 100_000, b"\xff" * 100])
def test_a_page_instead_of_a_file(serve, tmp_path, name, page):
    url = serve(GOOD + b"Content-Length: %d\r\n\r\n" % len(page) + page).url.replace("model.bin", name)
    with pytest.raises(ModelError, match=r"not a safetensors file|not JSON"):
        hub.resolve(url)
    assert kept(tmp_path) == []


def test_weights_that_lack_their_end(serve, tmp_path):
    np = pytest.importorskip("numpy")
    data = save({"a": np.ones(1000, np.float32)})
    for body in (data, data[:-1]):
        url = serve(GOOD + b"Content-Length: %d\r\n\r\n" % len(body) + body).url.replace("bin", "safetensors")
        if body is data:
            assert hub.resolve(url).read_bytes() == data
        else:
            with pytest.raises(ModelError, match=r"4,0\d\d bytes of 4,0"):
                hub.resolve(url)


@pytest.mark.parametrize("token", ["hf_sec\nret", "hf_sec\r\nX: ret", "hf_sec ret", "hf_sec\0ret", "hf_secrét"])
def test_a_token_that_cannot_be_sent_is_not_shown(serve, monkeypatch, capsys, caplog, token):
    one = serve(GOOD + b"Content-Length: 3\r\n\r\nabc")
    monkeypatch.setenv("HF_ENDPOINT", one.url.rpartition("/")[0])
    try:
        monkeypatch.setenv("HF_TOKEN", token)
    except ValueError:  # the environment takes no NUL
        return
    with caplog.at_level(logging.DEBUG):
        assert cli.main(["say", "x", "-vv", "-m", "hf://org/model/a.safetensors"]) == 2
    told = capsys.readouterr()
    assert "HF_TOKEN holds a line break" in told.err and "this is a bug" not in told.err
    assert "hf_sec" not in told.err + told.out + caplog.text and not one.asked
    monkeypatch.setenv("HF_TOKEN", " hf_good\n")  # of a file that ends in a line break
    with pytest.raises(ModelError):
        hub.resolve("hf://org/model/a.json")
    assert b"Authorization: Bearer hf_good\r\n" in one.asked[-1]


def test_a_broken_url_does_not_show_its_password():
    with pytest.raises(ValueError, match="not a URL") as error:
        hub.resolve("https://me:secret@[::1/a?key=secret")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"etag": 3}', b'{"etag": "a\\nb"}', b"[" * 100_000, b"\xff"])
def test_a_damaged_note_beside_a_part(serve, tmp_path, note):
    one = serve(GOOD + b"Content-Length: 3\r\n\r\nabc")
    path = hub.resolve(one.url)
    path.rename(path.with_name(path.name + ".part"))
    path.with_name(path.name + ".tag.json").write_bytes(note)
    assert hub.resolve(one.url).read_bytes() == b"abc" and kept(tmp_path) == ["model.bin"]
    assert b"Range" not in one.asked[-1]


def test_a_break_is_gone_on_from(serve, tmp_path):
    """What is kept beside the cache, and why: a strong ETag, by which the rest can be asked for."""
    half = GOOD + b'ETag: "v1"\r\nContent-Length: %d\r\n\r\n' % len(DATA) + DATA[:1000]
    turns = iter([half] * fetch.ATTEMPTS)

    def send(head: bytes) -> Iterator[bytes]:
        rest = b'HTTP/1.1 206 OK\r\nETag: "v1"\r\nContent-Range: bytes 1000-%d/%d\r\n\r\n' % (len(DATA) - 1, len(DATA))
        yield next(turns, rest + DATA[1000:])

    one = serve.by(send)
    with pytest.raises(ModelError, match="run again to go on from there"):
        hub.resolve(one.url)
    assert kept(tmp_path) == ["model.bin.part", "model.bin.tag.json"]
    assert json.loads(next((tmp_path / "cache").rglob("*.tag.json")).read_text()) == {"etag": '"v1"'}
    assert hub.resolve(one.url).read_bytes() == DATA and kept(tmp_path) == ["model.bin"]
