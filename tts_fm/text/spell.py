"""English numbers in words: cardinals, ordinals, years, digit by digit. Knows nothing of the text around a number.

`gb` chooses British usage: "one hundred and five".
"""

from __future__ import annotations

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", "thousand", "million", "billion", "trillion")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
MONTHS = "January February March April May June July August September October November December".split()


def cardinal(number: int, gb: bool = False) -> str:
    """0 <= number < 10**15 in words; from 10**15 on (and for negative numbers) ValueError."""
    if not 0 <= number < 10**15:
        raise ValueError(f"{number} is not between 0 and 10**15")
    if number == 0:
        return "zero"
    groups: list[str] = []
    rest, scale = number, 0
    while rest:
        rest, group = divmod(rest, 1000)
        if group:
            words = _below_thousand(group, gb)
            if gb and scale == 0 and group < 100 and rest:
                words = f"and {words}"
            groups.append(f"{words} {_SCALES[scale]}".strip())
        scale += 1
    return " ".join(reversed(groups))


def _below_thousand(number: int, gb: bool) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_SMALL[hundreds]} hundred"] if hundreds else []
    if rest:
        if hundreds and gb:
            words.append("and")
        tens, ones = divmod(rest, 10)
        words.append(_SMALL[rest] if rest < 20 else _TENS[tens] + (f"-{_SMALL[ones]}" if ones else ""))
    return " ".join(words)


def ordinal(number: int, gb: bool = False) -> str:
    """0 <= number < 10**15 as an ordinal: "first", "twenty-second"."""
    words = cardinal(number, gb)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    head, last = words[:cut], words[cut:]
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def digits(text: str) -> str:
    """Every digit of `text` by itself: "007" gives "zero zero seven"."""
    return " ".join(_SMALL[int(char)] for char in text if char in "0123456789")


def year(number: int, gb: bool = False) -> str:
    """A year as it is said: 1905 "nineteen oh five", 2007 "two thousand seven", 2024 "twenty twenty-four"."""
    high, low = divmod(number, 100)
    if number < 1000 or number > 9999 or number % 1000 == 0 or (high % 10 == 0 and low < 10):
        return cardinal(number, gb)
    return f"{cardinal(high)} {'hundred' if low == 0 else 'oh ' + _SMALL[low] if low < 10 else cardinal(low)}"


def amount(text: str, gb: bool = False) -> str:
    """A written number: "1,234.5" gives "one thousand two hundred thirty-four point five". Leading zeros or over 15 digits: by digit."""
    whole, point, part = text.replace(",", "").partition(".")
    said = "" if not whole else digits(whole) if len(whole) > 15 or (len(whole) > 1 and whole[0] == "0") else cardinal(int(whole), gb)
    return f"{said} point {digits(part)}".strip() if point and part else said


def plural(words: str) -> str:
    """ "twenty" gives "twenties", "six" gives "sixes"."""
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")
