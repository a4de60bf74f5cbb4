"""Heteronyms by the words around them, letters, foreign words: phones against readings written by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("phonemizer")
pytest.importorskip("espeakng_loader")

from properties import given, settings, st

from tts_fm.text.chunks import plan_chunks
from tts_fm.text.foreign import Foreign, nearest_units, split_foreign
from tts_fm.text.heteronyms import SAID_AS, readings
from tts_fm.text.phonemes import phoneme_units
from tts_fm.text.pronounce import spoken_units
from tts_fm.text.tokens import PhonemeTokenizer

SENTENCES = [
    ("He read the letter and left.", "ɹˈɛd"),
    ("I have read it twice.", "ɹˈɛd"),
    ("Will you read it to me?", "ɹˈiːd"),
    ("They read it last week.", "ɹˈɛd"),
    ("Read the sign.", "ɹˈiːd"),
    ("I like to read.", "ɹˈiːd"),
    ("The roof was made of lead.", "lˈɛd"),
    ("Lead the way.", "lˈiːd"),
    ("The lead paint was old.", "lˈɛd"),
    ("Wind the clock before bed.", "wˈa͡ɪnd"),
    ("The wind was cold.", "wˈɪnd"),
    ("The road winds through the hills.", "wˈa͡ɪndz"),
    ("Do not tear the cloth.", "tˈɛ͡ɹ"),
    ("A tear ran down her face.", "tˈɪ͡ɹ"),
    ("Please close the window.", "klˈo͡ʊz"),
    ("She is a close friend.", "klˈo͡ʊs"),
    ("We sat close to the fire.", "klˈo͡ʊs"),
    ("He took a bow.", "bˈa͡ʊ"),
    ("She tied a bow.", "bˈo͡ʊ"),
    ("They bow to the king.", "bˈa͡ʊ"),
    ("Record the song.", "ɹᵻkˈɔː͡ɹd"),
    ("She broke the record.", "ɹˈɛkɚd"),
    ("They will present the plan.", "pɹɪzˈɛnt"),
    ("He gave me a present.", "pɹˈɛzənt"),
    ("Objects fell; I object to that.", "ɑːbd͡ʒˈɛkt"),
    ("A strange object lay there.", "ˈɑːbd͡ʒɛkt"),
    ("Minute traces were found.", "ma͡ɪnˈuːt"),
    ("Wait a minute.", "mˈɪnɪt"),
    ("She was content with it.", "kəntˈɛnt"),
    ("The content was poor.", "kˈɑːntɛnt"),
    ("We live in a small town.", "lˈɪv"),
    ("The concert was broadcast live.", "lˈa͡ɪv"),
    ("Live music is played here.", "lˈa͡ɪv"),
    ("Use the door.", "jˈuːz"),
    ("It is of no use.", "jˈuːs"),
    ("The use of force is wrong.", "jˈuːs"),
    ("The dove flew off.", "dˈʌv"),
    ("She dove into the pool.", "dˈo͡ʊv"),
    ("They cross the desert.", "dˈɛzɚt"),
    ("He would never desert us.", "dᵻzˈɜːt"),
    ("Fresh produce is sold here.", "pɹˈo͡ʊduːs"),
    ("They produce cars.", "pɹədˈuːs"),
    ("We refuse to go.", "ɹᵻfjˈuːz"),
    ("The refuse was taken away.", "ɹˈɛfjuːs"),
    ("Their conduct was bad.", "kˈɑːndʌkt"),
    ("She will conduct the band.", "kəndˈʌkt"),
    ("Excuse me, please.", "ɛkskjˈuːz"),
    ("That is no excuse.", "ɛkskjˈuːs"),
    ("He caught a bass in the lake.", "bˈæs"),
    ("He plays the bass.", "bˈe͡ɪs"),
    ("The wound healed.", "wˈuːnd"),
    ("He wound the rope around it.", "wˈa͡ʊnd"),
    ("I used to swim.", "jˈuːst"),
    ("It is used to make bread.", "jˈuːzd"),
    ("We must separate them.", "sˈɛpɚɹˌe͡ɪt"),
    ("Use separate bowls.", "sˈɛpɹət"),
    ("Prices increase every year.", "ɪŋkɹˈiːs"),
    ("A large increase came.", "ˈɪŋkɹiːs"),
    ("A permit is needed.", "pˈɜːmɪt"),
    ("Cats have nine lives.", "lˈa͡ɪvz"),
    ("She burst into tears.", "tˈɪ͡ɹz"),
    ("I am content to wait.", "kəntˈɛnt"),
    ("The contents of the box.", "kˈɑːntɛnts"),
    ("The contract was signed.", "kˈɑːntɹækt"),
    ("The project failed.", "pɹˈɑːd͡ʒɛkt"),
    ("House prices rose.", "hˈa͡ʊs"),
    ("She lives alone.", "lˈɪvz"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "phones"), SENTENCES, ids=[text for text, _ in SENTENCES])
def test_heteronyms(text, phones):
    said = "".join(spoken_units(text, "en-us")[0])
    assert phones in said, said


def test_thirty_words_have_two_readings_each_in_the_sentences():
    words = {word for word, _ in SAID_AS}
    tested = {word for text, _ in SENTENCES for word, _ in readings(text)}
    assert len(words) > 40 and len(tested & words) >= 30


def test_british_readings_have_british_sounds():
    assert "tˈe͡ə" in "".join(spoken_units("Do not tear it.", "en-gb")[0])
    assert "ma͡ɪnjˈuːt" in "".join(spoken_units("a very minute amount", "en-gb")[0])


def test_sentences_without_such_words_are_espeaks_own():
    for text in ("The birch canoe slid on the smooth planks.", "It's easy to tell the depth of a well."):
        assert spoken_units(text, "en-us") == (phoneme_units(text), [])


@pytest.mark.parametrize(
    ("text", "phones"),
    [("A T and T is here.", "ˈe͡ɪ tˈiː ænd tˈiː"), ("five A M", "fˈa͡ɪv ˈe͡ɪ ˈɛm"),
     ("the E P A", "ˈiː pˈiː ˈe͡ɪ"),
     ("I D's", "a͡ɪ dˈiːz")],
)  # fmt: skip
def test_letters_are_letters(text, phones):
    assert phones in "".join(spoken_units(text, "en-us")[0])


@pytest.mark.parametrize(
    ("text", "lang", "phones"),
    [
        ("Добрый день", "ru", "dʲˈen"), ("Καλημέρα", "el", "alimˈera"), ("学校", "cmn", "ɕ"),
        ("안녕", "ko", "nnj"), ("שלום", "he", "lˈom"),
        ("Großmutter", "de", "ɡɾˈoːs"), ("Křížek", "cs", "k"), ("Phở", "vi", "f"),
    ],
)  # fmt: skip
def test_foreign_words_are_said_by_their_own_rules(text, lang, phones):
    units, strangers = spoken_units(f"We say {text} here.", "en-us")
    assert [word.lang for word in strangers] == [lang]
    said = "".join(units)
    assert phones in said and said.endswith(" hˈɪ͡ɹ.") and "lˌɛɾɚ" not in said


def test_thai_is_transliterated_and_accents_of_english_words_are_not_foreign():
    assert spoken_units("ราคา", "en-us")[1] == [Foreign("ราคา", "")]
    assert split_foreign("a café, naïve", "en-us") == ["a café, naïve"]
    assert split_foreign("Straße", "de") == ["Straße"] and split_foreign("привет", "ru") == ["привет"]


def test_the_voice_is_given_only_sounds_it_knows():
    known = set(
        phoneme_units("The quick brown fox jumps over a lazy dog, which she saw; Joy, how are you, boy? Yes.")
    ) | {" "}
    units, _ = spoken_units("你好 and Привет and مرحبا", "en-us", known)
    assert set(units) <= known | set(phoneme_units("and"))
    assert nearest_units(["ʃ", "y", "t͡s", "5"], {"ʃ", "uː", "t", "s"}) == ["ʃ", "uː", "t", "s"]


def test_a_plan_names_its_foreign_words():
    vocab = sorted(set(phoneme_units("Hello there, you.")) | {" "})
    (plan,) = plan_chunks("Hello Привет.", PhonemeTokenizer(vocab), "en-us")
    assert [word.said_as for word in plan.foreign] == ["Russian"] and not plan.unknown


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("abč ßя你م.'A read lead"), max_size=30))
def test_splitting_loses_nothing(text):
    parts = split_foreign(text, "en-us")
    assert "".join(part.word if isinstance(part, Foreign) else part for part in parts) == text
