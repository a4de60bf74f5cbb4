"""A corpus as tar shards, so that a hundred thousand hours are some thousand large files instead of many million small.

    python -m data_prep.shards pack data/libritts.jsonl data/shards
    python -m data_prep.shards pack data/libritts.jsonl s3://bucket/libritts --megabytes 1000
    python -m data_prep.shards index s3://bucket/emilia/EN/*.tar data/emilia.jsonl

`pack` writes the recordings of a manifest, as they are, into 000000.tar, 000001.tar ... in WebDataset's form (each with
its line of the manifest beside it, NAME.json), and manifest.jsonl with the same lines in the same order, each naming
its recording by the bytes that it has in a shard. Training from that manifest gives the same batches as from the files.
The recordings are dealt out at random, so that every shard is a sample of the whole corpus (a node may train on its
share of them: train.by_node). `index` makes such a manifest of shards that somebody else has written, such as Emilia's:
a sound file and a NAME.json with text and speaker; nothing is decoded but headers, and what does not fit is dropped and
counted. Folders may be URLs of any storage that fsspec knows. Needs pip install "tts-fm[shards]".
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import tarfile
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.shared import Dropped, conclude, draw_split, log, run
from tts_fm.data import storage
from tts_fm.data.listing import ALSO, AUDIO
from tts_fm.data.manifest import SPLITS, Utterance, read_manifest
from tts_fm.errors import MissingDependency

MANIFEST = "manifest.jsonl"
OURS = {"id", "text", "speaker", "split", "lang"}  # what a line of somebody else's may say


def need_webdataset() -> Any:
    """webdataset, or MissingDependency."""
    try:
        import webdataset
    except ImportError as error:
        raise MissingDependency(f"shards are written with webdataset ({error}): {storage.EXTRA}") from error
    return webdataset


def pack(manifest: str, out: str, megabytes: float = 500.0, seed: int = 0) -> int:
    """Write the shards and manifest.jsonl into the folder or URL `out`; returns the number of shards.

    What is there already and of the same manifest is left as it is (0). ValueError for recordings that are missing, or
    when there is something else in `out`.
    """
    webdataset = need_webdataset()
    if not megabytes > 0:
        raise ValueError(f"--megabytes must be above 0, got {megabytes:g}")
    utterances, folder = read_manifest(manifest, audio=True), storage.folder_of(manifest)
    place = storage.joined(out, MANIFEST)
    if there(place, utterances):
        log.info("%s: the shards of this manifest are there already", place)
        return 0
    order = np.random.default_rng(seed).permutation(len(utterances))
    audio: dict[int, str] = {}
    at = shard = 0
    while at < len(order):
        name, data, first = f"{shard:06d}.tar", io.BytesIO(), at
        with webdataset.TarWriter(data, mtime=0) as writer:
            while at < len(order) and (at == first or data.tell() < megabytes * 1e6):
                number = int(order[at])
                utterance = utterances[number]
                source = utterance.place(folder)
                kind = Path(storage.split(source)[0]).suffix.lower().lstrip(".") if "#" not in source else "audio"
                row = json.dumps(utterance.to_dict() | {"audio": f"{number:09d}.{kind}"}, ensure_ascii=False)
                writer.write({"__key__": f"{number:09d}", kind: storage.read(source), "json": row.encode("utf-8")})
                at += 1
        data.seek(0)
        for member, start, size in members(data):
            stem, _, kind = member.partition(".")
            if kind != "json":
                audio[int(stem)] = f"{name}#{start}:{size}"
        storage.write(storage.joined(out, name), data.getvalue())
        shard += 1
    rows = [dataclasses.replace(u, audio=audio[n]).to_dict() for n, u in enumerate(utterances)]
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    storage.write(place, lines.encode("utf-8"))  # last: a manifest that is there is complete
    log.info("%s: %d utterances in %d shards", place, len(utterances), shard)
    return shard


def there(place: str, utterances: Sequence[Utterance]) -> bool:
    """Whether this is the manifest of shards of these utterances. ValueError when it is one of others."""
    try:
        storage.size_of(place)
    except OSError:
        return False
    bare = [dataclasses.replace(u, audio="-") for u in read_manifest(place, audio=True)]
    if bare != [dataclasses.replace(u, audio="-") for u in utterances]:
        raise ValueError(f"{place} is of another manifest; name another folder, or remove it")
    return True


def members(file: Any) -> Iterator[tuple[str, int, int]]:
    """(name, first byte, size) of every file in an uncompressed tar. ValueError."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg():
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"no uncompressed tar file, or a damaged one ({error})") from None


def index(shards: Sequence[str], out: Path, lang: str, valid: float = 0.002, most_dropped: float = 0.02) -> int:
    """Write the manifest of shards that others have written; returns the number of utterances. ValueError."""
    begin, dropped, kept = time.perf_counter(), Dropped(), []
    for shard in expanded(shards):
        sounds: dict[str, tuple[str, int, int]] = {}
        texts: dict[str, tuple[int, int]] = {}
        try:
            with storage.opened(shard) as file:
                for name, start, size in members(file):
                    stem, dot, kind = name.rpartition(".")
                    if dot + kind.lower() in AUDIO:
                        sounds[stem] = name, start, size
                    elif kind == "json":
                        texts[stem] = start, size
        except ValueError as error:
            raise ValueError(f"{shard}: {error}") from None
        for stem, (name, start, size) in sounds.items():
            if stem not in texts:
                dropped.add("no .json beside it", f"{shard}: {name}")
                continue
            try:
                row = json.loads(storage.read(f"{shard}#{texts[stem][0]}:{texts[stem][1]}"))
                kept.append(foreign(row, stem, f"{shard}#{start}:{size}", lang, valid))
            except ValueError as error:
                dropped.add(str(error).splitlines()[0], f"{shard}: {name}")
    conclude(out, kept, dropped, most_dropped, begin)
    return len(kept)


def expanded(shards: Sequence[str]) -> list[str]:
    """Every shard by name; patterns are for storages (a shell has expanded those of files). ValueError for none."""
    found = [name for shard in shards for name in (storage.found(shard) if "*" in shard else [shard])]
    if not found:
        raise ValueError(f"there are no shards {' '.join(shards)}")
    return [shard if storage.is_url(shard) else str(Path(shard).resolve()) for shard in found]


def foreign(row: Any, stem: str, place: str, lang: str, valid: float) -> Utterance:
    """An utterance from what a shard says about it. ValueError saying what is lacking."""
    if not isinstance(row, dict):
        raise ValueError("its .json is no object")
    row = {ALSO.get(key, key): value for key, value in row.items()}
    known = {key: row[key] for key in OURS if isinstance(row.get(key), str) and row[key].strip()}
    seconds = row.get("seconds", row.get("duration"))
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        import soundfile

        try:
            info = soundfile.info(io.BytesIO(storage.read(place)))
        except soundfile.LibsndfileError:
            raise ValueError("its sound cannot be read") from None
        seconds = info.frames / info.samplerate
    name = known.pop("id", stem).replace("/", "_").replace("\\", "_")
    split = known.pop("split", "")
    known["split"] = split if split in SPLITS else draw_split(name, valid)
    known["lang"] = known.get("lang", lang) if known.get("lang", "").islower() and "-" in known["lang"] else lang
    if "text" not in known:
        raise ValueError("no text")
    known["text"] = " ".join(known["text"].split())
    return Utterance(id=name, audio=place, seconds=float(seconds), **({"speaker": "unknown"} | known)).check()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m data_prep.shards", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("pack", help="manifest -> shards")
    write.add_argument("manifest", help="file or URL")
    write.add_argument("out", help="folder or URL to write to")
    write.add_argument("--megabytes", type=float, default=500.0, help="of a shard (default 500)")
    write.add_argument("--seed", type=int, default=0, help="of the order in which recordings are dealt out")
    read = verbs.add_parser("index", help="shards of others -> manifest")
    read.add_argument("shards", nargs="+", help="tar files, or URLs in which * stands for anything")
    read.add_argument("manifest", type=Path, help="file to write")
    read.add_argument("--lang", default="en-us", help="espeak's name of the language (default en-us)")
    read.add_argument("--valid", type=float, default=0.002, metavar="SHARE", help="held out (default 0.002)")
    read.add_argument("--most-dropped", type=float, default=0.02, metavar="SHARE")
    args = parser.parse_args(argv)
    if args.verb == "pack":
        pack(args.manifest, args.out, args.megabytes, args.seed)
    else:
        index(args.shards, args.manifest, args.lang, args.valid, args.most_dropped)


if __name__ == "__main__":
    raise SystemExit(run(main))
