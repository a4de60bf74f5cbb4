"""The demo's Book page: what is spoken is kept, heard while it is made, and there after a reload."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from test_demo_sessions import sounds

from tts_fm.book.document import BookError
from tts_fm.demo.books import Shelf

pytest_plugins = ["demo_fixtures"]
gr = pytest.importorskip("gradio")
av = pytest.importorskip("av")
pytest.importorskip("mutagen")

TEXT = "CHAPTER I\n\nThe lamp was out.\n\n“Who is there?” he said.\n\n\n\nCHAPTER II\n\nThe boat came in at nine.\n"
SOMEBODY = SimpleNamespace(session_hash="s")


@pytest.fixture
def shelf(service, tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "books")


@pytest.fixture
def upload(tmp_path: Path) -> str:
    path = tmp_path / "The Lamp.txt"
    path.write_text(TEXT, "utf-8")
    return str(path)


def read_aloud(
    service, shelf: Shelf, key: str, chapters: list[int], kind: str = "m4b", quotes: str = ""
) -> list[tuple]:
    from tts_fm.demo.tabs_book import handler

    values = {"steps": 2, "cfg": 1.0}
    work = handler(service, shelf)
    return list(work(key, chapters, "ann", None, "", quotes, kind, values, SOMEBODY, lambda *a, **k: None))


def test_the_same_file_is_the_same_book(shelf: Shelf, upload: str) -> None:
    book = shelf.put(upload)
    assert shelf.put(upload).key == book.key == shelf.open(book.key).key
    assert book.book.title == "The Lamp" and [name for name, _ in book.chapters()] == [
        "CHAPTER I (11 words)", "CHAPTER II (8 words)",
    ]  # fmt: skip
    for wrong in ("", "0" * 32, "../../etc"):
        with pytest.raises(ValueError, match="not here"):
            shelf.open(wrong)


def test_one_hears_it_while_it_is_made_and_gets_the_file(service, shelf: Shelf, upload: str) -> None:
    book = shelf.put(upload)
    told = read_aloud(service, shelf, book.key, [0, 1])
    heard = sounds(told[-2][1])
    assert len(sounds(told[0][1])) == 1 and len(heard) >= 5  # the first is told as soon as it is spoken
    assert all(soundfile.info(file).samplerate == 24_000 for file, _ in heard) and heard[1][1] > 0
    path = told[-1][2]
    with av.open(path) as container:
        assert [c["metadata"]["title"] for c in container.chapters()] == ["CHAPTER I", "CHAPTER II"]
    again = read_aloud(service, shelf, book.key, [0, 1], "epub")
    assert len(again) == 2 and again[-1][2].endswith(".epub") and not sounds(again[0][1])  # nothing is spoken twice
    service.leave("s")
    assert not any(file.exists() for file, _ in heard) and list(book.work.glob("*.flac"))


def test_what_is_far_ahead_is_heard_from_the_kept_file(service, shelf: Shelf, upload: str, monkeypatch) -> None:
    monkeypatch.setattr("tts_fm.demo.sessions.AHEAD", 0.0)
    book = shelf.put(upload)
    heard = sounds(read_aloud(service, shelf, book.key, [0, 1])[-2][1])
    assert [file.suffix for file, _ in heard[:2]] == [".wav", ".flac"]
    assert {file.suffix for file, _ in heard[1:]} == {".flac"}


def test_a_reload_finds_what_is_there(service, shelf: Shelf, upload: str) -> None:
    from tts_fm.demo.tabs_book import openers

    opened, opening = openers(shelf)
    status, key, _, rows = opened(upload)
    assert "2 chapters" in status and "CHAPTER II" in rows
    read_aloud(service, shelf, key, [1])
    status, same, boxes, _ = opening(key)
    assert same == key and "2 paragraphs" in status and len(boxes.choices) == 2
    assert opening("") == (gr.skip(),) * 4 or opening("")[1] == gr.skip()


def test_quotations_and_faults(service, shelf: Shelf, upload: str, tmp_path: Path) -> None:
    book = shelf.put(upload)
    read_aloud(service, shelf, book.key, [0], quotes="bob")
    for chapters, kind, words in (([], "m4b", "no chapter"), ([0], "exe", "m4b")):
        with pytest.raises(ValueError, match=words):
            read_aloud(service, shelf, book.key, chapters, kind)
    (tmp_path / "x.epub").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(BookError):
        shelf.put(str(tmp_path / "x.epub"))


def test_books_nobody_opens_are_removed(shelf: Shelf, upload: str) -> None:
    import os

    book = shelf.put(upload)
    os.utime(book.folder, (1, 1))
    shelf.sweep()
    assert not book.folder.exists()
