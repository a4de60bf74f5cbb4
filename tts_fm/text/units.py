"""Quantities with a unit in words: 5 km/h, 20°C, 6'2", 12" pipe, 100 sq. ft., 100 Mb/s, 10 m x 20 m, 5/8 in, 40° N,
J/kg.

A unit is singular before a noun that it describes ("a ten inch pipe", "a ninety degree angle"), as before a hyphen.
Signs that also are words (in, A, K, pt, c.) need a reason: no space, a full stop, a noun, or the end of the clause.
"""

from __future__ import annotations

import re

from tts_fm.text.rules import NUM, Rules, one_of
from tts_fm.text.spell import UNITS, amount

rule = Rules()
words = Rules()  # units without a number

_ATTACHED = frozenset(
    {"in", "A", "J", "N", "pt", "ha", "c", "K", "T", "C", "F", "ac", "bar", "mol", "cal", "d", "pts", "at"}
)  # after a space: words
_UNIT = one_of(UNITS)
LOOSE_UNIT = one_of(UNITS.keys() - _ATTACHED)
SHORT = {unit: UNITS[unit].partition("|")[0] for unit in "yr hr h min sec kg lb mo wk gal s".split()}
SHORT["sq ft"] = "square foot"
_PER = r"(?:/(?P<per>day|week|month|mo|year|yr|hour|hr|person|mile|kg|lb|minute|min|second|sec)\b)?"
_NOUNS = "|".join(  # what a quantity describes
    (
        "dash hurdles sprint race run relay freestyle butterfly backstroke breaststroke walk hike swim climb drive "
        "drop pipe pipes tube tubes tablet tablets screen screens display displays monitor monitors TV TVs laptop "
        "laptops phone phones bolt bolts nail nails board boards drill hose angle angles turn turns bend rotation "
        "lens lenses gun guns shell shells radius gauge wall cable cables rope pole fence pool tank engine bag box "
        "bottle bottles jug can cans stick slab plate plates disc disk wheel wheels tire tyre ring knife blade blades "
        "speaker subwoofer cannon pizza pan pot bulb bulbs battery batteries charger adapter motor panel panels tower "
        "bridge tunnel trail track course fall jump throw mark limit zone gap range baby dog fish tuna steak burger "
        "bar dumbbell dose capsule pill pills serving portion diameter wingspan margin border ruler ladder boat yacht "
        "sandwich cake sub ribbon waist heels break"
    ).split()
)
_DESCRIBES = re.compile(rf" (?:{_NOUNS})\b")

# one side of a quotient; names as in UNITS
_SIMPLE = {
    unit: UNITS[unit]
    for unit in (
        "m km cm mm ft yd mi in ha g kg mg μg mcg ng lb lbs oz L l mL ml dL dl gal s h min J kJ Wh kWh kcal cal N kN "
        "Pa W kW V A lm mol mmol μmol kb Kb Mb Gb kB KB MB GB TB kbit Mbit Gbit px kn"
    ).split()
} | {
    "K": "kelvin", "C": "coulomb", "b": "bit", "B": "byte", "Tb": "terabit", "bit": "bit", "Kbit": "kilobit",
    "Tbit": "terabit", "rad": "radian", "cd": "candela", "t": "tonne", "IU": "I U|I U", "pg": "picogram",
    "eq": "equivalent", "mEq": "milliequivalent", "req": "request", "tok": "token",
}  # fmt: skip
_SIDE = one_of(_SIMPLE)
_POWERS = {"2": "square", "3": "cubic"}
_QUOTIENT = rf"(?P<top>{_SIDE})/(?P<bottom>{_SIDE})(?:\^?(?P<power>[23]))?(?![\w^/])"


def unit_name(unit: str, many: bool, gb: bool) -> str:
    """How a unit is said: "kilometers per hour"; `many` chooses the plural, `gb` the spelling."""
    return _form(UNITS[unit], many, gb)


def _form(names: str, many: bool, gb: bool) -> str:
    """One form of a unit with the names "foot|feet", or "meter": the plural has an s."""
    one, _, plurals = names.partition("|")
    name = (plurals or one + "s") if many else one
    return name.replace("meter", "metre").replace("liter", "litre") if gb else name


def _quotient(match: re.Match[str], many: bool, gb: bool) -> str:
    below, power = _form(_SIMPLE[match["bottom"]], False, gb), match["power"]
    if power and match["bottom"] in ("s", "h", "min"):
        below += " squared" if power == "2" else " cubed"
    elif power:
        below = f"{_POWERS[power]} {below}"
    return f"{_form(_SIMPLE[match['top']], many, gb)} per {below}"


def _adjective(match: re.Match[str]) -> bool:
    return _DESCRIBES.match(match.string, match.end()) is not None


# Feet and inches, degrees
@rule(
    rf"(?<![\w.,])(?P<n>{NUM})° ?(?P<m>[0-9]{{1,2}})'(?: ?(?P<s>[0-9]{{1,2}}(?:\.[0-9]{{1,4}})?)"
    rf"\")? ?(?P<way>[NSEW]\b)?"
)
def _arc(match: re.Match[str], gb: bool) -> str:
    seconds = f" {amount(match['s'], gb)} seconds" if match["s"] else ""
    return f"{amount(match['n'], gb)} degrees {amount(match['m'], gb)} minutes{seconds}{_way(match['way'])}"


def _way(letter: str | None) -> str:
    return " " + {"N": "north", "S": "south", "E": "east", "W": "west"}[letter] if letter else ""


@rule(rf"(?<![\w.,])(?P<n>{NUM}) ?° ?(?P<way>[NSEW])\b")
def _compass(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'], gb)} degree{'' if match['n'] == '1' else 's'}{_way(match['way'])}"


@rule(
    r"(?<![\w.,'])(?P<ft>[0-9]{1,2})' ?(?P<in>1[01]|[0-9](?:\.5)?)(?:\"|'')?(?![\w'])"
    r"|(?<![\w.,])(?P<ft2>[0-9]{1,2}) ?(?:ft\.?|feet|foot) ?(?P<in2>1[01]|[0-9]) ?(?:in\b(?P<dot>\.?)"
    r"|inch(?:es)?\b)"
)
def _height(match: re.Match[str], gb: bool) -> str:
    if match["ft2"]:
        inches = match["in2"]
        feet = f"{amount(match['ft2'])} {'foot' if match['ft2'] == '1' else 'feet'}"
        return f"{feet} {amount(inches)} inch{'' if inches == '1' else 'es'}{_dot(match)}"
    return f"{amount(match['ft'])} foot {amount(match['in'])}"


@rule(
    rf"(?<![\w.,/])(?P<n>{NUM}|[0-9]{{1,2}}[ -][0-9]{{1,2}}[/⁄][0-9]{{1,2}}|[0-9]{{1,2}}[/⁄][0-9]{{1,2}})(?:\""
    rf"|'')(?: ?[x×] ?(?P<by>{NUM})(?:\"|''))?(?=[ x×.,;:)-]|$)"
)
def _inches(match: re.Match[str], gb: bool) -> str | None:
    quotes = len(re.findall('(?<![0-9])"', match.string[max(0, match.start() - 300) : match.start()]))
    if quotes % 2:
        return None  # it closes a quotation
    if match["by"]:
        return f"{_plain(match['n'], gb)} inch by {_plain(match['by'], gb)} inch"
    noun = re.match(
        r" [a-z]+\b(?!\s*(?:of|by|long|wide|high|tall|deep|thick)\b)", match.string[match.end() : match.end() + 30]
    )
    follows = noun and not re.match(
        r" (?:of|by|long|wide|high|tall|deep|thick|in|and|or|from|to|on|at|is|was|with|for|apart|above|below|away"
        r"|off|x|more|less|than)\b",
        match.string[match.end() : match.end() + 8],
    )
    if re.fullmatch("[0-9]+[/⁄][0-9]+", match["n"]) and not follows:
        return f"{match['n']} of an inch"
    return f"{_plain(match['n'], gb)} inch{'' if match['n'] == '1' or follows else 'es'}"


def _plain(number: str, gb: bool) -> str:
    """A number; fractions stay for numbers.py."""
    return number if "/" in number or "⁄" in number else amount(number, gb)


@rule(rf"(?<![\w.,])(?P<n>{NUM}) ?(?P<u>{LOOSE_UNIT})\.? ?[x×] ?(?=[0-9.])")
def _by(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'], gb)} {unit_name(match['u'], match['n'] != '1', gb)} by "


@rule(
    rf"(?<![\w.,])(?P<n>{NUM}) ?[x×] ?(?={NUM}(?: ?[x×] ?{NUM})? ?(?:{LOOSE_UNIT}|in)(?![\w^]))"
    rf"|(?<=by )(?P<n2>{NUM}) ?[x×] ?(?={NUM} ?(?:{LOOSE_UNIT}|in)(?![\w^]))"
)
def _size(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'] or match['n2'], gb)} by "


@rule(
    rf"(?<=by )(?P<n>{NUM}) ?in\b|(?<![\w.,])(?P<n2>[0-9]{{0,4}}\.[0-9]{{1,3}}) in(?=$|[.,;:)]| (?:by|long|wide|thick"
    r"|deep|tall|in diameter)\b)"
)
def _decimal_inches(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'] or match['n2'], gb)} inches"


_CLOSING = {unit: UNITS[unit] for unit in ("ha", "cal", "mol", "ac")} | {"pcs": "piece", "pc": "piece"}


@rule(rf"(?<![\w.,/⁄-])(?P<n>{NUM}) ?(?P<u>{one_of(_CLOSING)})(?=$|[.,;:)](?: |$)| (?:of|per|each|and|in)\b)")
def _at_the_end(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'], gb)} {_form(_CLOSING[match['u']], match['n'] != '1', gb)}"


@rule(rf"(?<![\w.,/⁄])(?P<a>{NUM}) ?(?P<u>{LOOSE_UNIT}) ?[-–] ?(?=[0-9.]{{1,12}} ?(?P=u)(?!\w))")
def _range(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['a'], gb)} to "


# Square and cubic, as abbreviations
@rule(
    rf"(?<![\w.,/⁄])(?P<n>{NUM})(?P<gap>[ -]?)(?P<p>sq|cu)\.? ?(?P<u>ft|in|yd|mi|m|km|cm|mm|miles?|feet|foot"
    rf"|inch(?:es)?|yards?|met(?:er|re)s?)\b(?P<dot>\.?)"
)
def _square(match: re.Match[str], gb: bool) -> str:
    unit = match["u"]
    many = match["n"] != "1" and match["gap"] != "-"
    name = unit_name(unit, many, gb) if unit in UNITS else _form(f"{unit}|{unit}", many, gb)
    return f"{amount(match['n'], gb)} {'square' if match['p'] == 'sq' else 'cubic'} {name}{_dot(match)}"


def _dot(match: re.Match[str]) -> str:
    """The full stop of an abbreviation, where it also ends the sentence."""
    after = match.string[match.end() : match.end() + 4].lstrip(" \"')")
    return "." if match["dot"] and (not after or after[0].isupper()) else ""


# Quotients of units, with and without a number
@rule(rf"(?:(?<![\w)])(?P<minus>[-−]))?(?<![\w.,/⁄])(?<![^\W\d_]-)(?P<n>{NUM})(?P<gap>[ -]?){_QUOTIENT}")
def _per_unit(match: re.Match[str], gb: bool) -> str:
    name = _quotient(match, not (match["n"] == "1" or match["gap"] == "-"), gb)
    return f"{'minus ' if match['minus'] else ''}{amount(match['n'], gb)} {name}"


@words(
    rf"(?<![\w/.])(?={_SIDE}/)(?!(?:in|A|a|W|b|B|N|C|t|V|K|h|s|m|l|g)/(?:in|a|A|C|h|b|B|K|V|W|N|t|l"
    rf"|g)\b(?!\^?[23])){_QUOTIENT}"
)
def _bare_quotient(match: re.Match[str], gb: bool) -> str:
    return _quotient(match, True, gb)


@words(
    r"\b(?P<what>kilometers?|metres?|meters?|miles?|grams?|kilograms?|liters?|litres?|pounds?|feet|beats|words"
    r"|frames|tokens|requests|bytes|bits|joules?|watts?) ?/ ?(?P<per>hours?|seconds?|minutes?|day|kilogram|liter"
    r"|litre|second|minute|hour)\b"
)
def _words_per(match: re.Match[str], gb: bool) -> str:
    return f"{match['what']} per {match['per'].rstrip('s')}"


# Kitchen, age, and signs that also are words
_WITH_STOP = {
    unit: UNITS[unit]
    for unit in (
        "km cm mm in ft yd yds mi ac g kg oz lb lbs gal qt tbsp tsp sec secs min mins hr hrs wk wks mo mos yr yrs pts"
    ).split()
} | {
    "c": "cup", "pt": "pint", "T": "tablespoon", "t": "teaspoon", "doz": "dozen|dozen", "pkg": "package",
    "pkgs": "package", "pg": "page", "pgs": "page", "fl oz": "fluid ounce", "fl. oz": "fluid ounce",
    "cu": "cubic|cubic", "d": "day",
}  # fmt: skip


@rule(
    rf"(?<![\w.,/⁄])(?P<n>{NUM}|[0-9]{{1,2}}[/⁄][0-9]{{1,2}}"
    rf"|[0-9]{{1,2}} [0-9]{{1,2}}[/⁄][0-9]{{1,2}})(?P<gap>[ -]?)(?P<u>{one_of(_WITH_STOP)})(?P<dot>\.)(?![\w.])"
)
def _stopped(match: re.Match[str], gb: bool) -> str | None:
    single = (
        match["n"] in ("1", ".5")
        or match["gap"] == "-"
        or _adjective(match)
        or ("/" in match["n"] and " " not in match["n"])
    )
    if match["u"] in ("c", "T", "t", "d", "g", "in") and not re.match(
        r" [a-z]|$|[,;)]| [A-Z]", match.string[match.end() : match.end() + 2]
    ):
        return None
    if match["u"] == "in" and "/" in match["n"]:
        return f"{match['n']} of an inch{_dot(match)}" if " " not in match["n"] else f"{match['n']} inches{_dot(match)}"
    return f"{_plain(match['n'], gb)} {_form(_WITH_STOP[match['u']], not single, gb)}{_dot(match)}"


@rule(r"(?<![\w.,])(?P<n>[0-9]{1,3}(?:\.5)?) ?(?P<gap>-?)(?:y/o|yo|y\.o\.?|yrs? old)\b(?!\w)")
def _age(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['n'], gb)} year{'' if match['n'] == '1' or match['gap'] else 's'} old"


@rule(
    rf"(?<![\w.,/⁄-])(?P<n>{NUM}) (?P<u>A|K|N|J|T|C|F|V|W)(?=$|[.,;)](?: |$)| (?:fuse|current|circuit|breaker"
    rf"|charger|of)\b)"
)
def _capital(match: re.Match[str], gb: bool) -> str | None:
    names = {"A": "amp", "N": "newton", "J": "joule", "T": "tesla", "V": "volt", "W": "watt"}
    number, unit = match["n"], match["u"]
    if unit == "K":
        return (
            f"{amount(number, gb)} kelvin"
            if re.fullmatch(r"[0-9]{3,4}(?:\.[0-9]+)?|[0-9]\.[0-9]+|77", number)
            else None
        )
    if unit in ("C", "F"):
        return (
            f"{amount(number, gb)} degrees {'Celsius' if unit == 'C' else 'Fahrenheit'}"
            if len(number) < 5 and match.string[match.end() : match.end() + 1] != "."
            else None
        )
    adjective = re.match(r" (?:fuse|current|circuit|breaker|charger)\b", match.string[match.end() : match.end() + 9])
    return f"{amount(number, gb)} {names[unit]}{'' if number == '1' or adjective else 's'}"


@rule(r"(?<![\w.,])(?P<a>[0-9]{1,3})/(?P<b>[0-9]{1,3})(?=[ -](?:in|inch)\b(?! the| a))[ -](?:in|inch)\b")
def _part_of_inch(match: re.Match[str], gb: bool) -> str:
    hyphen = match.group()[len(match["a"]) + len(match["b"]) + 1] == "-" or _adjective(match)
    return f"{match['a']}/{match['b']} {'inch' if hyphen else 'of an inch'}"


@rule(
    rf"(?<![\w.,])(?P<n>{NUM})(?P<gap>[ -]?)(?P<u>KB|MB|GB|TB|kB|GiB|MiB) (?P<what>RAM|ram|memory|of RAM|of ram"
    rf"|VRAM|vram|storage|SSD|disk space)\b"
)
def _memory(match: re.Match[str], gb: bool) -> str:
    what = match["what"].replace("VRAM", "V ram").replace("vram", "V ram").replace("RAM", "ram").removeprefix("of ")
    joint = " " if match["gap"] == "-" or what == "SSD" else " of "
    return f"{amount(match['n'], gb)} {unit_name(match['u'], joint != ' ' and match['n'] != '1', gb)}{joint}{what}"


@rule(
    rf"(?:(?<![\w)])(?P<minus>[-−]))?(?<![\w.,/⁄])(?<![^\W\d_]-)(?P<n>{NUM})(?P<gap>[ -]?)"
    rf"(?P<unit>{_UNIT})(?![\w^])(?:(?<=[a-z])\.(?= [a-z]))?{_PER}"
)
def _unit(match: re.Match[str], gb: bool) -> str | None:
    unit, number = match["unit"], match["n"]
    if (unit in _ATTACHED and match["gap"]) or (
        unit == "s" and re.fullmatch(r"[2-9]0|[0-9]{3,4}", number) and not match["gap"]
    ):
        return None  # "5 in the", "an 8-A"; "the 90s"
    many = not (number == "1" or match["gap"] == "-" or _adjective(match))
    per = f" per {SHORT.get(match['per'], match['per'])}" if match["per"] else ""
    return f"{'minus ' if match['minus'] else ''}{amount(number, gb)} {unit_name(unit, many, gb)}{per}"
