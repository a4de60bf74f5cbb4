"""Lists of sentences to speak: JSONL, an object {id, text, ref_audio, ref_text?} a line, paths relative to the list."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tts_fm.errors import ModelError
from tts_fm.evaluate import metrics


@dataclass(frozen=True)
class EvalItem:
    """A sentence to speak and the voice to speak it in."""

    id: str
    text: str
    ref_audio: Path
    ref_text: str | None = None


def read_eval_list(path: str | os.PathLike[str]) -> list[EvalItem]:
    """Read and check a whole JSONL list. ModelError when it is missing; ValueError with every fault as file:line
    otherwise.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ModelError(
            f"no evaluation list {path}; give a JSONL file with id, text and ref_audio on each line"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is not UTF-8 text; give a JSONL file with id, text and ref_audio on each line"
        ) from None
    items: list[EvalItem] = []
    faults: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = _parse(line, path.parent)
            if item.id in first_line:
                raise ValueError(f"id {item.id!r} is already on line {first_line[item.id]}")
            first_line[item.id] = number
            items.append(item)
        except ValueError as fault:
            faults.append(f"{path}:{number}: {fault}")
    if faults:
        raise ValueError("\n".join(faults))
    if not items:
        raise ValueError(f'{path} has no items; a line is {{"id": ..., "text": ..., "ref_audio": ...}}')
    return items


def _parse(line: str, folder: Path) -> EvalItem:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    for key in ("id", "text", "ref_audio"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise ValueError(f"{key} is {row.get(key)!r}; it must be a string with something in it")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", row["id"]):
        raise ValueError(f"id is {row['id']!r}; letters, digits and . _ - work, 128 at most, a letter or digit first")
    if not metrics.spelling(row["text"]):
        raise ValueError(f"text {row['text']!r} has no words")
    if row.get("ref_text") is not None and not isinstance(row["ref_text"], str):
        raise ValueError(f"ref_text is {row['ref_text']!r}; it must be a string, or left out")
    prompt = folder / row["ref_audio"]
    if not prompt.is_file():
        raise ValueError(f"no audio file {prompt}")
    return EvalItem(row["id"], row["text"], prompt, row.get("ref_text"))


def prompt_groups(item: EvalItem) -> tuple[str, ...]:
    """The prompt's file name and, for the dev list, its kind: Kokoro voices (af_kore) are "synthetic", real_* are
    "real".
    """
    name = item.ref_audio.stem
    kind = "synthetic" if re.match(r"[ab][fm]_", name) else "real" if name.startswith("real") else None
    return (name,) if kind is None else (name, kind)
