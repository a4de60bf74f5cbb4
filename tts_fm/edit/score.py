"""How well a text fits a recording in the eyes of a flow model: wrong transcripts stand out.

Three figures, each with the text minus without it, so that the recording's own oddities cancel: likelihood (nats a
frame), straightness of the path from speech to noise (mean cosine between x(t) - x(0) and x(1) - x(0); Kim et al.,
arXiv 2606.00684, found wrong pronunciations by it best) and what the text takes off the flow matching error (the flow
classifier). Times of the units come from the aligner, whose own score is given beside. T mel frames. It knows neither
manifests nor the command line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tts_fm.audio.mel import log_mel
from tts_fm.engines.align import Aligner, Alignment
from tts_fm.flow.likelihood import flow_error, log_likelihood
from tts_fm.model.condition import Condition
from tts_fm.model.flow_model import FlowModel

SILENCE, UNKNOWN = "<sil>", "<unk>"


@dataclass(frozen=True)
class TextScore:
    """Higher is better, for each; the first three are differences between with and without the text."""

    likelihood: float  # nats a frame
    straightness: float  # of -2 to 2
    error: float  # flow matching error that the text takes off
    aligner: float  # mean log-probability of a frame of the units, at most 0


def score(
    model: FlowModel,
    aligner: Aligner,
    wave: np.ndarray,
    text: str,
    lang: str = "en-us",
    steps: int = 8,
    draws: int = 8,
    seed: int = 0,
) -> TextScore:
    """wave (S,) at 24 kHz and what is said in it. steps: of the solver from speech to noise, each a forward and a
    backward pass, twice over; draws: forwards of the flow classifier. ValueError for a model that gives symbols no
    times of their own and for what the aligner refuses.
    """
    if model.config.text != "aligned":
        raise ValueError(
            f"scoring needs a model whose symbols have durations (text `aligned`), not `{model.config.text}`"
        )
    found = aligner.align(wave, text, lang)
    mel = torch.from_numpy(np.asarray(log_mel(wave), np.float32))[None]  # (1, T, 100)
    x1 = model.normalise(mel)
    mask = torch.ones(x1.shape[:2], dtype=torch.bool)
    figures = []
    for shown in (True, False):
        condition = _condition(model, x1, found, shown)

        def velocity(x: Tensor, t: Tensor, condition: Condition = condition) -> Tensor:
            return model.field(x, t, condition).float()

        states: list[tuple[float, Tensor]] = []

        def keep(i: int, x: Tensor, t: Tensor, states: list[tuple[float, Tensor]] = states) -> None:
            states.append((float(t[0]), x))

        nats = log_likelihood(velocity, x1, model.path, steps, "euler", mask, seed=seed, on_step=keep)
        with torch.no_grad():
            error = flow_error(velocity, x1, mask, model.path, draws, seed)
        figures.append((float(nats) / x1.shape[1], _straightness(states), -float(error)))
    likelihood, straightness, error = (a - b for a, b in zip(*figures, strict=True))
    return TextScore(likelihood, straightness, error, found.score)


def _condition(model: FlowModel, x1: Tensor, found: Alignment, shown: bool) -> Condition:
    """The text at its times and no prompt; or neither."""
    known = {symbol: i for i, symbol in enumerate(model.vocab)}
    ids = [known.get(unit, known.get(UNKNOWN, 0)) for unit in (SILENCE, *found.units, SILENCE)]
    durations = torch.tensor([[found.lead, *found.frames, found.tail]], dtype=torch.float32)
    nothing = torch.zeros(x1.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        return model.inference_condition(
            torch.zeros_like(x1), nothing, torch.tensor([ids]), None, durations, torch.tensor([not shown])
        )


def _straightness(states: list[tuple[float, Tensor]]) -> float:
    """Mean over t of the cosine between x(t) - x(0) and x(1) - x(0); states run from the data to the noise."""
    noise, data = states[-1][1], states[0][1]
    whole = (data - noise).flatten()
    cosines = [torch.cosine_similarity((x - noise).flatten(), whole, dim=0) for _, x in states[:-1]]
    return float(torch.stack(cosines).mean())
