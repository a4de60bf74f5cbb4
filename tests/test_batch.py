"""Batches with a tiny random model: exactness, resuming after kills, shards, failures, subtitles, and the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import types
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import tiny_tts_folder

from tts_fm import batch, cli
from tts_fm.audio import read_audio, write_audio
from tts_fm.batch import Options, model_digest, rounds, run
from tts_fm.errors import MissingDependency
from tts_fm.lists import read_list
from tts_fm.speaker import Stopped
from tts_fm.synthesis import TTS

TEXTS = ["Yes.", "Hello there.", "No way, that is long.", "One two three four five.", "Fine.", "A bee sat on a red tree, humming."]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model, a recording, and a list of 12 items."""
    folder = tmp_path_factory.mktemp("batch")
    tiny_tts_folder(folder / "model")
    t = np.arange(36000) / 24000
    noise = np.random.default_rng(0).standard_normal(len(t))
    write_audio(folder / "me.wav", (0.3 * np.sin(900 * t) * (1 + np.sin(20 * t)) + 0.003 * noise).astype(np.float32), 24000)
    rows = [{"id": f"item{k}", "text": TEXTS[k % 6], "ref_audio": "me.wav", "seed": k // 6} for k in range(12)]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def tts(place) -> TTS:
    torch.set_num_threads(1)
    return TTS.load(place / "model")


@pytest.fixture(scope="module")
def items(place):
    return read_list(place / "list.jsonl").items


@pytest.fixture(scope="module")
def unbroken(place, tts, items) -> Path:
    assert run(items, place / "unbroken", lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m").exit_code == 0
    return place / "unbroken"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith("results")}


def records(folder: Path, name: str = "results.jsonl") -> list[dict]:
    """Without the one field that is a measurement."""
    return [{k: v for k, v in json.loads(line).items() if k != "rtf"} for line in (folder / name).read_text().splitlines()]


def never() -> TTS:
    raise AssertionError("the model was loaded although there is nothing to do")


def test_folder(unbroken, items):
    assert {p.name for p in unbroken.iterdir()} == {f"item{k}.{s}" for k in range(12) for s in ("flac", "srt")} | {"results.jsonl"}
    done = records(unbroken)
    assert [r["id"] for r in done] == [item.id for item in items] and {r["status"] for r in done} == {"ok"}
    for record in done:
        wave, rate = read_audio(unbroken / record["file"])
        assert rate == 24000 and record["seconds"] == round(len(wave) / rate, 3)
        assert record["bytes"] == (unbroken / record["file"]).stat().st_size
    assert len({(unbroken / f"item{k}.flac").read_bytes() for k in range(12)}) == 12  # the id is part of the seed


def test_same_as_say(place, tts, unbroken):
    """A batch with neighbours says what `say` says alone, to one step of 16 bits."""
    alone = tts.say(TEXTS[5], place / "me.wav", seed=1, item="item11").wave
    wave, _ = read_audio(unbroken / "item11.flac")
    assert np.abs(wave - alone).max() <= 1e-4


def test_rerun_does_nothing(items, unbroken):
    before = {p: p.stat().st_mtime_ns for p in unbroken.iterdir() if p.suffix != ".jsonl"}
    progress = run(items, unbroken, never, Options(batch=3, format="flac", subtitles="srt"), "m")
    assert (progress.skipped, progress.spoken, progress.exit_code) == (12, 0, 0)
    assert before == {p: p.stat().st_mtime_ns for p in before}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
def test_killed_at_any_moment(place, tts, items, unbroken):
    """Three kills -9 at random moments, leftovers of half-written files, then one run to the end: the same folder bit for bit."""
    out, options, draw = place / "killed", Options(batch=3, format="flac", subtitles="srt"), random.Random()
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                run(items, out, lambda: tts, options, "m")
            finally:
                os._exit(0)
        wait = draw.uniform(0, 0.6)
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for name in ("item0.flac.part", "item1.srt.part", "results.jsonl.part"):
        (out / name).write_bytes(b"half")
    with open(out / "results.jsonl", "ab") as file:
        file.write(b'{"id": "item3", "sta')
    (out / "mine.part").write_bytes(b"not ours")
    assert run(items, out, lambda: tts, options, "m").exit_code == 0
    left = contents(out)
    assert left.pop("mine.part") == b"not ours"
    assert left == contents(unbroken) and records(out) == records(unbroken)


@pytest.mark.parametrize("done", [0, 1, 5, 11])
def test_killed_after(done, place, tts, items, unbroken):
    """Whatever was done before, what comes after is the same."""
    out, options = place / f"after{done}", Options(batch=3, format="flac", subtitles="srt")
    out.mkdir()
    lines = (unbroken / "results.jsonl").read_bytes().splitlines(keepends=True)[:done]
    (out / "results.jsonl").write_bytes(b"".join(lines))
    for line in lines:
        for suffix in ("flac", "srt"):
            name = f"{json.loads(line)['id']}.{suffix}"
            (out / name).write_bytes((unbroken / name).read_bytes())
    progress = run(items, out, lambda: tts, options, "m")
    assert (progress.skipped, progress.spoken) == (done, 12 - done) and contents(out) == contents(unbroken)


def test_shards(place, tts, items, unbroken):
    for index in (0, 1):
        run(items, place / "shards", lambda: tts, Options(batch=3, format="flac", subtitles="srt", shard=(index, 2)), "m")
    assert contents(place / "shards") == contents(unbroken)
    both = records(place / "shards", "results.0-of-2.jsonl") + records(place / "shards", "results.1-of-2.jsonl")
    assert sorted(both, key=lambda r: r["id"]) == sorted(records(unbroken), key=lambda r: r["id"])
    assert run(items, place / "shards", never, Options(batch=3, format="flac", subtitles="srt"), "m").skipped == 12  # seen by a whole run


def test_other_batch_size(place, tts, items, unbroken):
    run(items, place / "other", lambda: tts, Options(batch=12, format="flac"), "m")
    for k in range(12):
        a, b = (read_audio(folder / f"item{k}.flac")[0] for folder in (unbroken, place / "other"))
        assert len(a) == len(b) and np.abs(a - b).max() <= 1e-4


def test_rounds_depend_on_nothing_but_the_list(items):
    mixed = random.Random(1).sample(items, len(items))
    assert [[i.id for i in r] for r in rounds(items, 4)] == [[i.id for i in r] for r in rounds(mixed, 4)]
    assert Counter(i.id for r in rounds(items, 5) for i in r) == Counter(i.id for i in items) and max(map(len, rounds(items, 5))) == 5


def test_what_is_done_again(place, tts, items, unbroken):
    """A changed text, parameter, recording, model or format, a missing or cut file: exactly that is spoken again."""
    out, options = place / "again", Options(batch=3)
    run(items, out, lambda: tts, options, "m")
    spoken = []

    def redo(items=items, options=options, model="m", out=out):
        spoken.clear()
        run(items, out, lambda: tts, options, model, lambda p, r: spoken.append(r["id"]) if r else None)
        return sorted(spoken)

    assert redo() == []
    (out / "item4.wav").unlink()
    (out / "item5.wav").write_bytes(b"RIFF")
    assert redo() == ["item4", "item5"]
    (place / "changed.jsonl").write_text((place / "list.jsonl").read_text().replace('"item7", "text": "Hello', '"item7", "text": "Hullo'))
    assert redo(read_list(place / "changed.jsonl").items) == ["item7"]
    assert len(redo(model="another")) == 12
    assert len(redo(options=Options(batch=3, overwrite=True), model="another")) == 12


def failing(tts: TTS, monkeypatch, where: str, word: str):
    """Make the network fail for chunks with a word in them."""
    real = getattr(tts, where)

    def fail(jobs, *rest, **how):
        plans = [job.plan.text for job in jobs] if isinstance(jobs, list) else [jobs.text]
        if any(word in text for text in plans):
            raise RuntimeError(f"no memory for {word}")
        return real(jobs, *rest, **how)

    monkeypatch.setattr(tts, where, fail)


@pytest.mark.parametrize("where", ["plan", "speak"])
def test_a_failing_item_harms_no_other(where, place, tts, items, unbroken, monkeypatch):
    out = place / f"failing-{where}"
    with monkeypatch.context() as patch:
        failing(tts, patch, where, "bee")
        progress = run(items, out, lambda: tts, Options(batch=3, format="flac"), "m")
        assert (progress.spoken, progress.failed, progress.exit_code) == (10, 2, 3)
        again = run(items, out, never, Options(batch=3, format="flac"), "m")
        assert (again.skipped, again.failed, again.exit_code) == (10, 2, 3)
    told = {r["id"]: r for r in records(out)}
    assert told["item5"]["status"] == "failed" and "no memory for bee" in told["item5"]["error"] and told["item5"]["file"] is None
    for k in range(12):
        if k not in (5, 11):
            a, b = (read_audio(folder / f"item{k}.flac")[0] for folder in (unbroken, out))
            assert np.abs(a - b).max() <= 1e-4
    progress = run(items, out, lambda: tts, Options(batch=3, format="flac", retry_failed=True), "m")
    assert (progress.skipped, progress.spoken, progress.failed, progress.exit_code) == (10, 2, 0, 0)


def test_fail_fast(place, tts, items, monkeypatch):
    failing(tts, monkeypatch, "plan", "e")
    progress = run(items, place / "fast", lambda: tts, Options(batch=2, max_failures=1), "m")
    assert progress.failed == 1 and progress.exit_code == 3 and len(records(place / "fast")) < 12


def test_disk_full(place, tts, items, unbroken, monkeypatch):
    from tts_fm.synthesis import Speech

    real, out, calls = Speech.save, place / "full", []

    def save(self, path, format=None):
        calls.append(path)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        return real(self, path, format)

    with monkeypatch.context() as patch:
        patch.setattr(Speech, "save", save)
        with pytest.raises(Stopped, match="run again"):
            run(items, out, lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m")
    assert len(records(out)) == 4 and not list(out.glob("*.part"))
    run(items, out, lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m")
    assert contents(out) == contents(unbroken)


def test_stop_finishes_the_round(place, tts, items, unbroken):
    stop = threading.Event()
    progress = run(items, place / "stop", lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m",
                   lambda p, r: stop.set() if r else None, stop)  # fmt: skip
    assert progress.exit_code == 130 and progress.spoken == 3
    assert contents(place / "stop").items() <= contents(unbroken).items()


def test_nothing_of_others_is_written_over(place, tts, items):
    out = place / "theirs"
    out.mkdir()
    (out / "item3.wav").write_bytes(b"dear to me")
    with pytest.raises(ValueError, match="item3.wav already"):
        run(items, out, never, Options(), "m")
    assert [p.name for p in out.iterdir()] == ["item3.wav"]
    (place / "self.jsonl").write_text('{"id": "me", "text": "Hello.", "ref_audio": "me.wav"}')
    with pytest.raises(ValueError, match="voice's recording"):
        run(read_list(place / "self.jsonl").items, place, never, Options(overwrite=True), "m")


def test_links_are_replaced_not_followed(place, tts, items):
    out, outside = place / "links", place / "outside.wav"
    out.mkdir()
    outside.write_bytes(b"keep")
    (out / "results.jsonl").touch()
    (out / "item0.wav").symlink_to(outside)
    (out / "item1.wav.part").symlink_to(outside)
    assert run(items[:2], out, lambda: tts, Options(), "m").exit_code == 0
    assert outside.read_bytes() == b"keep" and not (out / "item0.wav").is_symlink()
    (out / "results.jsonl").unlink()
    (out / "results.jsonl").symlink_to(outside)
    with pytest.raises(ValueError, match="cannot write"):
        run(items[:2], out, never, Options(overwrite=True), "m")


def test_two_runs_at_once_are_refused(place, tts, items):
    def within(progress, record):
        if record is None:
            with pytest.raises(ValueError, match="another run"):
                run(items, place / "twice", never, Options(), "m")

    assert run(items[:2], place / "twice", lambda: tts, Options(), "m", within).exit_code == 0


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "ogg"])
def test_formats_repeat(format, place, tts, items):
    for name in ("one", "two"):
        run(items[:2], place / f"{format}-{name}", lambda: tts, Options(format=format), "m")
    assert contents(place / f"{format}-one") == contents(place / f"{format}-two") and len(contents(place / f"{format}-one")) == 2


def test_several_voices_in_one_text(place, tts):
    (place / "f5.toml").write_text(
        'ref_audio = "me.wav"\ngen_text = "One. [two] Two. [main] Three."\noutput_file = "play.wav"\n[voices.two]\nref_audio = "me.wav"\n'
    )
    assert run(read_list(place / "f5.toml").items, place / "play", lambda: tts, Options(subtitles="vtt"), "m").exit_code == 0
    (record,) = records(place / "play")
    cues = (place / "play" / "play.vtt").read_text()
    assert record["chunks"] == 3 and [cues.count(w) for w in ("One.", "Two.", "Three.")] == [1, 1, 1]
    starts = [line.split(" --> ")[0] for line in cues.splitlines() if "-->" in line]
    assert starts == sorted(starts) and len(set(starts)) == 3


def test_verify_takes_the_best_seed(place, tts, items):
    heard = iter(["nothing", "hello", "hello there", "never asked"])
    listing = [item for item in items if item.id == "item1"]
    progress = run(listing, place / "verify", lambda: tts, Options(verify=3), "m", hears=lambda: lambda wave, rate: next(heard))
    (record,) = records(place / "verify")
    assert progress.exit_code == 0 and (record["tries"], record["wer"]) == (3, 0.0) and record["seed"] != 0
    assert next(heard) == "never asked"


def test_workers(place, items, unbroken):
    options = Options(batch=6, format="flac", workers=2)
    progress = run(items[:8], place / "workers", partial(TTS.load, place / "model"), options, "m")
    assert (progress.spoken, progress.exit_code) == (8, 0)
    assert [r["id"] for r in records(place / "workers")] == [item.id for item in items[:8]]


class Ref:
    """What a fake of Ray hands out."""

    def __init__(self, value):
        self.value = value


class Actor:
    def __init__(self, worker):
        self.round = type("Method", (), {"remote": staticmethod(lambda *given: Ref(worker.round(*given)))})


def test_ray_engine(place, tts, items, unbroken, monkeypatch):
    """The engine's own part, on a stand-in for Ray."""
    killed, ray = [], types.ModuleType("ray")
    ray.is_initialized = lambda: True
    ray.remote = lambda **how: lambda kind: type("Made", (), {"remote": staticmethod(lambda *given: Actor(kind(*given)))})
    ray.wait = lambda refs, timeout: (refs[:1], refs[1:])
    ray.get = lambda ref: ref.value
    ray.kill = killed.append
    ray.exceptions = types.SimpleNamespace(RayActorError=type("RayActorError", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "ray", ray)
    options = Options(batch=3, format="flac", subtitles="srt", engine="ray", workers=2)
    assert run(items, place / "ray", lambda: tts, options, "m").spoken == 12
    assert contents(place / "ray") == contents(unbroken) and len(killed) == 2
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match="pip install ray"):
        run(items, place / "ray", lambda: tts, Options(engine="ray"), "other")


def test_ray_cluster(place, items, unbroken, monkeypatch):
    """Two nodes of a real cluster on this machine, where Ray is installed."""
    ray, utils = pytest.importorskip("ray"), pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        options = Options(batch=3, format="flac", subtitles="srt", engine="ray", workers=2)
        assert run(items, place / "cluster", partial(TTS.load, place / "model"), options, "m").spoken == 12
        assert contents(place / "cluster") == contents(unbroken)
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_model_digest(place):
    before = model_digest(place / "model")
    assert before == model_digest(place / "model") != model_digest(place / "model", "bfloat16")
    config = place / "model" / "config.json"
    text = config.read_text()
    config.write_text(text + " ")
    assert model_digest(place / "model") != before
    config.write_text(text)


def test_command(place, tts, monkeypatch, capsys):
    monkeypatch.setattr("tts_fm.commands.batch.load_tts", lambda args: tts)
    line = ["batch", str(place / "list.jsonl"), "-o", str(place / "cli"), "--model", str(place / "model"), "--steps", "1", "--json"]
    assert cli.main(line) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["spoken"] == 12 and "12/12 done, 0 failed" in err
    assert cli.main([*line, "--shard", "2/2"]) == 2
    assert cli.main([*line, "--batch", "0"]) == 2
    assert "batch must be 1 to 1024" in capsys.readouterr().err
    (place / "bad.txt").write_text("fine\n...\n!")
    assert cli.main(["batch", str(place / "bad.txt"), "-o", str(place / "no"), "--ref-audio", str(place / "me.wav")]) == 2
    err = capsys.readouterr().err
    assert "bad.txt:2: " in err and "bad.txt:3: " in err and "Traceback" not in err and not (place / "no").exists()
    assert cli.main([*line[:-2], "--dry-run"]) == 2  # --steps without its value
    assert cli.main([*line, "--dry-run"]) == 0


def test_first_interrupt_finishes_the_batch(place, tts, monkeypatch, capsys):
    monkeypatch.setattr("tts_fm.commands.batch.load_tts", lambda args: tts)
    real = batch.run

    def run_and_interrupt(items, out, load, options, digest, show, stop, hears):
        def shown(progress, record):
            show(progress, record)
            if record:
                os.kill(os.getpid(), signal.SIGINT) if not stop.is_set() else None

        return real(items, out, load, options, digest, shown, stop, hears)

    monkeypatch.setattr(batch, "run", run_and_interrupt)
    handler = signal.getsignal(signal.SIGINT)
    assert cli.main(["batch", str(place / "list.jsonl"), "-o", str(place / "int"), "--model", str(place / "model"), "--batch", "4"]) == 130
    assert len(records(place / "int")) == 4 and signal.getsignal(signal.SIGINT) is handler
    assert "run the same line again" in capsys.readouterr().err
