"""An EPUB with overlays in a reader that people use: foliate-js plays it in a real browser and shows the word.

apt-get install chromium; pip install playwright; npm pack foliate-js, unpack it, and name the folder in $FOLIATE_JS.
Skipped where one of them is missing. $BOOK_SCREENSHOT names a file for a picture of the page.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

pytest.importorskip("playwright.sync_api")
pytest.importorskip("av")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FOLIATE = os.environ.get("FOLIATE_JS", "")
if CHROMIUM is None or not (Path(FOLIATE) / "view.js").is_file():
    pytest.skip("no chromium, or no $FOLIATE_JS", allow_module_level=True)

from tiny_model import tiny_tts_folder  # noqa: E402

from recipes.benchmarks.book_checks import play  # noqa: E402

TEXT = "THE LAMP\n\n\n\nCHAPTER I\n\nThe keeper had not slept for two nights, since the lamp would not burn.\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from tts_fm.cli.main import main

    monkeypatch.setenv("TTS_FM_MODEL", os.environ.get("BOOK_MODEL") or str(tiny_tts_folder(tmp_path / "model")))
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    (tmp_path / "lamp.txt").write_text(TEXT, "utf-8")
    assert main(["book", str(tmp_path / "lamp.txt"), "-o", str(tmp_path / "aloud.epub"), "-q", "--workers", "1"]) == 0
    (tmp_path / "foliate").symlink_to(Path(FOLIATE).resolve())
    return tmp_path


def test_foliate_plays_the_book_and_shows_the_word(folder: Path) -> None:
    picture = os.environ.get("BOOK_SCREENSHOT")
    word, colour, words, errors = play(folder, 1, Path(picture) if picture else None, 4)
    assert not errors and word in TEXT and colour == "rgb(255, 224, 138)"
    assert [w.split("#")[1] for w in words] == [f"heard{n}" for n in range(1, len(words) + 1)] or len(set(words)) > 3
