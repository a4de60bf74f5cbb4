"""Speech as it forms out of noise: a picture after each of some steps, and their sound. Two pages show it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tts_fm.demo.figures import steps_picture
from tts_fm.demo.service import Moment, Service
from tts_fm.demo.widgets import QUIET, good, picture


def forming(service: Service, key: str) -> list[Any]:
    """Lay out where it is shown; the outputs that `shown` fills."""
    moments = gr.State(None, time_to_live=3600)
    strip = picture(
        f"{key}-strip", "What the noise becomes", "Mel spectrograms of the speech foreseen after several solver steps"
    )
    moment = gr.Radio([], label="Listen after step", elem_id=f"{key}-moment")
    sound = gr.Audio(
        label="Speech foreseen after this step",
        interactive=False,
        type="filepath",
        elem_id=f"{key}-moment-audio",
        buttons=["download"],
    )

    def pick(found: list[Moment] | None, step: int | None) -> str | None:
        chosen = next((m for m in found or [] if m.step == step), None)
        return sound_of(service, chosen) if chosen is not None else None

    moment.input(pick, [moments, moment], sound, **QUIET)
    return [strip, moment, sound, moments]


def shown(service: Service, found: list[Moment]) -> tuple[Any, ...]:
    """The status line and the outputs of `forming`."""
    names = [moment_name(m, found) for m in found]
    first = found[min(1, len(found) - 1)]
    return (
        good("Ready: choose a step to hear what was foreseen after it."),
        steps_picture([m.mel for m in found], names),
        gr.Radio(choices=[(name, m.step) for name, m in zip(names, found, strict=True)], value=first.step),
        sound_of(service, first),
        found,
    )


def moment_name(moment: Moment, all_of_them: list[Moment]) -> str:
    last = all_of_them[-1].step
    return f"{moment.step} of {last}" + (
        " (the result)" if moment.step == last else " (first guess)" if moment.step == 0 else ""
    )


def sound_of(service: Service, moment: Moment) -> str:
    return service.save_wave(moment.wave, f"after-step-{moment.step}", f"the solver's guess after step {moment.step}")
