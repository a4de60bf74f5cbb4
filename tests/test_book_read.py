"""Files become chapters: what is found, what is not spoken, and that no word is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.books import BOAT, END, LAMP, epub, gutenberg, points, wrapped
from tts_fm.book.document import Book, chapter_numbers
from tts_fm.book.read import read_book
from tts_fm.text.plain import count_words

pytest.importorskip("lxml")


def write(folder: Path, text: str | bytes, name: str = "book.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def body(book: Book) -> list[str]:
    return [c.full_title for c in book.chapters if c.kind == "body"]


def said(book: Book) -> str:
    return "\n".join(p.spoken_text() for c in book.chapters if c.spoken for p in c.paragraphs if p.skip is None)


def whole(book: Book) -> Book:
    """Nothing lost, nothing twice."""
    assert sum(book.account().values()) == book.words == sum(c.words for c in book.chapters)
    assert not any("bug" in note for note in book.notes)
    return book


CHAPTERS = [
    ("CHAPTER I. The Lamp", wrapped(LAMP, END)),
    ("CHAPTER II. The Boat", wrapped(BOAT)),
    ("EPILOGUE", wrapped(END)),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_text_of_project_gutenberg(tmp_path: Path, end: str) -> None:
    book = whole(read_book(write(tmp_path, gutenberg(CHAPTERS, end=end))))
    assert (book.title, book.author, book.language, book.encoding) == ("The Lamp", "A. Keeper", "en", "utf-8")
    assert body(book) == ["CHAPTER I. The Lamp", "CHAPTER II. The Boat", "EPILOGUE"]
    assert [c.number for c in book.chapters if c.kind == "body"] == [1, 2, 3]
    assert [(c.kind, c.why) for c in book.chapters if not c.spoken] == [("front", "licence"), ("back", "licence")]
    assert "Gutenberg" not in said(book) and LAMP in said(book)
    words = sum(count_words(head) + count_words(text) for head, text in CHAPTERS)
    assert book.account()["spoken"] == words + 5  # the title page


def test_heads_of_two_lines_and_a_table_of_contents(tmp_path: Path) -> None:
    contents = "CONTENTS\n\n\n I The Lamp\n II Introduction\n Epilogue\n\n\n\n"
    heads = [
        (" I\n\n\n The Lamp", wrapped(LAMP)),
        (" II\n\n\n Introduction", wrapped(BOAT)),
        (" Epilogue", wrapped(END)),
    ]
    book = whole(read_book(write(tmp_path, gutenberg(heads, contents))))
    assert body(book) == ["I. The Lamp", "II. Introduction", "Epilogue"]
    assert book.account()["contents"] == 7 and "CONTENTS" not in said(book)


def test_a_table_of_contents_of_headings(tmp_path: Path) -> None:
    contents = "CONTENTS\n\nCHAPTER I. The Lamp\n\nCHAPTER II. The Boat\n\nEPILOGUE\n\n\n\n"
    assert body(whole(read_book(write(tmp_path, gutenberg(CHAPTERS, contents))))) == [head for head, _ in CHAPTERS]


def test_parts_acts_and_letters(tmp_path: Path) -> None:
    text = "\n\n\n".join(
        f"{head}\n\n{wrapped(LAMP)}" if not head.startswith(("PART", "ACT")) else head
        for head in ("PART ONE", "Chapter 1", "Chapter 2", "PART TWO", "Chapter 1")
    )
    book = whole(read_book(write(tmp_path, text)))
    assert body(book) == ["PART ONE: Chapter 1", "PART ONE: Chapter 2", "PART TWO: Chapter 1"]
    text = "\n\n\n".join(f"{head}\n\n{wrapped(LAMP)}" for head in ("Letter 1", "Letter 2", "Chapter 1"))
    assert body(whole(read_book(write(tmp_path, text)))) == ["Letter 1", "Letter 2", "Chapter 1"]


def toc(*lines: str) -> str:
    return "CONTENTS.\n\n" + "\n\n".join(lines) + "\n\n\n\n\n"


ACTS = "Contents\n\nACT I\nScene I. Elsinore. A platform\n\nACT II\nScene I. A room in the house\n\nThe Persons\n\n\n"
STORIES = "   I.     A Scandal\n   II.    The League\n\n\n\n\n"
PLOT = "CHAPTER II. The Boys Escape.—The Gang.—Plans."


@pytest.mark.parametrize(
    ("contents", "heads", "found"),
    [
        (ACTS, ["ACT I", "SCENE I. Elsinore. A platform.", "ACT II", "SCENE I. A room in the house."],
         ["ACT I: SCENE I. Elsinore. A platform.", "ACT II: SCENE I. A room in the house."]),
        (STORIES, ["I. A SCANDAL", "I.", "II.", "II. THE LEAGUE"], ["I. A SCANDAL", "II. THE LEAGUE"]),
        (toc("CHAPTER I. Civilizing Huck.—Miss Watson.", PLOT), ["CHAPTER I.", "CHAPTER II."],
         ["CHAPTER I.", "CHAPTER II."]),
        (toc("BOOK ONE: 1805", "CHAPTER I"), ["BOOK ONE: 1805", "CHAPTER I", "CHAPTER II"],
         ["BOOK ONE: 1805: CHAPTER I", "BOOK ONE: 1805: CHAPTER II"]),
        (toc("The Door", "The Search"), ["THE DOOR", "THE SEARCH"], ["THE DOOR", "THE SEARCH"]),
        ("", ["STAVE ONE\n\nTHE GHOST", "STAVE TWO\n\nTHE END OF IT"],
         ["STAVE ONE. THE GHOST", "STAVE TWO. THE END OF IT"]),
        ("", ["I", "II", "III"], ["I", "II", "III"]),
        ("", ["01", "02"], ["01", "02"]),
        ("", ["CHAPTER I\n\nTHE JOURNAL—_continued_", "CHAPTER II"],
         ["CHAPTER I. THE JOURNAL—continued", "CHAPTER II"]),
    ],
)  # fmt: skip
def test_heads_of_many_kinds(tmp_path: Path, contents: str, heads: list[str], found: list[str]) -> None:
    text = wrapped(LAMP, BOAT, END, LAMP, BOAT)
    chapters = [(head, "" if head.startswith(("ACT", "BOOK")) else text) for head in heads]
    book = whole(read_book(write(tmp_path, gutenberg(chapters, contents))))
    assert body(book) == found
    assert bool(contents) == bool(book.account()["contents"])


def test_a_pattern_of_ones_own(tmp_path: Path) -> None:
    text = f"Day 1 at sea\n\n{wrapped(LAMP)}\n\nDay 2 at sea\n\n{wrapped(BOAT)}"
    assert body(whole(read_book(write(tmp_path, text), "^Day [0-9]+"))) == ["Day 1 at sea", "Day 2 at sea"]
    with pytest.raises(ValueError, match="regular expression"):
        read_book(write(tmp_path, text), "(")


def test_a_text_without_headings_is_one_chapter(tmp_path: Path) -> None:
    book = whole(read_book(write(tmp_path, wrapped(LAMP, BOAT), "the_lamp.txt")))
    assert body(book) == ["the lamp"] and book.title == "the lamp"


def test_marks_of_notes_pictures_and_pages_are_not_spoken(tmp_path: Path) -> None:
    text = wrapped(
        "The lamp[1] was out. [Illustration: A lamp] It was dark.[12] {45} Nobody came.",
        "[Footnote 1: Of brass.]",
        "He said [quietly] that it was [Pg 12] over.",
    )
    book = whole(read_book(write(tmp_path, text)))
    assert (
        " ".join(said(book).split())
        == "The lamp was out. It was dark. Nobody came. He said [quietly] that it was over."
    )
    assert book.account()["illustrations"] == 3 and book.account()["notes"] >= 4
    book.speak_also({"notes"})
    assert "Of brass" in said(book)


def test_page_numbers_in_the_middle_of_sentences(tmp_path: Path) -> None:
    numbers = "one two three four five six seven eight".split()
    pages = [f"{wrapped(LAMP)} It was {name} and\n\n{n}\n\nthe sea took {name}." for n, name in enumerate(numbers, 1)]
    book = whole(read_book(write(tmp_path, "\n\n".join(pages))))
    assert book.account()["page numbers"] == 8


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "cp1252"])
def test_encodings_are_found_and_named(tmp_path: Path, encoding: str) -> None:
    text = "Die Straße führt über die Brücke zum Café. " * 20 + (
        "“Schön,” sagte er. " * 5 if encoding == "cp1252" else ""
    )
    book = read_book(write(tmp_path, text.encode(encoding)))
    assert "Straße führt über die Brücke zum Café" in said(book) and book.encoding
    assert encoding != "cp1252" or "“Schön,”" in said(book)


MARKDOWN = """---
title: The Lamp
author: A. Keeper
---
# One

The *keeper* slept[^1].

- oil
- rope

## A section

> He said no.

# Two

| a | b |
|---|---|
| c | d |

[^1]: Not long.
"""


def test_markdown(tmp_path: Path) -> None:
    book = whole(read_book(write(tmp_path, MARKDOWN, "lamp.md")))
    assert (book.title, book.author, body(book)) == ("The Lamp", "A. Keeper", ["One", "Two"])
    assert [p.kind for p in book.chapters[0].paragraphs] == ["heading", "paragraph", "item", "item", "heading", "quote"]
    assert "The keeper slept." in said(book) and "Not long" not in said(book) and "a, b" in said(book)


HTML = """<html lang="en-GB"><head><title>The Lamp</title><style>p {}</style></head><body>
<nav><a href="#a">One</a></nav><h1>The Lamp</h1>
<h2 id="a">One</h2><p>The keeper<sup><a href="#n1">1</a></sup> had a<br/>lamp &amp; 10<sup>2</sup> ropes.</p>
<p class="stanza">The fog comes in<br/>On silver feet</p><hr/><span class="pagenum">[Pg 3]</span>
<h2>Two</h2><script>no</script><p>It<b>ali</b>c.</p><aside class="footnote" id="n1">1. A man.</aside></body></html>"""


def test_html(tmp_path: Path) -> None:
    book = whole(read_book(write(tmp_path, HTML, "lamp.html")))
    assert (book.title, book.language, body(book)) == ("The Lamp", "en-GB", ["One", "Two"])
    kinds = [
        p.kind for c in book.chapters if c.kind == "body" for p in c.paragraphs if p.skip is None and p.kind != "scene"
    ]
    assert (
        kinds == ["heading", "paragraph", "verse", "paragraph", "heading", "paragraph"][: len(kinds)]
        or "verse" in kinds
    )
    assert "The keeper had a" in said(book) and "Italic." in said(book) and "A man" not in said(book)
    assert book.account()["notes"] == 4 or book.account()["notes"] == 3


DOCUMENTS = {
    "cover page.xhtml": "<h1>The Lamp</h1><p>A. Keeper</p>",
    "one.xhtml": f'<h2>One</h2><p>{LAMP}</p><section epub:type="footnotes"><p>1. Not spoken.</p></section>',
    "two & three.xhtml": f'<h2 id="two">Two</h2><p>{BOAT}</p><h2 id="three"><span>Three</span></h2><p>{END}</p>',
    "three-b.xhtml": f"<p>{LAMP}</p>",
    "index.xhtml": "<h2>Index</h2><p>lamp, 12</p>",
}
NAV = points(
    ("One", "one.xhtml"), ("Two", "two%20%26%20three.xhtml#two"), ("Three", "two%20%26%20three.xhtml#three"),
    ("Index", "index.xhtml"),
)  # fmt: skip


def test_an_epub_3_with_anchors_and_encoded_names(tmp_path: Path) -> None:
    book = whole(read_book(epub(tmp_path / "b.epub", DOCUMENTS, NAV)))
    assert (book.title, book.author, book.language) == ("The Lamp", "A. Keeper", "en")
    assert body(book) == ["One", "Two", "Three"]
    three = next(c for c in book.chapters if c.title == "Three")
    assert [p.text for p in three.paragraphs] == ["Three", END, LAMP]  # a chapter in two files
    assert [(c.title, c.kind, c.why) for c in book.chapters if not c.spoken] == [("Index", "back", "index")]
    assert book.account()["notes"] == 3


def test_an_epub_2(tmp_path: Path) -> None:
    def point(title: str, src: str, inner: str = "") -> str:
        return f'<navPoint><navLabel><text>{title}</text></navLabel><content src="{src}"/>{inner}</navPoint>'

    ncx = point("Part One", "cover%20page.xhtml", point("One", "one.xhtml") + point("Two", "two%20%26%20three.xhtml"))
    ncx += point("Last", "three-b.xhtml", point("A section", "three-b.xhtml#s"))
    book = whole(read_book(epub(tmp_path / "b.epub", DOCUMENTS, ncx=ncx)))
    assert body(book)[:2] == ["Part One: One", "Part One: Two"] and "A section" not in body(book)


def test_parts_that_are_only_named(tmp_path: Path) -> None:
    pages = {f"{k}.xhtml": f"<h2>Chapter {k}</h2><p>{LAMP}</p>" for k in (1, 2, 3)}
    links = [f'<li><a href="{k}.xhtml">Chapter {k}</a></li>' for k in (1, 2, 3)]
    parts = (
        f"<li><span>Part One</span><ol>{links[0]}{links[1]}</ol></li><li><span>Part Two</span><ol>{links[2]}</ol></li>"
    )
    book = read_book(epub(tmp_path / "a.epub", pages, nav=f"<ol>{parts}</ol>"))
    assert [c.full_title for c in book.chapters] == [
        "Part One: Chapter 1", "Part One: Chapter 2", "Part Two: Chapter 3",
    ]  # fmt: skip
    assert sum(book.account().values()) == book.words == 3 * (2 + len(LAMP.split()))


@pytest.mark.parametrize("seed", range(40))
def test_no_table_of_contents_loses_a_word(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    places = [f"{k}.xhtml{anchor}" for k in range(4) for anchor in ("", "#a", "#b", "#no")] + ["no.xhtml", "", "%"]

    def level(depth: int) -> str:
        items = []
        for _ in range(chance.randint(1, 3)):
            href = chance.choice(places)
            label = f'<a href="{href}">T {chance.randint(1, 9)}</a>' if chance.random() < 0.8 else "<span>Part</span>"
            items.append(f"<li>{label}{level(depth + 1) if depth < 3 and chance.random() < 0.4 else ''}</li>")
        return f"<ol>{''.join(items)}</ol>"

    body = f'<h1 id="a">One</h1><p>{END}</p><p id="b">{BOAT}</p>'
    book = read_book(epub(tmp_path / "a.epub", {f"{k}.xhtml": body for k in range(4)}, nav=level(0)))
    assert sum(book.account().values()) == book.words == 4 * len(f"One {END} {BOAT}".split())


def test_a_nav_that_leads_nowhere(tmp_path: Path) -> None:
    book = whole(read_book(epub(tmp_path / "b.epub", DOCUMENTS, points(("X", "gone.xhtml"), ("Y", "lost.xhtml")))))
    assert {"One", "Two", "Three"} <= set(body(book))
    assert any("nowhere" in note for note in book.notes)


def test_a_spine_that_comes_back(tmp_path: Path) -> None:
    spine = ["d1", "d2", "d1", "nothing", "d2", "d1"]
    book = whole(read_book(epub(tmp_path / "b.epub", DOCUMENTS, NAV, spine=spine)))
    assert said(book).count(LAMP) == 1 and any("read once" in note for note in book.notes)


def test_phones_of_an_epub(tmp_path: Path) -> None:
    text = '<p>The <span ssml:ph="la:mp" ssml:alphabet="x-sampa">lamp</span> and <i ssml:ph="diː.nɑ">D</i>.</p>'
    documents = {"one.xhtml": text}
    assert (
        said(read_book(epub(tmp_path / "b.epub", documents, points(("One", "one.xhtml")))))
        == "The [lamp](/laːmp/) and [D](/diː.nɑ/)."
    )


def test_a_thousand_chapters_and_a_paragraph_of_a_million_characters(tmp_path: Path) -> None:
    text = "\n\n\n".join(f"CHAPTER {n}\n\nIt was day {n}." for n in range(1, 1001))
    assert len(body(whole(read_book(write(tmp_path, text))))) == 1000
    assert whole(read_book(write(tmp_path, "word " * 200_000))).words == 200_000


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Hello,</i> there.

2
00:00:03,000 --> 00:00:04,000
[door closes]

3
00:00:05.5 --> 00:00:07.25
- And you?
"""


def test_subtitles(tmp_path: Path) -> None:
    book = whole(read_book(write(tmp_path, SRT, "film.srt")))
    cues = book.chapters[0].paragraphs
    assert [(p.text, p.time) for p in cues if p.skip is None] == [
        ("Hello, there.", (1.0, 2.5)),
        ("And you?", (5.5, 7.25)),
    ]
    book = read_book(write(tmp_path, "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Emma>Hi &amp; bye", "film.vtt"))
    assert [(p.text, p.voice) for p in book.paragraphs()] == [("Hi & bye", "Emma")]


def test_chapters_by_number(tmp_path: Path) -> None:
    book = read_book(write(tmp_path, gutenberg(CHAPTERS)))
    assert chapter_numbers("1,2-3", book) == {1, 2, 3}
    assert [c.title for c in book.chosen({2})] == ["CHAPTER II. The Boat"]
    for wrong in ("4", "2-1", "x", ""):
        with pytest.raises(ValueError):
            chapter_numbers(wrong, book)
