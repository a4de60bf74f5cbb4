"""What stays with a visitor while the page is open: sound that is heard while more of it is spoken, and takes to
compare. Without Gradio.

Each session has a folder of its own, which goes when the page is left. The page's player (page.js) is told by HTML
which files to play.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from tts_fm.audio.files import write_audio
from tts_fm.audio.mel import SAMPLE_RATE

KEPT_HOURS = 24.0
TAKES = 12  # of one session; older ones are removed
TOLD = 100  # newest sounds that the player is told of; it remembers the others
AHEAD = 30.0  # seconds of sound beyond what can have been heard, from which on whole files are early enough


class FieldError(ValueError):
    """What is wrong with one input of a page; field: its name, without the page's."""

    def __init__(self, text: str, field: str) -> None:
        super().__init__(text)
        self.field = field


@contextmanager
def at_field(name: str) -> Iterator[None]:
    """Errors that are raised here are about one input."""
    try:
        yield
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError(str(error), name) from None


def address(file: Path) -> str:
    """Where the page finds a file of a session, relative to the page."""
    return "gradio_api/file=" + quote(file.as_posix())


class Live:
    """The sound of one request, piece by piece."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sounds: list[tuple[str, float]] = []  # address, seconds of silence before it
        self._seconds, self._began = 0.0, 0.0

    def add(self, wave: np.ndarray, pause: float = 0.0) -> None:
        """A piece (S,) that has just been spoken, heard after a pause in seconds."""
        file = self.folder / f"{len(self._sounds):05d}.wav"
        write_audio(file, wave, SAMPLE_RATE, "wav", {"software": "tts_fm", "comment": "generated speech"})
        self._put(file, pause, len(wave) / SAMPLE_RATE)

    def add_file(self, file: Path, seconds: float, pause: float = 0.0) -> None:
        """A piece that is a file already; it is linked, so that it stays as long as the session."""
        own = self.folder / f"{len(self._sounds):05d}{file.suffix}"
        try:
            os.link(file, own)
        except OSError:  # another file system
            shutil.copyfile(file, own)
        self._put(own, pause, seconds)

    def _put(self, file: Path, pause: float, seconds: float) -> None:
        self._began = self._began or time.monotonic()
        self._seconds += pause + seconds
        self._sounds.append((address(file), round(pause, 3)))

    @property
    def early(self) -> bool:
        """Whether whoever listens has heard nearly all of it, so that every piece is wanted as soon as it is there."""
        return not self._sounds or self._seconds - (time.monotonic() - self._began) < AHEAD

    def html(self, ended: bool = False) -> str:
        """What tells the player; the first of the newest sounds by its number."""
        first = max(0, len(self._sounds) - TOLD)
        sounds = escape(json.dumps(self._sounds[first:]), quote=True)
        return (
            f'<div class="tts-live" data-run="{self.folder.name}" data-first="{first}" data-ended="{int(ended)}" '
            f'data-sounds="{sounds}"></div>'
        )


@dataclass(frozen=True)
class Kept:
    """One take of a session."""

    number: int
    file: Path
    text: str
    about: str  # voice, seed, length


@dataclass
class History:
    """The takes of a session, oldest first."""

    takes: list[Kept] = field(default_factory=list)
    count: int = 0

    def html(self) -> str:
        """The takes as a list, newest first, with what compares two of them; empty text where there are none."""
        newest = self.takes[-1].number if self.takes else 0
        before = self.takes[-2].number if len(self.takes) > 1 else newest
        rows = "".join(_row(take, before, newest) for take in reversed(self.takes))
        play = "".join(
            f'<button type="button" class="tts-button tts-ab" data-side="{side}" aria-pressed="false">Play {side}'
            "</button>"
            for side in "AB"
        )
        compare = f'<p class="tts-compare">{play} Switch while it plays: the other one goes on at the same place.</p>'
        return f'<div class="tts-takes">{compare if len(self.takes) > 1 else ""}<ol>{rows}</ol></div>' if rows else ""


def _row(take: Kept, before: int, newest: int) -> str:
    where, name = escape(address(take.file), quote=True), f"take {take.number}"
    sides = "".join(
        f'<label><input type="radio" name="tts-side-{side}" value="{where}" aria-label="{side} is {name}"'
        f"{' checked' * (take.number == chosen)}> {side}</label> "
        for side, chosen in (("A", before), ("B", newest))
    )
    return (
        f'<li value="{take.number}"><span>{escape(take.about)}</span> <q>{escape(short(take.text))}</q>'
        f'<div class="tts-take"><audio controls preload="none" src="{where}" aria-label="{name}"></audio>'
        f'<span>{sides}<a href="{where}" download="take-{take.number}.wav">Download</a></span></div></li>'
    )


def short(text: str, most: int = 60) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


class Sessions:
    """The folders of all sessions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self._guard = threading.Lock()
        self._folders: dict[str, Path] = {}

    def folder(self, session: str) -> Path:
        """The session's own; those that nobody has used for a day are removed."""
        with self._guard:
            for old in self.root.iterdir():
                if time.time() - old.stat().st_mtime > KEPT_HOURS * 3600:
                    shutil.rmtree(old, ignore_errors=True)
            found = self._folders.get(session)
            if found is None or not found.is_dir():
                found = self._folders[session] = Path(tempfile.mkdtemp(dir=self.root))
            os.utime(found)
            return found

    def live(self, session: str, tab: str) -> Live:
        """Where the sound of a request goes; that of the same page before is removed."""
        folder = self.folder(session)
        for old in folder.glob(f"{tab}-*"):
            shutil.rmtree(old, ignore_errors=True)
        return Live(Path(tempfile.mkdtemp(dir=folder, prefix=f"{tab}-")))

    def keep(self, session: str, history: History, file: Path, text: str, about: Sequence[str]) -> History:
        """The history with one more take, whose file is copied."""
        number = history.count + 1
        own = self.folder(session) / f"take-{number}.wav"
        shutil.copyfile(file, own)
        takes = [*history.takes, Kept(number, own, text, ", ".join(about))]
        for old in takes[:-TAKES]:
            old.file.unlink(missing_ok=True)
        return History(takes[-TAKES:], number)

    def leave(self, session: str) -> None:
        """The page was left: nothing of it stays."""
        with self._guard:
            found = self._folders.pop(session, None)
        if found is not None:
            shutil.rmtree(found, ignore_errors=True)
