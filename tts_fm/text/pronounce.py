"""Phone units of normalised text as it should sound: espeak's reading, with heteronyms, spelled letters and foreign
words put right.

espeak reads the whole stretch, so that words keep their sentence stress; then the units of a heteronym are exchanged
for those of the reading that its neighbours ask for. A foreign word is read by the rules of its language and brought
into the sounds that the voice knows. This module knows phones and no normalisation.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from tts_fm.text.foreign import Foreign, nearest_units, split_foreign, transliterated
from tts_fm.text.heteronyms import SAID_AS, readings
from tts_fm.text.lexicon import ending
from tts_fm.text.phonemes import ipa_units, phoneme_units
from tts_fm.text.symbols import is_pause, is_stress

_SPOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SHORT = re.compile(r"['’](?:s|ll|d|ve|re)?(?![^\W_])", re.IGNORECASE)
_LETTER_A = re.compile(
    r"(?<![\w'-])A(?='s\b| [A-Z](?![\w])(?:'s)?| and [A-Z]\b(?!\w))|(?<=\b[A-Z] )A(?![\w])|(?<=\b[A-Z] and )A(?![\w])"
)


def spoken_units(text: str, lang: str, known: Container[str] | None = None) -> tuple[list[str], list[Foreign]]:
    """Units of `text` in the accent `lang`, and its foreign words. known: units of the voice (None: any)."""
    units: list[str] = []
    strangers: list[Foreign] = []
    for part in split_foreign(text, lang):
        if isinstance(part, Foreign):
            strangers.append(part)
            found = _foreign_units(part, lang)
            said = nearest_units(found, known) if known is not None else found
        else:
            lead, tail = part[:1].isspace() and bool(units), part[-1:].isspace()
            inner = _own_units(part.strip(), lang)
            said = [*[" "] * lead, *inner, *[" "] * (tail and bool(inner))]
        units += said
    while units and units[-1] == " ":
        units.pop()
    return units, strangers


def _foreign_units(part: Foreign, lang: str) -> list[str]:
    if not part.lang:
        return phoneme_units(transliterated(part.word).lower(), lang)
    found = phoneme_units(part.word, part.lang)
    spelled = (
        sum(unit == "ˈ" for unit in found) > 2 * len(part.word.split()) + 1
    )  # names of letters, each with a stress
    return phoneme_units(transliterated(part.word).lower(), lang) if spelled else found


def _own_units(text: str, lang: str) -> list[str]:
    if lang.lower().startswith("en"):
        text = _LETTER_A.sub("Eigh", text)  # espeak would say the article
        return _with_readings(phoneme_units(text, lang), text, lang)
    return phoneme_units(text, lang)


def _with_readings(units: list[str], text: str, lang: str) -> list[str]:
    """Exchange the units of heteronyms that have a reading."""
    wanted = readings(text)
    if not any(reading for _, reading in wanted):
        return units
    groups = _groups(units)
    at = 0
    for word, reading in wanted:
        options = _options(word, lang)
        place = next((k for k in range(at, len(groups)) if _bare(groups[k]) in options), None)
        if place is None:
            continue
        at = place + 1
        if reading:
            groups[place] = _exchanged(groups[place], _reading(word, reading, lang))
    return [unit for k, group in enumerate(groups) for unit in ([" "] * (k > 0) + group)]


def exchanged_words(
    units: Sequence[str], text: str, given: Sequence[tuple[int, str, Sequence[str]]], lang: str
) -> list[str] | None:
    """The units of `text` with those of some of its words exchanged, so that their neighbours are said as before ("the"
    before a vowel). given: where each begins, the word or words, its units. A given word that is part of a longer one
    ("Dinah" of "Dinah'll" or "Dinah-like") leaves the rest of it as it is said alone. None where a word is not found
    for sure.
    """
    runs: list[tuple[int, int]] = []  # where each word of `units` stands
    for k, unit in enumerate(units):
        if unit == " " or (is_pause(unit) and not is_stress(unit)):
            continue
        if runs and runs[-1][1] == k:
            runs[-1] = (runs[-1][0], k + 1)
        else:
            runs.append((k, k + 1))
    heard = [_bare(units[start:end]) for start, end in runs]
    written = list(_SPOKEN.finditer(text))
    alone = [_unlinked(_alone(word.group(), lang)) for word in written]
    matched = SequenceMatcher(None, alone, [_unlinked(word) for word in heard], autojunk=False)
    blocks = [block for block in matched.get_opcodes() if block[2] - block[1] == block[4] - block[3]]
    place_of = {a + n: c + n for _, a, b, c, _ in blocks for n in range(b - a)}
    between = {c for _, a, b, c, _ in blocks if b - a == 1}  # one word where one was found, its neighbours as they are
    places: list[tuple[int, int, Sequence[str]]] = []
    for words, inside in _whole_words(given, written):
        found = [place_of.get(k, -1) for k in words]
        sure = all(
            k >= 0 and (k in between or {heard[k], _unlinked(heard[k])} & _options(written[n].group(), lang))
            for n, k in zip(words, found, strict=True)
        )
        if not found or not sure or found != list(range(found[0], found[0] + len(found))):
            return None
        start, end = written[words[0]].start(), written[words[-1]].end()
        places.append((runs[found[0]][0], runs[found[-1]][1], _with_rests(text, start, end, inside, lang)))
    done = list(units)
    for first, last, said in reversed(places):
        done[first:last] = said
    return done


Given = tuple[int, str, Sequence[str]]  # where a word or some begin, these, their units


def _whole_words(given: Sequence[Given], written: Sequence[re.Match[str]]) -> list[tuple[range, list[Given]]]:
    """The words of a text, as `_SPOKEN` cuts them, that what is given lies in; two in one word come together."""
    found: list[tuple[range, list[Given]]] = []
    for one in sorted(given, key=lambda one: one[0]):
        start, end = one[0], one[0] + len(one[1])
        inside = [n for n, word in enumerate(written) if word.start() < end and start < word.end()]
        words = range(inside[0], inside[-1] + 1) if inside else range(0)
        if found and words and found[-1][0] and words[0] <= found[-1][0][-1]:
            found[-1] = (range(found[-1][0][0], words[-1] + 1), [*found[-1][1], one])
        else:
            found.append((words, [one]))
    return found


def _with_rests(text: str, start: int, end: int, inside: Sequence[Given], lang: str) -> list[str]:
    """Units of the words between two places in a text, of which some stretches are given."""
    units: list[str] = []
    for begin, word, said in inside:
        between = text[start:begin]
        units += [*(_behind(units, between, lang) if units else _ahead(between, word, lang)), *said]
        start = begin + len(word)
    return units + _behind(units, text[start:end], lang)


def _ahead(rest: str, word: str, lang: str) -> list[str]:
    """Units of the beginning of a word whose end, `word`, is given: as before it ("d'" of "d'Urville"), or alone."""
    if not rest.strip("'’-"):
        return []
    whole, its = phoneme_units(rest + word, lang), _alone(word, lang)
    sounds = [k for k, unit in enumerate(whole) if not is_stress(unit) and not is_pause(unit)]
    if its and len(sounds) > len(its) and tuple(whole[k] for k in sounds[-len(its) :]) == its:
        return whole[: sounds[-len(its) - 1] + 1]
    return phoneme_units(rest.strip("'’-"), lang)


def _behind(units: Sequence[str], rest: str, lang: str) -> list[str]:
    """Units of the rest of a word behind those that are given: a short form's by what it follows, other parts alone."""
    short = _SHORT.match(rest)
    said = ipa_units(ending("".join(units), short.group(), lang), lang) if short else []
    rest = rest[short.end() if short else 0 :].strip("'’-")
    return said + (phoneme_units(rest, lang) if rest else [])


def _unlinked(bare: tuple[str, ...]) -> tuple[str, ...]:
    """Without the r that is heard at a word's end before a vowel ("larger and")."""
    return bare[:-1] if bare[-1:] == ("ɹ",) else bare


@lru_cache(maxsize=4000)
def _alone(word: str, lang: str) -> tuple[str, ...]:
    return _bare(phoneme_units(word, lang))


def _groups(units: Sequence[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for unit in units:
        if unit == " ":
            groups.append([])
        else:
            groups[-1].append(unit)
    return groups


def _bare(group: Sequence[str]) -> tuple[str, ...]:
    return tuple(unit for unit in group if not is_stress(unit) and not is_pause(unit))


def _exchanged(group: list[str], said: Sequence[str]) -> list[str]:
    """The new reading between the marks around the old one; without its stress where the old had none."""
    inside = [k for k, unit in enumerate(group) if not is_pause(unit) or is_stress(unit)]
    stressed = any(is_stress(unit) for unit in group)
    new = [unit for unit in said if stressed or not is_stress(unit)]
    return [*group[: inside[0]], *new, *group[inside[-1] + 1 :]]


@lru_cache(maxsize=1000)
def _options(word: str, lang: str) -> frozenset[tuple[str, ...]]:
    """All that espeak may have said for `word`."""
    plain = [
        _last(phoneme_units(phrase, lang)) for phrase in (word, f"I will {word}", f"the {word}", f"they {word} it")
    ]
    plain.append(_groups(phoneme_units(f"they {word} it", lang))[1])
    named = [_reading(word, reading, lang) for name, reading in SAID_AS if name == word]
    return frozenset(_bare(units) for units in [*plain, *named])


@lru_cache(maxsize=1000)
def _reading(word: str, reading: str, lang: str) -> tuple[str, ...]:
    said = SAID_AS[word, reading]
    if said.startswith("/"):
        from tts_fm.text.phonemes import split_units

        us, *gb = said.strip("/").split("/")
        return tuple(split_units(gb[0] if gb and lang.lower() not in ("en", "en-us") else us))
    return tuple(_last(phoneme_units(said, lang)))


def _last(units: Sequence[str]) -> list[str]:
    return _groups(units)[-1]
