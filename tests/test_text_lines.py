"""How the blocks of a text are said: each a sentence of its own, with a pause where one is due."""

from __future__ import annotations

import pytest

from tts_fm.text.chunks import plan_chunks
from tts_fm.text.normalise import normalise
from tts_fm.text.plain import PAUSES
from tts_fm.text.tokens import CharTokenizer

SEA = "It rained on the harbour for three days, and nobody who had a roof went out to look at the sea."


def planned(text: str) -> list[tuple[str, float]]:
    return [(plan.text, plan.pause) for plan in plan_chunks(text, CharTokenizer([" "]), "en-us")]


def test_a_heading_a_paragraph_and_an_item_are_sentences_of_their_own():
    assert planned(f"The Storm\n\n{SEA}\n- on us\n- on them\n\nIt stopped") == [
        ("The Storm.", 0.0),
        (SEA, PAUSES["heading"]),
        ("on us. on them.", PAUSES["paragraph"]),
        ("It stopped", PAUSES["paragraph"]),
    ]


def test_a_row_of_stars_is_one_pause():
    assert planned(f"{SEA}\n\n* * *\n\nIt stopped.") == [(SEA, 0.0), ("It stopped.", PAUSES["scene"])]


def test_the_lines_of_verse_are_parted_by_commas():
    (plan,) = planned("Roses are red,\nViolets are blue;\nSugar is sweet\nAnd so are you.")
    assert plan[0] == "Roses are red, Violets are blue; Sugar is sweet, And so are you."


def test_a_chapter_number_and_its_title():
    assert planned(f"CHAPTER TWO\nThe Lamp\n\n{SEA}")[0][0].endswith("The Lamp.")


@pytest.mark.parametrize("text", ["hyphen-\nated", "a hyphen-\r\nated word"])
def test_a_divided_word_is_whole(text):
    assert "hyphenated" in normalise(text)


def test_marks_may_stand_anywhere():
    plans = plan_chunks(f"# One <break 2s>\n\n{SEA} <break 1s>\n\n<break 0.5s>Two.", CharTokenizer([" "]), "en-us")
    assert [plan.pause for plan in plans] == [0.0, 2.0 + PAUSES["heading"], 1.5 + PAUSES["paragraph"]]


def test_not_normalised_is_spoken_as_it_is():
    (plan,) = plan_chunks("It costs $5 <break 1s>", CharTokenizer([" "]), "en-us", normalised=False)
    assert plan.text == "It costs $5"
