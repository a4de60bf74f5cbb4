"""A complete model folder with random weights, small enough to speak in milliseconds: for tests of everything around
the weights.
"""

from __future__ import annotations

from pathlib import Path

import torch

from tts_fm.checkpoint.load import save_flow_model
from tts_fm.config import ModelConfig
from tts_fm.model.duration import DurationModel, save_duration_model
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.vocoder import Vocoder, save_vocoder

SYMBOLS = ' !"(),.:;?abdefhijklmnprstuvwxzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔˈˌθᵻ'
TIED = [
    "e͡ɪ",
    "a͡ɪ",
    "o͡ʊ",
    "ə͡ʊ",
    "a͡ʊ",
    "ɔ͡ɪ",
    "t͡ʃ",
    "d͡ʒ",
    "iː",
    "uː",
    "ɑː",
    "ɔː",
    "ɜː",
    "ə͡l",
    "ɔː͡ɹ",
    "ɑː͡ɹ",
    "i͡ə",
    "ɛ͡ɹ",
    "ɪ͡ɹ",
]
VOCAB = ["<unk>", "<sil>", *SYMBOLS, *TIED]


def tiny_config(**changes) -> ModelConfig:
    """The built-in model's form at a toy size."""
    settings = {
        "vocab": len(VOCAB),
        "dim": 64,
        "depth": 1,
        "heads": 1,
        "text_dim": 16,
        "text_layers": 1,
        "text_frame_layers": 1,
        "patch": 2,
        "shared_adaln": True,
        "given_flag": True,
        "mel_mean": -2.44,
        "mel_std": 3.72,
    }
    return ModelConfig(**(settings | changes))


def tiny_flow(**changes) -> FlowModel:
    """A FlowModel whose output layers are not zero, so that everything in it matters."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = FlowModel(tiny_config(**changes), VOCAB, tokenizer={"name": "phoneme", "lang": "en-us"})
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return model


def tiny_tts_folder(path: Path) -> Path:
    """Write the folder that TTS.load reads: flow model, vocoder and duration model. Returns `path`."""
    save_flow_model(path, tiny_flow(), dtype=torch.float32, extra={"defaults": {"steps": 2, "cfg": 1.0}})
    with torch.random.fork_rng():
        torch.manual_seed(8)
        vocoder = Vocoder(dim=16, layers=1)
        durations = DurationModel(VOCAB, dim=16, layers=1, style_dim=16, prompt_dim=16, prompt_layers=1)
    save_vocoder(path / "vocoder", vocoder.module.state_dict(), vocoder.config, torch.float32)
    save_duration_model(durations, path / "duration")
    return path
