"""The Book page in a real browser: heard while it is made, there again after a reload. Skipped without chromium."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.browser.test_demo_browser import browser, home, page, playwright, to_tab, told, url  # noqa: F401

pytest.importorskip("av")
pytest.importorskip("mutagen")
TEXT = "CHAPTER I\n\nThe lamp was out.\n\nWho is there? he said.\n\n\n\nCHAPTER II\n\nThe boat came in at nine.\n"
WAIT = 60_000


def test_a_book_is_heard_while_it_is_made_and_survives_a_reload(home, page) -> None:  # noqa: F811
    (home / "lamp.txt").write_text(TEXT, "utf-8")
    to_tab(page, "Book")
    page.locator("#book-file input[type=file]").set_input_files(str(home / "lamp.txt"))
    told(page, "book", "2 chapters can be read aloud")
    assert page.locator("#book-chapters input[type=checkbox]:checked").count() == 2
    heard: list[str] = []
    page.on("response", lambda answer: heard.append(answer.url) if "stream" in answer.url else None)
    page.locator("#book-chapters input[type=checkbox]").nth(1).uncheck()
    page.click("#book-go")
    told(page, "book", "Ready: 3 paragraphs, 1 chapters")
    assert shutil.which("ffmpeg") is None or any("playlist" in address for address in heard), heard
    playwright.expect(page.locator("#book-result")).to_contain_text(re.compile("m4b"), timeout=WAIT)
    page.reload()
    page.wait_for_selector("#clone-go")
    to_tab(page, "Book")
    told(page, "book", "still here, 3 paragraphs of it are spoken")
    assert page.locator("#book-chapters input[type=checkbox]").count() == 2
    page.click("#book-go")  # the rest alone
    told(page, "book", "Ready: 5 paragraphs, 2 chapters")
    assert not page.errors
