"""The command line but `say`: help, the other verbs, and the real thing in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from cli_toys import FakeTTS, fake_tts, recording

import tts_fm
from tts_fm.cli import main as cli

ROOT = Path(__file__).parents[1]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeTTS]:
    return fake_tts(monkeypatch, tmp_path)


# --- the other verbs


def test_help_lists_the_verbs_and_a_wrong_one_is_told(capsys) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in cli.VERBS)
    assert cli.main(["sya"]) == 2
    assert "did you mean 'say'" in capsys.readouterr().err
    assert cli.main([]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
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


@pytest.mark.parametrize(
    "arguments", ["add ../evil ref.wav", "add x none.wav", "remove nobody", "add x ref.wav --lang de"]
)
def test_bad_voices(fake, capsys, arguments) -> None:
    assert cli.main(["voice", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_models_are_listed_with_their_sizes(fake, tmp_path, monkeypatch, capsys) -> None:
    file = (
        Path(os.environ["TTS_FM_CACHE"]) / "hf" / "SWivid" / "F5-TTS" / "main" / "F5TTS_v1_Base" / "model.safetensors"
    )
    file.parent.mkdir(parents=True)
    file.write_bytes(b"0" * 2_500_000)
    folder = tmp_path / "assets" / "builtin"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"0" * 1_000_000)
    (folder / "config.json").write_text(
        json.dumps({"model": {"backbone": "dit", "dim": 384, "depth": 8, "text": "aligned"}})
    )
    monkeypatch.setattr("tts_fm.cli.models.ASSETS", tmp_path / "assets")
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "builtin  dit 384 x 8, aligned text, 1.0 MB"
    assert out[1] == "hf://SWivid/F5-TTS@main/F5TTS_v1_Base/model.safetensors  safetensors, 2.5 MB"


def test_doctor_tells_what_is_missing(fake, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("tts_fm.cli.models.ASSETS", tmp_path / "assets")
    assert cli.main(["doctor", "--json"]) == 4
    report = json.loads(capsys.readouterr().out)
    findings = {f["name"]: f for f in report["findings"]}
    assert not report["ok"] and not findings["built-in model"]["ok"] and findings["voices"]["ok"]
    assert all(findings[name]["ok"] for name in ("engine torch", "engine onnx", "torchaudio"))
    assert "wav" in findings["audio formats"]["value"]
    monkeypatch.setattr("tts_fm.cli.doctor.installed", lambda name: None)
    assert cli.main(["doctor"]) == 5
    assert "FAIL  onnxruntime" in capsys.readouterr().out


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


def test_convert_keeps_a_vocoder_that_is_there(fake, tmp_path, capsys) -> None:
    import torch

    from tts_fm.model.vocoder import Vocoder

    for number in (1, 2):
        torch.save(Vocoder(8 * number, 1).module.state_dict(), tmp_path / f"{number}.bin")
    assert cli.main(["convert", "--vocoder", "1.bin", "out"]) == 0
    before = (tmp_path / "out" / "vocoder.safetensors").read_bytes()
    capsys.readouterr()
    assert cli.main(["convert", "--vocoder", "2.bin", "out"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "vocoder.safetensors").read_bytes() == before
    assert cli.main(["convert", "--vocoder", "--overwrite", "2.bin", "out"]) == 0
    assert (tmp_path / "out" / "vocoder.safetensors").read_bytes() != before


def test_eval_prints_the_table_and_fails_with_3(fake, tmp_path, monkeypatch, capsys) -> None:
    from tts_fm.evaluate import report as evaluate

    lines = [{"id": name, "text": "one two", "ref_audio": "ref.wav"} for name in ("a", "b")]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = {}

    def run(items, speak, asr, out, **how):
        seen.update(how, items=items, asr=asr, out=out, options=speak.options)
        return SimpleNamespace(
            table=lambda: "WER 0.1", overall=SimpleNamespace(failed=seen.get("fail", 0), items=2), to_dict=dict
        )

    monkeypatch.setattr(evaluate, "evaluate", run)
    assert cli.main(["eval", "list.jsonl", "--steps", "4", "--measures", "wer", "--asr", "tiny"]) == 0
    assert capsys.readouterr().out == "WER 0.1\n"
    assert (
        seen["measures"] == ["wer"]
        and seen["asr"] == "tiny"
        and seen["options"] == {"steps": 4}
        and len(seen["items"]) == 2
    )
    seen["fail"] = 1
    assert cli.main(["eval", "list.jsonl", "-q"]) == 3
    assert cli.main(["eval", "nowhere.jsonl"]) == 4


# --- the real thing, in processes of its own
# -----------------------------------------------------------------------------------------


def test_a_tiny_model_speaks_from_the_command_line(tmp_path) -> None:
    from tiny_model import tiny_tts_folder

    folder = tiny_tts_folder(tmp_path / "model")
    recording(tmp_path / "ref.wav")
    command = [
        sys.executable,
        "-m",
        "tts_fm",
        "say",
        "Hello there.",
        "-m",
        str(folder),
        "-r",
        str(tmp_path / "ref.wav"),
        "--json",
    ]
    run = subprocess.run(
        [*command, "-o", str(tmp_path / "a.wav"), "--device", "cpu"], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    facts = json.loads(run.stdout)
    assert soundfile.info(tmp_path / "a.wav").duration == pytest.approx(facts["seconds"], abs=1e-3)
    assert facts["words"][0]["text"] == "Hello"


def test_interrupt_is_130(tmp_path) -> None:
    code = (
        "import signal, sys, time, tts_fm.cli.say as say\n"
        # a background job of a shell inherits that it is ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(args):\n    print('ready', file=sys.stderr, flush=True); time.sleep(30)\n"
        "say.run = wait\nfrom tts_fm.cli.main import main\nsys.exit(main(['say', 'x']))\n"
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
