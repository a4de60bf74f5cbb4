"""An EPUB's table of contents, and the chapters that it makes of the paragraphs: by files, anchors, parts, levels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tts_fm.book import html
from tts_fm.book.document import BookError, Chapter, Paragraph
from tts_fm.book.epub import OPF, Item, Package
from tts_fm.book.structure import finished
from tts_fm.text.headings import head_of

DEEPEST = 8  # levels of a table of contents
MOST_POINTS = 20_000  # entries of it
NCX = "{http://www.daisy.org/z3986/2005/ncx/}"
_SILENT = (
    (re.compile(r"(?:table of )?contents|landmarks|list of (?:illustrations|figures|tables|maps)", re.I), "contents"),
    (re.compile(r"copyright.*|legal(?: notice)?|imprint", re.I), "copyright"),
    (re.compile(r"(?:foot|end)?notes", re.I), "notes"),
    (re.compile(r"(?:general )?index", re.I), "index"),
    (re.compile(r"(?:selected )?bibliography|references|works cited", re.I), "bibliography"),
    (re.compile(r".*project gutenberg.*licen[cs]e.*", re.I), "licence"),
)  # fmt: skip
_FRONT = re.compile(
    r"cover|(?:half[- ]?)?title(?:[- ]?page)?|dedication|epigraph|also by.*|praise for.*|frontispiece", re.IGNORECASE
)
_BACK = re.compile(
    r"about the (?:author|publisher).*|also by.*|newsletter|acknowledge?ments|back cover|colophon", re.IGNORECASE
)


@dataclass
class Point:
    """An entry of the table of contents."""

    title: str
    path: str
    anchor: str
    depth: int
    children: int = 0


def contents_of(package: Package, nav: Item | None) -> list[Point]:
    """The table of contents, flat, in order: the nav of EPUB 3, else the ncx of EPUB 2."""
    if nav is not None:
        root = package.tree(nav)
        navs = [e for e in root.iter() if html.local(e) == "nav"]
        chosen = next((e for e in navs if "toc" in (e.get(html.EPUB_TYPE) or "").split()), navs[0] if navs else None)
        points: list[Point] = []
        if chosen is not None:
            for child in chosen:
                if html.local(child) in ("ol", "ul"):
                    _nav_points(package, child, nav.path, 0, points)
        if points:
            return points
    spine = next(package.opf.iter(f"{OPF}spine"), None)
    ncx = package.items.get(spine.get("toc") or "") if spine is not None else None
    ncx = ncx or next((i for i in package.items.values() if i.media == "application/x-dtbncx+xml"), None)
    points = []
    if ncx is not None:
        try:
            root = package.xml(ncx.path)
        except BookError as error:
            package.notes.append(str(error))
            return []
        for child in root.iter(f"{NCX}navMap"):
            _ncx_points(package, child, ncx.path, 0, points)
    return points


def _nav_points(package: Package, items: Any, base: str, depth: int, points: list[Point]) -> None:
    if depth >= DEEPEST:
        return
    for item in items:
        if len(points) > MOST_POINTS:
            return
        link = next((e for e in item if html.local(e) in ("a", "span")), None)
        inner = next((e for e in item if html.local(e) in ("ol", "ul")), None)
        at = len(points)
        if link is not None:
            path, anchor = package.resolve(link.get("href") or "", base) if link.get("href") else ("", "")
            points.append(Point(" ".join("".join(link.itertext()).split()), path, anchor, depth))
        if inner is not None:
            _nav_points(package, inner, base, depth + 1, points)
            if link is not None:
                points[at].children = sum(p.depth == depth + 1 for p in points[at + 1 :])


def _ncx_points(package: Package, parent: Any, base: str, depth: int, points: list[Point]) -> None:
    if depth >= DEEPEST:
        return
    for item in parent.iterchildren(f"{NCX}navPoint"):
        if len(points) > MOST_POINTS:
            return
        content = item.find(f"{NCX}content")
        label = " ".join("".join(item.itertext(f"{NCX}text")).split()) if depth >= DEEPEST - 1 else _label(item)
        path, anchor = package.resolve(content.get("src") or "", base) if content is not None else ("", "")
        at = len(points)
        points.append(Point(label, path, anchor, depth))
        _ncx_points(package, item, base, depth + 1, points)
        points[at].children = sum(p.depth == depth + 1 for p in points[at + 1 :])


def _label(item: Any) -> str:
    label = item.find(f"{NCX}navLabel")
    return " ".join("".join(label.itertext()).split()) if label is not None else ""


def chapters_by_contents(paragraphs: list[Paragraph], points: list[Point], package: Package) -> list[Chapter]:
    """Chapters of a table of contents; none where more than half of its entries lead nowhere."""
    first: dict[str, int] = {}
    anchors: dict[tuple[str, str], int] = {}
    for i, paragraph in enumerate(paragraphs):
        first.setdefault(paragraph.document, i)
        for name in paragraph.ids:
            anchors.setdefault((paragraph.document, name), i)
    placed: list[tuple[int, Point]] = []
    lost = [p for p in points if p.path and p.path not in first]
    for point in reversed(points):
        at = anchors.get((point.path, point.anchor)) if point.anchor else None
        at = first.get(point.path) if at is None else at
        if at is None and not point.path and point.children and placed and placed[-1][1].depth > point.depth:
            at = placed[-1][0]  # a part that is only named, <span>Part One</span>, begins with its first chapter
        if at is not None:
            placed.append((at, point))
    placed.reverse()
    if lost:
        package.notes.append(
            f"{len(lost)} of {len(points)} entries of the contents lead nowhere, such as {lost[0].title[:40]!r}"
        )
    if not placed or 2 * len(lost) > len(points):
        return []
    starts = _chapter_points(sorted(placed, key=lambda pair: pair[0]), paragraphs)
    bounds = sorted(starts)
    if not bounds:
        return []
    chapters = []
    if bounds[0] > 0:
        chapters += _untitled(paragraphs[: bounds[0]], "front")
    for start, end in zip(bounds, [*bounds[1:], len(paragraphs)], strict=True):
        name, part = starts[start]
        chapters.append(Chapter(name, "body", paragraphs[start:end], part=part))
    return finished(_classified(chapters))


def _chapter_points(placed: list[tuple[int, Point]], paragraphs: list[Paragraph]) -> dict[int, tuple[str, str]]:
    """Which entries are chapters (index -> title, part): the outermost ones, and those inside a part."""
    starts: dict[int, tuple[str, str]] = {}
    part, depth_of_part, chapter_depth = "", -1, 0
    for k, (at, point) in enumerate(placed):
        if point.depth <= depth_of_part:
            part, depth_of_part, chapter_depth = "", -1, point.depth
        if point.depth > chapter_depth and part == "":
            continue  # a section of a chapter
        if part and point.depth > depth_of_part + 1:
            continue
        following = next((i for i, _ in placed[k + 1 :] if i > at), len(paragraphs))
        own = sum(p.words for p in paragraphs[at:following] if p.skip is None) if point.path else 0
        head = head_of(point.title)
        if point.children and (own < 60 or (head is not None and head.kind == "part" and own < 400)):
            part, depth_of_part = point.title, point.depth
            starts.setdefault(at, (point.title, ""))
        else:
            if (
                part
                and all(p.words < 60 for p in paragraphs[max(starts) : at])
                and starts.get(max(starts), ("", ""))[0] == part
            ):
                opened = max(starts)  # the part's title page opens its first chapter
                starts.pop(opened)
                at = opened
            starts.setdefault(at, (point.title or "Untitled", part))
    return starts


def _untitled(paragraphs: list[Paragraph], kind: str) -> list[Chapter]:
    """What no entry names, a chapter for each document."""
    chapters: list[Chapter] = []
    for paragraph in paragraphs:
        if not chapters or chapters[-1].paragraphs[-1].document != paragraph.document:
            chapters.append(Chapter("", kind))
        chapters[-1].paragraphs.append(paragraph)
    for chapter in chapters:
        heading = next((p.text for p in chapter.paragraphs if p.kind == "heading"), "")
        chapter.title = " ".join(heading.split())[:80]
    return [c for c in chapters if any(p.text for p in c.paragraphs)]


def _classified(chapters: list[Chapter]) -> list[Chapter]:
    """Front, body and back by what titles and the documents' own roles say."""
    for chapter in chapters:
        title = chapter.title.strip(" .:")
        if chapter.skip is None:
            chapter.skip = next((reason for pattern, reason in _SILENT if pattern.fullmatch(title)), None)
    body = [
        k
        for k, c in enumerate(chapters)
        if c.kind == "body"
        and not _FRONT.fullmatch(c.title)
        and not _BACK.fullmatch(c.title)
        and c.skip is None
        and c.spoken
    ]
    for k, chapter in enumerate(chapters):
        outer = bool(
            _FRONT.fullmatch(chapter.title) or _BACK.fullmatch(chapter.title) or chapter.skip or not chapter.spoken
        )
        if body and outer:
            chapter.kind = "front" if k < body[0] else "back" if k > body[-1] else chapter.kind
    return chapters
