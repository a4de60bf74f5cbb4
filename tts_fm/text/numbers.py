"""The rules that find numbers, dates, times, money and units in English text, and say them in words (spell.py).

`speak_numbers` expects text that `normalise` has cleaned (NFKC, straight quotes, single spaces, ^2 for a raised 2) and
returns it without ASCII digits. Rules run in order, each over the whole text with one bounded regex, so time is linear.
`gb` chooses British usage: "one hundred and five", day before month. This module does not know URLs, abbreviations or
symbols that stand without a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tts_fm.text.spell import MONTHS, UNITS, amount, cardinal, digits, ordinal, plural, year

Say = Callable[[re.Match[str], bool], str | None]  # what is said instead of a match; None leaves it
_RULES: list[tuple[re.Pattern[str], Say]] = []

NUM = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,5}(?![0-9])(?:\.[0-9]{1,30})?|[0-9]{1,15}(?![0-9])(?:\.[0-9]{1,30})?|\.[0-9]{1,30})"
)
_MON = (
    r"(?P<month>January|February|March|April|May|June|July|August|September|October|November|December|"
    r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)(?:\.|\b))"
)


def _rule(pattern: str, flags: int = 0) -> Callable[[Say], Say]:
    def add(say: Say) -> Say:
        _RULES.append((re.compile(pattern, flags), say))
        return say

    return add


def speak_numbers(text: str, gb: bool = False) -> str:
    """`text` with every number in words; see the module's first lines for what `text` should be. Never raises."""
    for pattern, say in _RULES:
        text = pattern.sub(lambda match, say=say: _put(match, say(match, gb)), text)  # type: ignore[misc]
    return text


def _put(match: re.Match[str], said: str | None) -> str:
    """What replaces `match`, kept apart from letters beside it."""
    if said is None:
        return match.group()
    whole, start, end = match.string, match.start(), match.end()
    before = " " if start and whole[start - 1].isalnum() and said[:1].isalnum() else ""
    after = " " if end < len(whole) and whole[end].isalnum() and said[-1:].isalnum() else ""
    return before + said + after


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


# What is read digit by digit, and dates: they look like ranges and sums, so they come first
# -----------------------------------------------
@_rule(r"(?<![\w.-])(?P<y>[0-9]{4})(?P<sep>[-/])(?P<m>[0-9]{2})(?P=sep)(?P<d>[0-9]{2})(?:[T ](?=[0-9]{2}:)|(?![\w/-]))")
def _iso_date(match: re.Match[str], gb: bool) -> str | None:
    said = _date(int(match["d"]), int(match["m"]), match["y"], gb)
    return said and said + (" at " if match.group()[-1] in "T " else "")


@_rule(
    r"(?<![\w/.-])(?P<a>[0-9]{1,2})(?P<sep>[/.-])(?P<b>[0-9]{1,2})(?P=sep)(?P<y>[0-9]{4}|(?<=/)[0-9]{2})(?![\w/-]|\.[0-9])"
)
def _numeric_date(match: re.Match[str], gb: bool) -> str | None:
    first, second = int(match["a"]), int(match["b"])
    day_first = match["sep"] == "." or (gb and second <= 12) or first > 12
    return _date(first, second, match["y"], gb) if day_first else _date(second, first, match["y"], gb)


@_rule(
    r"(?<![\w.-])(?:\+?1[ .-]?)?\([0-9]{3}\) ?[0-9]{3}[-. ][0-9]{4}(?!\w)|(?<![\w.,-])(?:\+?1[ "
    r".-])?[0-9]{3}[-.][0-9]{3}[-.][0-9]{4}(?!\w)"
    r"|(?<!\w)\+[0-9]{1,3}(?:[ .-]?\([0-9]{1,5}\)|[ .-][0-9]{1,8}){2,7}(?!\w)|(?<!\w)\+[0-9]{9,15}(?!\w)"
    r"|(?<![\w.,-])[0-9]{3}-[0-9]{4}(?![\w-])|(?<![\w.,-])[0-9]{1,7}(?:-[0-9]{1,7}){2,6}(?![\w-])"
    r"|(?<!\w)0[0-9]{2,4} [0-9]{3,4} ?[0-9]{3,4}(?!\w)"
)
def _phone(match: re.Match[str], gb: bool) -> str:
    groups = re.findall("[0-9]+", match.group())
    return ("plus " if match.group()[0] == "+" else "") + ", ".join(digits(group) for group in groups)


@_rule(r"\b(?P<verb>(?:call|dial|ring|phone)(?:ed|led|ing|s)?) (?P<n>911|999|112|411|311|101|111)\b", re.IGNORECASE)
def _emergency(match: re.Match[str], gb: bool) -> str:
    return f"{match['verb']} {digits(match['n'])}"


@_rule(r"(?<![\w.,$£€-])911(?![\w%]|[.,][0-9]| people\b| [a-z]{2,20}s\b)")
def _nine_one_one(match: re.Match[str], gb: bool) -> str:
    return digits("911")


@_rule(r"\b(?:24/7|9/11|50/50|20/20|80/20|60/40|70/30|90/10|50-50)\b(?![/.,][0-9])")
def _fixed_pair(match: re.Match[str], gb: bool) -> str:
    left, right = match.group().replace("-", "/").split("/")
    return f"{cardinal(int(left))} {cardinal(int(right))}"


@_rule(r"(?<![0-9.])[0-9]{1,15}(?:\.[0-9]{1,15}){2,20}(?![0-9])")
def _dotted(match: re.Match[str], gb: bool) -> str:
    parts = match.group().split(".")
    if len(parts) != 4 and parts[0][0] != "0" and len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:]):
        return amount("".join(parts), gb)  # 1.000.000, as on the continent
    return (" dot " if len(parts) == 4 else " point ").join(amount(part, gb) for part in parts)


@_rule(r"(?P<to>(?<=[0-9%kKmMnB])[-–]|(?<=[0-9%kKmMnB]) [–—] |(?<=%) - )(?=[$£€]?[0-9]{1,15}(?![0-9])(?!-))")
def _range(match: re.Match[str], gb: bool) -> str | None:
    start = match.start()
    word = re.search(r"\S*$", match.string[max(0, start - 24) : start])
    return None if word and re.match(r"[\"'(]*[^\W\d_]", word.group()) else " to "


# Dates and times
@_rule(
    rf"\b{_MON} ?(?<=[ .])(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?P<range> to [0-9]{{1,2}})?(?:,? "
    rf"(?P<y>[0-9]{{4}}))?\b(?![:%]|[.,][0-9])"
)
def _month_day(match: re.Match[str], gb: bool) -> str | None:
    day, month = int(match["day"]), MONTHS[_month(match["month"]) - 1]
    if not 1 <= day <= 31:
        return None
    until = f" to {ordinal(int(match['range'][4:]))}" if match["range"] else ""
    return f"{month} {ordinal(day)}{until}" + (f", {year(int(match['y']), gb)}" if match["y"] else "")


@_rule(
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


@_rule(rf"\b{_MON} (?=(?:1[0-9]|20)[0-9]{{2}}\b)")
def _month_year(match: re.Match[str], gb: bool) -> str:
    return MONTHS[_month(match["month"]) - 1] + " "


@_rule(
    r"(?<![\w:.,])(?P<h>[0-9]{1,2})(?:[:.](?P<m>[0-5][0-9]))?(?: ?(?P<half>[ap])(?P<dot>\.)? ?m\b)(?P<end>\.?)",
    re.IGNORECASE,
)
def _clock_12(match: re.Match[str], gb: bool) -> str | None:
    if int(match["h"]) > 24:
        return None
    after = match.string[match.end() : match.end() + 8].lstrip(" \"')(")[:1]
    ends = match["end"] and (not match["dot"] or not after or after == "\n" or after.isupper())
    return f"{_clock(int(match['h']), int(match['m'] or 0), '')} {match['half'].upper()}M{'.' if ends else ''}"


@_rule(r"(?<![\w:.,])(?P<h>[01]?[0-9]|2[0-4]):(?P<m>[0-5][0-9])(?::(?P<s>[0-5][0-9]))?(?![\w:]|\.[0-9])")
def _clock_24(match: re.Match[str], gb: bool) -> str:
    hour, minute = int(match["h"]), int(match["m"])
    whole = "midnight" if hour in (0, 24) else f"{cardinal(hour)} {'hundred' if hour > 12 else 'o' + chr(39) + 'clock'}"
    seconds = f" and {cardinal(int(match['s']))} second{'' if int(match['s']) == 1 else 's'}" if match["s"] else ""
    return (whole if minute == 0 else _clock(hour, minute, "")) + seconds


def _clock(hour: int, minute: int, whole: str) -> str:
    minutes = "oh " + cardinal(minute) if 0 < minute < 10 else cardinal(minute) if minute else whole
    return f"{cardinal(hour)} {minutes}".strip()


# Money
_MAGNITUDES = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "mm": "million",
    "b": "billion",
    "bn": "billion",
    "tn": "trillion",
    "t": "trillion",
}
_MAGNITUDE = r"(?:[ -]?(?P<mag>thousand|million|billion|trillion|lakh|crore|(?:bn|mn|mm|tn|[kKmMbBtT])(?![\w])))?"
_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"), "₹": ("rupee", "rupees", "paisa", "paise"), "₩": ("won", "won", "jeon", "jeon"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"), "¢": ("cent", "cents", "", ""),
}  # fmt: skip
_CODES = {
    "USD": "US dollar",
    "EUR": "euro",
    "GBP": "pound",
    "CHF": "Swiss franc",
    "CAD": "Canadian dollar",
    "AUD": "Australian dollar",
    "INR": "rupee",
}
_LANDS = {"US": "US ", "A": "Australian ", "C": "Canadian ", "NZ": "New Zealand ", "HK": "Hong Kong "}


@_rule(rf"(?<![\w])(?P<sign>[$£€])(?P<a>{NUM})(?: to |[-–])(?P=sign)?(?P<n>{NUM}){_MAGNITUDE}")
def _money_range(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['a'], gb)} to {_sum(match['n'], match['mag'], _MONEY[match['sign']], gb)}"


@_rule(
    rf"(?<![\w])(?P<minus>[-−])?(?P<land>US|A|C|NZ|HK)?(?P<sign>[$£€¥₹₩₽])(?P<minus2>[-−])? ?(?P<n>{NUM}){_MAGNITUDE}"
)
def _money(match: re.Match[str], gb: bool) -> str:
    before = match.string[max(0, match.start() - 3) : match.start()].lower()
    as_adjective = (
        before in (" a ", "an ", "a ")
        and re.match(r"[ -][a-z]", match.string[match.end() : match.end() + 2]) is not None
    )
    said = _sum(match["n"], match["mag"], _MONEY[match["sign"]], gb, as_adjective)
    if match["land"]:
        said = re.sub(r"(dollars?)", _LANDS[match["land"]] + r"\1", said)
    return ("minus " if match["minus"] or match["minus2"] else "") + said


@_rule(rf"(?<![\w.,])(?P<n>{NUM}){_MAGNITUDE} ?(?P<sign>[€£¢¥₹])")
def _money_after(match: re.Match[str], gb: bool) -> str:
    return _sum(match["n"], match["mag"], _MONEY[match["sign"]], gb)


@_rule(
    rf"\b(?P<code>USD|EUR|GBP|CHF|CAD|AUD|INR) ?(?P<n>{NUM}){_MAGNITUDE}|(?<![\w.,])(?P<n2>{NUM}) "
    r"?(?P<code2>USD|EUR|GBP|CHF|CAD|AUD|INR)\b"
)
def _money_code(match: re.Match[str], gb: bool) -> str:
    name = _CODES[match["code"] or match["code2"]]
    return _sum(match["n"] or match["n2"], match["mag"], (name, name + "s", "cent", "cents"), gb)


def _sum(
    number: str, magnitude: str | None, names: tuple[str, str, str, str], gb: bool, as_adjective: bool = False
) -> str:
    one, many, small, smalls = names
    whole, _, part = number.replace(",", "").partition(".")
    if magnitude:
        return f"{amount(number, gb)} {_MAGNITUDES.get(magnitude.lower(), magnitude)} {one if as_adjective else many}"
    if len(part) != 2 or not small or len(whole) > 15:
        return f"{amount(number, gb)} {one if as_adjective or number == '1' else many}"
    units = (
        f"{amount(whole, gb)} {one if whole == '1' or (as_adjective and part == '00') else many}"
        if whole.strip("0")
        else ""
    )
    cents = f"{cardinal(int(part), gb)} {small if part == '01' else smalls}" if part != "00" else ""
    return f"{units} and {cents}" if units and cents else units or cents or f"zero {many}"


_COUNTED = (
    "people|users|men|women|jobs|homes|views|subscribers|customers|copies|followers|tonnes|tons|downloads|residents|voters|children|"
    "deaths|cases"
)


@_rule(rf"(?<![\w.,])(?P<n>{NUM})(?P<mag>[kKmM]|bn|B) (?=(?:{_COUNTED})\b)")
def _many(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'], gb)} {_MAGNITUDES[match['mag'].lower()]} "


@_rule(
    r"(?P<what>\b(?:dollars?|cents?|pounds?|pence|euros?|yen|rupees?|thousand|million|billion|miles|meters|words|times|hours|[0-9]{1,15}))"
    r"/(?P<per>day|week|month|mo|year|yr|hour|hr|person|night|mile|kg|lb|minute|min|second|sec|user|unit)\b"
)
def _per(match: re.Match[str], gb: bool) -> str:
    return f"{match['what']} per {_SHORT.get(match['per'], match['per'])}"


# Units
_ATTACHED = frozenset({"in", "A", "J", "N", "pt", "ha"})  # after a space these are words
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_LOOSE_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS.keys() - _ATTACHED, key=len, reverse=True))
_SHORT = {"yr": "year", "hr": "hour", "min": "minute", "sec": "second", "kg": "kilogram", "lb": "pound", "mo": "month"}
_PER = r"(?:/(?P<per>day|week|month|mo|year|yr|hour|hr|person|mile|kg|lb|minute|min|second|sec)\b)?"


@_rule(rf"(?<![\w.,])(?P<n>{NUM})° ?(?P<m>[0-9]{{1,2}})'(?: ?(?P<s>[0-9]{{1,2}}(?:\.[0-9]{{1,4}})?)\")?")
def _arc(match: re.Match[str], gb: bool) -> str:
    seconds = f" {amount(match['s'], gb)} seconds" if match["s"] else ""
    return f"{amount(match['n'], gb)} degrees {amount(match['m'], gb)} minutes{seconds}"


@_rule(r"(?<![\w.,'])(?P<ft>[0-9]{1,2})' ?(?P<in>[0-9]{1,2})(?:\"|'')")
def _height(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['ft'])} foot {amount(match['in'])}"


def _unit_name(unit: str, many: bool, gb: bool) -> str:
    one, _, plurals = UNITS[unit].partition("|")
    name = (plurals or one + "s") if many else one
    return name.replace("meter", "metre").replace("liter", "litre") if gb else name


@_rule(
    rf"(?:(?<![\w)])(?P<minus>[-−]))?(?<![\w.,/⁄])(?<![^\W\d_]-)(?P<n>{NUM})(?P<gap>[ -]?)"
    rf"(?P<unit>{_UNIT})(?![\w^])(?:(?<=[a-z])\.(?= [a-z]))?{_PER}"
)
def _unit(match: re.Match[str], gb: bool) -> str | None:
    unit, number = match["unit"], match["n"]
    if (unit in _ATTACHED and match["gap"]) or (unit == "s" and re.fullmatch(r"[2-9]0|[0-9]{3,4}", number)):
        return None  # "5 in the", "an 8-A"; "the 90s"
    name = _unit_name(unit, not (number == "1" or match["gap"] == "-"), gb)
    per = f" per {_SHORT.get(match['per'], match['per'])}" if match["per"] else ""
    return f"{'minus ' if match['minus'] else ''}{amount(number, gb)} {name}{per}"


# Fractions, decades, years, ordinals, and whatever number is left
# -------------------------------------------------------------------------
_PARTS = {2: "half", 4: "quarter"}


@_rule(
    r"(?<![\w./,⁄])(?:(?P<whole>[0-9]{1,6})[ -])?(?P<a>[0-9]{1,4})(?P<sep>[/⁄])(?P<b>[0-9]{1,4})(?![0-9/⁄]|\.[0-9])"
    rf"(?: ?(?P<unit>{_LOOSE_UNIT}))?(?![\w^])"
)
def _fraction(match: re.Match[str], gb: bool) -> str | None:
    said = _fraction_words(match["whole"], int(match["a"]), int(match["b"]), match["sep"], gb)
    return f"{said} {_unit_name(match['unit'], bool(match['whole']), gb)}" if match["unit"] else said


def _fraction_words(number: str | None, top: int, bottom: int, sep: str, gb: bool) -> str:
    whole = f"{cardinal(int(number), gb)} " if number else ""
    if sep == "/" and not whole and (top == bottom or top < bottom == 100):
        return f"{cardinal(top, gb)} out of {cardinal(bottom, gb)}"
    known = bottom <= 20 or bottom in (25, 32, 50, 64, 1000) or sep == "⁄"
    if not (known and 0 < top and bottom and (top < bottom or sep == "⁄")):
        return f"{whole}{cardinal(top, gb)} over {cardinal(bottom, gb)}"
    name = _PARTS.get(bottom) or ordinal(bottom, gb)
    name = name if top == 1 else "halves" if name == "half" else plural(name)
    if whole:
        return f"{whole}and {'a' if top == 1 else cardinal(top)} {name}"
    return f"{cardinal(top, gb)} {name}"


@_rule(r"(?<![\w.,])'?(?P<c>1[0-9]|20)?(?P<d>[0-9]0)'?s\b")
def _decade(match: re.Match[str], gb: bool) -> str | None:
    tens = int(match["d"])
    if match["c"] is None:
        return plural(cardinal(tens)) if tens >= 20 else None
    if tens:
        return f"{cardinal(int(match['c']))} {plural(cardinal(tens))}" if tens >= 10 else None
    return "two thousands" if match["c"] == "20" else f"{cardinal(int(match['c']))} hundreds"


@_rule(r"(?P<n>[0-9]{1,15})'?s\b")
def _plural(match: re.Match[str], gb: bool) -> str:
    return plural(amount(match["n"], gb))


@_rule(r"(?<![\w'])'(?P<y>[0-9]{2})\b(?!['%.,][0-9]|')")
def _short_year(match: re.Match[str], gb: bool) -> str:
    return f"oh {digits(match['y'][1])}" if match["y"][0] == "0" else cardinal(int(match["y"]))


@_rule(r"(?<![\w.,])(?P<n>[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?:st|nd|rd|th)\b", re.IGNORECASE)
def _ordinal(match: re.Match[str], gb: bool) -> str:
    return ordinal(int(match["n"].replace(",", "")), gb)


@_rule(
    r"(?:\b(?P<lead>[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|AD|year) )?(?<![\w.,])(?P<y>1[0-9]{3}|20[0-9]{2})(?! "
    r"?[xX×*+=/]|\w|[,.][0-9])"
)
def _year(match: re.Match[str], gb: bool) -> str | None:
    if match["y"] < "1100" and not match["lead"]:
        return None
    return (f"{match['lead']} " if match["lead"] else "") + year(int(match["y"]), gb)


@_rule(r"(?<=[0-9]) ?[xX×] ?(?=[0-9])")
def _by(match: re.Match[str], gb: bool) -> str:
    rest = match.string[match.end() : match.end() + 20]
    return " times " if re.match(r"[0-9.,]+ ?=", rest) else " by "


@_rule(r"(?<=[0-9])(?:x\b| ?\* ?(?=[0-9]))")
def _times(match: re.Match[str], gb: bool) -> str:
    return " times "


@_rule(r"(?<=[0-9]) ?[-–] ?(?=[0-9.]{1,15} ?=)|(?<=[0-9]) ?− ?(?=[0-9])|(?<![\w)\]%])[-−](?=\.?[0-9])")
def _minus(match: re.Match[str], gb: bool) -> str:
    return " minus " if match.start() and match.string[match.start() - 1].isdigit() else "minus "


@_rule(r"(?<=[0-9]) - (?=[0-9])|(?<=[0-9]):(?=[0-9])")
def _to(match: re.Match[str], gb: bool) -> str:
    return " to "


@_rule(r"\^(?P<n>[23])(?![0-9.])")
def _power(match: re.Match[str], gb: bool) -> str:
    return " squared" if match["n"] == "2" else " cubed"


@_rule(r"(?<=[0-9a-z])\^(?=(?:minus )?[0-9])")
def _power_of(match: re.Match[str], gb: bool) -> str:
    return " to the power of "


@_rule(rf"(?<![0-9])(?<![0-9][.,]){NUM}|[0-9]+")
def _number(match: re.Match[str], gb: bool) -> str:
    text = match.group()
    start = match.start()
    if text[0] == "." and start and match.string[start - 1].isalnum():  # "v.2": the dot belongs to the word before
        return ". " + amount(text[1:], gb)
    if text[0] not in "." and start and match.string[start - 1] in ",.;:":
        return " " + amount(text, gb)
    return amount(text, gb)
