"""What is written becomes what is spoken: normalised text, phones and ids, chunks of speakable length, word times,
subtitles.

It knows nothing of sound and imports no torch. plain.py and headings.py read plain text into blocks; unmark.py takes
Markdown, HTML and LaTeX away; normalise.py writes out what is read aloud, with a module for each kind (addresses,
roman, abbreviations, acronyms, dates, times, money, units, codes, numbers, signs); pronounce.py puts heteronyms,
letters and foreign words right; markup.py reads `[word](/ipa/)` and `<break>`; split.py finds sentences and chunks.py
plans a text; phonemes.py and tokens.py make ids, symbols.py names those that are no phones; word_times.py and
subtitles.py tell when each word is heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.text.chunks import ChunkPlan as ChunkPlan
    from tts_fm.text.chunks import plan_chunks as plan_chunks
    from tts_fm.text.markup import Break as Break
    from tts_fm.text.markup import Ipa as Ipa
    from tts_fm.text.markup import Text as Text
    from tts_fm.text.markup import parse_markup as parse_markup
    from tts_fm.text.markup import plain_text as plain_text
    from tts_fm.text.pace import byte_ratio_frames as byte_ratio_frames
    from tts_fm.text.phonemes import TIE as TIE
    from tts_fm.text.phonemes import espeak_version as espeak_version
    from tts_fm.text.phonemes import ipa_units as ipa_units
    from tts_fm.text.phonemes import languages as languages
    from tts_fm.text.phonemes import phoneme_units as phoneme_units
    from tts_fm.text.phonemes import phoneme_units_many as phoneme_units_many
    from tts_fm.text.phonemes import split_units as split_units
    from tts_fm.text.plain import PAUSES as PAUSES
    from tts_fm.text.plain import Block as Block
    from tts_fm.text.plain import pause_between as pause_between
    from tts_fm.text.plain import read_plain as read_plain
    from tts_fm.text.spell import cardinal as cardinal
    from tts_fm.text.spell import ordinal as ordinal
    from tts_fm.text.spell import year as year
    from tts_fm.text.split import pack as pack
    from tts_fm.text.split import sentences as sentences
    from tts_fm.text.subtitles import KINDS as KINDS
    from tts_fm.text.tokens import CharTokenizer as CharTokenizer
    from tts_fm.text.tokens import Encoded as Encoded
    from tts_fm.text.tokens import PhonemeTokenizer as PhonemeTokenizer
    from tts_fm.text.tokens import PinyinTokenizer as PinyinTokenizer
    from tts_fm.text.tokens import Tokenizer as Tokenizer
    from tts_fm.text.tokens import load_vocab as load_vocab
    from tts_fm.text.tokens import make_tokenizer as make_tokenizer
    from tts_fm.text.tokens import save_vocab as save_vocab
    from tts_fm.text.word_times import Word as Word
    from tts_fm.text.word_times import unit_spans as unit_spans

NAMES = {
    "chunks": "ChunkPlan plan_chunks",
    "markup": "Break Ipa Text parse_markup plain_text",
    "pace": "byte_ratio_frames",
    "phonemes": "TIE espeak_version ipa_units languages phoneme_units phoneme_units_many split_units",
    "plain": "Block PAUSES pause_between read_plain",
    "spell": "cardinal ordinal year",
    "split": "pack sentences",
    "subtitles": "KINDS",
    "tokens": "CharTokenizer Encoded PhonemeTokenizer PinyinTokenizer Tokenizer load_vocab make_tokenizer save_vocab",
    "word_times": "Word unit_spans",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
