"""A folder with a toy model, a recording and a list of 12 items, and how a batch's folder is looked at: what the tests
of batches share.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import tiny_tts_folder

from tts_fm.audio.files import write_audio
from tts_fm.batch.lists import read_list
from tts_fm.batch.rounds import Options
from tts_fm.batch.run import run_batch
from tts_fm.synthesis import TTS

TEXTS = [
    "Yes.",
    "Hello there.",
    "No way, that is long.",
    "One two three four five.",
    "Fine.",
    "A bee sat on a red tree, humming.",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model, a recording, and a list of 12 items."""
    folder = tmp_path_factory.mktemp("batch")
    tiny_tts_folder(folder / "model")
    t = np.arange(36000) / 24000
    noise = np.random.default_rng(0).standard_normal(len(t))
    write_audio(
        folder / "me.wav", (0.3 * np.sin(900 * t) * (1 + np.sin(20 * t)) + 0.003 * noise).astype(np.float32), 24000
    )
    rows = [{"id": f"item{k}", "text": TEXTS[k % 6], "ref_audio": "me.wav", "seed": k // 6} for k in range(12)]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def tts(place) -> TTS:
    """With one thread: what is compared bit for bit must not depend on the machine."""
    torch.set_num_threads(1)
    return TTS.load(place / "model")


@pytest.fixture(scope="module")
def items(place) -> list:
    return read_list(place / "list.jsonl").items


@pytest.fixture(scope="module")
def unbroken(place, tts, items) -> Path:
    """The folder of a whole run, in batches of 3, with subtitles."""
    assert (
        run_batch(
            items, place / "unbroken", lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m"
        ).exit_code
        == 0
    )
    return place / "unbroken"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith("results")}


def records(folder: Path, name: str = "results.jsonl") -> list[dict]:
    """Without the one field that is a measurement."""
    return [
        {k: v for k, v in json.loads(line).items() if k != "rtf"} for line in (folder / name).read_text().splitlines()
    ]


def never() -> TTS:
    raise AssertionError("the model was loaded although there is nothing to do")
