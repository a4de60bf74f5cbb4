"""The rules that find numbers in English text, and the order in which numbers, dates, money and units are said in
words (spell.py).

`speak_numbers` expects text that `normalise` has cleaned (NFKC, straight quotes, single spaces, ^2 for a raised 2) and
returns it without ASCII digits. `gb` chooses British usage: "one hundred and five", day before month. This module does
not know URLs, abbreviations or symbols that stand without a number.
"""

from __future__ import annotations

import re

from tts_fm.text import dates, money, units
from tts_fm.text.rules import NUM, Rules
from tts_fm.text.spell import amount, cardinal, digits, ordinal, plural, year
from tts_fm.text.units import LOOSE_UNIT, unit_name

codes = Rules()  # what is read digit by digit, and ranges: before dates with names
rule = Rules()


def speak_numbers(text: str, gb: bool = False) -> str:
    """`text` with every number in words; see the module's first lines for what `text` should be. Never raises."""
    for kind in (dates.rule, codes, dates.named, money.rule, units.rule, rule):
        text = kind.speak(text, gb)
    return text


# What is read digit by digit
@codes(
    r"(?<![\w.-])(?:\+?1[ .-]?)?\([0-9]{3}\) ?[0-9]{3}[-. ][0-9]{4}(?!\w)|(?<![\w.,-])(?:\+?1[ "
    r".-])?[0-9]{3}[-.][0-9]{3}[-.][0-9]{4}(?!\w)"
    r"|(?<!\w)\+[0-9]{1,3}(?:[ .-]?\([0-9]{1,5}\)|[ .-][0-9]{1,8}){2,7}(?!\w)|(?<!\w)\+[0-9]{9,15}(?!\w)"
    r"|(?<![\w.,-])[0-9]{3}-[0-9]{4}(?![\w-])|(?<![\w.,-])[0-9]{1,7}(?:-[0-9]{1,7}){2,6}(?![\w-])"
    r"|(?<!\w)0[0-9]{2,4} [0-9]{3,4} ?[0-9]{3,4}(?!\w)"
)
def _phone(match: re.Match[str], gb: bool) -> str:
    groups = re.findall("[0-9]+", match.group())
    return ("plus " if match.group()[0] == "+" else "") + ", ".join(digits(group) for group in groups)


@codes(r"\b(?P<verb>(?:call|dial|ring|phone)(?:ed|led|ing|s)?) (?P<n>911|999|112|411|311|101|111)\b", re.IGNORECASE)
def _emergency(match: re.Match[str], gb: bool) -> str:
    return f"{match['verb']} {digits(match['n'])}"


@codes(r"(?<![\w.,$£€-])911(?![\w%]|[.,][0-9]| people\b| [a-z]{2,20}s\b)")
def _nine_one_one(match: re.Match[str], gb: bool) -> str:
    return digits("911")


@codes(r"\b(?:24/7|9/11|50/50|20/20|80/20|60/40|70/30|90/10|50-50)\b(?![/.,][0-9])")
def _fixed_pair(match: re.Match[str], gb: bool) -> str:
    left, right = match.group().replace("-", "/").split("/")
    return f"{cardinal(int(left))} {cardinal(int(right))}"


@codes(r"(?<![0-9.])[0-9]{1,15}(?:\.[0-9]{1,15}){2,20}(?![0-9])")
def _dotted(match: re.Match[str], gb: bool) -> str:
    parts = match.group().split(".")
    if len(parts) != 4 and parts[0][0] != "0" and len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:]):
        return amount("".join(parts), gb)  # 1.000.000, as on the continent
    return (" dot " if len(parts) == 4 else " point ").join(amount(part, gb) for part in parts)


@codes(r"(?P<to>(?<=[0-9%kKmMnB])[-–]|(?<=[0-9%kKmMnB]) [–—] |(?<=%) - )(?=[$£€]?[0-9]{1,15}(?![0-9])(?!-))")
def _range(match: re.Match[str], gb: bool) -> str | None:
    start = match.start()
    word = re.search(r"\S*$", match.string[max(0, start - 24) : start])
    return None if word and re.match(r"[\"'(]*[^\W\d_]", word.group()) else " to "


# Fractions, decades, years, ordinals, and whatever number is left
_PARTS = {2: "half", 4: "quarter"}


@rule(
    r"(?<![\w./,⁄])(?:(?P<whole>[0-9]{1,6})[ -])?(?P<a>[0-9]{1,4})(?P<sep>[/⁄])(?P<b>[0-9]{1,4})(?![0-9/⁄]|\.[0-9])"
    rf"(?: ?(?P<unit>{LOOSE_UNIT}))?(?![\w^])"
)
def _fraction(match: re.Match[str], gb: bool) -> str | None:
    said = _fraction_words(match["whole"], int(match["a"]), int(match["b"]), match["sep"], gb)
    return f"{said} {unit_name(match['unit'], bool(match['whole']), gb)}" if match["unit"] else said


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


@rule(r"(?<![\w.,])'?(?P<c>1[0-9]|20)?(?P<d>[0-9]0)'?s\b")
def _decade(match: re.Match[str], gb: bool) -> str | None:
    tens = int(match["d"])
    if match["c"] is None:
        return plural(cardinal(tens)) if tens >= 20 else None
    if tens:
        return f"{cardinal(int(match['c']))} {plural(cardinal(tens))}" if tens >= 10 else None
    return "two thousands" if match["c"] == "20" else f"{cardinal(int(match['c']))} hundreds"


@rule(r"(?P<n>[0-9]{1,15})'?s\b")
def _plural(match: re.Match[str], gb: bool) -> str:
    return plural(amount(match["n"], gb))


@rule(r"(?<![\w'])'(?P<y>[0-9]{2})\b(?!['%.,][0-9]|')")
def _short_year(match: re.Match[str], gb: bool) -> str:
    return f"oh {digits(match['y'][1])}" if match["y"][0] == "0" else cardinal(int(match["y"]))


@rule(r"(?<![\w.,])(?P<n>[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?:st|nd|rd|th)\b", re.IGNORECASE)
def _ordinal(match: re.Match[str], gb: bool) -> str:
    return ordinal(int(match["n"].replace(",", "")), gb)


@rule(
    r"(?:\b(?P<lead>[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|AD|year) )?(?<![\w.,])(?P<y>1[0-9]{3}|20[0-9]{2})(?! "
    r"?[xX×*+=/]|\w|[,.][0-9])"
)
def _year(match: re.Match[str], gb: bool) -> str | None:
    if match["y"] < "1100" and not match["lead"]:
        return None
    return (f"{match['lead']} " if match["lead"] else "") + year(int(match["y"]), gb)


@rule(r"(?<=[0-9]) ?[xX×] ?(?=[0-9])")
def _by(match: re.Match[str], gb: bool) -> str:
    rest = match.string[match.end() : match.end() + 20]
    return " times " if re.match(r"[0-9.,]+ ?=", rest) else " by "


@rule(r"(?<=[0-9])(?:x\b| ?\* ?(?=[0-9]))")
def _times(match: re.Match[str], gb: bool) -> str:
    return " times "


@rule(r"(?<=[0-9]) ?[-–] ?(?=[0-9.]{1,15} ?=)|(?<=[0-9]) ?− ?(?=[0-9])|(?<![\w)\]%])[-−](?=\.?[0-9])")
def _minus(match: re.Match[str], gb: bool) -> str:
    return " minus " if match.start() and match.string[match.start() - 1].isdigit() else "minus "


@rule(r"(?<=[0-9]) - (?=[0-9])|(?<=[0-9]):(?=[0-9])")
def _to(match: re.Match[str], gb: bool) -> str:
    return " to "


@rule(r"\^(?P<n>[23])(?![0-9.])")
def _power(match: re.Match[str], gb: bool) -> str:
    return " squared" if match["n"] == "2" else " cubed"


@rule(r"(?<=[0-9a-z])\^(?=(?:minus )?[0-9])")
def _power_of(match: re.Match[str], gb: bool) -> str:
    return " to the power of "


@rule(rf"(?<![0-9])(?<![0-9][.,]){NUM}|[0-9]+")
def _number(match: re.Match[str], gb: bool) -> str:
    text = match.group()
    start = match.start()
    if text[0] == "." and start and match.string[start - 1].isalnum():  # "v.2": the dot belongs to the word before
        return ". " + amount(text[1:], gb)
    if text[0] not in "." and start and match.string[start - 1] in ",.;:":
        return " " + amount(text, gb)
    return amount(text, gb)
