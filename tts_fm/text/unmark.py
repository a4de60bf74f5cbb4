"""Markdown, HTML and LaTeX become plain text: links without their address, tags and footnote marks silent, formulas in
words.

`unmark` works on a whole text, since comments and fences span lines; what it does not know stays as it is. `say_tex`
reads the LaTeX that stands in ordinary texts (fractions, roots, powers, Greek letters, relations), not documents.
"""

from __future__ import annotations

import html
import re

_SILENT = re.compile(r"<(?P<tag>script|style)\b[^<>]{0,500}>[^<]{0,20000}</(?P=tag) ?>", re.IGNORECASE)
_LINE_TAG = re.compile(
    r"</?(?:p|div|li|ul|ol|h[1-6]|tr|table|blockquote|section|article|pre|hr|dd|dt)\b[^<>]{0,500}>", re.IGNORECASE
)
_TAG = re.compile(
    r"</?[a-zA-Z][\w:-]{0,30}(?: +[\w:-]{1,40}(?:=(?:\"[^\"<>]{0,500}\"|'[^'<>]{0,500}'"
    r"|[^\s\"'<>]{1,200}))?){0,20} ?/?>"
)
_NO_VALUE = re.compile(r"<[a-zA-Z][\w:-]{0,30}(?: +[\w:-]{1,40}){2,20} ?>")  # "if a <b and c> d" is no tag
_ENTITY = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
_BOX = re.compile(r"^([ \t]{0,20}[-*+][ \t]{1,4})\[[ xX]\][ \t]", re.MULTILINE)
_IMAGE = re.compile(r"!\[(?P<alt>[^\[\]\n]{0,300})\]\([^()\s]{0,1000}(?:[ \t]+\"[^\"\n]{0,200}\")?\)")
_LINK = re.compile(
    r"\[(?P<text>[^\[\]\n]{1,500})\](?:\((?:[^()\s]|\([^()\s]{0,200}\)){0,1000}(?:[ \t]+\"[^\"\n]{0,200}\")?\)"
    r"|\[[^\[\]\n]{0,100}\])"
)
_PICTURE = re.compile(
    r"<img\b[^<>]{0,500}?\balt=(?P<q>[\"'])(?P<alt>[^\"'<>]{1,300})(?P=q)[^<>]{0,500}>", re.IGNORECASE
)
_AUTO_LINK = re.compile(r"<(?P<url>(?:https?://|mailto:)[^<>\s]{1,1000})>")
_NOTE = re.compile(
    r"(?<!\\sqrt)(?:(?<=\S)|(?<=[^\W_] ))"
    r"(?:\[\^[^\[\]\s]{1,40}\]|(?:\[[0-9]{1,3}(?:[-–,;] ?[0-9]{1,3}){0,10}\]){1,5})(?!\()"
)
_CITES = r"\[[0-9]{1,3}(?:[-–,;] ?[0-9]{1,3}){0,10}\]"
_CITED = re.compile(rf" ?{_CITES}(?:(?:, ?| ?and |, and )?{_CITES}){{0,10}}(?=[ ,.;:!?)]|$)")
_LINK_LIST = re.compile(
    r"^[ \t]{0,3}\[[^\[\]\n]{1,100}\]:[ \t]+\S{1,1000}(?:[ \t]+\"[^\"\n]{0,200}\")?[ \t]*$", re.MULTILINE
)
_NOTE_TEXT = re.compile(r"^[ \t]{0,3}\[\^[^\[\]\n]{1,40}\]:[ \t]*", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]{0,12}(?:```|~~~)[\w+.#-]{0,20}[ \t]*$", re.MULTILINE)
_CODE = re.compile(r"(?P<ticks>`{1,3})(?P<code>[^`\n]{1,500})(?P=ticks)(?!`)")
_STRONG = re.compile(r"(?<![\w*])(?P<mark>\*{1,3})(?=[^\s*])(?P<text>[^*\n]{1,500}?)(?<=[^\s*])(?P=mark)(?![\w*])")
_UNDER = re.compile(r"(?<!\w)(?P<mark>_{1,3})(?=[^\s_])(?P<text>[^\n]{1,300}?)(?<=[^\s_])(?P=mark)(?!\w)")
_MARKED = re.compile(r"(?P<mark>~~|==)(?=[^\s=~])(?P<text>[^\n=~]{1,500}?)(?<=[^\s=~])(?P=mark)(?!=)")
_TABLE_RULE = re.compile(
    r"^[ \t]*\|?[ \t]*:?-{2,40}:?[ \t]*(?:\|[ \t]*:?-{2,40}:?[ \t]*){1,60}\|?[ \t]*$", re.MULTILINE
)
_TABLE_ROW = re.compile(r"^[ \t]*\|(?P<cells>[^\n]{1,2000})\|[ \t]*$", re.MULTILINE)


def unmark(text: str) -> str:
    """`text` without the marks of Markdown and HTML, and with formulas between dollars in words. Linear in time."""
    if "<" in text:
        text = _SILENT.sub(" ", _without_comments(text))
        text = re.sub(r"<br ?/?>", "\n", text, flags=re.IGNORECASE)
        text = re.sub(r"(?<!\w)<3(?![\w.])", "love", text)
        text = _AUTO_LINK.sub(lambda match: match["url"].removeprefix("mailto:"), text)
        text = _PICTURE.sub(lambda match: f" {match['alt']} ", text)
        text = _LINE_TAG.sub("\n\n", text)
        text = _TAG.sub(lambda match: match.group() if _NO_VALUE.fullmatch(match.group()) else "", text)
    if "[" in text:
        text = _NOTE_TEXT.sub("", _LINK_LIST.sub("", _BOX.sub(r"\1", text)))
        text = _LINK.sub(lambda match: match["text"], _IMAGE.sub(lambda match: match["alt"], text))
        text = _NOTE.sub("", _CITED.sub("", text))
    if "`" in text or "~~~" in text:
        text = _CODE.sub(_code, _FENCE.sub("", text))
    if "|" in text:
        text = _TABLE_ROW.sub(_row, _TABLE_RULE.sub("", text))
    if "*" in text or "_" in text or "~~" in text or "==" in text:
        for pattern in (_STRONG, _STRONG, _UNDER, _MARKED):
            text = pattern.sub(lambda match: match["text"], text)
    if "\\" in text or "$" in text:
        text = say_tex(text)
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text) if "&" in text else text


def _without_comments(text: str) -> str:
    """HTML comments, by their ends; one that does not end stays."""
    parts: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        parts += [text[at:start], " "]
        at = end + 3
    return "".join([*parts, text[at:]])


def _code(match: re.Match[str]) -> str:
    return match["code"].replace('"', " ").replace("'", " ") if len(match["ticks"]) == 3 else match["code"]


def _row(match: re.Match[str]) -> str:
    cells = [cell.strip() for cell in match["cells"].split("|")]
    return "- " + ", ".join(cell for cell in cells if cell)


_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron pi rho "
    "sigma tau "
    "upsilon phi varphi chi psi omega"
).split()
_WORDS = {
    "times": "times", "cdot": "times", "div": "divided by", "pm": "plus or minus", "mp": "minus or plus", "leq": "≤",
    "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠", "approx": "≈", "sim": "about",
    "equiv": "is equivalent to",
    "infty": "infinity", "partial": "partial", "nabla": "nabla", "sum": "the sum of", "prod": "the product of",
    "int": "the integral of", "lim": "the limit of", "to": "to", "rightarrow": "to", "Rightarrow": "implies",
    "in": "in", "notin": "not in", "subset": "is a subset of", "cup": "union", "cap": "intersection",
    "forall": "for all",
    "exists": "there exists", "ldots": "...", "dots": "...", "cdots": "...", "quad": " ", "qquad": " ", "left": "",
    "right": "", "circ": "°", "degree": "°", "log": "log", "ln": "natural log of", "sin": "sine", "cos": "cosine",
    "tan": "tangent", "exp": "exp", "max": "max", "min": "min", "propto": "is proportional to",
    "ll": "is much less than",
    "gg": "is much greater than", "mid": "given", "displaystyle": "", "textstyle": "", "limits": "", "%": "%", "&": "&",
    "$": "$", "#": "#", "_": "_", ",": " ", ";": " ", ":": " ", "!": "", "{": "(", "}": ")", "\\": " ",
}  # fmt: skip
_TEX = re.compile(
    r"(?<![\\\w$])\$\$?(?=[^\s$0-9]|[0-9.]+[^\s\w.,$-])(?P<inside>[^$\n]{1,500}?)(?<![\s\\])\$\$?(?![\w$])"
)
_TEX_BRACKETS = re.compile(r"\\[(\[](?P<inside>[^\\\n]{0,20}(?:\\[^)\]\n][^\\\n]{0,200}){0,60})\\[)\]]")
_ONE_LETTER = re.compile(r"(?<![\\\w$])\$(?P<inside>[a-zA-Z])\$(?![\w$])")
_BRACED = r"\{(?P<%s>[^{}\n]{1,200})\}"
_FRACTION = re.compile(r"\\[dt]?frac ?" + _BRACED % "top" + " ?" + _BRACED % "bottom")
_ROOT = re.compile(r"\\sqrt ?(?:\[(?P<order>[^\[\]\n]{1,20})\])? ?" + _BRACED % "of")
_STYLED = re.compile(
    r"\\(?:text|mathrm|mathbf|mathit|mathcal|mathbb|operatorname|textbf|textit|texttt|textsc|emph|overline"
    r"|underline|url|title|author|footnote|(?:sub){0,2}section\*?|chapter\*?|paragraph) ?" + _BRACED % "of"
)
_HREF = re.compile(r"\\href ?\{[^{}\n]{1,500}\} ?" + _BRACED % "of")
_DROPPED = re.compile(
    r"\\(?:begin|end|label|cite[tp]?|ref|eqref|pageref|usepackage|documentclass|bibliography|vspace|hspace) ?"
    r"(?:\[[^\[\]\n]{0,100}\])?(?:\{[^{}\n]{0,100}\}){1,2}|\\(?:maketitle|noindent|newpage|centering|item)\b"
)
_ACCENTED = re.compile(r"\\(?P<mark>vec|hat|bar|tilde|dot) ?" + _BRACED % "of")
_ACCENTS = {"hat": "{} hat", "bar": "{} bar", "tilde": "{} tilde", "dot": "{} dot", "vec": "vector {}"}
_TERM = r"(?:\{(?P<%s>[^{}\n]{1,80})\}|(?P<%s>\\?[a-zA-Z0-9]{1,10}))"
_FROM_TO = re.compile(
    r"\\(?P<what>sum|prod|int)(?:\\limits)? ?_ ?" + _TERM % ("low", "low1") + r" ?\^ ?" + _TERM % ("up", "up1")
)
_LIMIT = re.compile(r"\\lim(?:\\limits)? ?_ ?\{(?P<of>[^{}\n]{1,80})\}")
_POWER = re.compile(r"\^ ?" + _BRACED % "of")
_INDEX = re.compile(r"_ ?(?:" + _BRACED % "of" + r"|(?P<one>[a-zA-Z0-9]))")
_COMMAND = re.compile(r"\\(?P<name>[a-zA-Z]{1,20}|[%&$#_,;:!{}\\])")
_KNOWN = frozenset(_WORDS) | frozenset(_GREEK) | {name.capitalize() for name in _GREEK}


def say_tex(text: str) -> str:
    """`text` with its formulas in words: between dollars or \\( \\), and bare commands such as \\frac{1}{2}."""
    if "$" in text:
        text = _ONE_LETTER.sub(lambda match: f" {match['inside']} ", text)
        text = _TEX.sub(
            lambda match: _formula(match["inside"]) if _is_formula(match["inside"]) else match.group(), text
        )
    if "\\" not in text:
        return text
    text = _TEX_BRACKETS.sub(lambda match: _formula(match["inside"]), text)
    return _commands(text)


def _is_formula(inside: str) -> bool:
    """Between two dollar signs may also stand "5 and ": a formula has a command, a power, an operator or one letter."""
    return bool(re.search(r"\\[a-zA-Z]|[\^_=+<>]|^[a-zA-Z]$", inside)) and not re.search(
        r"[a-z]{3,} [a-z]{3,} [a-z]{3,}", inside
    )


def _formula(inside: str) -> str:
    inside = _INDEX.sub(lambda match: f" sub {match['of'] or match['one']} ", _commands(inside))
    inside = re.sub(r"(?<=[\w)])[ ]{0,3}-[ ]{0,3}(?=[\w(])", " minus ", inside)
    return f" {inside} "


def _commands(text: str) -> str:
    text = _DROPPED.sub(" ", _HREF.sub(lambda match: match["of"], text))
    text = _ACCENTED.sub(lambda match: f" {_ACCENTS[match['mark']].format(match['of'])} ", text)
    text = _FROM_TO.sub(_from_to, text)
    text = _LIMIT.sub(lambda match: f" the limit as {_goes(match['of'])} of ", text)
    for _ in range(3):  # nested three deep
        text = _STYLED.sub(lambda match: match["of"], text)
        text = _ROOT.sub(_root, text)
        text = _FRACTION.sub(_fraction, text)
    text = _POWER.sub(lambda match: f"^{match['of'].strip()} ", text)
    return _COMMAND.sub(_command, text)


def _from_to(match: re.Match[str]) -> str:
    low, up = match["low"] or match["low1"], match["up"] or match["up1"]
    return f" {_WORDS[match['what']].removesuffix(' of')} from {low} to {up} of "


def _goes(limit: str) -> str:
    return limit.replace("\\to", " goes to ").replace("\\rightarrow", " goes to ")


def _root(match: re.Match[str]) -> str:
    order = {None: "square", "3": "cube"}.get(match["order"]) or f"{match['order']}th"
    return f" the {order} root of {match['of']} "


def _fraction(match: re.Match[str]) -> str:
    top, bottom = match["top"].strip(), match["bottom"].strip()
    if top.isdigit() and bottom.isdigit() and len(top) < 4 and len(bottom) < 4:
        return f" {top}⁄{bottom} "
    return f" {top} over {bottom} "


def _command(match: re.Match[str]) -> str:
    name = match["name"]
    if name not in _KNOWN:
        return match.group()
    return f" {_WORDS.get(name, name.removeprefix('var'))} "
