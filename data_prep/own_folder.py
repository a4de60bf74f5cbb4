"""Your own recordings: a folder of audio with a text file beside each, or a list (CSV or JSONL).

    python -m data_prep.own_folder prepare my_voice data/my_voice.jsonl                      a.wav + a.txt, folder above
      = speaker
    python -m data_prep.own_folder prepare my_voice data/my_voice.jsonl --list texts.csv     header:
      audio,text[,speaker,id,split,lang]
    python -m data_prep.own_folder prepare my_voice data/my_voice.jsonl --list texts.jsonl   the same names as keys

There is nothing to download. WAV, FLAC, OGG, Opus and MP3 at 16 kHz or more. CSV may be separated by commas,
semicolons, tabs or |. Paths in a list are relative to the folder. About 2 % become the validation split unless the list
says which.
"""

from __future__ import annotations

import argparse
import os
import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.shared import Candidate, Dropped, add_prepare_options, draw_split, prepare_found, prepare_options, run
from tts_fm.data.listing import ALSO, COLUMNS, files_below, read_rows
from tts_fm.data.manifest import SPLITS, Utterance
from tts_fm.errors import ModelError


def download(*_: object, **__: object) -> None:
    """There is nothing to download; here so that every corpus has the same two verbs."""
    raise ModelError("your own folder is not downloaded: put the recordings there and run `prepare`")


def find(
    corpus: str | os.PathLike[str],
    listing: str | os.PathLike[str] | None = None,
    speaker: str | None = None,
    lang: str = "en-us",
    valid: float = 0.02,
) -> tuple[list[Candidate], Dropped]:
    """Recordings of a folder, or of a list in it. speaker: one name for all. valid: share drawn for validation.

    ValueError: no such folder, or a list with faults, each as file:line.
    """
    corpus = Path(corpus)
    if not corpus.is_dir():
        raise ValueError(f"{corpus} is not a folder; give the one that holds your recordings")
    if listing is None:
        return _from_folder(corpus, speaker, lang, valid)
    path = Path(listing) if Path(listing).is_file() else corpus / listing
    candidates, faults = [], []
    for number, row in read_rows(path):
        try:
            candidates.append(_candidate(row, corpus, speaker, lang, valid))
        except ValueError as fault:
            faults.append(f"{path}:{number}: {fault}")
    if faults:
        raise ValueError("\n".join(faults[:20] + ([f"and {len(faults) - 20} more"] if len(faults) > 20 else [])))
    return candidates, Dropped()


def _from_folder(corpus: Path, speaker: str | None, lang: str, valid: float) -> tuple[list[Candidate], Dropped]:
    sounds, texts = files_below(corpus)
    candidates, dropped = [], Dropped()
    for path in sounds:
        text = texts.pop(path.with_suffix(""), None)
        if text is None:
            dropped.add("no transcript", str(path))
            continue
        name = _id(path, corpus)
        said_by = speaker or (path.parent.name if path.parent != corpus else corpus.resolve().name)
        candidates.append(Candidate(name, str(path), said_by, draw_split(name, valid), text_file=str(text), lang=lang))
    for path in texts.values():
        if path.with_suffix("").name.upper() not in ("README", "LICENSE", "LICENCE"):
            dropped.add("transcript without audio", str(path))
    return candidates, dropped


def _id(path: Path, corpus: Path) -> str:
    """The path below the folder, without its ending, slashes as hyphens."""
    inside = (
        path.resolve().relative_to(corpus.resolve())
        if path.resolve().is_relative_to(corpus.resolve())
        else Path(path.name)
    )
    return re.sub(r"[/\\\x00-\x1f\x7f]", "-", inside.with_suffix("").as_posix())


def _candidate(row: dict[str, Any] | str, corpus: Path, speaker: str | None, lang: str, valid: float) -> Candidate:
    if not isinstance(row, dict):
        raise ValueError(row if isinstance(row, str) else "not a JSON object")
    row = {ALSO.get(key, key): value for key, value in row.items()}
    for key in COLUMNS:
        if not isinstance(row.get(key, ""), str | None):
            raise ValueError(f"{key} is {row[key]!r}; it must be a string")
    if not row.get("audio") or not row.get("text"):
        raise ValueError("audio or text is empty")
    if (split := row.get("split") or None) and split not in SPLITS:
        raise ValueError(f"split is {split!r}; one of {', '.join(SPLITS)}")
    path = corpus / row["audio"]
    if not path.is_file():
        raise ValueError(f"no audio file {path}")
    name = row.get("id") or _id(path, corpus)
    said_by = speaker or row.get("speaker") or corpus.resolve().name
    return Candidate(
        name, str(path), said_by, split or draw_split(name, valid), text=row["text"], lang=row.get("lang") or lang
    )


def prepare_own_folder(
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    listing: str | os.PathLike[str] | None = None,
    speaker: str | None = None,
    lang: str = "en-us",
    valid: float = 0.02,
    **options,
) -> list[Utterance]:
    """Write the manifest; options as in shared.prepare."""
    return prepare_found(find(corpus, listing, speaker, lang, valid), out, **options)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m data_prep.own_folder", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("download", help="there is nothing to download")
    make = verbs.add_parser("prepare", help="write the manifest")
    add_prepare_options(make)
    make.add_argument("--list", dest="listing", type=Path, help="CSV with a header, or JSONL")
    make.add_argument("--speaker", help="one speaker for all")
    make.add_argument("--lang", default="en-us", help="espeak's name of the language (default en-us)")
    make.add_argument("--valid", type=float, default=0.02, metavar="SHARE", help="share for validation (default 0.02)")
    args = parser.parse_args(argv)
    if args.verb == "download":
        download()
    prepare_own_folder(
        args.corpus, args.manifest, args.listing, args.speaker, args.lang, args.valid, **prepare_options(args)
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
