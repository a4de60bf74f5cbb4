"""A plain, well-made EPUB 3 of a book that is none: a file for each chapter, a nav, a title, nothing left out."""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from tts_fm.book.document import Book, Chapter, Paragraph
from tts_fm.book.html import RULE
from tts_fm.files import writing

DATE = (1980, 1, 1, 0, 0, 0)  # of every file in the zip, so that the same book is the same bytes
STYLE = """body { line-height: 1.5; margin: 1em; }
h1, h2 { text-align: center; margin: 2em 0 1em; line-height: 1.2; }
p { margin: 0; text-indent: 1.2em; }
h2 + p, hr + p, .verse, .plain li { text-indent: 0; }
.verse { margin: 1em 2em; }
.plain { list-style: none; padding-left: 1.5em; }
hr { width: 30%; margin: 1.5em auto; }
"""
CONTAINER = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="EPUB/package.opf" media-type="application/oebps-package+xml"/></rootfiles></container>\n'
)


def make_epub(book: Book, path: Path, modified: str) -> None:
    """Write the EPUB, and tell every paragraph of the book which file it is in now. modified: 2020-01-31T00:00:00Z."""
    language = book.language or "en"
    documents: dict[str, str] = {}
    for number, chapter in enumerate(book.chapters, 1):
        name = f"chapter-{number:04d}.xhtml"
        documents[name] = page(chapter.full_title, "\n".join(elements(chapter)), language)
        chapter.paragraphs = _placed(chapter.paragraphs, f"EPUB/{name}")
    with writing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        add(archive, "mimetype", b"application/epub+zip", stored=True)
        add(archive, "META-INF/container.xml", CONTAINER.encode())
        add(archive, "EPUB/package.opf", package(book, list(documents), language, modified).encode())
        add(archive, "EPUB/nav.xhtml", nav(book, list(documents), language).encode())
        add(archive, "EPUB/style.css", STYLE.encode())
        if book.cover is not None:
            add(archive, f"EPUB/{cover_name(book)}", book.cover[0], stored=True)
        for name, text in documents.items():
            add(archive, f"EPUB/{name}", text.encode())


def add(archive: zipfile.ZipFile, name: str, data: bytes, stored: bool = False) -> None:
    """One file, without the time of day."""
    info = zipfile.ZipInfo(name, DATE)
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def elements(chapter: Chapter) -> Iterator[str]:
    """The paragraphs of a chapter as XHTML."""
    in_list = False
    for k, paragraph in enumerate(chapter.paragraphs):
        if in_list and paragraph.kind != "item":
            yield "</ul>"
            in_list = False
        text = "<br/>".join(escape(line) for line in clean(paragraph.text).split("\n"))
        if paragraph.kind == "scene":
            yield "<hr/>"
        elif paragraph.kind == "heading":
            level = 2 if k == 0 else 3
            yield f"<h{level}>{text}</h{level}>"
        elif paragraph.kind == "item":
            if not in_list:
                yield '<ul class="plain">'
                in_list = True
            yield f"<li>{text}</li>"
        elif paragraph.kind == "quote":
            yield f"<blockquote><p>{text}</p></blockquote>"
        else:
            yield f'<p class="verse">{text}</p>' if paragraph.kind == "verse" else f"<p>{text}</p>"
    if in_list:
        yield "</ul>"


def _placed(paragraphs: list[Paragraph], document: str) -> list[Paragraph]:
    """Numbers as html.walk will give them: what has no letters and is no rule is passed over."""
    placed, number = [], 0
    for paragraph in paragraphs:
        placed.append(replace(paragraph, document=document, number=number))
        counts = any(c.isalnum() for c in paragraph.text) or bool(RULE.fullmatch(paragraph.text))
        number += paragraph.kind == "scene" or counts
    return placed


def clean(text: str) -> str:
    """Without the characters that XML forbids."""
    return "".join(
        c for c in text if c in "\t\n" or (c >= "\x20" and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )


def page(title: str, body: str, language: str, head: str = "") -> str:
    """An XHTML document."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" '
        f"lang={quoteattr(language)} xml:lang={quoteattr(language)}>\n"
        f"<head><title>{escape(clean(title)) or 'Untitled'}</title>"
        f'<link rel="stylesheet" type="text/css" href="style.css"/>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'
    )


def nav(book: Book, names: list[str], language: str) -> str:
    """The table of contents."""
    entries = "\n".join(
        f'<li><a href="{name}">{escape(clean(chapter.full_title))}</a></li>'
        for name, chapter in zip(names, book.chapters, strict=True)
    )
    return page("Contents", f'<nav epub:type="toc" id="toc"><h2>Contents</h2><ol>\n{entries}\n</ol></nav>', language)


def cover_name(book: Book) -> str:
    """The name of the cover's file."""
    return "cover.png" if book.cover is not None and book.cover[1] == "image/png" else "cover.jpg"


def package(book: Book, names: list[str], language: str, modified: str) -> str:
    """The package document."""
    digest = hashlib.sha256("\0".join(p.text for p in book.paragraphs()).encode("utf-8", "replace")).hexdigest()
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"tts_fm:{book.title}:{digest}")
    items = [f'<item id="c{k}" href="{name}" media-type="application/xhtml+xml"/>' for k, name in enumerate(names, 1)]
    if book.cover is not None:
        items.append(
            f'<item id="cover" href="{cover_name(book)}" properties="cover-image" media-type="{book.cover[1]}"/>'
        )
    spine = "".join(f'<itemref idref="c{k}"/>' for k in range(1, len(names) + 1))
    creator = f"<dc:creator>{escape(clean(book.author))}</dc:creator>" if book.author else ""
    access = "".join(
        f'<meta property="schema:{key}">{value}</meta>'
        for key, value in (
            ("accessMode", "textual"), ("accessMode", "auditory"), ("accessModeSufficient", "textual"),
            ("accessibilityFeature", "synchronizedAudioText"), ("accessibilityFeature", "tableOfContents"),
            ("accessibilityHazard", "none"),
        )
    )  # fmt: skip
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" '
        f"xml:lang={quoteattr(language)}>\n"
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">urn:uuid:{name}</dc:identifier><dc:title>{escape(clean(book.title))}</dc:title>'
        f"{creator}<dc:language>{escape(language)}</dc:language>"
        f'<meta property="dcterms:modified">{modified}</meta>{access}</metadata>\n'
        '<manifest><item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        f'<item id="style" href="style.css" media-type="text/css"/>{"".join(items)}</manifest>\n'
        f"<spine>{spine}</spine>\n</package>\n"
    )
