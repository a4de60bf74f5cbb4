"""Signs that stand between words, said in words: & @ % + = § -> and the operators of mathematics and of code.

`speak_operators` comes before numbers are read (>= <= != == && || ** ^n, minus between numbers); `speak_signs`
after, and turns dashes into commas. Marks that only set type (* _ ~ ^) are silent.
"""

from __future__ import annotations

import re

_SIGNS = {
    "&": "and", "@": "at", "%": "percent", "‰": "per mille", "+": "plus", "=": "equals", "§": "section",
    "¶": "paragraph", "×": "times", "÷": "divided by", "±": "plus or minus", "∓": "minus or plus",
    "≈": "approximately",
    "≠": "is not equal to", "≤": "less than or equal to", "≥": "greater than or equal to", "∞": "infinity",
    "√": "square root of", "∛": "cube root of", "∑": "the sum of", "∏": "the product of",
    "∫": "the integral of",
    "∂": "partial", "∇": "nabla", "∆": "delta", "°": "degrees", "∝": "is proportional to",
    "≡": "is equivalent to",
    "≪": "is much less than", "≫": "is much greater than", "∀": "for all", "∃": "there exists", "∈": "in",
    "∉": "not in", "⊂": "is a subset of", "⊆": "is a subset of", "∪": "union", "∩": "intersection",
    "∧": "and",
    "∨": "or", "¬": "not", "∅": "the empty set", "∴": "therefore", "∵": "because", "∼": "about",
    "⊥": "perpendicular to", "∥": "parallel to", "∠": "angle", "⇔": "if and only if", "↔": "if and only if",
    "⋅": "times", "∘": "of", "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "¢": "cent", "₹": "rupee",
    "₿": "bitcoin", "−": "minus", "Ω": "ohm", "₺": "lira", "₪": "shekel", "₴": "hryvnia",
    "₽": "ruble", "₩": "won",
    "₫": "dong", "₱": "peso", "₦": "naira", "฿": "baht", "₸": "tenge", "\\": "backslash", "♯": "sharp",
    "♭": "flat",
    "♀": "female", "♂": "male", "†": " ", "‡": " ",
}  # fmt: skip
_SIGN = re.compile("|".join(map(re.escape, _SIGNS)))
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψωςϕϵ",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon "
        "phi chi psi omega sigma phi epsilon".split(),
        strict=True,
    )
)
_GREEK_LETTER = re.compile(r"(?<![\u0370-\u03ff\u1f00-\u1fff])[\u0391-\u03c9ϕϵ](?![\u0370-\u03ff\u1f00-\u1fff])")
_TERM = r"[\w)°!\]]"
_LETTER = r"(?<![\w'])[A-Za-z](?![\w'])"
_OPERATORS = [
    (re.compile(pattern), said)
    for pattern, said in (
        (r"(?<=\w) ?(?P<sign>[-+*/])=(?= ?[\w(])", r" \g<sign> equals"),
        (r"(?<=\w) - equals", " minus equals"),
        (r"(?<=\w) \* equals", " times equals"),
        (r"(?<=\w) / equals", " divided by equals"),
        (r"(?<=\b[b-z])--(?=$|[;),]| [)<=])", " minus minus"),
        (r"^!(?=[a-z_]\w{0,40}\b(?! [a-z]))", "not "),
        (r"\bSELECT \*", "SELECT star"),
        (r"(?<!\S)\*\.(?=[a-z]{1,5}\b)", "star dot "),
        (r"(?<=\b[0-9a-z]) % (?=(?:[0-9]{1,3}|[b-hj-z])\b)", " mod "),
        (r"(?<=\w) // (?=\w)", " slash slash "),
        (rf"(?:(?<={_LETTER})|(?<=∞)) ?(?:→|⟶|->) ?(?={_LETTER}|∞|[0-9])", " to "),
        (r"(?<=[\w)])<(?=\.?[0-9])|(?<=\b[a-z])<(?=[a-z]\b)", " less than "),
        (r"(?<=[\w)])>(?=\.?[0-9])|(?<=\b[a-z])>(?=[a-z]\b)", " greater than "),
        (r"(?<![\w|])\|(?P<inside>[^|\s]{1,12}|\w [-+] \w)\|(?![\w|])", r"the absolute value of \g<inside>"),
        (r"\b(?P<f>[fghFGP])(?P<prime>'{0,2})\((?P<x>[a-zA-Z]|[0-9]{1,3}|[a-z], ?[a-z])\)", None),
        (r"\bd(?P<y>[a-z])/d(?P<x>[a-z])\b", r"d \g<y> by d \g<x>"),
        (r"∂(?P<y>[a-zA-Z])/∂(?P<x>[a-zA-Z])\b", r"partial \g<y> over partial \g<x>"),
        (r"(?<=[\w)] )d(?P<x>[txyzuθ])(?=$|[.,;=)]| =)", r"d \g<x>"),
        (r" ?(?:>=|≥|⩾) ?", " greater than or equal to "),
        (r" ?(?:<=|≤|⩽)(?!>) ?", " less than or equal to "),
        (r" ?(?:!==?|≠|<>)(?=[ \w\"'(.-]) ?(?=\S)", " is not equal to "),
        (r"(?<=[\w)\]\"']) ?={2,3} ?(?=[\w(\"'-])", " equals "),
        (r" ?&& ?", " and "),
        (r"(?<=[ (])!(?=[a-z(])", "not "),
        (r"(?<=[\w)]) ?\|\| ?(?=[\w(!])", " or "),
        (r"(?<=[\w)]) ?\*\* ?(?=[\w(-])", "^"),
        (r"(?<=[0-9a-zA-Z)])\^(?:\((?P<n>[a-zA-Z])\)|(?P<m>[a-zA-Z])(?!\w))", r" to the \g<n>\g<m> "),
        (r"(?<=[0-9a-zA-Z)])\^\((?P<n>[^()\n]{1,40})\)", r" to the power of \g<n> "),
        (r"(?<=[a-zA-Z)])\^(?P<n>\+|-)(?!\w)", r" \g<n> "),
        (r"(?<=[0-9]) / (?=[0-9])|(?<=[\w)]) ÷ (?=[\w(])|(?<=\b[a-z]) ?/ ?(?=[a-z] ?=)", " divided by "),
        (r"(?<=[0-9][a-z]) [-−] (?=[0-9]{1,9}[a-z]?\b)", " minus "),
        (r"(?<=[0-9])-(?=[0-9]{1,9}(?:\.[0-9]{1,9})? ?=)", " minus "),
        (
            r"(?<=\b[a-zA-Z]) [-−] (?=[a-zA-Z0-9](?:[ )=,.]|$))|(?<=\b[a-zA-Z] )[-−](?= [0-9])"
            r"|(?<=[0-9] )[-−](?= [a-zA-Z](?:[ )=,.]|$))",
            " minus ",
        ),
        (r"(?<=\w) ?<{2} ?(?=\w)", " is much less than "),
        (r"(?<!\w)<(?=[$£€]?\.?[0-9])", " less than "),
        (r"(?<![-=\w])>(?=[$£€]?\.?[0-9])", " more than "),
        (r"(?<!\w)#(?=[0-9])", "number "),
        (r"(?<=\b[0-9])!(?= ?=)|(?<=\b[nkm])!(?= ?[=/)+*×]|$)", " factorial "),
    )
]
_COMMAND = re.compile(
    r"(?:^|\b)(?:git|npm|npx|pip3?|sudo|docker|curl|wget|grep|chmod|mkdir|ffmpeg|conda|kubectl|apt-get|brew|rsync"
    r"|tts-fm|ls|rm|cp|mv|tar|python3?|node|make|cargo|ssh)(?: [\w./:=-]{1,60}){0,8} --?[a-zA-Z]|^--[a-z][\w-]{1,40}$"
)
_FLAG = re.compile(r"(?:(?<= )|^)(?P<dashes>--?)(?=[a-zA-Z][\w-]{0,40}(?:$|[ =.,;:)]))")
_RULES = [
    (re.compile(pattern), said)
    for pattern, said in (
        (r"\bC\+\+", "C plus plus"),
        (r"\b([A-G])#(?!\w)", r"\1 sharp"),
        (r"§§ ?", "sections "),
        (r"(?<!\w)[:;]['-]?[)(DP](?!\w)", " "),
        (r"(?<= )/ ", ", "),
        (r"#(?=[^\W_])", " hashtag "),
        (r"#", " hash "),
        (r"&c\.?(?!\w)", "et cetera"),
        (r"\*{1,3}|(?<!\w)_{1,3}|_{1,3}(?!\w)|~~", " "),
        (r"<-{1,4}>?|(?<!-)-{1,4}>|(?<!=)={1,4}>|[→⇒⟶]", ", "),
        (r"~ ?(?=\w)", " about "),
        (r"(?<=\w) < (?=\w)", " less than "),
        (r"(?<=\w) > (?=\w)", " greater than "),
        (r"[<>|/_^~]", " "),
        (r" ?—+ ?| ?–+ ?| ?-{2,} ?| -(?= )|(?<=\w)- | -(?=\w)", ", "),
        (r"[•‣·]", ", "),
    )
]


def speak_operators(text: str) -> str:
    """`text` with operators of two signs, powers and comparisons in words. Linear in time."""
    if not re.search(r"[<>=&|*^/#!÷≥≤≠−(∫∂→%-]", text):
        return text
    for pattern, said in _OPERATORS:
        text = pattern.sub(_of if said is None else said, text)
    if _COMMAND.search(text):
        text = _FLAG.sub(lambda match: "dash " * len(match["dashes"]), text)
    return text


def _of(match: re.Match[str]) -> str:
    """f(x) is "f of x", f'(x) "f prime of x"."""
    primes = " prime" if match["prime"] == "'" else " double prime" if match["prime"] else ""
    return f"{match['f']}{primes} of {match['x']}"


def speak_signs(text: str) -> str:
    """`text` without signs: said, turned into a comma, or silent. Linear in time."""
    for pattern, said in _RULES:
        text = pattern.sub(said, text)
    if not text.isascii():
        text = _GREEK_LETTER.sub(lambda match: f" {_GREEK.get(match.group().lower(), match.group())} ", text)
    return _SIGN.sub(lambda match: f" {_SIGNS[match.group()]} ", text)
