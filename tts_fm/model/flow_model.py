"""FlowModel: a velocity network with its configuration and vocabulary, in the units of the outside world (log-mels,
symbol ids).

B batch, T mel frames, P = ceil(T / patch) positions, N symbols, E text width. Prompts come in and speech goes out as
log-mels, as audio.log_mel makes them; normalisation happens here and nowhere else. It does not know solvers: see
sample.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_fm.audio.mel import N_MELS
from tts_fm.config import ModelConfig
from tts_fm.flow.fitted import FittedSolver
from tts_fm.flow.loss import Loss, cfm_loss
from tts_fm.flow.path import make_path
from tts_fm.model.condition import Condition, Text
from tts_fm.model.dit import DiT, position_mask
from tts_fm.model.layers import masked
from tts_fm.model.replay import Recordings
from tts_fm.model.unett import UNetT
from tts_fm.text.tokens import Tokenizer, make_tokenizer

NETWORKS: dict[str, type[DiT] | type[UNetT]] = {"dit": DiT, "unett": UNetT}
Flag = bool | Tensor  # for all, or (B,) bool


class FlowModel(nn.Module):
    """See the module docstring. `vocab` lists the symbols by id; `tokenizer` says how text becomes ids: {"name": ...,
    "lang": ...}.
    """

    def __init__(self, config: ModelConfig, vocab: list[str], tokenizer: dict[str, Any] | None = None) -> None:
        super().__init__()
        if len(vocab) != config.vocab:
            raise ValueError(f"the vocabulary has {len(vocab)} symbols but the network was built for {config.vocab}")
        if config.backbone not in NETWORKS:
            raise ValueError(f"unknown backbone {config.backbone!r}; one of {', '.join(NETWORKS)}")
        self.config, self.vocab, self.path = config, vocab, make_path(config.path)
        self.tokenizer_settings = {"name": "char"} if tokenizer is None else tokenizer
        self.solvers: dict[int, FittedSolver] = {}  # fitted to these weights, by number of evaluations
        self.settings: dict[str, Any] = {}  # what the checkpoint's config.json held
        self.recordings = Recordings()  # forwards as they run on GPUs
        self.net: DiT | UNetT = NETWORKS[config.backbone](config)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in; mels outside of it are float32, and so are times and rotary angles inside."""
        return next(self.net.parameters()).dtype

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return self.tokenizer_for(self.tokenizer_settings.get("lang"))

    def tokenizer_for(self, lang: str | None) -> Tokenizer:
        """The model's tokenizer for a language (phonemes only; the others have none)."""
        return make_tokenizer(self.tokenizer_settings["name"], self.vocab, lang)

    def normalise(self, mel: Tensor) -> Tensor:
        """Log-mel -> what the network sees."""
        return (mel - self.config.mel_mean) / self.config.mel_std

    def restore(self, mel: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return mel * self.config.mel_std + self.config.mel_mean

    def condition(
        self,
        mel: Tensor,
        given: Tensor,
        ids: Tensor,
        mask: Tensor,
        durations: Tensor | None = None,
        drop_text: Tensor | None = None,
    ) -> Condition:
        """Prepare what does not change from step to step. mel (B, T, 100) normalised; given, mask (B, T) bool; ids (B,
        N).
        """
        positions, shown = position_mask(mask, self.config.patch), mel * given[..., None]
        text = self.net.text_embed(ids, positions, durations, drop_text)
        voice = None
        if self.net.style is not None:
            style, voice = self.net.style(shown, given)
            text = masked(text + style[:, None], positions)
        return Condition(shown, given, text, mask, voice)

    def loss(
        self,
        mel: Tensor,
        mask: Tensor,
        hidden: Tensor,
        ids: Tensor,
        durations: Tensor | None,
        drop_audio: Tensor,
        drop_text: Tensor,
        generator: torch.Generator,
        times: str = "uniform",
        coupling: str = "independent",
        weighting: str = "velocity",
        guidance: float = 0.0,
    ) -> Loss:
        """The training objective on a batch of log-mels; arguments as in batches.Batch and (four) cfm_loss. In eval
        mode it is without guidance, for what is measured."""
        x1 = self.normalise(mel) * mask[..., None]
        given = mask & ~hidden & ~drop_audio[:, None]
        c = self.condition(x1, given, ids, mask, durations, drop_text)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return self.field(x, t, c)

        how: dict[str, Any] = dict(path=self.path, times=times, coupling=coupling, weighting=weighting)
        if guidance and self.training:
            with torch.no_grad():
                nowhere, all_items = torch.zeros_like(given), torch.ones_like(drop_text)
                nothing = self.condition(x1, nowhere, ids, mask, durations, all_items)
            how |= dict(null=lambda x, t: self.field(x, t, nothing), guidance=guidance)
        return cfm_loss(velocity, x1, hidden & mask, generator, **how)

    def forward(self, *args: Any, **kwargs: Any) -> Loss:
        """`loss`: what a distributed wrapper calls."""
        return self.loss(*args, **kwargs)

    # ---- inference

    @torch.no_grad()
    def velocity(
        self,
        x: Tensor,
        t: Tensor | float,
        cond: Tensor | None = None,
        text: Text | None = None,
        drop_audio: Flag = False,
        drop_text: Flag = False,
        durations: Tensor | None = None,
        mask: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """The velocity at x, (B, T, 100).

        x (B, T, 100) and the result are in normalised units: log-mel itself for F5 and E2 (mean 0, std 1). t: a number
        or (B,) in [0, 1]. cond (B, T', 100) log-mel of the prompt, T' <= T, or None. text: ids (B, N) with -1 as
        padding, or one string an item. drop_audio, drop_text: for all or (B,) bool. durations (B, N) frames of each
        symbol (`aligned` only). mask (B, T) bool, True = real frame. given (B, T) bool: prompt frames; by default those
        that cond covers, or, at T' = T, those where it is not all zero. ValueError where shapes or ids do not fit.
        """
        batch, frames = x.shape[:2]
        times = torch.as_tensor(t, dtype=torch.float32, device=self.device).expand(batch)
        c = self.prepared(batch, frames, cond, text, drop_audio, drop_text, durations, mask, given)
        return self.step(x, times, c)

    def prepared(
        self,
        batch: int,
        frames: int,
        cond: Tensor | None = None,
        text: Text | None = None,
        drop_audio: Flag = False,
        drop_text: Flag = False,
        durations: Tensor | None = None,
        mask: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Condition:
        """What `velocity` makes of the same arguments before x, (batch, frames, 100), and t are known."""
        mel, given = self.prompt(cond, batch, frames, given)
        flags = [
            torch.as_tensor(f, dtype=torch.bool, device=self.device).expand(batch) for f in (drop_audio, drop_text)
        ]
        given = given & ~flags[0][:, None]
        return self.inference_condition(mel, given, self.ids(text, batch), mask, durations, flags[1])

    def sample(
        self,
        cond: Tensor | None = None,
        text: Text | None = None,
        frames: int | Sequence[int] | Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Speak: solve from noise to mel. See sample.sample for every option."""
        from tts_fm.model.sample import sample

        return sample(self, cond, text, frames, **options)

    def step(self, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor] | None = None) -> Tensor:
        """One forward in the network's dtype: (B, T, 100), in x's dtype and device."""
        v = self.field(x.to(self.device), t, c, modulations)
        return v.to(x.device, x.dtype)

    def recorded(self, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor]) -> Tensor:
        """`step`, recorded and replayed on a GPU (replay.py)."""
        return self.recordings(self.step, next(self.net.parameters()), x, t, c, modulations)

    def field(self, x: Tensor, t: Tensor, c: Condition, modulations: list[Tensor] | None = None) -> Tensor:
        """The network between the sizes of its path: (B, T, 100) on its device -> velocity; gradients pass."""
        if not self.path.normalised:
            return self.net(x.to(self.dtype), t, c.given, c.given_mask, c.text, c.mask, modulations, c.voice)
        own, out = (size[:, None, None] for size in self.path.sizes(t))
        v = self.net((x / own).to(self.dtype), t, c.given, c.given_mask, c.text, c.mask, modulations, c.voice)
        return v.float() * out

    def inference_condition(
        self, mel: Tensor, given: Tensor, ids: Tensor, mask: Tensor | None, durations: Tensor | None, drop_text: Tensor
    ) -> Condition:
        """`condition` in the network's dtype; mask None means that every frame is real, and stays None."""
        real = torch.ones(given.shape, dtype=torch.bool, device=self.device) if mask is None else mask.to(self.device)
        durations = None if durations is None else torch.as_tensor(durations, device=self.device)
        if durations is not None and durations.shape != ids.shape:
            raise ValueError(f"durations {tuple(durations.shape)} and ids {tuple(ids.shape)} must have one shape")
        c = self.condition(mel, given & real, ids, real, durations, drop_text)
        return replace(c, given=c.given.to(self.dtype), mask=None if mask is None else real)

    def prompt(
        self, cond: Tensor | None, batch: int, frames: int, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """A prompt (B, T', 100) log-mel or None -> normalised (B, T, 100) and which frames it gives (B, T)."""
        if cond is None:
            return torch.zeros(batch, frames, N_MELS, device=self.device), torch.zeros(
                batch, frames, dtype=torch.bool, device=self.device
            )
        cond = cond.to(self.device, torch.float32)
        if cond.ndim != 3 or cond.shape[0] != batch or cond.shape[2] != N_MELS or cond.shape[1] > frames:
            raise ValueError(
                f"the prompt must be a log-mel ({batch}, at most {frames} frames, {N_MELS}), got {tuple(cond.shape)}"
            )
        if given is None:
            given = (
                cond.abs().sum(-1) != 0
                if cond.shape[1] == frames
                else torch.ones(cond.shape[:2], dtype=torch.bool, device=self.device)
            )
        if given.ndim != 2 or len(given) != batch or given.shape[1] > frames or bool(given[:, cond.shape[1] :].any()):
            raise ValueError(
                f"given must be ({batch}, at most {frames} frames), True only within the prompt; got "
                f"{tuple(given.shape)}"
            )
        given = F.pad(given.to(self.device, torch.bool), (0, frames - given.shape[1]))
        mel = F.pad(self.normalise(cond), (0, 0, 0, frames - cond.shape[1]))
        return mel.masked_fill(~given[..., None], 0.0), given

    def ids(self, text: Text | None, batch: int) -> Tensor:
        """Ids (B, N) on the model's device from ids, lists of ids or strings; None is a text of no symbols. ValueError
        for bad ids.
        """
        if text is None:
            return torch.full((batch, 1), -1, device=self.device)
        if isinstance(text, str):
            text = [text]
        if not isinstance(text, Tensor):
            rows = [
                torch.tensor(self.tokenizer.encode(r).ids if isinstance(r, str) else list(r), dtype=torch.int64)
                for r in text
            ]
            text = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        if text.ndim != 2 or len(text) != batch:
            raise ValueError(f"text must be ids ({batch}, N) or {batch} strings, got {tuple(text.shape)}")
        if text.numel() and not -1 <= int(text.min()) <= int(text.max()) < len(self.vocab):
            raise ValueError(
                f"ids must lie in 0..{len(self.vocab) - 1}, or be -1 for padding, got "
                f"{int(text.min())}..{int(text.max())}"
            )
        ids = text.to(self.device, torch.int64)
        return ids if ids.shape[1] else torch.full((batch, 1), -1, device=self.device)
