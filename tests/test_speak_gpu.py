"""The corpus that a GPU speaks: its mel, its altered voices, and the cache that the recipes read."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

from data_prep.kokoro_model import FRAME, Spoken
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
    part = {"text": "a cat", "units": ["ɐ", " ", "k", "æ", "t"] * 9, "source": "x", "lead": 0, "behind": 3}
    rows = [
        {"id": f"g{n}", "lang": "en-us", "speed": 1.0, "voices": {"af_one": 1.0}, "speaker": "s", "split": "train",
         "parts": [part] * (1 + n % 2)}
        for n in range(3)
    ]  # fmt: skip
    rows[1]["altered"] = [1.25, *[0.0] * 8]
    rows[2]["voices"] = {"af_kore": 1.0}  # held out: told, and not spoken
    with gzip.open(tmp_path / "plan.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "out").mkdir()
    speak._worker(0, 1, tmp_path, tmp_path / "plan.jsonl.gz", tmp_path / "out", "cpu", float("inf"))
    found = json.loads((tmp_path / "out" / "part-00.json").read_text())
    assert [row["id"] for row in found] == ["g0_0", "g1_0"]
    assert found[1]["text"] == "a cat a cat", "a tone without a pause is not cut"
    for row, factor in zip(found, (1.0, 1.25), strict=True):
        frames = row["lead_frames"] + sum(row["unit_frames"]) + row["tail_frames"]
        assert len(row["unit_frames"]) == len(row["units"])
        assert row["lead_frames"] == 0 and frames * 600 == pytest.approx(row["samples"], abs=1)
        assert row["frames"] == row["samples"] // 256 + 1 and row["speed"] == 1 / factor
    sound = np.fromfile(tmp_path / "out" / "part-00.wav", np.int16)
    mels = np.fromfile(tmp_path / "out" / "part-00.mel", np.float16).reshape(-1, 100)
    last = found[1]
    wave = (sound[last["sample"] : last["sample"] + last["samples"]] / 32767).astype(np.float32)
    np.testing.assert_allclose(mels[last["frame"] :], log_mel(wave), atol=0.02)


def spoken(pauses: list[tuple[int, int, float]], first: int = 12) -> tuple[Spoken, list[dict]]:
    """Texts of four phones of 3 frames and a full stop. A pause: frames of the full stop and of the space behind it,
    how loud they are. Each text is a noise of its own level, so that it is found again.
    """
    rng, waves, frames, parts = np.random.default_rng(0), [np.zeros(first * FRAME)], [], []
    for number, (stop, space, loud) in enumerate(pauses):
        waves += [(0.1 + 0.05 * number) * rng.choice([-1, 1], 12 * FRAME), np.full((stop + space) * FRAME, loud)]
        frames += [3, 3, 3, 3, stop, space]
        silence = {"lead": 8, "behind": 6, "source": "x"}
        parts.append({"text": f"{number}.", "units": [*"kætə", "."]} | silence)
    return Spoken(np.concatenate(waves).astype(np.float32), first, frames[:-1], frames[-1]), parts


def test_texts_are_cut_apart_in_quiet_pauses() -> None:
    said, parts = spoken([(4, 3, 1e-4), (4, 2, 0.1), (9, 5, 1e-4), (1, 1, 1e-4), (7, 1, 0.0)])
    found = speak.apart(said, parts)
    assert [[part["text"] for part in some] for some, _ in found] == [["0."], ["1.", "2."], ["3.", "4."]]
    for some, clip in found:
        units = [unit for part in some for unit in (*part["units"], " ")][:-1]
        assert len(clip.frames) == len(units) and all(n >= 0 for n in clip.frames)
        assert len(clip.wave) == FRAME * (clip.lead + sum(clip.frames) + clip.tail)
        edges = np.cumsum([clip.lead, *clip.frames]) * FRAME
        level = [0.1 + 0.05 * int(part["text"][0]) for part in some]
        for number, loud in enumerate(level):  # each text is where its times say, whole
            begin = edges[6 * number]
            np.testing.assert_array_equal(np.abs(clip.wave[begin : begin + 12 * FRAME]), np.float32(loud))
    leads, tails = [clip.lead for _, clip in found], [clip.frames[-1] + clip.tail for _, clip in found]
    assert leads == [8, 8, 8] and tails[:2] == [7, 7] and tails[2] == 8, "wanted silence; the true end at the end"
    assert np.abs(found[1][1].wave[: 5 * FRAME]).max() < 1e-3, "nothing of the text before it"


def test_a_pause_with_a_click_in_it_is_cut_where_it_is_quiet() -> None:
    said, parts = spoken([(6, 4, 1e-4), (5, 1, 0.0)])
    said.wave[(12 + 12 + 2) * FRAME : (12 + 12 + 3) * FRAME] = 0.05
    first, second = speak.apart(said, parts)
    assert np.abs(second[1].wave[: second[1].lead * FRAME]).max() < 1e-3
    assert first[1].frames[:4] == [3, 3, 3, 3]


def test_a_text_without_phones_is_not_cut_off() -> None:
    said, parts = spoken([(4, 3, 0.0), (4, 3, 0.0)])
    parts[0]["units"] = list(".....")
    assert [len(some) for some, _ in speak.apart(said, parts)] == [2]
