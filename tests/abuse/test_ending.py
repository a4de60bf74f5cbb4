"""SIGTERM and kill -9 at any point: what was begun is finished or taken away, and the same line goes on afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import world as worlds

from tts_fm.batch import processes
from tts_fm.cli import main as cli
from tts_fm.train.stopping import StopRequest

ROOT = Path(__file__).parents[2]
SLOW = pytest.mark.skipif("TTS_FM_ABUSE" not in os.environ, reason="make abuse")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return worlds.make_world(tmp_path_factory.mktemp("world") / "w")


@pytest.fixture
def unheard() -> Iterator[object]:
    """SIGTERM as a new process has it: tests before this one may have loaded what listens to it, such as Ray."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
    yield signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGINT, interrupt)


def test_sigterm_takes_away_what_is_half_written(world, tmp_path, monkeypatch, capsys, unheard) -> None:
    """As it comes in the middle of a file."""

    def struck(self, wave, pause=0):
        assert worlds.leftovers(tmp_path)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("tts_fm.audio.stream.AudioStream.write", struck)
    argv = ["say", "Hello.", "-m", str(world / "model"), "--steps", "1", "-o", str(tmp_path / "a.wav")]
    assert cli.main(argv) == 143 and not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is unheard and worlds.BUG not in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_that_meet_a_callback_are_not_lost(world, monkeypatch, capsys, unheard, number, code) -> None:
    """Python drops what is raised in a callback of a C library (soundfile's) and in __del__."""

    class Last:
        def __del__(self):
            os.kill(os.getpid(), number)

    def struck(*args, **how):
        for _ in range(3):
            Last()
        for _ in range(500):
            time.sleep(0.01)

    monkeypatch.setattr("tts_fm.synthesis.TTS.load", struck)
    assert cli.main(["say", "Hello.", "-m", str(world / "model"), "-o", "never.wav"]) == code
    assert "gnored" not in capsys.readouterr().err


def test_a_second_signal_ends_at_once(monkeypatch) -> None:
    stop = StopRequest()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # Slurm's and torchrun's: one request
        first = stop.asked
        assert first
        monkeypatch.setattr(time, "time", lambda: first + 3)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_torchrun_is_killed(monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    stop = StopRequest()
    assert not stop.asked
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert stop.asked
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert not StopRequest().asked


def test_workers_leave_signals_to_their_parent(world) -> None:
    class Spec:
        options = type("Options", (), {"workers": 2})()
        worker = staticmethod(lambda: None)

    def work() -> int:
        import multiprocessing

        multiprocessing.parent_process = lambda: type("Parent", (), {"join": staticmethod(lambda: time.sleep(60))})
        processes.start_worker(Spec(), None)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        return 0

    assert worlds.forked(work, world).code == 0


def test_a_signal_that_meets_a_worker_before_it_could_say_so_waits() -> None:
    ask = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    with processes.unheard_signals():
        held = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout
    free = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout
    assert "SIGINT" in held and "SIGTERM" in held and free.strip() == "[]"


@SLOW
@pytest.mark.parametrize("after", [1.0, 4.0, 8.0, 12.0])
def test_sigterm_to_the_group_of_a_batch(world, tmp_path, after) -> None:
    """As systemd and Slurm send it."""
    lines = "".join(f"This is sentence number {k}.\n" for k in range(60))
    (tmp_path / "list.txt").write_text(lines)
    argv = [sys.executable, "-m", "tts_fm", "batch", f"{tmp_path}/list.txt", "-o", f"{tmp_path}/out", "-m",
            f"{world}/model", "--workers", "2", "--batch", "4", "--voice", "nova"]  # fmt: skip
    one = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(after)
    os.killpg(one.pid, signal.SIGTERM)
    err = one.communicate(timeout=120)[1]
    assert one.returncode in (0, 130, 143) and "died" not in err and worlds.TRACE not in err, err
    assert not worlds.leftovers(tmp_path)
    again = subprocess.run(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300)
    assert again.returncode == 0 and len(list((tmp_path / "out").glob("*.wav"))) == 60, again.stderr


@SLOW
@pytest.mark.parametrize("name", ["book", "book epub", "adapt", "say mp3", "align", "convert"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_at_points_of_other_verbs(world, tmp_path, name, number) -> None:
    argv = [sys.executable, "-m", "tts_fm", *worlds.verbs(world, tmp_path)[name]]
    argv += ["--overwrite"] * (name == "convert")  # the first may have come to its end
    for after in (0.5, 3.0, 5.0):
        one = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            err = one.communicate(timeout=after)[1]
        except subprocess.TimeoutExpired:
            one.send_signal(number)
            err = one.communicate(timeout=120)[1]
        assert worlds.BUG not in err and worlds.TRACE not in err, err
        if number == signal.SIGTERM:
            assert one.returncode in (0, 130, 143, -15) and not worlds.leftovers(tmp_path), (one.returncode, err)
    assert subprocess.run(argv, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    assert not worlds.leftovers(tmp_path)
