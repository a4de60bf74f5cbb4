"""What is no book, or is made to do harm, is refused in one line that says what would work."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.books import LAMP, epub, points
from tts_fm.book.document import BookError
from tts_fm.book.read import read_book

pytest.importorskip("lxml")
ONE = {"one.xhtml": f"<p>{LAMP}</p>"}
NAV = points(("One", "one.xhtml"))


def refused(path: Path, *words: str) -> None:
    with pytest.raises(BookError) as caught:
        read_book(path)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"", ["empty"]),
        ("a.txt", b"  \n \r\n", ["empty"]),
        ("a.txt", b"\x00\x01\x02" * 100, ["binary"]),
        ("a.txt", b"* * *\n\n---", ["nothing"]),
        ("a.txt", b"%PDF-1.7 ...", ["PDF", "pdftotext a.txt"]),
        ("a.pdf", b"%PDF-1.7 ...", ["PDF", "pdftotext a.pdf a.txt"]),
        ("a.docx", b"PK\x03\x04", ["DOCX", "pandoc a.docx"]),
        ("a.mobi", b"x" * 60 + b"BOOKMOBI", ["MOBI", "ebook-convert a.mobi a.epub"]),
        ("a.azw3", b"x", ["AZW3", "ebook-convert"]),
        ("a.png", b"\x89PNG", [".png", ".epub"]),
        ("a.epub", b"not a zip", ["no EPUB"]),
        ("a.epub", b"PK\x03\x04 cut", ["damaged"]),
        ("a.srt", b"nothing here", ["no cues"]),
        ("a.html", b"<html><body></body></html>", ["nothing"]),
    ],
)
def test_no_books(tmp_path: Path, name: str, data: bytes, words: list[str]) -> None:
    refused(file(tmp_path, name, data), *words)


def test_a_folder_and_no_file(tmp_path: Path) -> None:
    refused(tmp_path, "folder")
    refused(tmp_path / "gone.txt", "no file")


def test_a_zip_that_is_no_epub(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.epub", "w") as archive:
        archive.writestr("word/document.xml", "x")
    refused(tmp_path / "a.epub", "DOCX", "pandoc")


def test_drm(tmp_path: Path) -> None:
    def locked(algorithm: str) -> dict[str, bytes]:
        return {
            "META-INF/encryption.xml": (
                '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData '
                f'xmlns="http://www.w3.org/2001/04/xmlenc#"><EncryptionMethod Algorithm="{algorithm}"/></EncryptedData>'
                "</encryption>"
            ).encode()
        }

    refused(epub(tmp_path / "a.epub", ONE, NAV, extra=locked("http://www.w3.org/2001/04/xmlenc#aes128-cbc")), "DRM")
    fonts = epub(tmp_path / "b.epub", ONE, NAV, extra=locked("http://www.idpf.org/2008/embedding"))
    assert read_book(fonts).chapters  # fonts are obfuscated in good books too


def test_a_zip_bomb(tmp_path: Path) -> None:
    refused(epub(tmp_path / "a.epub", {"one.xhtml": f"<p>{'a ' * 20_000_000}</p>"}, NAV), "MB")


def test_ten_gigabytes_that_are_only_claimed(tmp_path: Path) -> None:
    path = epub(tmp_path / "a.epub", ONE, NAV)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("OEBPS/one.xhtml").file_size.to_bytes(4, "little")
    central = data.rindex(b"PK\x01\x02", 0, data.rindex(b"OEBPS/one.xhtml"))
    assert data[central + 24 : central + 28] == size
    data[central + 24 : central + 28] = (0xF0000000).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "MB")


@pytest.mark.parametrize("name", ["../../evil.txt", "/etc/evil", "..\\evil", "C:/evil"])
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    refused(epub(tmp_path / "a.epub", ONE, NAV, extra={name: b"x"}), "out of the book")


def test_entities(tmp_path: Path) -> None:
    lol = '<!DOCTYPE html [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    outside = '<!DOCTYPE html [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    for doctype in (lol, outside):
        bad = f'<?xml version="1.0"?>{doctype}<html xmlns="http://www.w3.org/1999/xhtml"><body><p>&a;</p></body></html>'
        refused(epub(tmp_path / "a.epub", ONE, NAV, extra={"OEBPS/one.xhtml": bad.encode()}), "entities")


def test_a_package_that_is_damaged(tmp_path: Path) -> None:
    refused(epub(tmp_path / "a.epub", ONE, NAV, extra={"OEBPS/package.opf": b"<package"}), "package.opf", "XML")
    refused(epub(tmp_path / "a.epub", ONE, NAV, spine=["gone"]), "spine")
    refused(epub(tmp_path / "a.epub", {}, NAV, spine=[]), "spine")


def test_deep_nesting_ends(tmp_path: Path) -> None:
    deep = "<div>" * 5000 + "word" + "</div>" * 5000
    path = epub(tmp_path / "a.epub", {"one.xhtml": deep + f"<p>{LAMP}</p>"}, NAV)
    try:
        assert read_book(path).words >= 1
    except BookError as error:
        assert "\n" not in str(error)
    nav = "<ol><li><a href='one.xhtml'>x</a>" * 200 + "</li></ol>" * 200
    assert read_book(epub(tmp_path / "b.epub", ONE, nav)).chapters
