"""What the pages share: input groups, the stop button's two ends, errors that stay on the page, progress. Gradio is
imported here.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from tts_fm.demo.commands import OWN
from tts_fm.demo.runs import Cancelled, Pace
from tts_fm.demo.service import LIMITS, Service
from tts_fm.demo.sessions import FieldError
from tts_fm.errors import TtsFmError
from tts_fm.settings import Setting, Settings, as_text, offered

QUIET: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}  # answers at once
Updates = Iterator[tuple[Any, ...]]  # values for all outputs of a page, again and again
CONSENT = (
    "Clone only your own voice, or that of somebody who agreed. Say that it is generated wherever you use it: every "
    "file carries a note "
    "in its metadata. Recordings are used for your request only and deleted within a day."
)
FAULT = "a fault of this program, not of what you gave it; what it was is in the terminal where the page was started"


def status(elem_id: str) -> gr.HTML:
    """A line that tells what happens; app.JS makes it a live region, so that screen readers say it."""
    return gr.HTML("", elem_id=elem_id, elem_classes="tts-status", container=False)


def good(text: str) -> str:
    return f'<p class="tts-good">{escape(text)}</p>'


def bad(text: str, field: str | None = None) -> str:
    """A problem, in words and not by colour alone. field: the id of the input that it is about; the page says it there
    too.
    """
    said = escape(text, quote=True)
    where = f' data-field="{escape(field, quote=True)}" data-said="{said}"' if field else ""
    return f'<p class="tts-bad"{where}><strong>Not done:</strong> {said.replace(chr(10), "<br>")}</p>'


def recording_input(elem_id: str, label: str) -> gr.Audio:
    """An upload, or a recording from the microphone."""
    return gr.Audio(
        sources=["upload", "microphone"], type="filepath", label=label, elem_id=elem_id, editable=False, buttons=[]
    )


def voice_inputs(service: Service, key: str) -> tuple[gr.Dropdown, gr.Audio, gr.Textbox, gr.Accordion]:
    """Choice of a stored voice, a recording with its optional transcript, and the folded part that holds these. Giving
    a recording chooses it, choosing it shows where to give one.
    """
    names = service.tts.voices()
    choice = gr.Dropdown(
        [*[(name, name) for name in names], ("my recording", OWN)],
        value=names[0] if names else OWN,
        label="Voice",
        elem_id=f"{key}-voice",
        info="A stored voice, or your own recording",
    )
    with gr.Accordion("Your own voice: record or upload it", open=not names, elem_id=f"{key}-own") as own:
        recording = recording_input(f"{key}-recording", "Recording of the voice (3 to 12 s of clear speech)")
        transcript = gr.Textbox(
            label="What the recording says (optional)",
            elem_id=f"{key}-transcript",
            max_length=600,
            lines=1,
            info="Exactly the words that are heard. Leave it empty when unsure",
        )
        if names:
            sample = gr.Button(f"Try it with an example: {names[-1]} reads", size="sm", elem_id=f"{key}-example-voice")
            given = [choice, recording, transcript]
            sample.click(lambda: example_voice(service, names[-1]), None, given, **QUIET)
    for event in (recording.upload, recording.stop_recording):
        event(lambda: OWN, None, choice, **QUIET)
    recording.clear(lambda: names[0] if names else OWN, None, choice, **QUIET)
    choice.input(lambda name: gr.Accordion(open=True) if name == OWN else gr.skip(), choice, own, **QUIET)
    return choice, recording, transcript, own


def example_voice(service: Service, name: str) -> tuple[str, str, str]:
    """A stored voice's own recording as if a visitor had given it: choice, file, what it says."""
    voice = service.tts.voice(name)
    return OWN, service.save_wave(voice.wave, f"example-{name}", f"the prompt of {name}"), voice.text or ""


def sampling_inputs(service: Service, key: str) -> list[Any]:
    """An input for every setting that the tab `key` offers, in the order of `setting_names`; folded, the seldom changed
    ones twice.
    """
    own = Settings().with_defaults(service.tts.defaults)
    made: dict[str, Any] = {}

    def rows(settings: list[Setting]) -> None:
        for first in range(0, len(settings), 2):
            with gr.Row():
                for setting in settings[first : first + 2]:
                    made[setting.name] = _input(setting, getattr(own, setting.name), key)

    settings = _offered(key)
    with gr.Accordion("Sampling", open=False, elem_id=f"{key}-sampling"):
        rows([setting for setting in settings if not setting.folded])
        with gr.Accordion("More settings", open=False, elem_id=f"{key}-sampling-more"):
            rows([setting for setting in settings if setting.folded])
    return [made[setting.name] for setting in settings]


def _offered(tab: str) -> tuple[Setting, ...]:
    return offered("edit" if tab == "edit" else "demo")


def setting_names(tab: str) -> list[str]:
    """The settings that a tab offers."""
    return [setting.name for setting in _offered(tab)]


def _input(setting: Setting, value: Any, key: str) -> Any:
    """The component for one setting; an empty one means "not given"."""
    empty = f". Empty: {setting.unset}" if setting.default is None and value is None else ""
    unit = f" ({setting.unit})" if setting.unit else ""
    look: dict[str, Any] = {
        "label": f"{setting.label}{unit}",
        "info": f"{setting.help[0].upper()}{setting.help[1:]}{empty}",
        "elem_id": f"{key}-{setting.name.replace('_', '-')}",
        "min_width": 220,
    }
    if setting.choices:
        unset = [(setting.unset, "")] if setting.default is None else []
        choices = [*unset, *((shown, name) for name, shown in setting.choices.items())]
        return gr.Dropdown(choices, value=value or "", **look)
    if setting.slider is not None:
        low, high, step = setting.slider
        low, high = LIMITS.get(setting.name, (low, high))
        return gr.Slider(low, high, value=min(max(value, low), high), step=step, **look)
    if setting.type is tuple or setting.pattern:
        return gr.Textbox("" if value is None else as_text(value), max_lines=1, **look)
    return gr.Number(value, precision=0 if setting.type is int else None, **look)


def go_and_stop(label: str, key: str) -> tuple[gr.Button, gr.Button]:
    """The buttons that start and end the work of a page, always in sight; Ctrl+Enter and Ctrl+. press them."""
    with gr.Row(elem_classes="tts-go"):
        go = gr.Button(label, variant="primary", elem_id=f"{key}-go", min_width=140, scale=2)
        stop = gr.Button("Stop", variant="stop", elem_id=f"{key}-stop", min_width=90, scale=1)
    return go, stop


def live_player(key: str) -> gr.HTML:
    """The controls of sound that is heard while it is spoken, and the output that names the sound (sessions.Live)."""
    gr.HTML(
        f'<div class="tts-player" data-page="{key}"><button type="button" class="tts-button tts-pause" disabled>Pause'
        '</button><label><input type="checkbox" class="tts-auto" checked> Play while it is spoken</label>'
        '<span class="tts-first" role="status"></span></div>',
        container=False,
    )
    return gr.HTML("", elem_id=f"{key}-live", elem_classes="tts-feed", container=False)


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
        elem_classes="tts-picture",
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
    work: Callable[..., Updates],
    inputs: list[Any],
    outputs: list[Any],
    shown_on: Any,
    description: str,
    name: str | None = None,
    queue: str = "model",
) -> None:
    """Run `work` in the model's queue (or another one) when a trigger fires, stoppable from the first moment by `stop`.

    tab: the key of the request; works that share it share a stop button, which only one of them passes. outputs: the
    status line first. shown_on: the output that shows the progress. name: of the web API, `tab` when not given.
    """
    line = outputs[0]

    def arm(request: gr.Request) -> str:
        service.arm(who(request, tab))
        return good("Waiting for its turn …")

    def halt(request: gr.Request) -> Any:
        # what runs tells its end itself, maybe before this answer arrives
        return gr.skip() if service.stop(who(request, tab)) else good("Nothing is running.")

    for number, trigger in enumerate(triggers):
        trigger(arm, None, line, queue=False, api_visibility="private", show_progress="hidden").then(
            guarded(work, len(outputs), tab, str(line.elem_id).split("-")[0]),
            inputs,
            outputs,
            api_name=(name or tab) if number == 0 else None,
            api_visibility="public" if number == 0 else "private",
            api_description=description,
            concurrency_id=queue,
            concurrency_limit=1,
            show_progress_on=[shown_on],
        )
    if stop is not None:
        stop.click(halt, None, line, queue=False, api_visibility="private", show_progress="hidden")


def guarded(work: Callable[..., Updates], outputs: int, tab: str, page: str) -> Callable[..., Updates]:
    """Work whose first output is the status line: what went wrong is told there, in a message, and beside the field
    that it is about, whose id begins with `page`; nothing else changes.

    Work with an argument `values` gets all settings of the tab as one mapping there; Gradio passes them one by one, and
    the web API shows their names.
    """
    own = list(inspect.signature(work).parameters.values())
    at = next((i for i, parameter in enumerate(own) if parameter.name == "values"), None)
    names = [] if at is None else setting_names(tab)

    def run(*args: Any) -> Updates:
        rest = [gr.skip()] * (outputs - 1)
        if at is not None:
            values = dict(zip(names, args[at : at + len(names)], strict=True))
            args = (*args[:at], values, *args[at + len(names) :])
        try:
            yield from work(*args)
        except (ValueError, TtsFmError) as error:
            field = f"{page}-{error.field}" if isinstance(error, FieldError) else None
            yield (bad(str(error), field), *rest)
            raise gr.Error(
                escape(str(error)).replace("\n", "<br>"), print_exception=False, title="Not done", duration=12
            ) from None
        except Cancelled:
            yield (good("Cancelled; nothing was finished."), *rest)
        except Exception:  # a fault of ours: Gradio tells it in a message, and the line must not go on saying "Waiting"
            yield (bad(FAULT), *rest)
            raise

    if at is not None:
        single = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in names]
        after = [p if p.default is not p.empty else p.replace(default=None) for p in own[at + 1 :]]
        own = [*own[:at], *single, *after]
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: gr.Request for parameter in own if parameter.name == "request"}
    return run


class Meter:
    """Progress over chunks and their solver steps, with the time that is probably left."""

    def __init__(self, progress: gr.Progress) -> None:
        self.progress, self.began, self.pace = progress, time.perf_counter(), Pace()

    def __call__(self, step: int, steps: int, spoken: int, chunks: int) -> None:
        if not self.pace.due():
            return
        share = (spoken + (step + 1) / max(steps, 1)) / max(chunks, 1)
        spent = time.perf_counter() - self.began
        left = f", about {spent / share - spent:.0f} s left" if spent > 1.5 and share > 0.05 else ""
        self.progress(min(share, 1.0), desc=f"chunk {spoken + 1} of {chunks}, step {step + 1} of {steps}{left}")
