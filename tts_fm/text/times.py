"""Times of day and durations in words: 5:30pm, 17:45, 9 a.m.-5 p.m., 0800 hours, 14:00Z, 1:30:00, 1h 30m, 3m20s, 30s.

Three parts with colons are a time of day where the hour has two digits or follows "at", otherwise hours, minutes and
seconds. "m" is minutes beside hours or seconds and before words such as "remaining", otherwise units.py's metres.
30s is thirty seconds after words such as "wait" and "for", the thirties after "the" or "his".
"""

from __future__ import annotations

import re

from tts_fm.text.rules import Rules
from tts_fm.text.spell import amount, cardinal, digits

rule = Rules()

_HALF = r"(?P<half>[ap])(?P<dot>\.)? ?m\b"
_LEFT = (
    "remaining|left|ago|later|long|earlier|late|early|to go|per|each|of|video|clip|timer|timeout|delay|"
    "interval|episode|read|walk|drive|ride"
)


def _clock(hour: int, minute: int, whole: str) -> str:
    minutes = "oh " + cardinal(minute) if 0 < minute < 10 else cardinal(minute) if minute else whole
    return f"{cardinal(hour)} {minutes}".strip()


def _count(number: str, name: str, gb: bool = False) -> str:
    return f"{amount(number, gb)} {name}{'' if float(number) == 1 else 's'}"


# Times of day
@rule(
    r"(?<![\w:.,-])(?P<a>[0-9]{1,2}(?::[0-5][0-9])?) ?[-–—] ?(?=[0-9]{1,2}(?::[0-5][0-9])? ?[ap]\.?m\b)"
    r"|(?<![\w:.,-])(?P<b>[0-2]?[0-9]:[0-5][0-9]) ?[-–—] ?(?=[0-2]?[0-9]:[0-5][0-9](?![\w:]))",
    re.IGNORECASE,
)
def _hours_to(match: re.Match[str], gb: bool) -> str:
    if match["b"]:
        hour, _, minute = match["b"].partition(":")
        return f"{_of_day(int(hour), int(minute))} to "
    hour, _, minute = match["a"].partition(":")
    return f"{_clock(int(hour), int(minute or 0), '')} to "


@rule(
    r"(?<=[0-9]) ?(?P<half>[ap])\.?m\.? ?[-–—] ?(?=[0-9]|noon|midnight)|(?<=noon)[-–](?=[0-9])"
    r"|(?<=midnight)[-–](?=[0-9])",
    re.IGNORECASE,
)
def _half_to(match: re.Match[str], gb: bool) -> str:
    return f" {match['half'].upper()} M to " if match["half"] else " to "


@rule(r"\b(?P<half>[AP]) M ?[-–—] ?(?=[0-9]|noon|midnight)")
def _half_said_to(match: re.Match[str], gb: bool) -> str:
    return f"{match['half']} M to "


@rule(rf"(?<![\w:.,])(?P<h>[0-9]{{1,2}})(?:[:.](?P<m>[0-5][0-9]))?(?: ?{_HALF})(?P<end>\.?)", re.IGNORECASE)
def _clock_12(match: re.Match[str], gb: bool) -> str | None:
    if int(match["h"]) > 24:
        return None
    after = match.string[match.end() : match.end() + 8].lstrip(" \"')(")[:1]
    ends = match["end"] and (not match["dot"] or not after or after.isupper())
    return f"{_clock(int(match['h']), int(match['m'] or 0), '')} {match['half'].upper()} M{'.' if ends else ''}"


@rule(r"(?<![\w:.,])(?P<h>[0-9]{1,2}):(?P<m>[0-5][0-9])(?= ?[AP] M\b)|(?<![\w:.,])(?P<whole>[0-9]{1,2})(?= ?[AP] M\b)")
def _clock_before_half(match: re.Match[str], gb: bool) -> str:
    if match["whole"]:
        return cardinal(int(match["whole"])) + ("" if match.string[match.end() : match.end() + 1] == " " else " ")
    return _clock(int(match["h"]), int(match["m"]), "")


@rule(r"(?<![\w:.,])(?P<h>[01][0-9]|2[0-4])(?P<m>[0-5][0-9])(?= (?:hours|hrs)\b| ?h\b)(?: ?h\b)?")
def _military(match: re.Match[str], gb: bool) -> str:
    hour, minute = match["h"], match["m"]
    said = (
        f"oh {digits(hour[1])}" if hour[0] == "0" and hour != "00" else "zero" if hour == "00" else cardinal(int(hour))
    )
    if minute == "00":
        return f"{said} hundred"
    return f"{said} {'oh ' + digits(minute[1]) if minute[0] == '0' else cardinal(int(minute))}"


@rule(
    r"(?P<at>\b(?:[Aa]t|[Ss]ince|[Uu]ntil|[Bb]y|[Ff]rom|[Bb]efore"
    r"|[Aa]fter) )?(?<![\w:.,])(?P<h>[0-9]{1,3}):(?P<m>[0-5][0-9]):(?P<s>[0-5][0-9])(?P<ms>\.[0-9]{1,6})?(?P<zone>Z"
    r"|[+-][0-9]{2}:?[0-9]{2})?(?![\w:])"
)
def _three_parts(match: re.Match[str], gb: bool) -> str | None:
    hour, minute, second = int(match["h"]), int(match["m"]), int(match["s"])
    exact = f"{second}{match['ms'] or ''}"
    clock = bool(match["at"] or match["zone"]) or (len(match["h"]) == 2 and hour <= 24)
    if clock:
        seconds = f" and {_count(exact, 'second')}" if float(exact) else ""
        return f"{match['at'] or ''}{_of_day(hour, minute, bool(match['zone']))}{seconds}{_zone(match['zone'])}"
    counted = ((str(hour), "hour"), (str(minute), "minute"), (exact, "second"))
    parts = [_count(n, name, gb) for n, name in counted if float(n)]
    return (
        (f"{parts[0]}, {parts[1]} and {parts[2]}" if gb else f"{parts[0]} {parts[1]} and {parts[2]}")
        if len(parts) == 3
        else " ".join(parts)
    )


@rule(r"(?<![\w:.,])(?P<h>[01]?[0-9]|2[0-4]):(?P<m>[0-5][0-9])(?P<zone>Z|\+[0-9]{2}:[0-9]{2}| ?h\b)?(?![\w:]|\.[0-9])")
def _clock_24(match: re.Match[str], gb: bool) -> str:
    zone = match["zone"] if match["zone"] and "h" not in match["zone"] else None
    if zone == "Z":
        return _of_day(int(match["h"]), int(match["m"]), True) + " Zulu"
    return _of_day(int(match["h"]), int(match["m"]), bool(zone)) + _zone(zone)


def _of_day(hour: int, minute: int, military: bool = False) -> str:
    hundred = hour > 12 or (military and hour > 9)
    whole = "midnight" if hour in (0, 24) else f"{cardinal(hour)} {'hundred' if hundred else 'o' + chr(39) + 'clock'}"
    return whole if minute == 0 else _clock(hour, minute, "")


def _zone(zone: str | None) -> str:
    if not zone:
        return ""
    if zone in ("Z", "+00:00", "+0000"):
        return " UTC"
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    return f" UTC {'plus' if zone[0] == '+' else 'minus'} {cardinal(hours)}" + (
        f" {cardinal(minutes)}" if minutes else ""
    )


@rule(r"(?<![\w:.,])(?P<h>1?[0-9]|2[0-3])h(?P<m>[0-5][0-9])(?![\w])")
def _french(match: re.Match[str], gb: bool) -> str:
    return _of_day(int(match["h"]), int(match["m"]))


# Durations
@rule(
    r"(?<![\w:.,])(?P<m>[0-9]{1,3}):(?P<s>[0-5]?[0-9]\.[0-9]{1,3})(?![\w:]|[.,][0-9])"
    r"|(?<![\w.,'])(?P<m2>[0-9]{1,3})' ?(?P<s2>1[2-9]|[2-5][0-9])(?:\"|'')(?!\w)"
)
def _lap(match: re.Match[str], gb: bool) -> str:
    seconds = (match["s"] or match["s2"]).lstrip("0")
    seconds = f"0{seconds}" if seconds[0] == "." else seconds
    return f"{_count(match['m'] or match['m2'], 'minute', gb)} {_count(seconds, 'second', gb)}"


@rule(r"\bT ?[-−–] ?(?=(?:[0-9]|10|30|60)\b(?! ?[A-Za-z])|[0-9]{1,3} (?:seconds|minutes|hours|days)\b)")
def _countdown(match: re.Match[str], gb: bool) -> str:
    return "T minus "


_NAMES = {"d": "day", "h": "hour", "m": "minute", "s": "second", "w": "week"}
_PART = r"[0-9]{1,4}(?:\.[0-9]{1,3})? ?(?:days?|hours?|hrs?\.?|minutes?|mins?\.?|seconds?|secs?\.?|[dhms])"


@rule(
    rf"(?<![\w.,$£€:-])(?P<a>{_PART})(?: ?(?:and )?)(?P<b>{_PART})(?:(?: ?(?:and )?)(?P<c>{_PART})"
    rf")?(?: ?(?P<d>{_PART}))?(?![\w/])"
)
def _duration(match: re.Match[str], gb: bool) -> str | None:
    parts = [part for part in match.groups() if part]
    kinds = [re.sub(r"[0-9. ]", "", part)[0] for part in parts]
    order = ["dhms".index(kind) for kind in kinds]
    if order != sorted(set(order)) or (
        any(re.fullmatch(r"[0-9.]+ [dhms]", part) for part in parts[:1])
        and len(parts) == 2
        and order[1] - order[0] != 1
    ):
        return None
    numbers = [re.sub(r"[^0-9.]", "", part).rstrip(".") for part in parts]
    return " ".join(_count(number, _NAMES[kind], gb) for number, kind in zip(numbers, kinds, strict=True))


@rule(
    rf"(?<![\w.,$£€-])(?P<n>[0-9]{{1,4}}(?:\.[0-9]{{1,2}})?)(?: to (?P<to>[0-9]{{1,4}}))?(?P<gap> ?-?)(?P<u>m|min"
    rf"|mins)\b\.?(?= (?:{_LEFT})\b)"
)
def _minutes(match: re.Match[str], gb: bool) -> str | None:
    adjective = match["gap"] == "-" or re.match(
        r" (?:video|clip|timer|timeout|delay|interval|episode|read|walk|drive|ride)\b",
        match.string[match.end() : match.end() + 12],
    )
    until = f" to {amount(match['to'], gb)}" if match["to"] else ""
    return f"{amount(match['n'], gb)}{until} minute{'' if match['n'] == '1' or adjective else 's'}"


@rule(
    r"(?P<lead>\b(?:[Ww]ait(?:s|ed)?|[Ff]or|[Ii]n|[Aa]fter|[Ww]ithin|[Ee]very|[Tt]akes?|[Tt]ook|[Ll]asts?|[Ll]asted"
    r"|about|around|than|under|over|only|just|[Aa]nother|of|to|is|was|ran|until|[Tt]imeout:?) (?:about |around "
    r"|only |just )?|~|≈|[<>] ?)(?P<n>[2-9]0|[0-9]{3,4})s\b(?!')"
)
def _seconds(match: re.Match[str], gb: bool) -> str | None:
    after = match.string[match.end() : match.end() + 12]
    if match["n"][0] in "12" and len(match["n"]) == 4 and re.match(r"1[0-9]|20", match["n"]):
        return None  # in 1990s
    if match["lead"].lower().strip() in ("of", "to", "is", "was", "over") and not re.match(
        r"\.?$| (?:per|each|before|after|video|clip|timeout|delay)\b", after
    ):
        return None
    return f"{match['lead']}{amount(match['n'], gb)} seconds"


@rule(
    r"(?<![\w.,'’])(?<!the )(?<!his )(?<!her )(?<!in )(?P<n>[2-9]0)s(?= (?:timeout|delay|interval|later|remaining"
    r"|left|ago|video|clip|countdown|per|timer|exposure|rest|before|cooldown)\b)"
)
def _seconds_before(match: re.Match[str], gb: bool) -> str:
    adjective = re.match(
        r" (?:timeout|delay|interval|video|clip|countdown|timer|exposure|rest|cooldown)\b",
        match.string[match.end() : match.end() + 12],
    )
    return f"{amount(match['n'], gb)} second{'' if adjective else 's'}"
