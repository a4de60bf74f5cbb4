"""The networks as graphs are made from them: one utterance a run, no padding, no mask, and nothing computed in a step
of the solver that does not depend on the step.

    pace       prompt -> style for the durations            once a voice
    durations  symbols, pace -> frames                      once a chunk
    style      prompt -> style for the text, voice          once a voice (models with PromptStyle)
    condition  symbols, prompt, style -> base               once a chunk
    times      times of a grid -> modulations               once a chunk
    velocity   x, modulations, base -> velocity, features   every step
    vocoder    mel -> log magnitude and phase               once a chunk
    phones     mel -> logits of the symbols                 once a recording; alone in an aligner's folder

`base` is all of the input projection but for x. A modulated normalisation is one LayerNormalization whose scale, 1
added already, and bias come in; attention and rotation are onnxruntime's own operators. 1 utterance, T mel frames (a
multiple of patch), P = T / patch positions, N symbols, S times, L blocks, D width, E text width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from tts_fm.audio.mel import N_FFT, N_MELS
from tts_fm.model.aligner import AlignerModel
from tts_fm.model.dit import DiT, position_mask, to_positions, ungroup
from tts_fm.model.duration import DurationModel
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.harmonics import spectrum
from tts_fm.model.layers import HEAD_DIM, Attention, rotary_angles
from tts_fm.model.unett import UNetT
from tts_fm.model.vocoder import Vocoder

LONGEST = 16_384  # positions or symbols
SHORTEST_PROMPT = 24  # mel frames: the duration model compares frames that lie 16 apart


class Graph(NamedTuple):
    """What torch.onnx.export is given. The shapes that may change are named by Dims."""

    module: nn.Module
    inputs: dict[str, Tensor]  # examples
    dynamic: dict[str, dict[int, Any]]  # input -> axis -> its Dim
    outputs: tuple[str, ...]


def graphs_of(model: FlowModel, durations: DurationModel | None, vocoder: Vocoder) -> dict[str, Graph]:
    """Every graph that a model needs, by name."""
    config, net, patch = model.config, model.net, model.config.patch
    positions, symbols = 40, 12
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    p, n, f = Dim("P", min=2, max=LONGEST), Dim("N", min=2, max=LONGEST), Dim("F", min=SHORTEST_PROMPT, max=LONGEST)
    frames = {1: p if patch == 1 else patch * p}
    mel, given = drawn(1, positions * patch, N_MELS), torch.arange(positions * patch)[None] < 30
    mel = mel * given[..., None]
    found: dict[str, Graph] = {}

    aligned = config.text == "aligned"
    width = positions if config.text == "filler" else symbols  # filler: ids are padded to the positions by the caller
    ids = torch.randint(0, config.vocab, (1, width), generator=generator)
    inputs: dict[str, Tensor] = {"ids": ids, "mel": mel, "given": given, "drop_text": torch.tensor([False])}
    dynamic: dict[str, dict[int, Any]] = {
        "ids": {1: p if config.text == "filler" else n}, "mel": frames, "given": frames, "drop_text": {},
    }  # fmt: skip
    if aligned:
        inputs["durations"], dynamic["durations"] = torch.rand(1, width, generator=generator) * 9, {1: n}
    if net.style is not None:
        prompt, shown = drawn(1, 60, N_MELS), torch.ones(1, 60, dtype=torch.bool)
        names = ("style", "voice") if config.style_rank else ("style",)
        found["style"] = Graph(
            Style(net), {"mel": prompt, "given": shown}, {"mel": {1: f}, "given": {1: f}}, names
        )  # fmt: skip
        inputs["style"], dynamic["style"] = drawn(1, config.text_dim), {}
    found["condition"] = Graph(Condition(net, aligned), inputs, dynamic, ("base",))

    times = {"t": torch.tensor([0.1, 0.5])}
    if config.span:
        times["until"] = torch.tensor([0.5, 1.0])
    s = Dim("S", min=1, max=1024)
    dit = isinstance(net, DiT)
    found["times"] = Graph(
        Times(net), times, {name: {0: s} for name in times}, ("blocks", "end") if dit else ("token",)
    )

    x, base = drawn(1, positions * patch, N_MELS), drawn(1, positions, config.dim)
    cos, sin = rotary_angles(positions + (not dit), torch.device("cpu"))
    first: dict[str, Tensor] = {"token": drawn(1, config.dim)}
    if dit:
        first = {"blocks": drawn(config.depth, 6, config.dim), "end": drawn(2, config.dim)}
    rotary = {0: p if dit else p + 1}
    found["velocity"] = Graph(
        DiTVelocity(net) if isinstance(net, DiT) else UNetTVelocity(net),
        {"x": x, "base": base, "cos": cos, "sin": sin, **first},
        {"x": frames, "base": {1: p}, "cos": rotary, "sin": rotary, **{name: {} for name in first}},
        ("velocity", "features") if dit else ("velocity",),
    )
    if durations is not None:
        style = drawn(1, durations.config["style_dim"])
        found["pace"] = Graph(Pace(durations), {"prompt": drawn(1, 60, N_MELS)}, {"prompt": {1: f}}, ("pace",))
        ids = torch.randint(0, len(durations.vocab), (1, symbols), generator=generator)
        found["durations"] = Graph(
            Durations(durations), {"ids": ids, "pace": style}, {"ids": {1: n}, "pace": {}}, ("frames",)
        )
    found["vocoder"] = Graph(Spectrum(vocoder), {"mel": drawn(1, 60, N_MELS)}, {"mel": {1: f}}, ("spectrum",))
    return {name: graph._replace(module=graph.module.eval()) for name, graph in found.items()}


def phones_graph(aligner: AlignerModel) -> Graph:
    """The one graph of an aligner: normalised mel (1, T, bins), T even -> logits (1, T, V)."""
    mel = torch.randn(1, 40, aligner.config["bins"], generator=torch.Generator().manual_seed(0))
    return Graph(Phones(aligner.eval()), {"mel": mel}, {"mel": {1: 2 * Dim("P", min=2, max=LONGEST)}}, ("logits",))


class Phones(nn.Module):
    """See phones_graph."""

    def __init__(self, aligner: AlignerModel) -> None:
        super().__init__()
        self.aligner = aligner

    def forward(self, mel: Tensor) -> Tensor:
        return self.aligner.of_pairs(mel, torch.ones_like(mel[:, ::2, 0], dtype=torch.bool))


class Pace(nn.Module):
    """Log-mel of a prompt (1, T, 100) -> (1, S)."""

    def __init__(self, durations: DurationModel) -> None:
        super().__init__()
        self.prompt = durations.prompt

    def forward(self, prompt: Tensor) -> Tensor:
        return self.prompt(prompt, torch.full_like(prompt[:, 0, 0], prompt.shape[1], dtype=torch.int64))


class Durations(nn.Module):
    """ids (1, N) and pace (1, S) -> frames (1, N), as the network says them: caps and floors are the caller's."""

    def __init__(self, durations: DurationModel) -> None:
        super().__init__()
        self.durations = durations

    def forward(self, ids: Tensor, pace: Tensor) -> Tensor:
        return self.durations.at_pace(ids, pace)


class Style(nn.Module):
    """Normalised mel (1, T, 100), zero where not given, and what is given (1, T) -> style (1, E), voice (L, 6, D)."""

    def __init__(self, net: DiT | UNetT) -> None:
        super().__init__()
        self.style = net.style

    def forward(self, mel: Tensor, given: Tensor) -> Any:
        style, voice = self.style(mel, given)  # type: ignore[misc]
        return style if voice is None else (style, voice[0].unflatten(-1, (6, -1)))


class Condition(nn.Module):
    """Symbols and what is given of the mel -> base (1, P, D): the input projection without x.

    ids (1, N) and, for `aligned` text, durations (1, N); for `filler` text ids (1, P), -1 behind the text. mel (1, T,
    100) normalised, zero where not given; given (1, T) bool; drop_text (1,) bool.
    """

    def __init__(self, net: DiT | UNetT, aligned: bool) -> None:
        super().__init__()
        self.net, self.aligned = net, aligned

    def forward(
        self,
        ids: Tensor,
        mel: Tensor,
        given: Tensor,
        drop_text: Tensor,
        durations: Tensor | None = None,
        style: Tensor | None = None,
    ) -> Tensor:
        config = self.net.config
        positions = position_mask(torch.ones_like(given), config.patch)
        text = self.net.text_embed(ids, positions, durations, drop_text)
        if style is not None:
            text = text + style[:, None]
        shown = torch.cat([mel, given[..., None].to(mel.dtype)], dim=-1) if config.given_flag else mel
        proj = self.net.input_embed.proj
        rest = torch.cat([to_positions(shown, config.patch), text], dim=-1)
        return F.linear(rest, proj.weight[:, config.patch * N_MELS :], proj.bias)


class Times(nn.Module):
    """t (S,) -> blocks (S, L, 6, D) and end (S, 2, D), 1 added to their scales; of a UNetT: token (S, D). until (S,),
    for models that take it: where the step from t ends."""

    def __init__(self, net: DiT | UNetT) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, until: Tensor | None = None) -> Any:
        found = self.net.modulations(t, until)
        if isinstance(self.net, UNetT):
            return found[0]
        *blocks, end = found
        scales = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])[:, None]  # shift, scale, gate; of attention, feed-forward
        stacked = torch.stack(blocks, dim=1).unflatten(-1, (6, -1)) + scales
        return stacked, end.unflatten(-1, (2, -1)) + torch.tensor([1.0, 0.0])[:, None]  # scale, shift


class DiTVelocity(nn.Module):
    """x (1, T, 100), blocks (L, 6, D), end (2, D), base (1, P, D), cos and sin (P, 32) -> (1, T, 100), and what the
    last layer makes it of, (1, P, D): by these attune.py fits that layer to a voice.
    """

    def __init__(self, net: DiT) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, x: Tensor, base: Tensor, cos: Tensor, sin: Tensor, blocks: Tensor, end: Tensor
    ) -> tuple[Tensor, Tensor]:
        net, width = self.net, (self.net.config.dim,)
        h = entered(net, x, base)
        for i, block in enumerate(net.transformer_blocks):
            shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = blocks[i].unbind(0)
            normal = F.layer_norm(h, width, scale_a, shift_a, 1e-6)
            h = h + gate_a * attention(block.attn, normal, cos, sin)  # type: ignore[arg-type]
            h = h + gate_f * block.ff(F.layer_norm(h, width, scale_f, shift_f, 1e-6))  # type: ignore[operator]
        scale, shift = end.unbind(0)
        features = F.layer_norm(h, width, scale, shift, 1e-6)
        return ungroup(net.proj_out(features), x.shape[1]), features


class UNetTVelocity(nn.Module):
    """x (1, T, 100), token (1, D), base (1, P, D), cos and sin (P + 1, 32) -> (1, T, 100)."""

    def __init__(self, net: UNetT) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, base: Tensor, cos: Tensor, sin: Tensor, token: Tensor) -> Tensor:
        net = self.net
        h = torch.cat([token[:, None], entered(net, x, base)], dim=1)
        skips: list[Tensor] = []
        for i, layer in enumerate(net.layers):
            skip, attn_norm, attn, ff_norm, ff = list(layer)  # type: ignore[call-overload]
            if i < net.config.depth // 2:
                skips.append(h)
            else:
                h = skip(torch.cat([h, skips.pop()], dim=-1))
            h = h + attention(attn, attn_norm(h), cos, sin)
            h = h + ff(ff_norm(h))
        return ungroup(net.proj_out(net.norm_out(h))[:, 1:], x.shape[1])


def entered(net: DiT | UNetT, x: Tensor, base: Tensor) -> Tensor:
    """What the first block sees, (1, P, D)."""
    weight = net.input_embed.proj.weight[:, : net.config.patch * N_MELS]
    return net.input_embed.conv_pos_embed(F.linear(to_positions(x, net.config.patch), weight) + base, None)


def attention(attn: Attention, h: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """layers.Attention by onnxruntime's operators, the three projections in one."""
    parts = attn.to_q, attn.to_k, attn.to_v
    weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
    q, k, v = F.linear(h, weight, bias).split(attn.heads * HEAD_DIM, dim=-1)
    turned = attn.rotary_heads or attn.heads

    def rotated(u: Tensor) -> Tensor:
        first, start = u[..., : turned * HEAD_DIM], torch.zeros(1, dtype=torch.int64)
        settings = {"interleaved": 1, "num_heads": turned}
        first = _operator("RotaryEmbedding", (first, start, cos, sin), settings)
        return first if turned >= attn.heads else torch.cat([first, u[..., turned * HEAD_DIM :]], dim=-1)

    return attn.to_out[0](_operator("MultiHeadAttention", (rotated(q), rotated(k), v), {"num_heads": attn.heads}))


def _operator(name: str, inputs: tuple[Tensor, ...], settings: dict[str, Any]) -> Tensor:
    """An operator of onnxruntime, whose result is like its first input."""
    like = inputs[0]
    return torch.onnx.ops.symbolic(
        f"com.microsoft::{name}", inputs, settings, dtype=like.dtype, shape=like.shape, version=1
    )


class Spectrum(nn.Module):
    """Log-mel (1, T, 100) -> logarithm of the magnitude, then phase, (1, T, 1026): a Vocos without its inverse STFT."""

    def __init__(self, vocoder: Vocoder) -> None:
        super().__init__()
        self.backbone, self.head = vocoder.backbone, vocoder.head
        assert self.head.out.out_features == N_FFT + 2

    def forward(self, mel: Tensor) -> Tensor:
        return spectrum(self.head, self.backbone(mel.transpose(1, 2)))
