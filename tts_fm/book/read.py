"""A file becomes a Book: which form it has, which encoding, what its title is; and what is no book is refused.

Forms: txt, md, html, epub, srt, vtt. Nothing of a book is ever run, loaded from elsewhere or written to disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tts_fm.book import html
from tts_fm.book.document import Book, BookError, Chapter, Paragraph
from tts_fm.book.structure import chapters_of, mark_asides
from tts_fm.errors import MissingDependency
from tts_fm.text.headings import looks_like_title
from tts_fm.text.plain import count_words, read_plain

FORMS = {
    ".txt": "txt", ".text": "txt", "": "txt", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html",
    ".xhtml": "html", ".epub": "epub", ".srt": "srt", ".vtt": "vtt",
}  # fmt: skip
LARGEST = 64 << 20  # bytes of a text; EPUBs have limits of their own
CONVERT = {
    ".pdf": "pdftotext {0} {1}.txt", ".docx": "pandoc {0} -o {1}.md", ".odt": "pandoc {0} -o {1}.md",
    ".rtf": "pandoc {0} -o {1}.md", ".doc": "soffice --convert-to epub {0}", ".tex": "pandoc {0} -o {1}.md",
    ".mobi": "ebook-convert {0} {1}.epub", ".azw": "ebook-convert {0} {1}.epub", ".azw3": "ebook-convert {0} {1}.epub",
    ".kfx": "ebook-convert {0} {1}.epub", ".fb2": "ebook-convert {0} {1}.epub", ".lit": "ebook-convert {0} {1}.epub",
    ".pdb": "ebook-convert {0} {1}.epub", ".djvu": "djvutxt {0} {1}.txt", ".ass": "ffmpeg -i {0} {1}.srt",
}  # fmt: skip
_MAGIC = (
    (b"%PDF", ".pdf"), (b"{\\rtf", ".rtf"), (b"\xd0\xcf\x11\xe0", ".doc"), (b"AT&TFORM", ".djvu"),
)  # fmt: skip
LANGUAGES = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "dutch": "nl",
    "portuguese": "pt", "finnish": "fi", "swedish": "sv", "danish": "da", "norwegian": "no", "polish": "pl",
    "latin": "la", "chinese": "zh",
}  # fmt: skip


def read_book(path: str | os.PathLike[str], pattern: str | None = None) -> Book:
    """Read a book. pattern: a regular expression for the heads of chapters, for texts in which they are not found.

    Raises BookError (a ValueError) in one line for what is no book; MissingDependency without the extra `[book]`.
    """
    path = Path(path)
    heads = _compiled(pattern)
    form = _form(path)
    if form == "epub":
        from tts_fm.book.epub_book import read_epub

        book = read_epub(path, heads)
    elif form in ("srt", "vtt"):
        from tts_fm.book.cues import read_cues

        text, encoding = decode(_bytes(path), path.name)
        book = read_cues(text, path.stem)
        book.encoding = encoding
    else:
        data = _bytes(path)
        text, encoding = decode(data, path.name)
        book = {"txt": _read_text, "md": _read_markdown, "html": _read_html}[form](text, data, path, heads)
        book.encoding = encoding
    book.source, book.kind = path.name, form
    if not any(chapter.spoken for chapter in book.chapters):
        raise BookError(f"{path} holds nothing that can be spoken; give a file with text")
    accounted = sum(book.account().values())
    if accounted != book.words:
        book.notes.append(f"{book.words:,} words are in the file, {accounted:,} were found: report this book as a bug")
    return book


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--chapter-pattern is no regular expression ({error}); for instance '^Day [0-9]+'") from None


def _form(path: Path) -> str:
    """Which of FORMS a file has, by its first bytes and its suffix. BookError for what has to be converted first."""
    if not path.is_file():
        raise BookError(f"{path} is a folder; give a file" if path.is_dir() else f"there is no file {path}")
    with open(path, "rb") as file:
        head = file.read(512)
    suffix = path.suffix.lower()
    if head[:2] == b"PK" and suffix not in CONVERT:
        return "epub"
    foreign = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    if head[60:68] == b"BOOKMOBI":
        foreign = ".mobi"
    if foreign is None and suffix in CONVERT:
        foreign = suffix
    if foreign is not None:
        name, stem = path.name, path.stem
        raise BookError(
            f"{path} is {foreign[1:].upper()}, which is not read; convert it: {CONVERT[foreign].format(name, stem)}"
        )
    if suffix == ".epub":
        raise BookError(f"{path} is no EPUB (it is not a zip file); download it again")
    if suffix not in FORMS:
        raise BookError(f"{path} has the suffix {suffix}; books are .txt, .md, .html, .epub, .srt or .vtt")
    return FORMS[suffix]


def _bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST:
        raise BookError(f"{path} has {size >> 20:,} MB; a text of up to {LARGEST >> 20} MB is read: split it")
    return path.read_bytes()


def decode(data: bytes, name: str) -> tuple[str, str]:
    """Text of any encoding, and the name of it. BookError for what is empty or no text."""
    if not data.strip():
        raise BookError(f"{name} is empty; give a file with text")
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return _decoded(data, encoding, name), encoding.removesuffix("-sig")
    for encoding, halves in (("utf-16-le", data[1:4096:2]), ("utf-16-be", data[:4096:2])):  # without a mark
        if len(data) % 2 == 0 and halves.count(0) > 0.8 * len(halves) and data[:4096].count(0) < 0.6 * len(data[:4096]):
            return _decoded(data, encoding, name), encoding
    if b"\0" in data or sum(byte < 9 or 13 < byte < 27 for byte in data[:65536]) > 8:
        raise BookError(f"{name} is not text but binary; books are .txt, .md, .html, .epub, .srt or .vtt")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MissingDependency(
            f'{name} is not UTF-8; its encoding is found with: pip install "tts-fm[book]" ({error})'
        ) from None
    best = from_bytes(data[: 1 << 20], threshold=0.4).best()
    encoding = best.encoding if best is not None else "cp1252"
    if encoding in (
        "cp1250",
        "cp1252",
        "latin_1",
        "iso8859_15",
        "cp858",
        "cp850",
        "cp437",
        "mac_roman",
        "cp1254",
        "cp775",
    ):
        above = [byte for byte in data if byte >= 0x80]
        dos = sum(0x80 <= b <= 0xA5 for b in above) > 0.9 * len(above) and encoding in ("cp437", "cp850", "cp858")
        encoding = encoding if dos or encoding == "mac_roman" else "cp1252"
    return _decoded(data, encoding, name), encoding.replace("_", "-")


def _decoded(data: bytes, encoding: str, name: str) -> str:
    try:
        return data.decode(encoding, "replace" if encoding == "cp1252" else "strict")
    except (UnicodeDecodeError, LookupError):
        raise BookError(f"{name} is not text in {encoding}; save it as UTF-8") from None


def _read_text(text: str, data: bytes, path: Path, heads: re.Pattern[str] | None) -> Book:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    blocks = read_plain(text)
    paragraphs = [Paragraph(b.kind, b.text, b.level, b.gap, hyphens=b.hyphens) for b in blocks]
    title, author, language = _header(text)
    book = Book(title or "", [], author, language, words=count_words(text.removeprefix("\ufeff")))
    from tts_fm.book.scripts import read_voices

    paragraphs = read_voices(paragraphs)
    book.chapters = chapters_of(paragraphs, heads, book.title or _stem(path))
    _name(book, path)
    return book


def _header(text: str) -> tuple[str, str, str]:
    """Title, author and language of a Project Gutenberg header; empty where there is none."""
    head = text[:6000]
    stop = re.search(r"^\*{3} ?START", head, re.MULTILINE)
    head = head[: stop.start()] if stop else ""
    found = {
        key: " ".join(match[1].split())
        for key in ("Title", "Author", "Language")
        if (match := re.search(rf"^{key}: *(.+(?:\n[ \t]+\S.*)*)", head, re.MULTILINE))
    }
    language = LANGUAGES.get(found.get("Language", "").lower(), "")
    return found.get("Title", ""), found.get("Author", ""), language


def _stem(path: Path) -> str:
    return " ".join(path.stem.replace("_", " ").split()) or "Untitled"


def _name(book: Book, path: Path) -> None:
    """Title and author from the title page where no header has them; the file's name is the last resort."""
    opening = [p for c in book.chapters[:3] if c.kind == "front" for p in c.paragraphs if p.skip is None][:6]
    if not book.title and opening and (opening[0].kind == "heading" or looks_like_title(opening[0].text)):
        book.title = " ".join(opening[0].text.split())
        for paragraph in opening[1:4]:
            if not book.author and (
                match := re.fullmatch(r"(?:written )?by[:\s]+(.{3,60})", paragraph.text, re.IGNORECASE)
            ):
                book.author = " ".join(match[1].split())
    book.title = book.title or _stem(path)
    for chapter in book.chapters:
        chapter.title = chapter.title or book.title


def _read_markdown(text: str, data: bytes, path: Path, heads: re.Pattern[str] | None) -> Book:
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingDependency(f'Markdown needs markdown-it-py ({error}): pip install "tts-fm[book]"') from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    matter = re.match(r"---\n(.{0,4000}?)\n(?:---|\.\.\.)\n", text, re.DOTALL)
    fields: dict[str, str] = (
        dict(re.findall(r"^(\w+): *[\"']?(.+?)[\"']? *$", matter[1], re.MULTILINE)) if matter else {}
    )
    body = text[matter.end() :] if matter else text
    page = MarkdownIt("commonmark").enable("table").render(_comments(body))
    root = html.parse(f"<html><body>{page}</body></html>".encode(), path.name, xml=False)
    book = _from_tree(root, path, heads, fields.get("title", ""))
    book.author = fields.get("author", "")
    book.language = fields.get("lang", fields.get("language", ""))
    return book


def _comments(text: str) -> str:
    return re.sub(r"<!--.{0,100000}?-->", "", text, flags=re.DOTALL)


def _read_html(text: str, data: bytes, path: Path, heads: re.Pattern[str] | None) -> Book:
    root = (
        html.parse(text.encode(), path.name, xml=False)
        if "charset" not in text[:4096]
        else html.parse(data, path.name, xml=False)
    )
    book = _from_tree(root, path, heads, html.meta(root, "dc.title") or html.title_of(root))
    book.author = html.meta(root, "author") or html.meta(root, "dc.creator")
    book.language = str(root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or "")
    return book


def _from_tree(root: Any, path: Path, heads: re.Pattern[str] | None, title: str) -> Book:
    paragraphs: Sequence[Paragraph] = [
        replace(p, document=path.name, number=k) for k, (p, _) in enumerate(html.walk(root))
    ]
    if not title:
        tops = [p for p in paragraphs if p.level == 1]
        title = " ".join(tops[0].text.split()) if len(tops) == 1 else ""
    from tts_fm.book.scripts import read_voices

    chapters = chapters_of(read_voices(mark_asides(list(paragraphs))), heads, title or _stem(path))
    book = Book(title, chapters, words=html.words_in(root))
    _name(book, path)
    return book


def one_chapter(title: str, paragraphs: list[Paragraph]) -> list[Chapter]:
    """A text that is all one chapter."""
    return [Chapter(title, "body", paragraphs, 1)]
