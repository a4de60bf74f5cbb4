"""Configurations: frozen dataclasses, every field explained in the user's words; an unknown key is an error that names
the nearest one.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, TypeVar

C = TypeVar("C")


@dataclass(frozen=True)
class ModelConfig:
    """The velocity network. `f5_v1`, `f5_v0` and `e2` in model/published.py are the published ones; `builtin` is
    recipes/builtin.
    """

    backbone: str = "dit"  # "dit": F5-TTS; "unett": E2-TTS's flat U-Net transformer
    # how text meets frames: "filler" (E2/F5), "average" (ZipVoice), "aligned" (each symbol has its own frames)
    text: str = "aligned"
    vocab: int = 78  # number of symbols; the embedding has one more row, 0, the filler
    dim: int = 384  # width of the transformer
    depth: int = 8  # transformer blocks
    heads: int = 6  # attention heads of 64 channels
    ff_mult: float = 2.0  # width of the feed-forward part, in units of dim
    text_dim: int = 128  # width of the text features
    text_layers: int = 3  # ConvNeXt blocks over the text
    # further ConvNeXt blocks after the text was spread over frames (average and aligned only)
    text_frame_layers: int = 0
    text_masks_padding: bool = True  # F5 v1: filler positions stay zero through the text blocks; v0 and E2: they do not
    # heads that are rotated; 0 = all. The v0 and E2 networks rotate one only, a slip frozen into their weights
    rotary_heads: int = 0
    patch: int = 1  # mel frames per transformer position (1 = F5; 2 halves the cost)
    # one time modulation for all blocks plus an offset for each, instead of one projection a block
    shared_adaln: bool = False
    given_flag: bool = False  # one more input channel that says which frames are given (the mel alone says it by zeros)
    # channels of an encoder that pools the given mel into one vector for all positions (PromptStyle); 0 = none
    style: int = 0
    style_rank: int = 0  # width of the bottleneck through which that vector also modulates every block; 0 = it does not
    mel_mean: float = 0.0  # log-mels are normalised by (mel - mean) / std before the network; F5 and E2: 0 and 1
    mel_std: float = 1.0
    dropout: float = 0.0  # after attention and feed-forward, in training
    # the network is also told how far the solver's step goes, and gives the mean velocity over it: a few-step student
    span: bool = False
    # how noise becomes speech: "ot" (published models), "ot(1e-4)", "vp(0.1, 20)", "ve(0.01, 50)", "cosine"
    path: str = "ot"


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Frames are mel frames (93.75 a second); one step is one optimiser update."""

    steps: int = 10_000  # the run ends here
    batch_frames: int = 8_000  # frames in a batch, padding included
    learning_rate: float = 1e-3  # AdamW's peak rate
    warmup: int = 200  # steps of linear warm-up
    decay: int = 2_000  # the last steps, in which the rate falls linearly to zero
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0  # the gradient's norm is cut to this
    ema: float = 0.999  # decay of the averaged weights, which are the ones that are saved for use
    span: tuple[float, float] = (0.7, 1.0)  # share of an utterance that is hidden and must be spoken (F5-TTS)
    prompt_first: float = 0.5  # share of items whose hidden span runs to the end, as at inference
    prompt_text_drop: float = 0.5  # of those, share whose prompt has no transcript (aligned models)
    turned: float = 0.0  # of those, share whose prompt is the utterance's end, moved to the front (aligned models)
    drop_audio: float = 0.1  # share of items that see text only
    drop_both: float = 0.1  # share of items that see nothing: the null branch of classifier-free guidance
    time_law: str = "uniform"  # how flow times are drawn: flow/times.py
    # "independent", or "ot": noise is dealt out within a batch so that it lies nearest to the speech
    coupling: str = "independent"
    # whose squared error is the loss: "velocity", "unit" (the velocity at unit size), "data" or "noise"
    weighting: str = "velocity"
    bf16: bool = True  # forward and backward in bfloat16 autocast; weights and optimiser stay float32
    seed: int = 0
    log_every: int = 20  # steps
    valid_every: int = 200
    save_every: int = 200
    accumulate: int = 1  # batches in one update, on every process: 2 on one process is the same as 1 on two
    workers: int = 0  # processes that prepare batches beside the training (mels on the fly); 0 = none
    longest_frames: int = 1600  # longer utterances are left out, and counted
    # an utterance of T frames counts as T + T^2 / this in a batch, since attention is quadratic; 0 = as T
    quadratic_frames: int = 0
    most_items: int = 0  # utterances in a batch at most; 0 = no limit
    fp16: bool = False  # half precision with loss scaling, for GPUs without bfloat16; set bf16 to False with it
    # recompute each block in the backward pass: about a third more time, a fraction of the memory
    checkpointing: bool = False
    # updates whose gradient norm is this many times the usual one are skipped; 0 = only those that are not finite
    spike: float = 0.0
    most_skipped: int = 20  # skipped updates in a row after which the run stops with an error
    # dB: half of the items pass through a random smooth equaliser of this deviation, prompt and speech alike
    equalise: float = 0.0
    # three of four items get another pitch, formants and depth of harmonics, likewise; 1 = by some 10 percent
    revoice: float = 0.0
    # on GPUs, sums in a fixed order: a run that was killed and resumed gives the same bits, as on CPUs; slower
    deterministic: bool = False
    tensorboard: bool = False  # write <run>/tensorboard
    shard: bool = False  # several processes share weights, moments and averages (FSDP2) instead of each holding all
    # weight of a CTC loss on hidden states two thirds up the network, which must tell the symbols (A-DMA); 0 = none
    ctc: float = 0.0
    peak_tflops: float = 0.0  # what the hardware can do, for the share of it that is used in the log; 0 = not known


def from_dict(kind: type[C], values: dict[str, Any]) -> C:
    """Build a config dataclass from plain JSON values. Raises ValueError for an unknown key, naming the nearest, or a
    wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields)}"
            raise ValueError(f"{kind.__name__} has no field {key!r}; {hint}")
        wanted = type(fields[key].default)
        if wanted is tuple and isinstance(value, list):
            values = values | {key: tuple(value)}
        if wanted in (int, float, str, bool) and not (
            isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        ):
            raise ValueError(f"{kind.__name__}.{key} must be {wanted.__name__}, got {value!r}")
    return kind(**values)


def to_dict(config: Any) -> dict[str, Any]:
    """The plain JSON form that `from_dict` reads."""
    return dataclasses.asdict(config)
