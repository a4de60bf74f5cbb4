"""Adapting a flow model to one speaker: what is trained, that a killed run ends with the same bits, that it learns."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import VOCAB, tiny_flow

from tts_fm.data.batches import TrainItem
from tts_fm.model.duration import DurationModel
from tts_fm.text.symbols import is_pause
from tts_fm.train.adapt import AdaptConfig, NotLearning, VoiceBatches, VoiceTrainer, updates_for
from tts_fm.train.lora import add_low_rank, changes, merged_state
from tts_fm.train.pace import learn_pace
from tts_fm.voices.adapters import Adapter, Merged

SMALL = AdaptConfig(updates=8, rank=2, alpha=2.0, batch=3, length=192, warmup=2, valid_every=4, save_every=1)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clip(frames: int, seed: int) -> TrainItem:
    """Frames that are tied to their symbols, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, len(VOCAB), size=max(4, frames // 8))
    durations = rng.uniform(1, 3, size=len(ids))
    durations *= frames / durations.sum()
    symbol = np.searchsorted(durations.cumsum(), np.arange(frames), side="right").clip(max=len(ids) - 1)
    patterns = np.random.default_rng(1).normal(-3, 2, size=(len(VOCAB), 100))
    mel = patterns[ids[symbol]] + rng.normal(0, 0.1, size=(frames, 100))
    return TrainItem(mel.astype(np.float32), ids, durations)


OWN, HELD = [clip(60 + 20 * k, k) for k in range(5)], [clip(100, 9), clip(80, 10)]


def test_low_rank_changes_nothing_at_first_and_is_all_that_is_trained():
    model, x = tiny_flow(), torch.randn(2, 40, 64)
    block = model.net.transformer_blocks[0].ff
    before = block(x)
    names = add_low_rank(model.net, 4, 4.0)
    torch.testing.assert_close(block(x), before)
    kinds = {"offset", "bias", "a", "b"}
    assert {name.rsplit(".", 1)[1] for name in names} == kinds
    assert all(name.startswith("transformer_blocks.") for name in names)
    assert len([name for name in names if name.endswith(".a")]) == 6  # q, k, v, out, and two of the feed-forward part
    count = sum(p.numel() for p in model.net.parameters() if p.requires_grad)
    assert 0 < count < 0.3 * sum(p.numel() for p in model.net.parameters())
    with pytest.raises(ValueError, match="lora_rank"):
        add_low_rank(tiny_flow().net, 0, 1.0)


def test_merged_state_and_stored_changes_are_the_trained_network():
    """The same velocity from the parametrised network, from its merged state, and from the base with the adapter."""
    base = tiny_flow()
    model = copy.deepcopy(base)
    names = add_low_rank(model.net, 3, 6.0)
    with torch.no_grad():
        for name, value in model.net.named_parameters():
            if name in names:
                value.add_(0.1 * torch.randn(value.shape))
    parts = torch.randn(1, 40, 100), 0.3, torch.randn(1, 20, 100), torch.randint(2, 30, (1, 7))
    more = {"durations": torch.full((1, 7), 40 / 7)}
    wanted = model.velocity(*parts, **more)
    plain = copy.deepcopy(base)
    assert not torch.allclose(plain.velocity(*parts, **more), wanted, atol=1e-3)
    plain.net.load_state_dict(merged_state(model.net.state_dict(), 2.0))
    torch.testing.assert_close(plain.velocity(*parts, **more), wanted, rtol=1e-4, atol=1e-4)
    trained = {n: p for n, p in model.net.named_parameters() if n in names}
    weights = dict(base.net.named_parameters())
    tensors = {f"flow/{n}": v.numpy() for n, v in changes(trained, weights).items()}
    adapter = Adapter("d", "b", "base", 2.0, tensors)
    shapes = {name: value.shape for name, value in weights.items()}
    merged = Merged(shapes, lambda name: weights[name].detach().numpy(), adapter, "flow")
    with torch.no_grad():
        for name, value in dict(merged).items():
            weights[name].copy_(torch.from_numpy(value))
    torch.testing.assert_close(base.velocity(*parts, **more), wanted, rtol=1e-4, atol=1e-4)


def test_a_run_that_is_killed_five_times_ends_with_the_same_bits(tmp_path):
    class Killed(Exception):
        pass

    whole = VoiceTrainer(tiny_flow(), OWN, [clip(70, 20)], HELD, SMALL, tmp_path / "whole").run()
    kills = [1, 2, 4, 5, 7]

    def kill(update: int, *_: float) -> None:
        if update == kills[0]:
            raise Killed

    while kills:
        with pytest.raises(Killed):
            VoiceTrainer(tiny_flow(), OWN, [clip(70, 20)], HELD, SMALL, tmp_path / "killed").run(kill)
        kills.pop(0)
    resumed = VoiceTrainer(tiny_flow(), OWN, [clip(70, 20)], HELD, SMALL, tmp_path / "killed")
    assert resumed.update == 7
    again = resumed.run()
    assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)
    with pytest.raises(ValueError, match="other settings"):
        VoiceTrainer(tiny_flow(), OWN, [], HELD, replace(SMALL, updates=9), tmp_path / "killed")


def test_it_learns_the_speaker_and_keeps_the_best(tmp_path):
    config = replace(SMALL, updates=60, valid_every=10, patience=99, learning_rate=1e-2, rank=8, alpha=8.0)
    trainer = VoiceTrainer(tiny_flow(), OWN, [], HELD, config, tmp_path)
    frozen = trainer.model.net.text_embed.text_embed.weight.clone()
    trainer.run()
    found = trainer.log["valid"]
    assert min(found) < 0.95 * found[0]
    assert torch.equal(frozen, trainer.model.net.text_embed.text_embed.weight)
    assert set(trainer.best) == set(trainer.trained)


def test_it_ends_when_held_out_clips_become_no_better(tmp_path):
    config = replace(SMALL, updates=400, valid_every=1, patience=2, learning_rate=0.5)  # a rate that ruins the network
    trainer = VoiceTrainer(tiny_flow(), OWN, [], HELD, config, tmp_path)
    trainer.run()
    assert trainer.update < 100


def test_damaged_numbers_stop_it(tmp_path):
    bad = clip(80, 3)
    bad.mel[4, 5] = np.nan
    with pytest.raises(NotLearning, match="not finite"):
        VoiceTrainer(tiny_flow(), [bad], [], [], SMALL, tmp_path).run()


def test_only_aligned_models_are_adapted(tmp_path):
    with pytest.raises(ValueError, match="aligned, not average"):
        VoiceTrainer(tiny_flow(text="average"), OWN, [], [], SMALL, tmp_path)


@pytest.mark.parametrize("frames", [40, 191, 193, 500, 2000])
def test_batches_have_one_shape_and_frames_stay_with_their_symbols(frames):
    items = [clip(frames, 1), clip(60, 2)]
    batches = VoiceBatches(items, [clip(90, 7)], 0, SMALL)
    for update in range(12):
        b = batches.batch(update)
        assert b.mel.shape == (3, 192, 100) and torch.isfinite(b.mel).all()
        sums = b.durations.sum(1)
        torch.testing.assert_close(sums, b.mask.sum(1).float(), rtol=0, atol=1.01)
        assert bool((b.hidden & b.mask).any(1).all())
    one, again = batches.batch(3), batches.batch(3)
    assert torch.equal(one.mel, again.mel) and torch.equal(one.ids, again.ids)


def test_others_are_never_shown_without_their_prompt():
    """Else the network would speak as anybody where it is given no prompt."""
    batches = VoiceBatches([clip(60, 1), clip(70, 2)], [clip(90, 7)], 0, replace(SMALL, drop_audio=0.5, drop_both=0.5))
    made = [batches.batch(update) for update in range(20)]
    assert all(bool(b.drop_audio[:2].all()) for b in made)
    assert not any(bool(b.drop_audio[2]) or bool(b.drop_text[2]) for b in made)


def test_one_long_clip_alone_is_drawn():
    b = VoiceBatches([clip(900, 1)], [], 0, SMALL).batch(0)
    assert b.mask.sum() > 0


def test_more_sound_is_worth_more_updates():
    found = [updates_for(seconds) for seconds in (2, 8, 30, 60, 300, 1800, 9999)]
    assert found == sorted(found) and found[0] == 60 and found[3] == 150 and found[-1] == 300


def test_the_pace_is_learnt_or_left_alone():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = DurationModel(VOCAB, dim=16, layers=1, style_dim=16, prompt_dim=16, prompt_layers=1)
    plain = copy.deepcopy(model)
    found, errors = learn_pace(model, OWN, HELD, OWN[0].mel, 250)
    assert errors["after"] < errors["before"]
    with torch.no_grad():
        for name, value in plain.named_parameters():
            value.add_(found[name])
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_one_clip_says_how_quick_a_person_is():
    """Half of what a clip says whose speech is a quarter longer, as a logarithm of its length; pauses do not count."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = DurationModel(VOCAB, dim=16, layers=1, style_dim=16, prompt_dim=16, prompt_layers=1).eval()
    ids, prompt = OWN[0].ids, OWN[0].mel
    speech = np.array([not is_pause(VOCAB[i]) for i in ids])
    assert 0 < speech.sum() < len(ids)
    with torch.no_grad():
        said = model(torch.from_numpy(ids)[None], torch.from_numpy(prompt)[None])[0].numpy()
    slow = replace(OWN[0], durations=np.where(speech, 1.25 * (said + 1) - 1, 400.0).astype(np.float32))
    other = copy.deepcopy(model)
    found, errors = learn_pace(model, [slow], [], prompt, 0)
    assert list(found) == ["head.bias"] and errors["after"] < errors["before"]
    with torch.no_grad():
        other.head.bias.add_(found["head.bias"])
        now = other(torch.from_numpy(ids)[None], torch.from_numpy(prompt)[None])[0].numpy()
    assert np.log((now[speech] + 1).sum() / (said[speech] + 1).sum()) == pytest.approx(np.log(1.25) / 2, abs=1e-3)
