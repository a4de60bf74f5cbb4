"""The Edit page: a recording, what it says, what it shall say; only the words that differ are spoken anew."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tts_fm.audio.mel import log_mel
from tts_fm.demo.commands import edit_line
from tts_fm.demo.figures import speech_picture, table, word_table
from tts_fm.demo.service import Service
from tts_fm.demo.widgets import (
    CONSENT,
    Meter,
    Updates,
    go_and_stop,
    good,
    picture,
    recording_input,
    sampling_inputs,
    status,
    who,
    wire,
)
from tts_fm.edit.change import LONGEST
from tts_fm.edit.recording import Edited


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    with gr.Row():
        with gr.Column(min_width=300):
            recording = recording_input("edit-recording", f"Recording (one speaker, up to {LONGEST:.0f} s)")
            text = gr.Textbox(
                label="What it says",
                info="Exactly the words that are heard",
                lines=2,
                max_length=1000,
                elem_id="edit-text",
            )
            new_text = gr.Textbox(
                label="What it shall say",
                info="The same with some words changed, put in or taken out. Shift+Enter edits",
                lines=2,
                max_length=1000,
                elem_id="edit-new",
            )
            settings = sampling_inputs(service, "edit")
            go, stop = go_and_stop("Edit the recording", "edit")
            line = status("edit-status")
            gr.Markdown(CONSENT, elem_classes="tts-consent")
        with gr.Column(min_width=300):
            before = gr.Audio(label="Before", interactive=False, type="filepath", elem_id="edit-before", buttons=[])
            after = gr.Audio(
                label="After", interactive=False, type="filepath", elem_id="edit-after", buttons=["download"]
            )
            image = picture(
                "edit-picture",
                "Waveform (what is new on yellow), words and mel",
                "Waveform with what is new marked, word times and mel spectrogram of the edited recording",
            )
            changes = gr.HTML(elem_id="edit-changes")
            command = gr.Textbox(
                label="The same on the command line",
                interactive=False,
                lines=2,
                buttons=["copy"],
                elem_id="edit-command",
            )
            words = gr.HTML(elem_id="edit-words")
    inputs, outputs = [recording, text, new_text, *settings], [line, before, after, image, changes, command, words]
    told = "Change words in a recording, in its own voice."
    wire(service, "edit", [go.click, new_text.submit], stop, handler(service), inputs, outputs, after, told)


def handler(service: Service) -> Any:
    """The page's function, free of its layout."""

    def change(
        recording: str | None,
        text: str,
        new_text: str,
        values: dict[str, Any],
        request: gr.Request,
        progress: Any = gr.Progress(),
    ) -> Updates:
        with service.running(who(request, "edit"), Meter(progress)) as run:
            chosen = service.settings(**values)
            edited = service.edit(recording, text, new_text, chosen, run)
            yield show(service, edited, str(recording), edit_line(text, new_text, chosen, service.shown_model))

    return change


def show(service: Service, edited: Edited, recording: str, command: str) -> tuple[Any, ...]:
    """All outputs of a finished edit."""
    path = service.place() / "edited.wav"
    edited.save(path)
    new = sum(span.end - span.start for span in edited.spans)
    said = (
        f"{len(edited.spans)} change{'s' * (len(edited.spans) > 1)}: {new:.1f} s of {edited.seconds:.1f} s are new, "
        f"made in {edited.compute_seconds:.1f} s, seed {edited.settings.seed}."
    )
    if edited.warnings:
        said += " Note: " + "; ".join(edited.warnings) + "."
    mel = log_mel(edited.wave)
    marks = [(span.start, span.end) for span in edited.spans]
    rows = [
        (span.old or "(nothing)", span.new or "(nothing)", f"{span.start:.2f}", f"{span.end:.2f}")
        for span in edited.spans
    ]
    return (
        good(said),
        recording,
        str(path),
        speech_picture(edited.wave, mel, edited.words, marks),
        table("Changes", ("Before", "After", "Start (s)", "End (s)"), rows),
        command,
        word_table(edited.words),
    )
