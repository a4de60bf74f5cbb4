"""What a far machine gets and gives in files that can be copied one by one: a corpus in pieces, weights in shards.

    python -m recipes.gpu.pack corpus CORPUS PIECES       PIECES/corpus-00.tar ..., under 60 MB each, Opus
    python -m recipes.gpu.pack unpack PIECES CORPUS       there: the corpus again, of all pieces that have arrived
    python -m recipes.gpu.pack join RESULTS ASSETS        here: the shards of recipes/gpu/voice.py put in their places

Every piece is a tar of its own with a manifest, so that some of them are a corpus too. Shards are safetensors files
under 16 MB.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tts_fm import files
from tts_fm.errors import ModelError

PIECE, SHARD = 60_000_000, 16_000_000  # bytes at most
LEVEL = 0.9  # libsndfile's compression level of Opus: some 28 kbit/s
MANIFEST = "manifest.jsonl"

# --- the corpus


def encode(row: dict, root: Path) -> bytes:
    """The sound of a clip as Opus."""
    import soundfile

    wave, rate = soundfile.read(root / row["audio"], dtype="float32")
    memory = io.BytesIO()
    soundfile.write(memory, wave, rate, format="OGG", subtype="OPUS", compression_level=LEVEL)
    return memory.getvalue()


def _pieces(rows: Sequence[dict], sounds: Iterator[bytes], most: int) -> Iterator[list[tuple[dict, bytes]]]:
    """Rows with their sounds, cut so that a tar of them stays below `most` bytes."""
    piece: list[tuple[dict, bytes]] = []
    size = 0
    for row, sound in zip(rows, sounds, strict=True):
        row = row | {"audio": f"audio/{row['id']}.opus"}
        # a tar has a header of 512 bytes, fills the last block of 512, and ends with up to 10,240
        more = len(sound) + 1024 + len(json.dumps(row, ensure_ascii=False).encode()) + 1
        if piece and size + more > most - 20_000:
            yield piece
            piece, size = [], 0
        piece.append((row, sound))
        size += more
    yield piece


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def pack(corpus: Path, out: Path, most: int = PIECE, jobs: int | None = None) -> list[Path]:
    """Write the pieces of a corpus (manifest.jsonl and its sounds); returns their paths."""
    rows = [json.loads(line) for line in (corpus / MANIFEST).read_text("utf-8").splitlines() if line.strip()]
    if not rows:
        raise ValueError(f"{corpus / MANIFEST} lists no clip")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with ProcessPoolExecutor(jobs) as pool:
        sounds = map(partial(encode, root=corpus), rows) if jobs == 1 else pool.map(
            partial(encode, root=corpus), rows, chunksize=16
        )  # fmt: skip
        for number, piece in enumerate(_pieces(rows, sounds, most)):
            path = out / f"corpus-{number:02d}.tar"
            with files.writing(path) as part, tarfile.open(part, "w") as tar:
                for row, sound in piece:
                    _add(tar, row["audio"], sound)
                lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row, _ in piece)
                _add(tar, MANIFEST, lines.encode())
            written.append(path)
    return written


def unpack(pieces: Path, corpus: Path) -> int:
    """Put all pieces that are there together as a corpus again; returns the number of clips."""
    found = sorted(pieces.glob("corpus-*.tar"))
    if not found:
        raise ValueError(f"no corpus-*.tar in {pieces}; run: python -m recipes.gpu.pack corpus CORPUS PIECES")
    lines: list[str] = []
    for piece in found:
        with tarfile.open(piece) as tar:
            tar.extractall(corpus, filter="data")
        lines += (corpus / MANIFEST).read_text("utf-8").splitlines()
    (corpus / MANIFEST).write_text("\n".join(lines) + "\n", "utf-8")
    return len(lines)


# --- weights


def shard(weights: Path, out: Path, most: int = SHARD) -> list[Path]:
    """Split a safetensors file into files of at most `most` bytes: NAME-1.safetensors, ... ValueError where one tensor
    is larger.
    """
    from safetensors.torch import load_file, save_file

    groups: list[dict] = [{}]
    size = 0
    for name, tensor in load_file(weights).items():
        more = tensor.numel() * tensor.element_size() + 200 + len(name)  # and its place in the header
        if more > most:
            raise ValueError(f"{weights}: {name} alone has {more:,} bytes; {most:,} are allowed")
        if size + more > most:
            groups.append({})
            size = 0
        groups[-1][name] = tensor
        size += more
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{weights.stem}-{number}.safetensors" for number in range(1, len(groups) + 1)]
    for path, group in zip(paths, groups, strict=True):
        save_file(group, path, metadata={"of": str(len(groups))})
    return paths


def bring(folder: Path, out: Path) -> list[Path]:
    """All files of a model folder under `out`, weights in shards; returns what was written."""
    written = []
    for path in sorted(folder.rglob("*")):
        place = out / path.relative_to(folder)
        if path.suffix == ".safetensors":
            written += shard(path, place.parent)
        elif path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            written.append(place)
    return written


def join(results: Path, assets: Path) -> list[Path]:
    """The inverse of `bring`: every NAME-1.safetensors and those behind it become NAME.safetensors under `assets`.
    ModelError where one is missing.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    written = []
    for first in sorted(results.rglob("*-1.safetensors")):
        with safe_open(first, "pt") as file:
            count = int((file.metadata() or {}).get("of", 1))
        stem, tensors = first.stem.removesuffix("-1"), dict[str, Any]()
        for number in range(1, count + 1):
            path = first.with_name(f"{stem}-{number}.safetensors")
            if not path.is_file():
                raise ModelError(f"{path} is missing: {count} shards belong together; copy it from the far machine")
            tensors |= load_file(path)
        place = assets / first.relative_to(results).parent / f"{stem}.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        with files.writing(place) as part:
            save_file(tensors, part)
        written.append(place)
    if not written:
        raise ValueError(f"no shards in {results}; it is the folder that recipes/gpu/run.sh train --out wrote")
    for path in sorted(p for p in results.rglob("*") if p.is_file() and p.suffix != ".safetensors"):
        place = assets / path.relative_to(results)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        written.append(place)
    return written


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("corpus", "unpack", "join"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=float, default=PIECE / 1e6, help="of a piece at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    if args.verb == "unpack":
        print(f"{unpack(args.source, args.out)} clips in {args.out}")
        return
    found = (
        join(args.source, args.out)
        if args.verb == "join"
        else pack(args.source, args.out, int(args.megabytes * 1e6), args.jobs)
    )
    for path in found:
        print(f"{path} {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
