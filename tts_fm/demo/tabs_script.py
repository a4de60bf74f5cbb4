"""The Script page: several named voices in one text. Lines are `[name] words`; the voices are stored ones and up to two
recordings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from tts_fm.audio.mel import HOP, SAMPLE_RATE
from tts_fm.demo.commands import OWN, Turn, parse_script
from tts_fm.demo.figures import chunk_mel, silent_mel, speech_picture, table, word_table
from tts_fm.demo.runs import Cancelled, Pace, until_stopped
from tts_fm.demo.service import Service
from tts_fm.demo.sessions import FieldError, at_field
from tts_fm.demo.widgets import (
    CONSENT,
    Meter,
    Updates,
    go_and_stop,
    good,
    live_player,
    picture,
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
            settings = sampling_inputs(service, "script")
            go, stop = go_and_stop("Speak the script", "script")
            line = status("script-status")
            live = live_player("script")
            gr.Markdown(CONSENT, elem_classes="tts-consent")
        with gr.Column(min_width=300):
            audio = gr.Audio(
                label="Speech of all voices",
                interactive=False,
                type="filepath",
                elem_id="script-audio",
                buttons=["download"],
            )
            image = picture(
                "script-picture", "Waveform, words and mel", "Waveform, word times and mel spectrogram of the script"
            )
            subtitles = gr.DownloadButton("Download subtitles (SRT)", elem_id="script-srt", interactive=False)
            turns = gr.HTML(elem_id="script-turns")
            words = gr.HTML(elem_id="script-words")
    inputs, outputs = [text, *guests, pause, *settings], [line, audio, subtitles, turns, image, words, live]
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
                raise FieldError("duration cannot be given for a script of several turns; give speed", "duration")
            if not 0 <= pause <= 10:
                raise FieldError(f"the pause must be from 0 to 10 s, got {pause}", "pause")
            if len(text) > service.limits.characters:
                most = service.limits.characters
                said = f"the script has {len(text):,} characters, this demo takes {most:,}; shorten it"
                raise FieldError(said, "text")
            with at_field("text"):
                turns = parse_script(text, [*service.tts.voices(), *GUESTS])
            given = dict(zip(GUESTS, ((guest1, words1), (guest2, words2)), strict=True))
            voices = {name: voice_of(service, name, given) for name in {turn.voice for turn in turns}}
            requests = [service.request(turn.text, voices[turn.voice], replace(chosen, item=turn.id)) for turn in turns]
            done: dict[int, Speech] = {}
            live, last, pace = service.sessions.live(str(request.session_hash), "script"), 0, Pace()
            for number, chunk, speech in until_stopped(service.in_turn(requests, [turn.where for turn in turns], run)):
                live.add(chunk.wave, pause if number != last else 0.0)
                last = number
                if speech is not None:
                    done[number] = speech
                if live.early or pace.due():
                    yield good(f"{len(done)} of {len(turns)} turns are spoken …"), *[gr.skip()] * 5, live.html()
            if not done:
                raise Cancelled
            yield show(service, turns, done, pause, live.html(ended=True))

    return speak


def voice_of(service: Service, name: str | None, given: dict[str, tuple[str | None, str]]) -> Voice:
    """A voice of the script; None is the first stored one."""
    if name in given:
        recording, transcript = given[name]
        if not recording:
            raise FieldError(
                f"the script names {name}, but there is no recording of {name}: give one under Guests, or use a stored "
                "voice",
                str(name),
            )
        try:
            return service.voice(OWN, recording, transcript)
        except ValueError as error:
            raise FieldError(f"{name}: {error}", str(name)) from None
    names = service.tts.voices()
    if name is None and not names:
        raise ValueError(
            "there are no stored voices here: begin every line with [guest1] or [guest2] and give their recordings"
        )
    return service.voice(name or names[0])


def show(service: Service, turns: list[Turn], done: dict[int, Speech], pause: float, live: str) -> tuple[Any, ...]:
    """Join the turns that are done, in order. live: what the player is told."""
    waves, rows, chunks, at, notes = [], [], [], 0.0, set()
    mels: list[np.ndarray] = []
    between = round(pause * SAMPLE_RATE)
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
        waves += [speech.wave, np.zeros(between, np.float32)]
        mels += [*map(chunk_mel, speech.chunks), silent_mel(round(between / HOP))]
        at += speech.seconds + between / SAMPLE_RATE
        notes |= set(speech.warnings)
    wave, words = np.concatenate(waves[:-1]), [word for chunk in chunks for word in chunk.words]
    path = service.save_wave(wave, "script", f"a script of {len(done)} turns, seed {done[min(done)].settings.seed}")
    subtitles = service.place() / "script.srt"
    text = "\n\n".join(turns[number].text for number in sorted(done))
    written = shown_text(text, done[min(done)].settings.subtitles_text)
    subtitles.write_text(subtitle_text(chunks, "srt", written), "utf-8")
    said = f"{at - pause:.1f} s of speech, {len(done)} of {len(turns)} turns." + (
        f" Note: {'; '.join(sorted(notes))}." if notes else ""
    )
    heads = ("No.", "Voice", "Normalised text", "Start (s)", "End (s)")
    return (
        good(said),
        path,
        gr.DownloadButton(value=str(subtitles), interactive=True),
        table("Turns", heads, rows),
        speech_picture(wave, np.concatenate(mels[:-1]), words),
        word_table(words),
        live,
    )
