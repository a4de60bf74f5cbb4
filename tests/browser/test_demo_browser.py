"""The demo in a real browser: Debian's chromium driven by playwright, its microphone fed from a file. Skipped where one
of them is missing.

apt-get install chromium; pip install playwright axe-playwright-python
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine", allow_module_level=True)

from demo_toys import TEXT, EvenAligner, speech_like, store_voices  # noqa: E402

WAIT = 60_000  # milliseconds; machines that test are busy


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    store_voices(folder / "voices")
    soundfile.write(folder / "me.wav", speech_like(6), 48_000)
    (folder / "list.txt").write_text("One.\nTwo things.\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tts_fm.voices.stored.user_folder", lambda: folder / "voices")
        patch.setattr("tts_fm.voices.stored.BUILTIN", folder / "none")
        patch.setattr("tts_fm.edit.align.Aligner.load", lambda folder=None: EvenAligner())
        yield folder


@pytest.fixture(scope="module")
def url(home, tmp_path_factory):
    from tiny_model import tiny_tts_folder

    from tts_fm.demo.app import build, launch_options
    from tts_fm.demo.service import Service
    from tts_fm.synthesis import TTS

    service = Service(TTS.load(tiny_tts_folder(tmp_path_factory.mktemp("model"))))
    page = build(service)
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options(service)
    )
    yield address
    page.close(verbose=False)
    service.close()


@pytest.fixture(scope="module")
def browser(home):
    with playwright.sync_playwright() as p:
        options = [
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={home / 'me.wav'}",
        ]
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


def opened(browser, url, width: int = 1280, height: int = 900):
    """A fresh session; every request to another host is noted in page.strangers, every console error in page.errors."""
    context = browser.new_context(viewport={"width": width, "height": height}, permissions=["microphone"])
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.strangers, page.errors = [], []
    page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else page.strangers.append(r.url))
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.goto(url, timeout=WAIT)
    page.wait_for_selector("#clone-go")
    page.wait_for_selector("#clone-status[role=status]", state="attached")
    return page


@pytest.fixture
def page(browser, url):
    made = opened(browser, url)
    yield made
    made.context.close()


def to_tab(page, name: str) -> None:
    """Open a page; on a narrow screen the last ones are behind a button."""
    tab = page.get_by_role("tab", name=name)
    if not tab.first.is_visible():
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown button", has_text=name).click()
    else:
        tab.first.click()


def told(page, key: str, words: str) -> None:
    """Wait until the status line of a page shows the words (a regular expression)."""
    playwright.expect(page.locator(f"#{key}-status")).to_contain_text(re.compile(words), timeout=WAIT)


def test_speak_download_and_stay_at_home(page, tmp_path):
    page.click("#clone-go")
    told(page, "clone", r"s of speech")
    playwright.expect(page.locator("#clone-words tbody tr")).to_have_count(8)
    assert page.locator("#clone-picture img").evaluate("e => e.naturalWidth") == 800
    assert "--voice ann" in page.locator("#clone-command textarea").input_value()
    with page.expect_download() as caught:
        page.click("#clone-srt")
    caught.value.save_as(tmp_path / "a.srt")
    assert "-->" in (tmp_path / "a.srt").read_text("utf-8")
    with page.expect_download() as caught:
        page.locator("#clone-audio [aria-label='Download'], #clone-audio a[download]").first.click()
    caught.value.save_as(tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").samplerate == 24_000
    assert not page.strangers and not page.errors  # nothing was asked of another host: fonts, scripts, analytics


def test_upload_chooses_the_recording(page, home):
    page.locator("#clone-recording input[type=file]").set_input_files(home / "me.wav")
    playwright.expect(page.locator("#clone-voice input")).to_have_value("my recording", timeout=WAIT)
    page.click("#clone-go")
    told(page, "clone", r"s of speech")
    assert "--ref-audio my-voice.wav" in page.locator("#clone-command textarea").input_value()


def test_record_from_the_microphone(page):
    page.locator(
        "#clone-recording [aria-label='Record audio'], #clone-recording button[title*='icrophone']"
    ).first.click()
    page.locator("#clone-recording .record-button").first.click()
    page.wait_for_timeout(3500)
    page.locator("#clone-recording .stop-button, #clone-recording .stop-button-paused").first.click()
    playwright.expect(page.locator("#clone-voice input")).to_have_value("my recording", timeout=WAIT)
    page.wait_for_timeout(500)
    page.click("#clone-go")
    told(page, "clone", r"s of speech")


@pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="beside other tests the browser clicks too late: alone")
def test_stop_keeps_what_is_finished(page):
    page.fill("#clone-text textarea", TEXT * 80)
    page.locator("#clone-steps input[type=number]").fill("64")  # so that a slow browser still finds it running
    page.locator("#clone-steps input[type=number]").press("Tab")
    page.click("#clone-go")
    told(page, "clone", r"Chunk [1-9]")
    page.click("#clone-stop")
    told(page, "clone", r"Cancelled after chunk \d+ of \d+")
    assert page.locator("#clone-audio").get_by_role("button").count() > 0
    page.click("#clone-stop")
    told(page, "clone", "Nothing is running")


def test_errors_say_what_to_do(page):
    page.fill("#clone-text textarea", "")
    page.click("#clone-go")
    told(page, "clone", "Not done: the text is empty")
    playwright.expect(page.get_by_text("write what shall be said").last).to_be_visible()
    page.fill("#clone-text textarea", "All is well.")
    page.click("#clone-go")
    told(page, "clone", "s of speech")


def test_one_chunk_again_and_hear_it_form(page):
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    page.get_by_text("Work on one chunk").click()
    page.click("#clone-again")
    told(page, "clone-form", "spoken again with seed 1")
    page.click("#clone-form")
    told(page, "clone-form", "Ready")
    choices = page.locator("#clone-moment input[type=radio]")
    assert choices.count() == 3  # the tiny model's two steps, and the first guess
    with page.expect_response(re.compile("after-step-2")):
        choices.last.check()


def test_script_and_batch_pages(page, home, tmp_path):
    page.get_by_role("tab", name="Script").click()
    page.click("#script-go")
    told(page, "script", "3 of 3 turns")
    page.fill("#script-text textarea", "[eve] Hello.")
    page.click("#script-go")
    told(page, "script", "line 1: there is no voice 'eve'")
    page.get_by_role("tab", name="Batch").click()
    page.locator("#batch-list input[type=file]").set_input_files(home / "list.txt")
    page.wait_for_selector("#batch-list :text('list')")
    page.click("#batch-go")
    told(page, "batch", "2 of 2 files")
    with page.expect_download() as caught:
        page.locator("#batch-zip a[download], #batch-zip a").first.click()
    assert caught.value.suggested_filename.endswith(".zip")


def test_edit_page(page, home, tmp_path):
    page.get_by_role("tab", name="Edit").click()
    page.locator("#edit-recording input[type=file]").set_input_files(home / "me.wav")
    page.wait_for_selector("#edit-recording :text('me.wav'), #edit-recording [aria-label='Play']")
    page.fill("#edit-text textarea", "Hello there, my friend.")
    page.fill("#edit-new textarea", "Hello there, my friend.")
    page.click("#edit-go")
    told(page, "edit", "Not done: the new text says the same")
    page.fill("#edit-new textarea", "Hello there, my brother.")
    page.keyboard.press("Shift+Enter")
    told(page, "edit", "1 change")
    playwright.expect(page.locator("#edit-changes tbody td").nth(1)).to_have_text("brother.")
    assert page.locator("#edit-picture img").evaluate("e => e.naturalWidth") == 800
    with page.expect_download() as caught:
        page.locator("#edit-after [aria-label='Download'], #edit-after a[download]").first.click()
    caught.value.save_as(tmp_path / "a.wav")
    assert b"edited recording" in (tmp_path / "a.wav").read_bytes()
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "edit.png", full_page=True)
    assert not page.strangers and not page.errors


def test_two_visitors_do_not_see_each_other(browser, url, page):
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    other = opened(browser, url)
    assert other.locator("#clone-words").inner_text().strip() == ""
    other.get_by_text("Work on one chunk").click()
    other.click("#clone-again")
    told(other, "clone-form", "press Speak first")
    other.context.close()


def test_phone_width_needs_no_sideways_scrolling(browser, url):
    page = opened(browser, url, 390, 844)
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    page.get_by_text("Work on one chunk").click()
    for name in ("Clone", "Make a voice", "Script", "Batch", "Edit", "About"):
        to_tab(page, name)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    page.context.close()


def test_keyboard_alone_in_the_order_of_the_task(page):
    seen = []
    page.locator("#clone-voice input").focus()
    for _ in range(60):
        seen.append(page.evaluate("(document.activeElement.closest('[id^=clone-]') || {}).id || ''"))
        if seen[-1] == "clone-go":
            break
        page.keyboard.press("Tab")
    order = [key for n, key in enumerate(seen) if key and key not in seen[:n]]
    names = "voice recording transcript sharpen text sampling steps cfg speed seed method lang sampling-more go"
    assert order == [f"clone-{name}" for name in names.split()]
    page.keyboard.press("Enter")
    told(page, "clone", "s of speech")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "clone-stop"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility_has_no_serious_findings(browser, url, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(browser, f"{url}?__theme={theme}")
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    page.get_by_text("Work on one chunk").click()
    for name in ("Clone", "Make a voice", "Script", "Batch", "Edit", "About"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(600)
        found = [v for v in axe.run(page).response["violations"] if v["impact"] in ("serious", "critical")]
        assert not found, [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found]
    page.context.close()
