"""Dates and times of day in words: 7/4/1776, 4 July, Dec. 25, 5:30pm, 17:45.

`gb` puts the day before the month."""

from __future__ import annotations

import re

from tts_fm.text.rules import Rules
from tts_fm.text.spell import MONTHS, cardinal, digits, ordinal, year

rule = Rules()  # numeric dates: they look like ranges and sums, so they come before numbers
named = Rules()  # dates with the month's name, and times of day: after ranges

_MON = (
    r"(?P<month>January|February|March|April|May|June|July|August|September|October|November|December|"
    r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)(?:\.|\b))"
)


def _date(day: int, month: int, years: str | None, gb: bool) -> str | None:
    """A date in words, or None when there is no such day."""
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return None
    name = MONTHS[month - 1]
    said = f"the {ordinal(day)} of {name}" if gb else f"{name} {ordinal(day)}"
    if not years:
        return said
    if len(years) == 4:
        return f"{said}, {year(int(years), gb)}"
    return f"{said}, {('oh ' + digits(years[1])) if years[0] == '0' else cardinal(int(years))}"


def _month(name: str) -> int:
    return next(i for i, month in enumerate(MONTHS, 1) if month[:3] == name[:3])


@rule(r"(?<![\w.-])(?P<y>[0-9]{4})(?P<sep>[-/])(?P<m>[0-9]{2})(?P=sep)(?P<d>[0-9]{2})(?:[T ](?=[0-9]{2}:)|(?![\w/-]))")
def _iso_date(match: re.Match[str], gb: bool) -> str | None:
    said = _date(int(match["d"]), int(match["m"]), match["y"], gb)
    return said and said + (" at " if match.group()[-1] in "T " else "")


@rule(
    r"(?<![\w/.-])(?P<a>[0-9]{1,2})(?P<sep>[/.-])(?P<b>[0-9]{1,2})(?P=sep)(?P<y>[0-9]{4}|(?<=/)[0-9]{2})(?![\w/-]|\.[0-9])"
)
def _numeric_date(match: re.Match[str], gb: bool) -> str | None:
    first, second = int(match["a"]), int(match["b"])
    day_first = match["sep"] == "." or (gb and second <= 12) or first > 12
    return _date(first, second, match["y"], gb) if day_first else _date(second, first, match["y"], gb)


@named(
    rf"\b{_MON} ?(?<=[ .])(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?P<range> to [0-9]{{1,2}})?(?:,? "
    rf"(?P<y>[0-9]{{4}}))?\b(?![:%]|[.,][0-9])"
)
def _month_day(match: re.Match[str], gb: bool) -> str | None:
    day, month = int(match["day"]), MONTHS[_month(match["month"]) - 1]
    if not 1 <= day <= 31:
        return None
    until = f" to {ordinal(int(match['range'][4:]))}" if match["range"] else ""
    return f"{month} {ordinal(day)}{until}" + (f", {year(int(match['y']), gb)}" if match["y"] else "")


@named(
    rf"\b(?P<the>[Tt]he )?(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?P<of> of)? {_MON}(?:,? (?P<y>[0-9]{{4}})\b)?(?![\w])"
)
def _day_month(match: re.Match[str], gb: bool) -> str | None:
    day = int(match["day"])
    if not 1 <= day <= 31:
        return None
    the = match["the"] or ("" if match["of"] else "the ")
    after = match.string[match.end() : match.end() + 8].lstrip(" \"')")[:1]
    dot = (
        "."
        if match["month"].endswith(".") and not match["y"] and (not after or after == "\n" or after.isupper())
        else ""
    )
    return f"{the}{ordinal(day)} of {MONTHS[_month(match['month']) - 1]}" + (
        f", {year(int(match['y']), gb)}" if match["y"] else dot
    )


@named(rf"\b{_MON} (?=(?:1[0-9]|20)[0-9]{{2}}\b)")
def _month_year(match: re.Match[str], gb: bool) -> str:
    return MONTHS[_month(match["month"]) - 1] + " "


@named(
    r"(?<![\w:.,])(?P<h>[0-9]{1,2})(?:[:.](?P<m>[0-5][0-9]))?(?: ?(?P<half>[ap])(?P<dot>\.)? ?m\b)(?P<end>\.?)",
    re.IGNORECASE,
)
def _clock_12(match: re.Match[str], gb: bool) -> str | None:
    if int(match["h"]) > 24:
        return None
    after = match.string[match.end() : match.end() + 8].lstrip(" \"')(")[:1]
    ends = match["end"] and (not match["dot"] or not after or after == "\n" or after.isupper())
    return f"{_clock(int(match['h']), int(match['m'] or 0), '')} {match['half'].upper()}M{'.' if ends else ''}"


@named(r"(?<![\w:.,])(?P<h>[01]?[0-9]|2[0-4]):(?P<m>[0-5][0-9])(?::(?P<s>[0-5][0-9]))?(?![\w:]|\.[0-9])")
def _clock_24(match: re.Match[str], gb: bool) -> str:
    hour, minute = int(match["h"]), int(match["m"])
    whole = "midnight" if hour in (0, 24) else f"{cardinal(hour)} {'hundred' if hour > 12 else 'o' + chr(39) + 'clock'}"
    seconds = f" and {cardinal(int(match['s']))} second{'' if int(match['s']) == 1 else 's'}" if match["s"] else ""
    return (whole if minute == 0 else _clock(hour, minute, "")) + seconds


def _clock(hour: int, minute: int, whole: str) -> str:
    minutes = "oh " + cardinal(minute) if 0 < minute < 10 else cardinal(minute) if minute else whole
    return f"{cardinal(hour)} {minutes}".strip()
