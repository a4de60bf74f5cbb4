"""The page "Make a voice" in a real browser, its microphone fed with a real voice; skipped as test_demo_browser.py is.

Screenshots of three steps, for desktop and phone, are in the test's folder (pytest --basetemp FOLDER).
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")

from test_demo_browser import CHROMIUM, opened, told  # noqa: E402

from tts_fm.demo.making import SENTENCES  # noqa: E402
from tts_fm.voices.stored import BUILTIN  # noqa: E402

WAIT = 60_000  # milliseconds
EMMA = BUILTIN / "emma.flac"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Path:
    """A real voice, some seconds again and again, as the microphone gives it."""
    if not EMMA.is_file():
        pytest.skip("the stored voices are not installed")
    wave, rate = soundfile.read(EMMA)
    path = tmp_path_factory.mktemp("mic") / "emma.wav"
    soundfile.write(path, wave, rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    from demo_toys import EvenAligner
    from tiny_model import tiny_tts_folder

    from tts_fm.demo.app import build, launch_options
    from tts_fm.demo.service import Service
    from tts_fm.synthesis import TTS

    model = str(tiny_tts_folder(tmp_path_factory.mktemp("model")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tts_fm.edit.align.Aligner.load", lambda folder=None: EvenAligner())
        patch.setattr("tts_fm.train.voice.updates_for", lambda seconds: 6)
        patch.setattr("tts_fm.train.voice._others", lambda vocab: [])
        service = Service(TTS.load(model), model=model)
        page = build(service)
        _, address, _ = page.launch(
            prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options(service)
        )
        yield address
        page.close(verbose=False)
        service.close()


@pytest.fixture(scope="module")
def browser(spoken):
    with playwright.sync_playwright() as p:
        options = [
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={spoken}",
        ]
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_read_learn_hear_and_take_home(browser, url, spoken, tmp_path, width, height):
    page = opened(browser, url, width, height)
    page.get_by_role("tab", name="Make a voice").click()
    playwright.expect(page.locator("#adapt-words")).to_have_text(SENTENCES[0], timeout=WAIT)
    page.screenshot(path=tmp_path / "1-read.png", full_page=True)
    page.locator("#adapt-microphone .record-button").first.click()
    page.wait_for_timeout(4500)
    page.locator("#adapt-microphone .stop-button, #adapt-microphone .stop-button-paused").first.click()
    playwright.expect(page.locator("#adapt-sentence")).to_contain_text("1 recorded", timeout=WAIT)
    playwright.expect(page.locator("#adapt-level")).to_contain_text("LUFS", timeout=WAIT)
    page.click("#adapt-next")
    playwright.expect(page.locator("#adapt-words")).to_have_text(SENTENCES[1], timeout=WAIT)
    page.click("#adapt-go")
    told(page, "adapt", "whose voice")
    text = tmp_path / "emma.txt"
    text.write_text("She saw him walk through the office.")
    page.locator("#adapt-uploads input[type=file]").set_input_files([spoken, text])
    page.wait_for_selector("#adapt-uploads :text('emma')")
    page.fill("#adapt-consent textarea, #adapt-consent input", "a stored voice, for a test")
    page.screenshot(path=tmp_path / "2-recorded.png", full_page=True)
    page.click("#adapt-go")
    told(page, "adapt", "The voice is made")
    playwright.expect(page.locator("#adapt-kept")).to_contain_text("kept")
    page.click("#adapt-hear")
    playwright.expect(page.locator("#adapt-heard-status")).to_contain_text("before and after", timeout=WAIT)
    page.screenshot(path=tmp_path / "3-made.png", full_page=True)
    with page.expect_download() as caught:
        page.locator("#adapt-zip").click()
    caught.value.save_as(tmp_path / "voice.zip")
    names = {Path(name).name for name in zipfile.ZipFile(tmp_path / "voice.zip").namelist()}
    assert {"voice.json", "adapter.safetensors", "prompt.flac"} <= names
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.strangers and not page.errors
    page.context.close()
