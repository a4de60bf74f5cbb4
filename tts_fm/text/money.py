"""Sums of money in words: $3.50, £5m, 30€, USD 20, $20/month."""

from __future__ import annotations

import re

from tts_fm.text.rules import NUM, Rules
from tts_fm.text.spell import amount, cardinal
from tts_fm.text.units import SHORT

rule = Rules()

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


@rule(rf"(?<![\w])(?P<sign>[$£€])(?P<a>{NUM})(?: to |[-–])(?P=sign)?(?P<n>{NUM}){_MAGNITUDE}")
def _money_range(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['a'], gb)} to {_sum(match['n'], match['mag'], _MONEY[match['sign']], gb)}"


@rule(
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


@rule(rf"(?<![\w.,])(?P<n>{NUM}){_MAGNITUDE} ?(?P<sign>[€£¢¥₹])")
def _money_after(match: re.Match[str], gb: bool) -> str:
    return _sum(match["n"], match["mag"], _MONEY[match["sign"]], gb)


@rule(
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


@rule(rf"(?<![\w.,])(?P<n>{NUM})(?P<mag>[kKmM]|bn|B) (?=(?:{_COUNTED})\b)")
def _many(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'], gb)} {_MAGNITUDES[match['mag'].lower()]} "


@rule(
    r"(?P<what>\b(?:dollars?|cents?|pounds?|pence|euros?|yen|rupees?|thousand|million|billion|miles|meters|words|times|hours|[0-9]{1,15}))"
    r"/(?P<per>day|week|month|mo|year|yr|hour|hr|person|night|mile|kg|lb|minute|min|second|sec|user|unit)\b"
)
def _per(match: re.Match[str], gb: bool) -> str:
    return f"{match['what']} per {SHORT.get(match['per'], match['per'])}"
