"""Dates in words: 7/4/1776, 2024.12.25, 5/1, 12/2024, 2023/24, 4 July, Dec. 25, Dec '24, Mon-Fri, 1066-1087.

`gb` puts the day before the month. Two numbers with a slash are a date where they can be no fraction (5/1), where the
second could only be a day (12/25), or after a word such as "on" or "by"; otherwise they are a fraction.
"""

from __future__ import annotations

import re

from tts_fm.text.rules import Rules
from tts_fm.text.spell import MONTHS, cardinal, digits, ordinal, year

days = Rules()  # weekdays and months in ranges
rule = Rules()  # numeric dates: they look like ranges and sums, so they come before numbers
named = Rules()  # dates with the month's name, years: after ranges

_MONTH_NAMES = (
    "January|February|March|April|May|June|July|August|September|October|November|December|"
    r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)(?:\.|\b)"
)
_MON = rf"(?P<month>{_MONTH_NAMES})"
_DAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Weds": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
_DAY = rf"(?:{'|'.join(sorted(_DAYS, key=len, reverse=True))}|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)s?"
_LETTERS = {
    "M": "Monday",
    "T": "Tuesday",
    "W": "Wednesday",
    "F": "Friday",
    "Th": "Thursday",
    "Tu": "Tuesday",
    "Sa": "Saturday",
    "Su": "Sunday",
}


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


# Weekdays and months in ranges and lists
@days(rf"\b(?P<a>{_DAY})\.?(?: ?[-–—] ?| to |/| thru )(?P<b>{_DAY})\b(?P<dot>\.?)(?P<more>/(?P<c>{_DAY})\b)?")
def _days(match: re.Match[str], gb: bool) -> str | None:
    names = [name and _DAYS.get(name, name) for name in (match["a"], match["b"], match["c"])]
    if "/" in match.group():
        return ", ".join(name for name in names if name)
    after = match.string[match.end() : match.end() + 3].strip()[:1]
    return f"{names[0]} to {names[1]}" + ("." if match["dot"] and (not after or after.isupper()) else "")


@days(r"\b(?P<a>M|T|W|Tu|Th)[-–](?P<b>F|Th|Sa|Su)\b(?=,? [0-9]|:)")
def _day_letters(match: re.Match[str], gb: bool) -> str:
    return f"{_LETTERS[match['a']]} to {_LETTERS[match['b']]}"


@days(
    r"\b(?P<day>Mon|Tues?|Weds?|Thu(?:rs?)?|Fri|Sat|Sun)\b\.?(?=,? (?:[0-9]|January|February|March|April|May |June"
    r"|July|August|September|October|November|December|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b))"
)
def _weekday(match: re.Match[str], gb: bool) -> str:
    return _DAYS[match["day"]]


_SHORT_DAY = rf"(?:{'|'.join(sorted(_DAYS, key=len, reverse=True))})\b\.?"


@days(rf"\b{_SHORT_DAY}(?:(?:, ?(?:and |& )?| and | & | or ){_SHORT_DAY}){{1,6}}")
def _day_list(match: re.Match[str], gb: bool) -> str:
    ends = "." if match.group().endswith(".") and match.end() == len(match.string) else ""
    return re.sub(_SHORT_DAY, lambda day: _DAYS[day.group().rstrip(".")], match.group()).replace("&", "and") + ends


@days(rf"(?<=[0-9])(?:st|nd|rd|th)? ?[-–—] ?(?=(?:{_MONTH_NAMES}) ?[0-9]{{1,2}}\b)")
def _to_month(match: re.Match[str], gb: bool) -> str | None:
    before = match.string[max(0, match.start() - 16) : match.start()]
    return " to " if re.search(rf"\b(?:{_MONTH_NAMES}) ?[0-9]{{1,2}}$", before) else None


@days(rf"\b(?P<a>{_MONTH_NAMES}) ?[-–—/] ?(?P<b>{_MONTH_NAMES})(?! ?[0-9]{{1,2}}(?![0-9]))")
def _months(match: re.Match[str], gb: bool) -> str | None:
    a, b = (MONTHS[_month(match[name]) - 1] for name in "ab")
    if "/" in match.group():
        return f"{a}, {b}"
    after = match.string[match.end() : match.end() + 3].strip()[:1]
    return f"{a} to {b}" + ("." if match["b"].endswith(".") and (not after or after.isupper()) else "")


# Numeric dates
@rule(
    r"(?<![\w.-])(?P<y>[0-9]{4})(?P<sep>[-/.])(?P<m>[0-9]{2})(?P=sep)(?P<d>[0-9]{2})(?:[T ](?=[0-9]{2}:)|(?![\w/-]"
    r"|\.[0-9]))"
)
def _iso_date(match: re.Match[str], gb: bool) -> str | None:
    said = _date(int(match["d"]), int(match["m"]), match["y"], gb)
    return said and said + (" at " if match.group()[-1] in "T " else "")


@rule(
    r"(?<![\w.,-])(?P<y>19[0-9]{2}|20[0-9]{2})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12][0-9]"
    r"|3[01])(?:T(?=[0-9]{2}:?[0-9]{2})|(?![\w,%]|\.[0-9]))"
)
def _compact_date(match: re.Match[str], gb: bool) -> str | None:
    said = _date(int(match["d"]), int(match["m"]), match["y"], gb)
    return said and said + (" at " if match.group()[-1] == "T" else "")


@rule(
    r"(?<![\w/.-])(?P<a>[0-9]{1,2})(?P<sep>[/.-])(?P<b>[0-9]{1,2})(?P=sep)(?P<y>[0-9]{4}|(?<=/)[0-9]{2})(?![\w/-]"
    r"|\.[0-9])"
)
def _numeric_date(match: re.Match[str], gb: bool) -> str | None:
    first, second = int(match["a"]), int(match["b"])
    day_first = match["sep"] == "." or (gb and second <= 12) or first > 12
    return _date(first, second, match["y"], gb) if day_first else _date(second, first, match["y"], gb)


@rule(r"(?<![\w/.,-])(?P<m>0?[1-9]|1[0-2])/(?P<y>19[0-9]{2}|20[0-9]{2})(?![\w/-]|[.,][0-9])")
def _month_and_year(match: re.Match[str], gb: bool) -> str:
    return f"{MONTHS[int(match['m']) - 1]} {year(int(match['y']), gb)}"


@rule(r"(?<![\w/.,-])(?P<a>1[0-9]{3}|20[0-9]{2})/(?P<b>1[0-9]{3}|20[0-9]{2}|[0-9]{2})(?![\w/-]|[.,][0-9])")
def _year_pair(match: re.Match[str], gb: bool) -> str | None:
    first, second = int(match["a"]), match["b"]
    following = int(second) if len(second) == 4 else first // 100 * 100 + int(second)
    if not first < following <= first + 30:
        return None
    return f"{year(first, gb)} to {year(following, gb) if len(second) == 4 else _short(second)}"


def _short(two: str) -> str:
    """The last two digits of a year."""
    return f"oh {digits(two[1])}" if two[0] == "0" else cardinal(int(two))


_NO_DATE = (
    r"cups?|tsp|tbsp|teaspoons?|tablespoons?|of|inch(?:es)?|in\.|miles?|km|lbs?|pounds?|oz|ounces?|full|empty|done"
    r"|majority|"
    r"stars?|points?|the|time|hours?|minutes?|mm|cm|m|ft|feet|yards?|share|size|scale|wide|thick|chance"
)


@rule(
    r"(?P<lead>\b(?:[Oo]n|[Bb]y|[Ss]ince|[Uu]ntil|[Tt]ill|[Bb]efore|[Aa]fter|[Ff]rom|[Dd]ue|[Dd]ated?|[Ss]tarting"
    r"|[Uu]ntil|[Tt]hrough|[Aa]s of|[Ww]eek of|[Ee]nding|[Dd]eadline:?|[Dd]ate:?|[Ee]xp(?:ires|iry)?:?|"
    r"Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday),? )?"
    r"(?<![\w/.,$£€-])(?P<a>[0-9]{1,2})/(?P<b>[0-9]{1,2})"
    rf"(?![\w/⁄%\"'°]|[.,][0-9]|[-–][0-9/]| ?=| (?:{_NO_DATE})\b|-[a-z])"
)
def _short_date(match: re.Match[str], gb: bool) -> str | None:
    a, b = int(match["a"]), int(match["b"])
    day, month = (a, b) if (gb and b <= 12) or a > 12 else (b, a)
    said = _date(day, month, None, gb)
    if said is None or (a, b) in ((24, 7), (9, 11), (50, 50), (20, 20), (7, 11)):
        return None
    sure = bool(match["lead"]) or a > b or (a > 1 and b > 12 and b not in (16, 20))
    return (match["lead"] or "") + said if sure else None


@rule(r"(?<=[0-9]0s) ?[-–—] ?(?='?[0-9]{1,3}0s\b)")
def _decades(match: re.Match[str], gb: bool) -> str:
    return " to "


@rule(r"\b(?P<y>(?:19|20)[0-9]{2})-?W(?P<w>[0-5][0-9])\b")
def _week(match: re.Match[str], gb: bool) -> str:
    return f"{year(int(match['y']), gb)} week {cardinal(int(match['w']))}"


@rule(r"(?<=\()(?P<y>1[0-9]{3}|20[0-9]{2}) ?[-–—] ?(?=\))")
def _until_now(match: re.Match[str], gb: bool) -> str:
    return f"{year(int(match['y']), gb)} to present"


@rule(
    r"(?<![\w$£€.,/–-])(?P<a>[1-9][0-9]{2,3}) ?(?:[-–—]|\bto\b) ?(?P<b>[1-9][0-9]{2,3})"
    r"(?P<era> ?(?:BCE|BC|CE|AD"
    r"|A D)\b)?(?![\w%°/–-]|[.,][0-9]| ?(?:[$£€°]|km|kg|mm|cm|m|g|miles|words|people|meters|metres|feet|calories"
    r"|kcal|dollars|euros|pounds|pages|users|points)\b)"
)
def _years(match: re.Match[str], gb: bool) -> str | None:
    first, last = int(match["a"]), int(match["b"])
    fits = 1000 <= first < last <= 2100 and last - first <= 500 and (first % 100 or last % 100)
    if not (fits or (match["era"] and first < 2100 > last)):
        return None
    return f"{year(first, gb)} to {year(last, gb)}{match['era'] or ''}"


@rule(r"\b(?P<what>Q[1-4]|H[12]|FY)(?P<gap> ?)(?P<mark>'?)(?P<y>(?:20)?[0-9]{2})\b(?![.,%][0-9]|%)")
def _quarter(match: re.Match[str], gb: bool) -> str | None:
    what, short = match["what"], match["y"]
    if what != "FY" and not (match["mark"] or len(short) == 4):
        return None
    name = "fiscal year" if what == "FY" else f"{what[0]} {cardinal(int(what[1]))}"
    return f"{name} {year(int(short if len(short) == 4 else '20' + short), gb)}"


# Dates with the month's name
@named(
    rf"\b{_MON} ?(?<=[ .])(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?P<range> to [0-9]{{1,2}}(?:st|nd|rd|th)?"
    rf"|(?:, [0-9]{{1,2}}(?:st|nd|rd|th)?){{0,4}},? (?:and|or|&) [0-9]{{1,2}}(?:st|nd|rd|th)?)?(?:,? "
    rf"(?P<y>[0-9]{{4}}))?\b(?![:%]|[.,][0-9]| ?(?:AM|PM|am|pm|a\.m|p\.m)\b)"
)
def _month_day(match: re.Match[str], gb: bool) -> str | None:
    day, month = int(match["day"]), MONTHS[_month(match["month"]) - 1]
    if not 1 <= day <= 31:
        return None
    more = re.sub(r"([0-9]+)(?:st|nd|rd|th)?", lambda m: ordinal(int(m[1])), match["range"] or "").replace("&", "and")
    return f"{month} {ordinal(day)}{more}" + (f", {year(int(match['y']), gb)}" if match["y"] else "")


@named(
    rf"\b(?P<the>[Tt]he )?(?P<first>[0-9]{{1,2}}(?:st|nd|rd|th)?(?: to |[-–]))?(?P<day>[0-9]{{1,2}})(?:st|nd|rd"
    rf"|th)?(?P<of> of)? {_MON}(?:,? (?P<y>[0-9]{{4}})\b)?(?![\w])"
)
def _day_month(match: re.Match[str], gb: bool) -> str | None:
    day = int(match["day"])
    if not 1 <= day <= 31:
        return None
    the = match["the"] or ("" if match["of"] else "the ")
    first = f"{ordinal(int(re.sub('[^0-9]', '', match['first'])))} to " if match["first"] else ""
    after = match.string[match.end() : match.end() + 8].lstrip(" \"')")[:1]
    dot = "." if match["month"].endswith(".") and not match["y"] and (not after or after.isupper()) else ""
    return f"{the}{first}{ordinal(day)} of {MONTHS[_month(match['month']) - 1]}" + (
        f", {year(int(match['y']), gb)}" if match["y"] else dot
    )


@named(r"(?<![\w.,-])(?P<y>1[0-9]{3})(?= (?:A D|AD|BC|BCE|CE)\b)")
def _era(match: re.Match[str], gb: bool) -> str:
    return year(int(match["y"]), gb)


@named(rf"\b{_MON} '(?P<y>[0-9]{{2}})\b(?!['%])")
def _month_short_year(match: re.Match[str], gb: bool) -> str:
    short = int(match["y"])
    return f"{MONTHS[_month(match['month']) - 1]} {year(2000 + short if short < 50 else 1900 + short, gb)}"


@named(rf"\b{_MON} (?=(?:1[0-9]|20)[0-9]{{2}}\b)")
def _month_year(match: re.Match[str], gb: bool) -> str:
    return MONTHS[_month(match["month"]) - 1] + " "


@named(r"\b(?P<lead>born|died|flourished|reigned|circa|married|established) (?P<y>[1-9][0-9]{2,3})\b(?![,.][0-9])")
def _life_year(match: re.Match[str], gb: bool) -> str:
    return f"{match['lead']} {year(int(match['y']), gb)}"


@named(r"(?<![\w.,])(?P<a>[0-9]{1,2})(?:st|nd|rd|th) ?[-–] ?(?P<b>[0-9]{1,2})(?:st|nd|rd|th)\b")
def _ordinals(match: re.Match[str], gb: bool) -> str:
    return f"{ordinal(int(match['a']), gb)} to {ordinal(int(match['b']), gb)}"
