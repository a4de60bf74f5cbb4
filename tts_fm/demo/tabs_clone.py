"""The Clone page: a voice, a text, speech; what was made of the text; chunks again with another seed; the solver's
steps to listen to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from tts_fm.demo import forming
from tts_fm.demo.books import KINDS
from tts_fm.demo.commands import EXAMPLES, OWN, command_line, text_of
from tts_fm.demo.figures import chunk_mel, speech_picture, table, word_table
from tts_fm.demo.runs import Pace, until_stopped
from tts_fm.demo.service import Service, Take
from tts_fm.demo.sessions import History
from tts_fm.demo.widgets import (
    CONSENT,
    QUIET,
    Meter,
    Updates,
    bad,
    go_and_stop,
    good,
    live_player,
    picture,
    sampling_inputs,
    status,
    voice_inputs,
    who,
    wire,
)
from tts_fm.errors import TtsFmError
from tts_fm.text.subtitles import shown_text
from tts_fm.text.subtitles import subtitles as subtitle_text
from tts_fm.voices.stored import Voice


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    with gr.Row():
        with gr.Column(min_width=300):
            text = gr.Textbox(
                EXAMPLES[0][1],
                label="Text to speak",
                lines=3,
                max_lines=12,
                max_length=service.limits.characters,
                elem_id="clone-text",
                info=f"Up to {service.limits.characters:,} characters; <break 0.5s> makes a pause. Ctrl+Enter speaks",
            )
            with gr.Row(elem_classes="tts-examples"):
                examples = [
                    gr.Button(name, size="sm", min_width=60, elem_id=f"clone-example-{n}")
                    for n, (name, _) in enumerate(EXAMPLES, 1)
                ]
                file = gr.UploadButton(
                    "From a file …", size="sm", min_width=90, file_types=list(KINDS), elem_id="clone-file"
                )
            choice, recording, transcript, own = voice_inputs(service, "clone")
            with own:
                sharpen = gr.Checkbox(
                    False,
                    label="Sharpen: learn the recording's voice in the background, so that later sentences are closer",
                    elem_id="clone-sharpen",
                    visible=service.maker.possible,
                )
            settings = sampling_inputs(service, "clone")
            go, stop = go_and_stop("Speak", "clone")
            line = status("clone-status")
            live = live_player("clone")
            gr.Markdown(CONSENT, elem_classes="tts-consent")
        with gr.Column(min_width=300):
            audio = gr.Audio(
                label="Speech", interactive=False, type="filepath", elem_id="clone-audio", buttons=["download"]
            )
            image = picture(
                "clone-picture", "Waveform, words and mel", "Waveform, word times and mel spectrogram of the speech"
            )
            history = gr.HTML(elem_id="clone-takes")
            subtitles = gr.DownloadButton("Download subtitles (SRT)", elem_id="clone-srt", interactive=False)
            command = gr.Textbox(
                label="The same on the command line",
                interactive=False,
                lines=2,
                buttons=["copy"],
                elem_id="clone-command",
            )
            chunks = gr.HTML(elem_id="clone-chunks")
            words = gr.HTML(elem_id="clone-words")
    take, past = gr.State(None, time_to_live=3600), gr.State(History(), time_to_live=3600)
    outputs = [line, audio, image, subtitles, command, chunks, words, take, live, history, past]
    speak, repeat, hear = handlers(service)
    inputs = [text, choice, recording, transcript, *settings, sharpen, past]
    told = "Speak a text in a stored voice or in that of a recording."
    wire(service, "clone", [go.click, text.submit], stop, speak, inputs, outputs, audio, told)
    for which, button in enumerate(examples):
        button.click(example(service, which), None, [text, choice], **QUIET)
    file.upload(from_file(service), file, [line, text], **QUIET)
    with gr.Accordion("Work on one chunk: speak it again, or hear it form", open=False, elem_id="clone-more"):
        number = gr.Number(
            1, precision=0, label="Chunk", info="Its number in the table of chunks", elem_id="clone-chunk"
        )
        with gr.Row():
            redo = gr.Button("Speak this chunk again (next seed)", elem_id="clone-again", min_width=220)
            form = gr.Button("Hear it form, step by step", elem_id="clone-form", min_width=220)
            halt = gr.Button("Stop", variant="stop", elem_id="clone-form-stop", min_width=90)
        more = status("clone-form-status")
        formed = forming.forming(service, "clone")
    told = "Speak one chunk of your last result again with the next seed."
    wire(
        service,
        "more",
        [redo.click],
        halt,
        repeat,
        [take, number, past],
        [more, *outputs[1:]],
        audio,
        told,
        "speak_chunk_again",
    )
    told = "The speech that is foreseen after each of some solver steps, for one chunk of your last result."
    wire(
        service,
        "more",
        [form.click],
        None,
        hear,
        [take, number],
        [more, *formed],
        formed[0],
        told,
        "hear_it_form",
    )


def example(service: Service, number: int) -> Any:
    """What the button of an example gives: a text, and one of the stored voices."""
    names = service.tts.voices()
    return lambda: (EXAMPLES[number][1], names[number % len(names)] if names else gr.skip())


def from_file(service: Service) -> Any:
    """What an uploaded text file becomes: the status line and the text."""

    def read(path: str | None) -> tuple[Any, Any]:
        if not path:
            return gr.skip(), gr.skip()
        try:
            text = text_of(path, service.limits.characters)
        except (ValueError, TtsFmError) as error:
            return bad(str(error).replace(path, "the file"), "clone-text"), gr.skip()
        return good(f"{len(text.split()):,} words are read from the file; press Speak."), text

    return read


def handlers(service: Service) -> tuple[Any, Any, Any]:
    """The page's functions, free of its layout: speak, repeat, hear."""

    def speak(
        text: str,
        voice: str,
        recording: str | None,
        transcript: str,
        values: dict[str, Any],
        sharpen: bool | None,
        past: History | None,
        request: gr.Request,
        progress: Any = gr.Progress(),
    ) -> Updates:
        with service.running(who(request, "clone"), Meter(progress)) as run:
            chosen, told, spoken_by = service.settings(**values), "", service.voice(voice, recording, transcript)
            if sharpen and voice == OWN and recording:
                spoken_by, told = service.maker.sharper(recording, transcript, spoken_by)
                if spoken_by.adapter is not None and values.get("match") in (None, service.tts.defaults.get("match")):
                    chosen = replace(chosen, match=None)  # off for an adapted voice
            asked = service.request(text, spoken_by, chosen)
            session = str(request.session_hash)
            live, pace = service.sessions.live(session, "clone"), Pace()
            for take, total in until_stopped(service.speak(asked, run)):
                live.add(take.chunks[-1].wave)
                if not (live.early or pace.due()):
                    continue
                said = good(f"Chunk {len(take.chunks)} of {total} is spoken …")
                yield said, *[gr.skip()] * 4, chunk_table(take), *[gr.skip()] * 2, live.html(), *[gr.skip()] * 2
            note = told + (
                "" if len(take.chunks) == total else f"Cancelled after chunk {len(take.chunks)} of {total}. "
            )
            line = command_line(text, voice, chosen, transcript if voice == OWN else None, service.shown_model)
            yield show(service, take, line, note, session, past, live.html(ended=True))

    def repeat(
        take: Take | None, number: float, past: History | None, request: gr.Request, progress: Any = gr.Progress()
    ) -> Updates:
        with service.running(who(request, "more"), Meter(progress)) as run:
            seed = service.again(take, number, run)
            assert take is not None
            note = f"Chunk {int(number)} was spoken again with seed {seed}. "
            yield show(service, take, None, note, str(request.session_hash), past, gr.skip())

    def hear(take: Take | None, number: float, request: gr.Request, progress: Any = gr.Progress()) -> Updates:
        with service.running(who(request, "more"), Meter(progress)) as run:
            yield forming.shown(service, service.moments(take, number, run))

    return speak, repeat, hear


def show(
    service: Service, take: Take, command: str | None, note: str, session: str, past: History | None, live: Any
) -> tuple[Any, ...]:
    """All outputs of a finished take, which also becomes part of the session's history. live: what the player hears."""
    speech = service.finish(take)
    folder = service.place()
    wave = folder / "speech.wav"
    speech.save(wave)
    written = shown_text(take.request.text, speech.settings.subtitles_text)
    (folder / "speech.srt").write_text(subtitle_text(speech.chunks, "srt", written), "utf-8")
    mel = np.concatenate([chunk_mel(chunk) for chunk in speech.chunks])
    said = (
        f"{note}{speech.seconds:.1f} s of speech in {speech.compute_seconds:.1f} s; "
        f"{len(speech.chunks)} chunk{'s' * (len(speech.chunks) > 1)}, "
        f"{speech.forwards} network forwards, seed {speech.settings.seed}."
    )
    if speech.warnings:
        said += " Note: " + "; ".join(speech.warnings) + "."
    about = [take.request.voice.name] if isinstance(take.request.voice, Voice) else []
    about += [f"seed {speech.settings.seed}", f"{speech.settings.intervals} steps", f"{speech.seconds:.1f} s"]
    if take.again:
        about.append("chunks spoken again: " + ", ".join(str(at + 1) for at in sorted(take.again)))
    past = service.sessions.keep(session, past or History(), wave, take.request.text, about)
    return (
        good(said),
        str(wave),
        speech_picture(speech.wave, mel, speech.words),
        gr.DownloadButton(value=str(folder / "speech.srt"), interactive=True),
        command if command is not None else gr.skip(),
        chunk_table(take),
        word_table(speech.words),
        take,
        live,
        past.html(),
        past,
    )


def chunk_table(take: Take) -> str:
    """The chunks as they were normalised, with their times and seeds."""
    seed, start, rows = take.request.settings.seed, 0.0, []
    for chunk in take.chunks:
        rows.append(
            (chunk.index + 1, chunk.text, f"{start:.2f}", f"{chunk.seconds:.2f}", seed + take.again.get(chunk.index, 0))
        )
        start += chunk.seconds
    return table("Chunks, as they were read", ("No.", "Normalised text", "Start (s)", "Length (s)", "Seed"), rows)
