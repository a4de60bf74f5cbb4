"""A corpus as tar shards is the corpus: the same batches from files, from shards and from a storage; shards of others
are read, and what is damaged is named.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import shards
from data_prep.shared import run
from tts_fm.config import TrainConfig
from tts_fm.data import storage
from tts_fm.data.batches import Loader, Share
from tts_fm.data.corpus import ManifestItems, make_vocab
from tts_fm.data.manifest import Utterance, read_manifest, write_manifest
from tts_fm.data.waves import read_wave
from tts_fm.errors import ModelError

webdataset = pytest.importorskip("webdataset")
CONFIG = TrainConfig(batch_frames=300)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 clips of noise, 0.1 to 0.3 s, a few in other forms than WAV at 24 kHz."""
    folder, rng, rows = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0), []
    (folder / "a").mkdir()
    for i in range(300):
        rate = 16_000 if i % 50 == 7 else 24_000
        wave = rng.normal(scale=0.1, size=round(rng.uniform(0.1, 0.3) * rate))
        name = f"a/{i}.{'flac' if i % 40 == 3 else 'wav'}"
        soundfile.write(folder / name, wave, rate, subtype="PCM_16")
        rows.append(Utterance(f"clip {i}", name, f"ab {i}", "s", len(wave) / rate, "valid" if i % 30 == 0 else "train"))
    write_manifest(folder / "m.jsonl", rows)
    return folder / "m.jsonl"


@pytest.fixture(scope="module")
def packed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The manifest of its shards."""
    folder = tmp_path_factory.mktemp("shards")
    assert run(shards.main, ["pack", str(corpus), str(folder), "--megabytes", "0.7"]) == 0
    return str(folder / "manifest.jsonl")


def items_of(manifest: str | Path) -> ManifestItems:
    found = read_manifest(manifest, audio=True)
    return ManifestItems(found, storage.folder_of(manifest), make_vocab(found, aligned=False))


def same_batches(a: ManifestItems | Share, b: ManifestItems | Share, numbers: range) -> None:
    one, two = Loader(a, CONFIG), Loader(b, CONFIG)
    assert one.buckets.per_epoch == two.buckets.per_epoch > 20
    for number in numbers:
        for name, value in vars(one[number]).items():
            other = getattr(two[number], name)
            assert value is other is None or value.equal(other), (number, name)


def test_shards_give_the_batches_of_the_folder(corpus: Path, packed: str):
    found = read_manifest(packed)
    names = sorted(Path(packed).parent.glob("*.tar"))
    assert len(found) == 300 and [n.name for n in names] == [f"{i:06d}.tar" for i in range(len(names))] and names[3:]
    assert [dataclasses.replace(u, audio="") for u in found] == [
        dataclasses.replace(u, audio="") for u in read_manifest(corpus)
    ]
    same_batches(items_of(corpus), items_of(packed), range(1, 25))
    # as the program that made the form reads it
    rows = {row["json"]["id"]: row for row in webdataset.WebDataset(str(names[0]), shardshuffle=False).decode()}
    assert len(rows) > 30 and set(rows) < {u.id for u in found}


@pytest.mark.parametrize("kind", ["memory://corpus", "file://", "simplecache::memory://cached"])
def test_shards_in_a_storage(corpus: Path, packed: str, tmp_path: Path, kind: str):
    out = f"{kind}{tmp_path}/s"
    assert run(shards.main, ["pack", str(corpus), out.removeprefix("simplecache::"), "--megabytes", "1"]) == 0
    same_batches(items_of(packed), items_of(f"{out}/manifest.jsonl"), range(4))


def test_packing_again_does_nothing(corpus: Path, packed: str, tmp_path: Path, capsys, caplog):
    folder = str(Path(packed).parent)
    before = {p.name: p.stat().st_mtime_ns for p in Path(folder).iterdir()}
    assert shards.pack(str(corpus), folder) == 0
    assert {p.name: p.stat().st_mtime_ns for p in Path(folder).iterdir()} == before
    write_manifest(tmp_path / "m.jsonl", [dataclasses.replace(u, audio=u.place(corpus.parent)) for u in
                                          read_manifest(corpus)[:5]])  # fmt: skip
    assert run(shards.main, ["pack", str(tmp_path / "m.jsonl"), folder]) == 2
    assert "is of another manifest; name another folder" in caplog.text
    assert run(shards.main, ["pack", str(tmp_path / "m.jsonl"), str(tmp_path / "s"), "--megabytes", "0"]) == 2
    # what is in shards can be packed anew, smaller
    assert shards.pack(packed, str(tmp_path / "again"), megabytes=0.5) > 5
    again = read_manifest(tmp_path / "again" / "manifest.jsonl")
    assert np.array_equal(
        read_wave(again[9].place(tmp_path / "again")), read_wave(read_manifest(corpus)[9].place(corpus.parent))
    )


def test_every_node_has_its_share(packed: str):
    items = items_of(packed)
    shares = [Share(items, node, 2) for node in range(2)]
    assert sorted(np.concatenate([s.numbers for s in shares]).tolist()) == list(range(300))
    places = [{storage.split(items.places[int(n)])[0] for n in s.numbers} for s in shares]
    assert places[0] and places[1] and not places[0] & places[1]
    assert shares[1].frames.tolist() == items.frames[shares[1].numbers.numpy()].tolist()
    assert np.array_equal(shares[1].many([0, 3])[1].mel, items[int(shares[1].numbers[3])].mel)
    with pytest.raises(ValueError, match="deals shards out to 1000 nodes, but the recordings are in 5"):
        Share(items, 0, 1000)


def test_a_worker_is_not_sent_the_utterances(packed: str):
    """Beside the tables, whose memory is shared, nothing grows with the corpus."""
    from multiprocessing.reduction import ForkingPickler

    items = items_of(packed)
    few = ManifestItems(read_manifest(packed)[:3], Path(packed).parent, ["a"])
    sizes = [len(bytes(ForkingPickler.dumps(Loader(each, CONFIG).maker))) for each in (items, few)]
    assert abs(sizes[0] - sizes[1]) < 100 < len(pickle.dumps(read_manifest(packed)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "no audio file"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:9000]),
            "000000.tar has 9000 bytes, the recording is said to end",
        ),
    ],
)
def test_shards_that_are_not_as_said(corpus: Path, tmp_path: Path, change, said: str):
    shards.pack(str(corpus), str(tmp_path), megabytes=50)
    items = items_of(tmp_path / "manifest.jsonl")
    change(tmp_path / "000000.tar")
    with pytest.raises(ValueError, match=said):
        read_manifest(tmp_path / "manifest.jsonl", audio=True)
    with pytest.raises(ValueError, match=r"000000.tar#\d+:\d+: (there is no such file|only \d+ bytes are there)"):
        for i in range(300):
            items[i]


def test_what_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ModelError, match="cannot read the manifest memory://none/m.jsonl: there is no such file"):
        read_manifest("memory://none/m.jsonl")
    with pytest.raises(ValueError, match="nonsense://a.* is no storage that fsspec knows"):
        read_manifest("nonsense://a/m.jsonl")
    with pytest.raises(ValueError, match="is in a shard or a storage; this needs recordings that are files"):
        Utterance("a", "0.tar#5:9", "t", "s", 1.0).path(tmp_path)
    with pytest.raises(ValueError, match="garbage.wav"):
        (tmp_path / "garbage.wav").write_bytes(b"RIFF" + bytes(60))
        read_wave(tmp_path / "garbage.wav")


def test_shards_of_others(tmp_path: Path, caplog):
    """Emilia's form: MP3 or FLAC and a .json with text, speaker and language; what lacks is counted."""
    sound = io.BytesIO()
    soundfile.write(sound, np.random.default_rng(0).normal(scale=0.1, size=12_000), 24_000, format="FLAC")
    flac = sound.getvalue()
    with webdataset.TarWriter(str(tmp_path / "EN-0.tar")) as tar:
        tar.write(
            {"__key__": "EN_1", "flac": flac, "json": {"text": "Hi  there.", "speaker": "EN_S1", "language": "en"}}
        )
        tar.write({"__key__": "EN_2", "flac": flac, "json": {"text": "Two.", "duration": 0.5, "lang": "en-gb"}})
        tar.write({"__key__": "EN_3", "flac": flac, "json": {"speaker": "x"}})
        tar.write({"__key__": "EN_4", "flac": flac})
        tar.write({"__key__": "EN_5", "flac": b"no sound", "json": {"text": "a"}})
        tar.write({"__key__": "EN_6", "json": {"text": "no sound"}})
    out = tmp_path / "m.jsonl"
    options = [str(tmp_path / "EN-0.tar"), str(out), "--most-dropped", "0.7"]
    assert run(shards.main, ["index", *options[:2]]) == 2 and not out.exists()
    assert run(shards.main, ["index", *options]) == 0
    one, two = read_manifest(out, audio=True)
    assert (one.id, one.text, one.speaker, one.lang, one.seconds) == ("EN_1", "Hi there.", "EN_S1", "en-us", 0.5)
    assert (two.id, two.speaker, two.lang) == ("EN_2", "unknown", "en-gb")
    assert len(read_wave(two.place(tmp_path))) == 12_000
    for said in ("no text", "no .json beside it", "its sound cannot be read"):
        assert f"dropped 1: {said}" in caplog.text
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    assert run(shards.main, ["index", str(tmp_path / "bad.tar"), str(out)]) == 2
    assert "bad.tar: no uncompressed tar file" in caplog.text
    assert run(shards.main, ["index", f"file://{tmp_path}/no*.tar", str(out)]) == 2
    with tarfile.open(tmp_path / "z.tar", "w:gz") as tar:
        tar.add(out, "m.json")
    assert run(shards.main, ["index", f"file://{tmp_path}/z*.tar", str(out)]) == 2
    assert json.loads(out.read_text().splitlines()[0])["id"] == "EN_1"
