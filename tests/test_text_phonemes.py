"""Phone units against lines of the corpus manifest (made by another program), threads, languages, IPA, and bad
input.
"""

from __future__ import annotations

import builtins
import json
import sys
import threading
from pathlib import Path

import pytest
from properties import given, settings, st

pytest.importorskip("phonemizer")
pytest.importorskip("espeakng_loader")


from tts_fm.errors import MissingDependency
from tts_fm.text import phonemes
from tts_fm.text.phonemes import espeak_version, ipa_units, languages, phoneme_units, phoneme_units_many, split_units

LINES = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "phonemes.jsonl").read_text("utf-8").splitlines()
]


def test_every_corpus_line_gives_its_units():
    assert len(LINES) >= 40
    for line in LINES:
        assert phoneme_units(line["text"], line["lang"]) == line["units"], line["text"]


def test_many_equals_one_by_one_also_with_blank_texts_between():
    texts = ["", "Hello there.", " ", "...", "One\ntwo.", "-", "Yes!"]
    assert phoneme_units_many(texts) == [phoneme_units(text) for text in texts]
    assert phoneme_units_many([]) == []


def test_four_threads_give_what_one_thread_gives():
    wanted = {line["id"]: line["units"] for line in LINES}
    faults: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait(timeout=30)
            for _ in range(4):
                for line in LINES:
                    if phoneme_units(line["text"], line["lang"]) != wanted[line["id"]]:
                        faults.append(line["id"])
        except Exception as error:  # a thread's exception would be lost
            faults.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_no_warning_is_printed(capfd, caplog):
    phoneme_units("It was one of the words that were joined to others.")
    out, err = capfd.readouterr()
    assert out == err == "" and caplog.records == []


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\x00", "-"])
def test_nothing_to_say_gives_no_units(text):
    assert phoneme_units(text) == []


def test_line_breaks_and_controls_are_spaces():
    assert phoneme_units("good\nday\x00to\u2028you") == phoneme_units("good day to you")


def test_language_names():
    assert phoneme_units("water", "en") == phoneme_units("water", "en_US") == phoneme_units("water", "EN-us")
    assert phoneme_units("water", "en-gb") != phoneme_units("water", "en-us")
    assert {"en-us", "en-gb", "de"} <= set(languages())
    assert phoneme_units("Wasser", "de")[0] == "v"
    with pytest.raises(ValueError, match="en-gb.*en-us|en-us.*en-gb"):
        phoneme_units("water", "en-usa")
    with pytest.raises(ValueError, match="unknown language 'klingon'"):
        phoneme_units("water", "klingon")


def test_espeak_version_is_a_version():
    assert espeak_version()[0].isdigit() and "." in espeak_version()


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("abtʃˈˌː͡ʰ̩̃ .,"), st.characters(codec="utf-8"))))
def test_splitting_loses_nothing(phones):
    assert "".join(split_units(phones)) == phones


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_units_and_never_raises(text):
    units = phoneme_units(text)
    assert all(units) and "" not in units and units[:1] != [" "] and units[-1:] != [" "]


@pytest.mark.parametrize(
    ("typed", "units"),
    [
        ("/təˈmeɪtoʊ/", ["t", "ə", "ˈ", "m", "e͡ɪ", "t", "o͡ʊ"]),
        ("t͡ʃ dʒ", ["t͡ʃ", " ", "d͡ʒ"]),
        ("ˈkɑːr", ["ˈ", "k", "ɑː͡ɹ"]),
        ("gu:d", ["ɡ", "uː", "d"]),
        ("'rɛd", ["ˈ", "ɹ", "ɛ", "d"]),
        ("ˈtiː.tʃɚ", ["ˈ", "t", "iː", "t͡ʃ", "ɚ"]),
        ("bʌtn̩", ["b", "ʌ", "t", "n̩"]),
        ("ˈɪɹəs", ["ˈ", "ɪ", "ɹ", "ə", "s"]),
        ("", []),
    ],
)
def test_ipa_as_people_type_it(typed, units):
    assert ipa_units(typed) == units


def test_ipa_of_espeak_comes_back_unchanged():
    for line in LINES:
        words = "".join(u for u in line["units"] if u.isalpha() or u in " ˈˌ" or len(u) > 1)
        assert ipa_units(words, line["lang"]) == split_units(" ".join(words.replace("r", "ɹ").split()))


def test_missing_package_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("phonemizer"):
            raise ImportError("No module named 'phonemizer'")
        return real(name, *args, **kwargs)

    for cached in (phonemes._prepare, phonemes._supported):
        cached.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.startswith("phonemizer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(phonemes, "_backends", {})
    with pytest.raises(MissingDependency, match="pip install phonemizer"):
        phoneme_units("water")
    monkeypatch.undo()
    for cached in (phonemes._prepare, phonemes._supported):
        cached.cache_clear()
