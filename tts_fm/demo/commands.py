"""Texts that come in, examples, scripts of `[name] words`, uploaded texts and lists, and that go out: command lines.
Over strings; no files but those that are uploaded.

Only stored voices and the page's own recordings can be named: a list never names a file of the machine that runs the
demo.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tts_fm.settings import Settings, as_text, offered

if TYPE_CHECKING:
    from tts_fm.batch.lists import Item

OWN = ""  # the voice choice that means "my recording"
TAG = re.compile(r"\s*\[([A-Za-z0-9][A-Za-z0-9_-]{0,63})\](?!\()\s*")  # [name], but not [word](/ipa/)
EXAMPLES = (  # what a button is called, and what it puts into the text
    ("Sentence", "The birch canoe slid on the smooth planks."),
    ("Numbers", "On 3 May 2024, Dr. Lee paid $1,250.50 for 12 tickets, and the train left at 7:45 p.m."),
    ("Twister", "Peter Piper picked a peck of pickled peppers. <break 0.4s> How many did he pick?"),
    (
        "Story",
        "The keeper had not slept for two nights, since the lamp would not burn. He climbed the stairs once more, "
        "counting each of them aloud, and at the top he stopped. Somebody had been here before him. On the sill lay a "
        "single wet glove, and beside it, still warm, the lamp was shining as it had never shone before.",
    ),
)
LIST_TYPES = (".txt", ".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Turn:
    """One thing to say, of a script."""

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


def text_of(path: str, most: int) -> str:
    """What can be spoken of an uploaded text, Markdown, HTML or EPUB file, its paragraphs apart by an empty line.
    ValueError for what is none, or has more than `most` characters.
    """
    from tts_fm.book.read import read_book

    book = read_book(Path(path))
    chapters = [chapter for chapter in book.chapters if chapter.spoken]
    spoken = (paragraph.spoken_text() for chapter in chapters for paragraph in chapter.paragraphs)
    text = "\n\n".join(" ".join(words.split()) for words in spoken if words.strip())
    if len(text) > most:
        raise ValueError(
            f"the file has {len(text):,} characters, this page takes {most:,}: the page Book reads a text of any length"
        )
    return text


def read_items(path: str, settings: Settings, most: int, characters: int) -> list[Item]:
    """Items of an uploaded list, read as `tts-fm batch` reads it, but that it may name stored voices only. ValueError
    with every fault and its line.
    """
    from tts_fm.batch.lists import ListError, read_list

    suffix = Path(path).suffix.lower()
    if suffix not in LIST_TYPES:
        raise ValueError(
            f"a list is a {', '.join(LIST_TYPES)} file, got {suffix or 'a file without a suffix'}; tts-fm batch reads "
            "more forms"
        )
    try:
        items = read_list(path, settings=settings, recordings=False).items
    except ListError as error:
        more = [f"and {len(error.faults) - 12} more"] if len(error.faults) > 12 else []
        raise ValueError("\n".join(error.faults[:12] + more)) from None
    if len(items) > most:
        raise ValueError(f"the list has {len(items):,} lines, this demo takes {most:,}; use tts-fm batch")
    total = sum(len(part.text) for item in items for part in item.parts)
    if total > characters:
        raise ValueError(f"the list has {total:,} characters, this demo takes {characters:,}; use tts-fm batch")
    return items


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
