"""The Script page: several named voices in one text. Lines are `[name] words`; the voices are stored ones and up to two
recordings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.demo.commands import OWN, Turn, parse_script
from tts_fm.demo.figures import table
from tts_fm.demo.service import Service, until_stopped
from tts_fm.demo.widgets import (
    CONSENT,
    Meter,
    Updates,
    go_and_stop,
    good,
    recording_input,
    sampling_inputs,
    status,
    who,
    wire,
)
from tts_fm.engines.jobs import moved
from tts_fm.synthesis import Speech
from tts_fm.text.subtitles import shown_text
from tts_fm.text.subtitles import subtitles as subtitle_text
from tts_fm.voices.stored import Voice

GUESTS = ("guest1", "guest2")


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    names = service.tts.voices()
    known = f"Stored voices: {', '.join(names)}." if names else "There are no stored voices."
    gr.Markdown(
        f"One line a turn: `[name] words`. A line without a name goes on in the same voice. {known} "
        "Your own two are `[guest1]` and `[guest2]`."
    )
    with gr.Row():
        with gr.Column(min_width=300):
            text = gr.Textbox(
                example(names),
                label="Script",
                lines=7,
                max_lines=20,
                max_length=service.limits.characters,
                elem_id="script-text",
            )
            with gr.Accordion("Guests: voices of your own", open=not names, elem_id="script-guests"):
                guests: list[Any] = []
                for name in GUESTS:
                    said = f"What {name}'s recording says (optional)"
                    guests += [
                        recording_input(f"script-{name}", f"Recording of {name} (3 to 12 s)"),
                        gr.Textbox(label=said, max_length=600, elem_id=f"script-{name}-text"),
                    ]
            pause = gr.Slider(0, 2, value=0.3, step=0.1, label="Pause between turns (s)", elem_id="script-pause")
            settings = sampling_inputs(service, "script", opened=False)
            gr.Markdown(CONSENT, elem_classes="tts-consent")
            go, stop = go_and_stop("Speak the script", "script")
            line = status("script-status")
        with gr.Column(min_width=300):
            audio = gr.Audio(
                label="Speech of all voices",
                interactive=False,
                type="filepath",
                elem_id="script-audio",
                buttons=["download"],
            )
            subtitles = gr.DownloadButton("Download subtitles (SRT)", elem_id="script-srt", interactive=False)
            turns = gr.HTML(elem_id="script-turns")
    inputs, outputs = [text, *guests, pause, *settings], [line, audio, subtitles, turns]
    wire(
        service,
        "script",
        [go.click],
        stop,
        handler(service),
        inputs,
        outputs,
        audio,
        "Speak lines of `[name] words`, each in its voice.",
    )


def example(names: list[str]) -> str:
    one, two = (names * 2)[:2] if names else GUESTS
    return (
        f"[{one}] Have you seen my canoe?\n[{two}] It slid on the smooth planks.\n"
        f"[{one}] Then it is easy to tell the depth of a well."
    )


def handler(service: Service) -> Any:
    """The page's function, free of its layout."""

    def speak(
        text: str,
        guest1: str | None,
        words1: str,
        guest2: str | None,
        words2: str,
        pause: float,
        values: dict[str, Any],
        request: gr.Request,
        progress: Any = gr.Progress(),
    ) -> Updates:
        with service.running(who(request, "script"), Meter(progress)) as run:
            chosen = service.settings(**values)
            if chosen.duration is not None:
                raise ValueError("duration cannot be given for a script of several turns; give speed")
            if not 0 <= pause <= 10:
                raise ValueError(f"the pause must be from 0 to 10 s, got {pause}")
            if len(text) > service.limits.characters:
                raise ValueError(
                    f"the script has {len(text):,} characters, this demo takes {service.limits.characters:,}; shorten "
                    "it"
                )
            turns = parse_script(text, [*service.tts.voices(), *GUESTS])
            given = dict(zip(GUESTS, ((guest1, words1), (guest2, words2)), strict=True))
            voices = {name: voice_of(service, name, given) for name in {turn.voice for turn in turns}}
            requests = [service.request(turn.text, voices[turn.voice], replace(chosen, item=turn.id)) for turn in turns]
            done: dict[int, Speech] = {}
            for number, speech in until_stopped(service.many(requests, [turn.where for turn in turns], run)):
                done[number] = speech
                yield good(f"{len(done)} of {len(turns)} turns are spoken …"), gr.skip(), gr.skip(), gr.skip()
            yield show(service, turns, done, pause)

    return speak


def voice_of(service: Service, name: str | None, given: dict[str, tuple[str | None, str]]) -> Voice:
    """A voice of the script; None is the first stored one."""
    if name in given:
        recording, transcript = given[name]
        if not recording:
            raise ValueError(
                f"the script names {name}, but there is no recording of {name}: give one under Guests, or use a stored "
                "voice"
            )
        return service.voice(OWN, recording, transcript)
    names = service.tts.voices()
    if name is None and not names:
        raise ValueError(
            "there are no stored voices here: begin every line with [guest1] or [guest2] and give their recordings"
        )
    return service.voice(name or names[0])


def show(service: Service, turns: list[Turn], done: dict[int, Speech], pause: float) -> tuple[Any, ...]:
    """Join the turns that are done, in order."""
    waves, rows, chunks, at, notes = [], [], [], 0.0, set()
    for number in sorted(done):
        speech, turn = done[number], turns[number]
        rows.append(
            (
                turn.id,
                turn.voice or speech.voice,
                " ".join(c.text for c in speech.chunks),
                f"{at:.2f}",
                f"{at + speech.seconds:.2f}",
            )
        )
        # times of words count from the whole
        chunks += [replace(moved(chunk, at), start=at + chunk.start) for chunk in speech.chunks]
        waves += [speech.wave, np.zeros(round(pause * SAMPLE_RATE), np.float32)]
        at += speech.seconds + round(pause * SAMPLE_RATE) / SAMPLE_RATE
        notes |= set(speech.warnings)
    path = service.save_wave(
        np.concatenate(waves[:-1]), "script", f"a script of {len(done)} turns, seed {done[min(done)].settings.seed}"
    )
    subtitles = service.place() / "script.srt"
    text = "\n\n".join(turns[number].text for number in sorted(done))
    written = shown_text(text, done[min(done)].settings.subtitles_text)
    subtitles.write_text(subtitle_text(chunks, "srt", written), "utf-8")
    said = f"{at - pause:.1f} s of speech, {len(done)} of {len(turns)} turns." + (
        f" Note: {'; '.join(sorted(notes))}." if notes else ""
    )
    heads = ("No.", "Voice", "Normalised text", "Start (s)", "End (s)")
    return good(said), path, gr.DownloadButton(value=str(subtitles), interactive=True), table("Turns", heads, rows)
