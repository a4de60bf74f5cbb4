"""The manifest: one JSON object a line, one utterance an object. What every corpus becomes and every recipe reads.

    {"id": "84_121123_7", "audio": "dev-clean/84/.../x.wav", "text": "A word.", "speaker": "84", "seconds": 1.92,
      "split": "valid"}

`audio` is relative to the manifest's folder, or absolute; it may be a member of a tar shard or a URL (storage.py), and
so may the manifest. Aligned manifests add `units` with `unit_frames`, `lead_frames`, `tail_frames`, in frames of
`frame_seconds`. Own notes go under "about" or under names that begin with "x_"; any other unknown name is an error,
because a misspelt field is lost in silence otherwise. This module does not decode audio, and knows no corpus.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tts_fm import files
from tts_fm.data import storage
from tts_fm.errors import ModelError

SPLITS = ("train", "valid", "test")
FRAME_SECONDS = 0.025
# known notes that are kept but mean nothing here
NOTES = ("voices", "speed", "source", "original_text", "chapter", "words")
ID = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}")
MOST_FAULTS = 20  # shown at once


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it."""

    id: str  # unique in its manifest; no slash, no control character
    audio: str  # path of a sound file, from the manifest's folder or absolute; or another place of storage.py
    text: str  # what is said, normalised as far as the corpus has it
    speaker: str
    seconds: float  # length of the recording
    split: str = "train"  # "train", "valid" or "test"
    lang: str = "en-us"  # espeak's name of the language
    units: tuple[str, ...] | None = None  # phone units in order (text/phonemes.py), silences left out
    unit_frames: tuple[float, ...] | None = None  # frames of each unit; 0 = merged with its neighbour
    lead_frames: float = 0.0  # frames of silence before the first unit
    tail_frames: float = 0.0  # and behind the last
    frame_seconds: float = FRAME_SECONDS  # length of one such frame
    about: dict[str, Any] = field(default_factory=dict)  # notes; nothing reads them

    @property
    def aligned(self) -> bool:
        """Whether the time of every unit is known."""
        return self.units is not None and self.unit_frames is not None

    def path(self, folder: str | os.PathLike[str]) -> Path:
        """The audio's file, given the manifest's folder. ValueError when it is no file of its own."""
        place = self.place(folder)
        if storage.is_url(place) or storage.MEMBER.fullmatch(place):
            raise ValueError(f"{place} is in a shard or a storage; this needs recordings that are files of their own")
        return Path(place)

    def place(self, folder: str | os.PathLike[str]) -> str:
        """Where the audio is, given the manifest's folder: what storage.read reads."""
        return storage.joined(folder, self.audio)

    def check(self) -> Utterance:
        """Itself, or ValueError saying which field is wrong and what would work."""
        for name in ("id", "audio", "text", "speaker", "split", "lang"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{name} is {value!r}; it must be a string with something in it")
        if not ID.fullmatch(self.id) or self.id in (".", ".."):
            raise ValueError(f"id is {self.id!r}; up to 200 characters, no slash, backslash or control character")
        if self.split not in SPLITS:
            raise ValueError(f"split is {self.split!r}; one of {', '.join(SPLITS)}")
        _number("seconds", self.seconds, above=True)
        _number("frame_seconds", self.frame_seconds, above=True)
        _number("lead_frames", self.lead_frames)
        _number("tail_frames", self.tail_frames)
        self._check_units()
        return self

    def _check_units(self) -> None:
        if self.units is None:
            if self.unit_frames is not None:
                raise ValueError("unit_frames is given without units")
            return
        if not self.units or not all(isinstance(unit, str) and unit for unit in self.units):
            raise ValueError("units must be a list of strings, none of them empty")
        if self.unit_frames is None:
            return
        if len(self.unit_frames) != len(self.units):
            raise ValueError(f"unit_frames has {len(self.unit_frames)} numbers for {len(self.units)} units")
        for value in self.unit_frames:
            _number("unit_frames", value)
        said = (self.lead_frames + sum(self.unit_frames) + self.tail_frames) * self.frame_seconds
        if abs(said - self.seconds) > max(0.1, 0.02 * self.seconds):
            raise ValueError(
                f"its units last {said:.2f} s together with the silences, the recording {self.seconds:.2f} s"
            )

    def to_dict(self) -> dict[str, Any]:
        """The plain JSON form, fields at their default left out (but not `split`)."""
        row = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name == "split" or f.default is dataclasses.MISSING or value != f.default:
                row[f.name] = list(value) if isinstance(value, tuple) else value
        row.pop("about")
        return row | self.about


FIELDS = {f.name: f for f in dataclasses.fields(Utterance)}
REQUIRED = [
    name for name, f in FIELDS.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
]


def _number(name: str, value: Any, above: bool = False) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if not good or value < 0 or (above and value == 0):
        raise ValueError(f"{name} is {value!r}; it must be a number {'above 0' if above else 'that is not negative'}")


def from_row(row: Any) -> Utterance:
    """An utterance from one parsed line. ValueError for fields that are missing, unknown (the nearest is named) or
    wrong.
    """
    if not isinstance(row, dict):
        raise ValueError(f"a line must be a JSON object, got {type(row).__name__}")
    missing = [name for name in REQUIRED if name not in row]
    if missing == ["seconds"] and "duration" in row:
        raise ValueError("the length is called 'seconds' here, not 'duration'")
    if not isinstance(row.get("about", {}), dict):
        raise ValueError(f"about is {row['about']!r}; it must be an object")
    known: dict[str, Any] = {}
    about = dict(row.get("about", {}))
    for key, value in row.items():
        if key in FIELDS:
            known[key] = tuple(value) if key in ("units", "unit_frames") and isinstance(value, list) else value
        elif key in NOTES or key.startswith("x_"):
            about[key] = value
        else:
            near = difflib.get_close_matches(key, FIELDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FIELDS)}; own notes begin with x_"
            raise ValueError(f"unknown field {key!r}; {hint}")
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    for key in ("units", "unit_frames"):
        if not isinstance(known.get(key), tuple | None):
            raise ValueError(f"{key} is {known[key]!r}; it must be a list")
    return Utterance(**(known | {"about": about})).check()


def read_manifest(path: str | os.PathLike[str], audio: bool = False) -> list[Utterance]:
    """Read and check a whole manifest.

    path may be a URL. audio: also see that every sound file is there, and every shard as long as is said. ModelError
    when the manifest is missing; ValueError with every fault (the first 20) as file:line otherwise, also for ids that
    come twice and for a manifest without utterances.
    """
    try:
        lines = storage.read(os.fspath(path)).split(b"\n")
    except storage.Unreadable as error:
        raise ModelError(f"cannot read the manifest {path}: {error.reason}; data_prep makes manifests") from None
    folder = storage.folder_of(path)
    found: list[Utterance] = []
    faults: list[str] = []
    lines_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            utterance = from_row(_parse(line))
            if utterance.id in lines_of:
                raise ValueError(f"id {utterance.id!r} is already on line {lines_of[utterance.id]}")
            lines_of[utterance.id] = number
            found.append(utterance)
        except ValueError as fault:
            faults.append(f"{path}:{number}: {fault}")
    if audio:
        missing = storage.faults_of(u.place(folder) for u in found)
        faults += [f"{path}:{lines_of[u.id]}: {missing[at]}" for u in found if (at := u.place(folder)) in missing]
    if faults:
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise ValueError("\n".join(faults[:MOST_FAULTS] + more))
    if not found:
        raise ValueError(f"{path} has no utterances; a line is a JSON object with {', '.join(REQUIRED)}")
    return found


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"), parse_constant=float)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start} of the line)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_manifest(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> int:
    """Write a manifest in one rename; returns the number of lines. ValueError, and no file, for a wrong utterance or a
    double id.
    """
    seen: set[str] = set()
    with files.writing(path, parents=True) as part, part.open("x", encoding="utf-8", newline="\n") as file:
        for utterance in utterances:
            if utterance.check().id in seen:
                raise ValueError(f"id {utterance.id!r} comes twice")
            seen.add(utterance.id)
            file.write(json.dumps(utterance.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
    return len(seen)


@dataclass(frozen=True)
class Statistics:
    """What a manifest holds."""

    utterances: int
    hours: float
    speakers: int
    shortest: float  # seconds
    median: float
    longest: float
    symbols: int  # different characters in the texts
    characters_per_second: float
    aligned: int  # utterances with unit times

    def line(self) -> str:
        """The figures in one line for people."""
        spread = f"{self.shortest:.2f} / {self.median:.2f} / {self.longest:.2f} s"
        return (
            f"{self.utterances} utterances, {self.hours:.2f} h, {self.speakers} speakers, {spread} (shortest / median "
            "/ longest), "
            f"{self.symbols} different characters, {self.characters_per_second:.1f} characters a second, "
            f"{self.aligned} aligned"
        )


def statistics(utterances: Sequence[Utterance]) -> dict[str, Statistics]:
    """Figures of every split that occurs, and of all under "all"."""
    groups = {"all": list(utterances)} | {s: [u for u in utterances if u.split == s] for s in SPLITS}
    return {name: _figures(group) for name, group in groups.items() if group}


def _figures(group: Sequence[Utterance]) -> Statistics:
    lengths = sorted(u.seconds for u in group)
    symbols: Counter[str] = Counter()
    for utterance in group:
        symbols.update(utterance.text)
    total = sum(lengths)
    return Statistics(
        len(group),
        total / 3600,
        len({u.speaker for u in group}),
        lengths[0],
        lengths[len(lengths) // 2],
        lengths[-1],
        len(symbols),
        sum(symbols.values()) / total,
        sum(u.aligned for u in group),
    )
