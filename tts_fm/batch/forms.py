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
_SEPARATORS = (",", ";", "\t", "|")
_NAME = re.compile(r"[^\s|]{1,200}")  # an id, or a path, in the first column
_SOUND = re.compile(r"\.(?:wav|flac|mp3|ogg|opus|m4a|npy|pt)\s*$", re.IGNORECASE)
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


def form_of(name: str, text: str, form: str | None) -> tuple[str, str]:
    """Which of FORMS a list has, and what the user should know of it ("" = nothing): a .txt whose lines have columns is
    read as what it is. ValueError where that cannot be told.
    """
    if form is not None:
        if form not in FORMS:
            raise ValueError(f"there is no list form {form!r}; one of {', '.join(FORMS)} works")
        return form, ""
    suffix = Path(name).suffix.lower().lstrip(".")
    suffix = {"json": "jsonl", "ndjson": "jsonl", "text": "txt", "": "txt", "psv": "csv", "tml": "toml"}.get(
        suffix, suffix
    )
    lines = [line for line in text.split("\n") if line.strip()]
    if suffix == "txt":
        found = _columns_of(name, lines)
        return found, f"read as {found}, by its columns (--input-format txt speaks whole lines)" * (found != "txt")
    if suffix == "csv" and "|" in (lines or [""])[0] and separator_of(lines) is None:
        return "ljspeech", ""
    if suffix not in FORMS:
        raise ValueError(
            f"{name}: the suffix .{suffix} says nothing about its form; name it (--input-format): {', '.join(FORMS)}"
        )
    return suffix, ""


def _columns_of(name: str, lines: list[str]) -> str:
    """The form of a .txt, which is "txt" unless its lines have columns. ValueError where only some of them have."""
    if not lines:
        return "txt"
    if separator_of(lines) is not None:
        return "csv"
    if all(line.lstrip()[:1] == "{" and '"text"' in line for line in lines):
        return "jsonl"
    counts = [(mark, [line.count(mark) for line in lines]) for mark in "|\t"]
    mark, count = max(counts, key=lambda pair: sum(map(bool, pair[1])))
    keys = [line.split(mark)[0].strip() for line in lines if mark in line]
    named = sum(_NAME.fullmatch(key) is not None for key in keys)
    if 2 * named <= len(lines):  # bars and tabs inside sentences
        return "txt"
    forms = ("tsv",) if mark == "\t" else ("ljspeech", "lst")
    if min(count) < 1 or (mark == "\t" and set(count) != {3}):
        shown = "a bar" if mark == "|" else "a tab"
        raise ValueError(
            f"{name} is no list of sentences: {len(keys)} of {len(lines)} lines have {shown} behind a name or a path. "
            f"Name its form (--input-format): {' or '.join(forms)} for columns, txt to speak whole lines"
        )
    return forms[0] if mark == "\t" or max(count) <= 2 else "lst"


def separator_of(lines: list[str]) -> str | None:
    """What stands between the columns that the first line names, "text" among them; None where it names none."""
    first = lines[0] if lines else ""
    for mark in _SEPARATORS:
        names = header_names(next(csv.reader([first], delimiter=mark), []))
        if "text" in names and len(names) > 1 and set(names) <= set(FIELDS):
            return mark
    return None


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


def _tsv(sink: Sink, text: str) -> Iterator[Row]:
    """Lines of cells without quoting; the first line may name the columns."""
    names = ["id", "ref_text", "ref_audio", "text"]
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split("\t")
        if number == 1 and "text" in header_names(cells) and set(header_names(cells)) <= set(FIELDS):
            names = header_names(cells)
        elif len(cells) != len(names):
            wanted = " TAB ".join(names)
            sink.fault(
                number,
                f"{len(cells)} columns, but {len(names)} are needed: {wanted}; a first line may name other columns",
            )
        else:
            yield number, dict(zip(names, (cell.strip() for cell in cells), strict=True)), None


def _lst(sink: Sink, text: str) -> Iterator[Row]:
    """id|prompt text|prompt wav|text, and perhaps the true recording behind another bar; other bars are the text's."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split("|", 3)
        if len(cells) < 4:
            sink.fault(number, f"{len(cells)} columns, but 4 are needed: id|prompt text|prompt wav|text")
            continue
        words, bar, last = cells[3].rpartition("|")
        cells[3] = words if bar and (_SOUND.search(last) or not last.strip()) else cells[3]
        names = ("id", "ref_text", "ref_audio", "text")
        yield number, dict(zip(names, (cell.strip() for cell in cells), strict=True)), None


def _ljspeech(sink: Sink, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split("|")
        if not 2 <= len(cells) <= 3:
            sink.fault(number, f"{len(cells)} columns, but id|text or id|text|normalised text are needed")
        else:
            name = cells[0].strip()
            if _SOUND.search(name):  # path|text, or path|speaker|text, as the lists that models are trained on
                name = re.split(r"[/\\]", name)[-1].rpartition(".")[0]
            yield number, {"id": name, "text": cells[-1].strip() or cells[1].strip()}, None


def _csv(sink: Sink, text: str) -> Iterator[Row]:
    mark = re.match(r"sep=(.)[ \t]*\n", text)  # Excel's
    lines = text[mark.end() if mark else 0 :].lstrip("\n").split("\n", 1)
    rows = csv.reader(io.StringIO(text), strict=True, delimiter=mark[1] if mark else separator_of(lines[:1]) or ",")
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
        if not any(cell.strip() for cell in cells) or (mark and start == 1):
            continue
        if names is None:
            names = header_names(cells)
            if "text" not in names or len(set(names)) < len(names):
                sink.fault(
                    start,
                    "the first line must name the columns, each once, 'text' among them, with , ; tabs or bars between "
                    f"them; known are {', '.join(FIELDS)}",
                )
                return
        elif len(cells) != len(names):
            sink.fault(
                start,
                f"{len(cells)} columns, but the header has {len(names)}; put a text that "
                f"holds {rows.dialect.delimiter!r} in quotes",
            )
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
