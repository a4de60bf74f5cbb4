"""The order in which English numbers of every kind are said in words, and the kinds that have no module of their own:
formats, magnitudes, fractions, decades, ordinals, years, and whatever number is left.

`speak_numbers` expects text that `normalise` has cleaned (NFKC, straight quotes, single spaces, ^2 for a raised 2) and
returns it without ASCII digits. `gb` chooses British usage: "one hundred and five", day before month. It does not know
URLs, abbreviations or symbols that stand without a number.

Own code, after weighing num2words 0.5.14 (LGPL): of all this it does the last step, spell.py's hundred lines, needs its
commas and "and" taken out again ("one thousand, one hundred and five"), and takes 70 microseconds a number.
"""

from __future__ import annotations

import re

from tts_fm.text import codes, dates, money, times, units
from tts_fm.text.rules import NUM, Rules
from tts_fm.text.spell import amount, cardinal, digits, ordinal, plural, year
from tts_fm.text.units import LOOSE_UNIT, unit_name

formats = Rules()  # one form for numbers of all lands: 1,234,567.89
magnitudes = Rules()  # 10k: before units
rule = Rules()


def speak_numbers(text: str, gb: bool = False) -> str:
    """`text` with every number in words; see the module's first lines for what `text` should be. Never raises."""
    kinds = [dates.days, money.words, units.words]
    if re.search("[0-9]", text):
        kinds = [money.formats, formats, codes.verses, dates.days, dates.rule, times.rule, codes.rule, magnitudes]
        kinds += [dates.named, money.rule, money.words, units.rule, units.words, rule]
    for kind in kinds:
        text = kind.speak(text, gb)
    return text


# Formats
@formats(
    r"(?<![\w.,:+-])(?<![0-9] )(?P<whole>[1-9][0-9]{0,2}(?: [0-9]{3}){1,4}),(?P<part>[0-9]{1,2})(?![0-9]|[.,][0-9])"
)
def _decimal(match: re.Match[str], gb: bool) -> str:
    """A comma before the decimals, and spaces or points between the thousands, as on the continent."""
    return f"{re.sub('[ .]', '', match['whole'])}.{match['part']}"


@formats(r"(?<![\w.,])(?P<n>1[0,]{1,9})s(?= of\b)")
def _round_many(match: re.Match[str], gb: bool) -> str | None:
    zeros = match["n"].count("0")
    some = {0: "", 1: "tens", 2: "hundreds"}[zeros % 3]
    big = {0: "", 1: "thousand", 2: "million", 3: "billion"}[zeros // 3]
    return " of ".join(plural(word) if word == big else word for word in (some, big) if word)


@formats(r"(?<![\w.,'])[0-9]{1,3}(?:'[0-9]{3}){1,5}(?![\w'])|(?<![\w.,])[0-9]{1,3}(?:_[0-9]{3}){1,5}(?!\w)")
@formats(r"(?<![\w.,])[0-9]{1,2}(?:,[0-9]{2}){1,5},[0-9]{3}(?![0-9]|,[0-9])")  # as in India
@formats(
    r"(?<![\w.,:+$£€-])(?<![0-9] )[1-9][0-9]{0,2}(?: [0-9]{3}){2,4}(?![\w:-]|[.,][0-9]{3}(?![0-9])| [0-9])"
    r"|(?<![\w.,:+-])(?<![0-9] )[1-9][0-9]{0,2} [0-9]00(?![\w:-]|[.,][0-9]| [0-9])"
)
def _whole(match: re.Match[str], gb: bool) -> str:
    return re.sub("[^0-9]", "", match.group())


# after the whole numbers, some of which a decimal comma would match
formats(r"(?<![\w.,])(?P<whole>[0-9]{1,3}(?:\.[0-9]{3}){1,5}),(?P<part>[0-9]{1,6})(?![0-9]|[.,][0-9])")(_decimal)
formats(
    rf"(?<![\w.,])(?P<whole>[0-9]{{1,6}}),(?P<part>[0-9]{{2}}|[0-9]{{4,8}}|[0-9](?= ?(?:{LOOSE_UNIT}"
    rf"|%)(?!\w)))(?![0-9]|[.,/:-][0-9])"
)(_decimal)


@formats(
    r"(?<![\w.,])(?P<n>[0-9]{1,12}(?:\.[0-9]{1,12})?)(?:[eE]| ?[×x*⋅·] ?10\^)(?P<sign>[+-]?)(?P<x>[0-9]{1,3})"
    r"(?![\w^]|\.[0-9])"
)
def _scientific(match: re.Match[str], gb: bool) -> str:
    power = int(match["x"])
    said = f"the minus {cardinal(power, gb)}" if match["sign"] == "-" else f"the {ordinal(power, gb)}"
    return f"{amount(match['n'], gb)} times ten to {said}"


# Magnitudes: 10k, 1.5M, 2.5bn
_COUNTED = "|".join(
    (
        "people users men women jobs homes views subscribers customers copies followers tonnes tons downloads "
        "residents voters children deaths cases likes dollars euros pounds parameters tokens rows records members "
        "visitors students players barrels shares years"
    ).split()
)
_MAGNITUDES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}


@magnitudes(rf"(?<![\w.,$£€])(?P<n>{NUM})(?P<mag>[kKmM]|bn|B|tn|T) (?=(?:{_COUNTED})\b)")
def _many(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'], gb)} {_MAGNITUDES[match['mag'].lower()] if match['mag'] != 'T' else 'trillion'} "


@magnitudes(
    r"(?<![\w.,$£€])(?P<n>4|8|3|5|10)(?P<k>K|M)\b(?=(?: (?:TV|TVs|video|videos|resolution|monitor|display|displays"
    r"|camera|screen|UHD|HDR|content|run|race|walk|runner|tape|Company)\b|'s)|$|[.,;:!?)])"
)
def _letter(match: re.Match[str], gb: bool) -> str | None:
    number, letter = match["n"], match["k"]
    follows = match.string[match.end() : match.end() + 4].startswith((" ", "'"))
    alone = (number, letter) in (("4", "K"), ("8", "K"), ("3", "M"))
    if not (alone or (follows and letter == "K")):
        return None
    return f"{cardinal(int(number))} {letter}"


@magnitudes(
    r"(?<![\w.,])(?P<a>[0-9.]{1,6}k)(?P<sep>,| and| to| or) (?P<n>[0-9]{1,3}(?:\.[0-9]{1,2})?)m\b"
    r"|(?<![\w.,$£€])(?P<n2>[0-9]{1,6}(?:\.[0-9]{1,3})?)(?P<mag>[kK]|M|bn|tn)(?![\w'])"
)
def _short_scale(match: re.Match[str], gb: bool) -> str | None:
    if match["a"]:
        return (
            f"{amount(match['a'][:-1].strip('.') or '0', gb)} thousand{match['sep']} {amount(match['n'], gb)} million"
        )
    return f"{amount(match['n2'], gb)} {_MAGNITUDES[match['mag'].lower()]}"


# Out of so many
@rule(
    r"(?<![\w./,⁄$£€])(?P<a>[0-9]{1,3}(?:\.[0-9]{1,2})?)/(?P<b>[0-9]{1,3}(?:\.0)?)(?![\w/⁄]"
    r"|\.[0-9])(?P<what> (?:stars?|GPA|points?|rating|correct|marks)\b)?"
)
def _out_of(match: re.Match[str], gb: bool) -> str | None:
    a, b = match["a"], match["b"]
    lead = match.string[max(0, match.start() - 24) : match.start()]
    rated = re.search(
        r"\b(?:rated|rating|rate|scored?|gave(?: it)?|gives?(?: it)?|review|score of|a solid|an easy"
        r"|a perfect)(?: of| is| was|:| at| an?| it)? ?$",
        lead,
        re.IGNORECASE,
    )
    if not ("." in a or match["what"] or (rated and b in ("5", "10", "100", "20"))) or float(b) == 0:
        return None
    return f"{amount(a, gb)} out of {amount(b.removesuffix('.0'), gb)}{match['what'] or ''}"


# Fractions, decades, years, ordinals, and whatever number is left
_PARTS = {2: "half", 4: "quarter"}


@rule(
    r"(?<![\w./,⁄])(?:(?P<whole>[0-9]{1,6})[ -])?(?P<a>[0-9]{1,4})(?P<sep>[/⁄])(?P<b>[0-9]{1,4})"
    r"(?![0-9/⁄]|\.[0-9])"
    rf"(?: ?(?P<unit>{LOOSE_UNIT}))?(?![\w^])"
)
def _fraction(match: re.Match[str], gb: bool) -> str | None:
    if not match["unit"] and re.match(r" ?=", match.string[match.end() : match.end() + 2]) and match["sep"] == "/":
        return f"{amount(match['a'], gb)} divided by {amount(match['b'], gb)}" if not match["whole"] else None
    said = _fraction_words(match["whole"], int(match["a"]), int(match["b"]), match["sep"], gb)
    return f"{said} {unit_name(match['unit'], bool(match['whole']), gb)}" if match["unit"] else said


def _fraction_words(number: str | None, top: int, bottom: int, sep: str, gb: bool) -> str:
    whole = f"{cardinal(int(number), gb)} " if number else ""
    if sep == "/" and not whole and (top == bottom or top < bottom == 100):
        return f"{cardinal(top, gb)} out of {cardinal(bottom, gb)}"
    known = bottom <= 20 or bottom in (25, 32, 50, 64, 1000) or sep == "⁄"
    if not (known and top > 0 and bottom and (top < bottom or sep == "⁄")):
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
    if match.group() == " × ":
        return " times "
    return " times " if re.match(r"[0-9.,]+ ?=", rest) else " by "


@rule(r"(?<=[0-9])(?:x\b| ?\* ?(?=[0-9]))")
def _times(match: re.Match[str], gb: bool) -> str:
    before = match.string[max(0, match.start() - 12) : match.start()]
    after = match.string[match.end() : match.end() + 3]
    if match.group() == "x" and (re.match(r" ?[=+*/^)]| - | mi", after) or re.search(r"[=+*/(] ?[0-9.]+$", before)):
        return " x"  # 3x + 2 = 5
    return " times "


@rule(r"(?<=[0-9]) ?[-–] ?(?=[0-9.]{1,15} ?=)|(?<=[0-9]) ?− ?(?=[0-9])|(?<![\w)\]%])[-−](?=\.?[0-9])")
def _minus(match: re.Match[str], gb: bool) -> str:
    return " minus " if match.start() and match.string[match.start() - 1].isdigit() else "minus "


@rule(r"(?<=[0-9]) - (?=[0-9])|(?<=[0-9]):(?=[0-9])")
def _to(match: re.Match[str], gb: bool) -> str:
    return " to "


@rule(r"\^(?P<n>[23])(?!\w|\.[0-9])")
def _power(match: re.Match[str], gb: bool) -> str:
    return " squared" if match["n"] == "2" else " cubed"


@rule(r"(?<=[0-9a-zA-Z)])\^(?=(?:minus )?[0-9])")
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
