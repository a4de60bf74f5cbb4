"""The page "How it works": flow matching in the plane, with knobs, and a sentence as it forms out of noise."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from tts_fm.demo import forming, plane
from tts_fm.demo.commands import EXAMPLES
from tts_fm.demo.service import LIMITS, Service
from tts_fm.demo.sessions import FieldError
from tts_fm.demo.widgets import QUIET, Meter, Updates, go_and_stop, good, status, who, wire

LONGEST = 120  # characters of the sentence
SIZE = 400  # of a picture, in its own units
SHOWN_PAIRS = 40
IDEA = """
We can draw noise, and we want speech. **Flow matching** learns to move the one to the other. In training a recording is
paired with noise, and a point on the way between them shows which way to go: that is the left picture, with points in
the plane instead of recordings. Many of these ways cross. A network that sees only where it is learns their mean, the
arrows on the right. Following the arrows from fresh noise, in a few steps, gives fresh data. To speak is to do the same
with the picture of a sound (its mel spectrogram), which has 100 numbers for each hundredth of a second.
"""
MORE = "More, with figures and the commands that make them, is in `docs/flow.md` of the source."


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    gr.Markdown(IDEA)
    with gr.Row():
        path = gr.Radio(
            [(way.name, key) for key, way in plane.WAYS.items()], value="ot", label="Path", elem_id="flow-path",
            info="How noise becomes data in training. Ours, and F5-TTS's, is the straight one",
        )  # fmt: skip
        coupling = gr.Radio(
            [(name, key) for key, name in plane.COUPLINGS.items()], value="independent", label="Coupling",
            elem_id="flow-coupling", info="Which noise is paired with which data",
        )  # fmt: skip
    with gr.Row():
        steps = gr.Slider(1, 32, 4, step=1, label="Steps", elem_id="flow-steps",
                          info="In how many steps the arrows are followed")  # fmt: skip
        time = gr.Slider(0, 1, 0.5, step=0.02, label="Time", elem_id="flow-time",
                         info="0 is noise, 1 is data: where the dots are, and the arrows of that moment")  # fmt: skip
    pictures = gr.HTML(drawn("ot", "independent", 4, 0.5), elem_id="flow-plane")
    knobs: list[Any] = [path, coupling, steps, time]
    gr.on([knob.change for knob in knobs], drawn, knobs, pictures, trigger_mode="always_last", **QUIET)
    with gr.Column():  # its button stays in sight within this part only
        gr.Markdown(
            "## A sentence forms\nThe pictures above are exact, and nothing in them is trained. The same with speech: "
            "what the noise points to after each step of the solver."
        )
        with gr.Row():
            text = gr.Textbox(EXAMPLES[0][1], label="A short sentence", max_length=LONGEST, elem_id="flow-text")
            names = service.tts.voices()
            voice = gr.Dropdown(names, value=names[0] if names else None, label="Voice", elem_id="flow-voice")
            count = gr.Slider(*LIMITS["steps"], 4, step=1, label="Steps of the solver", elem_id="flow-count")
        go, stop = go_and_stop("Watch it form", "flow")
        line = status("flow-status")
        formed = forming.forming(service, "flow")
    told = "The speech that is foreseen after each of some solver steps, for a short sentence."
    inputs = [text, voice, count]
    wire(service, "flow", [go.click, text.submit], stop, handler(service), inputs, [line, *formed], formed[0], told)
    gr.Markdown(MORE)


def handler(service: Service) -> Any:
    """What Watch it form does."""

    def watch(text: str, voice: str, steps: float, request: gr.Request, progress: Any = gr.Progress()) -> Updates:
        with service.running(who(request, "flow"), Meter(progress)) as run:
            if len(text or "") > LONGEST:
                raise FieldError(f"the sentence has {len(text)} characters; up to {LONGEST} are shown", "text")
            asked = service.request(text, service.voice(voice), service.settings(steps=steps))
            yield forming.shown(service, service.form(asked, 0, run))

    return watch


def drawn(path: str, coupling: str, steps: float, time: float) -> str:
    """Both pictures in the plane, and what they say in figures."""
    if path not in plane.WAYS or coupling not in plane.COUPLINGS:
        raise ValueError(f"a path is one of {', '.join(plane.WAYS)}, a coupling one of {', '.join(plane.COUPLINGS)}")
    count, t = int(np.clip(steps, 1, 32)), float(np.clip(time, 0, 1))
    x1 = plane.data(SHOWN_PAIRS, 1)
    x0 = plane.coupled(plane.noise(SHOWN_PAIRS, 2), x1, coupling)
    far, gap, bent = ((x0 - x1) ** 2).sum(-1).mean(), plane.off(path, coupling, count), plane.bent(path, coupling)
    word = f"{count} step{'s' * (count > 1)}"
    left = f"What training shows: each data point with its noise, {far:.2f} apart (mean square)."
    right = f"What is learnt, and followed in {word}: the ends are {gap:.2f} from where exact ones would be (RMS)."
    said = good(f"Followed exactly, a way is {bent:.2f} times as long as the straight line between its ends (median).")
    return (
        f'<div class="tts-plane">{_figure(_pairs(path, x0, x1, t), path, left)}'
        f"{_figure(_flow(path, coupling, count, t), path, right)}</div>{said}"
    )


def _figure(inner: str, path: str, caption: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{caption}">{inner}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _pairs(path: str, x0: np.ndarray, x1: np.ndarray, time: float) -> str:
    """The ways of single pairs, and where their points are."""
    way = plane.WAYS[path]
    times = np.linspace(0, way.end, 25)
    a, _, b, _ = way.coefficients(times)
    ways = a[:, None, None] * x1 + b[:, None, None] * x0
    a, _, b, _ = way.coefficients(np.array([time * way.end]))
    lines = "".join(_line(ways[:, k], way.width) for k in range(len(x1)))
    ends = _dots(x1, way.width, "data") + _dots(ways[0], way.width, "noise")
    return lines + ends + _now(a * x1 + b * x0, way.width)


def _flow(path: str, coupling: str, steps: int, time: float) -> str:
    """The arrows of a moment, and the points that follow them step by step."""
    way, field = plane.WAYS[path], plane.marginal(path, coupling)
    axis = np.linspace(-0.9, 0.9, 12) * way.width
    places = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    v = field(places, np.full(len(places), time * way.end))
    size = np.linalg.norm(v, axis=-1, keepdims=True)
    reach = v / np.maximum(size, 1e-9) * np.minimum(size / np.quantile(size, 0.8), 1) * 0.13 * way.width
    arrows = "".join(_line(np.stack([p, p + r]), way.width, "field", 1.2) for p, r in zip(places, reach, strict=True))
    walked = plane.travelled(path, coupling, steps)
    at = time * steps
    step = min(int(at), steps - 1)
    here = walked[step] + (at - step) * (walked[step + 1] - walked[step])
    lines = "".join(_line(walked[:, k], way.width) for k in range(walked.shape[1]))
    return (
        f"{_dots(plane.data(300, 3), way.width, 'data', 1.3)}{arrows}{_dots(places, way.width, 'field', 1.4)}{lines}"
        f"{_now(here, way.width)}"
    )


def _at(points: np.ndarray, width: float) -> np.ndarray:
    """Places in the plane as places in the picture, y upwards."""
    return ((points * [1, -1] / width + 1) * SIZE / 2).clip(-SIZE, 2 * SIZE).round(1)


def _line(points: np.ndarray, width: float, colour: str = "", stroke: float = 0.7) -> str:
    where = " ".join(f"{x:g},{y:g}" for x, y in _at(points, width))
    look = f'stroke="var(--tts-{colour})"' if colour else 'stroke="currentColor" stroke-opacity="0.35"'
    return f'<polyline points="{where}" fill="none" {look} stroke-width="{stroke}"/>'


def _dots(points: np.ndarray, width: float, colour: str, radius: float = 2.2) -> str:
    circles = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="{radius}"/>' for x, y in _at(points, width))
    return f'<g fill="var(--tts-{colour})" fill-opacity="0.6">{circles}</g>'


def _now(points: np.ndarray, width: float) -> str:
    """Where the points are at the moment that was chosen."""
    circles = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="3.2"/>' for x, y in _at(points, width))
    return f'<g fill="currentColor">{circles}</g>'
