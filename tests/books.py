"""Small books for the tests of book/: texts and EPUBs made here, word for word."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path
from urllib.parse import quote

LAMP = (
    "The keeper had not slept for two nights, since the lamp would not burn without him and the boat with the new "
    "glass was late. He sat on the stairs and counted the waves."
)
BOAT = "On the third day the boat came into the harbour with the glass, with letters, and with a cat called Dinah."
END = "“So you are here,” he said to the cat. “Then the winter may come.” And it came."


def wrapped(*paragraphs: str, width: int = 66) -> str:
    return "\n\n".join(textwrap.fill(p, width) for p in paragraphs)


def gutenberg(chapters: list[tuple[str, str]], contents: str = "", end: str = "\r\n") -> bytes:
    """A text as Project Gutenberg makes it, with a licence before and after."""
    body = "\n\n\n\n".join(f"{head}\n\n{text}" for head, text in chapters)
    text = (
        "The Project Gutenberg EBook of The Lamp, by A. Keeper\n\nThis eBook is for the use of anyone.\n\n"
        "Title: The Lamp\n\nAuthor: A. Keeper\n\nLanguage: English\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK THE LAMP ***\n\n\n\nTHE LAMP\n\nby A. Keeper\n\n\n\n"
        f"{contents}{body}\n\n\n\nEnd of the Project Gutenberg EBook of The Lamp, by A. Keeper\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK THE LAMP ***\n\nSection 1. You may copy it.\n"
    )
    return b"\xef\xbb\xbf" + text.replace("\n", end).encode()


def page(body: str, title: str = "x", attributes: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" '
        f'xmlns:ssml="http://www.w3.org/2001/10/synthesis" {attributes}><head><title>{title}</title></head>'
        f"<body>{body}</body></html>"
    )


def epub(
    path: Path,
    documents: dict[str, str],
    nav: str | None = None,
    ncx: str | None = None,
    spine: list[str] | None = None,
    extra: dict[str, bytes] | None = None,
    manifest: str = "",
    title: str = "The Lamp",
) -> Path:
    """An EPUB of XHTML bodies. nav: the <ol> of an EPUB 3; ncx: the <navMap> of an EPUB 2."""
    files = {f"OEBPS/{name}": page(body).encode() for name, body in documents.items()}
    items = [f'<item id="d{k}" href="{quote(n)}" media-type="application/xhtml+xml"/>' for k, n in enumerate(documents)]
    toc = ""
    if nav is not None:
        files["OEBPS/nav.xhtml"] = page(f'<nav epub:type="toc"><h1>Contents</h1>{nav}</nav>').encode()
        items.append('<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>')
    if ncx is not None:
        files["OEBPS/toc.ncx"] = (
            '<?xml version="1.0"?><ncx xmlns="http://www.daisy.org/z3986/2005/ncx/" version="2005-1">'
            '<head><meta name="dtb:uid" content="urn:x:1"/></head>'
            f"<docTitle><text>x</text></docTitle><navMap>{ncx}</navMap></ncx>"
        ).encode()
        items.append('<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>')
        toc = ' toc="ncx"'
    order = spine if spine is not None else [f"d{k}" for k in range(len(documents))]
    refs = "".join(f'<itemref idref="{name}"/>' for name in order)
    opf = (
        '<?xml version="1.0" encoding="utf-8"?><package xmlns="http://www.idpf.org/2007/opf" '
        f'version="{"3.0" if nav is not None else "2.0"}" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">urn:x:1</dc:identifier>'
        f"<dc:title>{title}</dc:title><dc:creator>A. Keeper</dc:creator><dc:language>en</dc:language>"
        '<meta property="dcterms:modified">2020-01-01T00:00:00Z</meta></metadata>'
        f"<manifest>{''.join(items)}{manifest}</manifest><spine{toc}>{refs}</spine></package>"
    )
    files["OEBPS/package.opf"] = opf.encode()
    files["META-INF/container.xml"] = (
        b'<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        b'<rootfiles><rootfile full-path="OEBPS/package.opf" media-type="application/oebps-package+xml"/></rootfiles>'
        b"</container>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(zipfile.ZipInfo("mimetype"), "application/epub+zip")
        for name, data in {**files, **(extra or {})}.items():
            book.writestr(name, data)
    return path


def points(*entries: tuple[str, str]) -> str:
    """The <ol> of a nav."""
    return "<ol>" + "".join(f'<li><a href="{href}">{title}</a></li>' for title, href in entries) + "</ol>"
