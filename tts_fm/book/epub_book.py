"""An EPUB 2 or 3 becomes a Book: its spine is the reading order, its nav or ncx names the chapters."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from tts_fm.book import html
from tts_fm.book.contents import chapters_by_contents, contents_of
from tts_fm.book.document import Book, BookError, Paragraph
from tts_fm.book.epub import DC, OPF, Item, Package, open_epub
from tts_fm.book.structure import chapters_of, mark_asides, mark_licence
from tts_fm.text.lexicon import parse_pls


def read_epub(path: Path, heads: re.Pattern[str] | None = None) -> Book:
    """The book. Chapters are those of its table of contents, or of its headings where that leads nowhere."""
    package = open_epub(path)
    with package.zip:
        title, author, language = metadata(package)
        paragraphs: list[Paragraph] = []
        nav = next((i for i in package.items.values() if "nav" in i.properties.split()), None)
        words = 0
        for item in package.spine:
            root = package.tree(item)
            package.trees[item.path] = root
            words += html.words_in(root)
            silent = "contents" if item is nav else None
            made = [replace(p, document=item.path, number=k) for k, (p, _) in enumerate(html.walk(root, silent))]
            paragraphs += made or [Paragraph("scene", "", document=item.path)]
        package.notes = package.notes[:20]
        points = contents_of(package, nav)
        marked = mark_asides(mark_licence(paragraphs))
        chapters = chapters_by_contents(marked, points, package) if heads is None else []
        if not chapters:
            if points and heads is None:
                package.notes.append("the table of contents leads nowhere; chapters are those of the headings")
            chapters = chapters_of(marked, heads, title)
        book = Book(title or path.stem, chapters, author, language, notes=package.notes, words=words)
        book.cover = _cover(package)
        for item in package.items.values():
            if item.media == "application/pls+xml":
                _read_pls(package, item, book)
    return book


def metadata(package: Package) -> tuple[str, str, str]:
    """Title, authors, language."""

    def all_of(name: str) -> list[Any]:
        return [e for e in package.opf.iter(f"{DC}{name}") if (e.text or "").strip()]

    refined, roles = (
        {
            e.get("refines", "")[1:]: (e.text or "").strip()
            for e in package.opf.iter(f"{OPF}meta")
            if e.get("property") == what
        }
        for what in ("title-type", "role")
    )
    titles = all_of("title")
    main = [e for e in titles if refined.get(e.get("id", "")) == "main"] or titles
    title = " ".join((main[0].text or "").split()) if main else ""
    creators = [e for e in all_of("creator") if (roles.get(e.get("id", "")) or e.get(f"{OPF}role") or "aut") == "aut"]
    author = ", ".join(" ".join((e.text or "").split()) for e in creators)
    language = next((" ".join(e.text.split()) for e in all_of("language")), "")
    return title, author, language


def _cover(package: Package) -> tuple[bytes, str] | None:
    item = next((i for i in package.items.values() if "cover-image" in i.properties.split()), None)
    if item is None:
        named = next((e.get("content") for e in package.opf.iter(f"{OPF}meta") if e.get("name") == "cover"), None)
        item = package.items.get(named or "")
    if item is None or item.media not in ("image/jpeg", "image/png"):
        return None
    try:
        return package.read(item.path, 16 << 20), item.media
    except BookError:
        return None


def _read_pls(package: Package, item: Item, book: Book) -> None:
    try:
        book.lexicon += parse_pls(package.read(item.path, 8 << 20), item.path)
    except ValueError as error:
        book.notes.append(str(error))
