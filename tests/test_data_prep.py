"""Corpora made of tones in their real layouts; archives that lie; a server that breaks; everything that must be counted or refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data_prep import archives, libritts, ljspeech, make_libritts_tree, own_folder, shared, vctk  # noqa: E402
from tts_fm import hub  # noqa: E402
from tts_fm.errors import ModelError  # noqa: E402
from tts_fm.manifest import read_manifest  # noqa: E402

RATE = 24_000


def tone(path: Path, seconds: float = 1.0, rate: int = RATE, level: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, (level * np.sin(2 * np.pi * 220 * time)).astype(np.float32), rate, subtype="PCM_16")
    return path


def libritts_clip(root: Path, part: str, speaker: int, number: int, text: str = "One two three.", **sound) -> Path:
    path = tone(root / "LibriTTS" / part / str(speaker) / "7" / f"{speaker}_7_000000_{number:06d}.wav", **sound)
    for ending in ("normalized", "original"):
        path.with_suffix(f".{ending}.txt").write_text(text + "\n" if ending == "normalized" else text.upper())
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for part, speaker in (("train-clean-100", 19), ("dev-clean", 84), ("test-clean", 61)):
        for number in range(3):
            libritts_clip(tmp_path, part, speaker, number, seconds=0.5 + number)
    return tmp_path


# --- prepare -----------------------------------------------------------------------------------------------------------------------


def test_libritts(corpus: Path):
    assert shared.run(libritts.main, ["prepare", str(corpus), str(corpus / "m.jsonl"), "--jobs", "1"]) == 0
    found = read_manifest(corpus / "m.jsonl", audio=True)
    assert [u.split for u in found] == ["valid"] * 3 + ["test"] * 3 + ["train"] * 3
    assert [u.seconds for u in found[:3]] == [0.5, 1.5, 2.5] and {u.speaker for u in found} == {"19", "84", "61"}
    assert found[0].audio == "LibriTTS/dev-clean/84/7/84_7_000000_000000.wav" and found[0].text == "One two three."
    assert json.loads((corpus / "m.jsonl.stats.json").read_text())["splits"]["all"]["utterances"] == 9
    originals = libritts.prepare_libritts(corpus / "LibriTTS", corpus / "o.jsonl", ["dev-clean"], original=True, jobs=1)
    assert len(originals) == 3 and originals[0].text == "ONE TWO THREE."


def test_two_processes_find_the_same(corpus: Path, monkeypatch):
    monkeypatch.setattr(shared, "CHUNK", 2)
    one = libritts.prepare_libritts(corpus, corpus / "1.jsonl", jobs=1)
    assert libritts.prepare_libritts(corpus, corpus / "2.jsonl", jobs=2) == one


def test_bad_recordings_are_counted(corpus: Path, caplog):
    dev = corpus / "LibriTTS" / "dev-clean" / "84" / "7"
    (dev / "84_7_000009_000000.wav").write_bytes(b"")
    (dev / "84_7_000009_000000.normalized.txt").write_text("Empty.")
    (dev / "84_7_000009_000001.wav").write_bytes((dev / "84_7_000000_000000.wav").read_bytes()[:40])
    (dev / "84_7_000009_000001.normalized.txt").write_text("Damaged.")
    tone(dev / "84_7_000009_000002.wav")  # no text
    (dev / "84_7_000009_000003.normalized.txt").write_text("No audio.")
    tone(dev / "99_7_000009_000004.wav")  # of another speaker
    for number, sound in enumerate(
        ({"rate": 16_000}, {"seconds": 0.1}, {"seconds": 31.0}, {"level": 0.0}, {"text": "..."}, {"text": "word " * 50})
    ):
        libritts_clip(corpus, "dev-clean", 84, 100 + number, **sound)
    with pytest.raises(ValueError, match=r"11 of 20 utterances would be dropped, more than the 2.0% allowed") as error:
        libritts.prepare_libritts(corpus, corpus / "m.jsonl", jobs=1)
    for reason in (
        "dropped 2: unreadable audio",
        "1: no transcript",
        "1: transcript without audio",
        "1: in the folder of another speaker",
        "1: rate is not 24000 Hz",
        "1: shorter than 0.3 s",
        "1: longer than 30.0 s",
        "1: silent",
        "1: transcript without words",
        "1: more text than can be said",
    ):
        assert reason in str(error.value) and reason in caplog.text
    assert "84_7_000009_000002.wav" in str(error.value)
    assert not list(corpus.glob("m.jsonl*"))
    kept = libritts.prepare_libritts(corpus, corpus / "m.jsonl", jobs=1, most_dropped=0.6)
    assert len(kept) == 9 and json.loads((corpus / "m.jsonl.stats.json").read_text())["dropped"]["silent"] == 1


def test_missing_parts_and_wrong_folders(corpus: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="lacks train-other-500; it has dev-clean, test-clean, train-clean-100"):
        libritts.find(corpus, ["dev-clean", "train-other-500"])
    with pytest.raises(ValueError, match="no part 'dev_clean'"):
        libritts.find(corpus, ["dev_clean"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no part of LibriTTS"):
        libritts.find(tmp_path / "empty")
    assert shared.run(libritts.main, ["prepare", str(tmp_path / "empty"), str(tmp_path / "m.jsonl")]) == 2
    for module in (ljspeech, vctk):
        with pytest.raises(ValueError, match="give the folder"):
            module.find(tmp_path / "empty")


def test_double_ids_name_both_files(tmp_path: Path):
    twice = [shared.Candidate("a", f"{n}.wav", "s", "train", text="x") for n in (1, 2)]
    with pytest.raises(ValueError, match=r"'a' comes twice: 1.wav and 2.wav"):
        shared.prepare(twice, tmp_path / "m.jsonl")


def test_ljspeech(tmp_path: Path):
    home = tmp_path / "LJSpeech-1.1"
    for number in range(4):
        tone(home / "wavs" / f"LJ001-000{number}.wav", rate=22_050)
    lines = ['LJ001-0000|He said "1".|He said "one".', "LJ001-0001|A|B", "LJ001-0002|too few", "LJ009-0000|no|audio"]
    (home / "metadata.csv").write_text("\n".join(lines), "utf-8")
    candidates, dropped = ljspeech.find(tmp_path)
    assert [c.text for c in candidates] == ['He said "one".', "B"]
    assert dropped.reasons == {
        "line without three cells": [f"{home / 'metadata.csv'}:3"],
        "no transcript": [str(home / "wavs" / "LJ001-0003.wav")],
        "transcript without audio": [f"{home / 'metadata.csv'}:4: LJ009-0000.wav"],
    }
    assert len(ljspeech.prepare_ljspeech(home, tmp_path / "m.jsonl", jobs=1, most_dropped=0.9)) == 2


def test_vctk(tmp_path: Path):
    home = tmp_path / "VCTK-Corpus-0.92"
    for speaker in ("p225", "p300", "p315"):
        for number in (1, 2):
            stem = f"{speaker}_00{number}"
            for microphone in (1, 2):
                tone(home / "wav48_silence_trimmed" / speaker / f"{stem}_mic{microphone}.flac", rate=48_000)
            if speaker != "p315":
                (home / "txt" / speaker).mkdir(parents=True, exist_ok=True)
                (home / "txt" / speaker / f"{stem}.txt").write_text("Please call Stella.\n")
    found = vctk.prepare_vctk(tmp_path, tmp_path / "m.jsonl", valid_speakers=["p225"], jobs=1)
    assert [(u.id, u.split) for u in found] == [("p225_001", "valid"), ("p225_002", "valid"), ("p300_001", "train"), ("p300_002", "train")]
    with pytest.raises(ValueError, match="p999"):
        vctk.find(tmp_path, valid_speakers=["p999"])


def test_own_folder(tmp_path: Path):
    home = tmp_path / "mine"
    for name in ("anna/a b", "anna/c", "bert/c"):
        tone(home / f"{name}.wav").with_suffix(".txt").write_text("Guten Tag, wie geht es?\n")
    (home / "README.txt").write_text("not a transcript")
    found = own_folder.prepare_own_folder(home, tmp_path / "m.jsonl", lang="de", jobs=1)
    assert [(u.id, u.speaker, u.lang) for u in found] == [("anna-a b", "anna", "de"), ("anna-c", "anna", "de"), ("bert-c", "bert", "de")]
    (home / "l.csv").write_text('audio_file|text|speaker\nanna/c.wav|He said "no, | x\n', "utf-8")
    (home / "l.tsv").write_text("audio\ttext\tsplit\nanna/c.wav\ta, b\tvalid\nbert/c.wav\tc\t\n", "utf-8")
    (home / "l.jsonl").write_text('{"audio": "anna/c.wav", "text": "Hi", "id": "k", "speaker": "z"}\n', "utf-8")
    assert [(c.text, c.speaker.strip()) for c in own_folder.find(home, home / "l.csv")[0]] == [('He said "no, ', "x")]
    assert [(c.text, c.split) for c in own_folder.find(home, "l.tsv")[0]][0] == ("a, b", "valid")
    assert own_folder.find(home, "l.jsonl")[0][0].id == "k"
    (home / "bad.csv").write_text(
        "audio,text,split\nanna/c.wav,hi,\nanna/none.wav,hi,\nanna/c.wav,,\nanna/c.wav,x,dev\nanna/c.wav\n", "utf-8"
    )
    with pytest.raises(ValueError) as error:
        own_folder.find(home, "bad.csv")
    assert [line.split(": ")[0].rsplit(":")[-1] for line in str(error.value).splitlines()] == ["3", "4", "5", "6"]
    (home / "head.csv").write_text("name;words\na;b\n")
    with pytest.raises(ValueError, match="head.csv:1: the header"):
        own_folder.find(home, "head.csv")
    with pytest.raises(ModelError, match="no such list"):
        own_folder.find(home, "none.csv")
    assert shared.run(own_folder.main, ["download"]) == 4


def test_tree_in_libritts_layout(tmp_path: Path):
    rows = [
        {"id": f"{s}{i}", "audio": str(tone(tmp_path / f"{s}{i}.wav", rate=16_000)), "text": f"Clip {i}.", "speaker": s, "seconds": 1.0}
        for s in "abc"
        for i in range(12)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert make_libritts_tree.make_tree(tmp_path / "in.jsonl", tmp_path, speakers=2, clips=24) == 24
    found = libritts.prepare_libritts(tmp_path, tmp_path / "m.jsonl", jobs=1)
    assert len(found) == 24 and len({u.speaker for u in found}) == 2 and {u.split for u in found} == {"train", "valid", "test"}
    with pytest.raises(ValueError, match="exists already"):
        make_libritts_tree.make_tree(tmp_path / "in.jsonl", tmp_path, 2, 4)
    with pytest.raises(ValueError, match="3 speakers, 9 were"):
        make_libritts_tree.make_tree(tmp_path / "in.jsonl", tmp_path / "other", 9, 4)


def test_ray_is_optional(corpus: Path):
    pytest.importorskip("importlib")
    try:
        import ray  # noqa: F401
    except ImportError:
        assert shared.run(libritts.main, ["prepare", str(corpus), str(corpus / "m.jsonl"), "--engine", "ray"]) == 5


# --- archives ----------------------------------------------------------------------------------------------------------------------


def packed(corpus: Path, part: str = "dev-clean") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("LibriTTS/LICENSE.txt")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"CC"))
        tar.add(corpus / "LibriTTS" / part, f"LibriTTS/{part}")
    return buffer.getvalue()


def tar_of(path: Path, *members: tuple[str, bytes, bytes, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, data, link in (("LibriTTS/dev-clean/1/1/a.wav", tarfile.REGTYPE, b"good", ""), *members):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), link
            tar.addfile(info, io.BytesIO(data))
    return path


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


# --- download ----------------------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(hub, "PAUSE", 0.0)
    http, scheme = ThreadingHTTPServer(("127.0.0.1", 0), Handler), "http"
    if shutil.which("openssl"):
        key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=127.0.0.1",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
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
    return shared.run(libritts.main, ["download", str(root), "--parts", "dev-clean", "--mirror", f"{server.url}/{kind}"])


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
    monkeypatch.setattr(hub, "ATTEMPTS", 1 if kind == "short" else 3)
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


def test_published_facts():
    for part in libritts.PARTS:
        assert (
            libritts.archive(part).url == f"https://www.openslr.org/resources/60/{part}.tar.gz"
            and len(libritts.archive(part).sha256 or "") == 64
        )
    assert libritts.archive("dev-clean", restored=True).url == "https://www.openslr.org/resources/141/dev_clean.tar.gz"
    torchaudio = pytest.importorskip("torchaudio.datasets.libritts")
    assert {f"http://www.openslr.org/resources/60/{p}.tar.gz": libritts.PARTS[p][3] for p in libritts.PARTS} == torchaudio._CHECKSUMS
