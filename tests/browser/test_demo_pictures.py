"""Pictures and times of the demo with the built-in voice, in a real browser; see demo_pages.py. Not part of the suite:

    TTS_FM_PICTURES=docs/pictures python -m pytest -s tests/browser/test_demo_pictures.py

writes the pictures that the docs show, and prints how long the page takes to load and how soon something is heard.
$TTS_FM_BOOK names a book for the latter; without it a text of 30,000 words is made.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("TTS_FM_PICTURES"):
    pytest.skip("$TTS_FM_PICTURES names no folder", allow_module_level=True)

import soundfile
from demo_pages import SIZES, WAIT, chromium, first_sound, opened, playwright, record_sentence, served, to_tab, told

from tts_fm.demo.commands import EXAMPLES
from tts_fm.voices.stored import BUILTIN, get_voice

FOLDER = Path(os.environ["TTS_FM_PICTURES"])
LARGEST = 150_000  # bytes of a picture
SLOW = {"latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 750e3 / 8, "offline": False}
LOADED = """() => {
  const [page] = performance.getEntriesByType("navigation"), all = performance.getEntriesByType("resource");
  const first = performance.getEntriesByName("first-contentful-paint")[0];
  return {content: page.domContentLoadedEventEnd, paint: first ? first.startTime : NaN, usable: window.ttsUsable,
          files: all.length + 1, bytes: [page, ...all].reduce((sum, one) => sum + one.transferSize, 0)};
}"""
USABLE = """new MutationObserver((_, seen) => {
  if (document.querySelector("#clone-go")) { window.ttsUsable = performance.now(); seen.disconnect(); }
}).observe(document, {childList: true, subtree: true});"""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory):
    wave, rate = soundfile.read(BUILTIN / "emma.flac")
    path = tmp_path_factory.mktemp("mic") / "emma.wav"
    soundfile.write(path, wave, rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def url():
    from tts_fm.demo.service import Service
    from tts_fm.synthesis import TTS

    FOLDER.mkdir(parents=True, exist_ok=True)
    service = Service(TTS.load())
    service.warm_up()  # as tts-fm demo does
    with served(service) as address:
        yield address


@pytest.fixture(scope="module")
def browser(microphone):
    with chromium(microphone) as made:
        yield made


def taken(page: Any, name: str) -> None:
    """A picture of the page as a small PNG."""
    from PIL import Image

    page.wait_for_timeout(500)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = FOLDER / f"{name}.png"
    shot.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < LARGEST, (name, path.stat().st_size)


def say(capsys: Any, line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}", end="", flush=True)


@pytest.mark.parametrize(
    "kind", ["as it is", "as Lighthouse has a phone: 1.6 Mbit/s, 150 ms, a processor 4 times slower"]
)
def test_how_long_the_page_takes(browser, url, capsys, kind):
    context = browser.new_context(viewport=dict(zip(("width", "height"), SIZES["phone"], strict=True)))
    page = context.new_page()
    page.set_default_timeout(3 * WAIT)
    if kind != "as it is":
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", SLOW)
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.add_init_script(USABLE)
    page.goto(url)
    page.wait_for_function("window.ttsUsable")
    page.wait_for_timeout(1000)  # it keeps a connection open, so it is never idle
    found = page.evaluate(LOADED)
    say(
        capsys,
        f"load, {kind}: DOMContentLoaded {found['content'] / 1000:.2f} s, first paint {found['paint'] / 1000:.2f}"
        f" s, Speak is there after {found['usable'] / 1000:.2f} s; {found['files']} files, "
        f"{found['bytes'] / 1e6:.2f} MB",
    )
    context.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_of_the_first_page(browser, url, capsys, size, theme):
    page = opened(browser, f"{url}?__theme={theme}", *SIZES[size])
    for count, number in enumerate((1, len(EXAMPLES)), 1):
        page.click(f"#clone-example-{number}")
        playwright.expect(page.locator("#clone-text textarea")).to_have_value(EXAMPLES[number - 1][1])
        page.evaluate("window.ttsPlayer.first = 0")
        page.click("#clone-go")
        heard = first_sound(page)
        playwright.expect(page.locator("#clone-takes li")).to_have_count(count)
        say(capsys, f"first sound, {size}, {theme}, {len(EXAMPLES[number - 1][1])} characters: {heard:.2f} s")
    page.evaluate("scrollTo(0, 0)")
    taken(page, f"demo-{size}" + "-dark" * (theme == "dark"))
    page.context.close()


def test_picture_of_how_it_works(browser, url, capsys):
    page = opened(browser, url, 1280, 1000)
    to_tab(page, "How it works")
    page.click("#flow-go")
    told(page, "flow", "Ready")
    taken(page, "how-it-works")
    page.context.close()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_pictures_of_making_a_voice(browser, url, microphone, monkeypatch, tmp_path, size):
    monkeypatch.setattr("tts_fm.train.adapt.updates_for", lambda seconds: 6)
    monkeypatch.setattr("tts_fm.train.voice._others", lambda vocab: [])
    page = opened(browser, url, *SIZES[size])
    to_tab(page, "Make a voice")
    taken(page, f"voice-1-read-{size}")
    record_sentence(page)
    page.click("#adapt-next")
    (tmp_path / "emma.txt").write_text(get_voice("emma").text or "", "utf-8")
    page.locator("#adapt-uploads input[type=file]").set_input_files([microphone, tmp_path / "emma.txt"])
    page.wait_for_selector("#adapt-uploads :text('emma')")
    page.fill("#adapt-consent textarea, #adapt-consent input", "a stored voice, for a picture")
    taken(page, f"voice-2-recorded-{size}")
    page.click("#adapt-go")
    told(page, "adapt", "The voice is made")
    page.click("#adapt-hear")
    playwright.expect(page.locator("#adapt-heard-status")).to_contain_text("before and after")
    page.locator("#adapt-hear").scroll_into_view_if_needed()
    taken(page, f"voice-3-made-{size}")
    page.context.close()


def test_how_soon_a_long_text_and_a_book_are_heard(browser, url, capsys, tmp_path):
    book = Path(os.environ.get("TTS_FM_BOOK") or tmp_path / "book.txt")
    if not book.is_file():
        paragraph = f"{EXAMPLES[-1][1]}\n\n"
        chapters = [f"CHAPTER {n}\n\n{paragraph * 50}\n\n" for n in range(1, 13)]
        book.write_text("".join(chapters), "utf-8")
    page = opened(browser, url)
    page.fill("#clone-text textarea", (EXAMPLES[-1][1] + " ") * 60)  # as much as the box takes
    length = len(page.locator("#clone-text textarea").input_value())
    page.click("#clone-go")
    say(capsys, f"first sound of a text of {length:,} characters: {first_sound(page):.2f} s")
    page.click("#clone-stop")
    told(page, "clone", "Cancelled")
    to_tab(page, "Book")
    page.locator("#book-file input[type=file]").set_input_files(str(book))
    told(page, "book", "can be read aloud")
    page.evaluate("window.ttsPlayer.first = 0")
    page.click("#book-go")
    words = len(book.read_text("utf-8", "replace").split())
    say(capsys, f"first sound of a book of {words:,} words: {first_sound(page):.2f} s")
    page.click("#book-stop")
    told(page, "book", "Stopped")
    page.context.close()
