"""A disk that takes no more, by RLIMIT_FSIZE: every writer names the path, leaves nothing half-written, and goes on
when there is room again.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import world as worlds
from corpora import ROOT  # puts the checkout on the path
from train_worker import toy_trainer

from data_prep import shared
from tts_fm import files
from tts_fm.audio.stream import AudioStream
from tts_fm.cli import main as cli
from tts_fm.text.phonemes import phoneme_units
from tts_fm.train.log import RunLog

assert ROOT

QUICK = ("say", "say mp3", "say --json", "batch", "batch subtitles", "book", "book folder", "book epub", "book dub",
         "words", "edit", "voice add", "voice add adapted", "voice pack", "align", "convert", "adapt")  # fmt: skip


@contextlib.contextmanager
def full(most: int = 0) -> Iterator[None]:
    """While it lasts no file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    made = worlds.make_world(tmp_path_factory.mktemp("world") / "w")
    for lang in ("en-us", "en-gb"):
        phoneme_units("a", lang)
    assert cli.main(["say", "Hello.", "-m", str(made / "model"), "--steps", "1", "-o", str(made / "warm.wav")]) == 0
    return made


@pytest.mark.parametrize("name", QUICK)
def test_every_writer(world, tmp_path, monkeypatch, capsys, name) -> None:
    home = shutil.copytree(world / "home", tmp_path / "home")
    monkeypatch.setenv("TTS_FM_HOME", str(home))
    (out := tmp_path / "out").mkdir()
    argv, before = worlds.verbs(world, out)[name], worlds.state(home)
    with full():
        code = cli.main(argv)
    told = capsys.readouterr().err
    where = str(home if name.startswith("voice add") else out)
    assert code == 2 and f"{where}/" in told and "File too large" in told and worlds.BUG not in told, told
    kept = [path for path in out.rglob("*") if path.is_file() and path.name != "results.jsonl"]
    assert not kept and not worlds.leftovers(tmp_path) and worlds.state(home) == before
    if name != "adapt":
        assert cli.main(argv) == 0, capsys.readouterr().err


def test_a_batch_goes_on_where_the_disk_was_full(world, tmp_path, capsys) -> None:
    """One item fits, the next does not; none of them is told failed."""
    (tmp_path / "list.txt").write_text("One.\nTwo is what comes behind it, and after that there is more of it.\n")
    argv = [
        "batch",
        str(tmp_path / "list.txt"),
        "-o",
        str(tmp_path / "out"),
        "-m",
        str(world / "model"),
        "--batch",
        "1",
    ]
    with full(46_000):
        assert cli.main([*argv, "--subtitles", "srt", "--steps", "1"]) == 2
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert all(row["status"] == "ok" for row in rows) and "run again to go on" in capsys.readouterr().err
    assert cli.main([*argv, "--subtitles", "srt", "--steps", "1"]) == 0
    assert len(list((tmp_path / "out").glob("*.wav"))) == len(list((tmp_path / "out").glob("*.srt"))) == 2


def test_no_place_for_espeak_s_copy(world, tmp_path) -> None:
    """It wants a copy of its library in the temporary folder: in a process of its own, as this one has it already."""
    argv = worlds.verbs(world, tmp_path)["words"]
    ended = worlds.forked(lambda: _forgetful(argv), world, worlds.Taken(most=3000), TMPDIR=str(tmp_path))
    assert ended.code == 2 and "set TMPDIR to a folder with 5 MB of room" in ended.err and str(tmp_path) in ended.err


def _forgetful(argv: list[str]) -> int:
    import tempfile

    from tts_fm.text import phonemes

    tempfile.tempdir = None
    phonemes._backends.clear()
    phonemes._supported.cache_clear()
    return cli.main(argv)


def test_a_voice_that_is_replaced_stays(world, tmp_path, monkeypatch) -> None:
    home = shutil.copytree(world / "home", tmp_path / "home")
    monkeypatch.setenv("TTS_FM_HOME", str(home))
    before = worlds.state(home)
    for name in ("mine", "amy"):
        with full(1000):
            assert cli.main(["voice", "add", name, str(world / "mine"), "--replace"]) == 2
    assert worlds.state(home) == before


def test_training_keeps_the_state_before(tmp_path) -> None:
    trainer = toy_trainer(tmp_path / "run", log_every=1)
    trainer.run()
    before, log = (tmp_path / "run" / "last.pt").read_bytes(), (tmp_path / "run" / "log.jsonl").read_bytes()
    with full(1000), pytest.raises(OSError, match="File too large") as error:
        trainer.save()
    assert error.value.filename == str(tmp_path / "run" / "last.pt")
    assert (tmp_path / "run" / "last.pt").read_bytes() == before and not worlds.leftovers(tmp_path)
    with full(len(log)), RunLog(tmp_path / "run", True, False, 99) as lines, pytest.raises(OSError) as error:
        lines.write(11, loss=1.0)
    assert error.value.filename == str(tmp_path / "run" / "log.jsonl")


def test_recipes_and_preparation_say_it_in_a_line(tmp_path, caplog) -> None:
    with full():
        assert shared.run(lambda _: files.write_text(tmp_path / "manifest.jsonl", "{}"), []) == 2
    assert f"error: {tmp_path}/manifest.jsonl: File too large" in caplog.text


def test_folders_are_replaced_whole_or_not_at_all(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("1")
    with full(), pytest.raises(OSError) as error, files.making_folder(tmp_path / "a", replace=True) as fresh:
        (fresh / "new").write_text("2")
    assert error.value.filename == str(tmp_path / "a") and worlds.state(tmp_path) == {"a/old": b"1"}
    with files.making_folder(tmp_path / "a", replace=True) as fresh:
        (fresh / "new").write_text("2")
    assert worlds.state(tmp_path) == {"a/new": b"2"}


def test_a_pipe_that_takes_little_at_once_gets_all_of_it() -> None:
    """As a file without a buffer may (PYTHONUNBUFFERED)."""

    class Little(io.RawIOBase):
        got = b""

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.got += bytes(data[:1000])
            return min(len(data), 1000)

    pipe, whole, wave = Little(), io.BytesIO(), np.linspace(-0.5, 0.5, 30_000, dtype=np.float32)
    for target in (pipe, whole):
        with AudioStream(target, "wav", samples=len(wave)) as stream:
            stream.write(wave)
    assert pipe.got == whole.getvalue() and len(pipe.got) > 60_000
