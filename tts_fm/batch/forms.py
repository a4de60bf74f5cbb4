"""The forms a list of texts may have, read into rows: (line number, fields by the names of the file, voices of its
own).

Pure text work. What cannot be read is reported to the sink with its line, and reading goes on; what the fields mean,
and whether they are right, is lists.py's business.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tts_fm.settings import offered

FORMS = ("txt", "jsonl", "tsv", "lst", "ljspeech", "csv", "toml")
SETTINGS = {setting.name: setting for setting in offered("list")}
FIELDS = ("id", "text", "voice", "ref_audio", "ref_text", *SETTINGS)
ALIASES = {
    "name": "id", "utt": "id", "out": "id", "prompt_text": "ref_text", "prompt_wav": "ref_audio",
    "prompt_audio": "ref_audio", "ref_wav": "ref_audio", "gen_text": "text",
} | {alias: name for name, setting in SETTINGS.items() for alias in setting.aliases}  # fmt: skip
#: keys of F5-TTS configurations that belong to its program, not to the text; they are named in the notes, not used
F5_UNUSED = {
    "model", "model_cfg", "ckpt_file", "vocab_file", "output_dir", "remove_silence", "save_chunk", "no_legacy_text",
    "vocoder_name",
    "device", "load_vocoder_from_local", "target_rms", "cross_fade_duration", "fix_duration",
}  # fmt: skip
LONGEST_TEXT = 100_000  # characters of one item, as in text/chunks.py


@dataclass(frozen=True)
class Part:
    """One stretch of an item in one voice."""

    text: str
    voice: str | None = None  # a stored voice's name or a recording's path; None = the default voice
    ref_text: str | None = None


class Sink(Protocol):
    """Who reads the list."""

    name: str
    notes: list[str]
    recordings: bool  # may the list name files?

    def fault(self, line: int, what: str) -> None: ...
    def path(self, given: str | None) -> str | None: ...


Row = tuple[int, dict[str, Any], dict[str, Part] | None]  # line number, fields, voices that the list itself defines


def form_of(name: str, text: str, form: str | None) -> str:
    """Which of FORMS a list has."""
    if form is not None:
        if form not in FORMS:
            raise ValueError(f"there is no list form {form!r}; one of {', '.join(FORMS)} works")
        return form
    suffix = Path(name).suffix.lower().lstrip(".")
    suffix = {"json": "jsonl", "ndjson": "jsonl", "text": "txt", "": "txt", "psv": "ljspeech", "tml": "toml"}.get(
        suffix, suffix
    )
    first = text.split("\n", 1)[0]
    if suffix == "csv" and "|" in first and "text" not in header_names(next(csv.reader([first]), [])):
        return "ljspeech"
    if suffix not in FORMS:
        raise ValueError(
            f"{name}: the suffix .{suffix} says nothing about its form; name it (--input-format): {', '.join(FORMS)}"
        )
    return suffix


def header_names(cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    return [ALIASES.get(name, name) for name in names]


def _txt(sink: Sink, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, {"text": line.strip()}, None


def _jsonl(sink: Sink, text: str) -> Iterator[Row]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a field is given twice")
        return dict(pairs)

    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=once)
        except (ValueError, RecursionError) as error:
            sink.fault(number, f"not JSON: {str(error)[:150]}")
            continue
        if not isinstance(row, dict):
            sink.fault(number, f'an object is needed, {{"id": ..., "text": ...}}, not {line.strip()[:40]}')
        else:
            yield number, row, None


def _columns(sink: Sink, text: str, separator: str, names: list[str], more: int = 0) -> Iterator[Row]:
    """Lines of cells without quoting; the first line may name the columns. more: how many cells beyond `names` are read
    over.
    """
    header = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split(separator)
        if number == 1 and "text" in header_names(cells) and set(header_names(cells)) <= set(FIELDS):
            names, header = header_names(cells), True
        elif len(cells) < len(names) or len(cells) > len(names) + (0 if header else more):
            wanted = separator.join(names).replace("\t", " TAB ")
            sink.fault(number, f"{len(cells)} columns, but {len(names)} are needed: {wanted}")
        else:
            yield number, dict(zip(names, (cell.strip() for cell in cells), strict=False)), None


def _tsv(sink: Sink, text: str) -> Iterator[Row]:
    yield from _columns(sink, text, "\t", ["id", "ref_text", "ref_audio", "text"])


def _lst(sink: Sink, text: str) -> Iterator[Row]:
    # a fifth is the true recording
    yield from _columns(sink, text, "|", ["id", "ref_text", "ref_audio", "text"], more=1)


def _ljspeech(sink: Sink, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split("|")
        if not 2 <= len(cells) <= 3:
            sink.fault(number, f"{len(cells)} columns, but id|text or id|text|normalised text are needed")
        else:
            yield number, {"id": cells[0].strip(), "text": cells[-1].strip() or cells[1].strip()}, None


def _csv(sink: Sink, text: str) -> Iterator[Row]:
    rows = csv.reader(io.StringIO(text), strict=True)
    number, names = 1, None
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            sink.fault(number, f"not CSV: {error}")
            return
        start, number = number, rows.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = header_names(cells)
            if "text" not in names or len(set(names)) < len(names):
                sink.fault(
                    start,
                    "the first line must name the columns, each once, 'text' among them; known are "
                    f"{', '.join(FIELDS)}",
                )
                return
        elif len(cells) != len(names):
            sink.fault(start, f"{len(cells)} columns, but the header has {len(names)}; put text with commas in quotes")
        else:
            yield start, dict(zip(names, cells, strict=True)), None


def _toml(sink: Sink, text: str) -> Iterator[Row]:
    """F5-TTS's configuration: one text, whose [tags] change between [voices.*], one file."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = re.search(r"at line (\d+)", str(error))
        sink.fault(int(where.group(1)) if where else 1, f"not TOML: {error}")
        return
    line = next(
        (n for n, at in enumerate(text.split("\n"), 1) if at.strip().startswith(("gen_text", "gen_file", "text"))), 1
    )
    voices: dict[str, Part] = {}
    for name, voice in (table.pop("voices", None) or {}).items():
        if (
            not isinstance(voice, dict)
            or not isinstance(voice.get("ref_audio"), str)
            or not isinstance(voice.get("ref_text", ""), str)
        ):
            sink.fault(line, f'[voices.{name}] needs ref_audio = "file" (and may have ref_text)')
        elif extra := sorted(set(voice) - {"ref_audio", "ref_text"}):
            sink.fault(line, f"[voices.{name}] has {', '.join(extra)}; only ref_audio and ref_text work")
        else:
            voices[name] = Part("", sink.path(voice["ref_audio"]), voice.get("ref_text", "").strip() or None)
    if unused := sorted(F5_UNUSED & set(table)):
        sink.notes.append(f"{sink.name}: not used: {', '.join(unused)}")
    row = {key: value for key, value in table.items() if key not in F5_UNUSED}
    file, output = row.pop("gen_file", "") or "", row.pop("output_file", None)
    if isinstance(output, str) and output:
        row.setdefault("id", Path(output).stem)
    if file and not sink.recordings:
        sink.fault(line, "gen_file is not accepted here; put the text into gen_text")
    elif file:
        try:
            with open(str(sink.path(file)), encoding="utf-8") as handle:
                row["gen_text"] = handle.read(LONGEST_TEXT + 1)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            sink.fault(line, f"cannot read gen_file {file!r}: {getattr(error, 'strerror', None) or error}")
            return
    yield line, row, voices


PARSERS = {"txt": _txt, "jsonl": _jsonl, "tsv": _tsv, "lst": _lst, "ljspeech": _ljspeech, "csv": _csv, "toml": _toml}
