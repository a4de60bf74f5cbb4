"""Text to phone units with espeak-ng (phonemizer + the library inside espeakng-loader; no system espeak needed).

A unit is what the corpus calls a phone: a stress mark, a space, a punctuation mark, or one base character with
its length mark, tied partners and diacritics ("t͡ʃ", "uː", "ɔː͡ɹ", "n̩"). `"".join(units)` is the espeak string
again. espeak is not thread-safe, so threads take turns; there is one backend for a language (5 MB each). This
module does not know numbers, dates or markup: normalise first. phonemizer and espeak-ng are GPL-3.0 and
imported only when used.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from tts_fm.errors import MissingDependency

TIE = "\u0361"
_COMBINING = "\u0300-\u0360\u0362-\u036f"  # combining marks without the tie bar
_UNIT = re.compile(rf"[ˈˌ]|\S[ː]?(?:{TIE}\S[ː]?)*[{_COMBINING}]*|\s")
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]+")
_ALIASES = {"en": "en-us", "en-uk": "en-gb", "fr": "fr-fr", "zh": "cmn"}

# Untied spellings that people write in IPA, for the English units of the corpus. Longest first.
_ENGLISH_TIED = (
    "a͡ɪ͡ɚ",
    "a͡ɪ͡ə",
    "ɔː͡ɹ",
    "ɑː͡ɹ",
    "e͡ɪ",
    "a͡ɪ",
    "o͡ʊ",
    "ə͡ʊ",
    "a͡ʊ",
    "ɔ͡ɪ",
    "i͡ə",
    "e͡ə",
    "ʊ͡ə",
    "ɛ͡ɹ",
    "ɪ͡ɹ",
    "ʊ͡ɹ",
    "ə͡l",
    "d͡ʒ",
    "t͡ʃ",
)
_IPA_TYPING = str.maketrans({"g": "ɡ", ":": "ː", "'": "ˈ", "\u02bc": "ˈ", "\u2019": "ˈ", "\u035c": TIE})
_IPA_ENGLISH = str.maketrans({"r": "ɹ"})

_turn = threading.RLock()  # held while espeak is used
_backends: dict[str, Any] = {}


def split_units(phones: str) -> list[str]:
    """Split an espeak phone string (tie bars kept) into units; nothing is lost: `"".join(split_units(s)) == s` for
    every s.
    """
    return _UNIT.findall(phones)


def ipa_units(ipa: str, lang: str = "en-us") -> list[str]:
    """Units of IPA written by a person, as in `[word](/ipa/)`.

    Accepts what keyboards give (g, :, ', ties below or missing) and, for English, r for ɹ; untied diphthongs and
    affricates become the tied units that espeak writes. Symbols outside the model's vocabulary are the tokenizer's to
    count.
    """
    english = lang.lower().startswith("en")
    # "." parts syllables
    text = " ".join(ipa.replace(".", "").replace("‿", " ").split()).strip("/").strip().translate(_IPA_TYPING)
    if english:
        text = _tie_english(text.translate(_IPA_ENGLISH))
    return split_units(text)


@lru_cache(maxsize=1)
def _untied() -> tuple[re.Pattern[str], dict[str, str]]:
    table = {tied.replace(TIE, ""): tied for tied in _ENGLISH_TIED}
    names = sorted(table, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, names))), table


def _tie_english(text: str) -> str:
    """Tie untied diphthongs and affricates. A pair that already carries a tie never matches; vowel + ɹ or l is a
    sequence in most words, so it is tied only before a consonant or at the end of a word, as espeak does, and not where
    the writer sets ties himself."""
    pattern, table = _untied()
    own_ties = TIE in text

    def tie(match: re.Match[str]) -> str:
        plain, after = match.group(), text[match.end() : match.end() + 1]
        before = text[match.start() - 1 : match.start()]
        if TIE in (before, after):
            return plain
        if plain[-1] in "ɹl" and (own_ties or (after and after in "aeiouɑɒæʌɔəɚɛɜɪʊᵻɐˈˌ")):
            return plain
        return table[plain]

    return pattern.sub(tie, text)


def phoneme_units(text: str, lang: str = "en-us") -> list[str]:
    """Phone units of `text` as espeak-ng reads it, with stress and punctuation. Empty or blank text gives [].

    `lang` is an espeak code ("en-us", "en-gb", "de", ...; "en" means en-us). Safe to call from any thread.
    Raises ValueError for an unknown language, MissingDependency without phonemizer or espeakng-loader.
    """
    return phoneme_units_many([text], lang)[0]


def phoneme_units_many(texts: Iterable[str], lang: str = "en-us") -> list[list[str]]:
    """`phoneme_units` of each text, in one call (about 6,000 sentences a second); the result of a text depends on
    nothing but itself.
    """
    clean = [" ".join(_UNSPEAKABLE.sub(" ", text).split()) for text in texts]
    spoken = [text for text in clean if text]
    with _turn:
        backend = _backend(lang)
        phones = backend.phonemize(spoken, strip=True) if spoken else []
        if len(phones) != len(spoken):  # phonemizer drops lines it finds empty: ask one by one
            phones = ["".join(backend.phonemize([text], strip=True)) for text in spoken]
    found = iter(phones)
    return [split_units(" ".join(next(found).split())) if text else [] for text in clean]


def languages() -> list[str]:
    """The espeak language codes that `phoneme_units` accepts, sorted."""
    _prepare()
    return sorted(_supported())


def espeak_version() -> str:
    """Version of the espeak-ng library in use, such as "1.52.0": phones differ between versions, so models note it."""
    return ".".join(map(str, _backend("en-us").version()))


@lru_cache(maxsize=1)
def _prepare() -> type[Any]:
    """Import phonemizer once and point it at the espeak-ng of espeakng-loader (PHONEMIZER_ESPEAK_LIBRARY wins when
    set).
    """
    try:
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise MissingDependency(
            f"phonemes need the package phonemizer ({error}): pip install phonemizer espeakng-loader"
        ) from error
    if not os.environ.get("PHONEMIZER_ESPEAK_LIBRARY"):
        try:
            import espeakng_loader
        except ImportError as error:
            raise MissingDependency(
                f"phonemes need espeak-ng ({error}): pip install espeakng-loader, or set PHONEMIZER_ESPEAK_LIBRARY to "
                "a libespeak-ng"
            ) from error
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        if not os.environ.get("PHONEMIZER_ESPEAK_DATA_PATH"):
            EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    return EspeakBackend


@lru_cache(maxsize=1)
def _supported() -> frozenset[str]:
    return frozenset(_prepare().supported_languages())


def _language(lang: str) -> str:
    code = str(lang).strip().lower().replace("_", "-")
    code = _ALIASES.get(code, code)
    if code in _supported():
        return code
    near = difflib.get_close_matches(code, sorted(_supported()), n=5, cutoff=0.5)
    near += [name for name in sorted(_supported()) if name.split("-")[0] == code.split("-")[0] and name not in near][:5]
    raise ValueError(
        f"unknown language {lang!r}; near names: {', '.join(near or ['en-us', 'en-gb', 'de', 'fr-fr', 'es'])}"
    )


@contextlib.contextmanager
def _room_told() -> Iterator[None]:
    """Every backend works with a copy of espeak-ng's library, and where there is no place for one, that is told."""
    try:
        yield
    except OSError as error:
        what = f"no place for a copy of espeak-ng ({error.strerror or error}); set TMPDIR to a folder with 5 MB of room"
        raise OSError(error.errno or errno.ENOSPC, what, os.environ.get("TMPDIR", "/tmp")) from error


def _backend(lang: str) -> Any:
    """The espeak backend for `lang`, made when it is first asked for."""
    if lang in _backends:
        return _backends[lang]
    with _turn, _room_told():
        code = _language(lang)
        if code not in _backends:
            quiet = logging.getLogger(f"{__name__}.espeak")
            # espeak joins words ("of the"), and phonemizer would warn of it at every call
            quiet.setLevel(logging.ERROR)
            options = {
                "preserve_punctuation": True,
                "with_stress": True,
                "tie": True,
                "language_switch": "remove-flags",
            }
            _backends[code] = _prepare()(code, words_mismatch="ignore", logger=quiet, **options)
        _backends[lang] = _backends[code]
    return _backends[lang]
