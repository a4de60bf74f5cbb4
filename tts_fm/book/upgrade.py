"""What EPUB 3 asks of an EPUB 2 before it may carry overlays: a nav, attributes that are now elements, HTML's document
type.
"""

from __future__ import annotations

import posixpath
import re
from html import escape
from typing import Any
from urllib.parse import quote

from tts_fm.book import html
from tts_fm.book.contents import Point, contents_of
from tts_fm.book.epub import OPF, Package

NAV = "heard-nav.xhtml"
_OLD = ("role", "file-as", "scheme", "event")


def to_epub_3(package: Package) -> dict[str, bytes]:
    """Make the package document of an EPUB 2 one of EPUB 3; gives the files that are added. Nothing for an EPUB 3."""
    opf = package.opf
    if not (opf.get("version") or "").startswith("2"):
        return {}
    opf.set("version", "3.0")
    metadata = next(opf.iter(f"{OPF}metadata"))
    for name in ("dc-metadata", "x-metadata"):  # of OEBPS 1.2
        for wrapper in list(metadata.iter(f"{OPF}{name}")):
            for child in list(wrapper):
                metadata.append(child)
            wrapper.getparent().remove(wrapper)
    _refine(metadata)
    manifest = next(opf.iter(f"{OPF}manifest"))
    attributes = {"id": "heard-nav", "href": NAV, "properties": "nav", "media-type": "application/xhtml+xml"}
    manifest.append(manifest.makeelement(f"{OPF}item", attributes))
    for guide in list(opf.iter(f"{OPF}guide")):
        opf.remove(guide)
    cover = next((e.get("content") for e in metadata.iter(f"{OPF}meta") if e.get("name") == "cover"), None)
    for element in manifest:
        if cover and element.get("id") == cover and (element.get("media-type") or "").startswith("image/"):
            element.set("properties", "cover-image")
    root = posixpath.dirname(package.opf_path)
    return {posixpath.join(root, NAV): _nav(package, contents_of(package, None), root).encode()}


def _refine(metadata: Any) -> None:
    """opf:role="aut" becomes <meta refines="#..." property="role">."""
    count = 0
    for element in list(metadata):
        for name in _OLD:
            value = element.attrib.pop(f"{OPF}{name}", None)
            if value is None or name not in ("role", "file-as"):
                continue
            count += 1
            id = element.get("id") or f"heard-meta{count}"
            element.set("id", id)
            more = {"property": name, "refines": f"#{id}"}
            if name == "role":
                if not re.fullmatch(r"[a-z]{3}", value):
                    continue
                more["scheme"] = "marc:relators"
            meta = metadata.makeelement(f"{OPF}meta", more)
            meta.text = value
            metadata.append(meta)


def _nav(package: Package, points: list[Point], root: str) -> str:
    """The contents of the ncx as a nav; the documents of the spine where there is none."""
    known = {item.path for item in package.spine}
    placed = [p for p in points if p.path in known and p.title]
    if not placed:
        placed = [Point(f"Part {k}", item.path, "", 0) for k, item in enumerate(package.spine, 1)]
    lines = []
    for point in placed:
        anchor = f"#{quote(point.anchor)}" if point.anchor and _has_anchor(package, point) else ""
        href = quote(posixpath.relpath(point.path, root or ".")) + anchor
        lines.append(f'<li><a href="{href}">{escape(point.title)}</a></li>')
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" '
        'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>Contents</title></head><body>'
        '<nav epub:type="toc"><h1>Contents</h1><ol>\n' + "\n".join(lines) + "\n</ol></nav></body></html>\n"
    )


def _has_anchor(package: Package, point: Point) -> bool:
    item = next(i for i in package.spine if i.path == point.path)
    if item.path not in package.trees:
        package.trees[item.path] = {e.get("id") for e in package.tree(item).iter() if html.local(e)}
    return point.anchor in package.trees[item.path]
