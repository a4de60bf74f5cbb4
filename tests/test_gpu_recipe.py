"""The script that a machine with a GPU runs first, on the device of --device and at toy sizes."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data_prep.shared import run as exit_with
from recipes.gpu import check, pack, parts, speed
from recipes.gpu.table import Table
from tts_fm.errors import ModelError


def test_all_parts_print_their_tables(device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "speaking.json.gz"
    assert parts.main(["--device", device, "--small", "--trace", str(trace)]) == 0
    told = capsys.readouterr().out
    for name in ("| f5_v1 | bfloat16 |", "| e2 | float32 |", "| builtin | training, eager", "RTF", "| updates | 4 |"):
        assert name in told
    for name in ("host waits per step", "operators on the CPU per step", "built-in voice | units to wave", "vocoder"):
        assert name in told
    assert "FAILED" not in told and trace.stat().st_size > 1000


def test_the_suite_names_tests_that_are_there() -> None:
    root = Path(__file__).resolve().parents[1]
    script = (root / "recipes" / "gpu" / "run.sh").read_text().rpartition('"$@" \\\n')[2]
    told = subprocess.run(["bash", "-c", f"echo {script}"], capture_output=True, text=True, check=True).stdout.split()
    assert len(told) > 5 and all((root / name).is_file() for name in told), told


def test_a_part_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no part is called fast; there are check, speed, train"):
        parts.main(["fast"])


def test_what_fails_is_a_row_and_the_rest_goes_on(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(model, b):
        if model.dtype == torch.float16:
            raise RuntimeError("no kernel | image\nis there")
        return velocity(model, b)

    velocity = check.velocity
    monkeypatch.setattr(check, "velocity", broken)
    monkeypatch.setitem(check.LIMITS, "bfloat16", 1e-9)
    assert parts.main(["check", "--device", device, "--small"]) == 1
    told = capsys.readouterr().out
    assert told.count("| float16 | FAILED, RuntimeError: no kernel / image is there |") == 4
    assert told.count("1e-09, ABOVE IT |") == 4 and told.count("| float32 |") == 4 and "8 rows failed" in told


def test_no_part_takes_longer_than_it_may(capsys: pytest.CaptureFixture[str]) -> None:
    table, begin = Table("speed", "what", "figure", seconds=0.2), time.perf_counter()
    with table.attempt("all"):
        with table.attempt("slow"):
            time.sleep(30)
        with table.attempt("late"):
            time.sleep(30)
        with table.attempt("compiled"):
            try:
                time.sleep(30)
            except TimeoutError as error:
                raise RuntimeError("backend='inductor' raised:\n...") from error
    assert time.perf_counter() - begin < 20 and table.end() == 3
    told = capsys.readouterr().out
    assert "| slow | cut off: the time was up |" in told and "| late | left out: the time was up |" in told
    assert "| compiled | cut off: the time was up |" in told


def test_a_device_that_is_not_there_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert exit_with(parts.main, ["check", "--device", "cuda:97"]) == 2
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("error: the device 'cuda:97' cannot be used") and "\n" not in line


def test_a_batch_is_halved_until_it_fits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def rate(config, b, *_):
        if len(b.mel) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return 1000.0, 494.5

    monkeypatch.setattr(speed, "frames_a_second", rate)
    monkeypatch.setattr(speed, "peak_of", lambda device: 989)
    table = Table("speed", "what", "how", "figure")
    speed.training(table, "f5_base", None, 16, torch.device("cpu"), True, compiled=False)
    assert "| training, eager, 2 x 96 | 1,000 frames/s, 494.5 TFLOP/s, 50% of 989 TFLOP/s |" in capsys.readouterr().out
    assert table.failed == 0


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
    soundfile = pytest.importorskip("soundfile")
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
    with tarfile.open(pieces[0], "w") as tar:
        pack._add(tar, "../outside.txt", b"")
    with pytest.raises(ValueError, match=r"'\.\./outside\.txt'"):
        pack.unpack(tmp_path / "pieces", tmp_path / "safe")
    assert not (tmp_path / "outside.txt").exists()


def a_run(folder: Path) -> dict[str, torch.Tensor]:
    """What voice.py leaves in its folder of runs; returns the flow's weights."""
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer.{n}": torch.randn(100, 10, generator=generator).half() for n in range(9)}
    built, other = folder / "assets" / "builtin", folder / "others" / "0.03"
    (built / "vocoder").mkdir(parents=True)
    other.mkdir(parents=True)
    save_file(weights, built / "model.safetensors")
    save_file({"v": torch.ones(4)}, built / "vocoder" / "vocoder.safetensors")
    (built / "config.json").write_text("{}")
    save_file({k: v + 0.01 * torch.randn(100, 10, generator=generator).half() for k, v in weights.items()},
              other / "model.safetensors")  # fmt: skip
    (folder / "flow.txt").write_text("a log")
    return weights


def test_weights_come_back_in_small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack.shard, "__defaults__", (5000, ""))
    weights = a_run(tmp_path / "runs")
    out = tmp_path / "out"
    written = pack.bring(tmp_path / "runs", out)
    shards = [path for path in written if path.name.startswith("flow-")]
    assert len(shards) > 2 and all(path.stat().st_size <= 5000 for path in shards)
    assert {path.name for path in written} == {path.name for path in out.iterdir()}
    found = pack.join(out, tmp_path / "assets")
    assert {path.name for path in found} == {"model.safetensors", "vocoder.safetensors", "config.json"}
    joined = load_file(tmp_path / "assets" / "builtin" / "model.safetensors")
    assert all(torch.equal(weights[k], v) for k, v in joined.items()) and joined.keys() == weights.keys()
    assert (out / "logs" / "flow.txt").read_text() == "a log"
    pack.join(out, tmp_path / "other", "0.03")
    wanted = load_file(tmp_path / "runs" / "others" / "0.03" / "model.safetensors")
    for k, v in load_file(tmp_path / "other" / "builtin" / "model.safetensors").items():
        assert float((v.float() - wanted[k].float()).abs().max()) < 1.5e-3 and v.dtype == torch.float16
        assert float((v - weights[k]).abs().max()) > 0.01
    old = {k: torch.zeros_like(v) for k, v in weights.items()}
    save_file(old, tmp_path / "assets" / "builtin" / "model.safetensors")
    pack.join(out, tmp_path / "assets", share=0.25)
    for k, v in load_file(tmp_path / "assets" / "builtin" / "model.safetensors").items():
        torch.testing.assert_close(v, weights[k] / 4)
    with pytest.raises(ValueError, match=r"average-0.5.gz is not there"):
        pack.join(out, tmp_path / "again", "0.5")
    with pytest.raises(ValueError, match="no shards"):
        pack.join(tmp_path / "runs", tmp_path / "again")
    shards[1].unlink()
    with pytest.raises(ModelError, match="flow-2.safetensors is missing"):
        pack.join(out, tmp_path / "again")


def a_cache(folder: Path, clips: int = 4) -> Path:
    """A cache of tones as cache.py writes it."""
    corpus = tones(folder / "corpus", clips)
    import cache

    cache.main([str(corpus), str(folder / "cache"), "--no-copies", "--jobs", "1"])
    return folder / "cache"


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes run in this process, one at a time: each for itself would import torch first."""
    turn = threading.Lock()

    def once(part: parts.voice.Part, line: list[str]) -> int:
        with turn, monkeypatch.context() as patch:
            patch.setattr(sys, "argv", line[1:])
            try:
                runpy.run_path(line[1], run_name="__main__")
            except SystemExit as stop:
                return int(stop.code or 0)
        return 0

    monkeypatch.setattr(parts.voice.Part, "once", once)


@pytest.mark.usefixtures("in_turn")
def test_the_voice_is_trained_on_and_brought_back(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--device", device, "--small", "--cache", str(a_cache(tmp_path)), "--out", str(tmp_path / "out")]
    parts.main([*line, "--averages", "--duration", "--steps nonsense"])
    told = capsys.readouterr().out
    assert "| flow | 2 | done" in told and "| vocoder | 3 | done" in told
    assert "| duration | 0 | FAILED with code 2" in told, "one that fails does not keep the others back"
    brought = list((tmp_path / "out").iterdir())
    assert len(brought) <= 8 and sum(path.stat().st_size for path in brought) < 64 << 20
    assert all(path.stat().st_size <= 16 << 20 for path in brought)
    pack.join(tmp_path / "out", tmp_path / "assets")
    assert "FAILED with code 2" in (tmp_path / "out" / "logs" / "table.txt").read_text()
    for name in ("model.safetensors", "vocoder/vocoder.safetensors"):
        old, new = load_file(parts.voice.SHIPPED / name), load_file(tmp_path / "assets" / "builtin" / name)
        assert {k: (v.shape, v.dtype) for k, v in old.items()} == {k: (v.shape, v.dtype) for k, v in new.items()}
        assert all(torch.isfinite(v).all() for v in new.values())
        assert max(float((old[k].float() - new[k].float()).abs().max()) for k in old) < 0.1, "begun at what is shipped"


def test_one_by_one_the_vocoder_learns_from_the_new_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    run = parts.voice.Voice("cpu", True, tmp_path / "out", runs, tmp_path, {}, flow_share=0.75)
    its = {part.name: part for part in run.parts(8.0, begin=1000.0)}
    assert {name: part.until for name, part in its.items()} == {"flow": 1360, "vocoder": 1480, "duration": 1360}
    before, line = its["vocoder"].lines
    assert str(runs / "flow") in before and line[line.index("--minutes") + 1] == "2.000" and "1480.0" in line
    assert its["flow"].lines[0][its["flow"].lines[0].index("--minutes") + 1] == "6.000"
    seen: list[str] = []

    def work(part: parts.voice.Part) -> None:
        seen.append(f"{part.name} begins")
        time.sleep(0.1)
        seen.append(f"{part.name} ends")

    monkeypatch.setattr(parts.voice.Part, "run", work)
    run.train(list(its.values()), 0.0)
    assert seen[-2:] == ["vocoder begins", "vocoder ends"] and len(seen) == 6
    with pytest.raises(ValueError, match="between 0 and 1, not 1.5"):
        parts.voice.Voice("cpu", True, tmp_path, tmp_path, tmp_path, {}, flow_share=1.5)


def test_a_cache_is_taken_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = a_cache(tmp_path, 60)
    rows = json.loads((folder / "index.json").read_text())
    rows[1]["units"] = ["?!", *rows[1]["units"][1:]]
    rows[2]["unit_frames"] = rows[2]["unit_frames"][1:]
    del rows[3]["speed"]
    rows[4]["frame"] = 10**6
    (folder / "index.json").write_text(json.dumps([row | {"split": "train"} for row in rows]))
    told = parts.voice.adopt(folder, tmp_path / "taken", ["<unk>", *rows[0]["units"]])
    assert told.startswith("56 clips, 0.1 hours; left out: ")
    assert all(f"1 {what}" in told for what in ("with the unknown unit '?!'", "without speed", "that is not whole"))
    taken = json.loads((tmp_path / "taken" / "index.json").read_text())
    assert [row["split"] for row in taken].count("valid") == 2 and taken[0] == rows[0] | {"split": "valid"}
    assert (tmp_path / "taken" / "mel.f16").read_bytes() == (folder / "mel.f16").read_bytes()
    with pytest.raises(ValueError, match="no clip to train on"):
        parts.voice.adopt(folder, tmp_path / "none", ["a"])


def part(folder: Path, *lines: str, until: float = 1e12) -> parts.voice.Part:
    """A part of a run whose recipes are Python programs."""
    its = [[sys.executable, "-c", line] for line in lines]
    return parts.voice.Part("vocoder", its, ["again"], folder / "vocoder", until)


def test_a_part_that_fails_begins_again_more_carefully(tmp_path: Path) -> None:
    code = "import sys; print('so', sys.argv[1:]); sys.exit(0 if 'again' in sys.argv else 7)"
    run = part(tmp_path, code)
    run.run()
    assert run.state == "done (began again after code 7)"
    assert "so []" in run.log().read_text() and "so ['again']" in run.log().read_text()
    late = part(tmp_path, code, until=0)  # no time is left
    late.run()
    assert late.state == "FAILED with code 7"


def test_a_part_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.voice, "GRACE", 0)
    run = part(tmp_path, "import time; time.sleep(60)", until=0)
    run.run()
    assert run.state.startswith("FAILED with code -")


def test_the_vocoder_does_without_predicted_mels(tmp_path: Path) -> None:
    run = part(tmp_path, "import sys; sys.exit(3)", "import sys; print('got', sys.argv[1:])")
    run.lines[-1] += ["--more", "--predicted", "folder"]
    run.run()
    assert run.state == "done (runs)" and "got ['--more']" in run.log().read_text()
