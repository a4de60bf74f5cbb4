"""Roman numerals in words: Henry VIII, Chapter IV, Type I, the XIX century, II Corinthians, MCMXCIV, World War II.

A numeral is read where its neighbour says that it is one; alone it is read only from four letters on, as a year. "I" is
a numeral after the name of a section unless a verb follows ("in Part I think").
"""

from __future__ import annotations

import re

from tts_fm.text.spell import cardinal, ordinal, year

_ROMAN = r"(?P<roman>M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3}))(?P<s>'s)?(?![\w’'-]|\.\w)"
_RULERS = (
    "Henry|Louis|George|Edward|Richard|William|James|Charles|Elizabeth|Mary|Philip|Pius|Paul|John|Benedict|Gregory|Leo|"
    "Clement|Innocent|Alexander|Nicholas|Catherine|Peter|Frederick|Wilhelm|Napoleon|Ferdinand|Francis|Joseph|Otto|Ivan|"
    "Rameses|Ramses|Ramesses|Darius|Xerxes|Alfonso|Christian|Gustav|Carl|Olav|Haakon|Harald|Robert|Stephen|Urban"
    "|Boniface|"
    "Ptolemy|Theodosius|Constantine|Justinian|Margrethe|Juan|Carlos|Felipe|Albert|Leopold|Baudouin|Umberto|Victor"
    "|Emmanuel|"
    "Sixtus|Julius|Celestine|Martin|Eugene|Callixtus|Adrian|Hadrian|Honorius|Malcolm|David|Kenneth|Cleopatra|Amenhotep|"
    "Thutmose|Seti|Charlemagne|Maximilian|Rudolf|Matthias|Sigismund|Casimir|Mehmed|Selim|Suleiman|Murad|Abbas|Akbar"
    "|Rama"
)
_SECTIONS = (
    "Chapter|Part|Book|Act|Scene|Volume|Vol\\.|Section|Sec\\.|Article|Art\\.|Title|Appendix|Phase|Stage|Type|Class"
    "|Level|"
    "Grade|Episode|Season|Figure|Fig\\.|Table|Case|World War|War|Rocky|Apollo|Bowl|Mk\\.?|Canto|Lesson|Unit|Mark|Step"
    "|Amendment|"
    "Protocol|Schedule|Exhibit|Psalm|Sonnet|Category|Division|Group|Tier|Annex|Series|Symphony|Factor|Corps|Theorem|"
    "Proposition|Lemma|Plate|Letter|Tome|Annexe|Zone|Region|Crusade|Ch\\.|Chap\\.|Bk\\.|Pt\\."
)
_FULL = {
    "vol.": "volume", "sec.": "section", "art.": "article", "fig.": "figure", "ch.": "chapter", "chap.": "chapter",
    "bk.": "book", "mk": "mark", "mk.": "mark",
    "pt.": "part",
}  # fmt: skip
_BOOKS = "Corinthians|Kings|Samuel|Chronicles|Thessalonians|Timothy|Peter|John|Maccabees|Esdras"
_I_SAYS = (  # after "Part I": these make it the pronoun
    "am|was|have|had|will|would|can|could|do|did|don't|didn't|think|thought|know|knew|want|wanted|like|liked|love"
    "|saw|see|"
    "use|used|need|needed|wrote|write|read|got|get|made|make|mean|meant|said|say|feel|felt|went|go|found|find|tried"
    "|try|should|"
    "must|may|might|hope|wish|never|always|just|really|also|explain|describe|show|discuss|argue|believe|took|take"
    "|gave|give"
)
_RULER = re.compile(
    rf"\b(?P<title>(?:King|Queen|Pope|Emperor|Tsar|Czar|Kaiser|Prince) )?(?P<name>{_RULERS}) (?=[IVXLCDM]){_ROMAN}"
)
_SECTION = re.compile(rf"\b(?P<name>{_SECTIONS}|{_SECTIONS.lower()}|{_SECTIONS.upper()}) (?=[IVXLCDM]){_ROMAN}")
_SMALL = re.compile(
    r"\b(?P<name>[Cc]hapter|[Pp]art|[Bb]ook|[Aa]ct|[Ss]cene|[Ss]ection|[Vv]olume|[Pp]age|p\.|pp\.|[Ff]igure"
    r"|[Tt]able|[Cc]anto|[Vv]erse) "
    r"(?=[ivxl])(?P<roman>l?x{0,3}(?:ix|iv|v?i{0,3}))(?![\w’'-]|\.\w)"
)
_CENTURY = re.compile(
    r"\b(?=[IVX])(?P<roman>X{0,2}(?:IX|IV|V?I{0,3}))(?:th|st|nd|rd)?(?P<gap>[ -])(?P<what>(?:[Cc]entur(?:y|ies)"
    r"|[Dd]ynasty|[Oo]lympiad|[Aa]rrondissement|[Cc]ongress|[Ll]egion)\b)"
)
_FIRST_BOOK = re.compile(rf"\b(?P<roman>I{{1,3}}|IV) (?P<book>(?:{_BOOKS})\b)")
_WAR = re.compile(r"\bWW(?P<roman>I{1,3})\b")
_PLAIN = re.compile(
    r"(?P<name>\b[A-Z][a-z]{2,30}) (?=[IVX]{2})(?P<roman>X{0,3}(?:IX|IV|V?I{0,3}))(?P<s>'s)?(?![\w'-]|\.\w)"
)
_YEAR = re.compile(
    r"(?<![\w.'-])(?P<roman>M{1,2}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3}))(?![\w’'-]|\.\w)"
)
_PAIR = re.compile(r"\b(?P<a>[IVX]{1,5})[-–](?P<b>[IVX]{1,5})(?= [Cc]entur(?:y|ies)\b)")
_FORM = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")


_ALONE = re.compile(r"^(?P<roman>[IVX]{2,6}|I(?=\.$))(?P<dot>\.(?= [A-Z\"'(]|$)|$)")  # a heading or an item of a list
_LISTED = re.compile(
    r"^(?P<item>ii|iii|iv|vi{1,3}|ix)(?=[.)] )|(?<![\w.])(?P<open>\()(?P<inside>ii|iii|iv|vi{1,3}|ix|xi{1,3})(?=\))"
)
_TENTH = re.compile(r"\b(?P<name>iPhone|OS|Final Fantasy) X\b(?!['-])")


def roman(numeral: str) -> int:
    """The value of a Roman numeral in capitals, from right to left."""
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[char] for char in numeral]
    return sum(-value if value < max(values[i:]) else value for i, value in enumerate(values))


def speak_romans(text: str) -> str:
    """`text` with its Roman numerals in words. Never raises."""
    text = _ALONE.sub(_alone, text)
    text = _LISTED.sub(
        lambda match: (match["open"] or "") + cardinal(roman((match["item"] or match["inside"]).upper())), text
    )
    text = _TENTH.sub(lambda match: f"{match['name']} ten", text)
    text = _WAR.sub(lambda match: f"World War {cardinal(roman(match['roman']))}", text)
    text = _FIRST_BOOK.sub(lambda match: f"{ordinal(roman(match['roman'])).capitalize()} {match['book']}", text)
    text = _PAIR.sub(lambda match: f"{match['a']} to {match['b']}", text)
    text = re.sub(r"\b([IVX]{1,5}) to (?=[IVX]{1,5} [Cc]entur)", lambda match: _ordinal(match[1]) + " to ", text)
    text = _CENTURY.sub(_century, text)
    text = _SMALL.sub(lambda match: f"{match['name']} {cardinal(roman(match['roman'].upper()))}", text)
    text = _PLAIN.sub(_plain, _SECTION.sub(_section, _RULER.sub(_ruler, text)))
    return _YEAR.sub(_year, text)


def _alone(match: re.Match[str]) -> str:
    return cardinal(roman(match["roman"])) + match["dot"] if _FORM.fullmatch(match["roman"]) else match.group()


def _ordinal(numeral: str) -> str:
    return ordinal(roman(numeral)) if numeral and _FORM.fullmatch(numeral) else numeral


def _century(match: re.Match[str]) -> str:
    if not match["roman"]:
        return match.group()
    return f"{ordinal(roman(match['roman']))}{match['gap']}{match['what']}"


def _ruler(match: re.Match[str]) -> str:
    numeral = match["roman"]
    after = match.string[match.end() : match.end() + 12]
    if match["name"] == "Malcolm" and numeral == "X":
        return match.group()
    says = r"[.,;:)]|$| (?:of|was|and|died|ruled|reigned|became|is)\b"
    if not numeral or (numeral == "I" and not (match["title"] or match["s"] or re.match(says, after))):
        return match.group()
    return f"{match['title'] or ''}{match['name']} the {ordinal(roman(numeral))}{match['s'] or ''}"


def _section(match: re.Match[str]) -> str:
    numeral = match["roman"]
    after = match.string[match.end() : match.end() + 14]
    if not numeral or numeral in "LCDM" or (numeral == "I" and re.match(rf" (?:{_I_SAYS})\b|'", after)):
        return match.group()
    name = _FULL.get(match["name"].lower(), match["name"])
    if name != match["name"] and not match["name"].islower():
        name = name.capitalize()
    return f"{name} {cardinal(roman(numeral))}{match['s'] or ''}"


def _plain(match: re.Match[str]) -> str:
    return f"{match['name']} {cardinal(roman(match['roman']))}{match['s'] or ''}" if match["roman"] else match.group()


def _year(match: re.Match[str]) -> str:
    numeral = match["roman"]
    value = roman(numeral)
    return year(value) if len(numeral) >= 4 and 1000 <= value <= 2100 else match.group()
