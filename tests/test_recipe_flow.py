"""The flow's recipe by the clock: its rate, its averages, and that a run that was stopped is the run that was not."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "lab"))
import ablate
import averages
import cache as caches
import coupling
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
    more = ("--decay", "0", "--snapshots", "2")
    whole = run_of(cache, tmp_path / "whole", 5, *more)
    whole.run()
    run_of(cache, tmp_path / "cut", 3, *more).run()
    cut = run_of(cache, tmp_path / "cut", 5, *more)
    assert cut.step == 3
    cut.run()
    assert sorted(path.stem for path in (tmp_path / "whole" / "averages").iterdir()) == ["2", "4", "5"]
    for update in (4, 5):
        one, two = (load_file(tmp_path / run / "averages" / f"{update}.safetensors") for run in ("whole", "cut"))
        assert one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())
    last = whole.plain.state_dict()["net.proj_out.weight"]
    near, far = (float((one[f"{length}/net.proj_out.weight"] - last).norm()) for length in averages.KEPT)
    assert 0 < near < far, "the shorter one is nearer to the last weights"


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
    run = run_of(cache, tmp_path, 9, "--minutes", "100", "--fall", "0.5")
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


def test_ablations_become_a_table_of_a_page(tmp_path: Path) -> None:
    def row(variant: str, forwards: int, value: float, *of_items: tuple[int, float]) -> dict:
        figure = {"value": value, "low": value - 0.01, "high": value + 0.03}
        items = [
            {"words": {"substitutions": 1, "deletions": edits - 1, "insertions": 0, "length": 10},
             "sim": sim, "dnsmos": {"overall": 3.0}}
            for edits, sim in of_items
        ]  # fmt: skip
        figures = dict.fromkeys(ablate.MEASURES, figure) | {"of_items": ablate.of_items(items)}
        return {"variant": variant, "forwards": forwards} | figures

    # of the similarities every sentence's is higher; of the errors some are more and some are fewer
    better = row("coupling ot", 2, 0.3, (1, 0.9), (4, 0.8), (3, 0.7))
    base = row(ablate.BASE, 2, 0.1, (2, 0.8), (3, 0.6), (3, 0.6))
    off = ablate.against(better, base, "sim")
    assert off.value == pytest.approx(0.4 / 3) and 0.09 < off.low < off.high < 0.21
    assert ablate.against(better, base, "wer").value == 0
    unheard = row("coupling ot", 8, 0.2, (1, 0.5)) | {"wer": None}
    rows = ablate.ordered([row("coupling ot", 2, 0.9, (9, 0.1)), unheard, better, base])  # better was judged anew
    assert ablate.of_items([{"words": None, "sim": 0.5, "dnsmos": None}]) == {"sim": [0.5]}
    assert [(r["variant"], r["forwards"]) for r in rows] == [(ablate.BASE, 2), ("coupling ot", 2), ("coupling ot", 8)]
    page = tmp_path / "page.md"
    page.write_text("before\n" + "\n".join(ablate.MARKS) + "\nafter\n")
    for _ in range(2):
        ablate.write_into(page, ablate.summary(rows))
    lines = page.read_text().split("\n")
    assert lines[0] == "before" and lines[-2] == "after" and len(lines) == 12
    assert f"| {ablate.BASE} | 0.100/- | 0.100/- | 0.10/- |" in lines
    assert "| coupling ot | 0.300/- | 0.300*/0.200 | 0.30/0.20 |" in lines
    assert "WER 0.020, SIM 0.020, DNSMOS 0.020" in page.read_text()
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no <!-- ablation"):
        ablate.write_into(page, "text")


def test_what_coupling_does_to_mels_is_counted(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x0, x1 = torch.tensor([[[1.0], [0.0]], [[3.0], [9.0]]]), torch.tensor([[[2.0], [1.0]], [[6.0], [0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    squares, spread, count = coupling.figures(x0, x1, mask).tolist()
    assert (squares, spread, count) == (1 + 1 + 9, 1 + 1, 3), "velocities 1, 1 and 3; 1 and 3 are a frame's"
    coupling.main([str(cache), "--sizes", "1", "3", "--count", "2"])
    one, three = ([float(cell) for cell in line.replace("%", "").split("|")[2:-1]]
                  for line in capsys.readouterr().out.splitlines()[2:])  # fmt: skip
    assert one[0] == one[1] and one[2] == one[3] == one[4] == 0, "one utterance has nothing to choose from"
    assert three[1] <= three[0] and three[2] >= 0
