"""What the pages share: input groups, the stop button's two ends, errors that stay on the page, progress. Gradio is
imported here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from tts_fm.demo.commands import OWN
from tts_fm.demo.service import STEPS, Cancelled, Service
from tts_fm.errors import TtsFmError
from tts_fm.settings import METHODS, Settings

ACCENTS = [("the voice's own", ""), ("American English", "en-us"), ("British English", "en-gb")]
CONSENT = (
    "Clone only your own voice, or that of somebody who agreed. Say that it is generated wherever you use it: every "
    "file carries a note "
    "in its metadata. Recordings are used for your request only and deleted within a day."
)


def status(elem_id: str) -> gr.HTML:
    """A line that tells what happens; app.JS makes it a live region, so that screen readers say it."""
    return gr.HTML("", elem_id=elem_id, elem_classes="tts-status", container=False)


def good(text: str) -> str:
    return f'<p class="tts-good">{escape(text)}</p>'


def bad(text: str) -> str:
    """A problem, in words and not by colour alone."""
    return f'<p class="tts-bad"><strong>Not done:</strong> {escape(text).replace(chr(10), "<br>")}</p>'


def recording_input(elem_id: str, label: str) -> gr.Audio:
    """An upload, or a recording from the microphone."""
    return gr.Audio(
        sources=["upload", "microphone"], type="filepath", label=label, elem_id=elem_id, editable=False, buttons=[]
    )


def voice_inputs(service: Service, key: str) -> tuple[gr.Dropdown, gr.Audio, gr.Textbox]:
    """Choice of a stored voice, a recording with its optional transcript. Giving a recording chooses it."""
    names = service.tts.voices()
    choice = gr.Dropdown(
        [*[(name, name) for name in names], ("my recording", OWN)],
        value=names[0] if names else OWN,
        label="Voice",
        elem_id=f"{key}-voice",
        info="A stored voice, or your own recording below",
    )
    recording = recording_input(f"{key}-recording", "Recording of the voice (3 to 12 s of clear speech)")
    transcript = gr.Textbox(
        label="What the recording says (optional)",
        elem_id=f"{key}-transcript",
        max_length=600,
        lines=1,
        info="Exactly the words that are heard. Leave it empty when unsure",
    )
    for event in (recording.upload, recording.stop_recording):
        event(lambda: OWN, None, choice, queue=False, api_visibility="private")
    recording.clear(lambda: names[0] if names else OWN, None, choice, queue=False, api_visibility="private")
    return choice, recording, transcript


def sampling_inputs(service: Service, key: str, opened: bool = True) -> list[Any]:
    """steps, cfg, method, speed, seed, accent: in the order of Service.settings."""
    own = Settings().with_defaults(service.tts.defaults)
    with gr.Accordion("Sampling", open=opened):
        with gr.Row():
            steps = gr.Slider(
                *STEPS,
                value=min(max(own.steps or 16, STEPS[0]), STEPS[1]),
                step=1,
                label="Solver steps",
                elem_id=f"{key}-steps",
                info="Few are quick, many are exact",
                min_width=220,
            )
            cfg = gr.Slider(
                0,
                5,
                value=own.cfg,
                step=0.1,
                label="Guidance (cfg)",
                info="How strictly text and voice are followed; 0 is off",
                min_width=220,
                elem_id=f"{key}-cfg",
            )
        with gr.Row():
            speed = gr.Slider(
                0.5,
                2,
                value=1,
                step=0.05,
                label="Speed",
                info="2 is twice as fast",
                min_width=220,
                elem_id=f"{key}-speed",
            )
            seed = gr.Number(
                0,
                precision=0,
                label="Seed",
                info="The same seed gives the same audio",
                min_width=220,
                elem_id=f"{key}-seed",
            )
        with gr.Row():
            method = gr.Dropdown(
                [(f"{name} ({n} forward{'s' * (n > 1)} a step)", name) for name, n in METHODS.items()],
                value="euler",
                label="Solver",
                min_width=220,
                elem_id=f"{key}-method",
            )
            lang = gr.Dropdown(ACCENTS, value="", label="Accent", min_width=220, elem_id=f"{key}-accent")
    return [steps, cfg, method, speed, seed, lang]


def go_and_stop(label: str, key: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        go = gr.Button(label, variant="primary", elem_id=f"{key}-go", min_width=140, scale=2)
        stop = gr.Button("Stop", variant="stop", elem_id=f"{key}-stop", min_width=90, scale=1)
    return go, stop


def picture(elem_id: str, caption: str, alt_text: str) -> gr.Image:
    """Where a picture of speech is shown, under its caption (Gradio's own label would lie on it)."""
    gr.Markdown(caption, elem_classes="tts-caption")
    return gr.Image(
        show_label=False,
        label=caption,
        interactive=False,
        type="pil",
        format="png",
        elem_id=elem_id,
        buttons=["fullscreen"],
        alt_text=alt_text,
    )


def who(request: gr.Request, tab: str) -> str:
    """The key of a session's request: nothing about the person."""
    return f"{request.session_hash}/{tab}"


def wire(
    service: Service,
    tab: str,
    triggers: list[Any],
    stop: gr.Button | None,
    work: Callable[..., Iterator[tuple]],
    inputs: list[Any],
    outputs: list[Any],
    shown_on: Any,
    description: str,
    name: str | None = None,
) -> None:
    """Run `work` in the model's queue when a trigger fires, stoppable from the first moment by `stop`.

    tab: the key of the request; works that share it share a stop button, which only one of them passes. outputs: the
    status line first. shown_on: the output that shows the progress. name: of the web API, `tab` when not given.
    """
    line = outputs[0]

    def arm(request: gr.Request) -> str:
        service.arm(who(request, tab))
        return good("Waiting for its turn …")

    def halt(request: gr.Request) -> str:
        return good("Stopping at the next solver step …" if service.stop(who(request, tab)) else "Nothing is running.")

    for number, trigger in enumerate(triggers):
        trigger(arm, None, line, queue=False, api_visibility="private", show_progress="hidden").then(
            guarded(work, len(outputs)),
            inputs,
            outputs,
            api_name=(name or tab) if number == 0 else None,
            api_visibility="public" if number == 0 else "private",
            api_description=description,
            concurrency_id="model",
            concurrency_limit=1,
            show_progress_on=[shown_on],
        )
    if stop is not None:
        stop.click(halt, None, line, queue=False, api_visibility="private", show_progress="hidden")


def guarded(work: Callable[..., Iterator[tuple]], outputs: int) -> Callable[..., Iterator[tuple]]:
    """Work whose first output is the status line: what went wrong is told there and in a message, and nothing else
    changes.
    """

    @functools.wraps(work)
    def run(*args: Any, **options: Any) -> Iterator[tuple]:
        rest = [gr.skip()] * (outputs - 1)
        try:
            yield from work(*args, **options)
        except (ValueError, TtsFmError) as error:
            yield (bad(str(error)), *rest)
            raise gr.Error(
                escape(str(error)).replace("\n", "<br>"), print_exception=False, title="Not done", duration=12
            ) from None
        except Cancelled:
            yield (good("Cancelled; nothing was finished."), *rest)

    return run


class Meter:
    """Progress over chunks and their solver steps, with the time that is probably left."""

    def __init__(self, progress: gr.Progress) -> None:
        self.progress, self.began = progress, time.perf_counter()

    def __call__(self, step: int, steps: int, spoken: int, chunks: int) -> None:
        share = (spoken + (step + 1) / max(steps, 1)) / max(chunks, 1)
        spent = time.perf_counter() - self.began
        left = f", about {spent / share - spent:.0f} s left" if spent > 1.5 and share > 0.05 else ""
        self.progress(min(share, 1.0), desc=f"chunk {spoken + 1} of {chunks}, step {step + 1} of {steps}{left}")
