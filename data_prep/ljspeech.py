"""LJSpeech 1.1 (Keith Ito; public domain): one woman, 24 h, 13,100 recordings at 22.05 kHz.

    python -m data_prep.ljspeech download data
    python -m data_prep.ljspeech prepare data data/ljspeech.jsonl

LJSpeech-1.1/wavs/<id>.wav and metadata.csv, a line each: id|text|text with numbers spelt out. About 2 % become the
validation split, by a hash of the id. 2.75 GB packed, 3.8 GB unpacked. https://keithito.com/LJ-Speech-Dataset
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.archives import Archive, get
from data_prep.shared import Candidate, Dropped, corpus_parser, draw_split, prepare_found, prepare_options, run
from tts_fm.data.manifest import Utterance

FOLDER, RATE, VALID = "LJSpeech-1.1", 22_050, 0.02
ARCHIVE = Archive(
    "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
    FOLDER,
    "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
    2.75,
)


def download(root: str | os.PathLike[str], mirror: str | None = None, keep: bool = False) -> list[Path]:
    """Fetch, check and unpack below `root`. Raises ModelError."""
    return get([ARCHIVE], root, mirror, keep)


def find(corpus: str | os.PathLike[str], original: bool = False) -> tuple[list[Candidate], Dropped]:
    """All lines of metadata.csv, and the recordings without one. ValueError for a folder that is not LJSpeech."""
    home = Path(corpus) / FOLDER if (Path(corpus) / FOLDER).is_dir() else Path(corpus)
    table, wavs = home / "metadata.csv", home / "wavs"
    if not table.is_file() or not wavs.is_dir():
        raise ValueError(
            f"{home} has no metadata.csv with a folder wavs beside it; give the folder {FOLDER}, or the one above it"
        )
    there = {entry.name for entry in os.scandir(wavs)}
    candidates, dropped, listed = [], Dropped(), set()
    for number, line in enumerate(table.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split("|")
        name = f"{cells[0]}.wav"
        listed.add(name)
        if len(cells) != 3:
            dropped.add("line without three cells", f"{table}:{number}")
        elif name not in there:
            dropped.add("transcript without audio", f"{table}:{number}: {name}")
        else:
            text = cells[1] if original else cells[2]
            candidates.append(Candidate(cells[0], str(wavs / name), "ljspeech", draw_split(cells[0], VALID), text=text))
    for name in sorted(n for n in there - listed if n.endswith(".wav")):
        dropped.add("no transcript", str(wavs / name))
    return candidates, dropped


def prepare_ljspeech(
    corpus: str | os.PathLike[str], out: str | os.PathLike[str], original: bool = False, **options
) -> list[Utterance]:
    """Write the manifest; options as in shared.prepare."""
    return prepare_found(find(corpus, original), out, RATE, **options)


def main(argv: Sequence[str] | None = None) -> None:
    parser, _, make = corpus_parser("ljspeech", __doc__)
    make.add_argument("--original", action="store_true", help="texts as printed, numbers as digits")
    args = parser.parse_args(argv)
    if args.verb == "download":
        download(args.root, args.mirror, args.keep_archives)
    else:
        prepare_ljspeech(args.corpus, args.manifest, args.original, **prepare_options(args, rate=RATE))


if __name__ == "__main__":
    raise SystemExit(run(main))
