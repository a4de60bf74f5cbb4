"""Texts that come in, scripts of `[name] words` and uploaded lists, and that go out: command lines. Over strings; no
files but the list.

Only stored voices and the page's own recordings can be named: a list never names a file of the machine that runs the
demo.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tts_fm.settings import Settings, as_text, offered

OWN = ""  # the voice choice that means "my recording"
TAG = re.compile(r"\s*\[([A-Za-z0-9][A-Za-z0-9_-]{0,63})\](?!\()\s*")  # [name], but not [word](/ipa/)
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# names that Windows keeps for devices
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
LIST_TYPES = (".txt", ".csv", ".tsv", ".jsonl")
COLUMNS = ("id", "text", "voice")


@dataclass(frozen=True)
class Turn:
    """One thing to say."""

    id: str
    voice: str | None  # None = the default of the page
    text: str
    where: str  # "line 3"


def parse_script(text: str, voices: Collection[str]) -> list[Turn]:
    """Turns of a script: a line that begins with `[name]` changes the voice, other lines go on with it; empty lines are
    ignored.

    Raises ValueError naming every line with an unknown voice.
    """
    turns: list[Turn] = []
    faults: list[str] = []
    voice: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        match = TAG.match(line)
        if match:
            voice, line = match[1], line[match.end() :]
            if voice not in voices:
                faults.append(f"line {number}: there is no voice {voice!r}; there are {', '.join(voices) or 'none'}")
        if line.strip():
            turns.append(Turn(f"{len(turns) + 1:03d}", voice, line.strip(), f"line {number}"))
    if faults:
        raise ValueError("\n".join(faults[:8]))
    if not turns:
        raise ValueError("the script is empty: write lines like [name] what that voice says")
    return turns


def read_turns(path: str, voices: Collection[str], most: int, characters: int) -> list[Turn]:
    """Turns of an uploaded list: .txt (a line = an utterance), .csv or .tsv with a header, .jsonl; columns id, text,
    voice.

    Raises ValueError with every fault and its line.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in LIST_TYPES:
        raise ValueError(
            f"a list is a {', '.join(LIST_TYPES)} file, got {suffix or 'a file without a suffix'}; tts-fm batch reads "
            "more forms"
        )
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the list is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    faults: list[str] = []
    rows = {".txt": _lines, ".jsonl": _json}.get(suffix, lambda t, f: _table(t, f, "\t" if suffix == ".tsv" else ","))(
        text, faults
    )
    turns = [_turn(k, where, row, voices, faults) for k, (where, row) in enumerate(rows)]
    seen: dict[str, str] = {}
    for turn in turns:
        key = turn.id.casefold()
        if key in seen:
            faults.append(
                f"{turn.where}: the id {turn.id!r} is also that of {seen[key]} (upper and lower case count as the same)"
            )
        seen.setdefault(key, turn.where)
    if not turns and not faults:
        faults.append("the list holds nothing to say")
    if len(turns) > most:
        faults.append(f"the list has {len(turns):,} lines, this demo takes {most:,}; use tts-fm batch")
    total = sum(len(turn.text) for turn in turns)
    if total > characters:
        faults.append(f"the list has {total:,} characters, this demo takes {characters:,}; use tts-fm batch")
    if faults:
        raise ValueError("\n".join(faults[:12] + ([f"and {len(faults) - 12} more"] if len(faults) > 12 else [])))
    return turns


Rows = list[tuple[str, dict[str, object]]]
Reader = Callable[[str, list[str]], Rows]


def _lines(text: str, faults: list[str]) -> Rows:
    return [(f"line {n}", {"text": line}) for n, line in enumerate(text.splitlines(), 1) if line.strip()]


def _json(text: str, faults: list[str]) -> Rows:
    rows: Rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            faults.append(f"line {number}: not a JSON object ({str(error)[:60]})")
            continue
        rows.append((f"line {number}", row))
    return rows


def _table(text: str, faults: list[str], mark: str) -> Rows:
    try:
        reader = csv.DictReader(text.splitlines(), delimiter=mark, strict=True)
        if "text" not in (reader.fieldnames or []):
            faults.append(
                "line 1: the header needs a column text (and may have id and voice), got "
                f"{', '.join(reader.fieldnames or []) or 'none'}"
            )
            return []
        return [(f"line {reader.line_num}", dict(row)) for row in reader]
    except csv.Error as error:
        faults.append(f"the table cannot be read: {error}")
        return []


def _turn(index: int, where: str, row: dict[str, object], voices: Collection[str], faults: list[str]) -> Turn:
    """One row as a turn; what is wrong with it is added to `faults`."""
    strange = [str(key) for key in row if key not in COLUMNS]
    if strange:
        faults.append(
            f"{where}: {', '.join(strange)[:60]} cannot be used here; the demo takes {', '.join(COLUMNS)}, tts-fm "
            "batch takes more"
        )
    text, voice, name = (row.get(key) for key in ("text", "voice", "id"))
    if not isinstance(text, str) or not text.strip():
        faults.append(f"{where}: there is no text")
    if voice not in (None, "") and voice not in voices:
        faults.append(f"{where}: there is no voice {str(voice)[:40]!r}; there are {', '.join(voices) or 'none'}")
    if name in (None, ""):
        name = f"{index + 1:06d}"
    elif not isinstance(name, str) or not ID.fullmatch(name) or RESERVED.fullmatch(name) or name.endswith("."):
        faults.append(
            f"{where}: the id {str(name)[:40]!r} cannot name a file; use letters, digits, . - and _, at most 64"
        )
    return Turn(str(name), str(voice) if voice else None, text.strip() if isinstance(text, str) else "", where)


def command_line(
    text: str, voice: str, settings: Settings, transcript: str | None = None, model: str | None = None
) -> str:
    """The `tts-fm say` line that makes the same speech. A recording stands as my-voice.wav: the page cannot know where
    it is.
    """
    words = ["tts-fm", "say", *([] if text.startswith("-") else [text])]
    if voice == OWN:
        said = " ".join((transcript or "").split())
        words += ["--ref-audio", "my-voice.wav", *(["--ref-text", said] if said else [])]
    else:
        words += ["--voice", voice]
    words += [*_options(settings, model), "-o", "speech.wav"]
    return shlex.join([*words, *(["--", text] if text.startswith("-") else [])])


def edit_line(text: str, new_text: str, settings: Settings, model: str | None = None) -> str:
    """The `tts-fm edit` line that makes the same change to a recording, which stands as my-recording.wav."""
    words = ["tts-fm", "edit", "my-recording.wav"]
    for name, value in (("--text", " ".join(text.split())), ("--new", " ".join(new_text.split()))):
        words += [f"{name}={value}"] if value.startswith("-") else [name, value]
    return shlex.join([*words, *_options(settings, model, "edit"), "-o", "edited.wav"])


def _options(settings: Settings, model: str | None, place: str = "cli") -> list[str]:
    """Settings as the options of a place, those that differ from the defaults."""
    given = [(s.option, as_text(getattr(settings, s.name))) for s in offered(place) if s.name in settings.changed()]
    return [word for pair in given for word in pair] + (["--model", model] if model else [])
