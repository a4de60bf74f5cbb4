"""Text to ids: characters, F5's "pinyin" characters, and phone units, behind one small interface.

`ids` are plain indices into `vocab`; F5's shift by one (0 = filler) belongs to the model. A symbol that the vocabulary
lacks is counted in `unknown`, never lost in silence: char and pinyin give it id 0, as F5 does; phonemes leave it out.
This module does not know about numbers, sentences or markup.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tts_fm import files
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.text.phonemes import ipa_units, phoneme_units

NAMES = ("char", "pinyin", "phoneme")


@dataclass(frozen=True)
class Encoded:
    """One encoded text; `tokens[i]` is what stands behind `ids[i]`."""

    ids: list[int]  # indices into the vocabulary
    tokens: list[str]  # the symbols, same length as ids
    unknown: Counter[str] = field(default_factory=Counter)  # symbols the vocabulary lacks, with how often they came


class Tokenizer(Protocol):
    """What the rest of tts_fm asks of a tokenizer."""

    name: str
    vocab: list[str]

    def encode(self, text: str) -> Encoded:
        """Ids of `text`. Never fails on unknown symbols; they are in `Encoded.unknown`."""
        ...


class CharTokenizer:
    """One token a character (code point). Unknown characters get id 0."""

    name = "char"

    def __init__(self, vocab: Sequence[str]):
        self.vocab = _checked(vocab)
        self._index = {token: i for i, token in enumerate(self.vocab)}

    def symbols(self, text: str) -> list[str]:
        """The tokens of `text`, known or not."""
        return list(text)

    def encode(self, text: str) -> Encoded:
        tokens = self.symbols(text)
        unknown = Counter(token for token in tokens if token not in self._index)
        return Encoded([self._index.get(token, 0) for token in tokens], tokens, unknown)


class PinyinTokenizer(CharTokenizer):
    """F5's tokens: characters with a space put before a longer ASCII piece that follows a symbol ("1, 234", "( see");
    Chinese as pinyin.

    Identical to F5's for text without Chinese (tests/golden). Chinese needs pypinyin and rjieba: `pip install
    tts-fm[zh]`.
    """

    name = "pinyin"

    def symbols(self, text: str) -> list[str]:
        text = text.translate(_F5_MAP)
        chinese = any(_is_chinese(char) for char in text)
        pieces = _rjieba_cut(text) if chinese else _ASCII_PIECES.findall(text)
        tokens: list[str] = []
        for piece in pieces:
            if piece.isascii():
                if tokens and len(piece) > 1 and tokens[-1] not in " :'\"":
                    tokens.append(" ")
                tokens.extend(piece)
            elif any(_is_chinese(char) for char in piece):
                tokens.extend(_pinyin(piece))
            else:
                tokens.extend(piece)
        return tokens


class PhonemeTokenizer:
    """espeak-ng phone units of `lang` (see phonemes.py). Units the vocabulary lacks are left out and counted."""

    name = "phoneme"

    def __init__(self, vocab: Sequence[str], lang: str = "en-us"):
        self.vocab = _checked(vocab)
        self.lang = lang
        self._index = {token: i for i, token in enumerate(self.vocab)}

    def encode(self, text: str) -> Encoded:
        return self.encode_units(phoneme_units(text, self.lang))

    def encode_ipa(self, ipa: str) -> Encoded:
        """Ids of phones written by a person, as in `[word](/ipa/)`."""
        return self.encode_units(ipa_units(ipa, self.lang))

    def encode_units(self, units: Sequence[str]) -> Encoded:
        """Ids of ready units, for instance the `units` of a corpus line."""
        tokens = [unit for unit in units if unit in self._index]
        unknown = Counter(unit for unit in units if unit not in self._index)
        return Encoded([self._index[token] for token in tokens], tokens, unknown)


def make_tokenizer(name: str, vocab: Sequence[str], lang: str | None = None) -> Tokenizer:
    """The tokenizer `name` ("char", "pinyin" or "phoneme") over `vocab`; `lang` (default en-us) matters to phonemes
    only.
    """
    if name == "char":
        return CharTokenizer(vocab)
    if name == "pinyin":
        return PinyinTokenizer(vocab)
    if name == "phoneme":
        return PhonemeTokenizer(vocab, "en-us" if lang is None else lang)
    raise ValueError(f"unknown tokenizer {name!r}; there are {', '.join(NAMES)}")


def load_vocab(path: str | os.PathLike[str]) -> list[str]:
    """Read a vocabulary: one token a line, id = line number from 0. LF or CRLF; a line may be a single space; UTF-8.

    Raises ModelError when the file is missing, empty or not UTF-8.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ModelError(f"cannot read the vocabulary {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"the vocabulary {path} is not UTF-8 text (byte {error.start})") from error
    lines = text.replace("\r\n", "\n").split("\n")  # not splitlines(): tokens may be other separators of Unicode
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise ModelError(f"the vocabulary {path} is empty; it needs one token a line")
    return lines


def save_vocab(path: str | os.PathLike[str], vocab: Sequence[str]) -> None:
    """Write a vocabulary for `load_vocab`: one token a line, LF, UTF-8. Raises ValueError for tokens that would not
    come back.
    """
    tokens = _checked(vocab)
    for i, token in enumerate(tokens):
        if not token or "\n" in token or "\r" in token:
            raise ValueError(f"token {i} is {token!r}: a vocabulary line cannot be empty or hold a line break")
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise ValueError(f"tokens given twice: {', '.join(map(repr, twice[:5]))}; every token needs one id")
    files.write_text(path, "".join(token + "\n" for token in tokens))


def _checked(vocab: Sequence[str]) -> list[str]:
    if isinstance(vocab, str) or not vocab or not all(isinstance(token, str) for token in vocab):
        raise ValueError(f"a vocabulary is a non-empty list of strings, got {type(vocab).__name__} {str(vocab)[:40]!r}")
    return list(vocab)


# F5 compatibility
_F5_MAP = str.maketrans({";": ",", "“": '"', "”": '"', "‘": "'", "’": "'"})
# What F5's word segmenter makes of text without Chinese: words with inner . _ -, runs of dots or hyphens, single
# characters.
_ASCII_PIECES = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*(?:%|\++|#+)?|[.\-]{2,}|.", re.DOTALL)


def _is_chinese(char: str) -> bool:
    return "\u3100" <= char <= "\u9fff"


def _need_zh(error: ImportError) -> MissingDependency:
    return MissingDependency(f"Chinese text needs pypinyin and rjieba ({error}): pip install tts-fm[zh]")


def _rjieba_cut(text: str) -> list[str]:
    try:
        import pypinyin  # noqa: F401  asked for here, so that the error comes before any work
        import rjieba
    except ImportError as error:
        raise _need_zh(error) from error
    return list(rjieba.cut(text))


def _pinyin(piece: str) -> list[str]:
    """Tokens of a piece with Chinese: a space, then the syllable with its tone number, for each Chinese character.

    A piece of three-byte characters only is read as one word (tones change with the neighbours); a mixed one character
    by character.
    """
    from pypinyin import Style, lazy_pinyin

    def read(part: str) -> list[str]:
        return lazy_pinyin(part, style=Style.TONE3, tone_sandhi=True)

    if all("\u0800" <= char <= "\uffff" for char in piece):
        syllables = read(piece)
        if len(syllables) == len(piece):
            return [
                token
                for char, said in zip(piece, syllables, strict=True)
                for token in ([" ", said] if _is_chinese(char) else [said])
            ]
    return [token for char in piece for token in ([" ", *read(char)] if _is_chinese(char) else [char])]
