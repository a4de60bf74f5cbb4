"""`tts-fm say` with a fake of synthesis.TTS: what goes where, exit codes, and that nothing is half-written."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from cli_toys import FakeTTS, fake_tts, recording

from tts_fm.cli import main as cli


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeTTS]:
    return fake_tts(monkeypatch, tmp_path)


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != "ref.wav")


# --- say: the good cases


def test_say_writes_the_file_and_prints_its_path_alone(fake, tmp_path, capsys) -> None:
    assert cli.main(["say", "Hello.", "--voice", "amy", "-o", "a.wav"]) == 0
    out, err = capsys.readouterr()
    assert out == "a.wav\n"
    assert "1.00 s of speech in 0." in err and "RTF" in err and "seed 0" in err and "amy" in err
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.frames) == (24_000, 24_000)
    assert leftovers(tmp_path) == ["a.wav"]


def test_zero_is_a_value_and_what_is_not_given_is_not_passed(fake) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "--cfg", "0", "--sway", "0", "--seed", "0"]) == 0
    assert {k: v for k, v in fake.asked[-1].items() if k not in ("text", "voice")} == {
        "cfg": 0.0,
        "sway": 0.0,
    }
    assert cli.main(["say", "x", "--voice", "amy"]) == 0
    assert set(fake.asked[-1]) == {"text", "voice"}


def test_all_options_reach_the_model(fake) -> None:
    line = (
        "say x --voice amy --steps 4 --cfg 2 --method heun --sway -0.5 --seed 7 --speed 1.5 --duration 2 "
        "--lang en-gb --loudness -20"
    )
    assert (
        cli.main(
            [
                *line.split(),
                "--model",
                "m",
                "--dtype",
                "bfloat16",
                "--device",
                "cpu",
                "--variant",
                "e2",
                "--vocab",
                "v.txt",
            ]
        )
        == 0
    )
    asked = fake.asked[-1]
    assert [asked[k] for k in ("steps", "cfg", "method", "sway", "seed", "speed")] == [4, 2.0, "heun", -0.5, 7, 1.5]
    assert [asked[k] for k in ("duration", "lang", "loudness")] == [2.0, "en-gb", -20.0]
    loaded = fake.loads[-1]
    assert (loaded["model"], loaded["device"], loaded["dtype"]) == ("m", "cpu", "bfloat16")
    assert (loaded["variant"], loaded["vocab"]) == ("e2", "v.txt")


def test_underscores_are_dashes_in_names_but_not_in_values(fake, tmp_path) -> None:
    recording(tmp_path / "my_ref.wav")
    assert cli.main(["say", "--ref_audio=my_ref.wav", "--ref_text", "a_b cd ef gh ij", "--", "--dash_ed"]) == 0
    assert fake.asked[-1]["text"] == "--dash_ed" and fake.asked[-1]["voice"].name == "my_ref"
    assert fake.asked[-1]["voice"].text == "a_b cd ef gh ij"


def test_environment_names_model_and_option_wins(fake, monkeypatch) -> None:
    monkeypatch.setenv("TTS_FM_MODEL", "from-env")
    assert cli.main(["say", "x", "--voice", "amy"]) == 0
    assert cli.main(["say", "x", "--voice", "amy", "-m", "given"]) == 0
    assert [load["model"] for load in fake.loads] == ["from-env", "given"]


def test_text_from_file_and_standard_input(fake, tmp_path, monkeypatch) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffCafé\nnoir.".encode())
    assert cli.main(["say", "-f", "t.txt", "--voice", "amy"]) == 0
    feed(monkeypatch, b"From a pipe.")
    assert cli.main(["say", "-", "--voice", "amy"]) == 0
    feed(monkeypatch, b"And again.")
    assert cli.main(["say", "-f", "-", "--voice", "amy"]) == 0
    assert [a["text"] for a in fake.asked] == ["Café\nnoir.", "From a pipe.", "And again."]


def test_standard_output_gets_the_audio_alone(fake, tmp_path, capfdbinary) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "-o", "-", "--format", "flac"]) == 0
    out, err = capfdbinary.readouterr()
    wave, rate = soundfile.read(io.BytesIO(out))
    assert rate == 24_000 and len(wave) == 24_000 and b"RTF" in err
    assert leftovers(tmp_path) == []


def test_json_says_what_was_done(fake, capsys) -> None:
    fake.unknown = {"ж": 2}
    assert cli.main(["say", "x", "--voice", "amy", "-o", "a.mp3", "--json", "--seed", "5"]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert (facts["file"], facts["seconds"], facts["rate"], facts["voice"]) == ("a.mp3", 1.0, 24_000, "amy")
    assert facts["rtf"] == pytest.approx(facts["compute_seconds"] / facts["seconds"], abs=1e-4)
    assert facts["settings"]["seed"] == 5 and facts["settings"]["steps"] == 8 and facts["unknown"] == {"ж": 2}
    assert facts["words"][1] == {"text": "world", "start": 0.5, "end": 0.9}
    assert err.count("ж") == 1


def test_quiet_says_nothing_but_the_path(fake, capsys) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "-q"]) == 0
    assert capsys.readouterr() == ("out.wav\n", "")


def test_subtitles_lie_beside_the_audio(fake, tmp_path) -> None:
    assert cli.main(["say", "Hello, world.", "--voice", "amy", "-o", "a.wav", "--subtitles", "srt"]) == 0
    text = (tmp_path / "a.srt").read_text()
    assert "00:00:00,100 --> 00:00:00,900" in text and "Hello, world." in text
    assert leftovers(tmp_path) == ["a.srt", "a.wav"]


def test_a_link_stays_and_a_device_is_not_replaced(fake, tmp_path) -> None:
    (tmp_path / "real.wav").write_bytes(b"old")
    (tmp_path / "link.wav").symlink_to("real.wav")
    assert cli.main(["say", "x", "--voice", "amy", "-o", "link.wav"]) == 0
    assert (tmp_path / "link.wav").is_symlink() and soundfile.info(tmp_path / "real.wav").frames == 24_000
    assert cli.main(["say", "x", "--voice", "amy", "-o", "/dev/null"]) == 0
    assert not Path("/dev/null").is_file()


# --- say: bad input. Each is one line, with its exit code, and the model is not loaded for what can be seen without it
# ----------------


BAD = [
    ([""], "empty"),
    (["  \n"], "empty"),
    ([], "nothing to say"),
    (["x", "-f", "t.txt"], "not both"),
    (["-f", "nowhere.txt"], "no text file nowhere.txt"),
    (["-f", "."], "is a folder"),
    (["-f", "latin1.txt"], "UTF-8"),
    (["-f", "huge.txt", "--duration", "9"], "--speed"),
    (["x", "-o", "none/a.wav"], "no folder"),
    (["x", "-o", "."], "folder"),
    (["x", "-o", "a.xyz"], ".wav"),
    (["x", "-o", "a"], "--format"),
    (["x", "-o", "file.txt/a.wav"], "no folder"),
    (["x", "-o", "n" * 300 + ".wav"], "too long"),
    (["x", "-o", "-", "--json"], "standard output"),
    (["x", "-o", "-", "--subtitles", "srt"], "-o a file name"),
    (["x", "--format", "wma"], "invalid choice"),
    (["x", "--voice", "amy", "--ref-audio", "ref.wav"], "not both"),
    (["x", "--ref-text", "hm"], "--ref-audio"),
    (["x", "--ref-audio", "none.wav"], "no recording none.wav"),
    (["x", "--ref-audio", "."], "is a folder"),
    (["x", "--ref-audio", "text.wav"], "text.wav"),
    (["x", "--ref-audio", "silent.wav"], "silent"),
    (["x", "--ref-audio", "one.wav"], "0.00 s"),
    (["x", "--voice", "ammy"], "did you mean 'amy'"),
    (["x", "--steps", "0"], "1 to 256"),
    (["x", "--steps", "many"], "many"),
    (["x", "--cfg", "nan"], "nan"),
    (["x", "--sway", "inf"], "inf"),
    (["x", "--speed", "0"], "0.25 to 4"),
    (["x", "--duration", "-1"], "duration"),
    (["x", "--method", "leapfrog"], "euler"),
    (["x", "--seed", "-1"], "seed"),
    (["x", "--device", "gpu9"], "gpu9"),
    (["two", "words"], "quotes"),
    (["x", "--stpes", "3"], "did you mean --steps"),
]


@pytest.mark.parametrize(("arguments", "told"), BAD, ids=lambda v: " ".join(v)[:30] if isinstance(v, list) else "")
def test_bad_input_is_told_in_one_line(fake, tmp_path, capsys, arguments, told) -> None:
    (tmp_path / "latin1.txt").write_bytes("Café".encode("latin-1"))
    (tmp_path / "huge.txt").write_text("word " * 300_000)
    (tmp_path / "text.wav").write_text("this is not audio")
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "t.txt").write_text("x")
    soundfile.write(tmp_path / "silent.wav", np.zeros(48_000), 24_000)
    soundfile.write(tmp_path / "one.wav", np.zeros(1), 24_000)
    before = leftovers(tmp_path)
    assert cli.main(["say", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and told in err
    assert fake.loads == [] or "gpu9" in arguments
    assert leftovers(tmp_path) == before


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (ValueError("nothing to say: only symbols"), 2, "nothing to say"),
        (OSError(28, "No space left on device", "a.wav"), 2, "a.wav: No space left on device"),
        (ImportError("No module named 'jiwer'", name="jiwer"), 5, "jiwer"),
        (KeyError("oops"), 1, "bug"),
        (RuntimeError("could not determine the home directory for '~/.cache'"), 2, "set HOME"),
        (MemoryError(), 1, "memory"),
        (MemoryError("not enough memory for 4 x 900 mel frames at once"), 1, "4 x 900"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes_of_what_goes_wrong_later(fake, tmp_path, capsys, fault, code, told) -> None:
    fake.fault = fault
    assert cli.main(["say", "x", "--voice", "amy", "-o", "a.wav"]) == code
    out, err = capsys.readouterr()
    assert out == "" and told in err and err.count("\n") == 1
    assert leftovers(tmp_path) == []


def test_a_missing_model_is_4_and_verbose_shows_the_traceback(fake, capsys) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "-m", "missing"]) == 4
    assert capsys.readouterr().err == "error: there is no model at missing\n"
    assert cli.main(["say", "x", "--voice", "amy", "-m", "missing", "-v"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_failed_write_leaves_the_old_file(fake, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "a.wav").write_bytes(b"precious")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tts_fm.audio.stream.write_all", full)
    assert cli.main(["say", "x", "--voice", "amy", "-o", "a.wav"]) == 2
    assert f"{tmp_path / 'a.wav'}: No space left on device" in capsys.readouterr().err
    assert (tmp_path / "a.wav").read_bytes() == b"precious" and leftovers(tmp_path) == ["a.wav"]


def test_standard_output_is_heard_chunk_by_chunk(fake, monkeypatch) -> None:
    """Of three chunks the first is in the pipe before the second is spoken; the header says that it knows no length."""
    fake.chunks, out, there = 3, io.BytesIO(), []
    out.seekable = lambda: False  # type: ignore[method-assign]
    speak = fake.spoken

    def spoken(self, jobs, **how):
        for pair in speak(self, jobs, **how):
            there.append(len(out.getvalue()))
            yield pair

    monkeypatch.setattr(fake, "spoken", spoken)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out, isatty=lambda: False, flush=lambda: None))
    assert cli.main(["say", "x", "--voice", "amy", "-o", "-"]) == 0
    data = out.getvalue()
    head = data.index(b"data") + 8
    assert there == [0, head + 48_000, head + 96_000] and len(data) == head + 144_000
    assert data[4:8] == data[head - 4 : head] == b"\xff" * 4


def test_a_dry_run_prints_words_and_phones_and_speaks_nothing(monkeypatch, tmp_path, capsys) -> None:
    pytest.importorskip("phonemizer")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["say", "Dr. Li paid $5.\n\nПривет", "--dry-run", "--voice", "heart"]) == 0
    out, err = capsys.readouterr()
    assert "Doctor Li paid five dollars." in out and "dˈɑːktɚ" in out and "after 0.45 s" in out
    assert "Привет (Russian)" in err and not list(tmp_path.iterdir())
    assert cli.main(["say", "It costs $5.", "--dry-run", "--json", "--no-normalise"]) == 0
    assert json.loads(capsys.readouterr().out)["chunks"][0]["text"] == "It costs $5."


def test_a_file_of_any_length_is_spoken_in_parts(fake, tmp_path) -> None:
    from tts_fm.cli.say import PART, parts_of

    paragraphs = [f"Paragraph {n} has some words. " * 30 for n in range(300)]
    text = "\n\n".join(paragraphs)
    parts = parts_of(text)
    assert "".join("".join(parts).split()) == "".join(text.split()) and all(len(part) <= 2 * PART for part in parts)
    assert all(part.strip().startswith("Paragraph") and part.strip().endswith(".") for part in parts)
    assert parts_of("short") == ["short"] and len(parts_of("x" * 200_001)) == 5
    (tmp_path / "long.txt").write_text(text)
    assert cli.main(["say", "-f", "long.txt", "--voice", "amy", "-o", "long.wav", "--json", "-q"]) == 0
    frames = soundfile.info(tmp_path / "long.wav").frames
    assert frames == 24_000 * len(parts) + 10_800 * (len(parts) - 1)  # a second for each, a pause between them
