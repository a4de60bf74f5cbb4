"""Acronyms as they are said: letters where espeak would make a word of them, plurals, formulas of chemistry, and
sentences all in capitals, which are ordinary words.

espeak itself spells what cannot be a word (FBI, GPU) and says what can (NASA); the tables hold where it is wrong.
Letters are written apart, "E P A", which pronounce.py keeps from being read as the article.
"""

from __future__ import annotations

import re

_SPELLED = frozenset(
    (
        "EPA ADA AMA ACA IPO IPOs ISO IOU UAE UX IO EPS APR IPA IMF EEC ECB SEC NIH DEA DOD ACLU ICU IQ EQ NYU USC "
        "AD AM "
        "GE UPS NCAA UFC NGO ROI SEO ETF AIG IDE AR EV EVs APA AA AKA UAV USP UCL IOC ICC OED OAS OAU EFTA IRC IRL "
        "ETA UAT "
        "EOD EOM ESL ESP EMS EMT ENT EDT EIN AOB ICE ISS ISBN ISSN ICO ALS ARR ASL AFL ALA APY ASD ATV EKG EEG ECG "
        "ECU EMF "
        "QA BA MA FA COO IIRC IMHO AFAIK GOP LED LEDs AAPL TSLA GOOG AMZN"
    ).split()
)
_AS_WORDS = frozenset("RAM ROM LAN WAN SIM PIN GIF AIDS SARS LASER RADAR SONAR NATO SWAT VRAM DRAM NASA".split())
_CHEMISTRY = frozenset(
    (
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y "
        "Zr Nb Mo "
        "Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Nd Sm Eu Gd Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Rn Ra Th U Pu"
    ).split()
)
_FUNCTION = frozenset(  # words that make a run of capitals a sentence
    (
        "THE AND OF TO IN ON AT FOR WITH FROM BY AS IS ARE WAS WERE BE BEEN AM A AN THIS THAT THESE IT ITS HE SHE "
        "WE YOU THEY ME "
        "HIM HER US THEM MY YOUR HIS OUR THEIR NOT NO YES DO DOES DID DON'T CAN CAN'T WILL WON'T HAVE HAS HAD IF OR "
        "BUT SO ALL "
        "ANY NOW HERE THERE WHEN WHERE WHO WHAT WHY HOW OUT UP DOWN OFF OVER PLEASE STOP GO GET LET KEEP TELL SAY "
        "SEE READ NEW ONE "
        "TWO MORE LESS VERY TOO GOOD BAD GREAT BIG FREE OPEN CLOSED SALE WARNING DANGER HELP THANK THANKS HAPPY "
        "LOVE LIKE MUST GIVE TAKE MAKE COME TIME DAY CALL BUY LOOK THINK KNOW WANT NEED TURN LEFT RIGHT EVERY ONLY "
        "JUST THAN THEN INTO ABOUT AFTER BEFORE BECAUSE I'M IT'S THAT'S WE'RE YOU'RE LET'S"
    ).split()
)
_BEFORE_US = frozenset(  # words behind which US in a run of capitals is the pronoun
    (
        "GIVE TELL LET HELP SHOW FOR TO WITH OF FROM BY AT ON JOIN FOLLOW CALL CONTACT EMAIL VISIT ASK ABOUT BETWEEN "
        "SEND LEAVE TRUST BRING MAKE MAKES KEEP TAKE SAVE AMONG AGAINST LIKE THAN AND NEAR BEHIND BEFORE AFTER ALL"
    ).split()
)
_KEPT = frozenset("USA UK FBI CIA NASA NATO TV CEO DNA BBC CNN GPU CPU PDF USB HTML NBA NFL UN EU MP PM".split())

_TICKER = re.compile(r"(?<=\()(?:(?:NYSE|NASDAQ|LSE|TSX): ?)?(?P<ticker>[A-Z]{2,5})(?=[):;,])")
_ORGANISATION = re.compile(
    r"(?P<the>\b[Tt]he )WHO\b(?!\s+[a-z]{1,12}\s+[A-Z])|\bWHO(?=['’]s\b|-| (?:said|says|report|reports|recommends"
    r"|guidelines|director|declared|warned|estimates)\b)"
)
_AMPERSAND = re.compile(r"\b(?P<a>[A-Z]{1,3})&(?P<b>[A-Z]{1,3})(?P<s>'?s)?(?![\w&])")
_PLURAL = re.compile(r"\b(?P<name>[A-Z]{2,6}|PhD|MSc|BSc)(?P<s>s|'s)(?![\w'])")
_CAPITALS = re.compile(r"\b[A-Z]{2,6}\b(?!['’][a-z]|[a-z])")
_RUN = re.compile(r"(?<![\w'&])[A-Z][A-Z'’-]{0,30}(?: [A-Z][A-Z'’-]{0,30}){1,200}(?![\w'&])")
_AMBIGUOUS = frozenset(
    "US IT WHO AM ME OR IN HE AS AT BE DO GO IS ON NO SO UP AN A I".split()
)  # acronyms and states too
_MIXED = re.compile(r"(?<![\w.@#-])(?<![0-9] )(?=[A-Za-z0-9]{0,6}[a-z])(?:[A-Z][a-z]?[0-9]{0,3}){2,8}(?![\w@'])")
_FORMULA = re.compile(r"(?<![\w.@#-])(?=[A-Za-z]{1,6}[0-9])(?:[A-Z][a-z]?[0-9]{0,2}){2,8}(?![\w@'])")
_ELEMENT = re.compile(r"[A-Z][a-z]?|[0-9]+")
_ION = re.compile(r"\b(?P<name>[A-Z][a-z]?)(?= ?[0-9]? (?:plus|minus)\b)")


def speak_acronyms(text: str) -> str:
    """`text` with acronyms as they are said. Never raises; linear in time."""
    if not any(char.isupper() for char in text):
        return text
    text = re.sub(r"\bIPv(?=[46]\b)", "I P v ", re.sub(r"\b([2-9])FA\b", r"\1 F A", text))
    text = _RUN.sub(_run, text)
    text = _ORGANISATION.sub(lambda match: f"{match['the'] or ''}W H O", text)
    text = _TICKER.sub(lambda match: apart(match["ticker"]), text)
    text = _AMPERSAND.sub(_ampersand, text)
    text = _ION.sub(lambda match: apart(match["name"].upper()) if match["name"] in _CHEMISTRY else match.group(), text)
    text = _PLURAL.sub(_plural, text)
    text = _FORMULA.sub(_elements, _MIXED.sub(_elements, text))
    return _CAPITALS.sub(_capitals, text)


def apart(letters: str) -> str:
    """ "EPA" gives "E P A"."""
    return " ".join(letters)


def _run(match: re.Match[str]) -> str:
    """Two or more words in capitals: small letters where one of them is an everyday word, or most are long."""
    words = match.group().split(" ")
    bare = [re.sub(r"[^A-Z']", "", word) for word in words]
    sure = any(len(word) > 1 and word in _FUNCTION - _AMBIGUOUS for word in bare)
    everyday = sure or (len(bare) > 2 and sum(word in _FUNCTION for word in bare) > 1)
    if all(len(word) == 1 for word in bare):
        return match.group()
    long = sum(len(word) > 4 for word in bare)
    if not everyday and 2 * long <= len(bare):
        return match.group()
    said = [
        word
        if word_bare in _KEPT
        or (len(word_bare) == 1 and word_bare != "A")
        or (word_bare == "US" and (bare[k - 1] if k else "") not in _BEFORE_US)
        else word.lower()
        for k, (word, word_bare) in enumerate(zip(words, bare, strict=True))
    ]
    start = match.start() == 0 or match.string[max(0, match.start() - 2) : match.start()].strip()[-1:] in ".!?"
    joined = " ".join(said)
    return joined[0].upper() + joined[1:] if start and len(joined) > 1 else joined


def _ampersand(match: re.Match[str]) -> str:
    plural = f"'{match['s'].removeprefix(chr(39))}" if match["s"] else ""
    return f"{apart(match['a'])} and {apart(match['b'])}{plural}"


def _plural(match: re.Match[str]) -> str:
    name = match["name"]
    if name in _AS_WORDS:
        return name.lower() + match["s"]
    if match["s"] == "'s" and name not in _SPELLED and name.isupper():
        return match.group()
    if re.search("[AEIOUY]", name[1:-1]) and len(name) > 3 and name not in _SPELLED:
        return match.group()  # a word: NASAs
    return apart(name.upper()) + "'s"


def _capitals(match: re.Match[str]) -> str:
    name = match.group()
    if name in _SPELLED:
        return apart(name)
    return name.lower() if name in _AS_WORDS - {"NASA", "NATO"} else name


def _elements(match: re.Match[str]) -> str:
    """NaCl gives N A C L, CO2 gives C O 2: every element by its letters, when all are elements."""
    token = match.group()
    parts = _ELEMENT.findall(token)
    elements = [part for part in parts if not part.isdigit()]
    small = any(len(part) == 2 for part in elements)
    if "".join(parts) != token or not all(part in _CHEMISTRY for part in elements) or len(elements) < 2:
        return match.group()
    if not small and not any(part.isdigit() for part in parts):
        return match.group()
    if token in ("NaN", "HeLa", "CoV") or (not small and re.fullmatch(r"[A-Z]{2,}[0-9]{2,}", token)):
        return match.group()
    return " ".join(part if part.isdigit() else apart(part.upper()) for part in parts)
