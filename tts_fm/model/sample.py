"""Sampling: noise, a time grid, a solver and guidance around one FlowModel. Everything that does not depend on the step
is made once.

B batch, T mel frames, S times of the solver. An item's result does not depend on its neighbours, on padding, or on the
batch size. Knows nothing of waveforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tts_fm.audio.mel import N_MELS
from tts_fm.devices import send
from tts_fm.flow.coupling import seeded_pairs
from tts_fm.flow.fitted import chosen
from tts_fm.flow.guidance import Scale, guided, guided_joint, guided_split
from tts_fm.flow.path import Path
from tts_fm.flow.solvers import Velocity, asked_times, solve
from tts_fm.flow.tables import FITTED
from tts_fm.flow.times import f5_grid
from tts_fm.model.condition import Condition, Sampled, Text
from tts_fm.model.replay import recordable

Frames = int | Sequence[int] | Tensor
# (step, time, the speech it points to as log-mel (B, T, 100)); may raise to cancel
OnStep = Callable[[int, float, Tensor], object]
Cfg = Scale | tuple[Scale, Scale] | tuple[Scale, Scale, Scale]  # of guided, guided_split, guided_joint
Guide = Callable[[Velocity, Tensor, Path], Velocity]  # (velocity, frames that are made (B, T), path) -> guided
# branch -> drop_audio, drop_text
WITHHELD = {"full": (False, False), "no_text": (False, True), "no_audio": (True, False), "null": (True, True)}


@torch.no_grad()
def sample(
    model: Sampled,
    cond: Tensor | None,
    text: Text | None,
    frames: Frames | None,
    *,
    steps: int = 32,
    method: str = "euler",
    sway: float | None = -1.0,
    cfg: Cfg = 2.0,
    cfg_interval: tuple[float, float] = (0.0, 1.0),
    cfg_audio_interval: tuple[float, float] = (0.0, 1.0),
    cfg_rescale: float = 0.0,
    guide: Guide | None = None,
    grid: Tensor | Sequence[float] | None = None,
    temperature: float = 1.0,
    noise: Tensor | None = None,
    seeds: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    durations: Tensor | None = None,
    prompt_frames: Frames | None = None,
    given: Tensor | None = None,
    on_step: OnStep | None = None,
    pad_to: int | None = None,
) -> Tensor:
    """Speech for a batch: (B, T, 100) log-mel with the prompt copied in, zero behind each item's end.

    cond: (B, Tref, 100) log-mel of the prompts, or None. text: ids (B, N) with -1 as padding, or one string an item;
    prompt's text first. frames: length of prompt and new speech together, for all or one an item; None = as long as
    cond. prompt_frames: the same for prompts of unlike length. given: (B, T) bool, which frames of cond are given, when
    it is not just the start (editing). steps, sway: F5's grid with EPSS where it has a table; grid: your own times
    instead. method: see flow.solve, or "fitted": the solver fitted to this model for so many steps. cfg: w in
    v + w (v - v_null), 0 is off; a pair is (text scale, audio scale), three are those of flow.guided_joint.
    cfg_interval, cfg_rescale: as in flow.guided; cfg_audio_interval: the audio_interval of guided_split.
    guide: what adds a classifier's gradient (classifier.py). noise: (B, T, 100) or (T, 100);
    else drawn for each item on its own from seeds (default 0), or from generator in order. temperature: factor on the
    noise, as in Matcha-TTS (arXiv 2309.03199): below 1 smoother, less varied. pad_to: frames to pad all items to
    (default: the longest); an item that is always padded alike is the same to the last bit in bf16 too. durations:
    (B, N) mel frames of each symbol, `aligned` models only. on_step(i, t, mel): the speech foreseen at the start of
    step i. ValueError where shapes, lengths or numbers do not fit. Solver and state are float32 whatever the model's
    dtype.
    """
    batch = _batch(cond, text)
    lengths = _lengths(frames if frames is not None else None if cond is None else cond.shape[1], batch, "frames")
    ids, longest = model.ids(text, batch), int(lengths.max()) if pad_to is None else pad_to
    if longest < int(lengths.max()):
        raise ValueError(f"pad_to is {pad_to}, but the longest item has {int(lengths.max())} frames")
    mask = torch.arange(longest)[None] < lengths[:, None]  # (B, T)
    if cond is not None and not bool(torch.isfinite(cond).all()):
        raise ValueError("the prompt's mel holds numbers that are not finite")
    if cond is not None and given is None:
        prompts = _lengths(cond.shape[1] if prompt_frames is None else prompt_frames, batch, "prompt_frames")
        if bool((prompts > lengths).any()) or int(prompts.max()) > cond.shape[1]:
            got = f"prompts of {prompts.tolist()} frames, a cond of {cond.shape[1]} and speech of {lengths.tolist()}"
            raise ValueError(f"a prompt must be within its cond and its speech, got {got}")
        given = torch.arange(longest)[None] < prompts[:, None]
    mel, given = model.prompt(cond, batch, longest, given)
    times = torch.as_tensor(f5_grid(steps, sway) if grid is None else grid) * model.path.end
    fitted = None
    if method == FITTED:
        fitted = chosen(model.solvers, steps, cfg=0.0 if not _strong(cfg) else cfg)
    asked = torch.tensor(fitted.times).tolist() if fitted else asked_times(times, method)
    ends = None
    if model.config.span:
        if method != "euler" or _strong(cfg) or guide is not None:
            raise ValueError("this voice is a few-step student: it takes Euler steps without guidance (cfg 0)")
        ends = dict(zip(asked, times[1:].tolist(), strict=True))
    branches = Branches(
        model, mel, given, ids, None if bool(mask.all()) else mask, durations, cfg, Schedule(model, asked, ends)
    )
    x0 = _noise(noise, seeds, generator, lengths, longest)
    x0 = (model.path.start(x0) * temperature).to(model.device)
    mask = mask.to(model.device)

    def finish(x: Tensor) -> Tensor:
        return model.restore(torch.where(given[..., None], mel, x)).masked_fill(~mask[..., None], 0.0)

    def report(i: int, x: Tensor, t: Tensor, v: Tensor) -> None:
        if on_step is not None:
            on_step(i, float(t[0]), finish(model.path.to_x1(v, x, t.to(x.device))))

    field = branches.guided(cfg, cfg_interval, cfg_audio_interval, cfg_rescale, mask)
    if guide is not None:
        field = guide(field, mask & ~given, model.path)
    on = report if on_step is not None else None
    return finish(fitted.solve(field, x0, on) if fitted else solve(field, x0, times, method, on, mask=mask))


class Branches:
    """The velocities that guidance combines, from one forward for all: conditions and time modulations are made
    beforehand.
    """

    def __init__(
        self,
        model: Sampled,
        mel: Tensor,
        given: Tensor,
        ids: Tensor,
        mask: Tensor | None,
        durations: Tensor | None,
        cfg: Cfg,
        schedule: Schedule,
    ) -> None:
        self.model, self.batch, self.schedule = model, len(mel), schedule
        if isinstance(cfg, tuple):
            names = ["full", "no_text", "no_audio", "null"] if len(cfg) == 3 else ["full", "no_text", "null"]
        else:
            names = ["full", "null"] if _strong(cfg) else ["full"]
        many = len(names)
        # (many B, 2)
        flags = torch.tensor([WITHHELD[n] for n in names], device=model.device).repeat_interleave(self.batch, dim=0)
        drop_audio, drop_text = flags.unbind(1)
        self.names = names
        self.condition = model.inference_condition(
            mel.repeat(many, 1, 1),
            given.repeat(many, 1) & ~drop_audio[:, None],
            ids.repeat(many, 1),
            None if mask is None else mask.repeat(many, 1),
            None if durations is None else torch.as_tensor(durations).repeat(many, 1),
            drop_text,
        )
        self._made: dict[tuple[str, ...], Condition] = {tuple(names): self.condition}

    def guided(
        self,
        cfg: Cfg,
        interval: tuple[float, float],
        audio_interval: tuple[float, float],
        rescale: float,
        mask: Tensor,
    ) -> Velocity:
        """The velocity that the solver follows; arguments as in `sample`."""
        if isinstance(cfg, tuple) and len(cfg) == 3:
            field = guided_joint(self.four, *cfg, interval)
        elif isinstance(cfg, tuple):
            field = guided_split(self.three, cfg[0], cfg[1], interval, audio_interval)
        else:
            field = guided(self.two, cfg, interval, rescale, mask)
        field.host_times = True  # type: ignore[attr-defined]
        return field

    def two(self, x: Tensor, t: Tensor, need_null: bool) -> tuple[Tensor, Tensor | None]:
        """What flow.guided asks for."""
        v = self(x, t, ("full", "null") if need_null else ("full",))
        return v["full"], v.get("null")

    def three(
        self, x: Tensor, t: Tensor, need_no_text: bool, need_null: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What flow.guided_split asks for."""
        v = self(x, t, ("full", *["no_text"] * need_no_text, *["null"] * need_null))
        return v["full"], v.get("no_text"), v.get("null")

    def four(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What flow.guided_joint asks for."""
        v = self(x, t, tuple(self.names))
        return v["full"], v["no_text"], v["no_audio"], v["null"]

    def __call__(self, x: Tensor, t: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        c = self._part(names)
        modulations = self.schedule.at(float(t[0]))  # t is on the CPU: no GPU is waited for
        step = self.model.recorded if recordable(x.device) else self.model.step
        v = step(x.repeat(len(names), 1, 1), send(t.repeat(len(names)), x.device), c, modulations)
        return dict(zip(names, v.split(self.batch), strict=True))

    def _part(self, names: tuple[str, ...]) -> Condition:
        """The condition of some of the branches."""
        if names not in self._made:
            parts = [self.condition.items(i * self.batch, (i + 1) * self.batch) for i in map(self.names.index, names)]
            self._made[names] = self.condition.joined(parts)
        return self._made[names]


class Schedule:
    """The network's time modulations for all times of a grid, computed together in blocks: the step loop then never
    reads those weights.
    """

    BLOCK = 64  # times at once: bounds the memory of long grids

    def __init__(self, model: Sampled, times: list[float], ends: dict[float, float] | None = None) -> None:
        """times: all that will be asked for. ends: where the step from each ends, for networks with `span`."""
        self.model, self.times, self.ends = model, times, ends
        self.rows: dict[float, int] = {}
        self.block: list[Tensor] = []

    def at(self, t: float) -> list[Tensor]:
        """One (1, ...) tensor for each of the network's modulations."""
        if t not in self.rows:
            first = self.times.index(t) if t in self.times else 0
            # an adaptive solver's time comes unforeseen
            known = self.times[first : first + self.BLOCK] if t in self.times else [t]
            self.rows = {time: row for row, time in enumerate(known)}
            start = torch.tensor(known, dtype=torch.float32, device=self.model.device)
            until = None if self.ends is None else torch.tensor([self.ends[time] for time in known]).to(start)
            self.block = self.model.net.modulations(start, until)
        row = self.rows[t]
        return [m[row : row + 1] for m in self.block]


def _strong(cfg: Cfg) -> bool:
    """Whether any guidance is asked for."""
    return any(bool(torch.as_tensor(scale != 0).any()) for scale in (cfg if isinstance(cfg, tuple) else (cfg,)))


def _noise(
    noise: Tensor | None,
    seeds: int | Sequence[int] | None,
    generator: torch.Generator | None,
    lengths: Tensor,
    longest: int,
) -> Tensor:
    """(B, T, 100) float32 standard normal, each item's drawn for itself."""
    batch = len(lengths)
    if sum(given is not None for given in (noise, seeds, generator)) > 1:
        raise ValueError("give one of noise, seeds and generator")
    if noise is not None:
        noise = noise.to(torch.float32)
        noise = noise.expand(batch, -1, -1) if noise.ndim == 2 else noise
        if noise.shape != (batch, longest, N_MELS):
            raise ValueError(f"noise must be ({batch}, {longest}, {N_MELS}), got {tuple(noise.shape)}")
        return noise
    if generator is not None:
        rows = [torch.randn(int(n), N_MELS, generator=generator, device=generator.device).cpu() for n in lengths]
        return torch.nn.utils.rnn.pad_sequence([*rows, torch.zeros(longest, N_MELS)], batch_first=True)[:batch]
    each = [0 if seeds is None else seeds] * batch if seeds is None or isinstance(seeds, int) else list(seeds)
    return seeded_pairs(each, torch.empty(batch, longest, N_MELS), lengths)


def _batch(cond: Tensor | None, text: Text | None) -> int:
    if cond is not None:
        return len(cond)
    if text is None:
        raise ValueError("nothing to say: give cond, text or both")
    return 1 if isinstance(text, str) else len(text)


def _lengths(value: Frames | None, batch: int, name: str) -> Tensor:
    """(B,) int64 from one number or one an item."""
    if value is None:
        raise ValueError(f"{name} must be given when there is no prompt to take it from")
    lengths = torch.as_tensor(value, dtype=torch.int64).cpu()
    if lengths.ndim > 1 or (lengths.ndim == 1 and len(lengths) != batch) or int(lengths.min()) < (name == "frames"):
        raise ValueError(f"{name} must be a number of mel frames or {batch} of them, got {value}")
    return lengths.expand(batch)
