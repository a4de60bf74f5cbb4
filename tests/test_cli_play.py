"""`tts-fm say --play` with a sound card that remembers and with players that are small scripts."""

from __future__ import annotations

import io
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from cli_toys import FakeTTS, fake_tts

from tts_fm.cli import main as cli
from tts_fm.cli.play import PLAYERS, Heard


class FakeCard:
    """sounddevice, as far as it is used."""

    def __init__(self) -> None:
        self.data, self.calls = bytearray(), []
        self.opened: dict = {}

    def RawOutputStream(self, **how):
        self.opened = how
        return self

    def write(self, data) -> None:
        self.data += data

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def abort(self) -> None:
        self.calls.append("abort")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def fake(monkeypatch, tmp_path) -> type[FakeTTS]:
    return fake_tts(monkeypatch, tmp_path)


@pytest.fixture
def card(monkeypatch) -> FakeCard:
    made = FakeCard()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def player(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def no_card(monkeypatch, tmp_path) -> Path:
    """A folder that is all of the path, so that no player is there but those put into it."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def tone() -> np.ndarray:
    """What FakeTTS says."""
    return np.rint(np.sin(np.arange(24_000, dtype=np.float32) / 10) * 0.3 * 32767)


def test_it_is_heard_and_no_file_is_written(fake, card, tmp_path, capsys) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "--play"]) == 0
    assert np.abs(np.frombuffer(card.data, "<i2") - tone()).max() <= 1
    assert card.opened == {"samplerate": 24_000, "channels": 1, "dtype": "int16"}
    assert card.calls == ["start", "stop", "close"], "stop waits until all has been heard"
    out, err = capsys.readouterr()
    assert out == "" and "1.00 s of speech" in err and not list(tmp_path.glob("out*"))


def test_it_is_heard_and_written_where_a_file_is_named(fake, card, tmp_path, capsys) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "--play", "-o", "a.flac", "--json"]) == 0
    assert soundfile.info(tmp_path / "a.flac").frames * 2 == len(card.data) == 48_000
    assert json.loads(capsys.readouterr().out)["file"] == "a.flac"
    assert cli.main(["say", "x", "--voice", "amy", "--play", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] is None


def test_the_first_chunk_is_heard_before_the_second_is_made(card) -> None:
    heard, made = Heard(None), threading.Event()
    write = card.write
    card.write = heard._device.write = lambda data: (write(data), made.set())
    with heard.stream({}) as stream:
        stream.write(np.zeros(100, np.float32))
        assert made.wait(10)
        stream.write(np.ones(50, np.float32), 30)
    assert len(card.data) == 2 * 180 and heard.samples == 180


def test_an_interruption_is_silent_at_once(fake, card, monkeypatch) -> None:
    monkeypatch.setattr(fake, "fault", None)
    monkeypatch.setattr("tts_fm.cli.play.Heard.write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["say", "x", "--voice", "amy", "--play"]) == 130
    assert "abort" in card.calls and "stop" not in card.calls


@pytest.mark.parametrize("name", PLAYERS)
def test_without_a_card_a_player_of_the_system_is_fed(fake, no_card, tmp_path, name) -> None:
    player(no_card, name, f'echo "$@" > {tmp_path}/args; exec /bin/cat > {tmp_path}/heard')
    assert cli.main(["say", "x", "--voice", "amy", "--play"]) == 0
    data = (tmp_path / "heard").read_bytes()
    if name == "paplay":
        wave = np.frombuffer(data, "<i2")
        assert "--rate=24000" in (tmp_path / "args").read_text()
    else:
        wave, rate = soundfile.read(io.BytesIO(data), dtype="int16")
        assert rate == 24_000
    assert np.abs(wave - tone()).max() <= 1


def test_a_player_that_fails_is_one_line(fake, no_card, capsys) -> None:
    player(no_card, "aplay", "echo 'ALSA lib: something' >&2; echo 'aplay: no soundcards found' >&2; exit 1")
    assert cli.main(["say", "x", "--voice", "amy", "--play"]) != 0
    told = capsys.readouterr().err.strip().splitlines()
    assert "aplay could not play: aplay: no soundcards found" in told[-1] and "-o FILE" in told[-1]


def test_where_there_is_no_sound_it_is_said_before_any_work(fake, no_card, monkeypatch, capsys) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "--play"]) == 5
    told = capsys.readouterr().err.strip()
    assert "tts-fm[play]" in told and "-o FILE" in told and "\n" not in told and not fake.loads
    broken = SimpleNamespace(
        RawOutputStream=lambda **_: (_ for _ in ()).throw(RuntimeError("Error querying device -1"))
    )
    monkeypatch.setitem(sys.modules, "sounddevice", broken)
    assert cli.main(["say", "x", "--voice", "amy", "--play"]) == 5
    assert "Error querying device -1" in capsys.readouterr().err


def test_options_about_a_file_need_one(fake, card, capsys) -> None:
    for option in (["--subtitles", "srt"], ["--format", "mp3"]):
        assert cli.main(["say", "x", "--voice", "amy", "--play", *option]) == 2
        assert option[0] in capsys.readouterr().err
