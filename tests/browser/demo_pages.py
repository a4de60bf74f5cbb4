"""The demo's pages in a real browser: Debian's chromium driven by playwright, its microphone fed from a file. What the
tests here share; they are skipped where one of them is missing.

apt-get install chromium; pip install playwright axe-playwright-python
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine", allow_module_level=True)

WAIT = 60_000  # milliseconds; machines that test are busy
SIZES = {"desktop": (1280, 800), "tablet": (820, 1180), "phone": (390, 844)}
TABS = ("Clone", "Make a voice", "Script", "Book", "Batch", "Edit", "How it works", "About")


@contextmanager
def served(service: Any) -> Iterator[str]:
    """The address of a page with a service, which is closed at the end."""
    from tts_fm.demo.app import build, launch_options

    page = build(service)
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options(service)
    )
    try:
        yield address
    finally:
        page.close(verbose=False)
        service.close()


@contextmanager
def chromium(microphone: Path) -> Iterator[Any]:
    """A browser whose microphone hears a file."""
    options = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with playwright.sync_playwright() as p:
        made = p.chromium.launch(executable_path=CHROMIUM, args=options)
        yield made
        made.close()


def opened(browser: Any, url: str, width: int = 1280, height: int = 800, **how: Any) -> Any:
    """A fresh session; every request to another host is noted in page.strangers, every error in page.errors."""
    context = browser.new_context(viewport={"width": width, "height": height}, permissions=["microphone"], **how)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    playwright.expect.set_options(timeout=WAIT)  # 5 s otherwise
    page.strangers, page.errors = [], []
    page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else page.strangers.append(r.url))
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.goto(url, timeout=WAIT)
    page.wait_for_selector("#clone-go")
    page.wait_for_selector("#clone-status[role=status]", state="attached")
    return page


def to_tab(page: Any, name: str) -> None:
    """Open a page; on a narrow screen the last ones are behind a button."""
    tab = page.get_by_role("tab", name=name)
    if not tab.first.is_visible():
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown button", has_text=name).click()
    else:
        tab.first.click()


def settled(page: Any) -> None:
    """Wait until what was asked for is drawn: two frames, and no transition of a page is under way."""
    page.evaluate("""() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(async () => {
      await Promise.allSettled(document.getAnimations().filter((a) => a.effect.getTiming().iterations !== Infinity)
        .map((a) => a.finished));
      done();
    })))""")


def unfold(page: Any, name: str) -> None:
    """Open a folded part by its id."""
    page.locator(f"#{name} > button.label-wrap").click()


def told(page: Any, key: str, words: str) -> None:
    """Wait until the status line of a page shows the words (a regular expression)."""
    playwright.expect(page.locator(f"#{key}-status")).to_contain_text(re.compile(words))


def first_sound(page: Any) -> float:
    """Seconds from the click to the first sound, once there is one."""
    page.wait_for_function("window.ttsPlayer.first > 0")
    return float(page.evaluate("window.ttsPlayer.first")) / 1000


def hidden_controls(page: Any) -> list[str]:
    """Ids of the buttons that start work and can be seen on the page, but lie outside the window."""
    return page.evaluate("""() => [...document.querySelectorAll("button[id$='-go']")].filter((b) => {
      const box = b.getBoundingClientRect();
      return b.offsetParent && (box.top < 0 || box.bottom > innerHeight || box.left < 0 || box.right > innerWidth);
    }).map((b) => b.id)""")


def record_sentence(page: Any) -> None:
    """On the page "Make a voice", speak the sentence that is shown for four and a half seconds."""
    page.locator("#adapt-microphone .record-button").first.click()
    page.wait_for_timeout(4500)
    page.locator("#adapt-microphone .stop-button, #adapt-microphone .stop-button-paused").first.click()
    playwright.expect(page.locator("#adapt-sentence")).to_contain_text("1 recorded")
    playwright.expect(page.locator("#adapt-level")).to_contain_text("LUFS")
