"""The flow's recipe by the clock: its rate, its averages, and that a run that was stopped is the run that was not."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import cache as caches
import flow
import loop
import tones

from tts_fm.config import ModelConfig, TrainConfig
from tts_fm.model.flow_model import FlowModel


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    corpus = tones.write(folder / "corpus", ["a", "a", "b", "b"], valid=1)
    caches.main([str(corpus), str(folder / "cache"), "--no-copies", "--jobs", "1"])
    return folder / "cache"


def run_of(cache: Path, out: Path, steps: int, *more: str) -> flow.Run:
    """A run of a toy network."""
    args = flow.parse([str(cache), str(out), "--steps", str(steps), *more])
    vocab = flow.make_vocab(cache)
    torch.manual_seed(0)
    model = FlowModel(ModelConfig(text="aligned", vocab=len(vocab), dim=64, depth=1, heads=1, text_dim=16,
                                  text_layers=1, patch=2), vocab)  # fmt: skip
    items = flow.Corpus(cache, "train", vocab, paired=True)
    config = TrainConfig(steps=steps, decay=args.decay, batch_frames=900, warmup=2, bf16=False)
    return flow.Run(args, model, items, None, config, out, device="cpu")


def test_a_resumed_run_has_the_same_averages(cache: Path, tmp_path: Path) -> None:
    more = ("--decay", "0", "--averages", "0.5", "0.9")
    whole = run_of(cache, tmp_path / "whole", 6, *more)
    whole.run()
    run_of(cache, tmp_path / "cut", 3, *more).run()
    cut = run_of(cache, tmp_path / "cut", 6, *more)
    assert cut.step == 3
    cut.run()
    names = list(whole.plain.state_dict())
    saved = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)["averages"]
    for decay in ("0.5", "0.9"):
        for name, a, b in zip(names, whole.averages[decay], cut.averages[decay], strict=True):
            assert torch.equal(a, b) and torch.equal(saved[decay][name], a)
    last = whole.plain.state_dict()["net.proj_out.weight"]
    at = names.index("net.proj_out.weight")
    near, far = (float((whole.averages[decay][at] - last).norm()) for decay in ("0.5", "0.9"))
    assert 0 < near <= far, "the one that forgets sooner is nearer to the last weights"


def test_the_rate_falls_by_the_clock(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    run = run_of(cache, tmp_path, 9, "--minutes", "10", "--until", "1600", "--fall", "0.5", "--lr", "1e-3")
    assert run.rate() == pytest.approx(0.5e-3), "the first of two steps of warm-up"
    run.step = 5
    for now, rate in ((1000, 1e-3), (1300, 1e-3), (1450, 0.5e-3), (1600, 0.0), (1700, 0.0)):
        clock[0] = now
        assert run.rate() == pytest.approx(rate, abs=1e-12)


def test_minutes_go_on_over_resumed_runs_and_until_is_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    loop.add_clock(parser)
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert loop.share_used(parser.parse_args(["--minutes", "2"]), used=30) == 0.25
    assert loop.share_used(parser.parse_args([]), used=30) == 0
    assert loop.share_used(parser.parse_args(["--minutes", "2", "--until", "1030"]), used=0) == 0.75


def test_by_the_clock_a_state_is_saved_every_minute(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(cache, tmp_path, 9, "--minutes", "100", "--fall", "0.5", "--averages", "0.9")
    run.batches = run.loader.stream(run.numbers())
    saved: list[int] = []
    monkeypatch.setattr(run, "save", lambda: saved.append(run.step))
    for run.step in range(3):
        run.saved -= 0 if run.step == 1 else flow.SAVE_EVERY + 1
        run.update()
    assert saved == [0, 2]


def test_a_share_needs_minutes(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--fall is a share of --minutes"):
        run_of(cache, tmp_path, 9, "--fall", "0.5")


def test_compiled_blocks_take_any_shape(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of several lengths and sizes, and one graph for all of them."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    run = run_of(cache, tmp_path, 9)
    for block in run.plain.net.blocks():
        monkeypatch.setattr(block, "compile", lambda b=block, **how: torch.nn.Module.compile(b, backend=backend, **how))
    torch._dynamo.reset()
    flow.compile_for_all_lengths(run.plain)
    for items, frames in ((7, 96), (5, 160), (3, 256)):
        x, mask = torch.zeros(items, frames, 100), torch.ones(items, frames, dtype=torch.bool)
        ids, flags = torch.zeros(items, 4, dtype=torch.int64), torch.zeros(items, dtype=torch.bool)
        more = (torch.full((items, 4), frames / 4), flags, flags, torch.Generator().manual_seed(0))
        run.plain(x, mask, mask, ids, *more).loss.backward()
    assert len(graphs) == 1
