"""Ranges of configurations: what cannot work is refused where it is given, with the field, the value and what works."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tts_fm.config import MODEL_RANGES, TRAIN_RANGES, ModelConfig, TrainConfig, from_dict, to_dict

BOTH = [(ModelConfig, MODEL_RANGES), (TrainConfig, TRAIN_RANGES)]


@pytest.mark.parametrize(("kind", "ranges"), BOTH)
def test_every_field_has_a_range_and_is_refused_outside_it(kind, ranges) -> None:
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    assert set(ranges) == {name for name, default in fields.items() if not isinstance(default, bool)}
    for name, default in fields.items():
        bad: list[object] = [None, [], "x", float("nan"), b"1"]
        if isinstance(default, bool):
            bad += [1, 0]
        elif isinstance(default, tuple):
            bad += [default[:1], (*default, 0.5), (ranges[name][0] - 1, default[1]), (default[0], ranges[name][1] + 1)]
        elif not isinstance(default, str):
            bad += [True, ranges[name][0] - 1, ranges[name][1] * 2 + 1, float("inf")]
        for value in bad:
            with pytest.raises(ValueError, match=rf"^{kind.__name__}\.{name}\b"):
                kind(**{name: value})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": -1}, "TrainConfig.steps must be a whole number from 1 to 100000000, got -1"),
        ({"ema": 2}, "TrainConfig.ema must be a number from 0 to 0.9999999, got 2"),
        ({"span": (0.9, 0.1)}, "TrainConfig.span .*second must not be smaller"),
        ({"betas": (0.9, 1.0)}, "TrainConfig.betas must be two numbers from 0 to 0.999999"),
        ({"drop_audio": 0.7, "drop_both": 0.5}, "drop_both .*more than 1, got 0.7 and 0.5"),
        ({"fp16": True}, "set bf16 to False"),
        ({"coupling": "pairs"}, "coupling must be one of independent, ot, got 'pairs'"),
        ({"time_law": "gauss"}, "TrainConfig.time_law: unknown law of times 'gauss'; one of uniform"),
        ({"time_law": "logit_normal(0, -1)"}, "TrainConfig.time_law: .*std > 0"),
    ],
)
def test_runs_that_cannot_work(given: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TrainConfig(**given)
    with pytest.raises(ValueError, match=told):
        from_dict(TrainConfig, json.loads(json.dumps(given)))


def test_paths_are_named_by_the_flow() -> None:
    assert ModelConfig(path="vp(0.1, 20)")
    with pytest.raises(ValueError, match="ModelConfig.path: unknown path 'line'; one of ot"):
        ModelConfig(path="line")


def test_more_heads_are_not_rotated_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"rotary_heads must be from 0 \(all\) to 6, the heads, got 7"):
        ModelConfig(rotary_heads=7)


@pytest.mark.parametrize("kind", [ModelConfig, TrainConfig])
def test_json_and_back(kind) -> None:
    assert from_dict(kind, json.loads(json.dumps(to_dict(kind())))) == kind()
    with pytest.raises(ValueError, match="has no field 'Steps'|has no field 'heds'; did you mean 'heads'"):
        from_dict(kind, {"heds" if kind is ModelConfig else "Steps": 3})


def test_all_recipes_and_published_networks_are_in_range() -> None:
    from recipes.libritts.recipes import RECIPES
    from tts_fm.model.published import e2, f5_v0, f5_v1

    assert len(RECIPES) > 3 and all(recipe() for recipe in RECIPES.values())
    assert all(network(size=size) for network in (e2, f5_v0, f5_v1) for size in ("base", "small"))
