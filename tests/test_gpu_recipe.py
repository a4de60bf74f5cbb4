"""The script that a machine with a GPU runs first, on the device of --device and at toy sizes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from recipes.gpu import pack, parts
from tts_fm.errors import ModelError


def test_all_parts_print_their_tables(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    parts.main(["--device", device, "--small"])
    told = capsys.readouterr().out
    for name in ("| f5_v1 | bfloat16 |", "| e2 | float32 |", "| builtin | training, eager |", "RTF", "| updates | 4 |"):
        assert name in told


def test_a_part_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no part is called fast; there are check, speed, train"):
        parts.main(["fast"])


def test_a_deviation_above_its_limit_is_an_error(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parts.LIMITS, "bfloat16", 1e-9)
    with pytest.raises(ValueError, match="f5_v1 in bfloat16 deviates"):
        parts.main(["check", "--device", device, "--small"])


# --- the voice


def tones(folder: Path, clips: int = 4) -> Path:
    """A corpus of tones whose units the built-in voice knows."""
    if str(parts.voice.BUILTIN) not in sys.path:
        sys.path.insert(0, str(parts.voice.BUILTIN))
    import tones

    return tones.write(folder, [f"s{number}" for number in range(clips)])


def test_a_corpus_goes_in_pieces_and_arrives_whole(tmp_path: Path) -> None:
    corpus = tones(tmp_path / "corpus", 12)
    pieces = pack.pack(corpus, tmp_path / "pieces", most=50_000, jobs=1)
    assert len(pieces) > 1 and all(path.stat().st_size <= 50_000 for path in pieces)
    assert pack.unpack(tmp_path / "pieces", tmp_path / "there") == 12
    before, after = (
        [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
        for folder in (corpus, tmp_path / "there")
    )
    for old, new in zip(before, after, strict=True):
        true, rate = soundfile.read(corpus / old["audio"])
        found, its_rate = soundfile.read(tmp_path / "there" / new["audio"])
        assert its_rate == rate and len(found) == len(true) and old | {"audio": new["audio"]} == new
        assert np.corrcoef(true, found)[0, 1] > 0.95, "in time to the sample"
    pieces[0].unlink()
    assert 0 < pack.unpack(tmp_path / "pieces", tmp_path / "part") < 12, "some pieces are a corpus too"
    with pytest.raises(ValueError, match="no corpus-"):
        pack.unpack(tmp_path, tmp_path / "none")


def test_weights_come_back_in_small_files(tmp_path: Path) -> None:
    weights = {f"layer.{n}": torch.randn(100, 10).half() for n in range(9)}
    (tmp_path / "run" / "builtin").mkdir(parents=True)
    save_file(weights, tmp_path / "run" / "builtin" / "model.safetensors")
    (tmp_path / "run" / "builtin" / "config.json").write_text("{}")
    shards = pack.shard(tmp_path / "run" / "builtin" / "model.safetensors", tmp_path / "few", most=5000)
    assert len(shards) > 2 and all(path.stat().st_size <= 5000 for path in shards)
    pack.join(tmp_path / "few", tmp_path / "joined")
    assert all(torch.equal(weights[k], v) for k, v in load_file(tmp_path / "joined" / "model.safetensors").items())
    pack.bring(tmp_path / "run", tmp_path / "out")
    written = pack.join(tmp_path / "out", tmp_path / "assets")
    assert {path.name for path in written} == {"model.safetensors", "config.json"}
    shards[1].unlink()
    with pytest.raises(ModelError, match="few/model-2.safetensors is missing"):
        pack.join(tmp_path / "few", tmp_path / "again")


def test_the_voice_is_trained_on_and_brought_back(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack.pack(tones(tmp_path / "corpus"), tmp_path / "pieces", jobs=1)
    line = [
        "train",
        "--device",
        device,
        "--small",
        "--corpus",
        str(tmp_path / "pieces"),
        "--out",
        str(tmp_path / "out"),
    ]
    parts.main(line)
    told = capsys.readouterr().out
    assert "| flow | 2 |" in told and "| vocoder | 2 |" in told and "| duration | 2 |" in told
    assert all(path.stat().st_size < 16_000_000 for path in (tmp_path / "out" / "assets").rglob("*.safetensors"))
    pack.join(tmp_path / "out" / "assets", tmp_path / "assets")
    shipped = parts.voice.SHIPPED
    for name in ("model.safetensors", "vocoder/vocoder.safetensors", "duration/model.safetensors"):
        old, new = load_file(shipped / name), load_file(tmp_path / "assets" / "builtin" / name)
        assert {k: (v.shape, v.dtype) for k, v in old.items()} == {k: (v.shape, v.dtype) for k, v in new.items()}
        assert all(torch.isfinite(v).all() for v in new.values())
        assert max(float((old[k].float() - new[k].float()).abs().max()) for k in old) < 0.1, "begun at what is shipped"
