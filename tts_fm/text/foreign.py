"""Words in letters that English espeak would spell: which they are, and the language whose rules say them.

The script tells the language (Cyrillic: Russian, or Ukrainian by its own letters), and so does a letter such as ß or
ř in a Latin word. Scripts that espeak does not read (Thai, Japanese kanji and others) are transliterated by
anyascii, since Unidecode, which does the same, is under the GPL. Phones that a voice has not learned become the
nearest that it has.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

_SCRIPTS = {  # first word of a letter's Unicode name: espeak's language, and what people call it
    "CYRILLIC": "ru", "GREEK": "el", "ARABIC": "ar", "HEBREW": "he", "HANGUL": "ko", "HIRAGANA": "ja", "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja", "CJK": "cmn", "DEVANAGARI": "hi", "BENGALI": "bn", "TAMIL": "ta", "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml", "GUJARATI": "gu", "GURMUKHI": "pa", "SINHALA": "si", "GEORGIAN": "ka", "ARMENIAN": "hy",
    "ETHIOPIC": "am",
}  # fmt: skip
_LETTERS = {  # letters that tell more than their script
    "uk": "іїєґІЇЄҐ", "be": "ўЎ", "sr": "ђћџљњјЂЋЏЉЊЈ", "fa": "پچژگ", "ur": "ٹڈڑںے",
    "de": "ßẞ", "cs": "řŘěĚůŮ", "pl": "łŁąĄęĘśŚźŹżŻńŃ", "hu": "őŐűŰ",
    "tr": "ğĞıİşŞ", "ro": "șȘțȚăĂ", "vi": "ơƠưƯđĐ",
    "pt": "ãÃõÕ", "hr": "čČćĆšŠžŽ", "da": "øØ", "sv": "åÅ", "es": "ñÑ", "lv": "ģĢķĶļĻņŅ",
    "is": "þÞðÐ",
}  # fmt: skip
_BY_LETTER = {letter: lang for lang, letters in _LETTERS.items() for letter in letters}
_NAMES = {
    "ru": "Russian", "el": "Greek", "ar": "Arabic", "he": "Hebrew", "ko": "Korean", "ja": "Japanese",
    "cmn": "Chinese", "hi": "Hindi",
    "bn": "Bengali", "ta": "Tamil", "te": "Telugu", "kn": "Kannada", "ml": "Malayalam", "gu": "Gujarati",
    "pa": "Punjabi",
    "si": "Sinhala", "ka": "Georgian", "hy": "Armenian", "am": "Amharic", "uk": "Ukrainian", "be": "Belarusian",
    "sr": "Serbian",
    "fa": "Persian", "ur": "Urdu", "de": "German", "cs": "Czech", "pl": "Polish", "hu": "Hungarian", "tr": "Turkish",
    "ro": "Romanian", "vi": "Vietnamese", "pt": "Portuguese", "hr": "Croatian", "da": "Danish", "sv": "Swedish",
    "es": "Spanish",
    "lv": "Latvian", "is": "Icelandic", "": "transliterated",
}  # fmt: skip
_PLAIN_LATIN = frozenset("àâäáçéèêëíìîïóòôöúùûüæœÿ")  # English espeak reads them within a word
_WORD = re.compile(
    r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f"
    r"\u0900-\u0903\u093a-\u094f\u0980-\u0dff\u0e31-\u0e4e’'])*"
)


class Foreign(NamedTuple):
    """A word that English rules cannot say."""

    word: str
    lang: str  # espeak's code, "" for a transliteration

    @property
    def said_as(self) -> str:
        return _NAMES.get(self.lang, self.lang)


def foreign_notes(words: Iterable[Foreign]) -> list[str]:
    """One line for the user about foreign words; none where there are none."""
    said = [f"{word.word[:40]} ({word.said_as})" for word in dict.fromkeys(words)]
    if not said:
        return []
    shown = ", ".join(said[:6]) + (f" and {len(said) - 6} more" if len(said) > 6 else "")
    return [f"words in other letters are said as near as this voice can: {shown}"]


def split_foreign(text: str, lang: str) -> list[str | Foreign]:
    """`text`, to be said in `lang`, as stretches of its own language and foreign words (neighbours of one language are
    one). Nothing is lost."""
    if text.isascii():
        return [text] if text else []
    kana = any("\u3040" <= char <= "\u30ff" for char in text)
    parts: list[str | Foreign] = []
    at = 0
    for match in _WORD.finditer(text):
        found = None if match.group().isascii() else _language(match.group(), lang, kana)
        if found is None:
            continue
        before = text[at : match.start()]
        if (
            parts
            and isinstance(parts[-1], Foreign)
            and parts[-1].lang == found
            and not before.strip()
            and len(parts[-1].word) < 200
        ):
            parts[-1] = Foreign(parts[-1].word + before + match.group(), found)
        else:
            parts += [before, Foreign(match.group(), found)]
        at = match.end()
    return [part for part in [*parts, text[at:]] if part]


def _language(word: str, lang: str, kana: bool) -> str | None:
    """The language that says `word`, or None where `lang` itself does."""
    own = lang.lower().split("-")[0]
    odd = [char for char in unicodedata.normalize("NFC", word) if not char.isascii() and char.isalpha()]
    if not odd:
        return None
    script = unicodedata.name(odd[0], "").split(" ")[0]
    if script == "LATIN":
        if own != "en" or all(char.lower() in _PLAIN_LATIN for char in odd):
            return None
        if any("\u1ea0" <= char <= "\u1ef9" for char in odd):
            return "vi"
        return next((_BY_LETTER[char] for char in odd if char in _BY_LETTER), "")
    found = next((_BY_LETTER[char] for char in odd if char in _BY_LETTER), _SCRIPTS.get(script, ""))
    if found == "cmn" and kana:
        found = ""
    return None if found == own or (found == "cmn" and own in ("yue", "hak", "ja")) else found


def transliterated(word: str) -> str:
    """`word` in plain Latin letters."""
    from anyascii import anyascii

    return anyascii(word)


_NEAREST = {
    "ɕ": "ʃ", "ʂ": "ʃ", "ʑ": "ʒ", "ʐ": "ʒ", "χ": "h", "ħ": "h", "x": "h", "ç": "h", "ɦ": "h",
    "ʁ": "ɹ", "r": "ɹ",
    "ɾ": "ɹ", "ɽ": "ɹ",
    "ʀ": "ɹ", "ɻ": "ɹ", "ɬ": "l", "ɫ": "l", "ʎ": "l", "ɭ": "l", "ʟ": "l", "ɲ": "n", "ɳ": "n",
    "ɴ": "ŋ", "ɱ": "m",
    "β": "v", "ʋ": "v", "ɸ": "f",
    "ʈ": "t", "ɖ": "d", "ɗ": "d", "ɓ": "b", "c": "k", "q": "k", "ɟ": "ɡ", "ɠ": "ɡ", "ɣ": "ɡ", "g": "ɡ",
    "ʕ": "",
    "ʔ": "", "ɥ": "w", "ɰ": "w",
    "y": "uː", "ʏ": "ʊ", "ø": "ɜː", "œ": "ɜː", "ɵ": "ɜː", "ɤ": "ʌ", "ɯ": "ʊ", "ɨ": "ɪ",
    "ʉ": "uː", "e": "e͡ɪ",
    "o": "o͡ʊ", "a": "ɑː", "u": "uː",
    "ɔ": "ɔː", "ɑ": "ɑː", "ɒ": "ɑː", "æ": "æ", "i": "iː", "ɜ": "ɜː", "ɞ": "ɜː", "ɘ": "ə",
    "ɪ": "ɪ", "ʊ": "ʊ",
    "ɐ": "ʌ", "ʌ": "ʌ", "ɚ": "ɚ",
    "ᵻ": "ɪ", "ɧ": "ʃ", "ʝ": "j", "ʍ": "w", "θ": "θ", "ð": "ð", "ǀ": "t", "ǃ": "t", "ɛ": "ɛ", "ə": "ə",
}  # fmt: skip
_PAIRS = {
    "ts": ["t", "s"], "dz": ["d", "z"], "tɕ": ["t͡ʃ"], "tʂ": ["t͡ʃ"], "dʑ": ["d͡ʒ"], "dʐ": ["d͡ʒ"],
    "pf": ["p", "f"],
}  # fmt: skip


def nearest_units(units: Iterable[str], known: Container[str]) -> list[str]:
    """`units` of any language in the sounds of a voice: what it does not know becomes the nearest that it does,
    part by part; tones and what has no likeness fall away."""
    result: list[str] = []
    for unit in units:
        result += [unit] if unit in known else _nearest(unit, known)
    return result


def _nearest(unit: str, known: Container[str]) -> Sequence[str]:
    bare = re.sub(r"[\u0300-\u0360\u0362-\u036fʰʲʷˠˤʼ0-9]", "", unit)
    if bare in known:
        return [bare]
    parts = bare.split("\u0361")
    pair = _PAIRS.get("".join(parts))
    if len(parts) > 1 and pair:
        return [sound for sound in pair if sound in known]
    found: list[str] = []
    for part in parts:
        plain = part.rstrip("ː")
        for sound in (
            part,
            plain,
            plain + "ː",
            _NEAREST.get(plain, ""),
            _NEAREST.get(plain, "").rstrip("ː"),
            _ROUND.get(plain, ""),
        ):
            if sound and sound in known:
                found.append(sound)
                break
    return found


_ROUND = {"o": "ə͡ʊ", "æ": "a", "ɑ": "ɑː", "a": "æ"}  # second choices, for other accents
