"""Sentence ends on hard cases written by hand; packing to a budget loses nothing and keeps to it."""

from __future__ import annotations

import time

import pytest
from properties import given, settings, st

from tts_fm.text.split import opening, pack, sentences

HARD = [
    ["Dr. Smith met Mrs. Jones at 3.30 p.m. on St. Mary's Street.", "They talked."],
    ["He paid $3.50 for it.", "Cheap!", "Wasn't it?"],
    ["The U.S. Army arrived.", "So did the U.K. team."],
    ["It was built in the U.S.", "The rest came later."],
    ["We left at 5 p.m.", "They stayed."],
    ["J. R. R. Tolkien wrote it.", "George W. Bush did not."],
    ["Fruit, e.g. Apples, i.e. Red ones, cf. Fig. 3, is good."],
    ["See No. 5 for more.", "No.", "Never!"],
    ['"Stop!" he cried.', '"Why?" she asked.'],
    ['"Stop."', "He stopped.", "(It was late.)", "We went home."],
    ["Wait... what?", "Well... no."],
    ["I don't know…", "Perhaps."],
    ["What?!", "Really?!"],
    ["1. First do this.", "2. Then that."],
    ["It has version 2.0.1 now.", "Use it."],
    ["This is plan B.", "It works."],
    ["So it was I.", "Then he left."],
    ["No end mark"],
    ["你好。", "今天好吗？", "很好！"],
    ["He visited Washington D.C. Mayor Brown was there."],
    ["Apples, pears, etc.", "Then we ate."],
    ["Yahoo! is old.", "Is it?"],
]


@pytest.mark.parametrize(
    ("text", "budget", "first", "cut"),
    [
        ("Yes. No. I do not know what you mean.", 10, "Yes. No.", False),
        ("One two three four. Five.", 10, "One two three four.", False),  # up to twice the budget
        ("One two, three four, five six seven.", 14, "One two,", True),
        ("One two three, four five six seven eight nine.", 10, "One two three,", True),  # no mark within the budget
        ("The old man walked slowly down to the grey sea.", 20, "The old man walked", True),
        ("The men of the town walked slowly to the sea again.", 22, "The men of the town", True),
        ("We go on in to the", 8, "We go", True),  # before a preposition, and not behind one
        ("a" * 99, 10, "a" * 99, False),
        ("", 10, "", False),
    ],
)
def test_what_is_spoken_first_is_short_and_nothing_is_lost(text: str, budget: float, first: str, cut: bool):
    found, rest, was_cut = opening(sentences(text), budget, len)
    assert (found, was_cut) == (first, cut)
    assert " ".join([found, *rest]).split() == text.split()
    assert not cut or min(len(found), len(rest[0])) >= budget / 2


@pytest.mark.parametrize("wanted", HARD, ids=lambda wanted: wanted[0][:24])
def test_hard_sentences(wanted):
    joiner = "" if wanted[0].endswith("。") else " "
    assert sentences(joiner.join(wanted)) == wanted


def test_line_breaks_end_sentences():
    assert sentences("A title\nThe text goes on. Here\r\n\r\nlast ") == ["A title", "The text goes on.", "Here", "last"]
    assert sentences("") == sentences(" \n ") == []


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("aB1 .!?…\"')(\n。"), st.characters(codec="utf-8")), max_size=200))
def test_sentences_keep_every_character(text):
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in found)


def test_pack_keeps_sentences_whole_where_it_can():
    said = ["One two.", "Three four.", "Five.", "Six seven eight nine."]
    assert pack(said, 21, len) == ["One two. Three four.", "Five.", "Six seven eight nine."]
    assert pack(said, 1000, len) == [" ".join(said)]
    assert pack([], 5, len) == pack([" ", ""], 5, len) == []


def test_a_long_sentence_is_cut_at_clauses_then_words_then_characters():
    assert pack(["When it rains, we stay; when it shines, we go."], 26, len) == [
        "When it rains, we stay;",
        "when it shines, we go.",
    ]
    assert pack(["one two three four five six"], 14, len) == ["one two three", "four five six"]
    assert pack(["a" * 10], 4, len) == ["aa", "aaa", "aa", "aaa"]
    assert pack(["ab"], 0.5, len) == ["a", "b"]  # one character is never cut, nor dropped


WORDS = st.lists(
    st.sampled_from(
        [
            "a",
            "to",
            "word,",
            "longer;",
            "sentence.",
            "Antidisestablishmentarianism",
            "e\u0301te\u0301",
            "—",
            "x:",
            "no!",
        ]
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS.map(" ".join), max_size=6), st.floats(1, 60))
def test_every_chunk_is_within_budget_and_no_word_is_lost(said, budget):
    def cost(text: str) -> float:
        return 0.9 * len(text) + 0.05

    chunks = pack(said, budget, cost)
    assert all(cost(chunk) <= budget or len(chunk) == 1 for chunk in chunks)
    assert "".join("".join(chunks).split()) == "".join("".join(said).split())
    if budget >= cost("Antidisestablishmentarianism"):  # no word needs cutting
        assert " ".join(chunks).split() == " ".join(said).split()


@pytest.mark.parametrize("budget", [0, -1, float("nan")])
def test_pack_refuses_a_budget_that_cannot_be(budget):
    with pytest.raises(ValueError, match="positive number of seconds"):
        pack(["a"], budget, len)


def test_infinite_budget_and_nan_cost():
    assert pack(["a b.", "c."], float("inf"), len) == ["a b. c."]
    with pytest.raises(ValueError, match="not a number"):
        pack(["a"], 1, lambda text: float("nan"))


def test_a_hundred_thousand_characters_in_seconds():
    for text in (
        "a" * 100_000,
        "word " * 20_000,
        "word, " * 16_000,
        "A b. " * 20_000,
        "." * 100_000,
        ". " * 50_000,
        "Mr. A. " * 14_000,
        '."' * 50_000,
    ):
        start = time.perf_counter()
        chunks = pack(sentences(text), 200, len)
        assert all(len(chunk) <= 200 for chunk in chunks)
        assert time.perf_counter() - start < 3, text[:10]
