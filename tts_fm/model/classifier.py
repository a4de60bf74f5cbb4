"""A small classifier of noisy mels, p(class | x_t, t), and the guidance that it gives (flow/guidance.py).

It hears speech at every stage of the way from noise (t = 0) to a clean mel (t = 1): a strided convolution, ConvNeXt V2
blocks that are told t, mean and deviation over time, one linear layer. recipes/builtin/classifier.py trains it; it lies
in a model's folder as classifier/. Padding never changes a result. B batch, T mel frames, P = ceil(T / 4) positions, D
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.audio.mel import N_MELS
from tts_fm.config import ModelConfig
from tts_fm.errors import ModelError
from tts_fm.flow.guidance import ClassifierGuidance
from tts_fm.flow.path import Path as FlowPath
from tts_fm.flow.solvers import Velocity
from tts_fm.flow.tables import guides
from tts_fm.model.folder import CONFIG, WEIGHTS, Field, load, save
from tts_fm.model.layers import ConvNeXtBlock, TimeEmbedding, masked

STRIDE = 4  # mel frames a position
SHARE = 0.1  # of the velocity's size that a guide of scale 1 adds


class NoisyClassifier(nn.Module):
    """Some independent questions about speech, each with its classes. 0.3M parameters at the default sizes.

    classes: "accent=us", "accent=gb", "pitch=low" ... : question and class, each once, in the order of the logits.
    mel_mean, mel_std: how mels are normalised, as in the flow model that it guides.
    """

    def __init__(
        self,
        classes: Sequence[str],
        dim: int = 96,
        layers: int = 4,
        mel_mean: float = -2.44,
        mel_std: float = 3.72,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(
            classes=list(classes), dim=dim, layers=layers, mel_mean=mel_mean, mel_std=mel_std
        )
        self.places: dict[str, dict[str, int]] = {}  # question -> class -> its logit
        for place, name in enumerate(classes):
            question, equals, wanted = name.partition("=")
            if not (question and equals and wanted):
                raise ValueError(f"a class reads question=class, as in pitch=low, not {name!r}")
            self.places.setdefault(question, {})[wanted] = place
        self.enter = nn.Conv1d(N_MELS, dim, 7, stride=STRIDE, padding=3)
        self.time = TimeEmbedding(dim)
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(layers))
        self.turns = nn.ModuleList(nn.Linear(dim, 2 * dim) for _ in range(layers))
        self.norm = nn.LayerNorm(2 * dim)
        self.head = nn.Linear(2 * dim, len(classes))

    def forward(self, x: Tensor, t: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Log probabilities, for each question (B, its classes).

        x: (B, T, 100), a state of the straight path at t (B,): t times the normalised mel and 1 - t times noise. mask:
        (B, T) True = frame that is heard.
        """
        t = t.to(x.device, torch.float32)
        size = (t.square() + (1 - t).square()).sqrt()
        hidden = masked(x / size[:, None, None], mask).transpose(1, 2)
        hidden = F.gelu(self.enter(hidden)).transpose(1, 2)  # (B, P, D)
        mask = None if mask is None else mask[:, ::STRIDE]
        time = self.time(t)
        for block, turn in zip(self.blocks, self.turns, strict=True):
            scale, shift = turn(time)[:, None].chunk(2, dim=-1)
            hidden = block(masked(hidden * (1 + scale) + shift, mask), mask)
        real = torch.ones(hidden.shape[:2], device=x.device) if mask is None else mask.to(hidden.dtype)
        count = real.sum(1, keepdim=True).clamp(min=1)
        mean = (hidden * real[..., None]).sum(1) / count  # (B, D)
        spread = ((hidden - mean[:, None]).square() * real[..., None]).sum(1) / count
        logits = self.head(self.norm(torch.cat([mean, (spread + 1e-5).sqrt()], dim=-1))).float()
        return {name: logits[:, list(of.values())].log_softmax(-1) for name, of in self.places.items()}

    def place(self, question: str, wanted: str) -> int:
        """Which of a question's classes `wanted` is; ValueError that lists what there is."""
        known = self.places.get(question, {})
        if wanted not in known:
            raise ValueError(f"guide {question}={wanted} is not known; there are {', '.join(self.config['classes'])}")
        return list(known).index(wanted)


class Guide:
    """A velocity is pulled to the classes of a `guide` (see settings.py): called as model.sample calls it."""

    def __init__(self, classifier: NoisyClassifier | None, text: str) -> None:
        """ValueError without a classifier, and for a question or class that it does not know."""
        if classifier is None:
            raise ValueError(
                "guide needs a classifier, and this model has none (a folder classifier/ beside its weights; "
                "recipes/builtin/classifier.py makes one)"
            )
        self.classifier = classifier
        self.wanted = [(name, classifier.place(name, kind), scale) for name, kind, scale in guides(text)]

    def __call__(self, velocity: Velocity, frames: Tensor, path: FlowPath) -> Velocity:
        """frames (B, T): those that are made, which alone are heard and guided. path: on which the velocity moves; its
        states are those of the straight path at another time, but for their size.
        """
        for name, place, scale in self.wanted:

            def log_prob(x: Tensor, t: Tensor, name: str = name, place: int = place) -> Tensor:
                a, _, b, _ = path.coefficients(t.to(x.device, torch.float32).clamp(max=path.end))
                return self.classifier(x / (a + b)[:, None, None], a / (a + b), frames)[name][:, place]

            velocity = ClassifierGuidance(velocity, log_prob, SHARE * scale, path=path, relative=True, mask=frames)
        return velocity


FIELDS = {
    "classes": Field(str),
    "dim": Field(int, 1, 8192),
    "layers": Field(int, 0, 1000),
    "mel_mean": Field(float, -100, 100),
    "mel_std": Field(float, 1e-3, 100),
}


def save_classifier(model: NoisyClassifier, folder: str | Path) -> None:
    """Write model.safetensors (float16) and config.json (the constructor's arguments)."""
    save(folder, model.state_dict(), model.config, torch.float16)


def load_classifier(folder: str | Path, guided: ModelConfig | None = None) -> NoisyClassifier:
    """What `save_classifier` wrote, float32, in eval mode. guided: of the flow model that it is to guide. ModelError
    for files that are missing, damaged or do not fit each other, or where mels are normalised in another way.
    """
    path = Path(folder)
    model = load(NoisyClassifier, FIELDS, {"layers": "blocks"}, path / WEIGHTS, path / CONFIG, "classifier")
    own = (model.config["mel_mean"], model.config["mel_std"])
    if guided is not None and own != (guided.mel_mean, guided.mel_std):
        wanted = (guided.mel_mean, guided.mel_std)
        raise ModelError(f"{path / CONFIG}: mels are normalised by {own}, those of the model beside it by {wanted}")
    return model.requires_grad_(False)
