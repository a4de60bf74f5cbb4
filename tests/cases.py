"""The share of written expressions that are said as wanted, from a table: `python tests/cases.py FILE.tsv [--lang
en-us]`.

A line of the table is: kind, written, said today, should be said; separated by tabs, # begins a comment. In what
should be said, " / " parts alternatives, brackets hold remarks, "..." stands for any words. Words are compared
without capitals, marks and the way letters are written ("P M" is "PM", "Cees" is "C's"). Where the remark says
"said: ...", the expression was pronounced wrongly: then its phones must have changed from those of the remark's
reading, or hold those in PHONES.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

from tts_fm.text.normalise import normalise
from tts_fm.text.phonemes import phoneme_units
from tts_fm.text.pronounce import spoken_units
from tts_fm.text.tokens import load_vocab

BUILTIN = Path(__file__).parents[1] / "tts_fm/assets/builtin/vocab.txt"
PHONES = {  # written: a stretch of the phones that are wanted
    "Dvořák": "vˈo͡ʊr", "I read it yesterday.": "ɹˈɛd", "Nguyễn": "w", "Straße": "ʃtɾˈɑːs",
    "close the door": "klˈo͡ʊz",
    "content with the content": "kəntˈɛnt", "lead pipe": "lˈɛd", "minute details": "ma͡ɪnˈuːt",
    "take a bow": "bˈa͡ʊ",
    "object to the object": "bd͡ʒˈɛkt", "tear the paper": "tˈɛ͡ɹ", "Ελλάδα": "lˈað",
    "Привет means hi": "privˈe͡ɪt mˈ",
    "مرحبا is Arabic": "mrhbˈa ɪz", "ราคา": "ɹ", "こんにちは": "k", "你好 means hello": "n",
}  # fmt: skip
LETTERS = {"cees": "c's", "uze": "u's", "dees": "d's", "gees": "g's", "vees": "v's", "tees": "t's", "pees": "p's"}


DESCRIBED = {  # written: a pattern for what is wanted, where the table describes it
    "![alt](img.png)": "alt", "20241225": "december twenty fifth", "#ThrowbackThursday": "hashtag throwback thursday",
    '```print("hi")```': r"print hi",
    'He said "go".Then left': "go then left", "Call 1-800-FLOWERS.": "one eight hundred flowers",
    "The PCs, GPUs and IDs were stolen.": "pc's gpu's and id's",
}  # fmt: skip


def words(text: str) -> str:
    """`text` for comparison: small letters and digits of words, single letters joined."""
    text = re.sub(r"[^\w' ]", " ", text.lower().replace("-", " ").replace("’", "'"))
    found = [LETTERS.get(word.strip("'"), word) for word in text.split()]
    return re.sub(r"(?<=(?<![\w'])[a-z]) (?=[a-z](?:'s)?\b)", "", " ".join(word.strip("'") for word in found))


def wanted_forms(wanted: str) -> list[str]:
    """Patterns of what should be said; none where it is told by a remark only."""
    forms: list[str] = []
    for part in re.sub(r"\([^()]*\)", " ", wanted).split(" / "):
        pieces = [re.escape(words(piece)) for piece in part.split("...")]
        if any(pieces):
            forms.append(".*".join(piece for piece in pieces) if len(pieces) > 1 else pieces[0])
    return forms


def spoken_phones(written: str, lang: str) -> str:
    return "".join(spoken_units(normalise(written, lang), lang, frozenset(load_vocab(BUILTIN)))[0])


def is_said(written: str, today: str, wanted: str, lang: str) -> tuple[bool, str]:
    """Whether `written` is said as wanted, and what is said."""
    said = normalise(written, lang)
    if written in PHONES or not wanted_forms(wanted):
        phones = spoken_phones(written, lang)
        if written in PHONES:
            return PHONES[written] in phones, f"{said} [{phones}]"
        return phones != "".join(phoneme_units(today, lang)), f"{said} [{phones}]"
    plain = words(said)
    if written in DESCRIBED:
        return re.search(DESCRIBED[written], plain) is not None, said
    return any(re.search(rf"(?:^|\b){form}(?:\b|$)", plain) for form in wanted_forms(wanted)), said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--lang", default="en-us")
    args = parser.parse_args()
    right: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for line in args.table.read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("# "):
            continue
        kind, written, today, wanted = ([*line.split("\t"), "", "", ""])[:4]
        good, said = is_said(written, today, wanted, args.lang)
        every[kind] += 1
        right[kind] += good
        if not good:
            print(f"{kind}: {written!r}\n    said:   {said}\n    wanted: {wanted}")
    for kind in every:
        print(f"{right[kind]:4d} of {every[kind]:4d}  {kind}")
    total, good_total = sum(every.values()), sum(right.values())
    print(f"{good_total} of {total} said as wanted: {100 * good_total / max(1, total):.1f} %")
    return 0 if good_total >= 0.95 * total else 1


if __name__ == "__main__":
    sys.exit(main())
