"""Batches in worker processes, on Ray, and from the command line."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from functools import partial

import numpy as np
import pytest
import soundfile
from batch_toys import contents, items, place, records, tts, unbroken

from tts_fm.batch import run as batch
from tts_fm.batch.plan import model_digest
from tts_fm.batch.rounds import BatchStopped, Options, Worker
from tts_fm.batch.run import run_batch
from tts_fm.cli import main as cli
from tts_fm.errors import MissingDependency
from tts_fm.synthesis import TTS


def test_workers(place, items, unbroken):
    options = Options(batch=6, format="flac", workers=2)
    progress = run_batch(items[:8], place / "workers", partial(TTS.load, place / "model"), options, "m")
    assert (progress.spoken, progress.exit_code) == (8, 0)
    assert [r["id"] for r in records(place / "workers")] == [item.id for item in items[:8]]


@pytest.mark.parametrize("count", [1, 3])
def test_threads_share_a_model(place, tts, items, unbroken, count):
    options = Options(batch=6, format="flac", workers=count, threads=True)
    out, loads = place / f"threads{count}", []
    progress = run_batch(items[:8], out, lambda: loads.append(1) or tts, options, "m")
    assert (progress.spoken, progress.exit_code, loads) == (8, 0, [1])
    assert [r["id"] for r in records(out)] == [item.id for item in items[:8]]
    for item in items[:8]:
        now, then = (soundfile.read(folder / f"{item.id}.flac")[0] for folder in (out, unbroken))
        np.testing.assert_allclose(now, then, atol=1e-4)


def test_a_thread_that_breaks_ends_the_run(place, tts, items, monkeypatch):
    def full(worker, item, speech):
        raise BatchStopped("no space")

    monkeypatch.setattr(Worker, "write", full)
    with pytest.raises(BatchStopped, match="no space"):
        run_batch(items[:8], place / "full", lambda: tts, Options(workers=2, threads=True), "m")


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
    ray.remote = lambda **how: (
        lambda kind: type("Made", (), {"remote": staticmethod(lambda *given: Actor(kind(*given)))})
    )
    ray.wait = lambda refs, timeout: (refs[:1], refs[1:])
    ray.get = lambda ref: ref.value
    ray.kill = killed.append
    ray.cluster_resources = lambda: {"CPU": 2.0}
    ray.exceptions = types.SimpleNamespace(RayActorError=type("RayActorError", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "ray", ray)
    options = Options(batch=3, format="flac", subtitles="srt", engine="ray", workers=2)
    assert run_batch(items, place / "ray", lambda: tts, options, "m").spoken == 12
    assert contents(place / "ray") == contents(unbroken) and len(killed) == 2
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"pip install .tts-fm\[ray\]"):
        run_batch(items, place / "ray", lambda: tts, Options(engine="ray"), "other")


def test_ray_cluster(place, items, unbroken, ray_cluster):
    options = Options(batch=3, format="flac", subtitles="srt", engine="ray", workers=2)
    assert run_batch(items, place / "cluster", partial(TTS.load, place / "model"), options, "m").spoken == 12
    assert contents(place / "cluster") == contents(unbroken)


def test_model_digest(place):
    before = model_digest(place / "model")
    assert before == model_digest(place / "model") != model_digest(place / "model", "bfloat16")
    config = place / "model" / "config.json"
    text = config.read_text()
    config.write_text(text + " ")
    assert model_digest(place / "model") != before
    config.write_text(text)


def test_command(place, tts, monkeypatch, capsys):
    monkeypatch.setattr("tts_fm.cli.batch.load_tts", lambda args: tts)
    line = [
        "batch",
        str(place / "list.jsonl"),
        "-o",
        str(place / "cli"),
        "--model",
        str(place / "model"),
        "--steps",
        "1",
        "--json",
    ]
    assert cli.main(line) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["spoken"] == 12 and "12/12 done, 0 failed" in err
    assert cli.main([*line, "--shard", "2/2"]) == 2
    assert cli.main([*line, "--batch", "0"]) == 2
    assert "batch must be 1 to 1024" in capsys.readouterr().err
    (place / "bad.txt").write_text("fine\n...\n!")
    assert (
        cli.main(["batch", str(place / "bad.txt"), "-o", str(place / "no"), "--ref-audio", str(place / "me.wav")]) == 2
    )
    err = capsys.readouterr().err
    assert "bad.txt:2: " in err and "bad.txt:3: " in err and "Traceback" not in err and not (place / "no").exists()
    assert cli.main([*line[:-2], "--dry-run"]) == 2  # --steps without its value
    assert cli.main([*line, "--dry-run"]) == 0


def test_first_interrupt_finishes_the_batch(place, tts, monkeypatch, capsys):
    monkeypatch.setattr("tts_fm.cli.batch.load_tts", lambda args: tts)
    real = batch.run_batch

    def run_and_interrupt(items, out, load, options, digest, show, stop, transcribe):
        def shown(progress, record):
            show(progress, record)
            if record:
                os.kill(os.getpid(), signal.SIGINT) if not stop.is_set() else None

        return real(items, out, load, options, digest, shown, stop, transcribe)

    monkeypatch.setattr(batch, "run_batch", run_and_interrupt)
    handler = signal.getsignal(signal.SIGINT)
    assert (
        cli.main(
            [
                "batch",
                str(place / "list.jsonl"),
                "-o",
                str(place / "int"),
                "--model",
                str(place / "model"),
                "--batch",
                "4",
            ]
        )
        == 130
    )
    assert len(records(place / "int")) == 4 and signal.getsignal(signal.SIGINT) is handler
    assert "run the same line again" in capsys.readouterr().err
