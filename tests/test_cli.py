"""The command line: what goes where, exit codes, and that nothing is half-written. Most tests speak with a fake of synthesis.TTS."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import tts_fm
from tts_fm import cli
from tts_fm.errors import ModelError
from tts_fm.settings import Settings
from tts_fm.words import Word

ROOT = Path(__file__).parents[1]


class FakeTTS:
    """Says one second of a tone for anything, and remembers what it was asked."""

    loads: list[dict] = []
    asked: list[dict] = []
    fault: BaseException | None = None
    unknown: dict[str, int] = {}

    @classmethod
    def load(cls, model=None, device="cpu", dtype=None, **how) -> FakeTTS:
        cls.loads.append({"model": model, "device": device, "dtype": dtype} | how)
        if model == "missing":
            raise ModelError("there is no model at missing")
        return cls()

    def say(self, text, voice=None, *, ref_text=None, settings=None, on_progress=None, **overrides):
        from tts_fm.synthesis import Chunk, Speech

        self.asked.append({"text": text, "voice": voice} | overrides)
        if self.fault is not None:
            raise self.fault
        settings = Settings(**overrides).with_defaults({"steps": 8, "cfg": 1.5}).check()
        for step in range(settings.steps):
            on_progress(step + 1, settings.steps, 0, 1)
        wave = np.sin(np.arange(24_000, dtype=np.float32) / 10) * 0.3
        words = [Word("Hello", 0.1, 0.4), Word("world", 0.5, 0.9)]
        chunk = Chunk(0, 1, "Hello, world.", wave, 0.0, words, np.zeros((94, 100)), Counter(self.unknown))
        return Speech(wave, voice.name, settings, [chunk], 0.25, 16, list(voice.warnings))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeTTS]:
    """FakeTTS in place of the real one, a stored voice "amy", and an empty working folder."""
    from tts_fm.voices import add_voice

    kind = type("Fake", (FakeTTS,), {"loads": [], "asked": [], "fault": None, "unknown": {}})
    monkeypatch.setattr(tts_fm, "TTS", kind, raising=False)
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "ref.wav")
    add_voice("amy", tmp_path / "ref.wav", "one two three four five", "en-us")
    return kind


def recording(path: Path, seconds: float = 3.0) -> Path:
    """Something that passes for speech: bursts of a buzz."""
    t = np.arange(int(seconds * 24_000)) / 24_000
    wave = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (0.05 + 0.15 * (np.sin(2 * np.pi * 3 * t) > 0))
    soundfile.write(path, wave.astype(np.float32), 24_000)
    return path


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != "ref.wav")


# --- say: the good cases -------------------------------------------------------------------------------------------------------------


def test_say_writes_the_file_and_prints_its_path_alone(fake, tmp_path, capsys) -> None:
    assert cli.main(["say", "Hello.", "--voice", "amy", "-o", "a.wav"]) == 0
    out, err = capsys.readouterr()
    assert out == "a.wav\n"
    assert "1.00 s of speech in 0.25 s (RTF 0.25)" in err and "seed 0" in err and "amy" in err
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.frames) == (24_000, 24_000)
    assert leftovers(tmp_path) == ["a.wav"]


def test_zero_is_a_value_and_what_is_not_given_is_not_passed(fake) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "--cfg", "0", "--sway", "0", "--seed", "0"]) == 0
    assert {k: v for k, v in fake.asked[-1].items() if k not in ("text", "voice")} == {"cfg": 0.0, "sway": 0.0, "seed": 0}
    assert cli.main(["say", "x", "--voice", "amy"]) == 0
    assert set(fake.asked[-1]) == {"text", "voice"}


def test_all_options_reach_the_model(fake) -> None:
    line = "say x --voice amy --steps 4 --cfg 2 --method heun --sway -0.5 --seed 7 --speed 1.5 --duration 2 --lang en-gb --loudness -20"
    assert cli.main([*line.split(), "--model", "m", "--dtype", "bfloat16", "--device", "cpu", "--variant", "e2", "--vocab", "v.txt"]) == 0
    asked = fake.asked[-1]
    assert [asked[k] for k in ("steps", "cfg", "method", "sway", "seed", "speed")] == [4, 2.0, "heun", -0.5, 7, 1.5]
    assert [asked[k] for k in ("duration", "lang", "loudness")] == [2.0, "en-gb", -20.0]
    loaded = fake.loads[-1]
    assert (loaded["model"], loaded["device"], str(loaded["dtype"])) == ("m", "cpu", "torch.bfloat16")
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
    assert (facts["file"], facts["seconds"], facts["rate"], facts["voice"], facts["rtf"]) == ("a.mp3", 1.0, 24_000, "amy", 0.25)
    assert facts["settings"]["seed"] == 5 and facts["settings"]["steps"] == 8 and facts["unknown"] == {"ж": 2}
    assert facts["words"][1] == {"text": "world", "start": 0.5, "end": 0.9}
    assert "ж" in err and "2" in err


def test_quiet_says_nothing_but_the_path(fake, capsys) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "-q"]) == 0
    assert capsys.readouterr() == ("out.wav\n", "")


def test_subtitles_lie_beside_the_audio(fake, tmp_path) -> None:
    assert cli.main(["say", "x", "--voice", "amy", "-o", "a.wav", "--subtitles", "srt"]) == 0
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


# --- say: bad input. Each is one line, with its exit code, and the model is not loaded for what can be seen without it ----------------

BAD = [
    ([""], "empty"),
    (["  \n"], "empty"),
    ([], "nothing to say"),
    (["x", "-f", "t.txt"], "not both"),
    (["-f", "nowhere.txt"], "no text file nowhere.txt"),
    (["-f", "."], "is a folder"),
    (["-f", "latin1.txt"], "UTF-8"),
    (["-f", "huge.txt"], "100,000"),
    (["x", "-o", "none/a.wav"], "no folder"),
    (["x", "-o", "."], "folder"),
    (["x", "-o", "a.xyz"], ".wav"),
    (["x", "-o", "a"], "--format"),
    (["x", "-o", "file.txt/a.wav"], "no folder"),
    (["x", "-o", "n" * 300 + ".wav"], "too long"),
    (["x", "-o", "-", "--json"], "standard output"),
    (["x", "-o", "-", "--subtitles", "srt"], "-o a file name"),
    (["x", "--format", "aac"], "invalid choice"),
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
        (MemoryError(), 1, "memory"),
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


def test_a_failed_write_leaves_the_old_file(fake, tmp_path, monkeypatch) -> None:
    (tmp_path / "a.wav").write_bytes(b"precious")
    monkeypatch.setattr("tts_fm.audio._encode", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert cli.main(["say", "x", "--voice", "amy", "-o", "a.wav"]) == 2
    assert (tmp_path / "a.wav").read_bytes() == b"precious" and leftovers(tmp_path) == ["a.wav"]


# --- the other verbs -----------------------------------------------------------------------------------------------------------------


def test_help_lists_the_verbs_and_a_wrong_one_is_told(capsys) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in cli.present_verbs())
    assert cli.main(["sya"]) == 2
    assert "did you mean 'say'" in capsys.readouterr().err
    assert cli.main([]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verb", sorted(cli.present_verbs()))
def test_every_verb_explains_itself(verb, capsys) -> None:
    assert cli.main([verb, "--help"]) == 0
    assert f"usage: tts-fm {verb}" in capsys.readouterr().out


def test_help_is_quick() -> None:
    """Under half a second of the processor's time, so that a busy machine does not count."""
    took = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "tts_fm", "--help"], check=True, capture_output=True, cwd=ROOT)
        after = os.times()
        took.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(took) < 0.5


def test_version(capsys) -> None:
    assert cli.main(["version"]) == 0 and cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tts-fm {tts_fm.__version__}\n" * 2


def test_version_is_that_of_the_package() -> None:
    import tomllib

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == tts_fm.__version__


def test_voices_are_added_listed_and_removed(fake, tmp_path, capsys) -> None:
    assert cli.main(["voice", "add", "bob", "ref.wav", "--lang", "en-gb"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()
    assert cli.main(["voices", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["bob"]["lang"] == "en-gb" and rows["bob"]["built_in"] is False and "amy" in rows
    assert cli.main(["voice", "list"]) == 0
    assert "bob" in capsys.readouterr().out
    assert cli.main(["say", "x", "--voice", "bob"]) == 0 and fake.asked[-1]["voice"].name == "bob"
    assert cli.main(["voice", "add", "bob", "ref.wav"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert cli.main(["voice", "add", "bob", "ref.wav", "--replace"]) == 0
    assert cli.main(["voice", "remove", "bob"]) == 0
    capsys.readouterr()
    assert cli.main(["voices"]) == 0
    assert "bob" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", ["add ../evil ref.wav", "add x none.wav", "remove nobody", "add x ref.wav --lang de"])
def test_bad_voices(fake, capsys, arguments) -> None:
    assert cli.main(["voice", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_models_are_listed_with_their_sizes(fake, tmp_path, monkeypatch, capsys) -> None:
    file = Path(os.environ["TTS_FM_CACHE"]) / "hf" / "SWivid" / "F5-TTS" / "main" / "F5TTS_v1_Base" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"0" * 2_500_000)
    folder = tmp_path / "assets" / "builtin"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"0" * 1_000_000)
    (folder / "config.json").write_text(json.dumps({"model": {"backbone": "dit", "dim": 384, "depth": 8, "text": "aligned"}}))
    monkeypatch.setattr("tts_fm.commands.models.ASSETS", tmp_path / "assets")
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "builtin  dit 384 x 8, aligned text, 1.0 MB"
    assert out[1] == "hf://SWivid/F5-TTS@main/F5TTS_v1_Base/model.safetensors  safetensors, 2.5 MB"


def test_doctor_tells_what_is_missing(fake, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("tts_fm.commands.models.ASSETS", tmp_path / "assets")
    assert cli.main(["doctor", "--json"]) == 4
    report = json.loads(capsys.readouterr().out)
    findings = {f["name"]: f for f in report["findings"]}
    assert not report["ok"] and not findings["built-in model"]["ok"] and findings["voices"]["ok"]
    assert findings["torch"]["ok"] and findings["torchaudio"]["ok"] and "wav" in findings["audio formats"]["value"]
    monkeypatch.setattr("tts_fm.commands.doctor.installed", lambda name: None)
    assert cli.main(["doctor"]) == 5
    assert "FAIL  librosa" in capsys.readouterr().out


def test_convert_turns_a_pickle_into_safetensors(fake, tmp_path, capsys) -> None:
    import torch
    from safetensors.torch import load_file

    state = {"ema_model.transformer.proj_out.weight": torch.ones(2, 2), "initted": torch.tensor(True)}
    torch.save({"ema_model_state_dict": state}, tmp_path / "m.pt")
    assert cli.main(["convert", "m.pt", "m.safetensors"]) == 0
    assert capsys.readouterr().out == "m.safetensors\n" and len(load_file(tmp_path / "m.safetensors")) == 1
    assert cli.main(["convert", "m.pt", "m.safetensors"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["convert", "none.pt", "n.safetensors"]) == 4
    assert cli.main(["convert", "m.pt", "m.bin"]) == 2


def test_eval_prints_the_table_and_fails_with_3(fake, tmp_path, monkeypatch, capsys) -> None:
    from tts_fm import evaluate

    lines = [{"id": name, "text": "one two", "ref_audio": "ref.wav"} for name in ("a", "b")]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = {}

    def run(items, speak, asr, out, **how):
        seen.update(how, items=items, asr=asr, out=out, options=speak.options)
        return SimpleNamespace(table=lambda: "WER 0.1", overall=SimpleNamespace(failed=seen.get("fail", 0), items=2), to_dict=dict)

    monkeypatch.setattr(evaluate, "evaluate", run)
    assert cli.main(["eval", "list.jsonl", "--steps", "4", "--measures", "wer", "--asr", "tiny"]) == 0
    assert capsys.readouterr().out == "WER 0.1\n"
    assert seen["measures"] == ["wer"] and seen["asr"] == "tiny" and seen["options"] == {"steps": 4} and len(seen["items"]) == 2
    seen["fail"] = 1
    assert cli.main(["eval", "list.jsonl", "-q"]) == 3
    assert cli.main(["eval", "nowhere.jsonl"]) == 4


# --- the real thing, in processes of its own -----------------------------------------------------------------------------------------


def test_a_tiny_model_speaks_from_the_command_line(tmp_path) -> None:
    from tiny_model import tiny_tts_folder

    folder = tiny_tts_folder(tmp_path / "model")
    recording(tmp_path / "ref.wav")
    command = [sys.executable, "-m", "tts_fm", "say", "Hello there.", "-m", str(folder), "-r", str(tmp_path / "ref.wav"), "--json"]
    run = subprocess.run([*command, "-o", str(tmp_path / "a.wav"), "--device", "cpu"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    facts = json.loads(run.stdout)
    assert soundfile.info(tmp_path / "a.wav").duration == pytest.approx(facts["seconds"], abs=1e-3)
    assert facts["words"][0]["text"] == "Hello"


def test_interrupt_is_130(tmp_path) -> None:
    code = (
        "import sys, time, tts_fm.commands.say as say\n"
        "def wait(args):\n    print('ready', file=sys.stderr, flush=True); time.sleep(30)\n"
        "say.run = wait\nfrom tts_fm.cli import main\nsys.exit(main(['say', 'x']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None and process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.read() == "interrupted\n" and process.wait() == 130


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = [sys.executable, "-m", "tts_fm", "models", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read() and process.wait() in (0, 141)
