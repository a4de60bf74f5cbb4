"""The training loop: exact resume, many processes = one, faulty data, what costs memory or time must not change the
result.
"""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from train_worker import Noise, launch, toy_config, toy_trainer

from tts_fm.config import TrainConfig
from tts_fm.train.guard import Diverged, Guard
from tts_fm.train.optimiser import learning_rate, step_if


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def figures(folder: Path, key: str = "loss") -> dict[int, float]:
    """step -> figure; a step that was done twice counts as it was the second time."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row[key] for row in rows if key in row}


def state(folder: Path) -> dict:
    return torch.load(folder / "last.pt", weights_only=True)


def same_end(a: Path, b: Path) -> None:
    one, two = state(a), state(b)
    assert one["step"] == two["step"]
    for kind in ("model", "average"):
        assert all(torch.equal(one[kind][name], two[kind][name]) for name in one[kind]), kind
    assert figures(a) == figures(b) and figures(a, "valid") == figures(b, "valid")


def test_learning_rate():
    config = TrainConfig(steps=100, warmup=10, decay=50, learning_rate=2.0)
    rates = [learning_rate(step, config) for step in range(100)]
    assert (
        rates[0] == pytest.approx(0.2)
        and rates[9] == rates[50] == 2.0
        and rates[75] == pytest.approx(1.0)
        and rates[99] == pytest.approx(0.04)
    )
    assert learning_rate(100, config) == 0


def test_resume_after_a_crash_is_exact(tmp_path: Path):
    toy_trainer(tmp_path / "whole", log_every=2).run()
    broken = toy_trainer(tmp_path / "broken", log_every=2)
    update = broken.update

    def crash():
        if broken.step == 5:
            raise OSError("the disk is gone")
        return update()

    broken.update = crash
    with pytest.raises(OSError, match="gone"):
        broken.run()
    assert state(tmp_path / "broken")["step"] == 3
    toy_trainer(tmp_path / "broken", log_every=2).run()
    same_end(tmp_path / "whole", tmp_path / "broken")
    assert list(figures(tmp_path / "whole")) == [2, 4, 6, 8, 10]


def test_a_damaged_state_is_passed_over_and_the_end_is_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    toy_trainer(tmp_path / "whole").run()
    toy_trainer(tmp_path / "broken").run()
    last = tmp_path / "broken" / "last.pt"
    last.write_bytes(last.read_bytes()[:-1000])
    again = toy_trainer(tmp_path / "broken")
    assert 0 < again.step < 10 and f"{last} is damaged" in caplog.text
    again.run()
    same_end(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_finish_the_step_and_save(tmp_path: Path, number: int):
    toy_trainer(tmp_path / "whole").run()
    before = signal.getsignal(number)
    stopped = toy_trainer(tmp_path / "stopped")
    take = stopped.take
    stopped.take = lambda good: (os.kill(os.getpid(), number) if stopped.step == 4 else None, take(good))[1]
    stopped.run()
    assert stopped.step == state(tmp_path / "stopped")["step"] == 5
    assert signal.getsignal(number) is before
    toy_trainer(tmp_path / "stopped").run()
    same_end(tmp_path / "whole", tmp_path / "stopped")


def test_time_limit_and_second_run(tmp_path: Path):
    toy_trainer(tmp_path / "whole").run()
    trainer = toy_trainer(tmp_path / "parts")
    trainer.run(until=0.0)
    assert trainer.step == 0 and state(tmp_path / "parts")["step"] == 0
    trainer.run()
    same_end(tmp_path / "whole", tmp_path / "parts")


def test_the_loss_is_the_mean_over_the_global_batch(tmp_path: Path):
    """By hand: every hidden frame of all the batches of an update weighs the same."""
    from tts_fm.train.trainer import noise_generator

    trainer = toy_trainer(tmp_path, model={"dropout": 0.0}, accumulate=3)
    total, count = 0.0, 0
    for number in range(3):
        b = trainer.loader[number]
        found = trainer.plain(
            b.mel,
            b.mask,
            b.hidden,
            b.ids,
            b.durations,
            b.drop_audio,
            b.drop_text,
            noise_generator(torch.device("cpu"), 0, number),
        )
        total += float((found.per_item.double() * found.frames).sum())
        count += int(found.frames.sum())
    trainer.batches = trainer.loader.stream(trainer.numbers())
    loss, norm, batches = trainer.update()
    assert loss == pytest.approx(total / count, rel=1e-5) and len(batches) == 3 and norm > 0


# --- more than one process


def test_two_processes_are_one_and_resume_exactly(tmp_path: Path):
    steps = 12
    toy_trainer(tmp_path / "one", accumulate=2, steps=steps).run()
    assert launch(tmp_path / "two", steps=steps) == [0, 0]
    for key in ("loss", "valid", "norm"):
        one, two = figures(tmp_path / "one", key), figures(tmp_path / "two", key)
        assert list(one) == list(two) and len(one) >= 3
        assert all(math.isclose(one[step], two[step], rel_tol=1e-4) for step in one), key
    assert launch(tmp_path / "broken", {1: (4, signal.SIGTERM)}, steps=steps) == [0, 0]  # one is told, both stop
    assert state(tmp_path / "broken")["step"] == 5
    codes = launch(tmp_path / "broken", {0: (8, signal.SIGKILL), 1: (8, signal.SIGKILL)}, steps=steps)
    assert codes == [-9, -9] and state(tmp_path / "broken")["step"] == 6
    assert launch(tmp_path / "broken", steps=steps) == [0, 0]
    same_end(tmp_path / "two", tmp_path / "broken")


def test_sharded_processes_are_one_and_resume_exactly(tmp_path: Path):
    """FSDP over gloo: the course of one process with the same global batch; a kill and resume; whole checkpoints that
    any run reads.
    """
    many = {
        "steps": 6,
        "shard": True,
        "accumulate": 2,
        "checkpointing": True,
        "model": {"shared_adaln": False, "depth": 2},
    }
    alone = many | {"accumulate": 4}
    toy_trainer(tmp_path / "one", **alone).run()
    assert launch(tmp_path / "two", **many) == [0, 0]
    for key in ("loss", "valid", "norm"):
        one, two = figures(tmp_path / "one", key), figures(tmp_path / "two", key)
        assert list(one) == list(two) and all(math.isclose(one[step], two[step], rel_tol=1e-4) for step in one), key
    assert launch(tmp_path / "broken", {0: (4, signal.SIGKILL), 1: (4, signal.SIGKILL)}, **many) == [-9, -9]
    assert launch(tmp_path / "broken", **many) == [0, 0]
    same_end(tmp_path / "two", tmp_path / "broken")
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    for kind in ("model", "average"):
        assert all(torch.allclose(one[kind][name], value, atol=1e-4) for name, value in two[kind].items()), kind
    moments = zip(one["optimiser"]["state"].values(), two["optimiser"]["state"].values(), strict=True)
    assert all(a["exp_avg"].shape == b["exp_avg"].shape and type(b["exp_avg"]) is torch.Tensor for a, b in moments)
    toy_trainer(tmp_path / "two", **(alone | {"steps": 7})).run()  # one process goes on where two stopped
    assert state(tmp_path / "two")["step"] == 7
    with pytest.raises(ValueError, match="without ctc"):
        toy_trainer(tmp_path / "three", shard=True, ctc=0.1)


def test_what_has_changed_is_told(tmp_path: Path, caplog):
    toy_trainer(tmp_path, steps=2).run()
    toy_trainer(tmp_path, steps=3, log_every=2)
    assert "other settings" not in caplog.text
    toy_trainer(tmp_path, steps=3, seed=4, batch_frames=400, accumulate=2)
    told = caplog.text
    assert "seed was 0, is 4" in told and "batch_frames was 500, is 400" in told
    assert "an update had 1 batches (1 processes), has 2 (1)" in told


def test_one_folder_one_run(tmp_path: Path):
    one = toy_trainer(tmp_path, steps=3)
    take = one.take
    seen = []

    def meanwhile(good):
        with pytest.raises(ValueError, match="another run is training in"):
            toy_trainer(tmp_path, steps=3).run()
        seen.append(1)
        take(good)

    one.take = meanwhile
    one.run()
    assert len(seen) == 3
    toy_trainer(tmp_path, steps=4).run()  # the lock is free again


def test_the_log_has_each_step_once(tmp_path: Path):
    trainer = toy_trainer(tmp_path)
    trainer.save = lambda: None  # as if it were killed before its first checkpoint
    trainer.run()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 11, "lo')
    toy_trainer(tmp_path).run()
    steps = [row["step"] for row in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines()) if "loss" in row]
    assert steps == list(range(1, 11))


# --- faulty data and divergence


def test_a_bad_batch_is_skipped_and_counted(tmp_path: Path, caplog):
    trainer = toy_trainer(tmp_path, Noise(broken=(4,)), steps=12)
    trainer.run()
    skipped = int(trainer.guard.skipped)
    assert 0 < skipped < 12 and "not finite: the update is skipped" in caplog.text
    assert all(torch.isfinite(value).all() for value in trainer.average.values())
    assert figures(tmp_path, "skipped")[12] == skipped == state(tmp_path)["guard"]["skipped"]


def test_divergence_stops_with_a_clear_error(tmp_path: Path):
    good = toy_trainer(tmp_path, steps=3)
    good.run()
    before = state(tmp_path)
    with pytest.raises(
        Diverged, match=r"3 updates in a row were skipped, the last at step 5 .*not finite.*lower learning rate"
    ):
        toy_trainer(tmp_path, Noise(broken=tuple(range(23))), steps=10, most_skipped=3, save_every=100).run()
    assert state(tmp_path)["step"] == before["step"] == 3
    assert Diverged.exit_code == 1


def test_spikes():
    guard = Guard(toy_config(spike=4.0), "cpu")
    guard.usual = torch.tensor(1.0)
    assert bool(guard.judge(torch.tensor(9.0), 1)) is True  # still in the warm-up
    guard.usual = torch.tensor(1.0)
    taken = [bool(guard.judge(torch.tensor(norm), 5)) for norm in (3.9, 5.0, math.inf)]
    assert taken == [True, False, False] and float(guard.in_row) == 2
    assert bool(guard.judge(torch.tensor(1.0), 5))
    assert guard.state() == {"usual": pytest.approx(1.05684), "skipped": 2, "in_row": 0}


def test_a_step_that_is_not_taken_changes_nothing():
    """Against torch's own AdamW, called only for the steps that are taken."""
    one, two = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    two.load_state_dict(one.state_dict())
    ours, theirs = (torch.optim.AdamW(m.parameters(), lr=0.1, fused=f) for m, f in ((one, True), (two, False)))
    for k, good in enumerate([True, False, True, False]):
        for model in (one, two):
            x = torch.full((1, 3), float("nan") if not good else k + 1.0)
            model.zero_grad()
            model(x).sum().backward()
        step_if(ours, torch.tensor(good))
        if good:
            theirs.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert {float(kept["step"]) for kept in ours.state.values()} == {2.0} and not hasattr(ours, "found_inf")


def test_a_folder_of_another_model(tmp_path: Path):
    toy_trainer(tmp_path, steps=1).run()
    with pytest.raises(ValueError, match="belongs to another model"):
        toy_trainer(tmp_path, model={"dim": 128, "heads": 2})


# --- what must not change the result


@pytest.mark.parametrize("model", [{}, {"backbone": "unett", "depth": 2, "shared_adaln": False}])
def test_checkpointing_gives_the_same(tmp_path: Path, model: dict):
    for name, flag in (("plain", False), ("recomputed", True)):
        toy_trainer(tmp_path / name, model=model, steps=3, checkpointing=flag).run()
    one, two = figures(tmp_path / "plain"), figures(tmp_path / "recomputed")
    assert one == pytest.approx(two, rel=1e-5)
    assert figures(tmp_path / "plain", "norm") == pytest.approx(figures(tmp_path / "recomputed", "norm"), rel=1e-4)


def test_workers_give_the_same(tmp_path: Path):
    for workers in (0, 2):
        toy_trainer(tmp_path / str(workers), workers=workers, steps=5).run()
    same_end(tmp_path / "0", tmp_path / "2")


def test_global_random_state_is_left_alone(tmp_path: Path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trainer = toy_trainer(tmp_path, steps=2)
    torch.set_rng_state(before)
    trainer.run()
    assert torch.equal(torch.get_rng_state(), before)


def test_buckets_with_limits(tmp_path: Path):
    from tts_fm.data.batches import Buckets

    lengths = [96] * 10 + [900] * 10 + [2300]
    plain, square = Buckets(lengths, 4000, 0), Buckets(lengths, 4000, 0, widest=2300, quadratic=1000, most=8)
    assert plain.too_long == 1 and square.too_long == 0
    assert all(
        size <= 8 and (size == 1 or size * (edge + edge**2 / 1000) <= 4000)
        for edge, size in zip(square.edges, square.sizes, strict=True)
    )
    assert {edge for edge, _ in square.epoch(0)} >= {96}


def test_tensorboard_and_share_of_the_peak(tmp_path: Path):
    pytest.importorskip("tensorboard")
    seen = []
    trainer = toy_trainer(
        tmp_path,
        steps=4,
        tensorboard=True,
        peak_tflops=0.5,
        on_valid=lambda model, step: seen.append((model.training, step)),
    )
    trainer.run()
    assert seen == [(False, 4)] and list((tmp_path / "tensorboard").glob("events*"))
    shares = figures(tmp_path, "flops_share")
    assert list(shares) == [1, 2, 3, 4] and 0 < max(shares.values()) < 1


@pytest.mark.parametrize(
    "model",
    [
        {"depth": 2},
        {"style": 8, "style_rank": 4, "shared_adaln": False},
        {"text": "filler"},
        {"backbone": "unett", "depth": 2, "shared_adaln": False},
    ],
)
def test_flops_are_those_that_torch_counts(model: dict):
    from tiny_model import tiny_flow
    from torch.utils.flop_counter import FlopCounterMode

    from tts_fm.model.layers import Attention

    flow, frames = tiny_flow(**model), 200
    for part in flow.net.modules():
        if isinstance(part, Attention):
            part.explicit = True  # the counter does not know the CPU's fused kernel
    real, ids = torch.ones(2, frames, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        durations = torch.full((2, 1), float(frames))
        c = flow.condition(torch.zeros(2, frames, 100), real, ids, real, durations)
        flow.net(torch.zeros(2, frames, 100), torch.zeros(2), c.given, c.given_mask, c.text, c.mask, None, c.voice)
    assert counter.get_total_flops() == pytest.approx(flow.net.flops(2, frames), rel=0.02)
