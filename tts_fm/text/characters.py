"""One spelling for characters that look alike: quotes, dashes, spaces, digits of other scripts, raised and full-width
forms.

`clean` comes first of all rules, `tidy` last; `drop_pictures` takes out what no voice says, such as emoji. A
character is never judged by more than itself here, but for a raised number after a letter or digit.
"""

from __future__ import annotations

import re
import unicodedata

_LOOK_ALIKE = {
    "º": "°", "№": " number ", "™": " ", "®": " ", "©": " copyright ", "℠": " ", "…": "...",
    "´": "'", "`": "'", "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"',
    "‟": '"', "«": '"',
    "»": '"', "‹": "'", "›": "'", "″": '"', "′": "'", "＇": "'", "＂": '"', "‐": "-", "‑": "-",
    "‒": "–", "―": "—",
    "﹣": "-", "⸺": "—", "¿": "", "¡": "", "\u00ad": "", "\u200b": "", "\u200d": "", "\ufeff": "", "[": "(",
    "]": ")",
    "{": "(", "}": ")", "\u2044": "⁄", "。": ". ", "，": ", ", "、": ", ", "！": "! ", "？": "? ", "⁠": "",
}  # fmt: skip
_FIRST = str.maketrans(_LOOK_ALIKE)
_SPACED_THOUSANDS = re.compile(r"(?<=[0-9])[\u00a0\u2009\u202f\u2007](?=[0-9]{3}(?![0-9]))")
_VULGAR = re.compile(r"(?<=[0-9]) ?(?=[\u00bc-\u00be\u2150-\u215e\u2189])")
_RAISED_DIGITS = "\u2070\u00b9\u00b2\u00b3\u2074-\u2079"
_CHARGE = re.compile(
    rf"(?<=[A-Za-z0-9)\u2080-\u2089])(?P<n>[{_RAISED_DIGITS}]?)(?P<sign>[\u207a\u207b])(?![{_RAISED_DIGITS}])"
)
_FOOTNOTE = re.compile(
    rf"(?<=[^\W\d_][.,;:!?)\"'”’])[{_RAISED_DIGITS}]{{1,3}}|(?<=[a-z]{{3}})[\u00b9\u2074-\u2079](?!\w)"
)
_GROUPED = re.compile(  # the power of a bracket, which is no footnote
    rf"(?P<group>\((?:[a-zA-Z]|[^()\s]{{1,20}} ?[-+−*/=] ?[^()\s]{{1,20}})\))(?P<n>[{_RAISED_DIGITS}]{{1,3}})"
)
_RAISED = re.compile(rf"(?<=[A-Za-z0-9)μµ])[\u207b{_RAISED_DIGITS}]+|[\u207b{_RAISED_DIGITS}]{{2,}}")
_NUMERO = re.compile(r"\bN[º°]\.? ?(?=[0-9])")


def clean(text: str) -> str:
    """NFKC, straight quotes, ASCII digits, ^2 for a raised 2, no controls, one space between words."""
    text = _SPACED_THOUSANDS.sub(",", text)
    text = _GROUPED.sub(lambda match: f"{match['group']}^{unicodedata.normalize('NFKC', match['n'])}", text)
    text = _FOOTNOTE.sub("", text)
    text = _CHARGE.sub(
        lambda m: f" {unicodedata.normalize('NFKC', m['n'])} {'plus' if m['sign'] == '⁺' else 'minus'} ", text
    )
    text = _RAISED.sub(lambda match: "^" + unicodedata.normalize("NFKC", match.group()), text)
    text = _VULGAR.sub(" ", _NUMERO.sub("number ", text).translate(_FIRST))
    text = unicodedata.normalize("NFKC", text).translate(_FIRST)
    if not text.isascii():
        text = "".join(map(_plain_char, re.sub(r"(?<=⁄[0-9])(?=[a-z])", " ", text)))
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())


def _plain_char(char: str) -> str:
    if char.isascii():
        return char
    category = unicodedata.category(char)
    if category[0] == "N":
        value = unicodedata.numeric(char)
        return str(int(value)) if category == "Nd" or value < 10 else f" {int(value)} "
    return " " if category in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else char


def tidy(text: str) -> str:
    """One space between words, none before a closing mark, no commas in a row."""
    line = " ".join(text.split())
    line = re.sub(r" (?=[,;:.!?)](?![^\W_]))", "", line)
    line = re.sub(r"([,;:])(?:[,;:])+", r"\1", line)
    line = re.sub(r"[,;:]+(?=[.!?])", "", line)
    line = re.sub(r"(?<=[(]) | (?=\))|\(\)", "", line)
    return re.sub(r" (?=[,;:.!?](?: |$))", "", " ".join(line.split()))


def drop_pictures(text: str, keep: str = "LM") -> str:
    """Of what is not ASCII only the categories in `keep` stay (never emoji); the rest becomes spaces."""
    if text.isascii():
        return text

    def stays(char: str) -> bool:
        return char.isascii() or char in "—–" or char >= "\U000f0000" or unicodedata.category(char)[0] in keep

    text = "".join(char if stays(char) else " " for char in text)
    return re.sub(
        r"[\u2600-\u27bf\ufe00-\ufe0f\U0001f000-\U0001faff]|(?<![^\W_])[\u0300-\u036f\u20d0-\u20ff]+", " ", text
    )
