"""The page "Make a voice": read sentences aloud or upload recordings, learn the voice, hear it before and after, take
it home.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from tts_fm.demo.making import SENTENCES, Made, Spoken, judged
from tts_fm.demo.service import Service
from tts_fm.demo.widgets import CONSENT, Updates, bad, go_and_stop, good, status, who, wire

HOW = (
    "Read the sentences aloud one by one, at your usual pace, or upload recordings of one person (eight seconds to "
    "thirty minutes; a .txt of the same name says what is heard, else it is written by an ASR). Five sentences are "
    "enough to begin, twenty are better."
)


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    if not service.maker.possible:
        gr.Markdown("The model that is served here cannot be adapted; the built-in one can.")
        return
    takes, made = (
        gr.State([], time_to_live=3600),
        gr.State(None, time_to_live=3600, delete_callback=service.maker.forget),
    )
    at = gr.State(0)
    with gr.Row():
        with gr.Column(min_width=300):
            gr.Markdown(HOW, elem_classes="tts-caption")
            sentence = gr.HTML(shown(0, []), elem_id="adapt-sentence")
            microphone = gr.Audio(
                sources=["microphone"], type="filepath", label="Read it aloud", elem_id="adapt-microphone",
                editable=False, buttons=[],
            )  # fmt: skip
            level = status("adapt-level")
            with gr.Row():
                back = gr.Button("Back", elem_id="adapt-back", min_width=90)
                onward = gr.Button("Next sentence", elem_id="adapt-next", min_width=140)
            uploads = gr.File(
                label="Or upload recordings", file_count="multiple", elem_id="adapt-uploads",
                file_types=[".wav", ".flac", ".ogg", ".opus", ".mp3", ".txt"],
            )  # fmt: skip
            consent = gr.Textbox(
                label="Whose voice is it, and did they agree?", max_length=300, elem_id="adapt-consent",
                info="For instance: my own voice. It is kept in the voice",
            )  # fmt: skip
            minutes = gr.Slider(
                0, 10, 0, step=0.5, label="Minutes of learning", elem_id="adapt-minutes",
                info="0 = by the amount of sound: one to three on two idle cores",
            )  # fmt: skip
            go, stop = go_and_stop("Make the voice", "adapt")
            line = status("adapt-status")
            gr.Markdown(CONSENT, elem_classes="tts-consent")
        with gr.Column(min_width=300):
            kept = gr.HTML(elem_id="adapt-kept")
            text = gr.Textbox(
                SENTENCES[5], label="Hear it say", lines=2, max_length=service.limits.characters, elem_id="adapt-text"
            )
            hear = gr.Button("Speak before and after", elem_id="adapt-hear")
            heard = status("adapt-heard-status")
            before = gr.Audio(label="Before: cloned from one recording", interactive=False, type="filepath",
                              elem_id="adapt-before", buttons=[])  # fmt: skip
            after = gr.Audio(label="After: learnt", interactive=False, type="filepath", elem_id="adapt-after",
                             buttons=["download"])  # fmt: skip
            take_home = gr.DownloadButton("Download the voice (zip)", elem_id="adapt-zip", interactive=False)
            gr.Markdown("At home: `tts-fm voice add me my-voice.zip`, then `--voice me`.", elem_classes="tts-caption")
    take, step, make, speak = handlers(service)
    quiet: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    microphone.stop_recording(take, [microphone, at, takes], [level, sentence, takes], **quiet)
    back.click(step(-1), [at, takes], [at, sentence, microphone, level], **quiet)
    onward.click(step(1), [at, takes], [at, sentence, microphone, level], **quiet)
    told = "Learn a voice from recordings."
    wire(service, "adapt", [go.click], stop, make, [takes, uploads, consent, minutes],
         [line, kept, take_home, made], kept, told, queue="adapt")  # fmt: skip
    told = "Speak a text in the voice as it was cloned, and as it was learnt."
    wire(service, "hear", [hear.click], None, speak, [made, text], [heard, before, after], after, told)


def shown(number: int, takes: list[Spoken]) -> str:
    """The sentence to read, and which ones are there."""
    done = {take.number for take in takes}
    mark = " (recorded)" if number in done else ""
    return (
        f'<p class="tts-caption">Sentence {number + 1} of {len(SENTENCES)}{mark}; {len(done)} recorded</p>'
        f'<p style="font-size:1.3em;margin:0.3em 0" id="adapt-words">{SENTENCES[number]}</p>'
    )


def handlers(service: Service) -> tuple[Any, Any, Any, Any]:
    """The page's functions, free of its layout: take, step, make, speak."""

    def take(recording: str | None, number: int, takes: list[Spoken]) -> tuple[Any, ...]:
        if not recording:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            spoken = judged(number, recording)
        except ValueError as error:
            return bad(str(error).replace(recording, "the recording")), gr.skip(), gr.skip()
        takes = sorted([t for t in takes if t.number != number] + [spoken], key=lambda t: t.number)
        said = good(spoken.said) if spoken.good else bad(f"{spoken.said}. Clear it and say it again")
        return said, shown(number, takes), takes

    def step(by: int) -> Any:
        def move(number: int, takes: list[Spoken]) -> tuple[Any, ...]:
            fresh = min(max(number + by, 0), len(SENTENCES) - 1)
            return fresh, shown(fresh, takes), None, ""

        return move

    def make(
        takes: list[Spoken],
        uploads: list[str] | None,
        consent: str,
        minutes: float,
        request: gr.Request,
        progress: Any = gr.Progress(),
    ) -> Updates:
        def tell(stage: str, done: int, total: int, left: float | None) -> None:
            rest = f", about {left:.0f} s left" if left is not None else ""
            progress(done / max(1, total), desc=f"{stage}: {done} of {total}{rest}")

        with service.running(who(request, "adapt")) as run:
            found = service.maker.make(takes, uploads or [], consent or "", minutes or None, run.check, tell)
        figures = found.info["figures"]
        alike = (
            f"; similarity to the recordings {figures['similarity_before']:.2f} before, "
            f"{figures['similarity_after']:.2f} after"
            if "similarity_after" in figures
            else ""
        )
        rows = "".join(f"<li>{row}</li>" for row in found.lines)
        yield (
            good(f"The voice is made, in {found.info['training_seconds']} s{alike}. Hear it, and take it home."),
            f"<ul>{rows}</ul>",
            gr.DownloadButton(value=service.maker.zip(found, service.place()), interactive=True),
            found,
        )

    def speak(made: Made | None, text: str, request: gr.Request) -> Updates:
        if made is None:
            raise ValueError("there is no voice yet: record or upload, then press Make the voice")
        with service.running(who(request, "hear")) as run:
            before, after = (service.heard(text, voice, run) for voice in (service.maker.cloned(made), made.voice))
        yield good("The same words, before and after."), before, after

    return take, step, make, speak
