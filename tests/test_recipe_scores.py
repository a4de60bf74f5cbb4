"""Scores of spoken lists: in shards, in several sittings, each item once; the page that shows them; list forms of
others.
"""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import tone

from recipes.libritts import evaluation, report_page, scoring

pytest.importorskip("jiwer")


class Ear:
    """Hears the text of long files, nothing in short ones; counts."""

    name = "ear"

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, wave: np.ndarray, rate: int) -> str:
        self.heard += 1
        return "one <b>two</b>" if len(wave) > rate else ""


@pytest.fixture
def spoken(tmp_path: Path) -> tuple[Path, Path]:
    """A list of five and the speech of four of them."""
    prompt = tone(tmp_path / "a prompt.wav")
    items = [{"id": f"i{k}", "text": "one & two", "ref_audio": str(prompt)} for k in range(5)]
    evaluation.write_list(tmp_path / "l.jsonl", items)
    for k in range(4):
        tone(tmp_path / "speech" / f"i{k}.wav", seconds=2.0 if k < 3 else 0.5)
        scoring.append(
            tmp_path / "speech" / "spoken.0of1.jsonl",
            {"id": f"i{k}", "seconds": 0.5, "about": {"steps": 8, "forwards": 16}},
        )
    return tmp_path / "l.jsonl", tmp_path / "speech"


def test_shards_sittings_and_page(spoken: tuple[Path, Path], tmp_path: Path):
    items, speech = spoken
    ear, report = Ear(), tmp_path / "out" / "report.json"
    assert scoring.score(items, speech, report, ear, ["wer"], (0, 2)).startswith("3 of 5 items") and not report.exists()
    table = scoring.score(items, speech, report, ear, ["wer"], (1, 2))
    assert "all  5 (1 failed)" in table and ear.heard == 4
    found = json.loads(report.read_text())
    wrong, words = (
        sum(i["words"]["substitutions"] + i["words"]["deletions"] + i["words"]["insertions"] for i in found["items"]),
        15,
    )
    assert (
        found["overall"]["wer"]["value"] == pytest.approx(wrong / words)
        and found["overall"]["wer"]["low"] <= wrong / words
    )
    about = found["about"]
    assert about["asr"] == "ear" and about["forwards"] == 16 and about["steps"] == 8 and about["hardware"]
    assert found["overall"]["rtf"]["value"] == pytest.approx(4 * 0.5 / 6.5)
    page = report.with_suffix(".html").read_text()
    assert page.count("<audio") == 8 and page.count("data:image/png") == 4 and page.count("<article>") == 5
    assert 'src="../speech/i0.wav"' in page and 'src="../a%20prompt.wav"' in page
    assert (
        "one &lt;b&gt;two&lt;/b&gt;" in page
        and "<b>" not in page
        and page.index(">i4<") < page.index(">i3<") < page.index(">i0<")
    )
    assert scoring.score(items, speech, report, ear, ["wer"]) and ear.heard == 4  # nothing is measured twice
    tone(speech / "i4.wav", seconds=2.0)  # the missing one is spoken after all, and one line was cut off by a kill
    path = speech / "scores.1of2.jsonl"
    path.write_text(path.read_text()[:-40])
    assert "all      5" in scoring.score(items, speech, report, ear, ["wer"]) and ear.heard == 5
    assert (
        scoring.score(items, speech, report, Ear(), ["wer"])
        and json.loads(report.read_text())["overall"]["failed"] == 0
    )


def test_pictures_are_png(tmp_path: Path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    data = report_page.png(grey)
    at = data.index(b"IDAT")
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(
        data[at + 4 + int.from_bytes(data[at - 4 : at]) :][:4]
    ) == zlib.crc32(data[at : at + 4 + int.from_bytes(data[at - 4 : at])])
    image = pytest.importorskip("PIL.Image")
    assert np.array_equal(np.asarray(image.open(io.BytesIO(data))), grey)
    soundfile.write(tmp_path / "s.wav", np.zeros(100, np.float32), 24_000)
    assert (
        report_page.mel_picture(tmp_path / "s.wav").startswith("data:image/png")
        and report_page.mel_picture(tmp_path / "none.wav") == ""
    )


def test_lists_of_seed_tts_and_zipvoice(tmp_path: Path):
    tone(tmp_path / "prompts" / "p.wav")
    (tmp_path / "meta.lst").write_text("a-1|Hello.|prompts/p.wav|Good bye.|wavs/truth.wav\nb|Hi.|prompts/p.wav|Bye.\n")
    (tmp_path / "zip.tsv").write_text("a-1\tHello.\tprompts/p.wav\tGood bye.\n")
    first = {"id": "a-1", "text": "Good bye.", "ref_audio": str(tmp_path / "prompts" / "p.wav"), "ref_text": "Hello."}
    assert (
        evaluation.prompted_list(tmp_path / "meta.lst")[0] == evaluation.prompted_list(tmp_path / "zip.tsv")[0] == first
    )
    (tmp_path / "bad.lst").write_text("a|b\na|b|none.wav|c\n")
    with pytest.raises(ValueError, match="bad.lst:1: 2 cells.*\n.*bad.lst:2: no audio"):
        evaluation.prompted_list(tmp_path / "bad.lst")
    evaluation.main(["list", str(tmp_path / "meta.lst"), str(tmp_path / "l.jsonl"), "--prompted"])
    assert len((tmp_path / "l.jsonl").read_text().splitlines()) == 2
