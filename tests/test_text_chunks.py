"""Planning: markup, chunks and symbols of a text; word spans; voices; infilling and batches."""

from __future__ import annotations

import numpy as np
import pytest

from tts_fm.config import ModelConfig, TrainConfig, from_dict, to_dict
from tts_fm.data.batches import Buckets, Loader, TrainItem, collate
from tts_fm.data.infill import draw_infill, hide_prompt_symbols, turn
from tts_fm.text.chunks import COMMA, WORD, each_chunk, plan_chunks
from tts_fm.text.phonemes import phoneme_units
from tts_fm.text.tokens import CharTokenizer, PhonemeTokenizer
from tts_fm.text.word_times import unit_spans, word_times
from tts_fm.voices.stored import add_voice, catalogue, get_voice, remove_voice


def tokenizer(*texts: str) -> PhonemeTokenizer:
    symbols = {unit for text in texts for unit in phoneme_units(text)} | {" ", "ɑː", "t", "ə", "m", "ˈ", "o͡ʊ"}
    return PhonemeTokenizer(sorted(symbols), "en-us")


def test_a_plain_sentence_becomes_exactly_its_phones():
    text = "The birch canoe slid on the smooth planks."
    (plan,) = plan_chunks(text, tokenizer(text), "en-us")
    assert plan.units == phoneme_units(text) and plan.text == text and not plan.unknown and plan.pause == 0


def test_ipa_and_breaks_land_where_they_were_written():
    plans = plan_chunks(
        "I say [tomato](/təmˈɑːtoʊ/) here. <break 250ms> Good.", tokenizer("I say here. Good."), "en-us"
    )
    assert [p.text for p in plans] == ["I say tomato here.", "Good."] and [p.pause for p in plans] == [0, 0.25]
    units = "".join(plans[0].units)
    assert units.startswith("".join(phoneme_units("I say")) + " təmˈɑːto͡ʊ ")
    assert units.endswith("".join(phoneme_units("here.")))


def test_long_texts_are_packed_and_no_word_is_lost():
    text = " ".join(
        f"This is sentence number {w}, and it goes on for a while."
        for w in "one two three four five six seven eight".split()
    )
    plans = plan_chunks(text, CharTokenizer([" "]), "en-us", budget=6.0)
    assert len(plans) > 2 and " ".join(p.text for p in plans) == text
    assert all(len(p.text) / 14 < 6.0 for p in plans)


@pytest.mark.parametrize(("mark", "gap"), [(",", COMMA), ("", WORD)])
def test_the_first_chunk_is_short_and_its_pause_that_of_the_cut(mark: str, gap: float):
    text = f"The old man walked slowly{mark} down to the grey sea and slept there until noon. He woke."
    plans = list(each_chunk(text, CharTokenizer([" "]), "en-us", first=2.4))
    assert [plan.text for plan in plans] == [text[: 25 + len(mark)], text[26 + len(mark) :]]
    assert [(plan.before, plan.after) for plan in plans] == [(None, gap / 2), (gap / 2, None)]
    whole = list(each_chunk(text, CharTokenizer([" "]), "en-us", first=4.0))
    assert (whole[0].before, whole[0].after, len(whole)) == (None, None, 2) and whole[1].text == "He woke."


def test_words_that_espeak_joins_still_have_their_own_span():
    units = list("hɐvbɪn ɡˈʊd")  # "have been good" as espeak says it: two groups
    spans = unit_spans(units, [["h", "æ", "v"], ["b", "ɪ", "n"], ["ɡ", "ˈ", "ʊ", "d"]])
    assert spans == [(0, 3), (3, 6), (7, 11)]


def test_no_word_ends_behind_its_sound():
    units = phoneme_units("Good morning")
    ends = np.linspace(0.0, 47_608 / 24_000, len(units) + 1)  # 1.98366... s
    first, last = word_times("Good morning", units, ends[1:].tolist(), "en-us")
    assert first.start == 0.0 and first.end <= last.start and last.end == 1.983


def test_voices_are_added_found_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TTS_FM_HOME", str(tmp_path))
    import soundfile

    t = np.arange(24_000 * 3) / 24_000
    soundfile.write(tmp_path / "me.wav", 0.2 * np.sin(2 * np.pi * 140 * t) * (np.sin(2 * np.pi * 2 * t) > -0.5), 24_000)
    add_voice("Me-1", tmp_path / "me.wav", "a tone that comes and goes")
    assert "Me-1" in catalogue() and get_voice("Me-1").text == "a tone that comes and goes"
    assert abs(len(get_voice("Me-1").wave) / 24_000 - 3) < 0.5
    with pytest.raises(ValueError, match="Me-1"):
        get_voice("Me-2")
    for name in ("../evil", "a/b", "", "x" * 65, "nul\0"):
        with pytest.raises(ValueError, match="cannot name"):
            add_voice(name, tmp_path / "me.wav")
    remove_voice("Me-1")
    assert "Me-1" not in catalogue() and not (tmp_path / "voices" / "Me-1.flac").exists()


def test_spans_follow_the_shares_that_were_asked_for():
    config = TrainConfig(span=(0.5, 0.8), prompt_first=0.5, drop_audio=0.2, drop_both=0.1)
    rng = np.random.default_rng(0)
    plans = [draw_infill(200, config, rng) for _ in range(4000)]
    assert all(0 <= p.start < p.end <= 200 and 100 <= p.end - p.start <= 160 for p in plans)
    shares = [np.mean([getattr(p, f) for p in plans]) for f in ("drop_text", "drop_audio", "hide_prompt_text")]
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.25], atol=0.03)  # text is dropped only together with audio
    assert np.mean([p.end == 200 for p in plans]) > 0.5


def test_a_hidden_transcript_keeps_the_total_duration():
    ids, durations = hide_prompt_symbols(
        np.array([5, 6, 7, 8]), np.array([10.0, 20.0, 30.0, 40.0]), start=35, unknown=0
    )
    assert ids.tolist() == [0, 7, 8] and durations.tolist() == [30.0, 30.0, 40.0]
    assert hide_prompt_symbols(np.array([5]), np.array([10.0]), start=3, unknown=0)[0].tolist() == [5]


def test_turning_moves_the_end_to_the_front_and_loses_nothing():
    mel = np.arange(100.0)[:, None] * np.ones(100)
    ids, durations = np.array([5, 6, 7, 8]), np.array([10.0, 20.0, 30.0, 40.0])
    turned, symbols, frames, prompt = turn(mel, ids, durations, start=45, unknown=0)
    assert symbols.tolist() == [0, 5, 6, 7] and frames.tolist() == [40.0, 10.0, 20.0, 30.0] and prompt == 40
    assert turned[:, 0].tolist() == [*range(60, 100), *range(60)]
    assert turn(mel, ids, durations, start=0, unknown=0)[3] == 0  # all is to be spoken
    assert turn(mel, ids, durations, start=99, unknown=0)[1].tolist() == [0, 5]  # something is left to speak


def test_in_a_turned_batch_what_is_spoken_is_the_beginning():
    config = TrainConfig(span=(0.5, 0.5), prompt_first=1.0, turned=1.0)
    mel = np.arange(90.0, dtype=np.float32)[:, None] * np.ones(100, np.float32)
    item = TrainItem(mel, np.array([1, 2, 3]), np.array([30.0, 20.0, 40.0]))
    batch = collate([item], 96, config, np.random.default_rng(0), unknown=7)
    assert batch.mel[0][batch.hidden[0]][:, 0].tolist() == [*range(50)] and batch.mel[0, :40, 0].tolist() == [
        *range(50, 90)
    ]
    assert batch.ids[0, :3].tolist() == [7, 1, 2] and batch.durations[0, :3].tolist() == [40.0, 30.0, 20.0]


def test_an_item_with_a_prompt_of_its_own_is_hidden_behind_it():
    items = [
        TrainItem(np.ones((n, 100), np.float32), np.array([7, 1, 2]), np.array([30.0, n - 50.0, 20.0]), prompt=30)
        for n in (60, 90)
    ]
    batch = collate(items, 96, TrainConfig(turned=1.0), np.random.default_rng(0), unknown=7)
    assert [h.nonzero()[0].tolist() for h in batch.hidden.numpy()] == [[*range(30, 60)], [*range(30, 90)]]
    assert batch.ids[:, :3].tolist() == [[7, 1, 2]] * 2


def test_an_epoch_has_every_utterance_and_few_shapes():
    lengths = np.random.default_rng(1).integers(50, 900, size=500)
    buckets = Buckets(lengths, budget=4000, seed=3)
    batches = buckets.epoch(2)
    assert set(np.concatenate([chosen for _, chosen in batches]).tolist()) == set(range(500))
    assert all(lengths[chosen].max() <= edge and edge * len(chosen) <= 4000 for edge, chosen in batches)
    assert len({(edge, len(chosen)) for edge, chosen in batches}) <= len(buckets.edges)
    assert [c.tolist() for _, c in batches] == [c.tolist() for _, c in Buckets(lengths, 4000, 3).epoch(2)]
    assert [c.tolist() for _, c in batches] != [c.tolist() for _, c in buckets.epoch(3)]


class Tones:
    """Items whose mel holds its own number, to follow it through a batch."""

    frames = [40, 64, 90]
    unknown = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> TrainItem:
        return TrainItem(
            np.full((self.frames[i], 100), i + 1.0, np.float32),
            np.array([1, 2 + i]),
            np.array([4.0, self.frames[i] - 4.0]),
        )


def test_batches_are_padded_marked_and_repeatable():
    batch = collate([Tones()[i] for i in range(3)], 96, TrainConfig(), np.random.default_rng(0), 0)
    assert batch.mel.shape == (3, 96, 100) and batch.mask.sum(1).tolist() == [40, 64, 90]
    assert not (batch.hidden & ~batch.mask).any() and batch.hidden.any(1).all()
    assert [batch.mel[i][batch.mask[i]].unique().item() for i in range(3)] == [1, 2, 3] and not batch.mel[
        ~batch.mask
    ].any()
    assert batch.durations.sum(1).tolist() == [40, 64, 90]
    again = Loader(Tones(), TrainConfig(batch_frames=200))
    first, second = again[5], Loader(Tones(), TrainConfig(batch_frames=200))[5]
    assert (first.mel == second.mel).all() and (first.hidden == second.hidden).all()


def test_configs_name_the_nearest_field_and_survive_json():
    assert from_dict(ModelConfig, to_dict(ModelConfig(dim=128))) == ModelConfig(dim=128)
    assert from_dict(TrainConfig, {"span": [0.5, 0.6]}).span == (0.5, 0.6)
    with pytest.raises(ValueError, match="'depth'"):
        from_dict(ModelConfig, {"dept": 3})
    with pytest.raises(ValueError, match="dim must be a whole number"):
        from_dict(ModelConfig, {"dim": "wide"})
