"""HTML and XHTML become paragraphs: one walk over the tree that the reader and the writer of overlays share.

`walk` gives the paragraphs of a document with the runs of text that they are made of, so that the writer can find the
words of a paragraph in the tree again. Trees come from `parse`, which loads nothing, expands nothing and has limits.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tts_fm.book.document import BookError, Paragraph, Span
from tts_fm.errors import MissingDependency
from tts_fm.text.plain import count_words

INLINE = frozenset(
    "a abbr acronym b bdi bdo big br button cite code data del dfn em font i img input ins kbd label mark q rb s samp "
    "small span strike strong sub sup time tt u var wbr ruby".split()
)
NEVER = frozenset("script style head template noscript svg math iframe object video audio rt rp canvas select".split())
RULE = re.compile(r"(?:[*·•~#_=—–⁂❦☙❧◆◇○●§+∗-]\s*){1,60}")
EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"
SSML_PH = "{http://www.w3.org/2001/10/synthesis}ph"
SSML_ALPHABET = "{http://www.w3.org/2001/10/synthesis}alphabet"
ROLES = {
    "toc": "contents", "landmarks": "contents", "page-list": "page numbers", "loi": "contents", "lot": "contents",
    "lov": "contents", "loa": "contents", "footnote": "notes", "footnotes": "notes", "endnote": "notes",
    "endnotes": "notes", "rearnote": "notes", "rearnotes": "notes", "noteref": "notes", "backlink": "notes",
    "pagebreak": "page numbers", "index": "index", "bibliography": "bibliography", "biblioentry": "bibliography",
    "copyright-page": "copyright", "imprint": "copyright",
}  # fmt: skip
_CLASSES = (
    (re.compile(r"\b(?:page-?num(?:ber)?s?|page-?no|pgnum|pagebreak)\b", re.IGNORECASE), "page numbers"),
    (re.compile(r"\b(?:foot-?notes?|end-?notes?|fnanchor|noteref)\b", re.IGNORECASE), "notes"),
    (re.compile(r"\b(?:pg-?boilerplate|pg-?header|pg-?footer|pg-machine-header)\b", re.IGNORECASE), "licence"),
    (re.compile(r"\b(?:toc|table-of-contents)\b", re.IGNORECASE), "contents"),
)  # fmt: skip
_POEM = re.compile(r"\b(?:poem|poetry|verse|stanza|linegroup|lg|z3998:verse)\b", re.IGNORECASE)
_STANZA = re.compile(r"\b(?:stanza|linegroup|lg)\b", re.IGNORECASE)
_MARK = re.compile(r"\s*[\[(]?(?:[0-9]{1,4}|[a-z]|\*{1,3}|[†‡§¶]{1,2})[\])]?\s*")


@dataclass
class Run:
    """Text of one node: `element.text` or `element.tail`; made up by the reader where element is None."""

    element: Any
    where: str  # "text" or "tail"
    text: str
    mark: str | None = None  # why it is not spoken
    ipa: str | None = None


@dataclass
class Context:
    """What the elements around a text say about it."""

    kind: str = "paragraph"
    level: int = 0
    skip: str | None = None
    role: str = ""
    lines: bool = False  # blocks inside are lines of verse
    pre: bool = False


@dataclass
class Walker:
    """Collects runs until a block ends."""

    made: list[tuple[Paragraph, list[Run]]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def visit(self, element: Any, context: Context, mark: str | None = None, ipa: str | None = None) -> None:
        """Everything inside an element, but not its tail."""
        tag = local(element)
        if tag in NEVER or tag is None:
            return
        if name := element.get("id") or (element.get("name") if tag == "a" else None):
            self.ids.append(name)
        if tag == "br":
            self.runs.append(Run(None, "", "\n", mark))
            return
        if tag == "hr":
            self.flush(context)
            self.made.append((Paragraph("scene", "* * *", skip=context.skip), []))
            return
        if tag in INLINE:
            mark = mark or inline_reason(element, tag)
            ipa = ipa or phones_of(element)
            self.inside(element, context, mark, ipa)
            return
        if context.lines and tag in ("p", "div"):
            self.inside(element, context, mark, ipa)
            self.runs.append(Run(None, "", "\n", mark))
            return
        if tag in ("td", "th") and context.kind == "row":
            self.inside(element, context, mark, ipa)
            self.runs.append(Run(None, "", ", ", mark))
            return
        self.flush(context)
        inner = inside_of(element, tag, context)
        self.inside(element, inner, mark, ipa)
        self.flush(inner)

    def inside(self, element: Any, context: Context, mark: str | None, ipa: str | None) -> None:
        if element.text:
            self.runs.append(Run(element, "text", element.text, mark, ipa))
        for child in element:
            self.visit(child, context, mark, ipa)
            if child.tail:
                self.runs.append(Run(child, "tail", child.tail, mark, ipa))

    def flush(self, context: Context) -> None:
        """End a paragraph, if there is one."""
        runs, self.runs = self.runs, []
        text, spans = assemble(runs, context.pre)
        if not any(char.isalnum() for char in text) and not RULE.fullmatch(text):
            return
        kind = "paragraph" if context.kind == "row" else context.kind
        if RULE.fullmatch(text):
            kind, spans = "scene", ()
        elif kind == "paragraph" and "\n" in text:
            lines = text.split("\n")
            kind = "verse" if sum(len(line) for line in lines) / len(lines) < 60 else kind
        if kind not in ("verse", "heading"):
            text = text.replace("\n", " ")
        ids, self.ids = tuple(self.ids), []
        self.made.append(
            (Paragraph(kind, text, context.level, 0, context.skip, spans, 0, ids, role=context.role), runs)
        )


def walk(root: Any, skip: str | None = None) -> list[tuple[Paragraph, list[Run]]]:
    """The paragraphs of a document in order, each with its runs; skip: a reason that holds for all of it."""
    walker = Walker()
    body = next((e for e in root.iter() if local(e) == "body"), root)
    context = inside_of(body, "body", Context(skip=skip))
    walker.inside(body, context, None, None)
    walker.flush(context)
    if walker.ids and walker.made:  # anchors at the very end
        last, runs = walker.made[-1]
        walker.made[-1] = (Paragraph(**{**last.__dict__, "ids": (*last.ids, *walker.ids)}), runs)
    return walker.made


def assemble(runs: list[Run], pre: bool = False) -> tuple[str, tuple[Span, ...]]:
    """The text of runs with white space collapsed as a browser does it, and its stretches with marks."""
    text, spans = "", []
    for run in runs:
        if run.element is None:
            text = text.rstrip(" ") + run.text if text.strip() else text
            continue
        piece = run.text if pre else re.sub(r"[ \t\r\n\f]+", " ", run.text)
        if not text or text[-1] in " \n":
            piece = piece.lstrip(" ")
        if piece and (run.mark or run.ipa):
            spans.append(Span(len(text), len(text) + len(piece), run.mark or "ipa", "" if run.mark else run.ipa or ""))
        text += piece
    whole = re.sub(r"(?:\s|, (?=\n|$))+$", "", text)
    start = len(whole) - len(whole.lstrip())
    whole = whole[start:]
    spans = [Span(max(0, s.start - start), min(len(whole), s.end - start), s.kind, s.value) for s in spans]
    return whole, tuple(s for s in spans if s.start < s.end)


def inside_of(element: Any, tag: str, outer: Context) -> Context:
    """What is true inside a block element."""
    classes = f"{element.get('class') or ''} {element.get('id') or ''}"
    types = f"{element.get(EPUB_TYPE) or ''} {(element.get('role') or '').replace('doc-', '')}".split()
    skip = outer.skip or block_reason(element, tag, classes, types)
    kind, level, lines, pre = outer.kind, 0, outer.lines, outer.pre
    if re.fullmatch(r"h[1-6]", tag):
        kind, level = "heading", int(tag[1])
    elif tag in ("li", "dt", "dd"):
        kind = "item"
    elif tag == "blockquote" and kind != "verse":
        kind = "quote"
    elif tag == "pre":
        kind, pre = "verse", True
    elif tag == "tr":
        kind = "row"
    elif tag in ("td", "th", "body", "section", "article") and kind == "heading":
        kind = "paragraph"
    if _POEM.search(classes) or "z3998:poem" in types or "z3998:verse" in types:
        kind, lines = "verse", bool(_STANZA.search(classes))
    role = next((t for t in types if t), outer.role)
    return Context(kind, level, skip, role, lines, pre)


def block_reason(element: Any, tag: str, classes: str, types: list[str]) -> str | None:
    """Why a block is not spoken; None for one that is."""
    if "hidden" in element.attrib or re.search(r"display\s*:\s*none", element.get("style") or ""):
        return "hidden"
    for name in types:
        if name in ROLES:
            return ROLES[name]
    if tag == "nav":
        return "contents"
    if tag in ("aside", "figcaption") and tag == "figcaption":
        return "illustrations"
    return next((reason for pattern, reason in _CLASSES if pattern.search(classes)), None)


def inline_reason(element: Any, tag: str) -> str | None:
    """Why an inline element is not spoken: a note's mark, a page's number."""
    classes = f"{element.get('class') or ''} {element.get('id') or ''}"
    types = f"{element.get(EPUB_TYPE) or ''} {(element.get('role') or '').replace('doc-', '')}".split()
    if (reason := block_reason(element, tag, classes, types)) is not None:
        return reason
    if tag not in ("a", "sup"):
        return None
    text = "".join(element.itertext())
    if not _MARK.fullmatch(text):
        return None
    link = element if tag == "a" else next((e for e in [*element.iter(), element.getparent()] if local(e) == "a"), None)
    href = link.get("href") if link is not None else None
    number = text.strip().strip("[]()")
    if href is not None and "#" in href and not (tag == "a" and number.isalpha()):
        return "notes"
    return "notes" if tag == "sup" and not number.isalpha() and _after_word(element) else None


def _after_word(element: Any) -> bool:
    """Is a raised number behind a word or a sentence (a note), not behind a digit or a lone letter (a power)?"""
    before = element.getprevious()
    text = (before.tail if before is not None else element.getparent().text) or ""
    return bool(re.search(r"[^\W\d_]{2}[.,;:!?”’\"')]*$", text))


def phones_of(element: Any) -> str | None:
    """IPA of an ssml:ph attribute; None where there is none, or it is in an alphabet that we do not read."""
    phones = element.get(SSML_PH)
    if not phones:
        return None
    alphabet = next((e.get(SSML_ALPHABET) for e in [element, *element.iterancestors()] if e.get(SSML_ALPHABET)), "ipa")
    from tts_fm.text.lexicon import to_ipa

    return to_ipa(phones, alphabet)


def local(element: Any) -> str | None:
    """The name of an element without its namespace, in small letters; None for comments and the like."""
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else None


def parse(data: bytes, name: str, xml: bool) -> Any:
    """A tree of HTML, or of XHTML (xml) if it is well formed. BookError for entities of its own, and for what is no
    HTML.
    """
    etree = need_lxml()
    if xml:
        try:
            return parse_xml(data, name, entities=True)
        except BookError:
            raise
        except etree.XMLSyntaxError:
            pass
    parser = etree.HTMLParser(no_network=True, huge_tree=False, remove_comments=False, encoding=charset_of(data))
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BookError(
            f"{name} is no HTML that can be read ({error}); open it in a browser and save it anew"
        ) from None
    if root is None:
        raise BookError(f"{name} has no text in it; give a file with text")
    return root


def parse_xml(data: bytes, name: str, entities: bool = False) -> Any:
    """A tree of XML; nothing is loaded, nothing expanded. entities: HTML's names for characters are known.

    BookError where the document declares entities of its own; etree.XMLSyntaxError where it is not well formed.
    """
    etree = need_lxml()
    if re.search(rb"<!ENTITY", data[:100_000]) or b"<\x00!\x00E\x00N\x00T" in data[:100_000]:
        raise BookError(f"{name} declares XML entities of its own, which no book needs; it is not read")
    if entities and b"&" in data:
        data = re.sub(rb"&([A-Za-z][A-Za-z0-9]{1,31});", _character, data)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    return etree.fromstring(data, parser)


def _character(match: re.Match[bytes]) -> bytes:
    name = match[1].decode()
    text = html.entities.html5.get(f"{name};")
    if text is None or name in ("amp", "lt", "gt", "quot", "apos"):
        return match.group()
    return "".join(f"&#{ord(char)};" for char in text).encode()


def charset_of(data: bytes) -> str | None:
    """The encoding that a page declares; UTF-8 if it can be; None leaves it to the parser."""
    match = re.search(rb"charset\s*=\s*[\"']?([A-Za-z0-9_-]{2,40})", data[:4096])
    if match:
        return match[1].decode()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"


def words_in(root: Any) -> int:
    """Words of a document's body, counted apart from `walk`: all text, with a gap at the edge of every block."""
    parts: list[str] = []

    def collect(element: Any) -> None:
        tag = local(element)
        if tag in NEVER or tag is None:
            return
        gap = "" if tag in INLINE and tag != "br" else " "
        parts.append(gap + (element.text or ""))
        for child in element:
            collect(child)
            parts.append(child.tail or "")
        parts.append(gap)

    body = next((e for e in root.iter() if local(e) == "body"), root)
    collect(body)
    return count_words("".join(parts))


def need_lxml() -> Any:
    """lxml.etree, or MissingDependency."""
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingDependency(f'HTML and EPUB need lxml ({error}): pip install "tts-fm[book]"') from None
    return etree


def title_of(root: Any) -> str:
    """What <title> says."""
    return " ".join(next(("".join(e.itertext()) for e in root.iter() if local(e) == "title"), "").split())


def meta(root: Any, name: str) -> str:
    """What <meta name=...> says."""
    found: Iterator[str] = (
        e.get("content") or "" for e in root.iter() if local(e) == "meta" and (e.get("name") or "").lower() == name
    )
    return next(found, "").strip()
