"""The engine that computes with onnxruntime on CPUs and needs no torch, by graphs that `tts-fm export onnx` made.

Utterances are run one by one, without padding, so that a batch never changes an item: 8 bit products take one scale for
all that they see. What a prompt decides alone is kept for the prompts used last. T mel frames, Tp of the prompt, P
positions, N symbols, D width.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from tts_fm.audio import steady, texture
from tts_fm.audio.mel import N_MELS, from_spectrum
from tts_fm.checkpoint.load import fitted_solvers
from tts_fm.config import ModelConfig, from_dict
from tts_fm.devices import usable_cores
from tts_fm.engines import OnStep, Utterance
from tts_fm.engines.sessions import (
    AGAIN,
    GRAPHS,
    Key,
    open_session,
    read_manifest,
    read_place,
    tensors_of,
    touched,
)
from tts_fm.errors import ModelError
from tts_fm.flow.fitted import chosen
from tts_fm.flow.guidance import guided, guided_joint, guided_split
from tts_fm.flow.noise import seeded_normal
from tts_fm.flow.solvers import asked_times, solve
from tts_fm.flow.tables import FITTED
from tts_fm.flow.times import f5_grid
from tts_fm.model.folder import read_config
from tts_fm.settings import Settings
from tts_fm.text.pace import spoken_frames
from tts_fm.text.tokens import Tokenizer, load_vocab, make_tokenizer
from tts_fm.voices.adapters import Adapter, Merged, check_base

KINDS = ("int8", "float32")  # of matrix products, in the order of preference
HEAD_DIM = 64
SHORTEST_PROMPT = 24  # mel frames that a graph of prompts takes at least
KEPT_PROMPTS = 16  # prompts whose share of the work is kept
PARTS = {"flow": "model.safetensors", "duration": "duration/model.safetensors"}  # what adapters call the networks
ONE_THREAD = ("pace",)  # its means over time would round differently with every number of threads
# branch -> audio, text
WITHHELD = {"full": (False, False), "no_text": (False, True), "no_audio": (True, False), "null": (True, True)}


class Prompt(NamedTuple):
    """What a prompt decides alone, made when it is asked for."""

    pace: Any = None  # (1, S) for the durations
    style: Any = None  # (1, E) for the text
    voice: Any = None  # (L, 6, D) added to the modulations


class OnnxEngine:
    """See engines.Engine. One model folder with graphs; the sessions are opened when they are first used."""

    def __init__(self, folder: Path, kind: str | None = None, threads: int | None = None) -> None:
        """kind: "int8" or "float32" matrix products; None = the first of these that the folder has. threads: of one
        computation; None = all cores that this process may use. Raises ModelError, MissingDependency, ValueError.
        """
        self.manifest = read_manifest(folder)
        kinds = ["int8"] * bool(self.manifest["int8"]) + ["float32"]
        if kind is not None and kind not in KINDS:
            raise ValueError(f"the onnx engine computes in {' or '.join(KINDS)}, not in {kind}; engine torch may")
        if kind is not None and kind not in kinds:
            raise ModelError(f"{folder / GRAPHS} has no int8 graphs; {AGAIN}")
        self.folder, self.kind, self.threads = folder, kind or kinds[0], threads or usable_cores()
        settings = read_config(folder / "config.json")
        try:
            self.config = from_dict(ModelConfig, settings["model"])
            self.vocab = load_vocab(folder / "vocab.txt")
            self.texture = texture.check(settings.get("texture", {}))
            self.steady = steady.check(settings.get("steady", False))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ModelError(f"{folder} is no model folder: {error}") from error
        self.text, self.patch = self.config.text, self.config.patch
        self.scale = self.config.mel_mean, self.config.mel_std
        self.keep = straight(self.config.path)  # x_t = (1 - keep t) x0 + t x1
        self.tokenizer_settings = settings.get("tokenizer") or {"name": "char"}
        self.lang: str | None = self.tokenizer_settings.get("lang")
        self.defaults: dict[str, Any] = settings.get("defaults", {})
        self.changes: dict[Key, Callable[[], np.ndarray]] = {}  # an adapted voice's weights
        self._base: OnnxEngine | None = None  # whose sessions are shared where nothing is changed
        self._start()

    def _start(self) -> None:
        self._sessions: dict[str, Any] = {}
        self._prompts: OrderedDict[bytes, Prompt] = OrderedDict()
        self._lock = Lock()

    # ---- what Engine asks for

    together = False

    @property
    def source(self) -> Path:
        return self.folder

    def tokenizer(self, lang: str | None) -> Tokenizer:
        return make_tokenizer(self.tokenizer_settings["name"], self.vocab, lang)

    def check(self, settings: Settings) -> None:
        if settings.adaptive:
            raise ValueError(f"method {settings.method} is for the torch engine; rk4 works here, or --engine torch")
        if settings.guide:
            raise ValueError("guide needs the gradient of a classifier, which the torch engine has: --engine torch")

    def durations(self, ids: Sequence[int], prompt: np.ndarray, speed: float) -> np.ndarray:
        pace = self._prompt(prompt, None, "pace").pace
        said = self.run("durations", ids=np.array([ids], np.int64), pace=pace)[0][0]
        return spoken_frames(said, [self.vocab[i] for i in ids], speed)

    def all_durations(self, texts: Sequence[Sequence[int]], prompt: np.ndarray, speed: float) -> list[np.ndarray]:
        return [self.durations(ids, prompt, speed) for ids in texts]

    def sample(
        self, utterances: Sequence[Utterance], settings: Settings, on_step: OnStep | None = None
    ) -> list[np.ndarray]:
        s = settings
        self.check(s)
        assert s.cfg is not None and s.temperature is not None
        grid = f5_grid(s.steps or 1, s.sway) if s.grid is None else np.array(s.grid, np.float32)
        strong = bool(np.any(s.scales))
        wanted = s.scales if strong else 0.0
        fitted = chosen(fitted_solvers(self.folder), s.steps or 1, cfg=wanted) if s.method == FITTED else None
        asked = asked_times(grid, s.method) if fitted is None else np.array(fitted.times, np.float32).tolist()
        ends = None
        if self.config.span:
            if s.method != "euler" or strong:
                raise ValueError("this voice is a few-step student: it takes Euler steps without guidance (cfg 0)")
            ends = grid[1:]
        field = Field(self, utterances, asked, ends)
        frames = np.array([u.frames for u in utterances])
        mask = np.arange(frames.max())[None] < frames[:, None]  # (B, T)
        x0 = np.zeros((*mask.shape, N_MELS), np.float32)
        for b, u in enumerate(utterances):
            x0[b, : u.frames] = seeded_normal(u.seed, (u.frames, N_MELS)) * np.float32(s.temperature)

        def finish(x: np.ndarray) -> list[np.ndarray]:
            return [self._finished(u, x[b, : u.frames]) for b, u in enumerate(utterances)]

        def report(i: int, x: np.ndarray, t: np.ndarray, v: np.ndarray) -> None:
            if on_step is not None:
                on_step(i, float(t[0]), lambda: finish(self.keep * x + (1 - self.keep * t[0]) * v))

        if not isinstance(s.scales, tuple):
            velocity = guided(field.two, s.cfg, s.cfg_interval, s.cfg_rescale, mask)
        elif s.cfg_joint is None:
            text, voice = s.scales
            velocity = guided_split(field.three, text, voice, s.cfg_interval, s.cfg_audio_interval)
        else:
            both, voice, joint = s.scales
            velocity = guided_joint(field.four, both, voice, joint, s.cfg_interval)
        if fitted is not None:
            return finish(fitted.solve(velocity, x0, report))
        return finish(solve(velocity, x0, grid, s.method, report, mask=mask))

    def features(self, utterance: Utterance, x: np.ndarray, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        field, rows = Field(self, [utterance], times), []
        for own, t in zip(x, times, strict=True):
            found = field.run("full", 0, own, t)
            if len(found) < 2:
                raise ValueError(f"the graphs of {self.folder} do not give what their last layer sees; {AGAIN}")
            rows.append([found[0][0], found[1][0]])
        velocity, features = zip(*rows, strict=True)
        return np.stack(velocity), np.stack(features)

    def decode(self, mel: np.ndarray) -> np.ndarray:
        if mel.ndim != 2 or mel.shape[1] != N_MELS or len(mel) < 2:
            raise ValueError(f"decode takes a log-mel (T, {N_MELS}) of at least 2 frames, not {mel.shape}")
        # a graph takes no fewer frames than the longest of its windows
        behind = max(0, SHORTEST_PROMPT - len(mel))
        padded = np.pad(np.asarray(mel, np.float32), ((0, behind), (0, 0)), mode="edge")
        spectrum = self.run("vocoder", mel=np.ascontiguousarray(padded[None]))[0][0]  # (T, 1026)
        return from_spectrum(spectrum[: len(mel)])

    def decode_all(self, mels: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self.decode(mel) for mel in mels]

    def adapted(self, adapter: Adapter, voice: str) -> OnnxEngine:
        check_base(adapter, self.folder, voice)
        engine = copy.copy(self)
        engine._base = self
        engine._start()
        engine.changes = dict(self.changes)  # of an engine that is changed already
        for part, file in PARTS.items():
            tensors = tensors_of(self.folder / file) if (self.folder / file).is_file() else {}

            def stored(name: str, file: str = file, tensors: Any = tensors) -> np.ndarray:
                offset, kind, shape = tensors[name]
                known = self.changes.get((file, offset))
                return read_place(self.folder, [file, offset, kind, *shape]) if known is None else known()

            shapes = {name: shape for name, (_, _, shape) in tensors.items()}
            merged = Merged(shapes, stored, adapter, part)
            engine.changes |= {(file, tensors[name][0]): partial(merged.__getitem__, name) for name in merged}
        return engine

    def about(self) -> str:
        c = self.config
        return (
            f"{c.backbone} {c.dim} x {c.depth}, `{c.text}` text, {c.patch} mel frames a position; "
            f"onnxruntime, {self.kind}, {self.threads} threads"
        )

    # ---- how

    def run(self, graph: str, **inputs: Any) -> list[np.ndarray]:
        """Run one graph of this engine's kind. ModelError where its numbers are not finite: the weights are damaged."""
        found = self._session(graph).run(None, inputs)
        if not all(np.isfinite(array).all() for array in found):
            raise ModelError(f"the graph {graph} of {self.folder} gives numbers that are not finite: damaged weights")
        return found

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                int8 = f"{graph}.int8"
                name = int8 if self.kind == "int8" and int8 in self.manifest["int8"] else graph
                if self._base is not None and not touched(name, self.manifest, self.changes):
                    self._sessions[graph] = self._base._session(graph)
                else:
                    threads = 1 if graph in ONE_THREAD else self.threads
                    self._sessions[graph] = open_session(self.folder, name, self.manifest, threads, self.changes)
            return self._sessions[graph]

    def normalised(self, mel: np.ndarray) -> np.ndarray:
        """Log-mel -> what the network sees."""
        return ((mel - self.config.mel_mean) / self.config.mel_std).astype(np.float32)

    def _finished(self, utterance: Utterance, x: np.ndarray) -> np.ndarray:
        """What the network made, as log-mel, with the prompt where it is given."""
        mel = (x * self.config.mel_std + self.config.mel_mean).astype(np.float32)
        given = given_of(utterance)
        mel[given] = utterance.prompt[given[: len(utterance.prompt)]]
        return mel

    def _prompt(self, mel: np.ndarray, given: np.ndarray | None, part: str) -> Prompt:
        """What a prompt (Tp, 100) decides alone; `part` of it is needed now: "pace" or "style"."""
        mel = np.ascontiguousarray(mel, np.float32)
        key = hashlib.blake2b(mel.tobytes() + (b"" if given is None else given.tobytes())).digest()
        with self._lock:
            found = self._prompts.get(key, Prompt())
        if getattr(found, part) is None:
            if part == "pace":
                found = found._replace(pace=self.run("pace", prompt=mel[None])[0])
            else:
                shown = np.ones(len(mel), bool) if given is None else given
                style, *voice = self.run("style", mel=(self.normalised(mel) * shown[:, None])[None], given=shown[None])
                found = found._replace(style=style, voice=voice[0] if voice else None)
        with self._lock:
            self._prompts[key] = found
            self._prompts.move_to_end(key)
            while len(self._prompts) > KEPT_PROMPTS:
                self._prompts.popitem(last=False)
        return found

    def style(self, utterance: Utterance | None) -> Prompt:
        """Of an utterance's prompt; None = of nothing given."""
        if not self.config.style:
            return Prompt()
        if utterance is None or not len(utterance.prompt):
            nothing = np.zeros((SHORTEST_PROMPT, N_MELS), np.float32)
            return self._prompt(nothing, np.zeros(SHORTEST_PROMPT, bool), "style")
        return self._prompt(utterance.prompt, utterance.given, "style")


def straight(path: str) -> float:
    """How much of the noise the straight path `ot` or `ot(sigma_min)` leaves behind, 1 - sigma_min; ValueError for
    another path."""
    found = re.fullmatch(r"ot(?:\(([0-9.e+-]*)\))?", path.replace(" ", ""))
    if found is None:
        raise ValueError(f"graphs follow the straight path, ot; this model was trained on {path}: use engine torch")
    return 1.0 - float(found[1] or 0.0)


def given_of(utterance: Utterance) -> np.ndarray:
    """Which frames are given, (T,) bool."""
    given = np.zeros(utterance.frames, bool)
    given[: len(utterance.prompt)] = True if utterance.given is None else utterance.given
    return given


class Branch(NamedTuple):
    """What the velocity of one utterance needs besides x and the time."""

    base: np.ndarray  # (1, P, D)
    voice: np.ndarray | None  # (L, 6, D)
    cos: np.ndarray  # (P, 32)
    sin: np.ndarray


class Field:
    """The velocity of some utterances, each run alone, with all of their conditions and with some withheld."""

    def __init__(
        self, engine: OnnxEngine, utterances: Sequence[Utterance], times: Sequence[float], ends: Any = None
    ) -> None:
        """times: all at which the velocity will be asked for. ends: where the step from each ends, for models with
        `span`.
        """
        self.engine, self.utterances = engine, utterances
        self.branches: dict[str, list[Branch]] = {}
        asked = np.array(times, np.float32)
        until = {"until": asked if ends is None else np.array(ends, np.float32)} if engine.config.span else {}
        parts = zip(*engine.run("times", t=asked, **until), strict=True)
        self.times = {float(t): part for t, part in zip(asked, parts, strict=True)}

    def two(self, x: np.ndarray, t: np.ndarray, need_null: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """What flow.guided asks for."""
        return self.of("full", x, t), self.of("null", x, t) if need_null else None

    def three(
        self, x: np.ndarray, t: np.ndarray, need_no_text: bool, need_null: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """What flow.guided_split asks for."""
        no_text = self.of("no_text", x, t) if need_no_text else None
        return self.of("full", x, t), no_text, self.of("null", x, t) if need_null else None

    def four(self, x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What flow.guided_joint asks for."""
        full, no_text, no_audio, null = (self.of(branch, x, t) for branch in WITHHELD)
        return full, no_text, no_audio, null

    def of(self, branch: str, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Velocities of all utterances (B, T, 100), each from its own part of x; zero behind its end. branch: one of
        WITHHELD."""
        velocity = np.zeros_like(x)
        for b, utterance in enumerate(self.utterances):
            own = self.run(branch, b, x[b, : utterance.frames], t[0])[0]
            velocity[b, : utterance.frames] = own[0, : utterance.frames]
        return velocity

    def run(self, branch: str, number: int, x: np.ndarray, t: float) -> list[np.ndarray]:
        """What the graph gives for one utterance, x (T, 100): the velocity (1, T', 100), T' a multiple of patch, and
        the features behind it."""
        if branch not in self.branches:
            self.branches[branch] = [self._made(u, *WITHHELD[branch]) for u in self.utterances]
        its, patch, modulations = self.branches[branch][number], self.engine.patch, self.times[float(t)]
        if -len(x) % patch:
            x = np.pad(x, ((0, -len(x) % patch), (0, 0)))
        feed = {"x": x[None], "base": its.base, "cos": its.cos, "sin": its.sin}
        if self.engine.config.backbone == "dit":
            blocks, end = modulations
            feed |= {"blocks": blocks if its.voice is None else blocks + its.voice, "end": end}
        else:
            feed |= {"token": modulations[0][None]}
        return self.engine.run("velocity", **feed)

    def _made(self, utterance: Utterance, drop_audio: bool, drop_text: bool) -> Branch:
        engine, config = self.engine, self.engine.config
        frames = utterance.frames + -utterance.frames % config.patch
        given, mel = np.zeros(frames, bool), np.zeros((frames, N_MELS), np.float32)
        if not drop_audio:
            given[: utterance.frames] = given_of(utterance)
            mel[: len(utterance.prompt)] = engine.normalised(utterance.prompt)
            mel[~given] = 0
        ids = utterance.ids
        if config.text == "filler":  # one for every position
            ids = (ids + [-1] * frames)[: frames // config.patch]
        feed: dict[str, Any] = {"ids": np.array([ids], np.int64), "mel": mel[None], "given": given[None]}
        feed["drop_text"] = np.array([drop_text])
        if utterance.durations is not None:
            feed["durations"] = np.array([utterance.durations], np.float32)
        prompt = engine.style(None if drop_audio else utterance)
        if prompt.style is not None:
            feed["style"] = prompt.style
        positions = frames // config.patch + (config.backbone != "dit")  # the time is one more position of a UNetT
        rate = 10_000.0 ** (-np.arange(0, HEAD_DIM, 2, dtype=np.float32) / HEAD_DIM)
        angle = np.arange(positions, dtype=np.float32)[:, None] * rate
        return Branch(engine.run("condition", **feed)[0], prompt.voice, np.cos(angle), np.sin(angle))
