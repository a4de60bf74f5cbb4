"""When each word of a book is heard: units laid out in time, and the words as written matched to those as spoken.

A chapter's sound is its units with their pauses, and a tail. `ChapterSound` streams it as blocks of 16 bit samples and
notes, on the way, when every word begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.book.plan import BookPlan, Unit, spoken_tokens
from tts_fm.book.speak import SpokenUnit, chapter_units
from tts_fm.text.normalise import normalise

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class HeardWord:
    """A word of the source and when it is heard."""

    paragraph: int  # in its chapter
    token: int  # among the words between spaces of that paragraph
    text: str  # as written
    start: float  # seconds, in the chapter
    end: float


@dataclass
class ChapterSound:
    """One chapter as it is heard. `words` and `seconds` are complete when `blocks` has been read to its end."""

    plan: BookPlan
    number: int
    work: Path
    tail: float = 0.0  # seconds of silence behind it
    head: float = 0.0  # and before it
    ready: Callable[[Unit], None] | None = None  # waits until a unit has been spoken
    words: list[HeardWord] = field(default_factory=list)
    chunks: list[tuple[str, float, float, list[HeardWord]]] = field(default_factory=list)
    samples: int = 0

    @property
    def title(self) -> str:
        return self.plan.chapters[self.number].full_title

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def blocks(self) -> Iterator[np.ndarray]:
        """(S,) int16 at 24 kHz, block after block."""
        import numpy as np

        def quiet(seconds: float) -> np.ndarray:
            return np.zeros(round(seconds * SAMPLE_RATE), np.int16)

        self.words, self.chunks, self.samples = [], [], 0
        pieces = [quiet(self.head)]
        for spoken in chapter_units(self.plan, self.number, self.work, self.ready):
            pieces += [quiet(spoken.unit.pause), spoken.pcm]
            at = (self.samples + sum(len(p) for p in pieces[:-1])) / SAMPLE_RATE
            self._note(spoken, at)
            for piece in pieces:
                self.samples += len(piece)
                yield piece
            pieces = []
        pieces.append(quiet(self.tail))
        for piece in pieces:
            self.samples += len(piece)
            yield piece

    def _note(self, spoken: SpokenUnit, at: float) -> None:
        paragraph = self.plan.chapters[self.number].paragraphs[spoken.unit.paragraph]
        tokens = spoken_tokens(paragraph, spoken.unit.start, spoken.unit.end)
        times = written_times([text for _, text in tokens], spoken.words, len(spoken.pcm) / SAMPLE_RATE)
        words = [
            HeardWord(spoken.unit.paragraph, token, text, at + start, at + end)
            for (token, text), (start, end) in zip(tokens, times, strict=True)
        ]
        # a stretch in another voice may begin inside a word between spaces: that word was noted already
        known = {(w.paragraph, w.token) for w in self.words[-3:]}
        self.words += [w for w in words if (w.paragraph, w.token) not in known]
        self.chunks.append((" ".join(text for _, text in tokens), at, len(spoken.pcm) / SAMPLE_RATE, words))

    def forget(self) -> None:
        """Let the words go, so that memory does not grow with the book; `seconds` stays."""
        self.words, self.chunks = [], []

    def first_word(self) -> float:
        """When the title's first word is heard, in seconds; where the chapter's mark is set."""
        return self.words[0].start if self.words else 0.0


def written_times(
    written: Sequence[str], spoken: Sequence[tuple[str, float, float]], seconds: float
) -> list[tuple[float, float]]:
    """(start, end) of each written word, from the times of the words as they are spoken ("1865" is four of them).

    Both are matched word by word; what does not match takes its share of the time between its neighbours.
    """
    parts = [_spoken_form(word) for word in written]
    flat = [(k, word) for k, words in enumerate(parts) for word in words]
    heard = [_bare(word) for word, _, _ in spoken]
    owner: list[list[int]] = [[] for _ in written]
    matcher = SequenceMatcher(None, [word for _, word in flat], heard, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        for n in range(a, b):
            if kind == "equal":
                owner[flat[n][0]].append(c + n - a)
            elif kind == "replace":
                owner[flat[n][0]].append(c + (n - a) * (d - c) // (b - a))
    times: list[tuple[float, float] | None] = [
        (min(spoken[n][1] for n in own), max(spoken[n][2] for n in own)) if own else None for own in owner
    ]
    return _filled(times, seconds)


def _filled(times: list[tuple[float, float] | None], seconds: float) -> list[tuple[float, float]]:
    """Times for the words that have none, between their neighbours'; none runs backwards."""
    done: list[tuple[float, float]] = []
    for k, time in enumerate(times):
        last = done[-1][1] if done else 0.0
        if time is None:
            ahead = next((n for n in range(k, len(times)) if times[n] is not None), len(times))
            following = times[ahead] if ahead < len(times) else None
            limit = max(last, following[0] if following is not None else seconds)
            time = (last, last + (limit - last) / (ahead - k + 1))
        start = max(time[0], done[-1][0] if done else 0.0)
        done.append((start, max(start, time[1])))
    return done


def _spoken_form(word: str) -> list[str]:
    return [bare for part in normalise(word).split() if (bare := _bare(part))] or [_bare(word)]


def _bare(word: str) -> str:
    return "".join(char for char in word.lower() if char.isalnum())
