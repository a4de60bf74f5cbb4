"""The engine that computes with PyTorch: on CPUs and GPUs, with every model that the package can load.

The only place above `model` that knows tensors. B utterances, T mel frames, N symbols.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tts_fm import devices
from tts_fm.audio import steady, texture
from tts_fm.audio.mel import HOP
from tts_fm.checkpoint.load import load_flow_model, read_weights, with_weights
from tts_fm.engines import OnStep, Utterance
from tts_fm.model.aligner import AlignerModel, load_aligner
from tts_fm.model.classifier import Guide, NoisyClassifier, load_classifier
from tts_fm.model.dit import DiT, ungroup
from tts_fm.model.duration import DurationModel, load_duration_model
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.folder import CONFIG, WEIGHTS
from tts_fm.model.vocoder import GriffinLim, Vocoder, load_vocoder
from tts_fm.settings import Settings
from tts_fm.text.tokens import Tokenizer
from tts_fm.voices.adapters import Adapter, Merged, check_base


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Computing as in a process of our own, whatever the host program has set for itself: its default type and device,
    and autocast around the call. They are as before afterwards.
    """
    kind, device = torch.get_default_dtype(), torch.get_default_device()
    with contextlib.ExitStack() as stack:
        if kind != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, kind)
        if device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for name in ("cpu", "cuda"):
            if torch.is_autocast_enabled(name):
                stack.enter_context(torch.autocast(name, enabled=False))
        yield


@contextlib.contextmanager
def memory_told(items: int, frames: int) -> Iterator[None]:
    """Inside, a GPU whose memory is full is a MemoryError that says which batch may fit."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        less = f"batches of {items * frames // 2} frames may fit, or" if items > 1 else "give shorter chunks, or"
        reason = str(error).split(". ")[0]
        raise MemoryError(
            f"not enough memory for {items} x {frames} mel frames at once ({reason}): {less} --device cpu"
        ) from None


class TorchEngine:
    """See engines.Engine. Parts are passed in; `load` finds them."""

    def __init__(self, model: FlowModel, vocoder: Vocoder | GriffinLim, durations: DurationModel | None = None) -> None:
        if model.config.text == "aligned" and durations is None:
            raise ValueError("an `aligned` model speaks only with a duration model; pass durations")
        self.model, self.vocoder, self.duration_model = model.eval(), vocoder, durations
        self.text, self.patch, self.vocab = model.config.text, model.config.patch, model.vocab
        self.lang = model.tokenizer_settings.get("lang")
        about = getattr(model, "settings", {})
        self.defaults: dict[str, Any] = about.get("defaults", {})
        self.texture = texture.check(about.get("texture", {}))
        self.steady = steady.check(about.get("steady", False))
        self.scale = model.config.mel_mean, model.config.mel_std
        self.source: Path | None = None  # where the model was read from
        self.classifier: NoisyClassifier | None = None  # what `guide` asks
        self.changes: dict[str, np.ndarray] = {}  # weights of the flow network that are not the source's

    @classmethod
    @own_settings()
    def load(cls, folder: Path, device: str = "cpu", dtype: torch.dtype | None = None, **how: Any) -> TorchEngine:
        """A model folder or file with what lies beside it: `vocoder/` (without it Griffin-Lim is used), `duration/`,
        `classifier/`.

        dtype: what the flow network computes in; None = what is quick on this device (devices.speaking_dtype). how: as
        for load_flow_model. Raises ModelError; ValueError for a device that is not here.
        """
        place = devices.pick(device)
        dtype = devices.speaking_dtype(place) if dtype is None else dtype
        model = load_flow_model(folder, device=place, dtype=dtype, **how)
        vocoder = load_vocoder(folder / "vocoder") if (folder / "vocoder").is_dir() else GriffinLim()
        durations = load_duration_model(folder / "duration").to(place) if (folder / "duration").is_dir() else None
        engine = cls(model, vocoder.to(place), durations)
        engine.source = folder
        if any((folder / "classifier" / name).is_file() for name in (WEIGHTS, CONFIG)):
            engine.classifier = load_classifier(folder / "classifier", model.config).to(place)
        return engine

    @own_settings()
    def adapted(self, adapter: Adapter, voice: str) -> TorchEngine:
        check_base(adapter, self.source, voice)
        assert self.source is not None
        weights = read_weights(self.source)
        before = self.changes  # of an engine that is changed already

        def stored(name: str) -> np.ndarray:
            return before[name] if name in before else weights[name].float().numpy()

        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        merged = dict(Merged(shapes, stored, adapter, "flow"))
        model = with_weights(self.model, {name: torch.from_numpy(value) for name, value in merged.items()})
        durations = copy.deepcopy(self.duration_model)
        if durations is not None:
            state = durations.state_dict()
            shapes = {name: tuple(value.shape) for name, value in state.items()}
            own = Merged(shapes, lambda name: state[name].cpu().numpy(), adapter, "duration")
            durations.load_state_dict(state | {name: torch.from_numpy(value) for name, value in own.items()})
        engine = TorchEngine(model, self.vocoder, durations)
        engine.source, engine.classifier, engine.changes = self.source, self.classifier, before | merged
        return engine

    def check(self, settings: Settings) -> None:
        if settings.guide:
            Guide(self.classifier, settings.guide)

    def tokenizer(self, lang: str | None) -> Tokenizer:
        return self.model.tokenizer_for(lang)

    @own_settings()
    def durations(self, ids: Sequence[int], prompt: np.ndarray, speed: float) -> np.ndarray:
        assert self.duration_model is not None, self.text
        device = self.model.device
        frames = self.duration_model.durations(
            torch.tensor([list(ids)], device=device), torch.tensor(prompt, device=device)[None], speed
        )
        return _array(frames[0])

    @property
    def together(self) -> bool:
        return self.model.device.type != "cpu"

    @own_settings()
    def all_durations(self, texts: Sequence[Sequence[int]], prompt: np.ndarray, speed: float) -> list[np.ndarray]:
        if not self.together:
            return [self.durations(ids, prompt, speed) for ids in texts]
        assert self.duration_model is not None, self.text
        frames = self.duration_model.durations_behind(texts, torch.tensor(prompt, dtype=torch.float32), speed)
        return [_array(row) for row in frames]

    @own_settings()
    def sample(
        self, utterances: Sequence[Utterance], settings: Settings, on_step: OnStep | None = None
    ) -> list[np.ndarray]:
        frames, width = utterances[0].shape
        cond = _padded([u.prompt for u in utterances], max(len(u.prompt) for u in utterances))  # (B, Tp, 100)
        ids = torch.tensor([u.ids + [-1] * (width - len(u.ids)) for u in utterances])  # (B, N)
        durations = given = None
        if utterances[0].durations is not None:
            durations = torch.tensor([[*(u.durations or ()), *[0.0] * (width - len(u.ids))] for u in utterances])
        if any(u.given is not None for u in utterances):
            masks = [np.ones(len(u.prompt), bool) if u.given is None else u.given for u in utterances]
            given = _padded([mask[:, None] for mask in masks], cond.shape[1])[..., 0]

        def cut(mel: Tensor) -> list[np.ndarray]:
            return [_array(mel[b, : u.frames]) for b, u in enumerate(utterances)]

        def report(step: int, time: float, mel: Tensor) -> None:
            if on_step is not None:
                on_step(step, time, lambda: cut(mel))

        options = settings.solver()
        if settings.guide:
            options["guide"] = Guide(self.classifier, settings.guide)
        with memory_told(len(utterances), frames):
            mel = self.model.sample(
                cond,
                ids,
                [u.frames for u in utterances],
                **options,
                seeds=[u.seed for u in utterances],
                durations=durations,
                prompt_frames=[len(u.prompt) for u in utterances],
                given=given,
                on_step=report if on_step is not None else None,
                pad_to=frames,
            )  # (B, T, 100)
        return cut(mel)

    @own_settings()
    @torch.no_grad()
    def features(self, utterance: Utterance, x: np.ndarray, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        model, net, frames = self.model, self.model.net, x.shape[1]
        if not isinstance(net, DiT):
            raise ValueError(f"a {self.model.config.backbone} network has no last layer that can be fitted to a voice")
        many = len(times)
        prompts = torch.from_numpy(utterance.prompt)[None].repeat(many, 1, 1)
        durations = None if utterance.durations is None else torch.tensor([utterance.durations] * many)
        c = model.prepared(many, frames, prompts, [utterance.ids] * many, durations=durations)
        now = torch.from_numpy(x.astype(np.float32)).to(model.device, model.dtype)
        t = torch.tensor(list(times), dtype=torch.float32, device=model.device)
        features = net(now, t, c.given, c.given_mask, c.text, c.mask, voice=c.voice, features=True)
        return _array(ungroup(net.proj_out(features), frames)), _array(features)

    @own_settings()
    def decode(self, mel: np.ndarray) -> np.ndarray:
        return _array(self.vocoder.decode(torch.tensor(mel, dtype=torch.float32)[None])[0])

    @own_settings()
    def decode_all(self, mels: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not self.together:
            return [self.decode(mel) for mel in mels]
        lengths = [len(mel) for mel in mels]
        with memory_told(len(mels), max(lengths)):
            waves = _array(self.vocoder.decode(_padded(mels, max(lengths)), lengths))
        return [waves[b, : (n - 1) * HOP].copy() for b, n in enumerate(lengths)]

    def about(self) -> str:
        config, size = self.model.config, sum(p.numel() for p in self.model.parameters()) / 1e6
        return (
            f"{config.backbone} {config.dim} x {config.depth}, {size:.1f} million parameters, `{config.text}` text, "
            f"{config.patch} mel frames a position; vocoder: {type(self.vocoder).__name__}"
        )


class TorchRecogniser:
    """See phones.Recogniser."""

    def __init__(self, model: AlignerModel) -> None:
        self.model, self.vocab = model.eval(), model.vocab

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> TorchRecogniser:
        """The network in a folder. ModelError for files that are missing or damaged, ValueError for a device that is
        not here.
        """
        place = devices.pick(device)
        return cls(load_aligner(folder).to(place))

    @own_settings()
    def log_probabilities(self, mel: np.ndarray) -> np.ndarray:
        return _array(self.model.log_probabilities(torch.from_numpy(np.asarray(mel, np.float32))))


def dtype_named(name: str) -> torch.dtype:
    """The floating type of that name. ValueError for any other."""
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"torch computes in float32, bfloat16 or float16, not in {name!r}")
    return found


def _padded(rows: Sequence[np.ndarray], length: int) -> Tensor:
    """Arrays (T, C) as one tensor (B, length, C), zero behind their ends."""
    whole = np.zeros((len(rows), length, rows[0].shape[1]), rows[0].dtype)
    for b, row in enumerate(rows):
        whole[b, : len(row)] = row
    return torch.from_numpy(whole)


def _array(tensor: Tensor) -> np.ndarray:
    """A tensor as a float32 array of the host's."""
    return tensor.detach().float().cpu().numpy()
