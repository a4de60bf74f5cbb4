"""Numbers that are read digit by digit or in groups: phones, cards, PINs, postal codes, rooms, roads, versions,
addresses of machines, screens, chapter and verse.

They look like sums, ranges and quantities, so these rules come first. What kind of number it is, is told by its
shape, or by the word before it ("PIN 4471", "Room 204", "flight 1549").
"""

from __future__ import annotations

import re

from tts_fm.text.rules import Rules
from tts_fm.text.spell import amount, cardinal, digits, ordinal, year

verses = Rules()  # chapter and verse: before times of day
rule = Rules()

_CALL = (
    r"(?:[Cc]all(?:ed|ing|s)?|[Dd]ial(?:ed|ing|s)?|[Rr]ing|[Pp]hone|[Ff]ax|[Tt]ext|[Tt]el(?:ephone)?|[Mm]obile|"
    r"[Cc]ell|[Nn]umber|WhatsApp|hotline|helpline|[Tt]ollfree|toll-free)"
)
_SECRET = (
    r"(?:PIN|pin|[Cc]ode|[Pp]asscode|[Pp]assword|OTP|[Pp]in code|[Aa]ccount(?: number)?|ending in"
    r"|[Ss]erial(?: number)?|[Ee]xtension|ext\.?|"
    r"[Zz]ip(?: code)?|ZIP(?: code)?|[Tt]racking(?: number)?|[Oo]rder(?: number)?|[Cc]onfirmation(?: number| code)?"
    r"|[Ii]nvoice|[Ll]icen[cs]e|[Pp]ostcode|SSN|IBAN|[Rr]eference(?: number)?|[Tt]icket|[Cc]ase number|[Mm]odel)"
)
_NUMBERED = ("model", "license", "licence", "order", "ticket", "invoice")  # short ones are said as rooms are
_ROOM = (
    r"(?:[Rr]oom|[Ss]uite|[Aa]partment|[Ff]lat|[Uu]nit|[Hh]ighway|[Rr]oute|[Ii]nterstate|[Ff]light|[Bb]us|"
    r"[Tt]rain|[Gg]ate|[Ll]ocker|[Oo]ffice|[Cc]hannel|[Aa]rea code)"
)
_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|"
    "OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY"
)
_SCRIPTURE = "|".join(
    (
        "Genesis Exodus Leviticus Numbers Deuteronomy Joshua Judges Ruth Samuel Kings Chronicles Ezra Nehemiah Esther "
        "Job Psalm Psalms Proverbs Ecclesiastes Isaiah Jeremiah Lamentations Ezekiel Daniel Hosea Joel Amos Obadiah "
        "Jonah Micah Nahum Habakkuk Zephaniah Haggai Zechariah Malachi Matthew Mark Luke John Acts Romans Corinthians "
        "Galatians Ephesians Philippians Colossians Thessalonians Timothy Titus Philemon Hebrews James Peter Jude "
        "Revelation Surah Quran Qur'an"
    ).split()
)


def by_pairs(number: str, gb: bool = False) -> str:
    """A number as rooms and roads have it: 204 "two oh four", 1549 "fifteen forty-nine", 200 "two hundred"."""
    if len(number) == 3 and number[0] != "0" and number[1:] != "00":
        return (
            f"{cardinal(int(number[0]))} {'oh ' + digits(number[2]) if number[1] == '0' else cardinal(int(number[1:]))}"
        )
    if len(number) == 4 and number[0] != "0":
        if number[2:] == "00":
            return f"{cardinal(int(number[:2]))} hundred" if number[1] != "0" else cardinal(int(number))
        last = f"oh {digits(number[3])}" if number[2] == "0" else cardinal(int(number[2:]))
        return f"{cardinal(int(number[:2]))} {last}"
    return digits(number) if number[0] == "0" or len(number) > 4 else cardinal(int(number), gb)


def _spelled(text: str) -> str:
    """Letters and digits one by one."""
    return " ".join(digits(char) if char.isdigit() else char for char in text.upper())


# Phones and cards
@rule(r"(?<![\w-])(?P<n>1?-?8(?:00|33|44|55|66|77|88))-(?P<word>[A-Z][A-Z-]{3,12})\b")
def _vanity(match: re.Match[str], gb: bool) -> str:
    first = [part for part in match["n"].split("-") if part]
    said = [
        f"{cardinal(int(part[0]))} hundred"
        if part.endswith("00")
        else cardinal(int(part))
        if len(part) == 1
        else digits(part)
        for part in first
    ]
    words = ", ".join(word.lower() for word in match["word"].split("-"))
    return f"{', '.join(said)}, {words}"


@rule(
    r"(?<![\w.-])(?:\+?1[ .-]?)?\([0-9]{3}\) ?[0-9]{3}[-. ][0-9]{4}(?!\w)"
    r"|(?<![\w.,-])(?:\+?1[ .-])?[0-9]{3}[-.][0-9]{3}[-.][0-9]{4}(?!\w)"
    r"|(?<!\w)\+[0-9]{1,3}(?:[ .-]?\([0-9]{1,5}\)|[ .-][0-9]{1,8}){2,7}(?!\w)|(?<!\w)\+[0-9]{9,15}(?!\w)"
    r"|(?<![\w.,-])[0-9]{3}-[0-9]{4}(?![\w-])|(?<![\w.,-])[0-9]{2}-[0-9]{7}(?![\w-])"
    r"|(?<![\w.,-])[0-9]{1,7}(?:-[0-9]{1,7}){2,6}(?![\w-])"
    r"|(?<!\w)0[0-9]{2,4} [0-9]{3,4} ?[0-9]{3,4}(?!\w)|(?<![\w.,-])[0-9]{4}(?:[ -][0-9]{4}){2,3}(?![\w-])"
    r"|(?<![\w.,-])3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}(?![\w-])"
    r"|(?<![\w.,-])[0-9]{3} [0-9]{3} [0-9]{4}(?![\w-]|[.,][0-9])"
)
def _phone(match: re.Match[str], gb: bool) -> str:
    groups = re.findall("[0-9]+", match.group())
    plus = "plus " if match.group()[0] == "+" else ""
    if plus and len(groups) == 1:
        groups = _threes(groups[0])
    return plus + ", ".join(digits(group) for group in groups)


def _threes(number: str) -> list[str]:
    """A long number in the groups in which people say it: 3-3-4, fours for cards, threes otherwise."""
    if len(number) == 10:
        return [number[:3], number[3:6], number[6:]]
    if len(number) == 11 and number[0] == "1":
        return [number[0], number[1:4], number[4:7], number[7:]]
    if len(number) == 7:
        return [number[:3], number[3:]]
    size = 4 if len(number) % 4 == 0 and len(number) > 9 else 3
    return [number[i : i + size] for i in range(0, len(number), size)]


@rule(
    rf"(?P<lead>\b{_CALL}:? (?:me |us |him |her |at |on |us at |me at |number |now: ?)?)(?P<n>[0-9]{{7,12}}"
    rf"|[0-9]{{2,5}}(?: [0-9]{{2,5}}){{2,6}})(?!\w|[.,][0-9])"
)
def _called(match: re.Match[str], gb: bool) -> str:
    number = match["n"]
    return match["lead"] + ", ".join(digits(group) for group in (number.split() if " " in number else _threes(number)))


@rule(
    r"(?<![\w.,$£€-])(?:[0-9]{16}|[0-9]{15}|0[0-9]{9,10}|[2-9][0-9]{2}[2-9][0-9]{6})(?![\w%]|[.,][0-9]| ?(?:years"
    r"|people|dollars|euros|pounds))"
)
def _bare_phone(match: re.Match[str], gb: bool) -> str | None:
    number = match.group()
    return None if number.endswith("000") else ", ".join(digits(group) for group in _threes(number))


@rule(r"\b(?P<verb>(?:call|dial|ring|phone)(?:ed|led|ing|s)?) (?P<n>911|999|112|411|311|101|111|988)\b", re.IGNORECASE)
def _emergency(match: re.Match[str], gb: bool) -> str:
    return f"{match['verb']} {digits(match['n'])}"


@rule(r"(?<![\w.,$£€-])911(?![\w%]|[.,][0-9]| people\b| [a-z]{2,20}s\b)")
def _nine_one_one(match: re.Match[str], gb: bool) -> str:
    return digits("911")


# Codes after a word that says so, postal codes
@rule(
    rf"(?P<lead>\b{_SECRET}:? (?:is |was |number |no\. |# ?)?#?)(?P<n>[0-9]{{3,15}})(?![\w%]|[.,:/][0-9]|-[0-9a-z]"
    rf"| (?:of|people|words|times|characters)\b)"
)
def _secret(match: re.Match[str], gb: bool) -> str | None:
    if match["lead"].split()[0].lower() in _NUMBERED and len(match["n"]) < 5:
        return match["lead"] + by_pairs(match["n"], gb)
    groups = _threes(match["n"]) if len(match["n"]) > 6 else [match["n"]]
    return match["lead"] + ", ".join(digits(group) for group in groups)


@rule(rf"\b(?P<state>{_STATES}),? (?P<n>[0-9]{{5}})(?:-(?P<more>[0-9]{{4}}))?(?![\w]|[.,][0-9])")
def _zip(match: re.Match[str], gb: bool) -> str:
    more = f", {digits(match['more'])}" if match["more"] else ""
    return f"{' '.join(match['state'])} {digits(match['n'])}{more}"


@rule(
    r"\b(?P<out>[A-Z]{1,2}[0-9][0-9A-Z]?) (?P<inside>[0-9][ABD-HJLNP-UW-Z]{2})\b"
    r"|\b(?P<ca>[ABCEGHJ-NPRSTVXY][0-9][A-Z]) ?(?P<ca2>[0-9][A-Z][0-9])\b"
)
def _postcode(match: re.Match[str], gb: bool) -> str:
    return f"{_spelled(match['out'] or match['ca'])}, {_spelled(match['inside'] or match['ca2'])}"


_LABELS = (  # before a number with a letter: "Seat 12A" are no amperes
    "[Ss]eats?|[Rr]ooms?|[Aa]partments?|[Ss]uites?|[Uu]nits?|[Ff]lats?|[Gg]ates?|[Ee]xits?|[Rr]ows?|[Ss]ections?"
    "|[Aa]ppendix|[Ff]igures?|[Tt]ables?|[Gg]roups?|[Cc]lass|[Gg]rades?|[Bb]uildings?|[Bb]locks?|[Pp]latforms?"
    "|[Ll]evels?|[Pp]arts?|[Cc]hapters?|[Qq]uestions?|[Ee]xercises?|[Pp]roblems?|[Rr]outes?|[Hh]ighways?|[Bb]us(?:es)?"
    "|[Tt]ypes?|[Ff]orms?|[Ss]chedules?|[Aa]nnex|[Aa]rticles?|[Rr]ules?|[Zz]ones?|[Ll]ots?|[Pp]ages?|[Ss]teps?"
    "|[Ss]tages?|[Pp]hases?|[Oo]ptions?|[Nn]umbers?|[Cc]hannels?|[Mm]odels?|[Tt]erminals?|Apt|Rm|No\\."
)
_STREET = (
    r"(?= (?:[A-Z][\w'.]{1,20} ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Boulevard|Square|Court|Place)\b)"
)
_SOFTWARE = (
    "Python|Node|Node\\.js|PHP|Ruby|Go|Java|Kotlin|Swift|Rust|Django|Postgres|PostgreSQL|MySQL|MariaDB|Kubernetes"
    "|Ubuntu|Debian|Fedora|Android|iOS|iPadOS|macOS|OS X|Linux|kernel|TLS|Unity|Blender|NumPy|PyTorch|CUDA|Rails|React"
    "|Angular|Firefox|Chrome|Windows|[Vv]ersions?|[Rr]eleases?|ver|v"
)


# Rooms, roads, screens, versions
@rule(
    rf"(?P<lead>\b(?:{_LABELS}) )(?P<n>[0-9]{{1,4}})-?(?P<letter>[A-Z])\b(?![-'°])"
    rf"|\b(?P<n2>[0-9]{{1,4}})(?P<l2>[A-D])\b{_STREET}"
)
def _labelled(match: re.Match[str], gb: bool) -> str:
    return f"{match['lead'] or ''}{by_pairs(match['n'] or match['n2'], gb)} {match['letter'] or match['l2']}"


@rule(rf"\b(?P<name>{_SOFTWARE})(?P<gap> ?)(?P<a>[0-9]{{1,3}})\.(?P<b>[0-9]{{2,3}})(?![0-9]|[.,][0-9]|%)")
def _release(match: re.Match[str], gb: bool) -> str:
    later = match["b"]
    said = f"oh {digits(later[1])}" if len(later) == 2 and later[0] == "0" else amount(later, gb)
    return f"{match['name']} {amount(match['a'], gb)} point {said}"


@rule(r"\b(?P<name>SHA|AES|RSA|DES|MD|UTF|sha|aes|utf)-?(?P<n>[0-9]{3,4})\b")
def _cipher(match: re.Match[str], gb: bool) -> str:
    return f"{_spelled(match['name'])} {by_pairs(match['n'], gb)}"


@rule(rf"(?P<lead>\b{_ROOM} (?:number |# ?)?)(?P<n>[0-9]{{3,4}})(?P<letter>[A-Z]?)(?![\w%]|[.,:/][0-9]|-[0-9])")
def _room(match: re.Match[str], gb: bool) -> str:
    letter = f" {match['letter']}" if match["letter"] else ""
    return match["lead"] + by_pairs(match["n"], gb) + letter


@rule(r"\b(?P<road>US|I|SR|CA|NY|TX|FL|A|M|B|Hwy|Rte)-(?P<n>[0-9]{1,3})(?P<letter>[NSEW]?)\b(?!-)")
def _road(match: re.Match[str], gb: bool) -> str | None:
    if match["road"] in ("A", "B", "M", "CA", "NY", "TX", "FL") and len(match["n"]) == 1:
        return None
    road = match["road"] if len(match["road"]) == 3 else " ".join(match["road"])
    return f"{road} {by_pairs(match['n'], gb)}" + (f" {match['letter']}" if match["letter"] else "")


@rule(r"(?<![\w.,])(?P<n>240|360|480|540|576|720|1080|1440|2160|4320)(?P<kind>[pi])(?P<rate>[0-9]{2,3})?\b")
def _lines(match: re.Match[str], gb: bool) -> str:
    return f"{by_pairs(match['n'], gb)} {match['kind'].upper()}" + (
        f" {cardinal(int(match['rate']))}" if match["rate"] else ""
    )


@rule(r"(?<![\w.,])(?P<a>[0-9]{3,4}) ?[x×] ?(?P<b>[0-9]{3,4})(?![\w]|[.,][0-9]| ?[=x×]| ?(?:m|mm|cm|in|ft|km)\b)")
def _screen(match: re.Match[str], gb: bool) -> str:
    return f"{by_pairs(match['a'], gb)} by {by_pairs(match['b'], gb)}"


# Chapter and verse, scores
@verses(
    rf"\b(?P<book>(?:{_SCRIPTURE}) )(?P<c>[0-9]{{1,3}}):(?P<v>[0-9]{{1,3}})(?:[-–](?P<to>[0-9]{{1,3}})"
    rf"(?::(?P<v2>[0-9]{{1,3}}))?)?(?:, ?(?P<more>[0-9]{{1,3}})(?! [A-Z]))?(?![\w:])"
)
def _verse(match: re.Match[str], gb: bool) -> str:
    said = f"{match['book']}{cardinal(int(match['c']))}, {cardinal(int(match['v']))}"
    if match["to"]:
        said += f" to {cardinal(int(match['to']))}" + (f", {cardinal(int(match['v2']))}" if match["v2"] else "")
    return said + (f", and {cardinal(int(match['more']))}" if match["more"] else "")


@verses(rf"(?P<n>\b[1-3]) (?P<book>(?:{_SCRIPTURE})\b)(?= [0-9]| [a-z]+-)")
def _numbered_book(match: re.Match[str], gb: bool) -> str:
    return f"{ordinal(int(match['n'])).capitalize()} {match['book']}"


@rule(r"\b(?:24/7|9/11|7/11|50/50|20/20|80/20|60/40|70/30|90/10|50-50)\b(?![/.,][0-9])")
@rule(
    r"(?<![\w.,/-])[0-9]{1,3}[-–][0-9]{1,3}(?= (?:lead|win|loss|victory|defeat|record|vote|decision"
    r"|score|draw|thriller|majority)\b)"
)
def _pair(match: re.Match[str], gb: bool) -> str:
    return " ".join(cardinal(int(number)) for number in re.split("[-–/]", match.group()))


@rule(r"\b24/7/365\b")
def _always(match: re.Match[str], gb: bool) -> str:
    return "twenty-four seven, three sixty-five"


@rule(r"(?<![0-9.])[0-9]{1,15}(?:\.[0-9]{1,15}){2,20}(?![0-9])")
def _dotted(match: re.Match[str], gb: bool) -> str:
    parts = match.group().split(".")
    if len(parts) != 4 and parts[0][0] != "0" and len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:]):
        return amount("".join(parts), gb)  # 1.000.000, as on the continent
    return (" dot " if len(parts) == 4 else " point ").join(amount(part, gb) for part in parts)


@rule(
    r"(?P<to>(?<=[0-9%kKmMnB])[-–]|(?<=[0-9%kKmMnB]) [–—] |(?<=[0-9])—|(?<=%) - )"
    r"(?=[$£€]?[0-9]{1,15}(?![0-9])(?!-"
    r"| ?=))"
)
def _range(match: re.Match[str], gb: bool) -> str | None:
    start = match.start()
    word = re.search(r"\S*$", match.string[max(0, start - 24) : start])
    return None if word and re.match(r"[\"'(]*[^\W\d_]", word.group()) else " to "


@rule(r"(?P<n>\b1[1-9]|\b20)(?P<m>00|[0-9]{2})(?=-(?:word|page|acre|foot|mile|year)\b)")
def _hyphened(match: re.Match[str], gb: bool) -> str | None:
    number = match["n"] + match["m"]
    return year(int(number), gb) if number.endswith("00") and number != "2000" else None
