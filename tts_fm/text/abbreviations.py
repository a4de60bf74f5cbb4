"""Abbreviations in full: titles, streets, references, weekdays, what stands with a full stop, and w/, b/c, a.k.a.

Own tables, after weighing abbr2words 0.2.16 (Apache-2.0) on the same expressions: it leaves two in three of them as
they are, ends no sentence after "Elm St. He left.", says "16 minute" and "60 second", and takes six times as long
for four times the text; what an abbreviation stands for here depends on what is around it ("St. Mary", "Elm St.",
"No. 5", "No. He left"), so a table of words is the smaller part. Where a full stop may end the sentence too, it
stays before a capital letter and at the end of a line.
"""

from __future__ import annotations

import re

from tts_fm.text.rules import one_of

_BEFORE_NAMES = {  # only before a capital letter; the full stop goes
    "Dr": "Doctor", "Drs": "Doctors", "Mr": "Mister", "Mrs": "Misses", "Ms": "Miz", "Messrs": "Messers",
    "Prof": "Professor", "Profs": "Professors", "Rev": "Reverend", "Hon": "Honorable", "Gen": "General",
    "Col": "Colonel", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Cpl": "Corporal", "Pvt": "Private",
    "Maj": "Major", "Adm": "Admiral", "Sen": "Senator", "Sens": "Senators", "Rep": "Representative",
    "Reps": "Representatives", "Gov": "Governor", "Pres": "President", "St": "Saint", "Ste": "Saint", "Sts": "Saints",
    "Mt": "Mount", "Ft": "Fort", "Cmdr": "Commander", "Supt": "Superintendent", "Fr": "Father", "Msgr": "Monsignor",
    "Mx": "Mix",
}  # fmt: skip
_NO_DOT_NEEDED = frozenset("Dr Drs Mr Mrs Ms Messrs Prof Rev Gen Capt Lt Sgt Col Cpl Sen Gov St Mt Ft Cmdr".split())
_BEFORE_NUMBERS = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "vol": "volume", "vols": "volumes", "ch": "chapter",
    "chap": "chapter", "chaps": "chapters", "chs": "chapters", "fig": "figure", "figs": "figures", "eq": "equation",
    "eqs": "equations", "sec": "section", "secs": "sections", "art": "article", "v": "verse", "vv": "verses",
    "par": "paragraph", "para": "paragraph", "approx": "approximately", "ca": "circa", "c": "circa", "ext": "extension",
    "apt": "apartment", "bldg": "building", "rm": "room", "rte": "route", "rt": "route", "ste": "suite",
    "hwy": "highway",
    "ex": "example", "exs": "examples", "rev": "revision", "ver": "version", "lat": "latitude", "long": "longitude",
    "lon": "longitude", "tab": "table", "app": "appendix", "prop": "proposition", "thm": "theorem", "def": "definition",
    "flr": "floor", "ed": "edition", "est": "established", "op": "opus", "tel": "telephone", "mod": "module",
    "bk": "book", "pt": "part", "ser": "series", "ep": "episode", "resp": "respectively", "tk": "take", "pl": "plate",
}  # fmt: skip
_BEFORE_YEARS = {"b": "born", "d": "died", "fl": "flourished", "r": "reigned", "m": "married"}
_ANYWHERE = {  # may end a sentence or not: the full stop stays where a capital or nothing follows
    "etc": "et cetera", "Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Ltd": "Limited", "Co": "Company",
    "Corp": "Corporation", "Bros": "Brothers", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ln": "Lane",
    "Ct": "Court", "Pkwy": "Parkway", "Hwy": "Highway", "Sq": "Square", "Pl": "Place", "Ter": "Terrace",
    "Cir": "Circle",
    "Rte": "Route", "Bldg": "Building", "Rm": "Room", "Apt": "Apartment", "Expy": "Expressway", "Tpke": "Turnpike",
    "Dept": "Department", "Govt": "Government", "Gov't": "Government", "Int'l": "International", "Nat'l": "National",
    "Ass'n": "Association", "approx": "approximately", "est": "established", "misc": "miscellaneous",
    "dept": "department", "govt": "government", "Univ": "University", "Assn": "Association", "Assoc": "Association",
    "max": "maximum", "St": "Street", "Dr": "Drive", "al": "al", "Esq": "Esquire", "Mfg": "Manufacturing",
    "Jan": "January", "Feb": "February", "Aug": "August", "Sept": "September", "Sep": "September", "Oct": "October",
    "Nov": "November", "Dec": "December", "Apr": "April", "tsp": "teaspoon", "tbsp": "tablespoon", "Tbsp": "tablespoon",
    "avg": "average", "temp": "temperature", "incl": "including", "excl": "excluding", "resp": "respectively",
    "Ph": "phone", "Tel": "telephone", "tel": "telephone", "appt": "appointment", "qty": "quantity", "Qty": "quantity",
    "Mgr": "Manager", "mgmt": "management", "Mgmt": "Management", "orig": "original", "cont": "continued",
    "Intl": "International", "Natl": "National", "Hosp": "Hospital", "Dist": "District", "Div": "Division",
    "Mon": "Monday", "Tues": "Tuesday", "Tue": "Tuesday", "Wed": "Wednesday", "Thurs": "Thursday", "Thur": "Thursday",
    "Thu": "Thursday", "Fri": "Friday", "Asst": "Assistant", "anon": "anonymous", "Anon": "Anonymous",
    "Terr": "Terrace", "Qtr": "Quarter", "qtr": "quarter",
}  # fmt: skip
_NEVER_LAST = {
    "vs": "versus", "e.g": "for example", "i.e": "that is", "cf": "compare", "viz": "namely", "a.k.a": "A K A",
    "w.r.t": "with respect to",
}  # fmt: skip
_DEGREES = {
    "Ph.D": "PhD", "M.D": "M D", "B.A": "B A", "M.A": "M A", "B.Sc": "BSc", "M.Sc": "MSc", "D.Phil": "DPhil",
    "B.S": "B S", "M.S": "M S", "LL.B": "L L B", "LL.M": "L L M", "Ed.D": "E D D",
    "a.m": "A M", "p.m": "P M", "A.M": "A M", "P.M": "P M",
}  # fmt: skip
_SLASHED = {
    "w/o": "without", "w/r/t": "with respect to", "w/i": "within", "b/c": "because", "b/w": "between", "c/o": "care of",
    "n/a": "N A", "N/A": "N A", "y/y": "year over year", "m/m": "month over month", "q/q": "quarter over quarter",
    "y/o/y": "year over year", "a/c": "A C", "A/C": "A C", "R/C": "R C", "I/O": "I O", "P/E": "P E", "a/k/a": "A K A",
    "d/b/a": "D B A", "t/t": "T T", "h/t": "hat tip to", "O/S": "O S", "B/W": "black and white", "L/R": "L R",
}  # fmt: skip
_PLAIN = {
    "Pkwy": "Parkway", "Blvd": "Boulevard", "Hwy": "Highway", "Expy": "Expressway", "Tpke": "Turnpike",
    "aka": "A K A", "YoY": "year over year", "QoQ": "quarter over quarter", "MoM": "month over month",
    "WoW": "week over week",
    "dba": "D B A", "wrt": "with respect to", "iff": "if and only if", "asap": "A S A P", "ASAP": "A S A P",
    "FYI": "F Y I",
    "Qtr": "Quarter", "qtr": "quarter",
    "fyi": "F Y I", "btw": "by the way", "imho": "in my humble opinion", "vs": "versus",
}  # fmt: skip
_GO_ON = frozenset(  # what they describe follows, also with a capital letter: "Warner Bros. Pictures", "excl. VAT"
    "Natl Intl Nat'l Int'l Asst Assoc Bros incl excl max avg approx est temp orig Dist Univ Dept Govt Gov't".split()
)
_STATES = {  # after a comma: "Pasadena, Calif."
    "Ala": "Alabama", "Ariz": "Arizona", "Ark": "Arkansas", "Calif": "California", "Colo": "Colorado",
    "Conn": "Connecticut", "Fla": "Florida", "Ill": "Illinois", "Kan": "Kansas", "Mass": "Massachusetts",
    "Mich": "Michigan", "Minn": "Minnesota", "Neb": "Nebraska", "Nev": "Nevada", "Okla": "Oklahoma",
    "Ore": "Oregon", "Tenn": "Tennessee", "Tex": "Texas", "Wis": "Wisconsin", "Wyo": "Wyoming",
}  # fmt: skip
_COMPASS = {
    "NW": "north west",
    "NE": "north east",
    "SW": "south west",
    "SE": "south east",
    "N": "north",
    "S": "south",
    "E": "east",
    "W": "west",
}
_ROADS = "Avenue|Street|Road|Boulevard|Lane|Drive|Court|Place|Square|Parkway|Highway|Terrace|Circle|Way"

_STREET = re.compile(
    r"(?P<before>\b[A-Z][\w'-]{1,30} |\b[0-9]{1,4}(?:st|nd|rd|th) )(?P<name>St|Dr)(?P<dot>\.?)"
    r"(?P<after>$|[,;:!?)\"']| (?:[NS]\.?[EW]|[NSEW])\b\.?|(?<=\.) (?:The|He|She|It|They|We|In|At)\b|(?<=\.) [a-z(]"
    r"|(?<=St) (?:and|in|is|was|at|near|to|by|on|from|with|for)\b)"
)
_ROAD = re.compile(
    r"(?P<before>\b[A-Z][\w'-]{1,30} |\b[0-9]{1,4}(?:st|nd|rd|th) )(?P<name>Ave|Blvd|Rd|Hwy|Pkwy|Ln|Ct|Expy"
    r"|Tpke)\b(?!\.|['’])"
)
_QUARTER = re.compile(
    rf"(?P<road>\b(?:{_ROADS})),? (?P<way>NW|NE|SW|SE|N\.?W|N\.?E|S\.?W|S\.?E|[NSEW])\b(?P<dot>\.?)(?!['\w])"
)
_HOUSE = re.compile(r"(?P<n>\b[0-9]{1,5} )(?P<way>[NSEW]|NW|NE|SW|SE)\b\.? (?=[A-Z][a-z]|[0-9]{1,3}(?:st|nd|rd|th)\b)")
_WAY = re.compile(rf"\b(?P<way>[NSEW])\. (?=(?:[A-Z][a-z]{{1,20}} ){{1,2}}(?:{_ROADS}|St|Ave|Blvd|Rd|Dr|Ln)\b)")
_FLOOR = re.compile(r"(?<=[0-9](?:st|nd|rd|th)) Fl\b\.?|\bFl\.? (?=[0-9]{1,2}\b)")
_STATE = re.compile(rf"(?<=[a-z], )(?P<name>{one_of(_STATES)})\.(?!\w)")
_AGAINST = re.compile(r"(?<=[a-z.] )(?P<v>v\.?)(?= [A-Z][a-z])")
_PLACE = re.compile(r"\b(?P<name>[Hh]wy|Rm|Apt|Ste|Bldg) (?=#? ?[0-9])")
_SUBJECT = {"Re": "Regarding", "RE": "Regarding", "Fwd": "Forward", "Attn": "Attention", "ATTN": "Attention"}
_NAME = re.compile(
    rf"(?<![\w.])(?P<name>{one_of(_BEFORE_NAMES)})(?:\.(?= ?['\"(]?[A-Z]| (?:and|&) (?:Mrs|Ms|Miss|Dr)\b)|"
    rf"(?:{'|'.join(f'(?<={name})' for name in sorted(_NO_DOT_NEEDED))})(?= [A-Z]))(?P<space> ?)"
)
_NUMBERED = re.compile(
    rf"(?<![\w.'])(?P<name>{one_of(_BEFORE_NUMBERS)})\. ?(?=[0-9]|[IVXLC]{{2,6}}\b|[VX]\b|\([0-9])", re.IGNORECASE
)
_COUNT = re.compile(r"\b(?P<name>[Nn]o|[Nn]os)\. of\b")
_LIFE = re.compile(
    r"(?<![\w.'])(?P<name>b|d|fl|r|m)\. ?(?=(?:c\. ?|circa )?[0-9]{3,4}\b|[0-9]{1,2} [A-Z]|[A-Z][a-z]{2,8}\.? [0-9])"
)
_LAST = re.compile(rf"(?<![\w.'-])(?P<name>{one_of(_ANYWHERE)})\.(?![\w.])")
_SUNDAY = re.compile(r"(?<![\w.'-])(?<![Tt]he )(?P<name>Sat|Sun)\.(?= [a-z0-9]|, )")
_MIDDLE = re.compile(rf"(?<![\w.])(?P<name>{one_of(_NEVER_LAST)})\b\.?(?P<comma>,?)(?!\w)", re.IGNORECASE)
_DEGREE = re.compile(rf"(?<![\w.])(?P<name>{one_of(_DEGREES)})\.?(?P<dot>(?<=\.))?(?![\w.]\w|\w)")
_DOTTED = re.compile(r"(?<![\w.])(?P<name>(?:[A-Z]\.){1,8}[A-Z])\b(?P<dot>\.?)(?P<s>'s\b)?(?![\w.]\w)")
_SLASH = re.compile(rf"(?<![\w/])(?P<name>{one_of(_SLASHED)})(?![\w/])")
_WITH = re.compile(r"(?<![\w/])w/(?= ?[^\W_]|$)")
_WORD = re.compile(rf"(?<![\w.'-])(?P<name>{one_of(_PLAIN)})(?![\w'-]|\.\w)")
_INK = re.compile(r"\bInc\.?(?= (?:magazine|Magazine|5000)\b)")
_STARTER = re.compile(
    r"[ \"'(]*(?:$|(?:The|This|That|These|There|Then|He|She|It|We|You|I|A|And|But|So|In|On|At|They|His|Her|When"
    r"|What|Where|If|For)\b)"
)


def speak_abbreviations(text: str) -> str:
    """`text` with its abbreviations in words. Never raises; linear in time."""
    text = _DEGREE.sub(_degree, text)
    text = re.sub(rf"(?:^|(?<=[.!?] ))({one_of(_SUBJECT)})(?=: )", lambda match: _SUBJECT[match[1]], text)
    text = _AGAINST.sub(_against, text)
    text = _PLACE.sub(lambda match: _cased(_BEFORE_NUMBERS[match["name"].lower()], match["name"]) + " ", text)
    text = _FLOOR.sub(lambda match: " Floor" if match.group()[0] == " " else "Floor ", text)
    text = _WAY.sub(lambda match: f"{_COMPASS[match['way']].capitalize()} ", text)
    text = _STATE.sub(lambda match: _STATES[match["name"]] + ("." if _ends_here(match) else ""), text)
    text = re.sub(r"(?<![0-9] )(?<![\w.])([Mm])in\. (?=[a-z]{3})", r"\1inimum ", text)
    text = re.sub(r"(?<=[0-9](?:st|nd|rd|th)) c\.(?= [a-z]|,|$)", " century", text)
    text = _SLASH.sub(lambda match: _SLASHED[match["name"]], text)
    text = _MIDDLE.sub(_middle, text)
    text = _INK.sub("Ink", text)
    text = _STREET.sub(
        lambda match: f"{match['before']}{_ANYWHERE[match['name']]}{_street_end(match)}{match['after']}", text
    )
    text = _COUNT.sub(
        lambda match: _cased("number" if match["name"].lower() == "no" else "numbers", match["name"]) + " of", text
    )
    text = _NUMBERED.sub(lambda match: _cased(_BEFORE_NUMBERS[match["name"].lower()], match["name"]) + " ", text)
    text = _LIFE.sub(lambda match: _BEFORE_YEARS[match["name"]] + " ", text)
    text = _NAME.sub(lambda match: _BEFORE_NAMES[match["name"]] + " ", text)
    text = _SUNDAY.sub(lambda match: "Saturday" if match["name"] == "Sat" else "Sunday", text)
    text = _LAST.sub(_last, text)
    text = _ROAD.sub(lambda match: match["before"] + _ANYWHERE.get(match["name"], match["name"]), text)
    text = _QUARTER.sub(_quarter, text)
    text = _HOUSE.sub(lambda match: f"{match['n']}{_COMPASS[match['way']].capitalize()} ", text)
    text = _WORD.sub(lambda match: _PLAIN[match["name"]], _WITH.sub("with ", text))
    text = re.sub(r"(?<=[0-9] )AD\b|\bAD(?= [0-9])", "A D", text)
    return _DOTTED.sub(_dotted, text)


def _ends_here(match: re.Match[str]) -> bool:
    """Whether the full stop inside `match` also ended a sentence: nothing or a capital letter follows, or a compass
    point does not."""
    after = match.string[match.end() : match.end() + 6].lstrip(" \"')(")
    if re.match(r"(?:NW|NE|SW|SE)\b", after):
        return False
    return not after or after[0].isupper()


def _against(match: re.Match[str]) -> str:
    """ "Smith v. Jones", "Roe v Wade"; what stands before it must be a name too."""
    before = match.string[max(0, match.start() - 24) : match.start()].split()[-1:]
    return "versus" if before and before[0][0].isupper() else match["v"]


def _last(match: re.Match[str]) -> str:
    if match["name"] in ("tsp", "tbsp", "Tbsp") and re.search(
        "[0-9] ?$", match.string[max(0, match.start() - 2) : match.start()]
    ):
        return match.group()  # a quantity: units.py's
    ends = _STARTER.match(match.string, match.end()) if match["name"] in _GO_ON else _ends_here(match)
    return _ANYWHERE[match["name"]] + ("." if ends else "")


def _degree(match: re.Match[str]) -> str:
    if match["name"][-1] not in "mM" and match["dot"] is None:
        return match.group()  # "Ph.D" is written without the last stop, but "B.A" may be a variable
    return _DEGREES[match["name"]] + ("." if match["dot"] is not None and _ends_here(match) else "")


def _street_end(match: re.Match[str]) -> str:
    after = match["after"]
    if not match["dot"] or re.match(r" [NS]?[EW]?\b\.?$", after):
        return ""
    return "." if after in ("", '"', "'", ")") or after[1:2].isupper() else ""


def _quarter(match: re.Match[str]) -> str:
    way = _COMPASS[match["way"].replace(".", "")]
    after = match.string[match.end() : match.end() + 2]
    ends = match["dot"] and (not after.strip() or after.strip()[0].isupper())
    return f"{match['road']} {way}{'.' if ends else ''}"


def _cased(words: str, like: str) -> str:
    return words.capitalize() if like[0].isupper() else words


def _middle(match: re.Match[str]) -> str:
    name = match["name"].lower()
    after = match.string[match.end() : match.end() + 8].lstrip(" \"')")[:1]
    if name not in ("e.g", "i.e", "a.k.a", "w.r.t") and not match.group().rstrip(",").endswith(".") and name != "vs":
        return match.group()  # "CF", "viz" without its stop: a word or an acronym
    words = _NEVER_LAST[name]
    return (
        (words if words.isupper() else _cased(words, match["name"]))
        + match["comma"]
        + ("" if after or match["comma"] else ".")
    )


def _dotted(match: re.Match[str]) -> str:
    """U.S. gives US; one more full stop where a sentence ends. Initials of names (J. R. R.) have spaces and stay."""
    letters = match["name"].replace(".", "")
    if letters in ("AD", "NE", "NW", "SE", "SW"):
        letters = " ".join(letters)
    ends = match["dot"] and not match["s"] and _STARTER.match(match.string, match.end())
    return letters + (match["s"] or "") + ("." if ends else "")
