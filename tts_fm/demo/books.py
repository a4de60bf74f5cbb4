"""Books of the demo's visitors, without Gradio: each lies in a folder named by its digest, with what has been spoken.

The folder is the state: whoever comes back with the same book, or reloads the page, goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tts_fm.batch.rounds import word_record
from tts_fm.book.document import Book
from tts_fm.book.plan import BookPlan, Unit, Voices, plan_book
from tts_fm.book.read import FORMS, read_book
from tts_fm.book.scripts import Cast
from tts_fm.files import write_json
from tts_fm.settings import Settings

if TYPE_CHECKING:
    from tts_fm.synthesis import Speech

KEPT_HOURS = 24.0
KEY = re.compile(r"[0-9a-f]{32}")
KINDS = tuple(sorted(suffix for suffix in FORMS if suffix and suffix not in (".srt", ".vtt")))
OUTPUTS = ("m4b", "epub", "mp3")


@dataclass
class OpenBook:
    """A visitor's book."""

    key: str
    folder: Path
    source: Path
    book: Book

    @property
    def work(self) -> Path:
        """Where its units are."""
        return self.folder / "work"

    def chapters(self) -> list[tuple[str, int]]:
        """(what is shown, number in the list) of the chapters that can be spoken."""
        return [
            (f"{c.full_title[:70]} ({c.spoken_words:,} words)", k) for k, c in enumerate(self.book.chapters) if c.spoken
        ]

    def plan(self, chosen: list[int], voice: str | None, quotes: str | None, settings: Settings) -> BookPlan:
        """The units of the chosen chapters. ValueError where none is chosen."""
        if not chosen:
            raise ValueError("no chapter is ticked; tick at least one")
        book = replace(self.book, chapters=[c for k, c in enumerate(self.book.chapters) if k in set(chosen)])
        return plan_book(book, settings, Voices(voice, cast=Cast(quotes=quotes or None)))

    def left(self, plan: BookPlan) -> list[Unit]:
        """What is still to be spoken, in the order in which it is heard; each sound once."""
        units = {unit.id: unit for unit in plan.units if not (self.work / f"{unit.id}.flac").is_file()}
        return list(units.values())

    def keep(self, unit: Unit, speech: Speech) -> Path:
        """Put the sound and the words of a unit into the folder: the words first, so that a sound is complete. Returns
        the file of the sound.
        """
        self.work.mkdir(exist_ok=True)
        write_json(self.work / f"{unit.id}.words.json", word_record(speech), indent=None)
        sound = self.work / f"{unit.id}.flac"
        speech.save(sound)
        return sound


class Shelf:
    """All books that visitors have brought."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, upload: str) -> OpenBook:
        """Take a file in; the same file gives the same book. ValueError for what is no book."""
        self.sweep()
        path = Path(upload)
        key = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        folder = self.root / key
        suffix = path.suffix.lower() if path.suffix.lower() in FORMS else ".txt"
        source = folder / f"book{suffix}"
        if not source.is_file():
            book = read_book(path)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source)
            write_json(folder / "about.json", {"title": book.title, "file": path.name, "source": source.name})
        return self.open(key)

    def open(self, key: str) -> OpenBook:
        """A book that was put here before. ValueError where it is not there any more."""
        folder = self.root / key
        if not KEY.fullmatch(key) or not (folder / "about.json").is_file():
            raise ValueError("that book is not here any more; drop its file again")
        about = json.loads((folder / "about.json").read_text("utf-8"))
        source = folder / str(about["source"])
        book = read_book(source)
        if book.title == "book":  # a text without a title has its file's name
            book.title = Path(str(about["file"])).stem
        folder.touch()
        return OpenBook(key, folder, source, book)

    def sweep(self) -> None:
        """Remove books that nobody has opened for a day."""
        for folder in self.root.glob("*") if self.root.is_dir() else ():
            if time.time() - folder.stat().st_mtime > KEPT_HOURS * 3600:
                shutil.rmtree(folder, ignore_errors=True)
