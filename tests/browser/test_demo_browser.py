"""The demo in a real browser; see demo_pages.py. One server and one browser for all, with a tiny model."""

from __future__ import annotations

import base64
import re
import zipfile
from pathlib import Path

import pytest
import soundfile
from demo_pages import (
    SIZES,
    TABS,
    WAIT,
    chromium,
    first_sound,
    hidden_controls,
    opened,
    playwright,
    record_sentence,
    served,
    settled,
    to_tab,
    told,
    unfold,
)
from demo_toys import TEXT, EvenAligner, speech_like, store_voices

from tts_fm.demo.making import SENTENCES
from tts_fm.voices.stored import BUILTIN

EMMA = BUILTIN / "emma.flac"
BOOK = "CHAPTER I\n\nThe lamp was out.\n\nWho is there? he said.\n\n\n\nCHAPTER II\n\nThe boat came in at nine.\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    store_voices(folder / "voices")
    soundfile.write(folder / "me.wav", speech_like(6), 48_000)
    wave, rate = soundfile.read(EMMA) if EMMA.is_file() else (speech_like(6), 24_000)
    soundfile.write(folder / "microphone.wav", wave, rate, subtype="PCM_16")
    (folder / "list.txt").write_text("One.\nTwo things.\n", "utf-8")
    (folder / "lamp.txt").write_text(BOOK, "utf-8")
    (folder / "text.txt").write_text("The lamp was out.\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tts_fm.voices.stored.user_folder", lambda: folder / "voices")
        patch.setattr("tts_fm.voices.stored.BUILTIN", folder / "none")
        patch.setattr("tts_fm.engines.align.Aligner.load", lambda folder=None: EvenAligner())
        yield folder


@pytest.fixture(scope="module")
def url(home, tmp_path_factory):
    from tiny_model import tiny_tts_folder

    from tts_fm.demo.service import Service
    from tts_fm.synthesis import TTS

    model = str(tiny_tts_folder(tmp_path_factory.mktemp("model")))
    with served(Service(TTS.load(model), model=model)) as address:
        yield address


@pytest.fixture(scope="module")
def browser(home):
    with chromium(home / "microphone.wav") as made:
        yield made


@pytest.fixture
def page(browser, url):
    made = opened(browser, url)
    yield made
    made.context.close()


def test_speak_compare_and_stay_at_home(page, tmp_path):
    assert not page.locator("#clone-takes li").count()
    page.click("#clone-go")
    told(page, "clone", r"s of speech")
    assert 0 < first_sound(page) < WAIT / 1000
    playwright.expect(page.locator("#clone-words tbody tr")).to_have_count(8)
    page.wait_for_function("document.querySelector('#clone-picture img')?.naturalWidth === 800")
    assert "--voice ann" in page.locator("#clone-command textarea").input_value()
    with page.expect_download() as caught:
        page.click("#clone-srt")
    caught.value.save_as(tmp_path / "a.srt")
    assert "-->" in (tmp_path / "a.srt").read_text("utf-8")
    with page.expect_download() as caught:
        page.locator("#clone-audio [aria-label='Download'], #clone-audio a[download]").first.click()
    caught.value.save_as(tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").samplerate == 24_000
    page.click("#clone-example-2")  # another text in the second voice
    playwright.expect(page.locator("#clone-text textarea")).to_have_value(re.compile("Dr. Lee"))
    playwright.expect(page.locator("#clone-voice input")).to_have_value("bob")
    page.keyboard.press("Control+Enter")
    playwright.expect(page.locator("#clone-takes li")).to_have_count(2)
    sound = "[...document.querySelectorAll('#clone-takes audio')].map((a) => !a.paused)"
    page.click(".tts-ab[data-side=A]")
    page.wait_for_function(f"{sound}[1]")  # the older one
    page.click(".tts-ab[data-side=B]")
    page.wait_for_function(f"{sound}[0] && !{sound}[1]")
    playwright.expect(page.locator(".tts-ab[aria-pressed=true]")).to_have_text("Play B")
    assert not page.strangers and not page.errors  # nothing was asked of another host: fonts, scripts, analytics


def test_a_recording_is_uploaded_or_dropped_or_recorded(page, home):
    """Dropped anywhere: a file goes where it fits."""
    drop = """([name, type, data]) => ttsDropped([
      new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, {type})])"""
    page.evaluate(drop, ["text.txt", "text/plain", base64.b64encode((home / "text.txt").read_bytes()).decode()])
    playwright.expect(page.locator("#clone-text textarea")).to_have_value("The lamp was out.")
    page.evaluate(drop, ["me.wav", "audio/wav", base64.b64encode((home / "me.wav").read_bytes()).decode()])
    playwright.expect(page.locator("#clone-voice input")).to_have_value("my recording")
    page.click("#clone-go")
    told(page, "clone", r"s of speech")
    assert "--ref-audio my-voice.wav" in page.locator("#clone-command textarea").input_value()
    page.locator("#clone-recording [aria-label='Clear'], #clone-recording button[title='Clear']").first.click()
    playwright.expect(page.locator("#clone-voice input")).to_have_value("ann")
    page.locator(
        "#clone-recording [aria-label='Record audio'], #clone-recording button[title*='icrophone']"
    ).first.click()
    page.locator("#clone-recording .record-button").first.click()
    page.wait_for_timeout(3500)
    page.locator("#clone-recording .stop-button, #clone-recording .stop-button-paused").first.click()
    playwright.expect(page.locator("#clone-voice input")).to_have_value("my recording")


def test_stop_keeps_what_is_finished(page):
    page.fill("#clone-text textarea", TEXT * 30)
    unfold(page, "clone-sampling")
    page.locator("#clone-steps input[type=number]").fill("32")  # so that a slow browser still finds it running
    page.locator("#clone-steps input[type=number]").press("Tab")
    page.click("#clone-go")
    told(page, "clone", r"Chunk [1-9]")
    page.click("#clone-stop")
    told(page, "clone", r"Cancelled after chunk \d+ of \d+")
    playwright.expect(page.locator("#clone-audio").get_by_role("button").first).to_be_attached()
    page.wait_for_function("window.ttsPlayer.playing.length === 0")
    page.click("#clone-stop")
    told(page, "clone", "Nothing is running")


def test_errors_say_what_to_do_beside_their_field(page):
    page.fill("#clone-text textarea", "")
    page.click("#clone-go")
    told(page, "clone", "Not done: the text is empty")
    playwright.expect(page.locator("#clone-text .tts-fault")).to_contain_text("write what shall be said")
    playwright.expect(page.locator("#clone-text textarea")).to_be_focused()
    assert page.locator("#clone-text textarea").get_attribute("aria-invalid") == "true"
    page.fill("#clone-text textarea", "All is well.")
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    playwright.expect(page.locator(".tts-fault")).to_have_count(0)
    page.get_by_label("Voice").first.click()
    page.get_by_role("option", name="my recording").click()
    page.click("#clone-go")  # the recording is missing, and its place was folded
    playwright.expect(page.locator("#clone-recording .tts-fault")).to_contain_text("there is no recording yet")


def test_one_chunk_again_and_hear_it_form(page):
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    page.get_by_text("Work on one chunk").click()
    page.click("#clone-again")
    told(page, "clone-form", "spoken again with seed 1")
    page.click("#clone-form")
    told(page, "clone-form", "Ready")
    choices = page.locator("#clone-moment input[type=radio]")
    playwright.expect(choices).to_have_count(3)  # the tiny model's two steps, and the first guess
    with page.expect_response(re.compile("after-step-2")):
        choices.last.check()


def test_script_and_batch_pages(page, home):
    to_tab(page, "Script")
    page.click("#script-go")
    told(page, "script", "3 of 3 turns")
    assert first_sound(page) > 0
    page.wait_for_function("ttsPlayer.sounds.length === 3")
    page.wait_for_function("document.querySelector('#script-picture img')?.naturalWidth === 800")
    playwright.expect(page.locator("#script-words tbody tr").nth(15)).to_be_attached()
    page.fill("#script-text textarea", "[eve] Hello.")
    page.click("#script-go")
    told(page, "script", "line 1: there is no voice 'eve'")
    to_tab(page, "Batch")
    page.locator("#batch-list input[type=file]").set_input_files(home / "list.txt")
    page.wait_for_selector("#batch-list :text('list')")
    page.click("#batch-go")
    told(page, "batch", "2 of 2 files")
    with page.expect_download() as caught:
        page.locator("#batch-zip a[download], #batch-zip a").first.click()
    assert caught.value.suggested_filename.endswith(".zip")


def test_edit_page(page, home, tmp_path):
    to_tab(page, "Edit")
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
    page.wait_for_function("document.querySelector('#edit-picture img')?.naturalWidth === 800")
    with page.expect_download() as caught:
        page.locator("#edit-after [aria-label='Download'], #edit-after a[download]").first.click()
    caught.value.save_as(tmp_path / "a.wav")
    assert b"edited recording" in (tmp_path / "a.wav").read_bytes()
    assert not page.strangers and not page.errors


def test_a_book_is_heard_while_it_is_made_and_survives_a_reload(home, page):
    pytest.importorskip("av")
    pytest.importorskip("mutagen")
    page.click("#clone-go")  # what another page has said is not heard again
    told(page, "clone", "s of speech")
    to_tab(page, "Book")
    page.locator("#book-file input[type=file]").set_input_files(str(home / "lamp.txt"))
    told(page, "book", "2 chapters can be read aloud")
    playwright.expect(page.locator("#book-chapters input[type=checkbox]:checked")).to_have_count(2)
    page.locator("#book-chapters input[type=checkbox]").nth(1).uncheck()
    page.click("#book-go")
    told(page, "book", "Ready: 3 paragraphs, 1 chapters")
    assert first_sound(page) > 0
    page.wait_for_function("ttsPlayer.page === 'book' && ttsPlayer.sounds.length === 3")
    playwright.expect(page.locator("#book-result")).to_contain_text(re.compile("m4b"))
    page.reload()
    page.wait_for_selector("#clone-go")
    to_tab(page, "Book")
    told(page, "book", "still here, 3 paragraphs of it are spoken")
    playwright.expect(page.locator("#book-chapters input[type=checkbox]")).to_have_count(2)
    page.click("#book-go")  # the rest alone
    told(page, "book", "Ready: 5 paragraphs, 2 chapters")
    assert not page.errors


def test_how_it_works_follows_the_knobs(page):
    to_tab(page, "How it works")
    pictures = page.locator("#flow-plane")
    playwright.expect(pictures.locator("svg")).to_have_count(2)
    before = pictures.inner_html()
    page.get_by_label("near noise").check()
    playwright.expect(pictures).to_contain_text("apart")
    page.wait_for_function("(old) => document.querySelector('#flow-plane').innerHTML !== old", arg=before)
    page.click("#flow-go")
    told(page, "flow", "Ready")
    playwright.expect(page.locator("#flow-moment input[type=radio]")).to_have_count(5)  # four steps, the first guess
    assert not page.errors


def test_two_visitors_do_not_see_each_other(browser, url, page):
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    other = opened(browser, url)
    assert other.locator("#clone-words").inner_text().strip() == "" and not other.locator("#clone-takes li").count()
    other.get_by_text("Work on one chunk").click()
    other.click("#clone-again")
    told(other, "clone-form", "press Speak first")
    other.context.close()


def test_what_starts_the_work_is_in_sight_at_every_size(browser, url):
    """On every page, without scrolling; and nothing scrolls sideways."""
    page = opened(browser, url, *SIZES["phone"])
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    page.get_by_text("Work on one chunk").click()
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        for name in TABS:
            to_tab(page, name)
            page.evaluate("scrollTo(0, 0)")
            settled(page)
            assert set(hidden_controls(page)) <= {"flow-go"}, (name, width)  # its pictures need no button
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
    page.context.close()


def test_keyboard_alone_in_the_order_of_the_task(page):
    seen = []
    page.locator("#clone-text textarea").focus()
    for _ in range(60):
        seen.append(page.evaluate("(document.activeElement.closest('[id^=clone-]') || {}).id || ''"))
        if seen[-1] == "clone-go":
            break
        page.keyboard.press("Tab")
    order = [key for n, key in enumerate(seen) if key and key not in seen[:n]]
    names = "text example-1 example-2 example-3 example-4 file voice own sampling go"
    assert order == [f"clone-{name}" for name in names.split()]
    page.keyboard.press("Enter")
    told(page, "clone", "s of speech")
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.id === 'clone-stop'")
    page.click("#tts-theme")
    page.wait_for_function("document.body.classList.contains('dark')")
    page.reload()
    page.wait_for_selector("#clone-go")
    page.wait_for_function("document.body.classList.contains('dark')")  # it is remembered


def test_accessibility_has_no_findings(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.click("#clone-go")
    told(page, "clone", "s of speech")
    page.get_by_text("Work on one chunk").click()
    unfold(page, "clone-own")
    unfold(page, "clone-sampling")
    for rules in ({}, {"runOnly": ["color-contrast"]}):  # in the dark only colours differ
        for name in TABS:
            to_tab(page, name)
            settled(page)
            found = axe.run(page, options=rules).response["violations"]
            assert not found, [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found]
        page.click("#tts-theme")


def test_read_learn_hear_and_take_home(browser, url, home, tmp_path, monkeypatch):
    """The page "Make a voice" on a phone, its microphone fed with a real voice."""
    if not EMMA.is_file():
        pytest.skip("the stored voices are not installed")
    monkeypatch.setattr("tts_fm.train.adapt.updates_for", lambda seconds: 6)
    monkeypatch.setattr("tts_fm.train.voice._others", lambda vocab: [])
    width, height = SIZES["phone"]
    page = opened(browser, url, width, height)
    to_tab(page, "Make a voice")
    playwright.expect(page.locator("#adapt-words")).to_have_text(SENTENCES[0])
    record_sentence(page)
    page.click("#adapt-next")
    playwright.expect(page.locator("#adapt-words")).to_have_text(SENTENCES[1])
    page.click("#adapt-go")
    told(page, "adapt", "whose voice")
    playwright.expect(page.locator("#adapt-consent .tts-fault")).to_be_visible()
    text = tmp_path / "microphone.txt"
    text.write_text("She saw him walk through the office.")
    page.locator("#adapt-uploads input[type=file]").set_input_files([home / "microphone.wav", text])
    page.wait_for_selector("#adapt-uploads :text('microphone')")
    page.fill("#adapt-consent textarea, #adapt-consent input", "a stored voice, for a test")
    page.click("#adapt-go")
    told(page, "adapt", "The voice is made")
    playwright.expect(page.locator("#adapt-kept")).to_contain_text("kept")
    page.click("#adapt-hear")
    playwright.expect(page.locator("#adapt-heard-status")).to_contain_text("before and after")
    with page.expect_download() as caught:
        page.locator("#adapt-zip").click()
    caught.value.save_as(tmp_path / "voice.zip")
    names = {Path(name).name for name in zipfile.ZipFile(tmp_path / "voice.zip").namelist()}
    assert {"voice.json", "adapter.safetensors", "prompt.flac"} <= names
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.strangers and not page.errors
    page.context.close()
