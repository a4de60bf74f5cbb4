"""Written text to spoken words: `normalise` turns numbers, dates, money, units, abbreviations, addresses and signs into
plain words, kind by kind in a fixed order.

The result has letters, spaces, . , ; : ! ? ' " ( ) and hyphens inside words; a line of it is a heading, a paragraph
or a list item. It never raises, has no digits (for English), and keeps every word and every sentence end. Letters
that are spelled stand apart ("E P A"). Other languages than English get the clean-up only, since espeak reads their
numbers. Every rule is one bounded regex: time is linear.

Own rules, since none of the packages that were tried (abbr2words, num2words, and NeMo's and WeTextProcessing's
grammars, which need pynini and hundreds of megabytes) says most of the expressions that people send;
abbreviations.py and numbers.py tell what was found.
"""

from __future__ import annotations

import re

from tts_fm.text.abbreviations import speak_abbreviations
from tts_fm.text.acronyms import speak_acronyms
from tts_fm.text.addresses import speak_addresses
from tts_fm.text.characters import clean, drop_pictures, tidy
from tts_fm.text.numbers import speak_numbers
from tts_fm.text.plain import Block, read_plain
from tts_fm.text.roman import speak_romans
from tts_fm.text.signs import speak_operators, speak_signs
from tts_fm.text.unmark import unmark

_BULLET = re.compile(r"^[-–—]{1,6} *(?![0-9.$£€ ])|^[-–—*•‣·>#]{1,6} +")
_END = re.compile(r"[.!?…:;,。！？、，—–-][\"'”’»)\]*_]{0,4}$")
_SENTENCE_END = re.compile(r"[.!?…:。！？][\"'”’»)\]*_]{0,4}$")


def normalise(text: str, lang: str = "en-us") -> str:
    """`text` as it is to be spoken, in `lang` (espeak code; en-gb reads 3/7/2024 as the third of July), a line for each
    heading, paragraph or list item. Never raises.
    """
    blocks = (block for block in read_plain(unmark(text)) if block.kind != "scene")
    lines = (normalise_line(said_line(block, ended=False), lang) for block in blocks)
    return "\n".join(line for line in lines if any(char.isalnum() for char in line))


def normalise_line(text: str, lang: str = "en-us") -> str:
    """`text` as it is to be spoken, when it is all of one block and free of markup; private-use characters stay."""
    text = _BULLET.sub("", clean(text))
    if not lang.lower().startswith("en"):
        return tidy(drop_pictures(text, keep="LMNS"))
    gb = lang.lower().replace("_", "-") not in ("en", "en-us", "en-us-nyc")
    text = speak_addresses(text)
    text = speak_operators(text)
    text = speak_romans(text)
    text = speak_abbreviations(text)
    text = speak_acronyms(text)
    text = speak_numbers(text, gb)
    return tidy(drop_pictures(speak_signs(text)))


def said_line(block: Block, ended: bool = True) -> str:
    """The text of a block as one line: a full stop after a heading's number, commas between the lines of verse; `ended`
    puts a full stop after it where no mark ends it.
    """
    between = "." if block.kind == "heading" else ","
    lines = [line if _END.search(line) else line + between for line in block.lines]
    text = " ".join([*lines[:-1], block.lines[-1]]).strip()
    return stopped(text) if ended else text


def stopped(text: str) -> str:
    """The text with a full stop where no mark ends it."""
    return re.sub(r"[,;]$", "", text) + "." if text and not _SENTENCE_END.search(text) else text
