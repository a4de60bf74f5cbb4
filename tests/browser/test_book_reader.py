"""An EPUB with overlays in a reader that people use: foliate-js plays it in a real browser and shows the word.

apt-get install chromium; pip install playwright; npm pack foliate-js, unpack it, and name the folder in $FOLIATE_JS.
Skipped where one of them is missing. $BOOK_SCREENSHOT names a file for a picture of the page.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("av")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FOLIATE = os.environ.get("FOLIATE_JS", "")
if CHROMIUM is None or not (Path(FOLIATE) / "view.js").is_file():
    pytest.skip("no chromium, or no $FOLIATE_JS", allow_module_level=True)

from tiny_model import tiny_tts_folder  # noqa: E402

PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><style>
html, body { height: 100%; margin: 0 } foliate-view { display: block; height: 100% }</style></head><body>
<script type="module">
import './foliate/view.js'
const view = document.createElement('foliate-view')
document.body.append(view)
window.words = []; window.errors = []
await view.open('/aloud.epub')
view.mediaOverlay.addEventListener('highlight', e => window.words.push(e.detail.text))
view.mediaOverlay.addEventListener('error', e => window.errors.push(String(e.detail)))
await view.init({})
await view.goTo(1)
await view.startMediaOverlay()
window.shown = () => {
  const { doc } = view.renderer.getContents()[0]
  const e = doc.querySelector('.' + CSS.escape(view.book.media.activeClass))
  return e && [e.textContent, getComputedStyle(e).backgroundColor]
}
</script></body></html>"""
TEXT = "THE LAMP\n\n\n\nCHAPTER I\n\nThe keeper had not slept for two nights, since the lamp would not burn.\n"


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from tts_fm.cli.main import main

    monkeypatch.setenv("TTS_FM_MODEL", os.environ.get("BOOK_MODEL") or str(tiny_tts_folder(tmp_path / "model")))
    monkeypatch.setenv("TTS_FM_DEVICE", "cpu")
    (tmp_path / "lamp.txt").write_text(TEXT, "utf-8")
    assert main(["book", str(tmp_path / "lamp.txt"), "-o", str(tmp_path / "aloud.epub"), "-q", "--workers", "1"]) == 0
    (tmp_path / "index.html").write_text(PAGE, "utf-8")
    (tmp_path / "foliate").symlink_to(Path(FOLIATE).resolve())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
    server.shutdown()


def test_foliate_plays_the_book_and_shows_the_word(address: str) -> None:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        page = browser.new_page(viewport={"width": 800, "height": 500})
        page.goto(address)
        page.wait_for_function("window.words && window.words.length > 3", timeout=60_000)
        page.wait_for_function("window.shown && window.shown()", timeout=10_000)
        word, colour = page.evaluate("window.shown()")
        if picture := os.environ.get("BOOK_SCREENSHOT"):
            page.screenshot(path=picture)
        words, errors = page.evaluate("window.words"), page.evaluate("window.errors")
        browser.close()
    assert not errors and word in TEXT and colour == "rgb(255, 224, 138)"
    assert [w.split("#")[1] for w in words] == [f"heard{n}" for n in range(1, len(words) + 1)] or len(set(words)) > 3
