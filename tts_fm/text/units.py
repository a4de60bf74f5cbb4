"""Quantities with a unit in words: 5 km/h, 20°C, 6'2", 2.4GHz."""

from __future__ import annotations

import re

from tts_fm.text.rules import NUM, Rules, one_of
from tts_fm.text.spell import UNITS, amount

rule = Rules()

_ATTACHED = frozenset({"in", "A", "J", "N", "pt", "ha"})  # after a space these are words
_UNIT = one_of(UNITS)
LOOSE_UNIT = one_of(frozenset(UNITS) - _ATTACHED)
SHORT = {"yr": "year", "hr": "hour", "min": "minute", "sec": "second", "kg": "kilogram", "lb": "pound", "mo": "month"}
_PER = r"(?:/(?P<per>day|week|month|mo|year|yr|hour|hr|person|mile|kg|lb|minute|min|second|sec)\b)?"


@rule(rf"(?<![\w.,])(?P<n>{NUM})° ?(?P<m>[0-9]{{1,2}})'(?: ?(?P<s>[0-9]{{1,2}}(?:\.[0-9]{{1,4}})?)\")?")
def _arc(match: re.Match[str], gb: bool) -> str:
    seconds = f" {amount(match['s'], gb)} seconds" if match["s"] else ""
    return f"{amount(match['n'], gb)} degrees {amount(match['m'], gb)} minutes{seconds}"


@rule(r"(?<![\w.,'])(?P<ft>[0-9]{1,2})' ?(?P<in>[0-9]{1,2})(?:\"|'')")
def _height(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['ft'])} foot {amount(match['in'])}"


def unit_name(unit: str, many: bool, gb: bool) -> str:
    one, _, plurals = UNITS[unit].partition("|")
    name = (plurals or one + "s") if many else one
    return name.replace("meter", "metre").replace("liter", "litre") if gb else name


@rule(
    rf"(?:(?<![\w)])(?P<minus>[-−]))?(?<![\w.,/⁄])(?<![^\W\d_]-)(?P<n>{NUM})(?P<gap>[ -]?)"
    rf"(?P<unit>{_UNIT})(?![\w^])(?:(?<=[a-z])\.(?= [a-z]))?{_PER}"
)
def _unit(match: re.Match[str], gb: bool) -> str | None:
    unit, number = match["unit"], match["n"]
    if (unit in _ATTACHED and match["gap"]) or (unit == "s" and re.fullmatch(r"[2-9]0|[0-9]{3,4}", number)):
        return None  # "5 in the", "an 8-A"; "the 90s"
    name = unit_name(unit, not (number == "1" or match["gap"] == "-"), gb)
    per = f" per {SHORT.get(match['per'], match['per'])}" if match["per"] else ""
    return f"{'minus ' if match['minus'] else ''}{amount(number, gb)} {name}{per}"


# Fractions, decades, years, ordinals, and whatever number is left
