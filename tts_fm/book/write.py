"""The audiobook itself: a folder of chapters, one file with chapter marks, or an EPUB that reads itself aloud.

Which one is told by the suffix. Everything is made from the work folder, a chapter at a time; it may begin while the
book is still being spoken (`ready` waits until a unit is there).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tts_fm.book.document import Book
from tts_fm.book.plan import BookPlan, Unit
from tts_fm.book.sound import Mark, SoundFile, Tags
from tts_fm.book.timeline import ChapterSound
from tts_fm.files import write_text
from tts_fm.text.subtitles import subtitles
from tts_fm.text.word_times import Word

if TYPE_CHECKING:
    import numpy as np

FORMS = ("m4b", "m4a", "mp3", "opus", "epub")
ROOM = (0.75, 1.5)  # seconds of silence before and after a chapter of --acx
_BAD = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)
Ready = Callable[[Unit], None]


@dataclass
class Written:
    """What was made."""

    files: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    marks: list[Mark] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)  # of --acx, a line for each file


def form_of(out: str) -> str:
    """ "folder", or one of FORMS, by the suffix. ValueError for another one."""
    suffix = Path(out).suffix.lower().lstrip(".")
    if out.endswith(("/", "\\")) or not suffix or Path(out).is_dir():
        return "folder"
    if suffix not in FORMS:
        raise ValueError(f"{out} ends in .{suffix}; books become .{', .'.join(FORMS)}, or a folder (no suffix)")
    return suffix


def sounds(
    plan: BookPlan, work: Path, ready: Ready | None = None, room: tuple[float, float] | None = None
) -> list[ChapterSound]:
    """The chapters as they are heard; room: seconds of silence before and after each."""
    gap = plan.pauses["chapter"]
    last = len(plan.chapters) - 1
    return [
        ChapterSound(
            plan,
            k,
            work,
            room[1] if room else gap if k < last else plan.pauses["book"],
            room[0] if room else 0.0,
            ready,
        )
        for k in range(len(plan.chapters))
    ]


def write_single(
    plan: BookPlan,
    book: Book,
    work: Path,
    out: Path,
    kind: str,
    narrator: str = "",
    kind_of_subtitles: str | None = None,
    ready: Ready | None = None,
) -> Written:
    """One file with a mark at the first word of every chapter."""
    made = Written([out])
    cues: list[Cue] = []
    with SoundFile(out, kind) as file:
        for number, chapter in enumerate(sounds(plan, work, ready)):
            start = file.seconds
            for block in chapter.blocks():
                file.write(block)
            made.marks.append(Mark(chapter.title, start + (chapter.first_word() if number else 0.0), file.seconds))
            cues += cues_of(chapter, start) if kind_of_subtitles else []
            chapter.forget()
        made.marks = [
            Mark(mark.title, mark.start, following.start if following else file.seconds)
            for mark, following in zip(made.marks, [*made.marks[1:], None], strict=True)
        ]
        file.marks, made.seconds = made.marks, file.seconds
        file.tags = tags_of(book, narrator)
    if kind_of_subtitles:
        made.files.append(out.with_suffix(f".{kind_of_subtitles}"))
        write_text(made.files[-1], subtitles(cues, kind_of_subtitles))
    return made


def write_folder(
    plan: BookPlan,
    book: Book,
    work: Path,
    out: Path,
    narrator: str = "",
    kind_of_subtitles: str = "vtt",
    acx: bool = False,
    ready: Ready | None = None,
) -> Written:
    """A file for each chapter, `01 Title.mp3`, with subtitles beside it, and a playlist."""
    made = Written()
    out.mkdir(parents=True, exist_ok=True)
    playlist = ["#EXTM3U", f"#PLAYLIST:{book.title}"]
    names = file_names([chapter.full_title for chapter in plan.chapters])
    for number, chapter in enumerate(sounds(plan, work, ready, ROOM if acx else None)):
        path = out / f"{names[number]}.mp3"
        with SoundFile(path, "acx" if acx else "mp3") as file:
            file.tags = tags_of(book, narrator, chapter.title, (number + 1, len(plan.chapters)))
            for block in _levelled(chapter) if acx else chapter.blocks():
                file.write(block)
        write_text(path.with_suffix(f".{kind_of_subtitles}"), subtitles(cues_of(chapter, 0.0), kind_of_subtitles))
        made.files += [path, path.with_suffix(f".{kind_of_subtitles}")]
        made.marks.append(Mark(chapter.title, made.seconds, made.seconds + chapter.seconds))
        made.seconds += chapter.seconds
        playlist += [f"#EXTINF:{chapter.seconds:.0f},{chapter.title}", path.name]
        if acx:
            from tts_fm.book.acx import measure

            made.figures.append(measure(path).line(path.name))
        chapter.forget()
    made.files.append(out / "playlist.m3u8")
    write_text(made.files[-1], "\n".join(playlist) + "\n")
    return made


def _levelled(chapter: ChapterSound) -> Iterator[np.ndarray]:
    from tts_fm.book.acx import levelled

    return levelled(chapter)


@dataclass
class Cue:
    """A stretch as text/subtitles.py takes it, with the words as they are written."""

    text: str
    start: float
    seconds: float
    words: list[Word]


def cues_of(chapter: ChapterSound, at: float) -> list[Cue]:
    """A chapter that begins at `at` seconds, for subtitles; after its blocks have been read."""
    return [
        Cue(text, at + start, seconds, [Word(w.text, at + w.start, at + w.end) for w in words])
        for text, start, seconds, words in chapter.chunks
        if words
    ]


def tags_of(book: Book, narrator: str, title: str = "", track: tuple[int, int] | None = None) -> Tags:
    """What players show of a book, or of a chapter of it."""
    by = f"generated speech; voice {narrator}" if narrator else "generated speech"
    return Tags(title or book.title, book.title, book.author, narrator, book.language, track, book.cover, by)


def file_names(titles: list[str]) -> list[str]:
    """ "01 Down the Rabbit-Hole": names that every file system takes, numbered so that they sort."""
    width = max(2, len(str(len(titles))))
    return [f"{number:0{width}d} {safe_name(title)}".strip() for number, title in enumerate(titles, 1)]


def safe_name(title: str) -> str:
    """A title as a file's name: no sign that a system forbids, at most 80 characters and 160 bytes."""
    name = " ".join(_BAD.sub(" ", title).split())[:80]
    while len(name.encode()) > 160:
        name = name[:-1]
    name = name.strip(" .")
    return f"{name} chapter" if _RESERVED.fullmatch(name) else name
