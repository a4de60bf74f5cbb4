"""The demo without a browser: its service, its readers of scripts and lists, its pictures, and the web API through gradio_client."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_model import tiny_tts_folder

from tts_fm.demo.figures import colours, speech_picture, steps_picture, table
from tts_fm.demo.service import OWN, Limits, Service, Stopped, command_line
from tts_fm.demo.texts import parse_script, read_list
from tts_fm.settings import Settings
from tts_fm.words import Word

TEXT = "Hello there, my friend. " * 8  # two chunks and more


def speech_like(seconds: float = 3.0, rate: int = 24_000) -> np.ndarray:
    """(S,) float32: a buzz in syllables, which passes the checks of a reference recording."""
    time = np.arange(int(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.2 * buzz * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1) * (0.6 + 0.4 * np.sin(4 * time))).astype(np.float32)


def store_voices(folder: Path, names: tuple[str, ...] = ("ann", "bob")) -> None:
    """Named voices, as `tts-fm voice add` stores them."""
    folder.mkdir(parents=True)
    for name in names:
        soundfile.write(folder / f"{name}.flac", speech_like(), 24_000)
    (folder / "voices.json").write_text(json.dumps({name: {"text": None, "lang": "en-us"} for name in names}), "utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two stored voices, no built-in ones, and a recording."""
    folder = tmp_path_factory.mktemp("home")
    store_voices(folder / "voices")
    soundfile.write(folder / "me.wav", speech_like(4), 24_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tts_fm.voices.user_folder", lambda: folder / "voices")
        patch.setattr("tts_fm.voices.BUILTIN", folder / "none")
        yield folder


@pytest.fixture(scope="module")
def service(home, tmp_path_factory):
    from tts_fm.synthesis import TTS

    made = Service(TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model"))), Limits(characters=400, lines=5, list_characters=200))
    yield made
    made.close()


def nothing(*_) -> None:
    pass


def spoken(service: Service, text: str = TEXT, **settings):
    request = service.request(text, service.voice("ann", None), service.settings(**{"steps": 3, "cfg": 1.0} | settings))
    take = None
    for take, _total in service.speak(request, nothing, nothing):  # noqa: B007
        pass
    return take


# ---- service -------------------------------------------------------------------------------------------------------------


def test_chunks_join_to_what_say_returns(service):
    take = spoken(service, seed=3)
    assert len(take.chunks) > 1
    speech = service.finish(take)
    truth = service.tts.say(TEXT, "ann", settings=Settings(steps=3, cfg=1.0, seed=3))
    np.testing.assert_allclose(speech.wave, truth.wave, atol=1e-4)
    assert speech.words == truth.words


def test_a_chunk_spoken_again_changes_alone_and_reproducibly(service):
    take = spoken(service)
    before = [chunk.wave for chunk in take.chunks]
    assert service.again(take, 2, nothing, nothing) == 1
    assert service.again(take, 2, nothing, nothing) == 2
    np.testing.assert_array_equal(take.chunks[0].wave, before[0])
    other = spoken(service, seed=2)  # chunk 2 with seed 0 + 2 is chunk 2 of the whole with seed 2
    np.testing.assert_allclose(take.chunks[1].wave, other.chunks[1].wave, atol=1e-5)
    assert not np.allclose(take.chunks[1].mel, service.tts.plan(take.request)[1].frames)
    for number in (0, 99, 1.5, None):
        with pytest.raises(ValueError, match="from 1 to"):
            service.again(take, number, nothing, nothing)
    with pytest.raises(ValueError, match="press Speak first"):
        service.again(None, 1, nothing, nothing)


def test_moments_end_in_the_result(service):
    take = spoken(service, steps=3)
    found = service.moments(take, 1, nothing, nothing)
    assert [m.step for m in found] == [0, 1, 2, 3]
    assert [m.time for m in found] == sorted(m.time for m in found) and found[-1].time == 1.0
    np.testing.assert_allclose(found[-1].mel, take.chunks[0].mel, atol=1e-5)
    assert not np.allclose(found[0].mel[:20], found[-1].mel[:20], atol=1e-3)
    many = service.moments(spoken(service, "Hi.", steps=32), 1, nothing, nothing)
    assert len(many) == 9 and (many[0].step, many[-1].step) == (0, 32)
    assert all(np.abs(m.wave).max() <= 1 for m in many)


def test_stop_takes_effect_at_the_next_step_and_leaves_nothing_behind(service):
    seen = []

    def tell(*at):
        seen.append(at)
        service.stop("s/clone")

    with service.running("s/clone") as check, pytest.raises(Stopped):
        request = service.request(TEXT, service.voice("ann", None), service.settings(steps=8))
        list(service.speak(request, check, tell))
    assert len(seen) == 1
    assert service.stop("s/clone") is False  # nothing runs any more
    service.arm("s/clone")  # stopped while it waited in the queue
    assert service.stop("s/clone") is True
    with service.running("s/clone") as check, pytest.raises(Stopped):
        check()
    with service.running("s/clone") as check:
        check()  # a later request is not stopped
        service.leave("other")
        check()
        service.leave("s")
        with pytest.raises(Stopped):
            check()


def test_two_sessions_at_once_get_what_they_would_get_alone(service):
    alone = service.finish(spoken(service, "One two three four.", seed=1)).wave
    results = {}

    def visitor(name: int) -> None:
        results[name] = service.finish(spoken(service, "One two three four.", seed=1)).wave

    threads = [threading.Thread(target=visitor, args=(k,)) for k in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(results) == 3 and all(np.array_equal(wave, alone) for wave in results.values())


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 1}, {"steps": 33}, {"steps": 2.5}, {"steps": float("nan")}, {"cfg": float("nan")}, {"cfg": -1}, {"seed": -1}, {"seed": 0.5},
     {"speed": 0}, {"speed": float("inf")}, {"method": "magic"}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(service, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        service.settings(**wrong)


def test_zero_is_a_value_and_none_is_the_models_own(service):
    assert service.settings(cfg=0, seed=None).cfg == 0
    assert (service.settings().steps, service.settings().cfg) == (2, 1.0)


def test_texts_and_recordings_are_bounded_and_errors_name_no_path(service, tmp_path):
    voice = service.voice("ann", None)
    for text, words in (("", "empty"), (" \n", "empty"), ("a" * 401, "401 characters")):
        with pytest.raises(ValueError, match=words):
            service.request(text, voice, Settings())
    with pytest.raises(ValueError, match="upload or record"):
        service.voice(OWN, None)
    with pytest.raises(ValueError, match="there is no voice"):
        service.voice("/etc/passwd", None)
    for name, data in (("silent.wav", np.zeros(48_000)), ("short.wav", speech_like(0.1))):
        soundfile.write(tmp_path / name, data, 24_000)
        with pytest.raises(ValueError) as caught:
            service.voice(OWN, str(tmp_path / name))
        assert str(tmp_path) not in str(caught.value)
    (tmp_path / "fake.wav").write_bytes(b"<html>")
    with pytest.raises(ValueError) as caught:
        service.voice(OWN, str(tmp_path / "fake.wav"))
    assert str(tmp_path) not in str(caught.value)


def test_result_files_are_swept(service, monkeypatch):
    path = Path(service.save_wave(speech_like(1), "x", "seed 0"))
    assert "generated speech" in path.read_bytes().decode("latin-1")
    service.place()
    assert path.is_file()
    monkeypatch.setattr("tts_fm.demo.service.KEEP_SECONDS", -1.0)
    service.place()
    assert not path.exists()


def test_command_line_round_trips_through_the_shell(service):
    text = "It's \"five\" $(o'clock); `ls` & -n\nnext"
    line = command_line(text, OWN, Settings(steps=7, cfg=0.0, seed=5, method="heun", speed=1.25, lang="en-gb"), "what I said")
    argv = json.loads(
        subprocess.check_output(
            ["sh", "-c", line.replace("tts-fm", f"{sys.executable} -c 'import sys,json;print(json.dumps(sys.argv[1:]))'", 1)]
        )
    )
    assert argv[:2] == ["say", text] and argv[argv.index("--cfg") + 1] == "0" and argv[argv.index("--ref-text") + 1] == "what I said"
    assert command_line("-5 degrees", "ann", Settings(steps=2, cfg=1.0)).endswith("-o speech.wav -- '-5 degrees'")


# ---- scripts and lists -----------------------------------------------------------------------------------------------------


def test_script_lines_keep_their_voice():
    turns = parse_script("[ann] Hello.\nMore.\n\n [bob]Bye.\n[word](/w/) stays.", ["ann", "bob"])
    assert [(t.voice, t.text) for t in turns] == [("ann", "Hello."), ("ann", "More."), ("bob", "Bye."), ("bob", "[word](/w/) stays.")]
    assert turns[2].where == "line 4"
    with pytest.raises(ValueError, match="line 1: there is no voice 'eve'.*\nline 2: .*'dan'"):
        parse_script("[eve] a\n[dan] b", ["ann"])
    with pytest.raises(ValueError, match="empty"):
        parse_script(" \n", [])


LISTS = [
    ("a.txt", "", "nothing to say"),
    ("a.exe", "x", "a list is a"),
    ("a.txt", b"\xff\xfe\x00", "UTF-8"),
    ("a.jsonl", "{\n[]", "line 1: .*\nline 2: "),
    ("a.jsonl", "[" * 100_000, "line 1"),
    ("a.csv", "id,words\n1,x", "column text"),
    ("a.csv", 'text\n"open', "cannot be read"),
    ("a.csv", "text,text\na", "no text"),
    ("a.tsv", "text\tvoice\nx\teve", "'eve'"),
    ("a.jsonl", '{"text": "x", "ref_audio": "/etc/passwd"}', "ref_audio cannot be used"),
    ("a.jsonl", '{"text": 5}', "no text"),
    ("a.jsonl", '{"text": "x", "id": "../../x"}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": "CON"}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": "nul.txt"}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": ["a"]}', "cannot name a file"),
    ("a.jsonl", '{"text": "x", "id": "A"}\n{"text": "x", "id": "a"}', "also that of line 1"),
    ("a.jsonl", '{"text": "x", "voice": ["ann"]}', "there is no voice"),
    ("a.txt", "x\n" * 6, "6 lines"),
    ("a.txt", "x" * 201, "201 characters"),
]


@pytest.mark.parametrize(("name", "content", "words"), LISTS)
def test_bad_lists_are_refused_with_their_lines(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        read_list(str(path), ["ann"], 5, 200)


def test_good_lists(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,text,voice\none,"Hello, you",ann\n,Bye,\n', "utf-8")
    assert [(t.id, t.voice, t.text) for t in read_list(str(path), ["ann"], 5, 200)] == [
        ("one", "ann", "Hello, you"),
        ("000002", None, "Bye"),
    ]


# ---- pictures --------------------------------------------------------------------------------------------------------------


def test_pictures():
    ramp = np.linspace(-12, 4, 50)[:, None].repeat(100, 1)
    light = colours(ramp).astype(int).sum(-1)[0]
    assert (np.diff(light) >= 0).all()  # louder is brighter
    low = np.full((10, 100), -12.0)
    low[:, :10] = 2
    assert colours(low)[-1, 0].sum() > colours(low)[0, 0].sum()  # low frequencies at the bottom
    picture = speech_picture(speech_like(2), low, [Word("hello", 0.1, 0.5), Word("x" * 200, 0.6, 0.7)])
    assert picture.size == (800, 350)
    assert speech_picture(np.zeros(0, np.float32), np.zeros((0, 100))).size == (800, 350)
    assert steps_picture([low] * 4, list("abcd")).size[0] == 1000
    html = table("a<b", ["<i>"], [["<script>", 1]])
    assert "<script>" not in html and "&lt;script&gt;" in html and 'scope="col"' in html
    assert table("x", ["a"], []) == ""


# ---- the command and the web API ---------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    code = ("import sys; from tts_fm.cli import main; assert main(['demo', '--help']) == 0; "
            "bad = {'torch', 'gradio', 'librosa', 'numpy'} & set(sys.modules); assert not bad, bad")  # fmt: skip
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0 and "--max-chars" in shown.stdout, shown.stderr


def test_bad_options_are_one_line(capsys):
    from tts_fm.cli import main

    pytest.importorskip("gradio")
    assert main(["demo", "--max-chars", "0"]) == 2
    assert main(["demo", "--auth", "nocolon"]) == 2
    assert main(["demo", "--model", "/nowhere"]) == 4
    assert len(capsys.readouterr().err.strip().splitlines()) == 3


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


SAMPLING = (2, 1.0, "euler", 1.0, 0, "")


def test_api_clone(client, home):
    from gradio_client import handle_file

    said, wav, picture, subtitles, command, chunks, words = client.predict("Hello there.", "ann", None, "", *SAMPLING, api_name="/clone")
    assert "s of speech" in said and "--voice ann" in command and "Hello there." in chunks and "<td>Hello</td>" in words
    wave, rate = soundfile.read(wav)
    assert rate == 24_000 and 0 < np.abs(wave).max() < 1
    own = client.predict("Hello there.", OWN, handle_file(home / "me.wav"), "", *SAMPLING, api_name="/clone")
    assert "--ref-audio my-voice.wav" in own[4] and str(home) not in "".join(map(str, own))
    assert "seed 1" in client.predict(1, api_name="/speak_chunk_again")[0]
    moments = client.predict(1, api_name="/hear_it_form")
    assert "Ready" in moments[0] and soundfile.info(moments[3]).samplerate == 24_000


def test_api_errors_say_what_to_do_and_one_session_knows_nothing_of_another(client):
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    for text, voice, words in (("", "ann", "empty"), ("Hi.", OWN, "upload or record"), ("?!", "ann", "at least one word")):
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
    said, wav, _, turns = client.predict(script, handle_file(home / "me.wav"), "", None, "", 0.5, *SAMPLING, api_name="/script")
    assert "3 of 3 turns" in said and turns.count("<tr>") == 4 and soundfile.info(wav).duration > 1
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
    with pytest.raises(AppError, match="line 2"):
        client.predict(handle_file(listing), "ann", None, "", "wav", *SAMPLING, api_name="/batch")
