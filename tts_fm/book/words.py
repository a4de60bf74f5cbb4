"""Names and odd words of a book, with how often and where: what a reader would ask the author how to say.

A name is written with a capital in the middle of sentences and not without one elsewhere; an odd word is one whose
letters follow each other as in few other words of the book. No list of any language is needed. No sound.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from tts_fm.book.document import Book

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ENDS = re.compile(
    r"[.!?…:;][\"'”’»)\]]*\s*[\"'“‘«(\[—–-]*\s*$|"
    r"^[\W_]*$|[\"“‘«(\[—–-]\s*$|--\s*$"
)
_TITLES = frozenset("mr mrs miss ms dr sir lady lord the a an of and i o oh i’m i'm".split())
ODD_SHARE = 0.02  # of the distinct words
MOST_ODD = 200


@dataclass(frozen=True)
class NotedWord:
    """A word that one may want to put into a lexicon."""

    word: str
    kind: str  # "name" or "odd"
    count: int
    place: str  # chapter, and the words around its first place


def noted_words(book: Book) -> list[NotedWord]:
    """Names first, the commonest first; then odd words."""
    middle: Counter[str] = Counter()  # with a capital, in the middle of a sentence
    small: Counter[str] = Counter()
    total: Counter[str] = Counter()
    first: dict[str, str] = {}
    runs: Counter[str] = Counter()
    for chapter in book.chapters:
        for paragraph in chapter.paragraphs if chapter.spoken else ():
            if paragraph.skip is None and paragraph.kind != "heading":
                _count(paragraph.spoken_text().replace("_", ""), chapter.title, middle, small, total, first, runs)
    names = {w for w, n in middle.items() if n > small[w.lower()] and w.lower() not in _TITLES and len(w) > 1}
    pairs = {run: n for run, n in runs.items() if n > 1 or all(w in names for w in run.split())}
    found = [NotedWord(run, "name", n, first[run]) for run, n in pairs.items()]
    inside = Counter(w for run, n in pairs.items() for w in run.split() for _ in range(n))
    found += [NotedWord(w, "name", total[w], first[w]) for w in names if total[w] > inside[w]]
    found.sort(key=lambda n: (-n.count, n.word))
    return found + _odd(small, names, first)


def _count(
    text: str,
    where: str,
    middle: Counter[str],
    small: Counter[str],
    total: Counter[str],
    first: dict[str, str],
    runs: Counter[str],
) -> None:
    run: list[str] = []
    last = 0

    def end_of_run() -> None:
        if len(run) > 1:
            name = " ".join(run)
            runs[name] += 1
            first.setdefault(name, first.get(run[0], where))
        run.clear()

    for match in _WORD.finditer(text):
        word = re.sub(r"['’](?:s|ll|d|ve|re)$", "", match.group())
        between = text[last : match.start()]
        last = match.end()
        if between.strip():
            end_of_run()
        place = " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())
        if word[0].isupper() and not (word.isupper() and len(word) > 1):
            total[word] += 1
            first.setdefault(word, f"{where}: {place}")
            if not _ENDS.search(text[max(0, match.start() - 6) : match.start()]):
                middle[word] += 1
                if word.lower() not in _TITLES:
                    run.append(word)
                    continue
        else:
            small[word.lower()] += 1
            first.setdefault(word.lower(), f"{where}: {place}")
        end_of_run()
    end_of_run()


def _odd(small: Counter[str], names: set[str], first: dict[str, str]) -> list[NotedWord]:
    """Words of the lowest mean probability of their letters, by the letters of all distinct words."""
    known = {name.lower() for name in names}
    words = [w for w in small if w not in known]
    triples: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word in words:
        for a, b, c in _triples(word):
            triples[a + b][c] += 1

    def likely(word: str) -> float:
        logs = [math.log((triples[a + b][c] + 0.1) / (triples[a + b].total() + 3)) for a, b, c in _triples(word)]
        return sum(logs) / len(logs)

    rare = [w for w in words if small[w] <= 3 and len(w) > 3 and w in first]
    rare.sort(key=likely)
    most = min(MOST_ODD, max(1, round(ODD_SHARE * len(words)))) if rare else 0
    return [NotedWord(w, "odd", small[w], first[w]) for w in rare[:most]]


def _triples(word: str) -> list[tuple[str, str, str]]:
    padded = f"^^{word}$"
    return list(zip(padded, padded[1:], padded[2:], strict=False))
