"""Subtitles become a Book whose paragraphs have times: what is dubbed.

SRT and WebVTT. A cue is a paragraph; marks of style are taken out, "{voice emma}" and WebVTT's <v Emma> name who says
it.
"""

from __future__ import annotations

import html as entities
import re

from tts_fm.book.document import Book, BookError, Chapter, Paragraph
from tts_fm.text.plain import count_words

MOST = 100_000  # cues
_TIME = r"(?:(?P<{0}h>[0-9]{{1,3}}):)?(?P<{0}m>[0-9]{{1,2}}):(?P<{0}s>[0-9]{{1,2}})[.,](?P<{0}f>[0-9]{{1,3}})"
_LINE = re.compile(_TIME.format("a") + r"\s*-->\s*" + _TIME.format("b"))
_VOICE = re.compile(r"<v(?:\.[\w.-]*)?\s+([^<>]{1,60})>")
_TAG = re.compile(
    r"</?(?:i|b|u|c|v|lang|ruby|rt|font)(?:[ .][^<>]{0,200})?>|<[0-9:.]{5,15}>|\{\\[^{}]{0,100}\}", re.IGNORECASE
)


def read_cues(text: str, title: str) -> Book:
    """The cues as one chapter. BookError where there are none, or times run backwards."""
    paragraphs: list[Paragraph] = []
    notes: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip().split("\n")
        at = next((k for k, line in enumerate(lines[:3]) if _LINE.search(line)), None)
        if at is None:
            continue
        match = _LINE.search(lines[at])
        assert match is not None
        begin, end = _seconds(match, "a"), _seconds(match, "b")
        body = " ".join(line.strip() for line in lines[at + 1 :] if line.strip())
        voice = _VOICE.search(body)
        said = " ".join(entities.unescape(_TAG.sub("", _VOICE.sub("", body))).split())
        said = re.sub(r"^[-–—] (?=\S)", "", said)
        if end <= begin:
            notes.append(f"the cue at {begin:.2f} s ends before it begins; it is left out")
            continue
        if said:
            skip = "illustrations" if re.fullmatch(r"[\[(♪♫].{0,200}[\])♪♫]", said) else None
            paragraphs.append(
                Paragraph("cue", said, skip=skip, voice=voice[1].strip() if voice else None, time=(begin, end))
            )
        if len(paragraphs) > MOST:
            raise BookError(f"the subtitles have more than {MOST:,} cues; split them")
    if not paragraphs:
        raise BookError("there are no cues in the file; a cue is 00:00:01,000 --> 00:00:02,500 with text below it")
    paragraphs.sort(key=lambda p: p.time or (0.0, 0.0))
    words = sum(count_words(p.text) for p in paragraphs)
    return Book(title, [Chapter(title, "body", paragraphs, 1)], notes=notes[:20], words=words)


def _seconds(match: re.Match[str], side: str) -> float:
    hours, minutes, seconds = (int(match[side + part] or 0) for part in "hms")
    return 3600 * hours + 60 * minutes + seconds + int(match[side + "f"].ljust(3, "0")) / 1000
