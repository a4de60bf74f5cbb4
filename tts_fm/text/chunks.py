"""From the user's text to chunks that a model can speak: markup, normalisation, sentences, packing, phones.

This module knows text and its units, not audio: how long a chunk will last is only estimated here, to keep it within
the budget.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tts_fm.text.markup import Break, Ipa, parse_markup
from tts_fm.text.normalise import normalise
from tts_fm.text.split import pack, sentences
from tts_fm.text.tokens import PhonemeTokenizer, Tokenizer

LONGEST_TEXT = 100_000  # characters in one request
CHARS_PER_SECOND = 14.0  # of English read aloud; only used to pack sentences into chunks
SLOT = 0xE000  # private-use characters that stand for the words whose phones the user gave, while sentences are split


@dataclass(frozen=True)
class ChunkPlan:
    """One stretch of speech."""

    text: str  # normalised, for display and for character models
    ids: list[int]  # symbols of the model's vocabulary
    units: list[str]  # the same as text
    pause: float  # seconds of silence asked for before it
    unknown: Counter[str] = field(default_factory=Counter)  # symbols the model does not have


def plan_chunks(
    text: str, tokenizer: Tokenizer, lang: str, budget: float = 12.0, speed: float = 1.0
) -> list[ChunkPlan]:
    """Chunks of at most about `budget` seconds, in order. Raises ValueError when the text is too long or has nothing to
    say.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(
            f"the text has {len(text):,} characters; the limit is {LONGEST_TEXT:,}: split it, or use tts-fm batch"
        )
    plans: list[ChunkPlan] = []
    pause = 0.0
    for run, words in _runs(text, lang):
        if isinstance(run, Break):
            pause += run.seconds
            continue
        for chunk in pack(sentences(run), budget, lambda t: (0.3 + len(t) / CHARS_PER_SECOND) / speed):
            plan = _plan(chunk, words, tokenizer, pause)
            if plan is not None:
                plans.append(plan)
                pause = 0.0
    if not plans:
        shown = text.strip()[:40]
        raise ValueError(
            "the text is empty; give at least one word"
            if not shown
            else f"nothing in {shown!r} can be spoken; give at least one word"
        )
    return plans


def _runs(text: str, lang: str) -> list[tuple[str | Break, list[Ipa]]]:
    """The text between breaks, normalised, with one private-use character for each word in IPA; and the breaks."""
    runs: list[tuple[str | Break, list[Ipa]]] = []
    words: list[Ipa] = []
    current = ""
    for piece in parse_markup(text):
        if isinstance(piece, Break):
            runs += [(current, words), (piece, [])]
            current = ""
        elif isinstance(piece, Ipa):
            current += chr(SLOT + len(words) % 6000)
            words.append(piece)
        else:
            before, after = piece.text[:1].isspace(), piece.text[-1:].isspace()
            spoken = normalise(piece.text, lang)
            current += (" " if before and current else "") + spoken + (" " if after else "")
    return [*runs, (current, words)]


def _plan(chunk: str, words: list[Ipa], tokenizer: Tokenizer, pause: float) -> ChunkPlan | None:
    """Symbols of one chunk; None where it holds no letter."""
    shown = "".join(words[ord(c) - SLOT].word if 0 <= ord(c) - SLOT < len(words) else c for c in chunk)
    if not any(c.isalnum() for c in shown):
        return None
    if not isinstance(tokenizer, PhonemeTokenizer):
        encoded = tokenizer.encode(shown)
        return ChunkPlan(shown, encoded.ids, encoded.tokens, pause, encoded.unknown)
    ids: list[int] = []
    units: list[str] = []
    unknown: Counter[str] = Counter()
    for part in _parts(chunk, words):
        if isinstance(part, str) and not part.strip():
            encoded = tokenizer.encode_units([" "] if units else [])
        elif isinstance(part, str):
            lead, tail = part[:1] == " " and bool(units), part[-1:] == " "
            inner = tokenizer.encode(part.strip())
            unknown += inner.unknown
            encoded = tokenizer.encode_units([" "] * lead + inner.tokens + [" "] * tail)
        else:
            encoded = tokenizer.encode_ipa(part.ipa)
        ids, units, unknown = ids + encoded.ids, units + encoded.tokens, unknown + encoded.unknown
    return ChunkPlan(shown, ids, units, pause, unknown) if ids else None


def _parts(chunk: str, words: list[Ipa]) -> list[str | Ipa]:
    parts: list[str | Ipa] = [""]
    for char in chunk:
        if 0 <= ord(char) - SLOT < len(words):
            parts += [words[ord(char) - SLOT], ""]
        else:
            parts[-1] = str(parts[-1]) + char
    return [part for part in parts if part != ""]
