"""The corpus that a GPU speaks: its mel, its altered voices, and the cache that the recipes read."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

from recipes.gpu import speak
from tests.test_kokoro import Session, style
from tts_fm.audio.mel import log_mel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_cache_holds_what_the_plan_says(tmp_path, monkeypatch):
    session = Session()
    session.device = torch.device("cpu")
    monkeypatch.setattr("data_prep.kokoro_torch.Graph", lambda *a, **k: session)
    monkeypatch.setattr(
        "data_prep.kokoro_model.load_voices", lambda _: {"af_one": style(0.5)[:, 0], "bf_two": style(0.3)[:, 0]}
    )
    (tmp_path / "part1.bin").write_bytes(b"")
    rows = [
        {"id": f"g{n}", "text": "a cat", "units": ["ɐ", " ", "k", "æ", "t"] * 9, "lang": "en-us", "speed": 1.0,
         "voices": {"af_one": 1.0}, "speaker": "s", "split": "train", "source": "x", "lead": 0}
        for n in range(3)
    ]  # fmt: skip
    rows[1]["altered"] = [1.25, *[0.0] * 8]
    rows[2]["voices"] = {"af_kore": 1.0}  # held out: counted as not spoken
    with gzip.open(tmp_path / "plan.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "out").mkdir()
    speak._worker(0, 1, tmp_path, tmp_path / "plan.jsonl.gz", tmp_path / "out", "cpu", float("inf"))
    found = json.loads((tmp_path / "out" / "part-00.json").read_text())
    assert [row["id"] for row in found] == ["g0", "g1"]
    for row, factor in zip(found, (1.0, 1.25), strict=True):
        frames = row["lead_frames"] + sum(row["unit_frames"]) + row["tail_frames"]
        assert row["lead_frames"] == 0 and frames * 600 == pytest.approx(row["samples"], abs=1)
        assert row["frames"] == row["samples"] // 256 + 1 and row["speed"] == 1 / factor
    assert found[1]["samples"] == pytest.approx(1.25 * found[0]["samples"], abs=1)
    sound = np.fromfile(tmp_path / "out" / "part-00.wav", np.int16)
    mels = np.fromfile(tmp_path / "out" / "part-00.mel", np.float16).reshape(-1, 100)
    last = found[1]
    wave = (sound[last["sample"] : last["sample"] + last["samples"]] / 32767).astype(np.float32)
    np.testing.assert_allclose(mels[last["frame"] :], log_mel(wave), atol=0.02)
