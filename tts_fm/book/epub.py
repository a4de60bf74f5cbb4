"""An EPUB is opened: its package document, its files and its spine, with checks before anything is read.

The file is a zip from a stranger: names, sizes and XML are checked before anything is read, and nothing is unpacked to
disk. The reader (epub_book.py) and the writer of overlays build on it.
"""

from __future__ import annotations

import posixpath
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tts_fm.book import html
from tts_fm.book.document import BookError

MOST_FILES = 20_000
LARGEST_FILE = 64 << 20  # bytes of one document
LARGEST_BOOK = 2 << 30  # bytes of all of it, unpacked
OPF = "{http://www.idpf.org/2007/opf}"
DC = "{http://purl.org/dc/elements/1.1/}"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


@dataclass
class Item:
    """A file of the book."""

    id: str
    path: str  # in the zip
    media: str
    properties: str = ""


@dataclass
class Package:
    """An open EPUB."""

    name: str
    zip: zipfile.ZipFile
    opf_path: str
    opf: Any
    items: dict[str, Item] = field(default_factory=dict)  # by id
    spine: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trees: dict[str, Any] = field(default_factory=dict)

    def read(self, path: str, limit: int = LARGEST_FILE) -> bytes:
        """A file's bytes. BookError where there is none, or it is larger than it may be."""
        try:
            with self.zip.open(path) as file:
                data = file.read(limit + 1)
        except KeyError:
            raise BookError(f"{self.name} names {path}, which is not in it; download it again") from None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError, ValueError) as error:
            raise BookError(f"{self.name} is damaged at {path} ({error}); download it again") from None
        except Exception as error:  # zlib.error and the like have no common base
            raise BookError(f"{self.name} is damaged at {path} ({error}); download it again") from None
        if len(data) > limit:
            raise BookError(f"{self.name}: {path} unpacks to more than {limit >> 20} MB; this is no book")
        return data

    def xml(self, path: str) -> Any:
        etree = html.need_lxml()
        try:
            return html.parse_xml(self.read(path), f"{self.name}: {path}")
        except etree.XMLSyntaxError as error:
            raise BookError(
                f"{self.name}: {path} is no XML ({str(error).splitlines()[0]}); download it again"
            ) from None

    def tree(self, item: Item) -> Any:
        """The tree of a content document."""
        return html.parse(self.read(item.path), f"{self.name}: {item.path}", xml="xml" in item.media)

    def resolve(self, href: str, base: str) -> tuple[str, str]:
        """(path in the zip, anchor) of a link in the file `base`."""
        parts = urlsplit(href.strip())
        if parts.scheme or parts.netloc:
            return "", ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(parts.path))) if parts.path else base
        return path, unquote(parts.fragment)


def open_epub(path: Path) -> Package:
    """Check a zip and read its package document. BookError, in one line, for what is no EPUB or not safe to read."""
    name = path.name
    try:
        archive = zipfile.ZipFile(path)
        entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BookError(f"{name} is a damaged zip file ({error}); download it again") from None
    names = {entry.filename for entry in entries}
    check_zip(name, entries)
    if "META-INF/container.xml" not in names:
        word = next(
            (suffix for part, suffix in (("word/document.xml", ".docx"), ("content.xml", ".odt")) if part in names),
            None,
        )
        hint = (
            f"it is {word[1:].upper()}; convert it: pandoc {name} -o book.md"
            if word
            else "it has no META-INF/container.xml"
        )
        raise BookError(f"{name} is a zip file but no EPUB ({hint})")
    package = Package(name, archive, "", None)
    _refuse_drm(package, names)
    container = package.xml("META-INF/container.xml")
    root = next((e for e in container.iter() if html.local(e) == "rootfile"), None)
    if root is None or not root.get("full-path"):
        raise BookError(f"{name} does not say where its package document is; download it again")
    package.opf_path = posixpath.normpath(unquote(root.get("full-path")))
    if package.opf_path not in names:
        package.opf_path = root.get("full-path")
    package.opf = package.xml(package.opf_path)
    _read_manifest(package, names)
    return package


def check_zip(name: str, entries: list[zipfile.ZipInfo]) -> None:
    """BookError for zip bombs and for names that lead out of a folder."""
    if len(entries) > MOST_FILES:
        raise BookError(f"{name} has {len(entries):,} files; a book has at most {MOST_FILES:,}")
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_BOOK:
        raise BookError(
            f"{name} says that it unpacks to {total >> 20:,} MB; at most {LARGEST_BOOK >> 20:,} MB are read"
        )
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in parts[0] or "\0" in entry.filename:
            raise BookError(
                f"{name} has a file named {entry.filename[:60]!r}, which leads out of the book; it is not read"
            )
        if entry.file_size > 200 * max(entry.compress_size, 1) + (1 << 20) and entry.file_size > LARGEST_FILE // 4:
            raise BookError(
                f"{name}: {entry.filename[:60]} unpacks from nothing to {entry.file_size >> 20:,} MB; no book does"
            )
        if entry.flag_bits & 1:
            raise BookError(f"{name} is a zip file with a password; unlock it first")


def _refuse_drm(package: Package, names: set[str]) -> None:
    locked = {"META-INF/rights.xml", "META-INF/sinf.xml", "META-INF/license.lcpl"} & names
    if "META-INF/encryption.xml" in names:
        root = package.xml("META-INF/encryption.xml")
        methods = {e.get("Algorithm") for e in root.iter() if html.local(e) == "encryptionmethod"}
        locked |= {str(m) for m in methods if m not in _FONTS}
    if locked:
        raise BookError(f"{package.name} is encrypted (DRM), so it cannot be read; a copy without DRM works")


def _read_manifest(package: Package, names: set[str]) -> None:
    for element in package.opf.iter(f"{OPF}item"):
        path, _ = package.resolve(element.get("href") or "", package.opf_path)
        item = Item(element.get("id") or "", path, element.get("media-type") or "", element.get("properties") or "")
        package.items.setdefault(item.id, item)
    seen: set[str] = set()
    for element in package.opf.iter(f"{OPF}itemref"):
        spine_item = package.items.get(element.get("idref") or "")
        if spine_item is None or spine_item.path not in names:
            package.notes.append(f"the spine names {element.get('idref')!r}, which is not in the book")
        elif spine_item.path in seen:
            package.notes.append(f"the spine comes back to {spine_item.path}; it is read once")
        elif "html" in spine_item.media or spine_item.path.endswith((".html", ".xhtml", ".htm", ".xml")):
            package.spine.append(spine_item)
            seen.add(spine_item.path)
    if not package.spine:
        raise BookError(f"{package.name} has no text in its spine; download it again")
