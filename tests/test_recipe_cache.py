"""The cache of the voice's corpus: altered copies, and a run that was killed."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "builtin"))
import alter as alters
import cache as caches
import tones
from alter import alter

from tts_fm.audio.mel import SAMPLE_RATE, log_mel
from tts_fm.data.manifest import Utterance, write_manifest


@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_an_altered_voice_is_longer_and_lower_and_louder(factor: float) -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = torch.from_numpy(0.2 * np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    found = alter(tone, [factor, *[6.0] * 8]).numpy()
    assert len(found) == round(SAMPLE_RATE * factor) and found.dtype == np.float32
    middle = found[4000:-4000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * SAMPLE_RATE / len(middle) == pytest.approx(1000 / factor, rel=0.01)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.2 * 10 ** (6 / 20) / 2**0.5, rel=0.02)


def test_the_equaliser_goes_straight_between_its_points() -> None:
    click, gains = torch.zeros(9600), [0.0, -12.0, 3.0, 0.0, 0.0, 6.0, 0.0, -20.0]
    click[4800] = 0.1
    found = 20 * np.log10(np.abs(np.fft.rfft(alter(click, [1.0, *gains]).numpy())) / 0.1)
    wanted = np.interp(np.sqrt(np.linspace(0, 1, len(found))), np.linspace(0, 1, 8), gains)
    assert np.abs(found - wanted)[20:].max() < 0.5  # the click is cut to the length of the wave


def test_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([alters.draw(rng) for _ in range(300)])
    sizes = np.abs(np.log(drawn[:, 0]))
    assert np.log(1.04) <= sizes.min() and sizes.max() <= np.log(1.22) and 0.3 < (drawn[:, 0] > 1).mean() < 0.7
    levels = drawn[:, 1:].mean(1)
    assert -6 <= levels.min() < -5 and 2 < levels.max() <= 3 and 3 < (drawn[:, 1:] - levels[:, None]).std() < 5
    loud = alter(torch.full((5000,), 0.9), [1.1, *[12.0] * 8])
    assert float(loud.abs().max()) <= 0.98 + 1e-6


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.write(tmp_path_factory.mktemp("tones") / "corpus", ["a", "b", "c"], valid=1)


@pytest.fixture(scope="module")
def whole(corpus: Path) -> Path:
    caches.main([str(corpus), str(corpus.parent / "whole"), "--jobs", "1"])
    return corpus.parent / "whole"


def test_what_is_in_the_cache(whole: Path) -> None:
    rows = json.loads((whole / caches.INDEX).read_text())
    assert [row["id"] for row in rows] == ["tone_000", "tone_001", "tone_002", "tone_000_altered", "tone_001_altered"]
    wave, mels = np.fromfile(whole / caches.WAVES, np.int16), np.fromfile(whole / caches.MELS, np.float16)
    assert sum(row["samples"] for row in rows) == len(wave)
    for row in rows:
        factor = row.get("altered", [1.0])[0]
        its = wave[row["sample"] : row["sample"] + row["samples"]].astype(np.float32) / 32767
        frames = row["lead_frames"] + sum(row["unit_frames"]) + row["tail_frames"]
        assert len(its) == pytest.approx(frames * 600, abs=1) and row["speed"] == pytest.approx(1 / factor)
        mel = mels.reshape(-1, 100)[row["frame"] : row["frame"] + row["frames"]]
        loud = mel > -4  # where the rounding of the wave, of which the mel knows nothing, is not heard
        assert loud.any() and np.abs(mel - log_mel(its))[loud].max() < 0.1


@pytest.mark.parametrize("torn", ["nothing", "samples", "note", "all"])
def test_a_killed_run_goes_on(corpus: Path, whole: Path, tmp_path: Path, monkeypatch, torn: str) -> None:
    decode, seen = caches.decode, []

    def dying(root: Path, row: dict):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(row["id"])
        return decode(root, row)

    words = [str(corpus), str(tmp_path), "--jobs", "1"]
    monkeypatch.setattr(caches, "decode", dying)
    with pytest.raises(KeyboardInterrupt):
        caches.main(words)
    assert not (tmp_path / caches.INDEX).exists()
    notes = tmp_path / caches.DONE
    if torn == "samples":  # of a third clip, without their note
        with open(tmp_path / caches.WAVES, "ab") as file:
            file.write(b"garbage")
    elif torn == "note":
        notes.write_bytes(notes.read_bytes()[:-20])
    elif torn == "all":  # a power cut: the notes are there, the sound is not
        (tmp_path / caches.WAVES).write_bytes(b"")
    again: list[str] = []
    monkeypatch.setattr(caches, "decode", lambda root, row: (again.append(row["id"]), decode(root, row))[1])
    caches.main(words)
    assert len(again) == {"nothing": 3, "samples": 3, "note": 4, "all": 5}[torn]
    for name in (caches.WAVES, caches.MELS, caches.INDEX):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    assert not notes.exists()


def test_rows_are_whole(tmp_path: Path) -> None:
    """A manifest leaves out what is as usual."""
    usual = Utterance("a", "a.flac", "A.", "s", 1.0, units=("a",), unit_frames=(40,), about={"speed": 1.0})
    write_manifest(
        tmp_path / "manifest.jsonl",
        [usual, dataclasses.replace(usual, id="b", lang="en-gb", unit_frames=(36,), tail_frames=4)],
    )
    one, two = caches.read_rows(tmp_path)
    assert (one["lang"], one["lead_frames"], one["tail_frames"], one["split"]) == ("en-us", 0, 0, "train")
    assert (two["lang"], two["tail_frames"], two["speed"]) == ("en-gb", 4, 1.0)
