"""Lists: every form, every fault with its line, and ids that are safe as file names anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from properties import HealthCheck, given, settings, st

from tts_fm.audio.files import write_audio
from tts_fm.batch import lists
from tts_fm.batch.lists import ListError, check_id, clean_id, read_list
from tts_fm.settings import Settings
from tts_fm.voices import stored as voices


@pytest.fixture(autouse=True)
def known_voices(monkeypatch):
    monkeypatch.setattr(voices, "catalogue", lambda: {"anna": (Path("."), {}), "bob": (Path("."), {})})


@pytest.fixture(scope="module")
def ref(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ref") / "me.wav"
    t = np.arange(48000) / 24000
    write_audio(path, (0.3 * np.sin(900 * t) * (1 + np.sin(20 * t))).astype(np.float32), 24000)
    return path


def listed(folder: Path, name: str, text: str | bytes, **how):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_list(path, **how)


def faults(folder: Path, name: str, text: str | bytes, **how) -> list[str]:
    with pytest.raises(ListError) as caught:
        listed(folder, name, text, **how)
    return caught.value.faults


def test_txt(tmp_path):
    items = listed(tmp_path, "a.txt", b"\xef\xbb\xbfHello.\r\n\r\n# not a comment\r\nLast").items
    assert [(i.id, i.parts[0].text, i.where) for i in items] == [
        ("000001", "Hello.", "a.txt:1"), ("000003", "# not a comment", "a.txt:3"),
        ("000004", "Last", "a.txt:4")]  # fmt: skip
    assert items[0].settings == Settings(item="000001")


def test_jsonl_and_defaults(tmp_path, ref):
    rows = [
        {
            "id": "a",
            "text": "One.",
            "voice": "bob",
            "seed": 7,
            "steps": 8,
            "speed": 1.5,
            "language_id": "en",
            "ref_text": None,
        },
        {"name": "b", "text": "Two.", "ref_audio": str(ref), "ref_text": "said words here", "cfg": 0},
        {"id": 5, "text": "Three."},
        {"out": "d.x", "text": "Four."},
    ]
    how = {"settings": Settings(seed=3, cfg=1.5), "voice": "anna", "ref_text": "anna says"}
    items = listed(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), **how).items
    assert [i.id for i in items] == ["a", "b", "5", "d.x"]
    assert items[0].settings == Settings(seed=7, steps=8, speed=1.5, cfg=1.5, lang="en-us", item="a")
    assert items[1].settings.cfg == 0 and items[1].settings.seed == 3
    assert [(p.voice, p.ref_text) for i in items for p in i.parts] == [
        ("bob", None), (str(ref), "said words here"), ("anna", "anna says"), ("anna", "anna says")]  # fmt: skip


@pytest.mark.parametrize("name,text", [
    ("l.tsv", "u1\tsaid words here\tme.wav\tHello, you.\n"),
    ("l.tsv", "text\tid\tprompt_wav\tprompt_text\nHello, you.\tu1\tme.wav\tsaid words here\n"),
    ("l.lst", "u1|said words here|me.wav|Hello, you.\n"),
    ("l.lst", "u1|said words here|me.wav|Hello, you.|truth.wav\n"),
    ("l.txt", "u1|said words here|me.wav|Hello, you.|truth.wav\n"),
    ("l.txt", "u1\tsaid words here\tme.wav\tHello, you.\n"),
    ("l.csv", "id;text;ref_audio;ref_text\nu1;Hello, you.;me.wav;said words here\n"),
    ("l.csv", "sep=;\n\nid;text;ref_audio;ref_text\nu1;Hello, you.;me.wav;said words here\n"),
    ("l.csv", "id\ttext\tref_audio\tref_text\nu1\tHello, you.\tme.wav\tsaid words here\n"),
    ("l.psv", "id|text|ref_audio|ref_text\nu1|Hello, you.|me.wav|said words here\n"),
    ("l.txt", 'id,text,ref_audio,ref_text\nu1,"Hello, you.",me.wav,said words here\n'),
    ("l.txt", '{"id": "u1", "text": "Hello, you.", "ref_audio": "me.wav", "ref_text": "said words here"}\n'),
    ("l.csv", 'id,text,ref_audio,ref_text\nu1,"Hello, you.",me.wav,said words here\n'),
])  # fmt: skip
def test_columns(ref, name, text):
    (item,) = listed(ref.parent, name, text).items
    assert (item.id, item.parts[0].text, item.parts[0].ref_text) == ("u1", "Hello, you.", "said words here")
    assert Path(item.parts[0].voice) == ref


def test_ljspeech(tmp_path):
    text = "LJ1-1|Dr. No|Doctor No\nLJ1-2|just this\nLJ1-3|this|\n"
    for name, how in (("metadata.csv", {}), ("x.tsv", {"form": "ljspeech"})):
        assert [(i.id, i.parts[0].text) for i in listed(tmp_path, name, text, **how).items] == [
            ("LJ1-1", "Doctor No"), ("LJ1-2", "just this"), ("LJ1-3", "this")]  # fmt: skip


def test_a_text_file_with_columns_is_read_as_what_it_is(tmp_path):
    """Paths are not spoken; sentences with bars and tabs in them are."""
    listing = listed(tmp_path, "train.txt", "wavs/a.wav|One.\nDUMMY\\b.wav|12|Two.\n")
    assert [(i.id, i.parts[0].text) for i in listing.items] == [("a", "One."), ("b", "Two.")]
    assert "read as ljspeech" in listing.notes[0]
    text = "Press a | b to go on.\nPlain.\nA tab\there.\n"
    assert [i.parts[0].text for i in listed(tmp_path, "talk.txt", text).items] == text.splitlines()
    assert [i.parts[0].text for i in listed(tmp_path, "t.txt", "a|b\n", form="txt").items] == ["a|b"]


def test_a_text_with_bars_in_a_lst(tmp_path):
    for text, said in (("a | b | c", "a | b | c"), ("a|b|x.wav", "a|b"), ("a|", "a")):
        assert listed(tmp_path, "a.lst", f"u|||{text}\n").items[0].parts[0].text == said


def test_skip_bad(tmp_path):
    text = b'{"id": "a", "text": "One."}\n{"id": "b", "text": "?!"}\n{"id": "c", "text": "\xff"}\n{"text": "Two."}\n'
    told = faults(tmp_path, "a.jsonl", text.replace(b"\xff", b"..."))
    assert [f.split(":")[1] for f in told] == ["2", "3"]
    with pytest.raises(ListError, match="--skip-bad leaves such lines out and speaks the other 2"):
        read_list(tmp_path / "a.jsonl")
    listing = listed(tmp_path, "a.jsonl", text, skip_bad=True)
    assert [i.id for i in listing.items] == ["a", "000004"]
    assert [f.split(":")[1] for f in listing.left_out] == ["2", "3"]
    assert len(faults(tmp_path, "b.txt", "!\n?\n", skip_bad=True)) == 2  # nothing would be left
    assert "columns" in faults(tmp_path, "c.csv", "id,words\n1,a\n", skip_bad=True)[0]


def test_ids_in_any_script(tmp_path, monkeypatch):
    rows = ["Übung-1", "第一章", "глава_2", "हिन्दी", "e\u0301tude"]
    text = "\n".join(json.dumps({"id": name, "text": "a"}) for name in rows)
    items = listed(tmp_path, "a.jsonl", text).items
    assert [i.id for i in items] == [*rows[:4], "\u00e9tude"]
    for item in items:
        (tmp_path / f"{item.id}.wav").touch()
    assert "used on line 1 already" in faults(tmp_path, "b.jsonl", text + '\n{"id": "ÜBUNG-1", "text": "a"}')[0]
    monkeypatch.setattr("tts_fm.batch.lists.nameable", str.isascii)  # a file system without Unicode
    listing = listed(tmp_path, "a.jsonl", text + '\n{"id": "Ubung-1", "text": "a"}\n{"id": "Übüng-1", "text": "a"}')
    names = [i.id for i in listing.items]
    assert all(name.isascii() and check_id(name) is None for name in names) and len(set(names)) == 7
    assert names[0].startswith("Ubung-1-") and names[5] == "Ubung-1" and len(listing.notes) == 6


def test_csv_numbers_and_lines(tmp_path):
    text = 'text,seed,speed,cfg\n"a\nb",4,,0\n"x",nope,9,nan\n'
    # the row after the one of two lines
    assert [f.split(":", 2)[:2] for f in faults(tmp_path, "a.csv", text)] == [["a.csv", "4"]]
    items = listed(tmp_path, "a.csv", text.split('"x"', maxsplit=1)[0]).items
    assert (items[0].parts[0].text, items[0].settings.seed, items[0].settings.speed, items[0].settings.cfg) == (
        "a\nb",
        4,
        1.0,
        0.0,
    )


def test_f5_toml(ref):
    text = """model = "F5TTS_v1_Base"
ref_audio = "me.wav"
ref_text = "said words here"
gen_text = "First. [anna2] Second, [said](/sɛd/)! [main] Third."
output_file = "story.wav"
speed = 1.2
[voices.anna2]
ref_audio = "me.wav"
ref_text = "other words here"
"""
    listing = listed(ref.parent, "basic.toml", text)
    (item,) = listing.items
    assert item.id == "story" and item.settings.speed == 1.2
    assert [(p.text, p.ref_text) for p in item.parts] == [
        ("First.", "said words here"), ("Second, [said](/sɛd/)!", "other words here"),
        ("Third.", "said words here")]  # fmt: skip
    assert "not used: model" in listing.notes[0]
    assert "[carl]" in faults(ref.parent, "b.toml", text.replace("[main]", "[carl]"))[0]
    (ref.parent / "gen.txt").write_text("From [anna2] a file.")
    more = listed(ref.parent, "c.toml", text.replace('gen_text = "First', 'gen_file = "gen.txt"\ngen_text = "First'))
    assert [p.text for p in more.items[0].parts] == ["From", "a file."]
    assert faults(ref.parent, "d.toml", "a = = 1")[0].startswith("d.toml:1: not TOML")


def test_all_faults_are_told_together(tmp_path):
    rows = [
        '{"id": "../x", "text": "a"}', '{"id": "ok", "text": "!?"}', "not json",
        '{"id": "OK2", "text": "a", "speed": NaN}',
        '{"id": "OK", "text": "a", "voice": "carl"}', '{"id": "b", "txt": "a"}', '{"id": "b2", "text": 5}', "[1]",
        '{"id": "c", "text": "a", "text": "b"}',
        '{"id": "d", "text": "a", "ref_audio": "none.wav"}',
        '{"id": true, "text": "a", "steps": true, "cfg": 99, "method": "newton"}',
        '{"id": "e", "text": "a", "lang": "klingon"}', '{"id": "f", "text": "%s"}' % ("a" * 100_001),
        '{"id": "g", "text": "a", "voice": "anna", "ref_audio": "x"}',
    ]  # fmt: skip
    told = faults(tmp_path, "a.jsonl", "\n".join(rows))
    assert sorted({int(f.split(":")[1]) for f in told}) == list(range(1, 15))
    assert any("OK" in f and "Windows and macOS" in f for f in told) and any("did you mean 'text'" in f for f in told)
    assert not any("\n" in f for f in told)


@pytest.mark.parametrize("text", ["[1984] was a year", "[Hello]", "50 %", "§", "[a](/sɛd/)", "日本"])
def test_can_be_spoken(tmp_path, text):
    assert listed(tmp_path, "a.txt", text).items[0].parts[0].text == text


@pytest.mark.parametrize("name,data,says", [
    ("a.txt", b"Hello. <break 99s> You.", "a.txt:1: "),
    ("a.txt", b"<break 1s>\n", "nothing in '<break 1s>'"),
    ("a.txt", b"fine\n\xff\xfe bad", "a.txt:2: byte 1"),
    ("a.txt", "text".encode("utf-16"), "UTF-16"),
    ("a.txt", b"", "nothing in the list"),
    ("a.jsonl", b"\n \n", "nothing in the list"),
    ("a.docx", b"x", "suffix .docx"),
    ("a.tsv", b"a\tb\n", "a.tsv:1: 2 columns, but 4"),
    ("a.txt", b"wavs/a.wav|One.\nTwo.\nwavs/b.wav|Three.\n", "2 of 3 lines have a bar behind a name or a path"),
    ("a.txt", b"a\tOne.\nb\tTwo.\n", "2 of 2 lines have a tab behind"),
    ("a.csv", b"id;text\n1;a;b\n", "holds ';' in quotes"),
    ("a.csv", b"id,words\n1,2\n", "'text'"),
    ("a.csv", b'id,text\n1,"open\n', "a.csv:2: not CSV"),
    ("a.csv", b"id,text\n1,a,b\n", "a.csv:2: 3 columns"),
    ("a.jsonl", b"[" * 100_000, "not JSON"),
    ("a.jsonl", b'{"text": "a", "ref_audio": "a\\u0000b"}', "a.jsonl:1"),
    ("a.lst", b"x|a|.|b", "a.lst:1"),
])  # fmt: skip
def test_bad_lists(tmp_path, name, data, says):
    assert says in faults(tmp_path, name, data)[0]


def test_missing_list(tmp_path):
    with pytest.raises(ListError, match="cannot read the list"):
        read_list(tmp_path / "none.txt")
    with pytest.raises(ListError, match="cannot read the list"):
        read_list(tmp_path)


def test_strangers_may_name_no_files(tmp_path, ref):
    row = json.dumps({"text": "Hello.", "ref_audio": str(ref)})
    assert "paths are not accepted" in faults(tmp_path, "a.jsonl", row, recordings=False)[0]
    (tmp_path / "secret").write_text("a secret")
    assert "gen_file is not accepted" in faults(tmp_path, "a.toml", 'gen_file = "secret"', recordings=False)[0]
    # the host's own
    assert listed(tmp_path, "a.txt", "Hello.", voice=str(ref), recordings=False).items[0].parts[0].voice == str(ref)


BAD_IDS = [
    "../x", "/abs", "a/b", "a\\b", "a\0b", "CON", "con.txt", "Lpt1", "x.", "", " ", "x" * 129,
    "字" * 70, "e\u0301", "\u200dx", "№\n", ".hid", "-o",
    "a b", "a:b", "..",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_IDS)
def test_bad_ids(name):
    assert check_id(name) is not None
    assert check_id(clean_id(name)) is None


@given(st.text(max_size=300))
def test_cleaned_ids_are_ids(name):
    clean = clean_id(name)
    assert check_id(clean) is None
    assert (Path("/out") / f"{clean}.wav").resolve().parent == Path("/out")


def test_sanitize(tmp_path):
    rows = "\n".join(json.dumps({"id": name, "text": "a"}) for name in ["a/b", "A_B", "a_b", "CON", "fine"])
    listing = listed(tmp_path, "a.jsonl", rows, sanitize=True)
    names = [item.id for item in listing.items]
    assert names[0] == "a_b" and names[-1] == "fine" and len({n.casefold() for n in names}) == 5
    assert all(check_id(name) is None for name in names) and len(listing.notes) == 4


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=99) | st.text(alphabet="{}[]\"\\:,|\t\nab1.-=~'", max_size=99).map(str.encode),
    form=st.sampled_from(lists.FORMS),
)
def test_fuzz(tmp_path, data, form):
    """Anything gives items with safe ids, or faults: never another exception."""
    try:
        listing = listed(tmp_path, "fuzz", data, form=form)
    except ListError as error:
        assert error.faults and all("\n" not in fault for fault in error.faults)
    else:
        assert listing.items and all(check_id(item.id) is None for item in listing.items)


def test_a_novel_is_no_list(tmp_path):
    novel = "The keeper had not slept for two nights, since the lamp would not\nburn without him and the "
    novel = (
        novel
        + "boat with the new\nglass was late. He sat on the stairs, counted the waves\nand wrote them down in a book\n"
    ) * 5
    (fault,) = faults(tmp_path, "novel.txt", novel)
    assert "tts-fm book" in fault and "tts-fm say -f" in fault and "--input-format txt" in fault
    assert len(listed(tmp_path, "novel.txt", novel, form="txt").items) == 20
    assert len(listed(tmp_path, "lines.txt", "A line that is a sentence of its own here.\n" * 30).items) == 30
