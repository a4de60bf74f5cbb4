"""How words are said that the rules say wrongly: a lexicon of respellings and IPA, put into text as markup.

A file has a line for each word: word TAB respelling, or word TAB /ipa/; further columns and lines with # are not read.
W3C's PLS is read too. The longest entry wins; possessive, plural and short forms follow ("Gryphon's", "Gryphons",
"Gryphon'll"); capitals count only in an entry that has some: `dinah` is Dinah and DINAH too, `Polish` is not `polish`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tts_fm.text.markup import Break, Ipa, parse_markup

LARGEST = 8 << 20  # bytes of a lexicon
LONGEST = 100  # characters of a word
_PLS = "{http://www.w3.org/2005/01/pronunciation-lexicon}"
_VOICELESS, _SIBILANT = "ptkfθ", "szʃʒ"
_BEGINS = r"(?<![^\W_])(?<![^\W_]['’_-])"  # not inside a word; behind a quotation mark, dash or italics' underscore
_NO_LETTER = r"(?!_?[^\W_])"
_TAIL = rf"(?P<tail>['’](?:s|ll|d|ve|re)|s|es)?{_NO_LETTER}"  # a mark behind it may be a quotation's end

#: X-SAMPA to IPA, longest first where one begins another
_XSAMPA = {
    "r\\`": "ɻ", "@\\": "ɘ", "3\\": "ɞ", "r\\": "ɹ", "R\\": "ʀ", "l\\": "ɺ", "j\\": "ʝ", "h\\": "ɦ",
    "s\\": "ɕ",
    "z\\": "ʑ", "x\\": "ɧ", "B\\": "ʙ", "G\\": "ɢ", "H\\": "ʜ", "I\\": "ᵻ", "J\\": "ɟ", "K\\": "ɮ",
    "L\\": "ʟ",
    "N\\": "ɴ", "O\\": "ʘ", "p\\": "ɸ", "t`": "ʈ", "d`": "ɖ", "n`": "ɳ", "l`": "ɭ", "s`": "ʂ", "z`": "ʐ",
    "r`": "ɽ",
    "@`": "ɚ", "3`": "ɝ", "_h": "ʰ", "_w": "ʷ", "_j": "ʲ", "_~": "̃", "_0": "̥", "_=": "̩", "A": "ɑ",
    "B": "β",
    "C": "ç", "D": "ð", "E": "ɛ", "F": "ɱ", "G": "ɣ", "H": "ɥ", "I": "ɪ", "J": "ɲ", "K": "ɬ", "L": "ʎ",
    "M": "ɯ",
    "N": "ŋ", "O": "ɔ", "P": "ʋ", "Q": "ɒ", "R": "ʁ", "S": "ʃ", "T": "θ", "U": "ʊ", "V": "ʌ", "W": "ʍ",
    "X": "χ",
    "Y": "ʏ", "Z": "ʒ", "g": "ɡ", "@": "ə", "{": "æ", "}": "ʉ", "1": "ɨ", "2": "ø", "3": "ɜ", "4": "ɾ",
    "5": "ɫ",
    "6": "ɐ", "7": "ɤ", "8": "ɵ", "9": "œ", "&": "ɶ", "?": "ʔ", '"': "ˈ", "%": "ˌ", ":": "ː", "~": "̃",
    "=": "̩",
    "'": "ʲ", "_": "", "-": "", "|": "",
}  # fmt: skip
_XSAMPA_UNIT = re.compile("|".join(map(re.escape, sorted(_XSAMPA, key=len, reverse=True))))


@dataclass(frozen=True)
class Entry:
    """One word, or a few."""

    word: str  # as it is written
    said: str  # a respelling, or IPA
    is_ipa: bool


class Lexicon:
    """Entries, ready to be put into text. Later entries for the same word win."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = list({entry.word: entry for entry in entries}.values())
        self._exact = {_plain(e.word): e for e in self.entries if e.word != e.word.lower()}
        self._any = {_plain(e.word): e for e in self.entries if e.word == e.word.lower()}
        words = sorted({*self._exact, *self._any}, key=len, reverse=True)
        names = "|".join(re.escape(word).replace("\\ ", r"\s+").replace("'", "['’]") for word in words)
        self._pattern = re.compile(rf"{_BEGINS}(?P<word>{names}){_TAIL}", re.IGNORECASE) if words else None

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __add__(self, other: Lexicon) -> Lexicon:
        return Lexicon([*self.entries, *other.entries])

    @property
    def digest(self) -> str:
        """Hash of all entries; "" of none."""
        text = "\n".join(sorted(f"{e.word}\t{e.said}\t{e.is_ipa}" for e in self.entries))
        return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""

    def apply(self, text: str, lang: str = "en-us") -> str:
        """The text with `[word](/ipa/)` for every word that the lexicon knows; marks that are in it stay.

        lang: espeak code with which respellings are turned into phones.
        """
        if self._pattern is None or not self._pattern.search(text):
            return text
        made: list[str] = []
        for piece in parse_markup(text):
            if isinstance(piece, Ipa):
                made.append(f"[{piece.word}](/{piece.ipa}/)")
            elif isinstance(piece, Break):
                made.append(f"<break {piece.seconds:g}s>")
            else:
                made.append(self._pattern.sub(lambda match: self._said(match, lang), piece.text))
        return "".join(made)

    def _said(self, match: re.Match[str], lang: str) -> str:
        written, tail = match["word"], match["tail"] or ""
        key = _plain(written)
        entry = self._exact.get(key) or self._any.get(key.lower())
        if entry is None:  # the entry has other capitals
            return match.group()
        ipa = entry.said if entry.is_ipa else _phones(entry.said, lang)
        return f"[{match.group()}](/{ipa}{ending(ipa, tail, lang)}/)"


def ending(ipa: str, tail: str, lang: str = "en-us") -> str:
    """Phones of what ends a word behind these: of a possessive or plural s, z or ɪz by the last phone, of the short
    forms 'll, 'd, 've and 're as espeak says them; nothing for "" and "'". lang: espeak code of the accent.
    """
    last = ipa.rstrip("ː ˈˌ̩)")[-1:]
    form = tail.replace("’", "'").lower()
    if form in ("", "'"):
        return ""
    if form in ("'ll", "'ve", "'re"):
        return {"'ll": "əl", "'ve": "əv", "'re": "ə" if lang.lower() in ("en-gb", "en-uk") else "ɚ"}[form]
    if form == "'d":
        return "ɪd" if last in ("t", "d") else "d"
    if last in _SIBILANT:
        return "ɪz"
    return "s" if last in _VOICELESS else "z"


def _plain(word: str) -> str:
    return " ".join(word.replace("’", "'").split())


def _phones(respelling: str, lang: str) -> str:
    from tts_fm.text.phonemes import phoneme_units

    return "".join(phoneme_units(respelling, lang)).replace("(", "").replace(")", "")


def read_lexicon(path: str | os.PathLike[str]) -> Lexicon:
    """A lexicon file: PLS if it is XML, else lines. ValueError, one line, with the number of the line that is wrong."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"the lexicon {path} is larger than {LARGEST >> 20} MB; give only the words that need it")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"cannot read the lexicon {path}: {error.strerror}; give a file of word TAB respelling"
        ) from None
    if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return Lexicon(parse_pls(data, path.name))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"the lexicon {path} is not UTF-8; save it as UTF-8") from None
    return Lexicon(parse_lines(text.splitlines(), path.name))


def parse_lines(lines: Sequence[str], name: str) -> list[Entry]:
    """Entries of word TAB respelling or /ipa/ lines. A word with nothing behind it (as a template has) is no entry."""
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if "\t" not in line:
            raise ValueError(
                f"{name}:{number}: there is no tab in {line[:40]!r}; a line is word TAB respelling or /ipa/"
            )
        word, said = (part.strip() for part in line.split("\t")[:2])
        if not word or not any(c.isalnum() for c in word) or len(word) > LONGEST or len(said) > 2 * LONGEST:
            raise ValueError(f"{name}:{number}: {word[:40]!r} is no word of up to {LONGEST} characters")
        if said:
            entries.append(_entry(word, said, f"{name}:{number}"))
    return entries


def _entry(word: str, said: str, where: str) -> Entry:
    is_ipa = len(said) > 2 and said[0] == said[-1] == "/"
    said = said.strip("/").strip() if is_ipa else said
    if is_ipa and re.search(r"[/()\[\]\n]", said):
        raise ValueError(f"{where}: IPA holds no brackets or slashes, got {said[:40]!r}")
    if not is_ipa and not any(c.isalpha() for c in said):
        raise ValueError(f"{where}: {said[:40]!r} cannot be said; give a respelling in letters, or /ipa/")
    return Entry(" ".join(word.split()), said, is_ipa)


def parse_pls(data: bytes, name: str) -> list[Entry]:
    """Entries of a W3C Pronunciation Lexicon: graphemes with their first phoneme or alias. ValueError for what is none,
    and for alphabets other than ipa and x-sampa.
    """
    import xml.etree.ElementTree as tree

    if b"<!ENTITY" in data or b"<!DOCTYPE" in data:
        raise ValueError(f"the lexicon {name} declares a document type or entities, which is not read; take that out")
    try:
        root = tree.fromstring(data)
    except (tree.ParseError, ValueError) as error:
        raise ValueError(f"the lexicon {name} is no XML that can be read ({error})") from None
    if root.tag not in (f"{_PLS}lexicon", "lexicon"):
        raise ValueError(f"the lexicon {name} is XML but no PLS (it has no <lexicon>)")
    space = _PLS if root.tag.startswith("{") else ""
    entries = []
    for lexeme in root.iter(f"{space}lexeme"):
        words = [" ".join((e.text or "").split()) for e in lexeme.iter(f"{space}grapheme")]
        phoneme, alias = lexeme.find(f"{space}phoneme"), lexeme.find(f"{space}alias")
        if phoneme is not None and phoneme.text:
            alphabet = phoneme.get("alphabet") or root.get("alphabet") or "ipa"
            ipa = to_ipa(phoneme.text, alphabet)
            if ipa is None:
                raise ValueError(f"the lexicon {name} is in the alphabet {alphabet[:20]!r}; ipa and x-sampa are read")
            said = f"/{ipa}/"
        elif alias is not None and alias.text:
            said = " ".join(alias.text.split())
        else:
            continue
        entries += [_entry(word, said, name) for word in words if word and len(word) <= LONGEST]
    return entries


def to_ipa(phones: str, alphabet: str) -> str | None:
    """Phones in IPA without brackets or slashes; None for an alphabet that is neither ipa nor x-sampa."""
    alphabet = alphabet.lower()
    if alphabet in ("x-sampa", "xsampa", "x-sampa-1"):
        phones = _XSAMPA_UNIT.sub(lambda match: _XSAMPA[match.group()], phones)
    elif alphabet != "ipa":
        return None
    return re.sub(r"[/()\[\]\n]", "", phones).strip() or None


def default_path() -> Path | None:
    """Where a user's own lexicon is looked for: $TTS_FM_HOME/lexicon.tsv, or ~/.config/tts_fm/lexicon.tsv; None for a
    user who has no home.
    """
    home = os.environ.get("TTS_FM_HOME")
    try:
        return (Path(home) if home else Path.home() / ".config" / "tts_fm") / "lexicon.tsv"
    except RuntimeError:
        return None


def find_lexicon(path: str | os.PathLike[str] | None = None) -> Lexicon:
    """The user's own lexicon, if there is one, and the one at `path`, whose entries win."""
    own = default_path()
    lexicon = read_lexicon(own) if own is not None and own.is_file() else Lexicon()
    return lexicon + read_lexicon(path) if path is not None else lexicon
