"""What may be missing around a command, and what a host program may have set: work is done, or a line says why not."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_toys import fake_tts, recording
from tiny_model import tiny_tts_folder

from tts_fm.cli import main as cli
from tts_fm.serve.config import read_key
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS, Request
from tts_fm.voices import stored as voices
from tts_fm.voices.stored import Voice, add_voice, catalogue, get_voice

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_tts_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tts(model) -> TTS:
    return TTS.load(model)


@pytest.fixture(scope="module")
def voice() -> Voice:
    t = np.arange(24_000 * 2) / 24_000
    return Voice("hum", (0.1 * np.sin(2 * np.pi * 150 * t)).astype(np.float32), None, "en-us")


# --- streams


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams(fake, tmp_path, monkeypatch, closed) -> None:
    """As Python finds them in a process that began with them closed: None, and their numbers free."""
    for number in closed:
        monkeypatch.setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    assert cli.main(["say", "x", "--voice", "amy", "-o", "a.wav"]) == 0
    assert soundfile.info(tmp_path / "a.wav").frames == 24_000
    assert cli.main(["say", "x", "--voice", "amy", "-o", "-"]) == (2 if 1 in closed else 0)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    return fake_tts(monkeypatch, tmp_path)


@pytest.mark.skipif("TTS_FM_ABUSE" not in os.environ, reason="make abuse")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_of_a_real_process(model, tmp_path, closed) -> None:
    line = f"{sys.executable} -m tts_fm say Hello. -m {model} -o {tmp_path}/a.wav {closed}"
    assert subprocess.run(line, shell=True, cwd=ROOT, timeout=300).returncode == 0
    data = (tmp_path / "a.wav").read_bytes()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8 and b" s of speech" not in data


def test_a_stream_that_knows_no_such_letters(fake, monkeypatch, capsysbinary) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    fake.unknown = {"ж": 1}
    assert cli.main(["say", "x", "--voice", "amy", "--json", "-o", "å.wav"]) == 0
    out.flush()
    assert json.loads(out.buffer.getvalue().decode("ascii"))["file"] == "å.wav"


# --- voices


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"x": 3}', b"\xff", b'{"../up": {}}', b"[" * 100_000])
def test_a_damaged_list_of_voices_leaves_the_others(damage, caplog, monkeypatch) -> None:
    monkeypatch.setattr(voices, "_told", set())
    folder = voices.user_folder()
    folder.mkdir(parents=True)
    (folder / "voices.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert "nova" in catalogue() and catalogue() and get_voice(None).name == "nova"
    assert caplog.text.count(str(folder / "voices.json")) == 1
    recording(folder / "me.wav")
    with pytest.raises(ValueError, match=r"voices\.json"):  # what is there is not overwritten
        add_voice("me", folder / "me.wav")
    assert (folder / "voices.json").read_bytes() == damage


def test_a_voice_that_has_lost_its_recording(tmp_path) -> None:
    add_voice("me", recording(tmp_path / "me.wav"))
    (voices.user_folder() / "me.flac").unlink()
    with pytest.raises(ValueError, match=r"'me' has lost its file .*me\.flac"):
        get_voice("me")
    assert get_voice("nova").name == "nova"


def test_no_home(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("TTS_FM_HOME")
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory."))
    )
    assert get_voice("nova").name == "nova"
    with pytest.raises(ValueError, match="set TTS_FM_HOME"):
        add_voice("me", recording(tmp_path / "me.wav"))


def test_a_key_with_a_blank_behind_it(monkeypatch) -> None:
    monkeypatch.setenv("TTS_FM_API_KEY", "0123456789 \n")
    assert read_key() == "0123456789"
    monkeypatch.setenv("TTS_FM_API_KEY", " ")
    assert read_key() is None


def test_a_seed_of_four_hundred_digits(fake, capsys) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "--seed", "9" * 400]) == 2
    assert "seed" in capsys.readouterr().err


# --- the host program


@pytest.mark.parametrize("setting", ["float64", "bfloat16", "meta", "autocast", "inference"])
def test_what_the_host_program_has_set_changes_no_sample(model, tts, voice, setting) -> None:
    truth = tts.say("Hello there.", voice).wave
    try:
        if setting == "meta":
            torch.set_default_device("meta")
        elif setting in ("float64", "bfloat16"):
            torch.set_default_dtype(getattr(torch, setting))
        with torch.autocast("cpu", torch.bfloat16, enabled=setting == "autocast"):
            np.testing.assert_array_equal(tts.say("Hello there.", voice).wave, truth)
            np.testing.assert_array_equal(TTS.load(model).say("Hello there.", voice).wave, truth)
        if setting in ("float64", "bfloat16"):
            assert torch.get_default_dtype() == getattr(torch, setting)
        assert torch.get_default_device().type == ("meta" if setting == "meta" else "cpu")
    finally:
        torch.set_default_device("cpu")
        torch.set_default_dtype(torch.float32)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told_to_load_itself(tts, voice) -> None:
    tts.say("Hello.", voice)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            tts.say("Hello.", voice)
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    watch = threading.Timer(30, os.kill, (child, 9))
    watch.start()
    os.waitpid(child, 0)
    watch.cancel()
    os.close(writer)
    assert b"call TTS.load in the child" in os.read(reader, 1000)


def test_many_words_of_ipa_are_each_said_as_written(tts, voice) -> None:
    """More than the 6,400 letters of the first range that nobody writes."""
    text = "\n".join(["[one](/wʌn/) [two](/tuː/) [three](/θɹiː/) " * 20 + "and."] * 110 + ["[last](/zʊz/)."])
    jobs = tts.plan(Request(text, voice, settings=Settings(steps=1)))
    said = "".join("".join(job.plan.units) for job in jobs)
    assert said.count("θ") == 2200 and said.count("zʊz") == 1 and "zʊz" in said[-10:]
