"""Configurations: frozen dataclasses, every field explained in the user's words and checked when one is made; an
unknown key is an error that names the nearest one.

A new field needs a line in the ranges of its class (true-or-false fields do not).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

C = TypeVar("C")
# field -> its choices, or the smallest and the largest value (of both numbers where it is a pair)
Ranges = Mapping[str, tuple[str, ...] | tuple[float, float]]
SHARE = (0.0, 1.0)


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

    def __post_init__(self) -> None:
        check_ranges(self, MODEL_RANGES)
        if self.rotary_heads > self.heads:
            raise ValueError(
                f"ModelConfig.rotary_heads must be from 0 (all) to {self.heads}, the heads, got {self.rotary_heads}"
            )
        if self.path != "ot":
            from tts_fm.flow.path import make_path

            _parsed("ModelConfig.path", make_path, self.path)


MODEL_RANGES: Ranges = {
    "backbone": ("dit", "unett"), "text": ("filler", "average", "aligned"), "vocab": (1, 1_000_000),
    "dim": (16, 16_384), "depth": (1, 200), "heads": (1, 256), "ff_mult": (0.25, 16), "text_dim": (1, 16_384),
    "text_layers": (0, 64), "text_frame_layers": (0, 64), "rotary_heads": (0, 256), "patch": (1, 16),
    "style": (0, 16_384), "path": (),
    "style_rank": (0, 16_384), "mel_mean": (-20, 20), "mel_std": (0.01, 100), "dropout": (0, 0.9),
}  # fmt: skip


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
    # model guidance: the target is u + this (v - v_null); the network then speaks as if guided, in one forward
    guidance: float = 0.0
    bf16: bool = True  # forward and backward in bfloat16 autocast; weights and optimiser stay float32
    seed: int = 0
    log_every: int = 20  # steps
    valid_every: int = 200
    save_every: int = 200
    accumulate: int = 1  # batches in one update, on every process: 2 on one process is the same as 1 on two
    # every node takes its batches from its own share of the tar shards; an epoch is then one of each share
    by_node: bool = False
    workers: int = 0  # processes that prepare batches beside the training (mels on the fly); 0 = none
    # the log-mels are made where the network is, not by those processes: many GPUs, few cores
    mel_on_device: bool = False
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
    room: float = 0.0  # share of items that sound as in a room; half of their prompts are noisy too
    # on GPUs, sums in a fixed order: a run that was killed and resumed gives the same bits, as on CPUs; slower
    deterministic: bool = False
    tensorboard: bool = False  # write <run>/tensorboard
    shard: bool = False  # several processes share weights, moments and averages (FSDP2) instead of each holding all
    # with shard: so many groups of processes hold them whole among themselves, such as one a node (HSDP)
    replicas: int = 1
    # every process writes its own part of a checkpoint (folder last/) instead of one that writes all (last.pt)
    sharded_checkpoints: bool = False
    # weight of a CTC loss on hidden states two thirds up the network, which must tell the symbols (A-DMA); 0 = none
    ctc: float = 0.0
    # freeze the network but for low-rank changes of attention and feed-forward (and the blocks' biases): memory and
    # time of a fine-tuning shrink; with it a rate of 1e-3 or so. Exported models are merged. 0 = train all
    lora_rank: int = 0
    peak_tflops: float = 0.0  # what the hardware can do, for the share of it that is used in the log; 0 = not known

    def __post_init__(self) -> None:
        check_ranges(self, TRAIN_RANGES)
        if self.span[0] > self.span[1]:
            raise ValueError(f"TrainConfig.span is from, to: the second must not be smaller, got {self.span}")
        if self.drop_audio + self.drop_both > 1:
            raise ValueError(
                "TrainConfig.drop_audio and drop_both are shares of the same items and must not add up to more than 1, "
                f"got {self.drop_audio} and {self.drop_both}"
            )
        if self.guidance and not self.drop_both:
            raise ValueError(
                f"TrainConfig.guidance is {self.guidance:g}, but with drop_both 0 the network never learns what to say "
                "without text and prompt, which it is guided away from; 0.1 is usual"
            )
        if self.replicas > 1 and not self.shard:
            raise ValueError("TrainConfig.replicas goes with shard=True: without it every process is a replica")
        if self.mel_on_device and (self.equalise or self.revoice or self.room or self.turned):
            raise ValueError(
                "TrainConfig.mel_on_device goes without equalise, revoice, room and turned: the loader changes mels "
                "for them"
            )
        if self.fp16 and self.bf16:
            raise ValueError("TrainConfig.fp16 and bf16 exclude each other; set bf16 to False")
        if self.time_law != "uniform":
            from tts_fm.flow.times import parse_law

            _parsed("TrainConfig.time_law", parse_law, self.time_law)


TRAIN_RANGES: Ranges = {
    "steps": (1, 100_000_000), "batch_frames": (1, 100_000_000), "learning_rate": (0, 10), "warmup": (0, 100_000_000),
    "decay": (0, 100_000_000), "weight_decay": (0, 10), "betas": (0, 0.999999), "clip": (1e-6, 1e6),
    "ema": (0, 0.9999999), "span": SHARE, "prompt_first": SHARE, "prompt_text_drop": SHARE, "turned": SHARE,
    "drop_audio": SHARE, "drop_both": SHARE, "time_law": (), "coupling": ("independent", "ot"),
    "weighting": ("velocity", "unit", "data", "noise"), "guidance": (0, 0.95), "seed": (0, 2**63 - 1),
    "log_every": (1, 100_000_000), "valid_every": (1, 100_000_000), "save_every": (1, 100_000_000),
    "accumulate": (1, 100_000), "workers": (0, 1024), "longest_frames": (1, 1_000_000),
    "quadratic_frames": (0, 1_000_000_000), "most_items": (0, 1_000_000),
    "spike": (0, 1e6), "most_skipped": (1, 1_000_000), "equalise": (0, 40), "revoice": (0, 5), "room": SHARE,
    "ctc": (0, 100), "lora_rank": (0, 256), "replicas": (1, 1_000_000), "peak_tflops": (0, 1e6),
}  # fmt: skip


def check_ranges(config: Any, ranges: Ranges) -> None:
    """Raise ValueError, naming field, value and what works, for a field of the wrong type or out of its range."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{type(config).__name__}.{field.name}"
        wanted: type = type(field.default)
        if wanted is bool:
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, got {value!r}")
            continue
        allowed = ranges[field.name]
        if wanted is str:
            if not isinstance(value, str) or (allowed and value not in allowed):
                choices = f"one of {', '.join(map(str, allowed))}" if allowed else "text"
                raise ValueError(f"{name} must be {choices}, got {value!r}")
            continue
        low, high = allowed
        many = value if wanted is tuple and isinstance(value, tuple) else (value,)
        kind = int if wanted is int else (int, float)
        numbers = all(isinstance(each, kind) and not isinstance(each, bool) and math.isfinite(each) for each in many)
        if not numbers or len(many) != (2 if wanted is tuple else 1) or not all(low <= each <= high for each in many):
            what = {tuple: "two numbers", int: "a whole number"}.get(wanted, "a number")
            raise ValueError(f"{name} must be {what} from {low:.15g} to {high:.15g}, got {value!r}")


def _parsed(name: str, parse: Callable[[str], object], value: str) -> None:
    """ValueError, with the field's name, for what `parse` refuses."""
    try:
        parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def from_dict(kind: type[C], values: dict[str, Any]) -> C:
    """Build a config dataclass from plain JSON values. Raises ValueError for an unknown key, naming the nearest, or
    for a value that does not work.
    """
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(fields))}"
            raise ValueError(f"{kind.__name__} has no field {key!r}; {hint}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def to_dict(config: Any) -> dict[str, Any]:
    """The plain JSON form that `from_dict` reads."""
    return dataclasses.asdict(config)
