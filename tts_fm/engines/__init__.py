"""What a voice needs from its networks, with numpy arrays in and out: durations, flow, vocoder.

An engine holds one model and computes with one library: torch.py with PyTorch on any device, onnx.py with onnxruntime
on CPUs; load.py chooses. graphs.py and export.py make what onnx.py runs. Everything above this
package (synthesis, edit, batch, server, demo) sees an Engine and arrays, never tensors. An engine knows ids and mels;
it does not know texts, voices, chunks or requests. T mel frames with the prompt's, Tp of the prompt alone, N symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tts_fm.audio.texture import Tables
from tts_fm.settings import Settings
from tts_fm.text.tokens import Tokenizer
from tts_fm.voices.adapters import Adapter

# (step, time of the flow, what is foreseen: the function makes the mel (T, 100) of each utterance); may raise to cancel
OnStep = Callable[[int, float, Callable[[], list[np.ndarray]]], object]


@dataclass
class Utterance:
    """What the flow is asked to speak: symbols behind a prompt."""

    prompt: np.ndarray  # (Tp, 100) log-mel, float32
    ids: list[int]  # (N,) symbols of the model's vocabulary, the prompt's first
    durations: list[float] | None  # (N,) frames of each symbol; `aligned` models only
    frames: int  # T: prompt and speech together
    seed: int  # of the noise
    given: np.ndarray | None = None  # (Tp,) bool, which frames of the prompt are kept; None = all of them

    @property
    def shape(self) -> tuple[int, int]:
        """Frames and symbols that it is padded to, always by at least one: the same alone and in every batch, so that
        even bfloat16, whose rounding depends on shapes, gives the same bits."""
        return (self.frames // 64 + 1) * 64, (len(self.ids) // 32 + 1) * 32


class Engine(Protocol):
    """One loaded model. Whatever else it is asked at the same time, the same utterance gives the same mel."""

    text: str  # how the model is told the text: "aligned" (each symbol its own frames), "average" or "filler"
    patch: int  # a prompt is cut to a multiple of so many frames
    vocab: list[str]  # the symbols by id
    lang: str | None  # the accent that the model was trained on, where it knows one
    defaults: dict[str, Any]  # the model's own values for fields of Settings
    texture: Tables  # what its speech lacks of the fine structure of recordings
    scale: tuple[float, float]  # mean and deviation that log-mels are normalised by, for the flow
    steady: bool  # whether phases and magnitudes that its vocoder draws are mended (audio/steady.py)

    @property
    def source(self) -> Path | None:
        """The folder or file that the model was read from."""
        ...

    @property
    def together(self) -> bool:
        """Whether the durations, and the waves, of many chunks are best made in one call: on GPUs."""
        ...

    def check(self, settings: Settings) -> None:
        """ValueError for settings that it cannot carry out."""
        ...

    def tokenizer(self, lang: str | None) -> Tokenizer:
        """What turns a text into the model's symbols."""
        ...

    def durations(self, ids: Sequence[int], prompt: np.ndarray, speed: float) -> np.ndarray:
        """Frames (N,) of each symbol at the pace of a prompt (Tp, 100), divided by speed. `aligned` models only."""
        ...

    def all_durations(self, texts: Sequence[Sequence[int]], prompt: np.ndarray, speed: float) -> list[np.ndarray]:
        """`durations` of many texts behind one prompt."""
        ...

    def sample(
        self, utterances: Sequence[Utterance], settings: Settings, on_step: OnStep | None = None
    ) -> list[np.ndarray]:
        """The mel (T, 100) of each, its prompt included: solved from noise in one batch, which must have one shape."""
        ...

    def features(self, utterance: Utterance, x: np.ndarray, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """What attune.py fits the last layer by: velocity (K, T, 100) at normalised x (K, T, 100) and K times, and what
        that layer makes it of (K, P, D). T is a multiple of patch. ValueError where the network has no such layer.
        """
        ...

    def decode(self, mel: np.ndarray) -> np.ndarray:
        """Log-mel (T, 100) to a wave ((T - 1) * 256,) float32, not limited."""
        ...

    def decode_all(self, mels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`decode` of many."""
        ...

    def adapted(self, adapter: Adapter, voice: str) -> Engine:
        """An engine whose networks have an adapted voice's changes merged into them before any rounding; the rest of
        the weights is shared. ModelError when the voice belongs to another model.
        """
        ...

    def about(self) -> str:
        """The model in a few words: backbone, size, vocoder."""
        ...
