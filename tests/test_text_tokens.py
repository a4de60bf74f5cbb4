"""Tokenizers against F5's golden token lists, vocabulary files, unknown symbols."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from properties import given, settings, st

from tts_fm.errors import MissingDependency, ModelError
from tts_fm.text import tokens
from tts_fm.text.tokens import CharTokenizer, PhonemeTokenizer, PinyinTokenizer, load_vocab, make_tokenizer, save_vocab

GOLDEN = json.loads((Path(__file__).parent / "golden" / "text.json").read_text("utf-8"))
VOCAB = GOLDEN["vocab"]


def test_pinyin_equals_all_golden_lists():
    tokenizer = PinyinTokenizer(VOCAB)
    assert len(GOLDEN["tokens"]) == 87
    for line in GOLDEN["tokens"]:
        encoded = tokenizer.encode(line["text"])
        assert encoded.tokens == line["tokens"], line["text"]
        assert encoded.ids == [VOCAB.index(token) if token in VOCAB else 0 for token in line["tokens"]]
        assert encoded.unknown == Counter(token for token in line["tokens"] if token not in VOCAB)


def test_char_gives_one_token_a_character_and_counts_unknown():
    encoded = CharTokenizer(VOCAB).encode("a Zz9Z")
    assert encoded.tokens == list("a Zz9Z")
    assert encoded.ids == [1, 0, 0, 26, 0, 0]
    assert encoded.unknown == Counter({"Z": 2, "9": 1})


def test_phoneme_drops_unknown_units_and_counts_them():
    pytest.importorskip("phonemizer")
    line = json.loads((Path(__file__).parent / "data" / "phonemes.jsonl").read_text("utf-8").splitlines()[0])
    vocab = sorted(set(line["units"]) - {line["units"][0]})
    tokenizer = PhonemeTokenizer(vocab, line["lang"])
    encoded = tokenizer.encode(line["text"])
    assert encoded.unknown == {line["units"][0]: line["units"].count(line["units"][0])}
    assert encoded.tokens == [unit for unit in line["units"] if unit != line["units"][0]]
    assert [vocab[i] for i in encoded.ids] == encoded.tokens
    assert tokenizer.encode_units(line["units"]) == encoded


def test_phoneme_ipa_takes_typed_ipa():
    tokenizer = PhonemeTokenizer(["ˈ", "t", "ə", "m", "e͡ɪ", "o͡ʊ"])
    encoded = tokenizer.encode_ipa("/təˈmeɪtoʊ/")
    assert encoded.tokens == ["t", "ə", "ˈ", "m", "e͡ɪ", "t", "o͡ʊ"] and not encoded.unknown


@pytest.mark.parametrize("name", ["char", "pinyin"])
@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Lo"])))
def test_ids_tokens_and_unknown_agree_on_any_text(name, text):
    encoded = make_tokenizer(name, VOCAB).encode(text)
    assert len(encoded.ids) == len(encoded.tokens)
    assert sum(encoded.unknown.values()) == sum(token not in VOCAB for token in encoded.tokens)
    if name == "char":
        assert "".join(encoded.tokens) == text
    else:  # only spaces are added
        assert "".join(encoded.tokens).replace(" ", "") == text.translate(tokens._F5_MAP).replace(" ", "")


def test_chinese_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rjieba", None)
    with pytest.raises(MissingDependency, match=r"tts-fm\[zh\]"):
        PinyinTokenizer(VOCAB).encode("你好")
    assert CharTokenizer(VOCAB).encode("你好").unknown == {"你": 1, "好": 1}


def test_chinese_with_the_extra():
    pytest.importorskip("rjieba")
    pytest.importorskip("pypinyin")
    assert PinyinTokenizer(VOCAB).symbols("我要ok") == [" ", "wo3", " ", "yao4", " ", "o", "k"]
    assert PinyinTokenizer(VOCAB).symbols("你好!") == [" ", "ni2", " ", "hao3", "!"]  # third tone before third tone


def test_make_tokenizer():
    assert make_tokenizer("char", VOCAB).name == "char"
    assert make_tokenizer("pinyin", VOCAB).name == "pinyin"
    phoneme = make_tokenizer("phoneme", VOCAB, "en-gb")
    assert isinstance(phoneme, PhonemeTokenizer) and phoneme.lang == "en-gb"
    with pytest.raises(ValueError, match="bpe.*char, pinyin, phoneme"):
        make_tokenizer("bpe", VOCAB)
    for bad in ([], "abc", [1, 2]):
        with pytest.raises(ValueError, match="non-empty list of strings"):
            make_tokenizer("char", bad)


def test_vocab_round_trip_and_bytes(tmp_path):
    vocab = [" ", "a", "\u2028", "\u3000", "t͡ʃ", "ni3", "\u00a0", "\x0b", '"']
    save_vocab(tmp_path / "vocab.txt", vocab)
    assert load_vocab(tmp_path / "vocab.txt") == vocab
    assert (tmp_path / "vocab.txt").read_bytes() == "".join(token + "\n" for token in vocab).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["vocab.txt"]


def test_vocab_reads_crlf_and_a_last_line_without_end(tmp_path):
    (tmp_path / "v").write_bytes(b" \r\na\r\nbc")
    assert load_vocab(tmp_path / "v") == [" ", "a", "bc"]


def test_vocab_errors(tmp_path):
    with pytest.raises(ModelError, match="cannot read the vocabulary"):
        load_vocab(tmp_path / "none")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        load_vocab(tmp_path / "empty")
    (tmp_path / "bin").write_bytes(b"a\n\xff\xfe")
    with pytest.raises(ModelError, match="not UTF-8"):
        load_vocab(tmp_path / "bin")
    for bad in (["a", ""], ["a\nb"], ["a", "a"]):
        with pytest.raises(ValueError):
            save_vocab(tmp_path / "out", bad)
    assert not (tmp_path / "out").exists()
