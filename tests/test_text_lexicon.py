"""A lexicon changes the phones of its words everywhere, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tts_fm.synthesis import BUILTIN
from tts_fm.text.chunks import ChunkPlan, plan_chunks
from tts_fm.text.lexicon import Entry, Lexicon, ending, find_lexicon, parse_lines, parse_pls, read_lexicon, to_ipa
from tts_fm.text.markup import Ipa, parse_markup
from tts_fm.text.tokens import PhonemeTokenizer, load_vocab

LINES = [
    "# mine", "", "gryphon\t/ɡɹˈɪfən/\t55\tchapter 9", "Polish\t/pˈoʊlɪʃ/", "mock turtle\tmok turtul",
    "Dinah\t",
]  # fmt: skip


def said(lexicon: Lexicon, text: str) -> dict[str, str]:
    return {piece.word: piece.ipa for piece in parse_markup(lexicon.apply(text)) if isinstance(piece, Ipa)}


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon(parse_lines(LINES, "words.tsv"))


def test_words_become_marks_and_nothing_else_changes(lexicon: Lexicon) -> None:
    text = "The Gryphon sat by [x](/ɛks/), <break 0.5s> gryphonlike, and polish-gryphon."
    assert lexicon.apply(text) == (
        "The [Gryphon](/ɡɹˈɪfən/) sat by [x](/ɛks/), <break 0.5s> gryphonlike, and polish-gryphon."
    )
    assert lexicon.apply("Nothing here.") == "Nothing here." and Lexicon().apply("a") == "a"


def test_possessive_and_plural_follow(lexicon: Lexicon) -> None:
    heard = said(lexicon, "Gryphon’s gryphons GRYPHONS' gryphon's")
    assert heard == {
        "Gryphon’s": "ɡɹˈɪfənz", "gryphons": "ɡɹˈɪfənz", "GRYPHONS": "ɡɹˈɪfənz",
        "gryphon's": "ɡɹˈɪfənz",
    }  # fmt: skip
    assert [ending(ipa, "'s") for ipa in ("kæt", "dɒɡ", "bʊʃ", "siː")] == ["s", "z", "ɪz", "z"]
    assert ending("dʒeɪmz", "'") == ""


def test_capitals_count_only_where_the_entry_has_them(lexicon: Lexicon) -> None:
    assert said(lexicon, "Polish the polish") == {"Polish": "pˈoʊlɪʃ"}
    assert set(said(lexicon, "a GRYPHON, a Gryphon, a gryphon")) == {"GRYPHON", "Gryphon", "gryphon"}


def test_the_longest_entry_wins_and_may_be_respelt() -> None:
    lexicon = Lexicon([Entry("turtle", "tʌ", True), Entry("mock turtle", "tea", False)])
    assert list(said(lexicon, "Mock\nTurtle and Turtle")) == ["Mock\nTurtle", "Turtle"] or list(
        said(lexicon, "Mock Turtle and Turtle")
    ) == ["Mock Turtle", "Turtle"]
    assert said(lexicon, "the mock turtle")["mock turtle"] == "tˈiː"  # as espeak says tea


def test_later_entries_win() -> None:
    assert said(Lexicon([Entry("a", "x", True)]) + Lexicon([Entry("a", "y", True)]), "a") == {"a": "y"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gryphon", "no tab"),
        ("\tgriffin", "no word"),
        ("a\t/b[c]/", "brackets"),
        ("a\t123", "letters"),
        ("x" * 101 + "\ty", "no word"),
    ],
)
def test_lines_that_are_wrong_are_named(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"words\.tsv:2: .*{words}"):
        parse_lines(["ok\tfine", line], "words.tsv")


PLS = """<?xml version="1.0"?><lexicon version="1.0" xmlns="http://www.w3.org/2005/01/pronunciation-lexicon"
alphabet="{alphabet}" xml:lang="en">
<lexeme><grapheme>Dinah</grapheme><grapheme>Dina</grapheme><phoneme>{phones}</phoneme>
</lexeme><lexeme><grapheme>W3C</grapheme><alias>World Wide Web Consortium</alias></lexeme></lexicon>"""


def test_pls() -> None:
    entries = parse_pls(PLS.format(alphabet="ipa", phones="daɪnə").encode(), "x.pls")
    assert [(e.word, e.said, e.is_ipa) for e in entries] == [
        ("Dinah", "daɪnə", True), ("Dina", "daɪnə", True), ("W3C", "World Wide Web Consortium", False),
    ]  # fmt: skip
    sampa = parse_pls(PLS.format(alphabet="x-sampa", phones="daIn@").encode(), "x.pls")
    assert sampa[0].said == "daɪnə"
    for bad in (
        PLS.format(alphabet="x-arpabet", phones="D AY"),
        "<lexicon",
        "<a/>",
        '<!DOCTYPE a [<!ENTITY b "c">]><a/>',
    ):
        with pytest.raises(ValueError):
            parse_pls(bad.encode(), "x.pls")
    assert to_ipa('"tSi:p', "x-sampa") == "ˈtʃiːp" and to_ipa("a", "sapi") is None


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_FM_HOME", str(tmp_path))
    assert not find_lexicon()
    (tmp_path / "lexicon.tsv").write_text("Dinah\t/x/\ncat\t/y/\n", "utf-8")
    (tmp_path / "mine.pls").write_text(PLS.format(alphabet="ipa", phones="z"), "utf-8")
    assert said(find_lexicon(tmp_path / "mine.pls"), "Dinah cat") == {"Dinah": "z", "cat": "y"}
    assert find_lexicon().digest != find_lexicon(tmp_path / "mine.pls").digest != ""
    with pytest.raises(ValueError, match="cannot read"):
        read_lexicon(tmp_path / "gone.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"caf\xe9\tx\n")
    with pytest.raises(ValueError, match="UTF-8"):
        read_lexicon(tmp_path / "latin.tsv")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("TTS_FM_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert not find_lexicon()


def test_a_million_words_are_no_trouble(lexicon: Lexicon) -> None:
    assert lexicon.apply("a gryphon " * 20_000).count("/ɡɹˈɪfən/") == 20_000


def test_short_forms_follow() -> None:
    lexicon = Lexicon([Entry("Kat", "kæt", True), Entry("Bea", "biː", True)])
    heard = said(lexicon, "Kat'll Bea’d Kat'd Bea've Bea're")
    assert heard == {
        "Kat'll": "kætəl", "Bea’d": "biːd", "Kat'd": "kætɪd", "Bea've": "biːəv", "Bea're": "biːɚ",
    }  # fmt: skip
    assert "/biːə/" in lexicon.apply("Bea're here.", "en-gb")


def test_marks_around_a_word_are_not_the_words(lexicon: Lexicon) -> None:
    g = "[gryphon](/ɡɹˈɪfən/)"
    text = "‘gryphon’ _gryphon_ 'gryphon' x--gryphon gryphon-like o'gryphon my_gryphon_x"
    assert lexicon.apply(text) == f"‘{g}’ _{g}_ '{g}' x--{g} {g}-like o'gryphon my_gryphon_x"


@pytest.fixture(scope="module")
def planned() -> Callable[[str], list[ChunkPlan]]:
    tokenizer = PhonemeTokenizer(load_vocab(BUILTIN / "vocab.txt"), "en-us")
    return lambda text: plan_chunks(text, tokenizer, "en-us")


def sounds(chunks: list[ChunkPlan]) -> list[str]:
    return " ".join("".join(chunk.units) for chunk in chunks).split(" ")


def test_neighbours_are_said_as_before(planned) -> None:
    """Espeak says "the" and "to" by what follows, and stress by the whole sentence: given phones change one word."""
    for text in (
        "Turning to Alice, she saw the Alice who was poor.", "Poor Alice! The Mock Turtle said to Alice, ‘Why?’",
        "There they are with their Alice; Alice's hat was at Alice.",
        "The Alice'll go to the Alice’d and Alice've it.",
        "See the ‘Alice’ and the Alice-like Alice's-eye of the Mock Turtle'll.",
    ):  # fmt: skip
        marked = Lexicon([Entry("Alice", "æliːs", True), Entry("Mock Turtle", "mæk tuːl", True)]).apply(text)
        before, after = sounds(planned(text)), sounds(planned(marked))
        changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert len(changed) == len(re.findall("Alice(?!'s-)", text)) + 2 * text.count("Mock Turtle") + text.count("'s-")
        assert all(b.strip(",.!?;")[:4] in ("æliː", "mæk", "tuːl") for _, b in changed), changed


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("the [Bea](/zuː/)-like owl", "ðə zuːlˈa͡ɪk ˈa͡ʊl"),
        ("the tea-[Bea](/zuː/) owl", "ðə tˈiːzuː ˈa͡ʊl"),
        ("the [Pat](/zuː/)-[Bea](/zɒs/)'s owl", "ðə zuːzɒsɪz ˈa͡ʊl"),
        ("the O'[Neill](/zuː/) owl", "ðɪ o͡ʊzuː ˈa͡ʊl"),  # O as before the name, not the letter's
        ("a [larger](/zuː/) owl", "ɐ zuː ˈa͡ʊl"),  # linked to the vowel behind it by an r
    ],
)
def test_a_given_word_in_a_longer_one(planned, text, heard) -> None:
    assert "".join(planned(text)[0].units) == heard


def test_what_is_given_changes_no_cut(planned) -> None:
    """Sentences end, and long ones are cut, where they are without the given phones."""
    text = (
        "‘Why?’ said Christopher, who had come down, and had not been asked; ‘why would Christopher do it, "
        "after all that Christopher had seen in the far north, and had heard of Christopher’s kin?’ Christopher "
        "sat down. ‘Really!’ said he. "
    ) * 3
    marked = Lexicon([Entry(word, "zuː", True) for word in ("Christopher", "said", "had")]).apply(text)
    plain = [chunk.text.replace("’", "'") for chunk in planned(text)]
    assert len(plain) > 3 and [chunk.text.replace("’", "'") for chunk in planned(marked)] == plain
