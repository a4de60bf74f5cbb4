"""Voices of one's own for the tiny model, with random changes: what their tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from demo_toys import speech_like

from tts_fm.checkpoint.load import load_flow_model
from tts_fm.model.duration import load_duration_model
from tts_fm.voices.adapters import base_digest, write_voice

ATTENTION = "transformer_blocks.0.attn.to_q"


def adapted(folder: Path, model: Path, seed: int, **info) -> Path:
    """Write a voice whose adapter changes an attention matrix, an offset, and the pace of a model's folder."""
    rng = np.random.default_rng(seed)
    state = load_flow_model(model).net.state_dict()
    out, width = state[f"{ATTENTION}.weight"].shape
    tensors = {
        f"flow/{ATTENTION}.weight.a": rng.normal(size=(2, width)),
        f"flow/{ATTENTION}.weight.b": rng.normal(size=(out, 2)),
        "flow/transformer_blocks.0.offset": rng.normal(size=state["transformer_blocks.0.offset"].shape),
        "duration/head.bias": rng.normal(0.5, 0.1, size=load_duration_model(model / "duration").head.bias.shape),
    }
    base = {"name": model.name, "digest": base_digest(model)}
    known = {"name": f"v{seed}", "lang": "en-us", "text": None, "scale": 1.0, "prompted": True, "base": base}
    write_voice(folder, known | info, tensors, speech_like(2.0 + 0.3 * seed), 24_000)
    return folder
