"""Written text to spoken words: `normalise` turns numbers, dates, money, units, abbreviations, addresses and symbols
into plain words.

The result has letters, spaces, . , ; : ! ? ' " ( ) and hyphens inside words; a line of it is a paragraph. It never
raises, has no digits (for English), and keeps every word and every sentence end. Acronyms stay as they are (espeak
spells or says them). Other languages than English get the clean-up only, since espeak reads their numbers. Every rule
is one bounded regex: time is linear.
"""

from __future__ import annotations

import re
import unicodedata

from tts_fm.text.numbers import speak_numbers
from tts_fm.text.plain import Block, read_plain
from tts_fm.text.spell import cardinal, ordinal


def normalise(text: str, lang: str = "en-us") -> str:
    """`text` as it is to be spoken, in `lang` (espeak code; en-gb reads 3/7/2024 as the third of July), a line for each
    heading, paragraph or list item. Never raises.
    """
    blocks = (block for block in read_plain(text) if block.kind != "scene")
    lines = (normalise_line(said_line(block, ended=False), lang) for block in blocks)
    return "\n".join(line for line in lines if any(char.isalnum() for char in line))


def normalise_line(text: str, lang: str = "en-us") -> str:
    """`text` as it is to be spoken, when it is all of one paragraph; private-use characters stay."""
    text = _clean(text)
    if not lang.lower().startswith("en"):
        return _tidy(_drop_rest(text, keep="LMNS"))
    gb = lang.lower().replace("_", "-") not in ("en", "en-us", "en-us-nyc")
    text = _speak_addresses(text)
    text = _speak_romans(text)
    text = _speak_abbreviations(text)
    text = speak_numbers(text, gb)
    return _tidy(_drop_rest(_speak_symbols(text)))


_END = re.compile(r"[.!?…:;,。！？、，—–-][\"'”’»)\]*_]{0,4}$")
_SENTENCE_END = re.compile(r"[.!?…:。！？][\"'”’»)\]*_]{0,4}$")


def said_line(block: Block, ended: bool = True) -> str:
    """The text of a block as one line: a full stop after a heading's number, commas between the lines of verse; `ended`
    puts a full stop after it where no mark ends it.
    """
    between = "." if block.kind == "heading" else ","
    lines = [line if _END.search(line) else line + between for line in block.lines]
    text = " ".join([*lines[:-1], block.lines[-1]]).strip()
    return re.sub(r"[,;]$", "", text) + "." if ended and text and not _SENTENCE_END.search(text) else text


# Clean-up: one spelling for what looks alike
_BEFORE_NFKC = {
    "²": "^2", "³": "^3", "º": "°", "№": " number ", "™": " ", "®": " ", "©": " copyright ", "℠": " ", "…": "...",
    "´": "'", "`": "'",
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "‹": "'",
    "›": "'", "″": '"',
    "′": "'", "＇": "'", "＂": '"', "‐": "-", "‑": "-", "‒": "–", "―": "—", "﹣": "-", "⸺": "—", "¿": "", "¡": "",
    "\u00ad": "",
    "\u200b": "", "\u200d": "", "\ufeff": "", "[": "(", "]": ")", "{": "(", "}": ")", "\u2044": "⁄", "。": ". ",
    "，": ", ", "、": ", ",
    "！": "! ", "？": "? ",
}  # fmt: skip
_FIRST = str.maketrans(_BEFORE_NFKC)
_VULGAR = re.compile(r"(?<=[0-9]) ?(?=[\u00bc-\u00be\u2150-\u215e\u2189])")
_RAISED = re.compile(
    r"(?<=[0-9)])[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+|[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]{2,}"
)
_TAG = re.compile(r"</?(?:b|i|u|p|a|em|strong|br|span|div|h[1-6]|li|ul|ol|code)(?: [^<>]{0,200})?/?>", re.IGNORECASE)
_BULLET = re.compile(r"^[-–—]{1,6} *(?![0-9.$£€ ])|^[-–—*•‣·>#]{1,6} +|^#{1,6}(?=[^\W\d])")


def _clean(text: str) -> str:
    """NFKC, straight quotes, ASCII digits, no controls, one space between words."""
    text = _RAISED.sub(lambda match: "^" + unicodedata.normalize("NFKC", match.group()), text)
    text = _VULGAR.sub(" ", text.translate(_FIRST))
    text = unicodedata.normalize("NFKC", text).translate(_FIRST)
    if not text.isascii():
        text = "".join(map(_plain_char, text))
    text = re.sub(r"[\x00-\x1f\x7f]", " ", _TAG.sub(" ", text))
    return _BULLET.sub("", " ".join(text.split()))


def _plain_char(char: str) -> str:
    if char.isascii():
        return char
    category = unicodedata.category(char)
    if category[0] == "N":
        value = unicodedata.numeric(char)
        return str(int(value)) if category == "Nd" or value < 10 else f" {int(value)} "
    return " " if category in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else char


def _tidy(text: str) -> str:
    """One space between words, none before a closing mark, no commas in a row."""
    line = " ".join(text.split())
    line = re.sub(r" (?=[,;:.!?)](?![^\W_]))", "", line)
    line = re.sub(r"([,;:])(?:[,;:])+", r"\1", line)
    line = re.sub(r"[,;:]+(?=[.!?])", "", line)
    return re.sub(r"(?<=[(]) | (?=\))|\(\)", "", line).strip()


# E-mail and web addresses
_TOP = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|dev|app|co|uk|us|ca|au|nz|ie|eu|de|fr|ch|at|nl|es|it|se|no|"
    "dk|fi|pl|jp|cn|in|br|ru|tv|me|xyz"
)
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")
_URL = re.compile(
    r"(?:https?|ftp)://[^\s<>\"]{1,2000}|(?<!\w)www\.[^\s<>\"]{1,2000}"
    rf"|(?<![\w@./-])(?:[a-z0-9-]{{2,63}}\.){{1,4}}(?:{_TOP})(?:/[^\s<>\"]{{0,1000}})?(?![\w@-]|\.\w)",
    re.IGNORECASE,
)
_ADDRESS_WORDS = {
    ".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore", "?": "question mark", "=": "equals",
    "&": "and", "#": "hash",
    "%": "percent", ":": "colon", "~": "tilde", "+": "plus",
}  # fmt: skip


def _speak_addresses(text: str) -> str:
    if "@" in text:
        text = _EMAIL.sub(lambda match: _address(match.group()), text)
    return _URL.sub(_url, text)


def _url(match: re.Match[str]) -> str:
    whole = match.group()
    address = whole.rstrip(".,;:!?'*")
    if address.endswith(")") and address.count("(") < address.count(")"):
        address = address[:-1].rstrip(".,;:!?'*")
    tail = whole[len(address) :]
    address = re.sub(r"^[a-z]+://", "", address, flags=re.IGNORECASE).rstrip("/")
    return _address(address) + tail


def _address(address: str) -> str:
    return " ".join(
        "".join(f" {_ADDRESS_WORDS.get(char, '')} " if not char.isalnum() else char for char in address).split()
    )


# Roman numerals
_ROMAN = r"(?P<roman>M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3}))(?![\w'’-]|\.\w)"
_RULERS = (
    "Henry|Louis|George|Edward|Richard|William|James|Charles|Elizabeth|Mary|Philip|Pius|Paul|John|Benedict|Gregory|Leo|Clement|Innocent|Alexander|"
    "Nicholas|Catherine|Peter|Frederick|Wilhelm|Napoleon|Ferdinand|Francis|Joseph|Otto|Ivan|Rameses|Ramses|Ramesses|Darius|Xerxes|Alfonso|"
    "Christian|Gustav|Carl|Olav|Haakon|Harald|Robert|Stephen|Urban|Boniface|Ptolemy|Theodosius|Constantine|Justinian|Margrethe|Juan|Carlos"
)
_SECTIONS = (
    "Chapter|Part|Book|Act|Scene|Volume|Vol\\.|Section|Article|Title|Appendix|Phase|Stage|Type|Class|Level|Grade|Episode|Season|Figure|Table|Case|"
    "World War|War|Rocky|Apollo|Bowl|Canto|Lesson|Unit|Mark|Step|Amendment|Protocol|Schedule|Exhibit|Psalm|Sonnet"
)
_RULER = re.compile(
    rf"\b(?P<title>(?:King|Queen|Pope|Emperor|Tsar|Czar|Kaiser|Prince) )?(?P<name>{_RULERS}) (?=[IVXLCDM]){_ROMAN}"
)
_SECTION = re.compile(rf"\b(?P<name>{_SECTIONS}|{_SECTIONS.lower()}) (?=[IVXLCDM]){_ROMAN}")
_PLAIN_ROMAN = re.compile(
    r"(?P<name>\b[A-Z][a-z]{2,30}) (?=[IVX]{2})(?P<roman>X{0,3}(?:IX|IV|V?I{0,3}))(?![\w'-]|\.\w)"
)


def _roman(numeral: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[char] for char in numeral]
    return sum(-value if value < max(values[i:]) else value for i, value in enumerate(values))


def _speak_romans(text: str) -> str:
    def ruler(match: re.Match[str]) -> str:
        roman = match["roman"]
        after = match.string[match.end() : match.end() + 12]
        if not roman or (
            roman == "I"
            and not (match["title"] or re.match(r"[.,;:)]|$| (?:of|was|and|died|ruled|reigned|became|is)\b", after))
        ):
            return match.group()
        return f"{match['title'] or ''}{match['name']} the {ordinal(_roman(roman))}"

    def section(match: re.Match[str]) -> str:
        roman = match["roman"]
        after = match.string[match.end() : match.end() + 2]
        if (
            not roman
            or roman in "LCDM"
            or (
                roman == "I"
                and match["name"] not in ("Chapter", "World War", "Book", "Volume")
                and re.match(r" [a-z]", after)
            )
        ):
            return match.group()
        return f"{match['name']} {cardinal(_roman(roman))}"

    def plain(match: re.Match[str]) -> str:
        return f"{match['name']} {cardinal(_roman(match['roman']))}" if match["roman"] else match.group()

    return _PLAIN_ROMAN.sub(plain, _SECTION.sub(section, _RULER.sub(ruler, text)))


# Abbreviations
_BEFORE_NAMES = {  # only before a capital letter; the full stop goes
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Misses", "Ms": "Miz", "Messrs": "Messers", "Prof": "Professor",
    "Rev": "Reverend",
    "Hon": "Honorable", "Gen": "General", "Col": "Colonel", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant",
    "Cpl": "Corporal", "Maj": "Major", "Adm": "Admiral", "Sen": "Senator", "Rep": "Representative", "Gov": "Governor",
    "Pres": "President", "St": "Saint", "Mt": "Mount", "Ft": "Fort", "Cmdr": "Commander",
}  # fmt: skip
_BEFORE_NUMBERS = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "vol": "volume", "vols": "volumes", "ch": "chapter",
    "fig": "figure",
    "figs": "figures", "eq": "equation", "sec": "section", "art": "article", "v": "verse", "par": "paragraph",
    "approx": "approximately", "ca": "circa", "c": "circa", "ext": "extension", "apt": "apartment",
}  # fmt: skip
_ANYWHERE = {  # may end a sentence or not: the full stop stays where a capital or nothing follows
    "etc": "et cetera", "Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Ltd": "Limited", "Co": "Company",
    "Corp": "Corporation", "Bros": "Brothers", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Dept": "Department",
    "Govt": "Government", "approx": "approximately", "est": "established", "misc": "miscellaneous",
    "dept": "department",
    "govt": "government", "Univ": "University", "Assn": "Association", "max": "maximum", "min": "minimum",
    "St": "Street",
    "Dr": "Drive", "al": "al",
    "Jan": "January", "Feb": "February", "Aug": "August", "Sept": "September", "Oct": "October", "Nov": "November",
    "Dec": "December",
}  # fmt: skip
_NEVER_LAST = {
    "vs": "versus",
    "e.g": "for example",
    "i.e": "that is",
    "cf": "compare",
    "viz": "namely",
    "a.k.a": "also known as",
    "w.r.t": "with respect to",
}
_DEGREES = {
    "Ph.D": "PhD",
    "M.D": "MD",
    "B.A": "B A",
    "M.A": "M-A",
    "B.Sc": "BSc",
    "M.Sc": "MSc",
    "D.Phil": "DPhil",
    "a.m": "AM",
    "p.m": "PM",
    "A.M": "AM",
    "P.M": "PM",
}


def _names(table: dict[str, str]) -> str:
    return "|".join(re.escape(name) for name in sorted(table, key=len, reverse=True))


_STREET = re.compile(
    r"(?P<before>\b[A-Z][\w'-]{1,30} |\b[0-9]{1,4}(?:st|nd|rd|th) )(?P<name>St|Dr)\."
    r"(?P<after>$|\n|[,;:!?)\"']| [a-z(]| (?:The|He|She|It|They|We|In|At)\b)"
)
_NAME = re.compile(
    rf"(?<![\w.])(?P<name>{_names(_BEFORE_NAMES)})(?:\.(?= ?['\"(]?[A-Z]| and (?:Mrs|Ms|Miss|Dr)\b)|(?= "
    r"[A-Z]))(?P<space> ?)"
)
_NUMBERED = re.compile(rf"(?<![\w.'])(?P<name>{_names(_BEFORE_NUMBERS)})\. ?(?=[0-9])", re.IGNORECASE)
_LAST = re.compile(rf"(?<![\w.'-])(?P<name>{_names(_ANYWHERE)})\.(?![\w.])")
_MIDDLE = re.compile(rf"(?<![\w.])(?P<name>{_names(_NEVER_LAST)})\b\.?(?P<comma>,?)(?!\w)", re.IGNORECASE)
_DEGREE = re.compile(rf"(?<![\w.])(?P<name>{_names(_DEGREES)})\.(?!\w)")
_DOTTED = re.compile(r"(?<![\w.])(?P<name>(?:[A-Z]\.){1,8}[A-Z])\b(?P<dot>\.?)(?P<s>'s\b)?(?![\w.]\w)")
_STARTER = re.compile(
    r"[ "
    r"\"'(]*(?:$|\n|(?:The|This|That|These|There|Then|He|She|It|We|You|I|A|And|But|So|In|On|At|They|His|Her|When|What|Where|If|For)\b)"
)


def _ends_here(match: re.Match[str]) -> bool:
    """Whether the full stop inside `match` also ended a sentence: nothing or a capital letter follows."""
    after = match.string[match.end() : match.end() + 6].lstrip(" \"')(")
    return not after or match.string[match.end() : match.end() + 1] == "\n" or after[0].isupper() or after[0] == "\n"


def _speak_abbreviations(text: str) -> str:
    text = _DEGREE.sub(lambda match: _DEGREES[match["name"]] + ("." if _ends_here(match) else ""), text)
    text = _MIDDLE.sub(_middle, text)
    text = _STREET.sub(
        lambda match: f"{match['before']}{_ANYWHERE[match['name']]}{_street_end(match['after'])}{match['after']}", text
    )
    text = _NUMBERED.sub(lambda match: _cased(_BEFORE_NUMBERS[match["name"].lower()], match["name"]) + " ", text)
    text = _NAME.sub(lambda match: _BEFORE_NAMES[match["name"]] + " ", text)
    text = _LAST.sub(lambda match: _ANYWHERE[match["name"]] + ("." if _ends_here(match) else ""), text)
    text = re.sub(r"(?<!\w)#(?=[0-9])", "number ", text)
    text = re.sub(r"<(?=[$£€]?\.?[0-9])", " less than ", re.sub(r"(?<![-=])>(?=[$£€]?\.?[0-9])", " more than ", text))
    text = re.sub(r"\bw/(?= ?[^\W_])", "with ", re.sub(r"\bw/o\b", "without", text))
    text = re.sub(r"(?<=[0-9] )AD\b|\bAD(?= [0-9])", "A-D", text)
    return _DOTTED.sub(_dotted, text)


def _street_end(after: str) -> str:
    return "." if after in ("", "\n", '"', "'", ")") or after[1:2].isupper() else ""


def _cased(words: str, like: str) -> str:
    return words.capitalize() if like[0].isupper() else words


def _middle(match: re.Match[str]) -> str:
    name = match["name"].lower()
    after = match.string[match.end() : match.end() + 8].lstrip(" \"')")[:1]
    if name not in ("e.g", "i.e", "a.k.a", "w.r.t") and not match.group().rstrip(",").endswith(".") and name != "vs":
        return match.group()  # "CF", "viz" without its stop: a word or an acronym
    return _cased(_NEVER_LAST[name], match["name"]) + match["comma"] + ("" if after or match["comma"] else ".")


def _dotted(match: re.Match[str]) -> str:
    """U.S. gives US; one more full stop where a sentence ends. Initials of names (J. R. R.) have spaces and stay."""
    letters = match["name"].replace(".", "")
    if letters == "AD":
        letters = "A-D"
    ends = match["dot"] and not match["s"] and _STARTER.match(match.string, match.end())
    return letters + (match["s"] or "") + ("." if ends else "")


# Symbols
_SYMBOLS = {
    "&": "and", "@": "at", "%": "percent", "‰": "per mille", "+": "plus", "=": "equals", "§": "section",
    "¶": "paragraph",
    "×": "times", "÷": "divided by", "±": "plus or minus", "≈": "approximately", "≠": "is not equal to",
    "≤": "less than or equal to",
    "≥": "greater than or equal to", "∞": "infinity", "√": "square root of", "∑": "sum", "∆": "delta", "°": "degrees",
    "$": "dollar",
    "£": "pound", "€": "euro", "¥": "yen", "¢": "cent", "₹": "rupee", "₿": "bitcoin", "−": "minus", "Ω": "ohm",
    "μ": "mu", "π": "pi",
    "\\": "backslash", "♯": "sharp", "♭": "flat", "∈": "in", "∼": "about",
}  # fmt: skip
_SYMBOL = re.compile("|".join(map(re.escape, _SYMBOLS)))
_SYMBOL_RULES = [
    (re.compile(r"\bC\+\+"), "C plus plus"),
    (re.compile(r"\b([A-G])#(?!\w)"), r"\1 sharp"),
    (re.compile(r"§§ ?"), "sections "),
    (re.compile(r"(?<!\w)[:;]['-]?[)(DP](?!\w)"), " "),
    (re.compile(r"(?<= )/ "), ", "),
    (re.compile(r"#(?=[^\W_])"), " hashtag "),
    (re.compile(r"#"), " hash "),
    (re.compile(r"&c\.?(?!\w)"), "et cetera"),
    (re.compile(r"\*{1,3}|(?<!\w)_{1,3}|_{1,3}(?!\w)|~~"), " "),
    (re.compile(r"<-{1,4}>?|(?<!-)-{1,4}>|(?<!=)={1,4}>|[→⇒⟶]"), ", "),
    (re.compile(r"~ ?(?=\w)"), " about "),
    (re.compile(r"(?<=\w) < (?=\w)"), " less than "),
    (re.compile(r"(?<=\w) > (?=\w)"), " greater than "),
    (re.compile(r"[<>|/_^~]"), " "),
    (re.compile(r" ?—+ ?| ?–+ ?| ?-{2,} ?| -(?= )|(?<=\w)- | -(?=\w)"), ", "),
    (re.compile(r"[•‣·]"), ", "),
]


def _speak_symbols(text: str) -> str:
    for pattern, said in _SYMBOL_RULES:
        text = pattern.sub(said, text)
    return _SYMBOL.sub(lambda match: f" {_SYMBOLS[match.group()]} ", text)


def _drop_rest(text: str, keep: str = "LM") -> str:
    """Of what is not ASCII only the categories in `keep` stay (never emoji); the rest, such as pictures, becomes
    spaces.
    """
    if text.isascii():
        return text
    text = "".join(
        char if char.isascii() or char in "—–" or char >= "\U000f0000" or unicodedata.category(char)[0] in keep else " "
        for char in text
    )
    return re.sub(
        r"[\u2600-\u27bf\ufe00-\ufe0f\U0001f000-\U0001faff]|(?<![^\W_])[\u0300-\u036f\u20d0-\u20ff]+", " ", text
    )
