"""The Clone page: a voice, a text, speech; what was made of the text; chunks again with another seed; the solver's
steps to listen to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from tts_fm.demo.commands import OWN, command_line
from tts_fm.demo.figures import speech_picture, steps_picture, table
from tts_fm.demo.service import Moment, Service, Take, until_stopped
from tts_fm.demo.widgets import (
    CONSENT,
    Meter,
    Updates,
    go_and_stop,
    good,
    picture,
    sampling_inputs,
    status,
    voice_inputs,
    who,
    wire,
)
from tts_fm.text.subtitles import shown_text
from tts_fm.text.subtitles import subtitles as subtitle_text

EXAMPLE = "The birch canoe slid on the smooth planks."


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    with gr.Row():
        with gr.Column(min_width=300):
            choice, recording, transcript = voice_inputs(service, "clone")
            sharpen = gr.Checkbox(
                False,
                label="Sharpen: learn the recording's voice in the background, so that later sentences are closer",
                elem_id="clone-sharpen",
                visible=service.maker.possible,
            )
            text = gr.Textbox(
                EXAMPLE,
                label="Text to speak",
                lines=4,
                max_lines=14,
                max_length=service.limits.characters,
                elem_id="clone-text",
                info=f"Up to {service.limits.characters:,} characters; <break 0.5s> makes a pause. Shift+Enter speaks",
            )
            settings = sampling_inputs(service, "clone")
            gr.Markdown(CONSENT, elem_classes="tts-consent")
            go, stop = go_and_stop("Speak", "clone")
            line = status("clone-status")
        with gr.Column(min_width=300):
            audio = gr.Audio(
                label="Speech", interactive=False, type="filepath", elem_id="clone-audio", buttons=["download"]
            )
            image = picture(
                "clone-picture", "Waveform, words and mel", "Waveform, word times and mel spectrogram of the speech"
            )
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
    take = gr.State(None, time_to_live=3600)
    outputs = [line, audio, image, subtitles, command, chunks, words, take]
    speak, repeat, hear, pick = handlers(service)
    inputs = [text, choice, recording, transcript, *settings, sharpen]
    told = "Speak a text in a stored voice or in that of a recording."
    wire(service, "clone", [go.click, text.submit], stop, speak, inputs, outputs, audio, told)
    with gr.Accordion("Work on one chunk: speak it again, or hear it form", open=False, elem_id="clone-more"):
        number = gr.Number(
            1, precision=0, label="Chunk", info="Its number in the table of chunks", elem_id="clone-chunk"
        )
        with gr.Row():
            redo = gr.Button("Speak this chunk again (next seed)", elem_id="clone-again", min_width=220)
            form = gr.Button("Hear it form, step by step", elem_id="clone-form", min_width=220)
            halt = gr.Button("Stop", variant="stop", elem_id="clone-form-stop", min_width=90)
        more = status("clone-form-status")
        moments = gr.State(None, time_to_live=3600)
        strip = picture(
            "clone-strip",
            "What the noise becomes",
            "Mel spectrograms of the speech foreseen after several solver steps",
        )
        moment = gr.Radio([], label="Listen after step", elem_id="clone-moment")
        sound = gr.Audio(
            label="Speech foreseen after this step",
            interactive=False,
            type="filepath",
            elem_id="clone-moment-audio",
            buttons=["download"],
        )
    told = "Speak one chunk of your last result again with the next seed."
    wire(
        service,
        "more",
        [redo.click],
        halt,
        repeat,
        [take, number],
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
        [more, strip, moment, sound, moments],
        strip,
        told,
        "hear_it_form",
    )
    moment.input(pick, [moments, moment], sound, queue=False, api_visibility="private")


def handlers(service: Service) -> tuple[Any, Any, Any, Any]:
    """The page's functions, free of its layout: speak, repeat, hear, pick."""

    def speak(
        text: str,
        voice: str,
        recording: str | None,
        transcript: str,
        values: dict[str, Any],
        sharpen: bool | None,
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
            for take, total in until_stopped(service.speak(asked, run)):
                if len(take.chunks) < total:
                    said = good(f"Chunk {len(take.chunks)} of {total} is spoken …")
                    yield said, *[gr.skip()] * 4, chunk_table(take), gr.skip(), gr.skip()
            note = told + (
                "" if len(take.chunks) == total else f"Cancelled after chunk {len(take.chunks)} of {total}. "
            )
            line = command_line(text, voice, chosen, transcript if voice == OWN else None, service.shown_model)
            yield show(service, take, line, note)

    def repeat(take: Take | None, number: float, request: gr.Request, progress: Any = gr.Progress()) -> Updates:
        with service.running(who(request, "more"), Meter(progress)) as run:
            seed = service.again(take, number, run)
            assert take is not None
            yield show(service, take, None, f"Chunk {int(number)} was spoken again with seed {seed}. ")

    def hear(take: Take | None, number: float, request: gr.Request, progress: Any = gr.Progress()) -> Updates:
        with service.running(who(request, "more"), Meter(progress)) as run:
            found = service.moments(take, number, run)
        names = [moment_name(m, found) for m in found]
        first = found[min(1, len(found) - 1)]
        yield (
            good("Ready: choose a step to hear what was foreseen after it."),
            steps_picture([m.mel for m in found], names),
            gr.Radio(choices=[(name, m.step) for name, m in zip(names, found, strict=True)], value=first.step),
            sound_of(service, first),
            found,
        )

    def pick(moments: list[Moment] | None, step: int | None) -> str | None:
        chosen = next((m for m in moments or [] if m.step == step), None)
        return sound_of(service, chosen) if chosen is not None else None

    return speak, repeat, hear, pick


def show(service: Service, take: Take, command: str | None, note: str) -> tuple[Any, ...]:
    """All outputs of a finished take."""
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
    rows = [(word.text, f"{word.start:.2f}", f"{word.end:.2f}") for word in speech.words]
    return (
        good(said),
        str(wave),
        speech_picture(speech.wave, mel, speech.words),
        gr.DownloadButton(value=str(folder / "speech.srt"), interactive=True),
        command if command is not None else gr.skip(),
        chunk_table(take),
        table("Word times", ("Word", "Start (s)", "End (s)"), rows),
        take,
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


def chunk_mel(chunk: Any) -> np.ndarray:
    """The mel of a chunk with its pause in front, so that the picture's two halves share one time axis: (T, 100)."""
    frames = round(chunk.samples / 256)
    silent = np.full((max(0, frames - len(chunk.mel)), 100), -11.5, np.float32)
    return np.concatenate([silent, chunk.mel])[:frames] if frames else chunk.mel


def moment_name(moment: Moment, all_of_them: list[Moment]) -> str:
    last = all_of_them[-1].step
    return f"{moment.step} of {last}" + (
        " (the result)" if moment.step == last else " (first guess)" if moment.step == 0 else ""
    )


def sound_of(service: Service, moment: Moment) -> str:
    return service.save_wave(moment.wave, f"after-step-{moment.step}", f"the solver's guess after step {moment.step}")
