"""Units become sound that is kept: OUT.work has a FLAC and its word times for each, and is gone on with after any kill.

The speaking is batch's: in exact batches, chapter after chapter, by as many workers as are asked for. This module knows
what belongs to which book, and reads back what is there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.batch.forms import Part
from tts_fm.batch.journal import Record
from tts_fm.batch.lists import Item
from tts_fm.batch.rounds import Check, Options
from tts_fm.batch.run import Progress, run_batch
from tts_fm.book.document import Book
from tts_fm.book.plan import BookPlan, Unit
from tts_fm.files import write_json
from tts_fm.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from tts_fm.synthesis import TTS

#: how a book is spoken: kept as FLAC with its words, what failed is tried again
OPTIONS = Options(format="flac", words=True, retry_failed=True)


@dataclass(frozen=True)
class SpokenUnit:
    """A unit that has been spoken."""

    unit: Unit
    pcm: np.ndarray  # (S,) int16, 24 kHz
    words: list[tuple[str, float, float]]  # as spoken; seconds from the start of the unit
    chunks: list[tuple[str, float]]


def work_folder(out: Path) -> Path:
    """Where the units of a book are kept."""
    return out.with_name(out.name + ".work")


def claim(work: Path, book: Book) -> None:
    """Make the folder, or see that it is this book's. ValueError where it is another's, or no work folder."""
    note = work / "book.json"
    mine = {"title": book.title, "file": book.source}
    if note.is_file():
        try:
            other = json.loads(note.read_text("utf-8"))
        except ValueError:
            other = mine
        if other.get("title") != mine["title"] and other.get("file") != mine["file"]:
            raise ValueError(
                f"{work} is of another book ({other.get('title')}); give another -o, or remove that folder first"
            )
        return
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        raise ValueError(f"{work} is there already and is no work folder of a book; give another -o, or remove it")
    work.mkdir(parents=True, exist_ok=True)
    write_json(note, mine)


def items_of(units: Sequence[Unit], settings: Settings) -> list[Item]:
    """One item for batch for each unit that is different; a repeated one is spoken once."""
    items: dict[str, Item] = {}
    for unit in units:
        if unit.id not in items:
            part = Part(unit.text, unit.voice, unit.ref_text)
            items[unit.id] = Item(unit.id, (part,), replace(settings, item=unit.id), unit.id, unit.chapter)
    return list(items.values())


def speak_book(
    plan: BookPlan,
    settings: Settings,
    work: Path,
    load: Callable[[], TTS],
    options: Options = OPTIONS,
    model: str = "",
    on_progress: Callable[[Progress, Record | None], None] | None = None,
    stop: threading.Event | None = None,
    transcribe: Callable[[], Check] | None = None,
) -> Progress:
    """Speak what is not there yet. Arguments as batch.run_batch's; raises as it does."""
    return run_batch(items_of(plan.units, settings), work, load, options, model, on_progress, stop, transcribe)


def failed_units(plan: BookPlan, work: Path) -> list[Unit]:
    """Units of which there is no sound."""
    return [unit for unit in plan.units if not (work / f"{unit.id}.flac").is_file()]


def spoken_unit(unit: Unit, work: Path) -> SpokenUnit:
    """Read a unit back. ValueError where it is missing or damaged."""
    import soundfile

    try:
        pcm, _ = soundfile.read(work / f"{unit.id}.flac", dtype="int16")
        record: dict[str, Any] = json.loads((work / f"{unit.id}.words.json").read_text("utf-8"))
    except (OSError, ValueError, soundfile.LibsndfileError) as error:
        raise ValueError(f"{work / unit.id}.flac cannot be read ({error}); remove it and run again") from None
    words = [(str(text), float(start), float(end)) for text, start, end in record["words"]]
    return SpokenUnit(unit, pcm, words, [(str(text), float(start)) for text, start in record["chunks"]])


def chapter_units(
    plan: BookPlan, number: int, work: Path, ready: Callable[[Unit], None] | None = None
) -> Iterator[SpokenUnit]:
    """The units of a chapter in order, one in memory at a time; those that failed are left out. ready: waits until a
    unit has been spoken; None = all have.
    """
    for unit in plan.of_chapter(number):
        if ready is not None:
            ready(unit)
        if (work / f"{unit.id}.flac").is_file():
            yield spoken_unit(unit, work)
