"""The reader of plain text: each kind of text that people have, by what a reader's eye makes of it."""

from __future__ import annotations

import textwrap

import pytest
from properties import given, settings, st

from tts_fm.text.headings import head_of, looks_like_title, number_of
from tts_fm.text.plain import PAUSES, count_words, join_lines, looks_like_prose, pause_between, read_plain

PROSE = (
    "The lighthouse keeper had not slept for two nights, since the lamp would not burn without him and the boat with "
    "the new glass was late. He sat on the stairs, counted the waves, and wrote the number of them into a book that "
    "nobody would ever read. When the morning came he was asleep."
)
MORE = (
    "On the third day the boat came into the harbour with the glass, with letters and with a cat, which went up the "
    "stairs as if it had always lived there."
)


def kinds(text: str) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in read_plain(text)]


@pytest.mark.parametrize("width", [45, 65, 72, 80])
def test_wrapped_paragraphs_come_out_as_they_went_in(width: int) -> None:
    wrapped = "\n\n".join(textwrap.fill(part, width) for part in (PROSE, MORE, PROSE))
    assert kinds(wrapped) == [("paragraph", PROSE), ("paragraph", MORE), ("paragraph", PROSE)]


def test_a_paragraph_a_line_stays_so() -> None:
    assert kinds(f"{PROSE}\n{MORE}\n{PROSE}") == [("paragraph", PROSE), ("paragraph", MORE), ("paragraph", PROSE)]


def test_paragraphs_that_only_an_indent_begins() -> None:
    parts = (PROSE, MORE, "“No,” he said.", MORE)
    text = "\n".join(textwrap.fill(part, 60, initial_indent="    ") for part in parts)
    assert [text for _, text in kinds(text)] == [PROSE, MORE, "“No,” he said.", MORE]


def test_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    plain = textwrap.fill(PROSE, 60) + "\n\n" + textwrap.fill(MORE, 60)
    assert kinds("\ufeff" + plain.replace("\n", "\r\n")) == kinds(plain) == kinds(plain.replace("\n", "\r"))


def test_words_cut_at_line_ends_are_whole_again() -> None:
    block = read_plain("It is a won-\nderful self-\nportrait of twenty-\nfive peo-\nple near the light-\nhouse.")[0]
    assert block.text == "It is a wonderful self-portrait of twenty-five people near the lighthouse."
    assert block.hyphens == 5
    # the text itself says how a word is written
    assert join_lines(["a rabbit-", "hole"], frozenset({"rabbit-hole"})) == ("a rabbit-hole", 1)
    assert join_lines(["a rabbit-", "hole"]) == ("a rabbithole", 1)
    assert join_lines(["two words--", "and more"])[0] == "two words--and more"


def test_verse_keeps_its_lines() -> None:
    poem = "    The fog comes in on silver feet\n      And covers all the town,\n    It does not ask the men it meets"
    text = textwrap.fill(PROSE, 72) + "\n\n" + poem + "\n\n" + textwrap.fill(MORE, 72)
    assert [kind for kind, _ in kinds(text)] == ["paragraph", "verse", "paragraph"]
    assert read_plain(text)[1].lines[1] == "And covers all the town,"
    assert kinds("Roses are red,\nViolets are blue,\nSugar is sweet,\nAnd so are you.")[0][0] == "verse"


def test_a_quotation_set_in_is_prose() -> None:
    quoted = textwrap.fill(PROSE, 72, initial_indent="    ", subsequent_indent="    ")
    assert kinds(textwrap.fill(MORE, 72) + "\n\n" + quoted) == [("paragraph", MORE), ("paragraph", PROSE)]


@pytest.mark.parametrize(
    "head",
    ["CHAPTER I", "CHAPTER I. The Lamp", "Chapter Twelve", "LETTER 2", "ACT I", "SCENE II. A wood", "I. THE LAMP", "II",
     "7", "THE LAMP GOES OUT", "Epilogue", "PREFACE TO THE SECOND EDITION", "The Third Night"],
)  # fmt: skip
def test_headings(head: str) -> None:
    text = f"{textwrap.fill(MORE, 72)}\n\n\n{head}\n\n{textwrap.fill(PROSE, 72)}"
    assert kinds(text) == [("paragraph", MORE), ("heading", head), ("paragraph", PROSE)]


def test_a_heading_of_two_lines() -> None:
    assert kinds(f"CHAPTER IV\nTHE LAMP\n\n{PROSE}")[0] == ("heading", "CHAPTER IV\nTHE LAMP")


@pytest.mark.parametrize(
    "line", ["Chapter 3 was long.", "“Yes.”", "No, he had not seen it.", "I was cold.", "Part of it"]
)
def test_what_is_no_heading(line: str) -> None:
    assert kinds(f"{PROSE}\n\n{line}\n\n{MORE}")[1] == ("paragraph", line)


def test_a_text_of_one_line_is_no_heading() -> None:
    assert kinds("Hello World") == [("paragraph", "Hello World")]


def test_markdown_headings_tell_their_level() -> None:
    blocks = read_plain("# One\n\nText.\n\n### Three\nText.\n\nUnder\n=====\n\nText.")
    assert [(b.text, b.level) for b in blocks if b.kind == "heading"] == [("One", 1), ("Three", 3), ("Under", 1)]


def test_lists_have_an_item_a_line() -> None:
    text = (
        "What we need:\n- a lamp\n- two ropes, which should\n  be long\n- oil\n\n1. Light it.\n2) Wait.\n\nThat is all."
    )
    assert kinds(text) == [
        ("paragraph", "What we need:"),
        *(("item", item) for item in ("a lamp", "two ropes, which should be long", "oil", "1. Light it.", "2) Wait.")),
        ("paragraph", "That is all."),
    ]


@pytest.mark.parametrize("rule", ["* * *", "***", "---", "#", "⁂", "  *   *   *\n\n     *   *", "~~~~~"])
def test_scene_breaks(rule: str) -> None:
    assert [kind for kind, _ in kinds(f"{PROSE}\n\n{rule}\n\n{MORE}")] == ["paragraph", "scene", "paragraph"]


def test_letters_and_chat() -> None:
    assert [t for _, t in kinds("Dear Anna,\n\nI am well.\n\nHow are you?")] == [
        "Dear Anna,",
        "I am well.",
        "How are you?",
    ]
    assert kinds("Hello.\nHow are you?") == [("paragraph", "Hello."), ("paragraph", "How are you?")]
    assert kinds("We were late, and the\ntrain had gone.") == [("paragraph", "We were late, and the train had gone.")]


def test_chinese_lines_are_joined_without_a_space() -> None:
    lines = "这是一个很长的句子，它被分成了", "两行。"
    assert kinds("\n".join(lines)) == [("paragraph", "".join(lines))]


def test_pauses() -> None:
    heading, text, scene, more = read_plain(f"# One\n\n{PROSE}\n\n* * *\n\n{MORE}")
    assert pause_between(None, heading) == pause_between(more, None) == 0.0
    assert pause_between(heading, text) == PAUSES["heading"] > pause_between(text, text) == PAUSES["paragraph"] > 0
    assert pause_between(text, scene) == PAUSES["scene"]


def test_numbers_of_headings() -> None:
    named = {"IV": 4, "xii": 12, "4": 4, "fourth": 4, "the last": 0, "twenty-one": 21, "Twelve": 12, "4th": 4}
    assert {text: number_of(text) for text in named} == named
    assert number_of("cat") is None and head_of("") is None and not looks_like_title("")
    head = head_of("Chapter XIV: The Boat")
    assert head is not None and (head.kind, head.number, head.title) == ("chapter", 14, "The Boat")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aB.’-—*#1) \n\t>中“", max_size=200))
def test_no_word_is_lost(text: str) -> None:
    blocks = read_plain(text)
    assert sum(count_words(block.text) + block.hyphens for block in blocks) == count_words(text)


@pytest.mark.parametrize(
    "piece", ["a-\n", "word ", "* ", "I. ", "- x\n", ". . ", "CHAPTER ", "x\n\n", "    Y z\n", "中\n"]
)
def test_a_long_text_is_no_trouble(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    blocks = read_plain(text)
    assert sum(count_words(block.text) + block.hyphens for block in blocks) == count_words(text)


def test_running_text_is_told_from_a_list() -> None:
    assert looks_like_prose("\n\n".join(textwrap.fill(part, 66) for part in (PROSE, MORE, PROSE, MORE)))
    assert not looks_like_prose(
        "\n".join(f"Line {n} is a sentence of its own, long enough to be one." for n in range(50))
    )
    assert not looks_like_prose("\n".join(f"word {n}" for n in range(50))) and not looks_like_prose(
        "Hello there,\nmy friend."
    )
