"""Lists of things to say, in every form that people have them, checked whole before a model is loaded.

    txt (a line = an utterance) | jsonl | tsv (ZipVoice: name, prompt text, prompt wav, text; or with a header) |
    lst (seed-tts-eval: id|prompt text|prompt wav|text) | ljspeech (id|text|normalised text, or path|text) |
    csv (with a header; cells between , ; tabs or bars) | toml (F5-TTS, with [voices.*] and [tags])

Files are UTF-8 (a BOM is allowed); relative paths start from the list's folder. Faults are collected, never raised one
by one: the user sees all of them with file:line. What the fields mean is Settings'; this module does not know audio
beyond asking audio/prompt.py whether a recording will do, and it knows no models.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tts_fm.batch.forms import ALIASES, FIELDS, FORMS, LONGEST_TEXT, PARSERS, SETTINGS, Part, form_of
from tts_fm.batch.ids import check_id, clean_id, nameable, plain_id
from tts_fm.settings import Settings

TAG = re.compile(r"\[([A-Za-z0-9_-]{1,64})\](?!\()")  # [name], but not [word](/ipa/)
LARGEST_LIST = 256 << 20  # bytes
SHOWN = 200  # faults in one message; the rest is counted


@dataclass(frozen=True)
class Item:
    """One file to make."""

    id: str
    parts: tuple[Part, ...]
    settings: Settings  # settings.item is the id
    where: str  # "list.tsv:14"
    group: int = 0  # groups are spoken one after the other: the chapters of a book


class ListError(ValueError):
    """Everything that is wrong with a list; `faults` has a "file:line: what" for each, in the order of the lines. good:
    how many lines could be spoken without those.
    """

    def __init__(self, faults: list[str], good: int = 0) -> None:
        self.faults = faults
        more = [f"and {len(faults) - SHOWN:,} more"] if len(faults) > SHOWN else []
        hint = [f"--skip-bad leaves such lines out and speaks the other {good:,}"] if good else []
        super().__init__("\n".join([*faults[:SHOWN], *more, *hint]))


@dataclass(frozen=True)
class Listing:
    """A list that can be spoken, with what the user should know about it (one line each)."""

    items: list[Item]
    notes: list[str]
    left_out: tuple[str, ...] = ()  # faults of lines that skip_bad passed over, as in ListError


def read_list(
    source: str | os.PathLike[str],
    form: str | None = None,
    settings: Settings | None = None,
    voice: str | None = None,
    ref_text: str | None = None,
    sanitize: bool = False,
    recordings: bool = True,
    skip_bad: bool = False,
) -> Listing:
    """Read and check a list file ("-" = standard input, txt unless `form` says otherwise). Raises ListError, with every
    fault.

    form: one of FORMS, by default what the suffix and the first line say. settings, voice, ref_text: for items that do
    not say it themselves. sanitize: repair unusable or repeated ids instead of refusing them. recordings: False refuses
    voices given by a path (for lists that come from strangers). skip_bad: lines with faults are left out, and told in
    `left_out`, instead of refusing the list.
    """
    name, data, base = _load(source)
    reader = Reader(name, base, settings or Settings(), voice, ref_text, sanitize, recordings)
    text = reader.decode(data, skip_bad)
    if text is not None:
        try:
            reader.form, note = form_of(name, text, form)
            if form is None and reader.form == "txt":
                refuse_prose(os.fspath(source), text)
        except ValueError as error:
            raise ListError([str(error)]) from None
        reader.notes += [f"{name}: {note}"] if note else []
        for line, row, voices in PARSERS[reader.form](reader, text):
            reader.add(line, row, voices)
        reader.finish()
    return reader.listing(skip_bad)


def refuse_prose(source: str, text: str) -> None:
    """ValueError for a novel that is taken for a list: each of its wrapped lines would be a clip of its own."""
    from tts_fm.text.plain import looks_like_prose

    if looks_like_prose(text):
        stem = Path(source).stem
        raise ValueError(
            f"{source} looks like running text, not like a list: its lines break in mid-sentence. An audiobook: tts-fm "
            f"book {source} -o {stem}.m4b; one sound: tts-fm say -f {source} -o {stem}.wav; a clip for each line all "
            "the same: --input-format txt"
        )


def _can_be_spoken(text: str) -> bool:
    """Is there a word in it, after marks for pauses are taken out and signs are read?"""
    from tts_fm.text.markup import Ipa, Text, parse_markup
    from tts_fm.text.normalise import normalise

    for piece in parse_markup(text):
        if isinstance(piece, Ipa) or (isinstance(piece, Text) and any(char.isalnum() for char in piece.text)):
            return True
        if isinstance(piece, Text) and any(char.isalnum() for char in normalise(piece.text)):
            return True
    return False


def _load(source: str | os.PathLike[str]) -> tuple[str, bytes, Path]:
    if os.fspath(source) == "-":
        return "stdin", sys.stdin.buffer.read(LARGEST_LIST + 1), Path.cwd()
    path = Path(source)
    try:
        with open(path, "rb") as file:
            return path.name, file.read(LARGEST_LIST + 1), path.resolve().parent
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ListError([f"cannot read the list {path}: {reason}; give a {', '.join(FORMS)} file"]) from None


class Reader:
    """One list on its way to items; parsers report to `fault`, rows come to `add`."""

    def __init__(
        self,
        name: str,
        base: Path,
        settings: Settings,
        voice: str | None,
        ref_text: str | None,
        sanitize: bool,
        recordings: bool,
    ) -> None:
        self.name, self.base, self.settings, self.voice, self.ref_text = name, base, settings, voice, ref_text
        self.sanitize, self.recordings, self.form = sanitize, recordings, "txt"
        self.items: list[Item] = []
        self.notes: list[str] = []
        self.faults: list[tuple[int, str]] = []
        self.seen: dict[str, tuple[int, str]] = {}  # id, case folded -> line, id
        self.checked: dict[tuple[str | None, str | None], str | None] = {}  # (voice, transcript) -> fault

    def fault(self, line: int, what: str) -> None:
        self.faults.append((line, what))

    def listing(self, skip_bad: bool) -> Listing:
        """What was read. ListError, with every fault; with skip_bad only where nothing can be spoken."""
        told = [
            f"{self.name}:{line}: {what}" if line else f"{self.name}: {what}"
            for line, what in sorted(self.faults, key=lambda fault: fault[0])
        ]
        of_lines = all(line for line, _ in self.faults)
        if told and not (skip_bad and self.items and of_lines):
            raise ListError(told, len(self.items) if of_lines and not skip_bad else 0)
        return Listing(self.items, self.notes, tuple(told))

    def decode(self, data: bytes, skip_bad: bool = False) -> str | None:
        """UTF-8 with any line ends -> text with \\n; None after a fault. skip_bad: lines that are not UTF-8 are empty
        in it.
        """
        if len(data) > LARGEST_LIST:
            self.fault(0, f"the list is larger than {LARGEST_LIST >> 20} MB; split it")
            return None
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self.fault(1, "the list is UTF-16; save it as UTF-8")
            return None
        data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                lines[number - 1] = b""
                self.fault(
                    number,
                    f"byte {error.start + 1} of the line is not UTF-8 (0x{line[error.start]:02x}); save the list as "
                    "UTF-8",
                )
        return None if self.faults and not skip_bad else b"\n".join(lines).decode("utf-8")

    def add(self, line: int, row: dict[str, Any], voices: dict[str, Part] | None) -> None:
        """Check one row (by its own field names) and make it an item. voices: those that [tags] in the text may
        call.
        """
        before = len(self.faults)
        values = self._values(line, row)
        settings = self._settings(line, values)
        parts = self._parts(line, values, voices)
        name = self._id(line, values.get("id"))
        if len(self.faults) == before:
            self.items.append(Item(name, tuple(parts), replace(settings, item=name), f"{self.name}:{line}"))

    def finish(self) -> None:
        if not self.items and not self.faults:
            self.fault(0, "there is nothing in the list; give at least one line")

    def _values(self, line: int, row: dict[str, Any]) -> dict[str, Any]:
        """Fields by our names, those not given left out."""
        values: dict[str, Any] = {}
        for key, value in row.items():
            known = ALIASES.get(key, key)
            if known not in FIELDS:
                near = difflib.get_close_matches(key, [*FIELDS, *ALIASES], n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(FIELDS)}"
                if value is not None:
                    self.fault(line, f"there is no field {key[:40]!r}; {hint}")
                continue
            if value is None or (isinstance(value, str) and not value.strip() and known != "text"):
                continue
            if known in values:
                self.fault(line, f"field {known!r} is given twice (as {key!r} too)")
            values[known] = value
        for key in ("text", "voice", "ref_audio", "ref_text", "lang"):
            if key in values and not isinstance(values[key], str):
                self.fault(line, f"{key} must be text, got {values[key]!r}")
                del values[key]
        return values

    def _settings(self, line: int, values: dict[str, Any]) -> Settings:
        given = {key: setting.read(values[key]) for key, setting in SETTINGS.items() if key in values}
        if "lang" in given:
            given["lang"] = self._language(line, values["lang"])
        try:
            return replace(self.settings, **given).check()
        except ValueError as error:
            self.fault(line, str(error))
            return self.settings

    def _language(self, line: int, given: str) -> str | None:
        lang = given.strip().lower().replace("_", "-")
        lang = "en-us" if lang in ("en", "english") else lang
        if lang not in ("en-us", "en-gb"):
            from tts_fm.text.phonemes import languages

            if lang not in languages():
                self.fault(line, f"lang {given[:20]!r} is unknown; en-us and en-gb are what the built-in voice speaks")
                return None
        return lang

    def _parts(self, line: int, values: dict[str, Any], voices: dict[str, Part] | None) -> list[Part]:
        if "voice" in values and "ref_audio" in values:
            self.fault(line, "both voice and ref_audio are given; give one of them")
        voice = self.voice_of(values)
        main = Part("", voice or self.voice, values.get("ref_text") if voice else values.get("ref_text", self.ref_text))
        text = values.get("text", "")
        if len(text) > LONGEST_TEXT:
            self.fault(
                line,
                f"the text has {len(text):,} characters; the limit is {LONGEST_TEXT:,}: split it into several items",
            )
            return []
        parts = [replace(main, text=text)] if voices is None else self._tagged(line, text, main, voices)
        if len(parts) > 1 and values.get("duration", self.settings.duration) is not None:
            self.fault(line, "duration cannot be given for a text of several voices; leave it out, or give speed")
        try:
            if not parts or not all(_can_be_spoken(part.text) for part in parts):
                shown = text.strip()[:40]
                self.fault(line, f"nothing in {shown!r} can be spoken" if shown else "the text is empty")
        except ValueError as error:  # a pause that is too long
            self.fault(line, str(error))
        for part in parts:
            self._check_voice(line, part)
        return parts

    def _tagged(self, line: int, text: str, main: Part, voices: dict[str, Part]) -> list[Part]:
        """F5's "[name] text" into parts, each in the voice of the tag before it."""
        pieces = TAG.split(text)  # text, name, text, name, ...
        parts = [replace(main, text=pieces[0].strip())]
        for name, piece in zip(pieces[1::2], pieces[2::2], strict=True):
            if name != "main" and name not in voices:
                self.fault(line, f"tag [{name}] in the text names no voice; there are {', '.join(['main', *voices])}")
            parts.append(replace(voices.get(name, main), text=piece.strip()))
        return [part for part in parts if part.text]

    def voice_of(self, values: dict[str, Any]) -> str | None:
        """A stored voice's name as it is; what cannot be one is a path, like ref_audio."""
        from tts_fm.voices.stored import NAME

        if "voice" in values:
            name = values["voice"].strip()
            return name if NAME.fullmatch(name) else self.path(name)
        return self.path(values.get("ref_audio"))

    def path(self, given: str | None) -> str | None:
        if given is None or not self.recordings:  # it will be refused, as it was written
            return given
        return str(self.base / os.path.expanduser(given.strip()))

    def _check_voice(self, line: int, part: Part) -> None:
        """Is the voice known, or its recording usable? Asked once for each voice, told at each line that uses it."""
        key = (part.voice, part.ref_text)
        if key not in self.checked:
            self.checked[key] = self._voice_fault(part)
        if (what := self.checked[key]) is not None:
            self.fault(line, what)

    def _voice_fault(self, part: Part) -> str | None:
        from tts_fm.voices.stored import catalogue, get_voice

        if part.voice is None or part.voice in catalogue():
            return None
        if not self.recordings and part.voice != self.voice:
            return (
                f"there is no stored voice {part.voice!r}, and paths are not accepted here; "
                f"there are {', '.join(catalogue())}"
            )
        try:
            get_voice(part.voice, part.ref_text)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    def _id(self, line: int, given: Any) -> str:
        if given is None:
            given = f"{line:06d}" if self.form != "toml" else Path(self.name).stem
        if isinstance(given, int) and not isinstance(given, bool):
            given = str(given)
        if not isinstance(given, str):
            self.fault(line, f"id must be text, got {given!r}")
            return ""
        name = unicodedata.normalize("NFC", given.strip())
        if self.sanitize or not nameable(name):
            name = self._unused(clean_id(name) if nameable(name) else plain_id(name))
            if name != given:
                self.notes.append(f"{self.name}:{line}: id {given[:60]!r} became {name!r}")
        elif (what := check_id(name)) is not None:
            self.fault(line, what)
            return name
        if name.casefold() in self.seen:
            first, other = self.seen[name.casefold()]
            same = "" if other == name else f" as {other!r}, which is the same file name on Windows and macOS"
            self.fault(line, f"id {name!r} was used on line {first} already{same}")
        self.seen.setdefault(name.casefold(), (line, name))
        return name

    def _unused(self, wanted: str) -> str:
        """An id with a number behind it where that id is taken already."""
        name, count = wanted, 1
        while name.casefold() in self.seen:
            count += 1
            name = f"{wanted}-{count}"
        return name
