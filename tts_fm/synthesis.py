"""Text and a voice become speech: the whole inference path, in the order in which it happens.

    text -> chunks (text/chunks.py) -> frames for every symbol (duration model, or F5's byte ratio) -> mel (flow, prompt
      first) -> wave (vocoder)

    from tts_fm import TTS
    TTS.load().say("Hello.", voice="ref.wav").save("hello.wav")

T mel frames, S samples at 24 kHz. Nothing here is random but the noise, which comes from a generator for each chunk: a
request gives the same audio alone, in a batch, or streamed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from tts_fm.audio.files import write_audio
from tts_fm.audio.levels import limit, normalise_loudness
from tts_fm.audio.match import matched
from tts_fm.audio.mel import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, log_mel
from tts_fm.checkpoint import find_model, load_flow_model
from tts_fm.model.duration import DurationModel, byte_ratio_frames, load_duration_model, scale_to
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.vocoder import GriffinLim, Vocoder, load_vocoder
from tts_fm.settings import Settings
from tts_fm.text.chunks import ChunkPlan, plan_chunks
from tts_fm.text.word_times import Word, word_times
from tts_fm.voices import Voice, catalogue, get_voice

BUILTIN = Path(__file__).parent / "assets" / "builtin"
EDGE_SILENCE = 0.16  # longest silence, seconds, that is kept after the speech of a chunk
LEAD = 0.24  # the same before it: with less behind the prompt the network swallows first words (recipes/builtin/LOG.md)
# (step, steps, chunks already spoken, chunks in all); may raise to cancel
Progress = Callable[[int, int, int, int], None]
# symbols, the frames of each (aligned models), frames of prompt and speech together
Timed = tuple[list[int], list[float] | None, int]


@dataclass
class Chunk:
    """One spoken stretch of a text."""

    index: int
    total: int
    text: str  # normalised
    wave: np.ndarray  # (S,) float32, with the pause that was asked for before it
    start: float  # seconds, in the whole
    words: list[Word]  # times in the whole; empty where the model is not aligned
    mel: np.ndarray  # (T, 100) log-mel of the speech
    unknown: dict[str, int]  # symbols of the text that the model does not have, with their counts

    @property
    def seconds(self) -> float:
        return len(self.wave) / SAMPLE_RATE


@dataclass
class Speech:
    """What was said, and how."""

    wave: np.ndarray  # (S,) float32 in [-1, 1]
    voice: str
    settings: Settings
    chunks: list[Chunk]
    compute_seconds: float
    forwards: int  # network forwards (a guided step counts as two), summed over the chunks
    warnings: list[str] = field(default_factory=list)
    rate: int = SAMPLE_RATE

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.rate

    @property
    def words(self) -> list[Word]:
        return [word for chunk in self.chunks for word in chunk.words]

    def save(self, path: str | Path | BinaryIO, format: str | None = None) -> None:
        """Write the audio to a path or an open file, with a note in its container that it was generated; see
        audio.write_audio.
        """
        s = self.settings
        note = f"generated speech; voice {self.voice}, seed {s.seed}, steps {s.steps}, cfg {s.cfg}"
        write_audio(path, self.wave, self.rate, format, {"software": "tts_fm", "comment": note})


@dataclass(frozen=True)
class Request:
    """One thing to say, for TTS.batch."""

    text: str
    voice: Voice | str | None = None
    ref_text: str | None = None
    settings: Settings = Settings()


@dataclass
class Job:
    """A chunk that is ready for the networks."""

    plan: ChunkPlan
    prompt: torch.Tensor  # (Tp, 100) log-mel
    ids: list[int]
    durations: list[float] | None  # frames of each symbol, the prompt's included
    frames: int  # prompt and speech
    seed: int
    settings: Settings
    voice: Voice
    request: int
    index: int
    total: int

    @property
    def shape(self) -> tuple[int, int]:
        """Frames and symbols that the job is padded to, always by at least one: the same alone and in every batch, so
        that even bfloat16, whose rounding depends on shapes, gives the same bits."""
        return (self.frames // 64 + 1) * 64, (len(self.ids) // 32 + 1) * 32


class TTS:
    """A flow model with what it needs to speak. Parts are passed in; `load` finds them."""

    def __init__(self, model: FlowModel, vocoder: Vocoder | GriffinLim, durations: DurationModel | None = None) -> None:
        if model.config.text == "aligned" and durations is None:
            raise ValueError("an `aligned` model speaks only with a duration model; pass durations")
        self.model, self.vocoder, self.durations = model.eval(), vocoder, durations
        self.defaults = getattr(model, "settings", {}).get("defaults", {})

    @classmethod
    def load(cls, model: str | Path | None = None, device: str = "cpu", dtype: torch.dtype | None = None, **how) -> TTS:
        """The built-in model (None), a model folder, or published weights (`variant=`, `vocab=` as for
        load_flow_model).

        dtype: what the flow network computes in; None = bfloat16 on CPUs that have it in hardware (4 to 5 times
        faster), else float32. A folder may hold `vocoder/` and `duration/`; without a vocoder Griffin-Lim is used.
        Raises ModelError.
        """
        folder = BUILTIN if model is None else find_model(model)
        if dtype is None and device == "cpu" and quick_bf16():
            dtype = torch.bfloat16
        flow = load_flow_model(folder, device=device, dtype=dtype, **how)
        vocoder = load_vocoder(folder / "vocoder") if (folder / "vocoder").is_dir() else GriffinLim()
        durations = load_duration_model(folder / "duration").to(device) if (folder / "duration").is_dir() else None
        return cls(flow, vocoder.to(device), durations)

    def voices(self) -> list[str]:
        """Names of the stored voices, the default first."""
        return list(catalogue())

    def voice(self, spec: str | Path | Voice | None = None, text: str | None = None) -> Voice:
        """A stored voice by name, or a recording; see voices.get_voice."""
        return get_voice(spec, text)

    def say(
        self,
        text: str,
        voice: Voice | str | None = None,
        *,
        ref_text: str | None = None,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
        **overrides,
    ) -> Speech:
        """Speak a text of up to 100,000 characters. `overrides` are fields of Settings. Raises ValueError for bad
        input.
        """
        request = Request(text, voice, ref_text, replace(settings or Settings(), **overrides))
        return next(iter(self.batch([request], on_progress=on_progress)))[1]

    def stream(
        self,
        text: str,
        voice: Voice | str | None = None,
        *,
        ref_text: str | None = None,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
        **overrides,
    ) -> Iterator[Chunk]:
        """The chunks of `say` one by one, each as soon as it is spoken. The final limiter is applied to every chunk on
        its own.
        """
        request = Request(text, voice, ref_text, replace(settings or Settings(), **overrides))
        start = 0.0
        for job in self.plan(request):
            chunk = self.speak([job], shifted(on_progress, job.index, job.total))[0]
            chunk = moved(chunk, start)
            chunk.wave = limit(chunk.wave, SAMPLE_RATE)
            start += chunk.seconds
            yield chunk

    def batch(
        self, requests: Sequence[Request], batch_frames: int = 6000, on_progress: Progress | None = None
    ) -> Iterator[tuple[int, Speech]]:
        """Speak many requests, their chunks sorted by length and batched exactly; yields (number of the request,
        Speech) as they finish.

        batch_frames: mel frames, prompts and padding included, in one forward.
        """
        began = time.perf_counter()
        plans = [self.plan(request, number) for number, request in enumerate(requests)]
        done: dict[int, dict[int, Chunk]] = {}
        jobs, spoken = [job for plan in plans for job in plan], 0
        for group in grouped(jobs, batch_frames):
            chunks = self.speak(group, shifted(on_progress, spoken, len(jobs)))
            spoken += len(group)
            for job, chunk in zip(group, chunks, strict=True):
                done.setdefault(job.request, {})[job.index] = chunk
                if len(done[job.request]) == job.total:
                    parts = [done[job.request][i] for i in range(job.total)]
                    yield job.request, self.finish(job, parts, time.perf_counter() - began)
                    done[job.request] = {-1: chunk}  # frees the rest; never complete again
                    began = time.perf_counter()

    def plan(self, request: Request, number: int = 0) -> list[Job]:
        """Everything before the flow: voice, chunks, durations. Raises ValueError for bad input."""
        settings = request.settings.with_defaults(self.defaults).check()
        voice = self.voice(request.voice, request.ref_text)
        lang = self.lang(settings, voice)
        tokenizer = self.model.tokenizer_for(lang)
        prompt = torch.from_numpy(log_mel(voice.wave))  # (Tp, 100)
        prompt = prompt[: len(prompt) // self.model.config.patch * self.model.config.patch]
        plans = plan_chunks(request.text, tokenizer, lang, settings.chunk_seconds, settings.speed)
        timed: list[Timed]
        if self.model.config.text == "aligned":
            timed = [self._aligned(plan, prompt, settings.speed) for plan in plans]
        else:
            timed = [self._by_ratio(plan, prompt, voice, lang, settings.speed) for plan in plans]
        if settings.duration is not None:
            timed = fit_total(timed, len(prompt), settings.duration - sum(p.pause for p in plans))
        return [
            Job(plan, prompt, ids, durations, frames, chunk_seed(settings, k), settings, voice, number, k, len(plans))
            for k, (plan, (ids, durations, frames)) in enumerate(zip(plans, timed, strict=True))
        ]

    def lang(self, settings: Settings, voice: Voice) -> str:
        """The accent to phonemise with: asked for, or the voice's, or the model's."""
        return settings.lang or voice.lang or self.model.tokenizer_settings.get("lang") or "en-us"

    def _aligned(self, plan: ChunkPlan, prompt: torch.Tensor, speed: float) -> Timed:
        """Symbols with their frames: one "unknown" symbol under the prompt, silence, the text, silence."""
        assert self.durations is not None
        unknown, silence = self.model.vocab.index("<unk>"), self.model.vocab.index("<sil>")
        ids = [silence, *plan.ids, silence]
        device = self.model.device
        frames = self.durations.durations(torch.tensor([ids], device=device), prompt[None].to(device), speed)[
            0
        ].tolist()
        frames[0], frames[-1] = min(frames[0], LEAD * FRAMES_PER_SECOND), EDGE_SILENCE * FRAMES_PER_SECOND / 2
        durations = [float(len(prompt)), *frames]
        return [unknown, *ids], durations, int(round(sum(durations)))

    def _by_ratio(self, plan: ChunkPlan, prompt: torch.Tensor, voice: Voice, lang: str, speed: float) -> Timed:
        """F5's rule: as many frames for a byte of text as the prompt has; the transcript of the prompt is part of the
        text.
        """
        if not voice.text:
            raise ValueError("this model needs to know what the reference says: give its transcript (--ref-text)")
        ref_text = voice.text if voice.text.endswith(". ") else voice.text.rstrip().rstrip(".") + ". "
        ids = self.model.tokenizer_for(lang).encode(ref_text + plan.text).ids
        return ids, None, len(prompt) + byte_ratio_frames(len(prompt), ref_text, plan.text, speed, compat=False)

    def speak(self, jobs: Sequence[Job], on_progress: Progress | None = None) -> list[Chunk]:
        """Flow and vocoder for jobs that share their solver settings: one batch for every padded shape among them."""
        chunks: dict[int, Chunk] = {}
        for shape in sorted({job.shape for job in jobs}):
            alike = [job for job in jobs if job.shape == shape]
            spoken = self._speak_alike(alike, shifted(on_progress, len(chunks), len(jobs)))
            chunks |= {id(job): chunk for job, chunk in zip(alike, spoken, strict=True)}
        return [chunks[id(job)] for job in jobs]

    def _speak_alike(self, jobs: Sequence[Job], on_progress: Progress | None) -> list[Chunk]:
        """One batch of jobs with the same solver settings and padded shape."""
        first = jobs[0]
        s = first.settings
        frames, width = first.shape
        longest = max(len(job.prompt) for job in jobs)
        # (B, Tp, 100)
        cond = torch.stack([torch.nn.functional.pad(job.prompt, (0, 0, 0, longest - len(job.prompt))) for job in jobs])
        ids = torch.tensor([job.ids + [-1] * (width - len(job.ids)) for job in jobs])  # (B, N)
        durations = None
        if first.durations is not None:
            durations = torch.tensor([job.durations + [0.0] * (width - len(job.ids)) for job in jobs])  # type: ignore[operator]

        def report(step: int, at: float, mel: torch.Tensor) -> None:
            if on_progress is not None:
                on_progress(step, s.steps or 0, 0, len(jobs))

        mel = self.model.sample(
            cond,
            ids,
            [job.frames for job in jobs],
            **s.solver(),
            seeds=[job.seed for job in jobs],
            durations=durations,
            prompt_frames=[len(job.prompt) for job in jobs],
            on_step=report if on_progress is not None else None,
            pad_to=frames,
        )  # (B, T, 100)
        return [self._chunk(job, mel[b, len(job.prompt) : job.frames]) for b, job in enumerate(jobs)]

    def _chunk(self, job: Job, mel: torch.Tensor) -> Chunk:
        """Vocode one chunk's mel (T, 100) in the prompt's colour, soften its edges, put its pause before it and time
        its words.
        """
        if job.settings.duration is None:
            mel = mel[: speech_end(mel)]
        mel = torch.from_numpy(matched(mel.float().cpu().numpy(), job.prompt.numpy(), job.settings.match or 0.0))
        wave = self.vocoder.decode(mel[None])[0].cpu().numpy().astype(np.float32)
        edge = min(240, len(wave) // 2)
        ramp = np.linspace(0.0, 1.0, edge, dtype=np.float32)
        wave[:edge] *= ramp
        wave[len(wave) - edge :] *= ramp[::-1]
        pause = np.zeros(round(job.plan.pause * SAMPLE_RATE), np.float32)
        words: list[Word] = []
        if job.durations is not None:
            # of the silence, then of every unit
            ends = np.minimum(np.cumsum(job.durations[1:]) * HOP, len(wave)) / SAMPLE_RATE
            offset = len(pause) / SAMPLE_RATE
            words = [
                Word(w.text, w.start + offset, w.end + offset)
                for w in word_times(
                    job.plan.text,
                    job.plan.units,
                    ends[1:-1].tolist(),
                    self.lang(job.settings, job.voice),
                    first=float(ends[0]),
                )
            ]
        whole, shown = np.concatenate([pause, wave]), mel.float().cpu().numpy()
        return Chunk(job.index, job.total, job.plan.text, whole, 0.0, words, shown, dict(job.plan.unknown))

    def finish(self, job: Job, chunks: list[Chunk], seconds: float) -> Speech:
        """Join the chunks of one request (`job` is any of its jobs), set the loudness and keep the true peak under -1
        dB.
        """
        settings = job.settings
        start, placed = 0.0, []
        for chunk in chunks:
            placed.append(moved(chunk, start))
            start += chunk.seconds
        wave = np.concatenate([chunk.wave for chunk in placed])
        wave = (
            limit(wave, SAMPLE_RATE)
            if settings.loudness is None
            else normalise_loudness(wave, SAMPLE_RATE, settings.loudness)
        )
        warnings = list(job.voice.warnings)
        unknown = sorted({symbol for chunk in chunks for symbol in chunk.unknown})
        if unknown:
            warnings.append(f"the model does not know {' '.join(unknown)}; left out")
        return Speech(wave, job.voice.name, settings, placed, seconds, settings.forwards() * len(chunks), warnings)


def quick_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    features: dict = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def moved(chunk: Chunk, start: float) -> Chunk:
    """The chunk with its times shifted to begin at `start` seconds."""
    return replace(chunk, start=start, words=[Word(w.text, w.start + start, w.end + start) for w in chunk.words])


def speech_end(mel: torch.Tensor) -> int:
    """Frames of a chunk (T, 100) up to EDGE_SILENCE behind the last one that is not silent: 4.6 nepers (40 dB) under
    the loudest ones.
    """
    level = mel.mean(-1)
    loud = (level > level.quantile(0.95) - 4.6).nonzero()
    return min(len(mel), int(loud[-1]) + 2 + round(EDGE_SILENCE * FRAMES_PER_SECOND))


def chunk_seed(settings: Settings, index: int) -> int:
    """Seed of one chunk's noise: a hash of seed, item id and chunk number."""
    key = f"{settings.seed}\0{settings.item}\0{index}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:7], "big")


def grouped(jobs: list[Job], batch_frames: int) -> Iterator[list[Job]]:
    """Jobs of like settings and padded shape, `batch_frames` padded frames at a time."""
    group: list[Job] = []
    for job in sorted(jobs, key=lambda j: (j.settings.solver_key(), j.shape, j.request, j.index)):
        alike = bool(group) and (job.settings.solver_key(), job.shape) == (
            group[0].settings.solver_key(),
            group[0].shape,
        )
        if group and not (alike and job.shape[0] * (len(group) + 1) <= batch_frames):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


def shifted(on_progress: Progress | None, spoken: int, chunks: int) -> Progress | None:
    """Progress of a part as progress of the whole: `spoken` of `chunks` were done before the part."""
    if on_progress is None:
        return None
    return lambda step, steps, done, _: on_progress(step, steps, spoken + done, chunks)


def fit_total(timed: list[Timed], prompt: int, seconds: float) -> list[Timed]:
    """Stretch all chunks alike so that together they last `seconds`. Raises ValueError where that is not possible."""
    total = sum(frames - prompt for _, _, frames in timed)
    wanted = seconds * FRAMES_PER_SECOND
    if not 0.2 <= wanted / total <= 5:
        raise ValueError(
            f"the text takes {total / FRAMES_PER_SECOND:.1f} s at speed 1; a duration of {seconds:.1f} s is out of "
            "reach (0.2 to 5 times)"
        )
    result = []
    for ids, durations, frames in timed:
        new = (frames - prompt) * wanted / total
        if durations is not None:
            durations = [durations[0], *scale_to(torch.tensor([durations[1:]]), new)[0].tolist()]
        result.append((ids, durations, prompt + max(1, round(new))))
    return result
