"""The demo's command, and its pages through their web API."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile

from tts_fm.demo.commands import OWN

pytest_plugins = ["demo_fixtures"]


def test_help_imports_nothing_heavy():
    code = ("import sys; from tts_fm.cli.main import main; assert main(['demo', '--help']) == 0; "
            "bad = {'torch', 'gradio', 'librosa', 'numpy'} & set(sys.modules); assert not bad, bad")  # fmt: skip
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0 and "--max-chars" in shown.stdout, shown.stderr


def test_bad_options_are_one_line(capsys):
    from tts_fm.cli.main import main

    pytest.importorskip("gradio")
    assert main(["demo", "--max-chars", "0"]) == 2
    assert main(["demo", "--auth", "nocolon"]) == 2
    assert main(["demo", "--model", "/nowhere"]) == 4
    assert len(capsys.readouterr().err.strip().splitlines()) == 3


def test_a_fault_of_ours_takes_the_place_of_waiting():
    widgets = pytest.importorskip("tts_fm.demo.widgets", reason="needs gradio")

    def work():
        yield "Half done.", "a voice"
        raise ZeroDivisionError("an internal matter")

    updates = widgets.guarded(work, 2, "adapt", "adapt")()
    assert next(updates) == ("Half done.", "a voice")
    line, kept = next(updates)
    assert "fault" in line and "internal" not in line and kept == widgets.gr.skip()
    with pytest.raises(ZeroDivisionError):  # Gradio logs it
        next(updates)


@pytest.fixture(scope="module")
def client(service):
    pytest.importorskip("gradio")
    from gradio_client import Client

    from tts_fm.demo.app import build, launch_options

    page = build(service)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options(service))
    assert url.startswith("http://127.0.0.1:")
    yield Client(url, verbose=False)
    page.close(verbose=False)


SAMPLING = (2, 1.0, 1.0, 0, "euler", "")  # the rest as the page has it


def test_api_clone(client, home):
    from gradio_client import handle_file

    said, wav, _picture, _subtitles, command, chunks, words, live, takes = client.predict(
        "Hello there.", "ann", None, "", *SAMPLING, api_name="/clone"
    )
    assert "s of speech" in said and "--voice ann" in command and "Hello there." in chunks and "<td>Hello</td>" in words
    wave, rate = soundfile.read(wav)
    assert rate == 24_000 and 0 < np.abs(wave).max() < 1
    assert "1 of" not in live and 'data-ended="1"' in live and "Hello there." in takes
    own = client.predict("Hello there.", OWN, handle_file(home / "me.wav"), "", *SAMPLING, api_name="/clone")
    assert "--ref-audio my-voice.wav" in own[4] and str(home) not in "".join(map(str, own))
    assert "seed 1" in client.predict(1, api_name="/speak_chunk_again")[0]
    moments = client.predict(1, api_name="/hear_it_form")
    assert "Ready" in moments[0] and soundfile.info(moments[3]).samplerate == 24_000


def test_api_errors_say_what_to_do_and_one_session_knows_nothing_of_another(client):
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    for text, voice, words in (
        ("", "ann", "empty"),
        ("Hi.", OWN, "upload or record"),
        ("?!", "ann", "at least one word"),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(text, voice, None, "", *SAMPLING, api_name="/clone")
    with pytest.raises(AppError):
        client.predict("Hi.", "/etc/passwd", None, "", *SAMPLING, api_name="/clone")
    client.predict("Hello.", "ann", None, "", *SAMPLING, api_name="/clone")
    stranger = Client(client.src, verbose=False)
    with pytest.raises(AppError, match="press Speak first"):
        stranger.predict(1, api_name="/speak_chunk_again")


def test_api_script_and_batch(client, home, tmp_path):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    script = "[ann] Hello.\n[guest1] Good day.\n[bob] Bye."
    said, wav, _, turns, picture, words, _ = client.predict(
        script, handle_file(home / "me.wav"), "", None, "", 0.5, *SAMPLING, api_name="/script"
    )
    assert "3 of 3 turns" in said and turns.count("<tr>") == 4 and soundfile.info(wav).duration > 1
    assert picture and words.count("<tr>") == 5
    with pytest.raises(AppError, match="no recording of guest2"):
        client.predict("[guest2] Hi.", None, "", None, "", 0.5, *SAMPLING, api_name="/script")
    listing = tmp_path / "list.jsonl"
    listing.write_text('{"text": "One.", "id": "first"}\n{"text": "Two things.", "voice": "bob"}\n', "utf-8")
    said, archive, _ = client.predict(handle_file(listing), "ann", None, "", "flac", *SAMPLING, api_name="/batch")
    with zipfile.ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == ["000002.flac", "000002.srt", "first.flac", "first.srt", "results.jsonl"]
        entries = [json.loads(line) for line in packed.read("results.jsonl").splitlines()]
    assert [(e["id"], e["voice"]) for e in entries] == [("first", "ann"), ("000002", "bob")]
    listing.write_text('{"text": "One."}\n{"text": "?!"}\n', "utf-8")
    with pytest.raises(AppError, match=r"list\.jsonl:2: "):
        client.predict(handle_file(listing), "ann", None, "", "wav", *SAMPLING, api_name="/batch")


def test_api_edit(client, home):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    recording = handle_file(home / "me.wav")
    said, before, after, _, changes, command, words = client.predict(
        recording, "Hello there, my friend.", "Hello there, my brother.", *SAMPLING, api_name="/edit"
    )
    assert "1 change" in said and "<td>brother.</td>" in changes and "<td>brother</td>" in words
    assert "--new 'Hello there, my brother.'" in command
    assert soundfile.info(before).duration == pytest.approx(4) and soundfile.info(after).samplerate == 24_000
    assert str(home) not in "".join(map(str, (said, changes, command)))
    for text, new, fault in (("", "Hi.", "transcript is empty"), ("Hello there.", "Hello there.", "says the same")):
        with pytest.raises(AppError, match=fault):
            client.predict(recording, text, new, *SAMPLING, api_name="/edit")
    with pytest.raises(AppError, match="upload or record"):
        client.predict(None, "Hello there.", "Hello you.", *SAMPLING, api_name="/edit")
