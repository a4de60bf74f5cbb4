"""The About page: what speaks here, what it may be used for, what happens to recordings."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from tts_fm import __version__
from tts_fm.demo.service import Service

CARDS = ("README.md", "MODEL_CARD.md", "model_card.md")

RULES = """
## Consent
Clone only your own voice, or the voice of somebody who agreed to it, and change only recordings whose speaker agreed.
Do not use either to deceive: say that the speech is generated. Every audio file written here carries a note in its
metadata (program, voice, seed, steps; for an edited recording, which seconds are new).

## Your data
Recordings and texts are used for your request and nothing else. The server removes its result files after ten
minutes, the takes of your session when you leave the page, and uploads and the copies for the players within a day.
Texts are not logged. No analytics are sent.

## Licence
tts_fm is Apache-2.0. The built-in model was trained on synthetic speech (Kokoro-82M, Apache-2.0) of texts in the
public domain or CC BY. Weights that you load yourself have their own licence; the published F5-TTS weights are for
non-commercial use (CC BY-NC 4.0).

## Use it elsewhere
`tts-fm say`, `batch`, `edit` and `serve` do the same without a browser; in Python: `from tts_fm import TTS`. This
page has an API too: see "Use via API" below.
"""


def build(service: Service) -> None:
    """Lay out the page."""
    gr.Markdown(facts(service))
    gr.Markdown(RULES)
    card = model_card(service)
    if card:
        with gr.Accordion("Model card", open=False):
            gr.Markdown(card, elem_id="about-card")


def facts(service: Service) -> str:
    """The loaded model in a few lines."""
    tts = service.tts
    voices = ", ".join(tts.voices()) or "none"
    which = "the built-in model" if service.model is None else "a model chosen by who runs this page"
    return f"## What speaks here\ntts_fm {__version__}, {which}: {tts.engine.about()}. Stored voices: {voices}."


def model_card(service: Service) -> str | None:
    """The model card beside the weights, where there is one."""
    from tts_fm.synthesis import BUILTIN

    folder = Path(service.model) if service.model else BUILTIN
    found = next((folder / name for name in CARDS if (folder / name).is_file()), None)
    if found is None and service.model is None:
        found = next((folder.parent / name for name in CARDS if (folder.parent / name).is_file()), None)
    return found.read_text("utf-8", errors="replace")[:40_000] if found else None
