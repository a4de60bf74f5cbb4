"""Averages of any length, built after a run, against those that are added up directly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import averages
from averages import built, mixture, power, shares

UPDATES = 600


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_a_length_is_the_deviation_of_the_shares(length: float) -> None:
    its, at = shares(length, 5000, 5000), np.arange(1, 5001) / 5000
    assert its.sum() == pytest.approx(1)
    mean = (its * at).sum()
    assert np.sqrt((its * (at - mean) ** 2).sum()) == pytest.approx(length, rel=0.02)
    assert not shares(length, 10, 12)[10:].any()


def test_powers_are_those_of_the_paper() -> None:
    assert power(0.05) == pytest.approx(16.97, abs=0.005) and power(0.1) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize("length", [0.0, 0.3, -1.0, float("nan")])
def test_lengths_that_do_not_exist(length: float) -> None:
    with pytest.raises(ValueError, match="a share of the run from"):
        power(length)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A run whose weights walk at random, with a snapshot every 60 updates; and all its weights (updates, 40)."""
    run, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    steps = np.cumsum(rng.normal(size=(UPDATES, 40)), axis=0).astype(np.float32)
    weights = {"a": torch.zeros(30), "b": torch.zeros(2, 5)}
    powers = averages.Powers(weights)
    for update, at in enumerate(steps, start=1):
        weights["a"].copy_(torch.from_numpy(at[:30]))
        weights["b"].copy_(torch.from_numpy(at[30:]).view(2, 5))
        powers.follow(update)
        if update % 60 == 0:
            powers.write(run, update)
    for length in averages.KEPT:
        wanted = shares(length, UPDATES, UPDATES) @ steps
        found = torch.cat([powers.kept[length]["a"], powers.kept[length]["b"].flatten()])
        assert np.allclose(found, wanted, atol=1e-3)
    return run, steps


@pytest.mark.parametrize(("length", "off"), [(0.03, 0.1), (0.05, 1e-3), (0.07, 0.02), (0.1, 1e-3), (0.15, 0.05)])
def test_an_average_of_another_length_is_built(walk: tuple[Path, np.ndarray], length: float, off: float) -> None:
    """In units of what the average is away from the last weights."""
    run, steps = walk
    wanted, tensors = shares(length, UPDATES, UPDATES) @ steps, built(run, length)
    found = torch.cat([tensors["a"], tensors["b"].flatten()]).numpy()
    assert tensors["b"].shape == (2, 5)
    assert np.linalg.norm(found - wanted) < off * np.linalg.norm(wanted - steps[-1])


def test_what_cannot_be_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no averages; train with --snapshots"):
        built(tmp_path, 0.05)
    averages.Powers({"a": torch.zeros(3)}).write(tmp_path, 5000)
    with pytest.raises(ValueError, match="cannot give an average of length 0.01"):
        built(tmp_path, 0.01)


def test_constant_weights_are_their_own_average() -> None:
    found, _ = mixture([(kept, update) for update in (50, 100) for kept in averages.KEPT], 0.2)
    assert found.sum() == pytest.approx(1)
