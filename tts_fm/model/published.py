"""The published networks: F5-TTS v1 and v0 (Chen 2024, arXiv 2410.06885) and its release of E2-TTS (Eskimez 2024, arXiv
2406.18009).

`f5_v1`, `f5_v0`, `e2` give a ModelConfig for training; `published_config` reads the sizes of given weights from their
shapes. What shapes cannot tell (whether padding of the text is masked, how many heads are rotated) is the variant, and
the user must name it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tts_fm.audio.mel import N_MELS
from tts_fm.config import ModelConfig
from tts_fm.errors import ModelError
from tts_fm.model.layers import HEAD_DIM

EMILIA_VOCAB = 2545  # symbols of the released models; LibriTTS characters are 78
Shapes = Mapping[str, Sequence[int]]

_F5 = {"backbone": "dit", "text": "filler", "ff_mult": 2, "text_dim": 512, "text_layers": 4, "dropout": 0.1}
_E2 = {"backbone": "unett", "text": "filler", "ff_mult": 4, "text_dim": N_MELS, "text_layers": 0, "dropout": 0.1}
VARIANTS: dict[str, dict[str, Any]] = {
    "f5-v1": _F5 | {"text_masks_padding": True, "rotary_heads": 0},
    "f5-v0": _F5 | {"text_masks_padding": False, "rotary_heads": 1},
    "e2": _E2 | {"text_masks_padding": False, "rotary_heads": 1},
}
_DIT_SIZES = {"base": {"dim": 1024, "depth": 22, "heads": 16}, "small": {"dim": 768, "depth": 18, "heads": 12}}
_E2_SIZES = {"base": {"dim": 1024, "depth": 24, "heads": 16}, "small": {"dim": 768, "depth": 20, "heads": 12}}


def f5_v1(vocab: int = EMILIA_VOCAB, size: str = "base") -> ModelConfig:
    """F5TTS_v1_Base (337.1M parameters with 2545 symbols) or `small` (159.2M)."""
    return ModelConfig(vocab=vocab, **VARIANTS["f5-v1"], **_sized(_DIT_SIZES, size))


def f5_v0(vocab: int = EMILIA_VOCAB, size: str = "base") -> ModelConfig:
    """F5TTS_Base, the first release: the sizes of v1, text padding not masked, one head rotated."""
    return ModelConfig(vocab=vocab, **VARIANTS["f5-v0"], **_sized(_DIT_SIZES, size))


def e2(vocab: int = EMILIA_VOCAB, size: str = "base") -> ModelConfig:
    """E2TTS_Base (333.5M parameters with 2545 symbols) or `small` (157.2M)."""
    return ModelConfig(vocab=vocab, **VARIANTS["e2"], **_sized(_E2_SIZES, size))


def published_config(variant: str, shapes: Shapes) -> ModelConfig:
    """The configuration of published weights.

    variant: "f5-v1", "f5-v0" or "e2". shapes: parameter name, without any prefix, -> shape. Raises ValueError for
    another variant, ModelError for weights of the other network or none at all.
    """
    check_variant(variant)
    settings = dict(VARIANTS[variant])
    dit = settings["backbone"] == "dit"
    blocks, other = ("transformer_blocks", "layers") if dit else ("layers", "transformer_blocks")
    if not any(name.startswith(blocks + ".") for name in shapes):
        if any(name.startswith(other + ".") for name in shapes):
            raise ModelError(
                f"these are weights of {'E2 (variant e2)' if dit else 'F5 (variant f5-v1 or f5-v0)'}, not of {variant}"
            )
        raise ModelError(f"no {variant} network in these weights; they hold {', '.join(list(shapes)[:3]) or 'nothing'}")
    query, wide = ("0.attn.to_q.weight", "0.ff.ff.0.0.weight") if dit else ("0.2.to_q.weight", "0.4.ff.0.0.weight")
    needed = ("input_embed.proj.weight", "text_embed.text_embed.weight", f"{blocks}.{query}", f"{blocks}.{wide}")
    missing = [name for name in needed if len(shapes.get(name, ())) != 2]
    if missing:
        raise ModelError(f"the {variant} weights lack {', '.join(missing)}")
    dim, width = shapes[needed[0]]
    settings |= {
        "dim": dim,
        "depth": _count(shapes, blocks),
        "heads": shapes[needed[2]][0] // HEAD_DIM,
        "ff_mult": shapes[needed[3]][0] / dim,
        "text_dim": width - 2 * N_MELS,
        "text_layers": _count(shapes, "text_embed.text_blocks"),
        "vocab": shapes[needed[1]][0] - 1,
    }
    return ModelConfig(**settings)


def check_variant(variant: str | None) -> None:
    """ValueError unless the variant is a known one."""
    if variant not in VARIANTS:
        got = "none was given" if variant is None else f"got {variant!r}"
        raise ValueError(
            f"weights alone do not tell which network they belong to: name the variant, one of {', '.join(VARIANTS)} "
            f"({got})"
        )


def _count(shapes: Shapes, group: str) -> int:
    """How many numbered members `group` has."""
    depth = group.count(".") + 1
    return len({name.split(".")[depth] for name in shapes if name.startswith(group + ".")})


def _sized(sizes: dict[str, dict[str, int]], size: str) -> dict[str, Any]:
    if size not in sizes:
        raise ValueError(f"unknown size {size!r}; one of {', '.join(sizes)}")
    return sizes[size]
