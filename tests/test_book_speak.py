"""Books are spoken once: kept, gone on with to the same bytes, and written in every form with marks and words."""

from __future__ import annotations

import json
import random
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_model import tiny_tts_folder

from tests.books import BOAT, END, LAMP, wrapped
from tts_fm.batch.rounds import Worker
from tts_fm.book.plan import plan_book, read_pauses, spoken_tokens, unit_id
from tts_fm.book.read import read_book
from tts_fm.book.scripts import quotations
from tts_fm.book.write import file_names, form_of, safe_name
from tts_fm.cli.main import main
from tts_fm.settings import Settings
from tts_fm.text.word_times import written_times

av = pytest.importorskip("av")
mutagen = pytest.importorskip("mutagen")

TEXT = (
    f"THE LAMP\n\nby A. Keeper\n\n\n\nCHAPTER I. The Lamp\n\n{wrapped(LAMP)}\n\n{wrapped(END)}\n\n\n\n"
    f"CHAPTER II. The Boat\n\n{wrapped(BOAT)}\n\n* * *\n\nIt was 1865, at 9 a.m.[1]\n"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tts_folder(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def book(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTS_FM_MODEL", str(model))
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    monkeypatch.setenv("TTS_FM_HOME", str(tmp_path / "home"))
    (tmp_path / "book.txt").write_text(TEXT, "utf-8")
    return tmp_path / "book.txt"


def make(book: Path, out: str, *more: str) -> Path:
    assert main(["book", str(book), "-o", str(book.parent / out), "-q", "--workers", "1", *more]) == 0
    return book.parent / out


def chapters(path: Path) -> list[tuple[float, str]]:
    with av.open(str(path)) as container:
        return [(float(c["start"] * c["time_base"]), c["metadata"]["title"]) for c in container.chapters()]


def onsets(work: Path, title: str) -> float:
    """Where the first word of a unit is heard, in seconds."""
    for path in work.glob("*.words.json"):
        record = json.loads(path.read_text())
        if record["chunks"][0][0].startswith(title):
            return record["words"][0][1]
    raise AssertionError(title)


@pytest.mark.parametrize("kind", ["m4b", "mp3", "opus"])
def test_one_file_with_marks_and_tags(book: Path, kind: str) -> None:
    out = make(book, f"out.{kind}", "--narrator", "Nova", "--subtitles", "srt")
    marks = chapters(out)
    assert [title for _, title in marks] == ["Title page", "CHAPTER I. The Lamp", "CHAPTER II. The Boat"]
    with av.open(str(out)) as container:
        length = container.duration / 1e6
    units = [json.loads(p.read_text()) for p in (book.parent / f"out.{kind}.work").glob("*.words.json")]
    assert length > sum(unit["seconds"] for unit in units)
    assert 0 < marks[1][0] < marks[2][0] < length
    file = mutagen.File(out)
    text = str(file.tags)
    assert "THE LAMP" in text and "A. Keeper" in text and "Nova" in text
    if kind == "m4b":
        assert [c.title for c in file.chapters] == [title for _, title in marks]
    assert "1865," in out.with_suffix(".srt").read_text("utf-8")  # as written, not as spoken


def test_marks_are_where_the_title_is_heard(book: Path) -> None:
    out = make(book, "out.m4b")
    samples, rate = [], 0
    with av.open(str(out)) as container:
        for frame in container.decode(audio=0):
            samples.append(frame.to_ndarray()[0])
            rate = frame.sample_rate
    wave = np.concatenate(samples)
    at, _ = chapters(out)[1]
    onset = onsets(book.parent / "out.m4b.work", "Chapter one")
    # the unit begins where the silence between the chapters ends
    before = wave[int((at - onset - 1.0) * rate) : int((at - onset - 0.03) * rate)]
    after = wave[int((at - onset + 0.03) * rate) : int((at + 0.3) * rate)]
    assert np.abs(before).max() < 0.02 < np.abs(after).max()


def test_a_folder(book: Path) -> None:
    out = make(book, "out")
    assert sorted(p.name for p in out.iterdir()) == [
        "01 Title page.mp3", "01 Title page.vtt", "02 CHAPTER I. The Lamp.mp3", "02 CHAPTER I. The Lamp.vtt",
        "03 CHAPTER II. The Boat.mp3", "03 CHAPTER II. The Boat.vtt", "playlist.m3u8",
    ]  # fmt: skip
    playlist = (out / "playlist.m3u8").read_text("utf-8").splitlines()
    assert playlist[0] == "#EXTM3U" and playlist.count("02 CHAPTER I. The Lamp.mp3") == 1
    assert str(mutagen.File(out / "02 CHAPTER I. The Lamp.mp3")["TRCK"]) == "2/3"


def test_acx_holds_its_limits(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["book", str(book), "-o", str(book.parent / "out"), "--workers", "1", "--acx"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "RMS" in line]
    assert len(lines) == 3 and all("within the limits" in line for line in lines), lines
    assert soundfile.info(book.parent / "out" / "02 CHAPTER I. The Lamp.mp3").samplerate == 44100


def test_a_kill_at_any_point_resumes_to_the_same_bytes(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(book, "whole.m4b").read_bytes()
    real, chance, killed = Worker.write, random.Random(1), 0

    def deadly(self: Worker, item: object, speech: object) -> Path:
        path = real(self, item, speech)  # type: ignore[arg-type]
        if chance.random() < 0.4:
            raise KeyboardInterrupt  # as Ctrl-C twice: between the sound and its record
        return path

    monkeypatch.setattr(Worker, "write", deadly)
    for _ in range(30):
        code = main(["book", str(book), "-o", str(book.parent / "cut.m4b"), "-q", "--workers", "1"])
        killed += code == 130
        if code == 0:
            break
    assert killed > 2 and (book.parent / "cut.m4b").read_bytes() == whole


def test_an_edited_paragraph_is_spoken_alone(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(book, "out.m4b")
    spoken: list[str] = []
    real = Worker.write

    def noted(self: Worker, item: object, speech: object) -> Path:
        spoken.append(item.parts[0].text)  # type: ignore[attr-defined]
        return real(self, item, speech)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "write", noted)
    book.write_text(TEXT.replace("the winter may come", "the spring may come"), "utf-8")
    make(book, "out.m4b")
    assert len(spoken) == 1 and "the spring may come" in spoken[0]
    make(book, "out.m4b")
    assert len(spoken) == 1
    make(book, "out.m4b", "--seed", "3")
    assert len(spoken) == 1 + 8  # all of them, with other noise


def test_a_sample_first_is_a_part_of_the_whole_later(book: Path) -> None:
    sample = make(book, "out.m4b", "--chapters", "2")
    assert [title for _, title in chapters(sample)] == ["CHAPTER II. The Boat"]
    before = {p.name: p.read_bytes() for p in (book.parent / "out.m4b.work").glob("*.flac")}
    whole = make(book, "out.m4b")
    after = {p.name: p.read_bytes() for p in (book.parent / "out.m4b.work").glob("*.flac")}
    assert len(chapters(whole)) == 3 and before and before.items() <= after.items()


def test_words_add_up(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(book, "out.m4b", "--json")
    facts = json.loads(capsys.readouterr().out)
    assert sum(facts["account"].values()) == facts["words"]
    assert facts["words_spoken"] == facts["account"]["spoken"] and facts["failed"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "out.wav"], ".m4b, .m4a, .mp3"),
        ([], "--list"),
        (["-o", "nowhere/out.m4b"], "no folder"),
        (["-o", "out.m4b", "--acx"], "folder"),
        (["-o", "out.m4b", "--voice", "nobody"], "nobody"),
        (["-o", "out.m4b", "--quotes", "nobody"], "nobody"),
        (["-o", "out.m4b", "--chapters", "9"], "1 to 2"),
        (["-o", "out.m4b", "--pauses", "x=1"], "paragraph"),
        (["-o", "out.m4b", "--speak", "jokes"], "licence"),
        (["-o", "out.m4b", "--duration", "9"], "--speed"),
        (["-o", "out.m4b", "--cover", "book.txt"], "JPEG"),
        (["-o", "out.m4b", "--lexicon", "book.txt"], "tab"),
        (["-o", "out.m4b", "--cast", "book.txt"], "TOML"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(book.parent)
    assert main(["book", "book.txt", *arguments]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert not list(book.parent.glob("*.work"))


def test_the_work_folder_of_another_book(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(book, "out.m4b")
    other = book.with_name("other.txt")
    other.write_text(
        f"THE SEA\n\nby A. Sailor\n\n\n\nCHAPTER I. The Sea\n\n{LAMP}\n\n\nCHAPTER II. No\n\n{BOAT}", "utf-8"
    )
    assert main(["book", str(other), "-o", str(book.parent / "out.m4b"), "-q"]) == 2
    assert "another book (THE LAMP)" in capsys.readouterr().err
    (book.parent / "x.m4b.work").mkdir()
    (book.parent / "x.m4b.work" / "mine.txt").write_text("x")
    assert main(["book", str(book), "-o", str(book.parent / "x.m4b"), "-q"]) == 2


def test_voices_of_quotations_roles_and_tags(tmp_path: Path) -> None:
    from tts_fm.book.plan import Voices
    from tts_fm.book.scripts import Cast, apply_cast

    (tmp_path / "a.txt").write_text(
        "He said, “It’s late,” and left.\n\nThe {voice liam}loud one{/voice} came.", "utf-8"
    )
    plan = plan_book(read_book(tmp_path / "a.txt"), Settings(), Voices("nova", cast=Cast(quotes="emma")))
    assert [(u.voice, u.text) for u in plan.units] == [
        ("nova", "He said,"), ("emma", "“It’s late,”"), ("nova", "and left."),
        ("nova", "The"), ("liam", "loud one"), ("nova", "came."),
    ]  # fmt: skip
    (tmp_path / "b.txt").write_text("ALICE: Hello.\n\nBOB (sadly): No.\n\nALICE: Why?\n\nBOB: So.\n", "utf-8")
    script = read_book(tmp_path / "b.txt")
    cast = Cast(roles={"alice": "emma", "bob": "liam"})
    apply_cast(script, cast)
    plan = plan_book(script, Settings(), Voices(cast=cast))
    assert [(u.voice, u.text) for u in plan.units] == [
        ("emma", "Hello."),
        ("liam", "No."),
        ("emma", "Why?"),
        ("liam", "So."),
    ]
    assert sum(script.account().values()) == script.words
    with pytest.raises(ValueError, match="BOB"):
        apply_cast(read_book(tmp_path / "b.txt"), Cast(roles={"alice": "emma"}))
    with pytest.raises(ValueError, match="nobody"):
        apply_cast(read_book(tmp_path / "b.txt"), Cast(roles={"eve": "emma"}))


def test_quotations_are_not_apostrophes() -> None:
    text = "‘Don’t,’ said the boys’ mother, ‘that’s the dogs’ dinner.’ It was James’ cat."
    assert [text[a:b] for a, b in quotations(text, "‘")] == ["‘Don’t,’", "‘that’s the dogs’ dinner.’"]


def test_what_is_handed_to_the_voice(tmp_path: Path) -> None:
    text = (
        "CHAPTER IV\n\nTHE KING’S LAMP\n\nTHE SUN HAD set, and it was VERY dark: very _dark_ indeed. "
        "NASA was late.\n\n"
        "    The fog comes in\n    On silver feet,\n    it sits\n\n"
        + wrapped(LAMP, width=72)
        + "\n\n01\n\nIt was done."
    )
    (tmp_path / "a.txt").write_text(text, "utf-8")
    said = [u.text for u in plan_book(read_book(tmp_path / "a.txt"), Settings()).units]
    assert said[0] == "Chapter four." and said[1] == "The King’s Lamp."
    assert said[2] == "The sun had set, and it was very dark: very dark indeed. NASA was late."
    assert said[3] == "The fog comes in, On silver feet, it sits"
    assert said[5] == "One."


def test_a_very_long_paragraph_becomes_units_without_a_word_lost(tmp_path: Path) -> None:
    text = "It was so late, and nobody came. " * 400 + "x" * 5000
    (tmp_path / "a.txt").write_text(text, "utf-8")
    book = read_book(tmp_path / "a.txt")
    plan = plan_book(book, Settings())
    assert len(plan.units) > 5 and all(len(u.text) <= 1500 for u in plan.units)
    assert "".join("".join(u.text.split()) for u in plan.units) == "".join(text.split())


def test_a_unit_is_named_by_all_that_it_depends_on() -> None:
    ids = {
        unit_id("a", None, None, Settings()), unit_id("b", None, None, Settings()),
        unit_id("a", "emma", None, Settings()), unit_id("a", None, "x", Settings()),
        unit_id("a", None, None, Settings(steps=3)),
    }  # fmt: skip
    assert len(ids) == 5 and unit_id("a", None, None, Settings()) in ids


def test_times_of_written_words() -> None:
    spoken = [("In", 0.1, 0.2), ("eighteen", 0.3, 0.6), ("sixty-five", 0.6, 1.0), ("he", 1.1, 1.2), ("sat", 1.3, 1.6)]
    times = written_times(["In", "1865,", "he", "sat."], spoken, 2.0)
    assert times == [(0.1, 0.2), (0.3, 1.0), (1.1, 1.2), (1.3, 1.6)]
    # what was not heard stands between its neighbours, and nothing runs backwards
    times = written_times(["In", "xyzzy", "he", "sat."], [spoken[0], *spoken[3:]], 2.0)
    assert times[1][0] >= times[0][1] and times[1][1] <= times[2][0]
    assert written_times([], [], 1.0) == [] and len(written_times(["a", "b"], [], 1.0)) == 2


def test_tokens_leave_out_what_is_not_spoken(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The lamp[1] was [Illustration] out.", "utf-8")
    paragraph = next(read_book(tmp_path / "a.txt").paragraphs())
    assert spoken_tokens(paragraph, 0, 999) == [(0, "The"), (1, "lamp"), (2, "was"), (4, "out.")]


def test_names_of_files() -> None:
    assert file_names(["A/B: C?", "con", "…" * 200, ""])[:2] == ["01 A B C", "02 con chapter"]
    assert len(safe_name("…" * 200).encode()) <= 160 and safe_name("../../x") == "x"
    assert form_of("x.m4b") == "m4b" and form_of("x") == "folder" and form_of("x.d/") == "folder"


def test_pauses_are_settings(tmp_path: Path) -> None:
    assert read_pauses("paragraph=0.8, chapter=2") == {"paragraph": 0.8, "chapter": 2.0}
    (tmp_path / "a.txt").write_text(f"{LAMP}\n\n{BOAT}\n\n* * *\n\n{END}", "utf-8")
    plan = plan_book(read_book(tmp_path / "a.txt"), Settings(), pauses={"paragraph": 0.9, "scene": 3.0})
    assert [u.pause for u in plan.units] == [0.0, 0.9, 3.0]


def test_written_while_it_is_spoken(tmp_path: Path) -> None:
    from tts_fm.batch.run import Progress
    from tts_fm.book.beside import Arrivals, make_book
    from tts_fm.book.write import Ready, Written

    (tmp_path / "a.txt").write_text(f"{LAMP}\n\n{BOAT}\n\n{END}", "utf-8")
    units = plan_book(read_book(tmp_path / "a.txt"), Settings()).units
    written: list[str] = []

    def write(ready: Ready) -> Written:
        for unit in units:
            ready(unit)
            written.append(unit.id)
        return Written()

    def speak(arrivals: Arrivals, stop: threading.Event, how_many: int = 3) -> Progress:
        progress = Progress(todo=frozenset(unit.id for unit in units[1:]))
        arrivals(progress, None)
        for unit in units[1:how_many]:
            arrivals(progress, {"id": unit.id})
            for _ in range(500):
                if unit.id in written:  # before the next one is spoken
                    break
                time.sleep(0.01)
            assert unit.id in written
        progress.interrupted = how_many < 3
        return progress

    assert make_book(speak, write)[1] == Written() and written == [unit.id for unit in units]
    written.clear()
    assert make_book(partial(speak, how_many=2), write)[1] is None and written == [unit.id for unit in units[:2]]

    def full(ready: Ready) -> Written:
        raise OSError(28, "No space left on device", "out.m4b")

    def waits(arrivals: Arrivals, stop: threading.Event) -> Progress:
        assert stop.wait(10)
        return Progress(interrupted=True)

    with pytest.raises(OSError, match="No space"):
        make_book(waits, full)
