"""The Book page: a text, a Markdown or HTML file or an EPUB goes up, one listens while it is spoken, an audiobook or an
EPUB that reads itself aloud comes back. The work folder is the state, so a reload loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from tts_fm.demo.books import KINDS, OUTPUTS, OpenBook, Shelf
from tts_fm.demo.figures import table
from tts_fm.demo.runs import Cancelled, Pace
from tts_fm.demo.service import Service
from tts_fm.demo.widgets import (
    CONSENT,
    Meter,
    bad,
    go_and_stop,
    good,
    live_player,
    sampling_inputs,
    status,
    voice_inputs,
    who,
    wire,
)
from tts_fm.errors import TtsFmError

NOBODY = "the same voice"


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    shelf = Shelf(service.root / "books")
    gr.Markdown(
        "A novel, an article or a script: .txt, .md, .html or .epub. Untick what you do not want to hear, press Read "
        "aloud, and listen while it is made. What is spoken is kept for a day: a reload, or the same file again, goes "
        "on where it stopped. Dubbing of subtitles and scripts with a cast: `tts-fm book` on the command line."
    )
    key = gr.BrowserState("", storage_key="tts-fm-book")
    with gr.Row():
        with gr.Column(min_width=300):
            upload = gr.File(label="Book", file_types=list(KINDS), type="filepath", elem_id="book-file", height=150)
            chapters = gr.CheckboxGroup([], label="Chapters", elem_id="book-chapters")
            choice, recording, transcript, _ = voice_inputs(service, "book")
            quotes = gr.Dropdown(
                [NOBODY, *service.tts.voices()], value=NOBODY, label="Voice of quotations", elem_id="book-quotes"
            )
            kind = gr.Radio(list(OUTPUTS), value="m4b", label="What is made of it", elem_id="book-kind")
            settings = sampling_inputs(service, "book")
            go, stop = go_and_stop("Read aloud", "book")
            line = status("book-status")
            live = live_player("book")
            gr.Markdown(CONSENT, elem_classes="tts-consent")
        with gr.Column(min_width=300):
            result = gr.File(label="The book", interactive=False, elem_id="book-result")
            rows = gr.HTML(elem_id="book-rows")
    opened, opening = openers(shelf)
    outputs = [line, key, chapters, rows]
    upload.upload(opened, upload, outputs, queue=False, api_visibility="private", show_progress="hidden")
    page = gr.context.Context.root_block
    if page is not None:
        # the browser tells its key when the tab is first shown, which may be after the page has been loaded
        told_key: Any = [page.load, key.change]
        for event in told_key:
            event(opening, [key, rows], outputs, queue=False, api_visibility="private", show_progress="hidden")
    inputs = [key, chapters, choice, recording, transcript, quotes, kind, *settings]
    told = "Speak the chapters of a book that was put up before; returns the file."
    wire(
        service,
        "book",
        [go.click],
        stop,
        handler(service, shelf),
        inputs,
        [line, live, result, rows],
        result,
        told,
    )


def openers(shelf: Shelf) -> tuple[Any, Any]:
    """What happens when a file is dropped, and when the page comes back."""

    def show(book: OpenBook, said: str) -> tuple[Any, ...]:
        choices = book.chapters()
        ticked = [k for _, k in choices]
        return good(said), book.key, gr.CheckboxGroup(choices=choices, value=ticked), listing(book)

    def opened(path: str | None) -> tuple[Any, ...]:
        if not path:
            return (gr.skip(),) * 4
        try:
            book = shelf.put(path)
        except (ValueError, TtsFmError) as error:
            return bad(str(error)), gr.skip(), gr.skip(), gr.skip()
        return show(book, f"{book.book.title}: {len(book.chapters())} chapters can be read aloud.")

    def opening(key: str | None, shown: str = "") -> tuple[Any, ...]:
        if shown:  # this book has just been put up
            return (gr.skip(),) * 4
        try:
            book = shelf.open(key or "")
        except (ValueError, TtsFmError):
            return (gr.skip(),) * 4
        done = len(list(book.work.glob("*.flac")))
        return show(book, f"{book.book.title} is still here, {done} paragraphs of it are spoken.")

    return opened, opening


def listing(book: OpenBook) -> str:
    """The chapters, with what is not spoken and why."""
    rows = [
        (str(c.number or ""), c.full_title, f"{c.words:,}", "yes" if c.spoken else f"no: {c.why}")
        for c in book.book.chapters
    ]
    return table(book.book.title, ("No.", "Chapter", "Words", "Spoken"), rows)


def handler(service: Service, shelf: Shelf) -> Any:
    """The page's function, free of its layout."""

    def speak(
        key: str | None,
        chapters: list[int],
        voice: str,
        recording: str | None,
        transcript: str,
        quotes: str,
        kind: str,
        values: dict[str, Any],
        request: gr.Request,
        progress: Any = gr.Progress(),
    ) -> Iterator[tuple[Any, ...]]:
        with service.running(who(request, "book"), Meter(progress)) as run:
            if kind not in OUTPUTS:
                raise ValueError(f"a book becomes {', '.join(OUTPUTS)}, not {kind!r}")
            book = shelf.open(key or "")
            chosen = service.settings(**values)
            narrator = service.voice(voice, recording, transcript)
            second = None if quotes in ("", NOBODY) else quotes
            plan = book.plan(list(chapters), _name(narrator, recording), second, chosen)
            left, pace = book.left(plan), Pace()
            live = service.sessions.live(str(request.session_hash), "book")
            try:
                for number, unit in enumerate(left, 1):
                    said = good(f"Paragraph {number} of {len(left)}: {plan.chapters[unit.chapter].title} …")
                    own = service.voice(second) if second and unit.voice == second else narrator
                    asked = service.request(unit.text, own, replace(chosen, item=unit.id))
                    take, pieces = None, live.early
                    for take, _ in service.speak(asked, run):
                        if pieces:
                            live.add(take.chunks[-1].wave, unit.pause if len(take.chunks) == 1 else 0.0)
                        if pieces or pace.due():
                            yield said, live.html(), gr.skip(), gr.skip()
                    if take is None:
                        continue
                    speech = service.finish(take)
                    sound = book.keep(unit, speech)
                    if not pieces:
                        live.add_file(sound, speech.seconds, unit.pause)
            except Cancelled:
                kept = len(left) - len(book.left(plan))
                yield good(f"Stopped; {kept} paragraphs are kept. Read aloud goes on."), *[gr.skip()] * 3
                return
            yield good("The file is being made …"), live.html(ended=True), gr.skip(), gr.skip()
            path = make(service, book, plan, kind, narrator.name)
            said = good(f"Ready: {len(plan.units)} paragraphs, {len(plan.chapters)} chapters.")
            yield said, gr.skip(), path, listing(book)

    return speak


def _name(voice: Any, recording: str | None) -> str:
    """What stands for a voice in a unit's digest: its name, or a recording's samples."""
    import hashlib

    return voice.name if recording is None else f"own-{hashlib.sha256(voice.wave.tobytes()).hexdigest()[:16]}"


def make(service: Service, book: OpenBook, plan: Any, kind: str, narrator: str) -> str:
    """The finished file."""
    from tts_fm.book.overlay import write_epub
    from tts_fm.book.write import safe_name, write_single

    out: Path = service.place() / f"{safe_name(book.book.title) or 'book'}.{kind}"
    if kind == "epub":
        write_epub(plan, book.book, book.work, out, book.source, narrator)
    else:
        write_single(plan, book.book, book.work, out, kind, narrator)
    return str(out)
