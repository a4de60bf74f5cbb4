"""What a far machine gets and gives in files that can be copied one by one: a corpus in pieces, weights in shards.

    python -m recipes.gpu.pack corpus CORPUS PIECES       PIECES/corpus-00.tar ..., under 60 MB each, Opus
    python -m recipes.gpu.pack unpack PIECES CORPUS       there: the corpus again, of all pieces that have arrived
    python -m recipes.gpu.pack join RESULTS ASSETS        here: the shards of recipes/gpu/voice.py put in their places
    python -m recipes.gpu.pack join RESULTS ASSETS --share 0.5    ..., half of the way from the weights that are there

Every piece is a tar of its own with a manifest, so that some of them are a corpus too. Shards are safetensors files
under 16 MB.
"""

from __future__ import annotations

import argparse
import gzip
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
from tts_fm.engines.quick import FOLDER as QUICK
from tts_fm.errors import ModelError

LEVELS = 63  # of a difference, on either side of zero
PIECE, SHARD = 60_000_000, 16_000_000  # bytes at most
LEVEL = 0.9  # libsndfile's compression level of Opus: some 28 kbit/s
MANIFEST, REST = "manifest.jsonl", "rest.tar"
PLACES = {"flow": "model.safetensors", "vocoder": "vocoder/vocoder.safetensors"}  # in the folder of a voice

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


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Its files, one by one (Python before 3.11.4 has no filters). ValueError for what is no file within the folder."""
    for member in tar:
        place = folder / member.name
        if member.isdir():
            continue
        source = tar.extractfile(member) if member.isfile() else None
        if source is None or not place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"an archive holds {member.name!r}, which is no file within it: it is not what pack wrote")
        place.parent.mkdir(parents=True, exist_ok=True)
        with source, place.open("wb") as out:
            shutil.copyfileobj(source, out)


def unpack(pieces: Path, corpus: Path) -> int:
    """Put all pieces that are there together as a corpus again; returns the number of clips."""
    found = sorted(pieces.glob("corpus-*.tar"))
    if not found:
        raise ValueError(f"no corpus-*.tar in {pieces}; run: python -m recipes.gpu.pack corpus CORPUS PIECES")
    lines: list[str] = []
    for piece in found:
        with tarfile.open(piece) as tar:
            _extract(tar, corpus)
        lines += (corpus / MANIFEST).read_text("utf-8").splitlines()
    (corpus / MANIFEST).write_text("\n".join(lines) + "\n", "utf-8")
    return len(lines)


# --- weights


def shard(weights: Path, out: Path, most: int = SHARD, name: str = "") -> list[Path]:
    """Split a safetensors file into files of at most `most` bytes: NAME-1.safetensors, ..., as few as can be found
    easily. name: the file's own, unless it is given. ValueError where one tensor is larger.
    """
    from safetensors.torch import load_file, save_file

    groups: list[dict] = []
    rooms: list[int] = []
    tensors = load_file(weights)
    for key in sorted(tensors, key=lambda key: -tensors[key].numel()):  # large ones first: small ones fill the gaps
        tensor = tensors[key]
        size = tensor.numel() * tensor.element_size() + 200 + len(key)  # and its place in the header
        if size > most:
            raise ValueError(f"{weights}: {key} alone has {size:,} bytes; {most:,} are allowed")
        place = next((n for n, room in enumerate(rooms) if room >= size), len(groups))
        if place == len(groups):
            groups.append({})
            rooms.append(most)
        groups[place][key] = tensor
        rooms[place] -= size
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name or weights.stem}-{number}.safetensors" for number in range(1, len(groups) + 1)]
    for path, group in zip(paths, groups, strict=True):
        save_file(group, path, metadata={"of": str(len(groups))})
    return paths


def differ(weights: Path, base: Path, out: Path) -> Path:
    """Weights as what they differ by from others of the same network, in 127 levels a tensor, compressed: a quarter of
    their size, for averages that lie close to each other. Returns `out`.
    """
    from safetensors.torch import load_file, save

    first, small = load_file(base), dict[str, Any]()
    for key, tensor in load_file(weights).items():
        difference = tensor.float() - first[key].float()
        small[f"{key}|size"] = (difference.abs().max() / LEVELS).reshape(1)
        small[key] = (difference / small[f"{key}|size"].clamp(min=1e-30)).round().char()
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.writing(out) as part:
        part.write_bytes(gzip.compress(save(small), 6))
    return out


def differing(path: Path, base: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `differ`: tensors like `base`'s."""
    from safetensors.torch import load

    small = load(gzip.decompress(path.read_bytes()))
    return {key: (x.float() + small[key].float() * small[f"{key}|size"]).to(x.dtype) for key, x in base.items()}


def bring(runs: Path, out: Path) -> list[Path]:
    """What a far machine gives back: flow-1.safetensors ... and vocoder-1.safetensors ... of runs/assets/builtin, an
    average-NAME.gz of each runs/others/NAME, and rest.tar with everything small, the logs of the run too. Returns what
    was written.
    """
    built = runs / "assets" / "builtin"
    weights = {name: built / place for name, place in PLACES.items()}
    written = [path for name, whole in weights.items() if whole.is_file() for path in shard(whole, out, name=name)]
    for other in sorted(runs.glob("others/*/model.safetensors")):
        written.append(differ(other, weights["flow"], out / f"average-{other.parent.name}.gz"))
    rest = [path for path in sorted(built.rglob("*")) if path.is_file() and path not in weights.values()]
    rest += [*sorted(runs.glob("*.txt")), *sorted(runs.glob("*/log.jsonl")), *sorted(runs.glob("*/settings.json"))]
    out.mkdir(parents=True, exist_ok=True)
    with files.writing(out / REST) as part, tarfile.open(part, "w:gz") as tar:
        for path in rest:
            tar.add(path, str(path.relative_to(runs)))
    return [*written, out / REST]


def whole(first: Path) -> dict[str, Any]:
    """The tensors of NAME-1.safetensors and of those that belong to it. ModelError where one is missing."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(first, "pt") as file:
        count = int((file.metadata() or {}).get("of", 1))
    stem, tensors = first.stem.removesuffix("-1"), dict[str, Any]()
    for number in range(1, count + 1):
        path = first.with_name(f"{stem}-{number}.safetensors")
        if not path.is_file():
            raise ModelError(f"{path} is missing: {count} shards belong together; copy it from the far machine")
        tensors |= load_file(path)
    return tensors


def join(results: Path, assets: Path, average: str = "", share: float = 1.0) -> list[Path]:
    """The inverse of `bring`: weights and small files in their places under `assets`, the run's logs in results/logs.
    average: which of the flow's other averages is taken, by its length, such as "0.03". share: how far flow and vocoder
    go from the weights that are there. ModelError where a shard is missing, ValueError where there is nothing.
    """
    from safetensors.torch import load_file, save_file

    from recipes.builtin.blend import mixed

    written = []
    for name, its in PLACES.items():
        place, first = assets / "builtin" / its, results / f"{name}-1.safetensors"
        if not first.is_file():
            continue
        tensors = whole(first)
        if average and name == "flow":
            if not (other := results / f"average-{average}.gz").is_file():
                raise ValueError(f"{other} is not there: was --averages given, and is {average!r} one of them?")
            tensors = differing(other, tensors)
        if share != 1:
            tensors = mixed(load_file(place), tensors, share)
        place.parent.mkdir(parents=True, exist_ok=True)
        with files.writing(place) as part:
            save_file(tensors, part)
        written.append(place)
    if not written:
        raise ValueError(f"no shards in {results}; it is the folder that recipes/gpu/run.sh train --out wrote")
    shutil.rmtree(assets / "builtin" / QUICK, ignore_errors=True)  # a student of other weights
    if (results / REST).is_file():
        with tarfile.open(results / REST) as tar:
            _extract(tar, results / "logs")
        for path in sorted((results / "logs" / "assets").rglob("*.*")):
            place = assets / path.relative_to(results / "logs" / "assets")
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
    parser.add_argument(
        "--average", default="", help="join: another of the flow's averages, by its length, such as 0.03"
    )
    parser.add_argument("--share", type=float, default=1.0, help="join: how far from OUT's weights to the new ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    if args.verb == "unpack":
        print(f"{unpack(args.source, args.out)} clips in {args.out}")
        return
    found = (
        join(args.source, args.out, args.average, args.share)
        if args.verb == "join"
        else pack(args.source, args.out, int(args.megabytes * 1e6), args.jobs)
    )
    for path in found:
        print(f"{path} {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
