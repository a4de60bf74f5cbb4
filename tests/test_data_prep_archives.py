"""Archives that lie, a server that breaks: nothing unsafe is written, nothing damaged is taken, what was interrupted
goes on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from corpora import make_corpus, packed, tar_of

from data_prep import archives, libritts, shared
from tts_fm.checkpoint import fetch
from tts_fm.errors import ModelError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../evil", tarfile.REGTYPE, ""),
        ("LibriTTS/../../evil", tarfile.REGTYPE, ""),
        ("/tmp/evil", tarfile.REGTYPE, ""),
        ("a\\..\\evil", tarfile.REGTYPE, ""),
        ("C:evil", tarfile.REGTYPE, ""),
        ("a\nb", tarfile.REGTYPE, ""),
        ("x" * 300, tarfile.REGTYPE, ""),
        ("LibriTTS/s", tarfile.SYMTYPE, "/etc"),
        ("LibriTTS/h", tarfile.LNKTYPE, "LibriTTS/dev-clean/1/1/a.wav"),
        ("LibriTTS/f", tarfile.FIFOTYPE, ""),
        ("LibriTTS/d", tarfile.CHRTYPE, ""),
        ("LibriTTS/dev-clean/1/1/a.wav", tarfile.REGTYPE, ""),
    ],
)
def test_unsafe_members(tmp_path: Path, name: str, kind: bytes, link: str):
    file = tar_of(tmp_path / "a.tar.gz", (name, kind, b"", link))
    (tmp_path / "root").mkdir()
    with pytest.raises(ModelError, match="not unpacked|twice"):
        archives.unpack(file, tmp_path / "root", "LibriTTS/dev-clean")
    assert list((tmp_path / "root").iterdir()) == [] and not (tmp_path / "evil").exists()


def test_zip(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("txt/p225/p225_001.txt", "Hello")
        archive.writestr("wav48_silence_trimmed/", "")
    assert archives.unpack(tmp_path / "v.zip", tmp_path / "root", "VCTK", into="VCTK") == tmp_path / "root" / "VCTK"
    assert (tmp_path / "root" / "VCTK" / "txt" / "p225" / "p225_001.txt").read_text() == "Hello"
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ModelError, match="link"):
        archives.unpack(tmp_path / "link.zip", tmp_path / "root", "a")


def test_bombs_and_wrong_archives(tmp_path: Path, monkeypatch, corpus: Path):
    bomb = tar_of(tmp_path / "b.tar.gz", ("LibriTTS/dev-clean/zero", tarfile.REGTYPE, bytes(4 << 20), ""))
    with pytest.raises(ModelError, match="unpacks to more than"):
        archives.unpack(bomb, tmp_path / "root", "LibriTTS/dev-clean")
    with pytest.raises(ModelError, match="does not hold LibriTTS/test-other"):
        archives.unpack(tar_of(tmp_path / "c.tar.gz"), tmp_path / "root", "LibriTTS/test-other")
    whole = packed(corpus)
    for cut in (len(whole) // 2, len(whole) - 20, 100, 0):
        (tmp_path / "d.tar.gz").write_bytes(whole[:cut])
        with pytest.raises(ModelError, match="damaged or cut off|is cut off"):
            archives.unpack(tmp_path / "d.tar.gz", tmp_path / "root", "LibriTTS/dev-clean")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(ModelError, match="no space left"):
        archives.unpack(tar_of(tmp_path / "c.tar.gz"), tmp_path / "root", "LibriTTS/dev-clean")
    with pytest.raises(ModelError, match="need about .* GB"):
        libritts.download(tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


# --- download


class Handler(BaseHTTPRequestHandler):
    """/good, /corrupt (last byte changed), /short (always cut at half), /broken (cut at half once, then resumable)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        kind, data = self.path.split("/")[1], self.server.data
        self.server.asked.append(self.headers.get("Range"))
        if kind == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        cut = kind == "short" or (kind == "broken" and len(self.server.asked) == 1)
        self.wfile.write(data[start : start + len(data) // 2] if cut else data[start:])
        self.close_connection = True


@pytest.fixture
def server(corpus: Path, tmp_path: Path, monkeypatch):
    """A https server where openssl can make its certificate, else http on the loopback."""
    for name in ("TTS_FM_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    http, scheme = ThreadingHTTPServer(("127.0.0.1", 0), Handler), "http"
    if shutil.which("openssl"):
        key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
        subprocess.run(
            [
                "openssl",
                *"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1".split(),
                *"-addext subjectAltName=IP:127.0.0.1".split(),
                "-keyout",
                key,
                "-out",
                certificate,
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        scheme = "https"
    http.data, http.asked = packed(corpus), []
    http.url = f"{scheme}://127.0.0.1:{http.server_address[1]}"
    entry = libritts.PARTS["dev-clean"]
    monkeypatch.setitem(libritts.PARTS, "dev-clean", (0.001, 0.001, 3, hashlib.sha256(http.data).hexdigest()))
    assert len(entry[3]) == 64
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


def download(server, root: Path, kind: str) -> int:
    return shared.run(
        libritts.main, ["download", str(root), "--parts", "dev-clean", "--mirror", f"{server.url}/{kind}"]
    )


def test_download_and_prepare(server, tmp_path: Path):
    root = tmp_path / "data"
    assert download(server, root, "good") == 0
    assert sorted(p.name for p in (root / "LibriTTS").iterdir()) == ["LICENSE.txt", "dev-clean"]
    assert len(libritts.prepare_libritts(root, root / "m.jsonl", jobs=1)) == 3
    assert not list(root.glob("downloads/*.tar.gz*part*")) and not (root / "downloads" / "dev-clean.tar.gz").exists()
    assert download(server, root, "good") == 0 and len(server.asked) == 1  # it is there: nothing is asked for


def test_interrupted_download_resumes(server, tmp_path: Path):
    assert download(server, tmp_path / "data", "broken") == 0
    assert server.asked == [None, f"bytes={len(server.data) // 2}-"]
    assert (tmp_path / "data" / "LibriTTS" / "dev-clean").is_dir()


@pytest.mark.parametrize("kind", ["corrupt", "short"])
def test_damaged_downloads_are_noticed(server, tmp_path: Path, kind: str, monkeypatch, caplog):
    monkeypatch.setattr(fetch, "ATTEMPTS", 1 if kind == "short" else 3)
    assert download(server, tmp_path / "data", kind) == 4
    assert ("SHA-256" if kind == "corrupt" else "run again") in caplog.text
    assert not (tmp_path / "data" / "LibriTTS").exists()


def test_unpublished_sums_are_noted_and_kept(server, tmp_path: Path, caplog):
    archive = archives.Archive(f"{server.url}/good/dev-clean.tar.gz", "LibriTTS/dev-clean", None, 0.001)
    archives.get([archive], tmp_path / "data")
    noted = json.loads((tmp_path / "data" / "downloads" / "sha256.json").read_text())
    assert noted == {"dev-clean.tar.gz": hashlib.sha256(server.data).hexdigest()} and "is noted" in caplog.text
    shutil.rmtree(tmp_path / "data" / "LibriTTS")
    with pytest.raises(ModelError, match="SHA-256"):
        archives.get([archive], tmp_path / "data", mirror=f"{server.url}/corrupt")


def test_published_md5_shows_damage(server, tmp_path: Path):
    md5 = hashlib.md5(server.data).hexdigest()
    for kind, fault in (("good", None), ("corrupt", "MD5")):
        archive = archives.Archive(f"{server.url}/{kind}/dev-clean.tar.gz", "LibriTTS/dev-clean", None, 0.001, md5=md5)
        if fault is None:
            archives.get([archive], tmp_path / kind)
            continue
        with pytest.raises(ModelError, match=fault):
            archives.get([archive], tmp_path / kind)
        assert not (tmp_path / kind / "LibriTTS").exists() and not list(tmp_path.glob(f"{kind}/downloads/*.gz"))


def test_published_facts():
    for part in libritts.PARTS:
        assert (
            libritts.archive(part).url == f"https://www.openslr.org/resources/60/{part}.tar.gz"
            and len(libritts.archive(part).sha256 or "") == 64
        )
    assert libritts.archive("dev-clean", restored=True).url == "https://www.openslr.org/resources/141/dev_clean.tar.gz"
    assert list(libritts.RESTORED_MD5) == list(libritts.PARTS) and {
        len(md5) for md5 in libritts.RESTORED_MD5.values()
    } == {32}
    torchaudio = pytest.importorskip("torchaudio.datasets.libritts")
    assert {
        f"http://www.openslr.org/resources/60/{p}.tar.gz": libritts.PARTS[p][3] for p in libritts.PARTS
    } == torchaudio._CHECKSUMS
