"""What the rule modules of this room share: the table of rules, the pattern of a written number, and how what is said
is put in.

A rule is one bounded regex and a function that says in words what it found (or None: leave it). Rules run in the order
in which they are written, each over the whole text, so time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Say = Callable[[re.Match[str], bool], str | None]  # what is said instead of a match; None leaves it

NUM = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,5}(?![0-9])(?:\.[0-9]{1,30})?|[0-9]{1,15}(?![0-9])(?:\.[0-9]{1,30})?|\.[0-9]{1,30})"
)


class Rules(list[tuple[re.Pattern[str], Say]]):
    """Rules of one kind, in their order; used as the decorator that adds one."""

    def __call__(self, pattern: str, flags: int = 0) -> Callable[[Say], Say]:
        def add(say: Say) -> Say:
            self.append((re.compile(pattern, flags), say))
            return say

        return add

    def speak(self, text: str, gb: bool) -> str:
        """`text` with everything that the rules know in words; `gb` chooses British usage. Never raises."""
        for pattern, say in self:
            text = pattern.sub(lambda match, say=say: _put(match, say(match, gb)), text)  # type: ignore[misc]
        return text


def one_of(table: Iterable[str]) -> str:
    """The names of a table as one alternative of a pattern, the longest first."""
    return "|".join(re.escape(name) for name in sorted(table, key=len, reverse=True))


def _put(match: re.Match[str], said: str | None) -> str:
    """What replaces `match`, kept apart from letters beside it."""
    if said is None:
        return match.group()
    whole, start, end = match.string, match.start(), match.end()
    before = " " if start and whole[start - 1].isalnum() and said[:1].isalnum() else ""
    after = " " if end < len(whole) and whole[end].isalnum() and said[-1:].isalnum() else ""
    return before + said + after
