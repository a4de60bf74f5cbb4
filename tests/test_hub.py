"""Downloads from a server on 127.0.0.1 that breaks, lies, redirects and counts; names that must not leave the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tts_fm import checkpoint as hub
from tts_fm.checkpoint import fetch, transfer
from tts_fm.errors import ModelError

DATA = bytes(range(256)) * 4000  # 1,024,000 bytes
SUM = hashlib.sha256(DATA).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Paths say what goes wrong: /broken/... is cut at 300,000 bytes twice, /short/... always, /moved/... goes
    elsewhere.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def send(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        seen = self.server.seen
        seen.append((self.path, dict(self.headers)))
        kind, tag = self.path.split("/")[1], self.server.tag
        if kind == "missing":
            return self.send(404)
        if kind == "private" and self.headers.get("Authorization") != "Bearer hf_secret":
            return self.send(401)
        if kind == "busy" and len(seen) < 3:
            return self.send(503)
        if kind == "moved":
            return self.send(302, Location=self.server.moved, X_Linked_Etag=f'"{self.server.announced}"')
        start, match = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if match and self.headers.get("If-Range") in (None, tag) and kind != "norange":
            start = int(match[1])
            if start >= len(DATA):
                return self.send(416)
        body = DATA[start:] if kind != "corrupt" else DATA[start:-1] + b"!"
        cut = 300_000 if kind == "short" or (kind in ("broken", "norange") and len(seen) < 3) else len(body)
        extra = {"Content_Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
        self.send(206 if start else 200, body[:cut], Content_Length=str(len(body)), ETag=tag, **extra)


@pytest.fixture
def server(tmp_path: Path, monkeypatch):
    for name in ("TTS_FM_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TTS_FM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.seen, http.tag, http.moved, http.announced = [], '"v1"', "", ""
    http.url = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


def leftovers(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock")


def test_download_is_cached_and_checked(server, tmp_path: Path):
    path = hub.resolve(f"{server.url}/plain/model.safetensors?sig=hidden", SUM.upper())
    assert path.read_bytes() == DATA and path.name == "model.safetensors"
    assert hub.resolve(f"{server.url}/plain/model.safetensors?sig=hidden", SUM) == path and len(server.seen) == 1
    assert leftovers(tmp_path) == ["model.safetensors"]
    path.write_bytes(b"damaged in the cache")
    assert hub.resolve(f"{server.url}/plain/model.safetensors?sig=hidden", SUM).read_bytes() == DATA


def test_interrupted_download_resumes(server, tmp_path: Path):
    path = hub.resolve(f"{server.url}/broken/a.bin")
    assert path.read_bytes() == DATA and leftovers(tmp_path) == ["a.bin"]
    assert [h.get("Range") for _, h in server.seen] == [None, "bytes=300000-", "bytes=600000-"]
    assert server.seen[1][1]["If-Range"] == '"v1"'


def test_next_run_goes_on(server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with pytest.raises(ModelError, match="run again"):
        hub.resolve(f"{server.url}/broken/a.bin")
    assert leftovers(tmp_path) == ["a.bin.part", "a.bin.tag.json"]
    with pytest.raises(ModelError):
        hub.resolve(f"{server.url}/broken/a.bin")
    assert hub.resolve(f"{server.url}/broken/a.bin").read_bytes() == DATA
    assert server.seen[-1][1]["Range"] == "bytes=600000-"


def test_changed_file_is_not_glued_together(server, monkeypatch):
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with pytest.raises(ModelError):
        hub.resolve(f"{server.url}/broken/a.bin")
    server.tag = '"v2"'
    server.seen += [("", {})] * 2
    assert hub.resolve(f"{server.url}/broken/a.bin").read_bytes() == DATA  # If-Range failed: sent whole


def test_damaged_part_is_thrown_away(server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with pytest.raises(ModelError):
        hub.resolve(f"{server.url}/broken/a.bin", SUM)
    monkeypatch.setattr(fetch, "ATTEMPTS", 5)
    part = next((tmp_path / "cache").rglob("*.part"))
    part.write_bytes(b"x" * 1000)
    assert hub.resolve(f"{server.url}/broken/a.bin", SUM).read_bytes() == DATA
    part.write_bytes(b"x" * 2_000_000)  # longer than the file: 416, then from the start
    path = next((tmp_path / "cache").rglob("a.bin"))
    path.unlink()
    assert hub.resolve(f"{server.url}/broken/a.bin", SUM).read_bytes() == DATA


def test_server_without_ranges(server):
    assert hub.resolve(f"{server.url}/norange/a.bin").read_bytes() == DATA


def test_busy_server_is_asked_again(server):
    assert hub.resolve(f"{server.url}/busy/a.bin").read_bytes() == DATA and len(server.seen) == 3


def test_corrupt_and_truncated(server, tmp_path: Path):
    with pytest.raises(ModelError, match=f"{SUM} was expected"):
        hub.resolve(f"{server.url}/corrupt/a.bin", SUM)
    assert leftovers(tmp_path) in ([], ["a.bin.tag.json"]) and len(server.seen) == 1
    server.tag = 'W/"weak"'  # no safe resume: every try starts anew and is cut
    with pytest.raises(ModelError, match="ended early"):
        hub.resolve(f"{server.url}/short/b.bin")
    assert all("Range" not in h for _, h in server.seen)
    assert "b.bin" not in leftovers(tmp_path)


def test_missing_and_unreachable(server):
    with pytest.raises(ModelError, match="HTTP 404.*check the name") as error:
        hub.resolve(f"{server.url}/missing/a.bin?token=hidden")
    assert "hidden" not in str(error.value) and len(server.seen) == 1
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match="5 tries"):
        hub.resolve(f"{server.url}/plain/a.bin")


def test_hub_names(server, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/private/")
    with pytest.raises(ModelError, match="401.*HF_TOKEN"):
        hub.resolve("hf://org/model/sub/a.bin")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with caplog.at_level(logging.DEBUG):
        path = hub.resolve("hf://org/model@v1.0/sub/a b.bin")
    assert (
        path == tmp_path / "cache" / "hf" / "org" / "model" / "v1.0" / "sub" / "a b.bin" and path.read_bytes() == DATA
    )
    assert server.seen[-1][0] == "/private/org/model/resolve/v1.0/sub/a%20b.bin"
    assert "hf_secret" not in caplog.text


def test_redirect_drops_the_token_and_brings_the_sum(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/moved")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.moved, server.announced = server.url.replace("127.0.0.1", "localhost") + "/plain/blob", SUM
    assert hub.resolve("hf://org/model/a.bin").read_bytes() == DATA
    assert "Authorization" in server.seen[0][1] and "Authorization" not in server.seen[1][1]
    server.announced = "0" * 64
    with pytest.raises(ModelError, match=f"{'0' * 64} was expected"):
        hub.resolve("hf://org/model/b.bin")
    for bad in ("http://example.com/a", "file:///etc/passwd", "ftp://127.0.0.1/a"):
        server.moved = bad
        with pytest.raises(ModelError, match="cannot fetch"):
            hub.resolve("hf://org/model/c.bin")


def test_offline(server, tmp_path: Path, monkeypatch):
    path = hub.resolve(f"{server.url}/plain/a.bin")
    for name in ("TTS_FM_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
        assert hub.resolve(f"{server.url}/plain/a.bin") == path
        with pytest.raises(ModelError, match="hf://org/model/a.bin is not at .*OFFLINE"):
            hub.resolve("hf://org/model/a.bin")
        monkeypatch.setenv(name, "0")
    assert not hub.is_offline() and len(server.seen) == 1


BAD_NAMES = [
    "hf://", "hf://org", "hf://org/model", "hf://org/model/", "hf://../model/a", "hf://org/../a",
    "hf://org/model/../../a", "hf://org/model/a/./b",
    "hf://org/model@/a", "hf://org/model@../a", "hf://org/model/a\\b", "hf://org/model//a", "hf://org/model/a\0",
    "hf:///org/model/a",
    "hf://org/model/" + "a" * 300, "http://example.com/a", "ftp://example.com/a", "file:///etc/passwd", "https://",
    "https://u:p@example.com/a",
    "https://example.com/a b", "https://[::1/a", "https://example.com:99999/a",
]  # fmt: skip


@pytest.mark.parametrize("spec", BAD_NAMES)
def test_bad_names(spec: str, server, tmp_path: Path):
    with pytest.raises(ValueError) as error:
        hub.resolve(spec)
    assert "\n" not in str(error.value) and "u:p" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_plain_paths(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(DATA)
    assert hub.resolve(tmp_path / "a.bin", SUM) == tmp_path / "a.bin"
    assert hub.resolve(str(tmp_path)) == tmp_path
    with pytest.raises(ModelError, match="no such file.*hf://"):
        hub.resolve(tmp_path / "b.bin")
    with pytest.raises(ModelError, match="was expected"):
        hub.resolve(tmp_path / "a.bin", "0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal"):
        hub.resolve(tmp_path / "a.bin", "abc")


def test_unwritable_cache(server, tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TTS_FM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="TTS_FM_CACHE"):
        hub.resolve(f"{server.url}/plain/a.bin")
    monkeypatch.setenv("TTS_FM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("", (), {"free": 10}))
    with pytest.raises(ModelError, match="1 MB.*less free"):
        hub.resolve(f"{server.url}/plain/a.bin")


def test_folders(server, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/plain")
    folder = hub.resolve_folder("hf://org/model@v1/sub/", ["config.txt", "model.bin"], ["vocab.txt"])
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") == ["config.txt", "model.bin", "vocab.txt"]
    assert hub.resolve_folder(folder, ["config.txt"]) == folder
    with pytest.raises(ModelError, match="has no other.json"):
        hub.resolve_folder(folder, ["other.json"])
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/missing")
    assert hub.resolve_folder("hf://org/other", [], ["vocab.txt"]).name == "main"
    with pytest.raises(ModelError, match="404"):
        hub.resolve_folder("hf://org/other", ["config.json"])


def test_two_threads_fetch_once(server):
    got: list[Path] = []
    threads = [threading.Thread(target=lambda: got.append(hub.resolve(f"{server.url}/plain/a.bin"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4 and len(set(got)) == 1 and len(server.seen) == 1 and got[0].read_bytes() == DATA


def test_note_is_json(server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with pytest.raises(ModelError):
        hub.resolve(f"{server.url}/short/a.bin")
    note = next((tmp_path / "cache").rglob("*.tag.json"))
    assert json.loads(note.read_text()) == {"etag": '"v1"'}
    note.write_text("{")  # damaged: start anew, do not fail
    with pytest.raises(ModelError, match="ended early"):
        hub.resolve(f"{server.url}/short/a.bin")
    assert "Range" not in server.seen[-1][1]
