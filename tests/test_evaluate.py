"""Spelling by tables, error counts by hand, intervals by closed form and coverage, whole reports with a fake voice and
a fake ear.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tts_fm.errors import MissingDependency, ModelError
from tts_fm.evaluate import metrics as m
from tts_fm.evaluate import report as ev

RATE = 24_000

SAME = [
    ("It's a grey colour.", "it is a gray color"),
    ("In 1863, there were 105 of them.", "in eighteen sixty three there were one hundred and five of them"),
    ("$3.50", "three dollars and fifty cents"),
    ("The hoped-for peace", "The hoped for peace!"),
    ("a hundred men", "100 men"),
    ("one thousand and one nights", "1001 nights"),
    ("They can't, won't and don't.", "they cannot will not and do not"),
    ("We'll see; I'm sure they've gone.", "we will see I am sure they have gone"),
    ("Let's go, it's got cold.", "let us go it has got cold"),
    ("Mr. Smith and Dr. Jones", "mister smith and doctor jones"),
    ("He realised the theatre's centre was being analysed.", "he realized the theaters center was being analyzed"),
    ("She travelled with her neighbours.", "she traveled with her neighbors"),
    ("Um, all right, OK.", "Alright okay"),
    ("the 4th of July", "the fourth of july"),
    ("50%", "fifty percent"),
    ("“Quoted” … text—here", "quoted text here"),
]
DIFFERENT = [
    ("four hours of yours", "for hors of yors"),
    ("the acre", "the acer"),
    ("a man and one woman", "one man and one woman"),
    ("they are", "there"),
]


@pytest.mark.parametrize("a, b", SAME)
def test_one_spelling(a, b):
    assert m.spelling(a) == m.spelling(b)
    assert m.spelling(m.spelling(a)) == m.spelling(a)


@pytest.mark.parametrize("a, b", DIFFERENT)
def test_other_words_stay_other(a, b):
    assert m.spelling(a) != m.spelling(b)


def test_spelling_has_plain_words_only():
    words = m.spelling("Ünïted £5 Über-Straße, don’t! 12:30, a@b.com (no) [yes] 7/20/1969 #1 & co.")
    assert not any(c.isdigit() for c in words) and all(c.isalnum() or c == " " for c in words)
    assert m.spelling("?! ... —") == ""


def test_error_counts():
    pytest.importorskip("jiwer")
    assert m.word_errors("the cat sat on the mat", "the bat sat on mat") == (1, 1, 0, 6)
    assert m.word_errors("the cat sat on the mat", "oh the cat sat on the mat") == (0, 0, 1, 6)
    assert m.word_errors("One, two.", "") == (0, 2, 0, 2)
    assert m.word_errors("It's 12.", "it is twelve").edits == 0
    assert m.word_errors("go", "go go go go") == (0, 0, 3, 1)  # a rate above 1 is possible
    assert m.char_errors("abcd", "abxd") == (1, 0, 0, 4) and m.char_errors("ab cd", "") == (0, 5, 0, 5)
    with pytest.raises(ValueError, match="no words"):
        m.word_errors("...", "what")


def test_figure_is_corpus_level():
    assert m.figure([1, 0], [1, 9]).value == pytest.approx(0.1)  # not the mean of 1 and 0
    assert m.figure([2.0, 4.0]).value == 3
    assert m.figure([0.5] * 7) == (0.5, 0.5, 0.5)
    assert m.figure([1, 2, 3]) == m.figure([1, 2, 3])
    for bad in ([], [[1, 2]]):
        with pytest.raises(ValueError, match="at least one item"):
            m.figure(bad)
    with pytest.raises(ValueError, match="positive weight"):
        m.figure([1, 2], [1, 0])


def test_interval_matches_theory_and_covers():
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, 400)
    f = m.figure(values)
    # the normal approximation of a mean of 400
    assert (f.high - f.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    hits = 0
    for _ in range(100):
        f = m.figure(rng.exponential(1.0, 60), draws=300)
        hits += f.low <= 1 <= f.high
    assert 85 <= hits <= 100


# --- whole reports


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "prompts").mkdir()
    for name in ("af_kore", "am_eric", "real_a", "other"):
        soundfile.write(tmp_path / "prompts" / f"{name}.flac", np.sin(np.arange(RATE) / 20) * 0.3, RATE)
    rows = [
        {"id": "a", "text": "The cat sat.", "ref_audio": "prompts/af_kore.flac", "ref_text": "Hello."},
        {"id": "b", "text": "Two dogs.", "ref_audio": "prompts/am_eric.flac"},
        {"id": "c", "text": "Five birds flew away.", "ref_audio": "prompts/real_a.flac"},
        {"id": "d", "text": "No.", "ref_audio": "prompts/other.flac"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    return tmp_path / "list.jsonl"


class Ear:
    """Says what it was told was spoken: the wave's first sample names the item."""

    name = "fake ear"
    heard = ["the cat sat", "2 cats", "five birds", "no"]

    def __call__(self, wave, rate):
        return self.heard[round(float(wave[0]) * 100)]


def speak(item):
    wave = np.zeros(RATE // 2, np.float32)
    wave[0] = "abcd".index(item.id) / 100
    return wave, RATE, 0.1


def test_report(listed, tmp_path):
    pytest.importorskip("jiwer")
    seen = []
    report = ev.evaluate(
        listed,
        speak,
        Ear(),
        tmp_path / "new" / "report.json",
        measures=["wer"],
        forwards=14,
        about={"model": "toy"},
        audio=tmp_path / "wav",
        on_item=lambda done, total, result: seen.append((done, total, result.id)),
    )
    o = report.overall
    assert (o.items, o.failed, o.seconds) == (4, 0, 2.0) and o.sim is None and o.dnsmos is None
    assert o.wer.value == pytest.approx(3 / 10) and o.rtf.value == pytest.approx(0.2)  # dogs -> cats; flew, away lost
    assert o.wer.low <= 0.3 <= o.wer.high
    sizes = {name: figures.items for name, figures in report.groups.items()}
    assert sizes == {"af_kore": 1, "am_eric": 1, "other": 1, "real": 1, "real_a": 1, "synthetic": 2}
    assert report.groups["synthetic"].wer.value == pytest.approx(1 / 5) and report.groups["real"].wer.value == 0.5
    assert seen == [(i + 1, 4, "abcd"[i]) for i in range(4)]
    assert sorted(p.name for p in (tmp_path / "wav").iterdir()) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    stored = json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report.json"]
    assert (
        stored["about"]["asr"] == "fake ear" and stored["about"]["forwards"] == 14 and stored["about"]["model"] == "toy"
    )
    assert "cores" in stored["about"]["hardware"] and stored["overall"]["wer"] == o.wer._asdict()
    assert stored["items"][1]["words"] == {"substitutions": 1, "deletions": 0, "insertions": 0, "length": 2}
    table = report.table()
    assert "0.300 [" in table and "synthetic" in table and "fake ear" in table and table.splitlines()[-1] != ""


def test_failed_items_count_as_silence(listed):
    pytest.importorskip("jiwer")

    def often(item):
        if item.id == "c":
            raise ModelError("no voice\nmore")
        if item.id == "d":
            return np.full(10, np.nan, np.float32), RATE, 0.1
        return speak(item)

    class Strict(Ear):
        def __call__(self, wave, rate):
            m.at_rate(wave, rate)
            return super().__call__(wave, rate)

    report = ev.evaluate(listed, often, Strict(), measures=["wer"])
    assert report.overall.failed == 2 and report.overall.wer.value == pytest.approx((1 + 4 + 1) / 10)
    assert report.items[2].error == "no voice" and "NaN" in report.items[3].error
    assert "failed: c: no voice" in report.table() and report.groups["real"].rtf is None

    with pytest.raises(ZeroDivisionError):  # a bug is not an item's fault
        ev.evaluate(listed, lambda item: 1 / 0, Ear(), measures=["wer"])


def test_measures_are_checked(listed):
    with pytest.raises(ValueError, match="'mos'; there are wer, sim, dnsmos"):
        ev.evaluate(listed, speak, Ear(), measures=["mos"])
    with pytest.raises(ValueError, match="no items"):
        ev.evaluate([], speak, Ear())
    report = ev.evaluate(listed, speak, measures=[])
    assert (
        report.overall.wer is None and report.overall.rtf.value == pytest.approx(0.2) and report.about["asr"] == "none"
    )


def test_speak_with(listed):
    from types import SimpleNamespace

    asked = []

    class Tts:
        def say(self, text, voice, ref_text, **options):
            asked.append((text, voice, ref_text, options))
            settings = SimpleNamespace(
                steps=4, method="euler", cfg=2.0, temperature=1.0, match=0.0, sway=-1.0, seed=0, speed=1.0
            )
            return SimpleNamespace(
                wave=np.ones(80, np.float32), rate=8000, forwards=16, chunks=[1, 2], settings=settings
            )

    report = ev.evaluate(listed, ev.SpeakWith(Tts(), steps=4), measures=[], about={"model": "toy"})
    first = listed.parent / "prompts" / "af_kore.flac"
    assert asked[0] == ("The cat sat.", str(first), "Hello.", {"item": "a", "steps": 4}) and asked[1][2] is None
    assert report.items[0].seconds == 0.01 and report.items[0].compute > 0
    assert {k: report.about[k] for k in ("forwards", "steps", "cfg", "model")} == {
        "forwards": 8,
        "steps": 4,
        "cfg": 2.0,
        "model": "toy",
    }
    ev.SpeakWith(Tts(), ref_text=False)(ev.read_eval_list(listed)[0])
    assert asked[-1][2] is None


BAD_LINES = [
    ("{", "not JSON"),
    ("[1]", "not a JSON object"),
    ('{"id": "x", "text": "Hi.", "ref_audio": "gone.wav"}', "no audio file"),
    ('{"id": "x", "text": "", "ref_audio": "prompts/af_kore.flac"}', "text is ''"),
    ('{"id": "x", "text": "?!", "ref_audio": "prompts/af_kore.flac"}', "has no words"),
    ('{"id": "../x", "text": "Hi.", "ref_audio": "prompts/af_kore.flac"}', "id is '../x'"),
    ('{"id": "a", "text": "Hi.", "ref_audio": "prompts/af_kore.flac"}', "already on line 1"),
    ('{"id": "x", "text": "Hi.", "ref_audio": "prompts/af_kore.flac", "ref_text": 3}', "ref_text is 3"),
    ('{"text": "Hi.", "ref_audio": "prompts/af_kore.flac"}', "id is None"),
]


@pytest.mark.parametrize("line, fault", BAD_LINES)
def test_bad_lists(listed, line, fault):
    with listed.open("a", encoding="utf-8") as file:
        file.write(line + "\n" + "nonsense\n")
    with pytest.raises(ValueError) as caught:
        ev.read_eval_list(listed)
    first, second = str(caught.value).splitlines()  # all faults at once
    assert first.startswith(f"{listed}:6: ") and fault in first and second.startswith(f"{listed}:7: not JSON")


def test_missing_and_empty_lists(tmp_path):
    with pytest.raises(ModelError, match="no evaluation list"):
        ev.read_eval_list(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="has no items"):
        ev.read_eval_list(tmp_path / "empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        ev.read_eval_list(tmp_path / "latin.jsonl")


# --- recipes


def recipe(name):
    spec = importlib.util.spec_from_file_location(
        name, Path(__file__).parents[1] / "recipes" / "builtin" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_asr_is_assembled(tmp_path, monkeypatch):
    asr = recipe("asr")
    for name, files in zip(
        asr.PACKAGES, ({"model.bin.00": b"ab", "config.json": b"{}"}, {"model.bin.01": b"cd"}), strict=True
    ):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise SystemExit")  # must not be imported
        for file, content in files.items():
            (tmp_path / name / "data" / file).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    folder = asr.assemble(tmp_path / "out" / "whisper")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"model.bin": b"abcd", "config.json": b"{}"}
    (folder / "model.bin").write_bytes(b"kept")
    assert (asr.assemble(folder) / "model.bin").read_bytes() == b"kept"
    monkeypatch.setattr(asr, "PACKAGES", ("no_such_package_at_all",))
    with pytest.raises(MissingDependency, match="no-such-package-at-all"):
        asr.assemble(tmp_path / "other")


def test_copy_synthesis_choice_and_summary(tmp_path):
    copy = recipe("copy_synthesis")
    rows = [
        {"audio": f"{i}.wav", "text": str(i), "split": "valid" if i % 2 else "train", "seconds": 2.0} for i in range(20)
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [text for _, text in copy.corpus_clips(tmp_path, "valid", 5)] == ["1", "5", "9", "13", "17"]
    with pytest.raises(ValueError, match="10 clips of split 'valid'"):
        copy.corpus_clips(tmp_path, "valid", 11)
    figures = copy.summary([
        {"compute": 1.0, "seconds": 10.0, "pesq": 2.0, "wer_copy": m.Errors(1, 0, 0, 1)},
        {"compute": 1.0, "seconds": 30.0, "pesq": 4.0, "wer_copy": m.Errors(0, 0, 0, 9)},
    ])  # fmt: skip
    assert {k: v.value for k, v in figures.items()} == pytest.approx({"rtf": 0.05, "pesq": 3.0, "wer_copy": 0.1})
    with pytest.raises(ModelError, match="not a checkpoint"):
        copy.open_vocoder(str(tmp_path / "none.pt"))


# --- packages


def test_missing_packages_are_named(monkeypatch):
    for name in ("jiwer", "faster_whisper", "resemblyzer", "speechmos", "speechmos.dnsmos", "pesq", "pystoi"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    wave = np.zeros(RATE, np.float32)
    calls = [
        lambda: m.word_errors("a b", "a"), m.Whisper, m.SpeakerEncoder,
        lambda: m.dnsmos(wave, RATE),
        lambda: m.pesq_wb(wave, wave, RATE), lambda: m.stoi(wave, wave, RATE),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(MissingDependency, match=r"tts-fm\[eval\]"):
            call()


def test_import_is_light():
    heavy = "torch,librosa,jiwer,faster_whisper,resemblyzer,speechmos,pesq,pystoi,scipy".split(",")
    code = f"import sys, tts_fm.evaluate.report; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_no_whisper_folder(tmp_path):
    pytest.importorskip("faster_whisper")
    with pytest.raises(ModelError, match="asr.py"):
        m.Whisper(tmp_path / "nothing")


@pytest.fixture(scope="module")
def vowel():
    """Two seconds of a buzz through two resonances, in bursts: enough of a voice for models of speech."""
    from scipy.signal import lfilter

    t = np.arange(2 * RATE)
    buzz = (t % 200 == 0).astype(np.float64)
    for hz in (600, 1200):
        buzz = lfilter([1], [1, -2 * 0.98 * np.cos(2 * np.pi * hz / RATE), 0.98**2], buzz)
    wave = buzz * (0.2 + np.sin(np.pi * t / 6000) ** 2)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def test_dnsmos(vowel):
    pytest.importorskip("speechmos.dnsmos")
    vowel = np.tile(vowel, 5)[: int(9.02 * RATE)]  # one of its windows: what is shorter it repeats to seven
    clean = m.dnsmos(vowel, RATE)
    assert set(clean) == {"overall", "signal", "background", "p808"} and all(0.5 < v < 5.5 for v in clean.values())
    noisy = m.dnsmos(vowel + np.random.default_rng(0).normal(0, 0.1, len(vowel)), RATE)
    assert noisy["background"] < clean["background"]


def test_speaker_encoder(vowel):
    try:
        encoder = m.SpeakerEncoder()
    except MissingDependency as missing:
        pytest.skip(str(missing))
    assert "pkg_resources" not in sys.modules or hasattr(sys.modules["pkg_resources"], "__file__")
    a, b = encoder.embed(vowel, RATE), encoder.embed(vowel * 0.5, RATE)
    assert a.shape == (256,) and np.linalg.norm(a) == pytest.approx(1, abs=1e-4) and float(a @ b) > 0.95
    assert not encoder.embed(np.zeros(RATE, np.float32), RATE).any()


def test_copy_measures(vowel):
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    noisy = vowel + np.random.default_rng(0).normal(0, 0.1, len(vowel)).astype(np.float32)
    assert m.pesq_wb(vowel, vowel, RATE) > 4.5 > m.pesq_wb(vowel, noisy, RATE)
    assert m.stoi(vowel, vowel, RATE) > 0.99 > m.stoi(vowel, noisy, RATE)
    assert m.stoi(vowel, vowel[:-100], RATE) > 0.99
    with pytest.raises(ValueError, match="PESQ cannot compare"):
        m.pesq_wb(vowel[:2000], vowel[:2000], RATE)
