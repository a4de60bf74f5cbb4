"""The book itself, read aloud word by word: an EPUB 3 with Media Overlays.

Every word that is spoken gets a span with an id; a SMIL file for each document says which stretch of which sound file
it is. Nothing else of the book changes, but what EPUB 3 asks of an EPUB 2. Clips follow each other without gaps, so
that the pauses are heard.
"""

from __future__ import annotations

import posixpath
import shutil
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tts_fm.book import html
from tts_fm.book.document import Book
from tts_fm.book.epub import OPF, Item, Package, open_epub
from tts_fm.book.make_epub import DATE, add, make_epub
from tts_fm.book.plan import BookPlan
from tts_fm.book.sound import Mark, SoundFile
from tts_fm.book.upgrade import to_epub_3
from tts_fm.book.write import Ready, Written, sounds
from tts_fm.files import writing

XHTML = "{http://www.w3.org/1999/xhtml}"
ACTIVE = "-epub-media-overlay-active"
STYLE = f".{ACTIVE} {{ background-color: #ffe08a; color: #000; }}\n"
PREFIX = "heard"  # of the ids of words and of the files that are added


@dataclass
class Clip:
    """A word of a document and where it is in a sound file."""

    number: int  # of the paragraph in its document
    token: int  # of the word in its paragraph
    audio: str  # name of the file
    start: float
    end: float


@dataclass
class Overlay:
    """What is added to an EPUB."""

    clips: dict[str, list[Clip]] = field(default_factory=dict)  # by document
    audio: list[tuple[str, Path, float]] = field(default_factory=list)  # name, file, seconds


def write_epub(
    plan: BookPlan,
    book: Book,
    work: Path,
    out: Path,
    source: Path,
    narrator: str = "",
    ready: Ready | None = None,
) -> Written:
    """The book as an EPUB with overlays; a text, Markdown or HTML becomes an EPUB first."""
    try:
        return _write(plan, book, work, out, source, narrator, ready)
    finally:
        for path in work.glob(f"{PREFIX}-*.mp3"):
            path.unlink(missing_ok=True)


def _write(
    plan: BookPlan, book: Book, work: Path, out: Path, source: Path, narrator: str, ready: Ready | None
) -> Written:
    made = Written([out])
    modified = datetime.fromtimestamp(int(source.stat().st_mtime), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    base = source
    if book.kind != "epub":
        base = work / "plain.epub"
        make_epub(book, base, modified)
    overlay = Overlay()
    for number, chapter in enumerate(sounds(plan, work, ready)):
        name = f"{PREFIX}-{number + 1:04d}.mp3"
        with SoundFile(work / name, "mp3") as file:
            for block in chapter.blocks():
                file.write(block)
        paragraphs = plan.chapters[number].paragraphs
        for k, word in enumerate(chapter.words):
            start = word.start if k else max(0.0, word.start - 0.05)
            end = chapter.words[k + 1].start if k + 1 < len(chapter.words) else chapter.seconds
            place = paragraphs[word.paragraph]
            clip = Clip(place.number, word.token, name, start, max(end, start + 0.001))
            overlay.clips.setdefault(place.document, []).append(clip)
        overlay.audio.append((name, work / name, chapter.seconds))
        made.marks.append(Mark(chapter.title, made.seconds, made.seconds + chapter.seconds))
        made.seconds += chapter.seconds
        chapter.forget()
    package = open_epub(base)
    with package.zip:
        _assemble(package, overlay, out, narrator, modified)
    return made


def _assemble(package: Package, overlay: Overlay, out: Path, narrator: str, modified: str) -> None:
    """Copy the book with its new documents, SMIL files and sounds."""
    root = posixpath.dirname(package.opf_path)
    changed, upgraded = {}, to_epub_3(package)
    smils: dict[str, tuple[str, bytes, float]] = {}  # document -> name, SMIL, seconds
    for number, item in enumerate(package.spine, 1):
        clips = overlay.clips.get(item.path)
        if not clips and not upgraded:
            continue
        tree = package.tree(item)
        if clips:
            ids = mark_words(tree, clips)
            name = f"{PREFIX}-{number:04d}.smil"
            smils[item.path] = (name, smil(item.path, root, clips, ids), sum(c.end - c.start for c in clips))
            link_style(
                tree, posixpath.relpath(posixpath.join(root, f"{PREFIX}.css"), posixpath.dirname(item.path) or ".")
            )
        changed[item.path] = serialise(tree, upgraded)
    changed.update(upgraded)
    edit_package(package, overlay, smils, narrator, modified)
    changed[package.opf_path] = serialise(package.opf)
    with writing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        add(archive, "mimetype", b"application/epub+zip", stored=True)
        _copy(package, archive, changed)
        for name, data, _ in smils.values():
            add(archive, posixpath.join(root, name), data)
        add(archive, posixpath.join(root, f"{PREFIX}.css"), STYLE.encode())
        for name, path, _ in overlay.audio:
            info = zipfile.ZipInfo(posixpath.join(root, name), DATE)
            info.external_attr = 0o644 << 16
            info.file_size = path.stat().st_size
            with archive.open(info, "w") as target, open(path, "rb") as file:
                shutil.copyfileobj(file, target, 1 << 20)


def _copy(package: Package, archive: zipfile.ZipFile, changed: dict[str, bytes]) -> None:
    """Every file of the book once, the changed ones as they are now, new ones at the end."""
    done = {"mimetype"}
    for entry in package.zip.infolist():
        name = entry.filename
        if name in done or entry.is_dir():
            continue
        done.add(name)
        if name in changed:
            add(archive, name, changed[name])
            continue
        info = zipfile.ZipInfo(name, DATE)
        info.compress_type, info.external_attr = entry.compress_type, 0o644 << 16
        info.file_size = entry.file_size
        with package.zip.open(entry) as file, archive.open(info, "w") as target:
            shutil.copyfileobj(file, target, 1 << 20)
    for name in changed.keys() - done:
        add(archive, name, changed[name])


# ---- words in documents


def mark_words(tree: Any, clips: list[Clip]) -> dict[tuple[int, int], str]:
    """Put a span with an id around every word that has a clip; gives (paragraph, token) -> id."""
    wanted: dict[int, dict[int, str]] = {}
    ids: dict[tuple[int, int], str] = {}
    for clip in clips:
        if (clip.number, clip.token) not in ids:
            name = f"{PREFIX}{len(ids) + 1}"
            ids[clip.number, clip.token] = name
            wanted.setdefault(clip.number, {})[clip.token] = name
    space = XHTML if tree.tag.startswith("{") else ""
    found: set[str] = set()
    for number, (_, runs) in enumerate(html.walk(tree)):
        if number in wanted:
            found |= _mark_paragraph(runs, wanted[number], space)
    return {key: name for key, name in ids.items() if name in found}


def _mark_paragraph(runs: list[html.Run], names: dict[int, str], space: str) -> set[str]:
    """Wrap words of one paragraph; a word in several nodes is marked where most of it stands."""
    per_run: dict[int, list[tuple[int, int, str]]] = {}
    for number, pieces in enumerate(token_places(runs)):
        if number not in names:
            continue
        real = [piece for piece in pieces if runs[piece[0]].element is not None]
        if real:
            run, start, end = max(real, key=lambda piece: piece[2] - piece[1])
            per_run.setdefault(run, []).append((start, end, names[number]))
    for number, places in per_run.items():
        _wrap(runs[number], places, space)
    return {name for places in per_run.values() for _, _, name in places}


def token_places(runs: list[html.Run]) -> list[list[tuple[int, int, int]]]:
    """For each word between spaces the pieces of runs that it consists of: (run, start, end). As html.assemble reads
    them.
    """
    chars: list[tuple[str, int, int]] = []  # char, run, place in it
    for number, run in enumerate(runs):
        if run.element is None:
            if not any(not char.isspace() for char, _, _ in chars):
                continue
            while chars and chars[-1][0] == " ":
                chars.pop()
            chars += [(char, number, -1) for char in run.text]
        else:
            chars += [(" " if char in " \t\r\n\f" else char, number, at) for at, char in enumerate(run.text)]
    tokens: list[list[tuple[int, int, int]]] = []
    inside = False
    for char, number, at in chars:
        if char.isspace():
            inside = False
            continue
        if not inside:
            tokens.append([])
            inside = True
        if tokens[-1] and tokens[-1][-1][0] == number and at >= 0 and tokens[-1][-1][2] == at:
            tokens[-1][-1] = (number, tokens[-1][-1][1], at + 1)
        else:
            tokens[-1].append((number, at, at + 1))
    return tokens


def _wrap(run: html.Run, places: list[tuple[int, int, str]], space: str) -> None:
    """Turn stretches of a node's text into spans."""
    element, text = run.element, run.text
    places.sort()
    spans = []
    for k, (start, end, name) in enumerate(places):
        span = element.makeelement(f"{space}span", {"id": name})
        span.text = text[start:end]
        span.tail = text[end : places[k + 1][0] if k + 1 < len(places) else len(text)]
        spans.append(span)
    before = text[: places[0][0]]
    if run.where == "text":
        element.text = before
        for k, span in enumerate(spans):
            element.insert(k, span)
    else:
        element.tail = before
        parent = element.getparent()
        at = parent.index(element) + 1
        for k, span in enumerate(spans):
            parent.insert(at + k, span)


def link_style(tree: Any, href: str) -> None:
    """The style of the word that is heard, for documents that a reader shows with their own styles."""
    head = next((e for e in tree.iter() if html.local(e) == "head"), None)
    if head is not None:
        space = XHTML if tree.tag.startswith("{") else ""
        link = head.makeelement(f"{space}link", {"rel": "stylesheet", "type": "text/css", "href": href})
        head.append(link)


def serialise(tree: Any, upgraded: object = None) -> bytes:
    """XML with its declaration; the document type is HTML's where the book has been made EPUB 3."""
    etree = html.need_lxml()
    if not tree.tag.startswith("{") and html.local(tree) == "html" and "xmlns" not in tree.attrib:
        tree.set("xmlns", "http://www.w3.org/1999/xhtml")
    doctype = tree.getroottree().docinfo.doctype
    if html.local(tree) == "html" and (upgraded or "XHTML" in doctype):
        doctype = "<!DOCTYPE html>"
    return bytes(etree.tostring(tree, encoding="UTF-8", xml_declaration=True, doctype=doctype or None, with_tail=False))


# ---- SMIL and the package


def smil(document: str, root: str, clips: list[Clip], ids: dict[tuple[int, int], str]) -> bytes:
    """The overlay of one document, in the order of its words."""
    text = quote(posixpath.relpath(document, root or "."))
    lines = []
    for number, clip in enumerate(clips, 1):
        name = ids.get((clip.number, clip.token))
        if name is None:
            continue
        lines.append(
            f'<par id="p{number}"><text src="{text}#{name}"/>'
            f'<audio src="{clip.audio}" clipBegin="{clip.start:.3f}s" clipEnd="{clip.end:.3f}s"/></par>'
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<smil xmlns="http://www.w3.org/ns/SMIL" xmlns:epub="http://www.idpf.org/2007/ops" version="3.0">\n'
        f'<body epub:textref="{text}">\n' + "\n".join(lines) + "\n</body>\n</smil>\n"
    ).encode()


def edit_package(
    package: Package, overlay: Overlay, smils: dict[str, tuple[str, bytes, float]], narrator: str, modified: str
) -> None:
    """Name the new files, tie overlays to documents, and say how long it all is and who reads."""
    opf = package.opf
    metadata, manifest = next(opf.iter(f"{OPF}metadata")), next(opf.iter(f"{OPF}manifest"))
    for element in list(metadata):
        if element.get("property", "").startswith(("media:", "dcterms:modified")):
            metadata.remove(element)
    for element in manifest:
        element.attrib.pop("media-overlay", None)

    def meta(name: str, value: str, refines: str | None = None) -> None:
        element = metadata.makeelement(f"{OPF}meta", {"property": name, **({"refines": refines} if refines else {})})
        element.text = value
        metadata.append(element)

    def item(id: str, href: str, media: str) -> None:
        manifest.append(manifest.makeelement(f"{OPF}item", {"id": id, "href": href, "media-type": media}))

    meta("dcterms:modified", modified)
    by_path = {known.path: known for known in package.items.values()}
    elements = {element.get("id"): element for element in manifest if isinstance(element.tag, str)}
    for number, (document, (name, _, seconds)) in enumerate(smils.items(), 1):
        item(f"{PREFIX}-smil{number}", name, "application/smil+xml")
        elements[_id_of(by_path, document)].set("media-overlay", f"{PREFIX}-smil{number}")
        meta("media:duration", clock(seconds), f"#{PREFIX}-smil{number}")
    for number, (name, _, _) in enumerate(overlay.audio, 1):
        item(f"{PREFIX}-audio{number}", name, "audio/mpeg")
    item(f"{PREFIX}-style", f"{PREFIX}.css", "text/css")
    meta("media:duration", clock(sum(seconds for _, _, seconds in smils.values())))
    meta("media:active-class", ACTIVE)
    if narrator:
        meta("media:narrator", narrator)


def _id_of(by_path: dict[str, Item], document: str) -> str:
    return by_path[document].id


def clock(seconds: float) -> str:
    """1:02:03.456"""
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
