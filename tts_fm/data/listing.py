"""Where recordings and their transcripts are: a folder with a .txt beside each sound file, or a list (CSV or JSONL).

Only names and texts are read here, no audio. Used for corpora of one's own (data_prep/own_folder.py) and for adapting a
voice.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_fm.errors import ModelError

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3")
TEXT = (".txt", ".lab")
LISTS = (".csv", ".tsv", ".jsonl", ".json")
COLUMNS = ("audio", "text", "speaker", "id", "split", "lang")
ALSO = {
    "audio_file": "audio",
    "path": "audio",
    "file": "audio",
    "transcript": "text",
    "sentence": "text",
    "language": "lang",
}


@dataclass(frozen=True)
class Recording:
    """A sound file and what is said in it, where that is known."""

    path: Path
    text: str | None = None

    @property
    def id(self) -> str:
        return self.path.name


def find_recordings(source: str | os.PathLike[str]) -> list[Recording]:
    """The recordings of a sound file, a folder (with all below it), or a list whose paths are relative to its folder.

    A text file beside a recording, of the same name, is its transcript. ValueError when there is none, or a list has
    faults, each as file:line.
    """
    place = Path(source)
    if place.is_dir():
        sounds, texts = files_below(place)
        if not sounds:
            raise ValueError(f"there is no recording in {place}; {', '.join(AUDIO)} files are read")
        return [Recording(path, read_text(texts.get(path.with_suffix("")))) for path in sounds]
    if not place.is_file():
        raise ValueError(f"there is no recording, folder or list {place}")
    if place.suffix.lower() in LISTS:
        return list(_listed(place))
    beside = [place.with_suffix(suffix) for suffix in TEXT if place.with_suffix(suffix).is_file()]
    return [Recording(place, read_text(beside[0] if beside else None))]


def _listed(place: Path) -> Iterator[Recording]:
    faults, found = [], []
    for number, row in read_rows(place):
        row = {ALSO.get(key, key): value for key, value in row.items()} if isinstance(row, dict) else row
        audio = row.get("audio") if isinstance(row, dict) else None
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(audio, str) or not audio or not isinstance(text, str | None):
            faults.append(f"{place}:{number}: {row if isinstance(row, str) else 'audio must be a file, text a string'}")
        elif not (place.parent / audio).is_file():
            faults.append(f"{place}:{number}: no audio file {place.parent / audio}")
        else:
            found.append(Recording(place.parent / audio, (text or "").strip() or None))
    if faults or not found:
        more = [f"and {len(faults) - 20} more"] if len(faults) > 20 else []
        raise ValueError("\n".join(faults[:20] + more) or f"{place} lists no recordings")
    yield from found


def files_below(folder: Path) -> tuple[list[Path], dict[Path, Path]]:
    """(sound files in order, {path without ending: its text file}) below a folder; hidden ones are left out."""
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )
    sounds = [p for p in files if p.suffix.lower() in AUDIO]
    return sounds, {p.with_suffix(""): p for p in files if p.suffix.lower() in TEXT}


def read_text(path: Path | None) -> str | None:
    """A transcript with its spaces tidied; None where there is no file, or nothing in it. ValueError: not UTF-8."""
    if path is None:
        return None
    try:
        return " ".join(path.read_text("utf-8-sig").split()) or None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8") from None


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line number, row or what is wrong with it) of a CSV or JSONL list."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ModelError(f"no such list: {path}; give a CSV with a header ({', '.join(COLUMNS)}) or JSONL") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    if path.suffix.lower() in (".jsonl", ".json"):
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    row = f"not JSON ({error})"
                yield number, row
        return
    first = text.split("\n", 1)[0]
    mark = max("|\t;,", key=first.count)
    reader = csv.reader(
        text.splitlines(keepends=True), delimiter=mark, quoting=csv.QUOTE_NONE if mark in "|\t" else csv.QUOTE_MINIMAL
    )
    header = [ALSO.get(name.strip().lower(), name.strip().lower()) for name in next(reader, [])]
    if not {"audio", "text"} <= set(header):
        raise ValueError(
            f"{path}:1: the header is {first.strip()!r}; it must name audio and text, and may name "
            f"{', '.join(COLUMNS[2:])}"
        )
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                good = len(cells) == len(header)
                yield (
                    reader.line_num,
                    dict(zip(header, cells, strict=True)) if good else f"{len(cells)} cells under {len(header)} names",
                )
    except csv.Error as error:
        yield reader.line_num, f"not CSV ({error})"
