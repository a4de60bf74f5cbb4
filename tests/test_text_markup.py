"""IPA and pause marks; ordinary brackets and < signs stay text."""

from __future__ import annotations

import time

import pytest
from properties import given, st

from tts_fm.text.markup import Break, Ipa, Text, parse_markup, plain_text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("Hello.", [Text("Hello.")]),
        ("[tomato](/təˈmɑːtəʊ/)", [Ipa("tomato", "təˈmɑːtəʊ")]),
        ("I say [tomato](/təˈmɑːtəʊ/), you", [Text("I say "), Ipa("tomato", "təˈmɑːtəʊ"), Text(", you")]),
        ("Wait<break 0.5s>now", [Text("Wait"), Break(0.5), Text("now")]),
        ("<break 500ms>", [Break(0.5)]),
        ("<break 0s><break 10s>", [Break(0.0), Break(10.0)]),
        ("<break .25s/>", [Break(0.25)]),
        ("<Break 2.S >", [Break(2.0)]),
        ('<break time="1.5s"/>', [Break(1.5)]),
        ("<break -0s>", [Break(0.0)]),
        ("[New York](/nuː ˈjɔːk/)", [Ipa("New York", "nuː ˈjɔːk")]),
    ],
)
def test_marks(text, pieces):
    assert parse_markup(text) == pieces


@pytest.mark.parametrize(
    "text",
    ["a < b > c", "x[0](y)", "[see](http://a.b/c)", "[a]()", "[a](//)", "[a](/ /)", "<break>", "<break a leg>",
    "<breaks 5s>",
     "[[x](/y", "<b>5s</b>",
     "if a<break and b>5s", "[ ](/a/)", "1 < 2s > 0", "[docs](/a/b/)"],
)  # fmt: skip
def test_ordinary_text_stays_text(text):
    assert parse_markup(text) == [Text(text)]


@pytest.mark.parametrize(
    "mark",
    [
        "<break 10.01s>",
        "<break -1s>",
        "<break 99s>",
        "<break 10001ms>",
        "<break 5>",
        "<break 1.2.3s>",
        "<break 3min>",
        "<break .s>",
    ],
)
def test_wrong_pause_says_what_to_write(mark):
    with pytest.raises(ValueError, match="write <break 0.5s>"):
        parse_markup(f"Hello {mark} there")


@given(
    st.lists(
        st.one_of(st.text(), st.sampled_from("[]()/<> "), st.sampled_from(["<break", "[a](/b/)", "<break 1s>", "](/"])),
        max_size=12,
    )
)
def test_nothing_is_lost(parts):
    text = "".join(parts)
    pieces = parse_markup(text)
    rest = text
    for piece in pieces:  # every piece is found in order
        needle = piece.text if isinstance(piece, Text) else piece.ipa if isinstance(piece, Ipa) else "<break"
        assert needle.lower() in rest.lower()
        rest = rest[rest.lower().index(needle.lower()) + len(needle) :] if needle.lower() in rest.lower() else rest
    if not any(isinstance(piece, Ipa | Break) for piece in pieces):
        assert plain_text(pieces) == text


def test_linear_time():
    for bad in ("[" * 100_000, "[a](/" * 20_000, "<break " * 15_000, "[" + "a" * 100_000, "<break 1" * 12_000):
        start = time.perf_counter()
        parse_markup(bad)
        assert time.perf_counter() - start < 2


def test_plain_text():
    assert plain_text(parse_markup("I say [tomato](/x/)<break 1s>now")) == "I say tomato now"
