"""When each word of a book is heard: units laid out in time, and the words as written matched to those as spoken.

A chapter's sound is its units with their pauses, and a tail. `ChapterSound` streams it as blocks of 16 bit samples and
notes, on the way, when every word begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.book.plan import BookPlan, Unit, spoken_tokens
from tts_fm.book.speak import SpokenUnit, chapter_units
from tts_fm.text.word_times import written_times

if TYPE_CHECKING:
    import numpy as np

EARLY = 0.02  # seconds; a "ch" begins before its loudness does


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
        """Just before the title's first word is heard, in seconds; where the chapter's mark is set."""
        return max(0.0, self.words[0].start - EARLY) if self.words else 0.0
