"""Text and a voice become speech: the whole inference path, in the order in which it happens.

    text -> chunks (text/chunks.py) -> frames for every symbol (duration model, or F5's byte ratio) -> mel (flow)
      -> the prompt's spectrum (audio/match.py) -> wave (vocoder) -> loudness, limiter

    tts_fm.TTS.load().say("Hello.", voice="ref.wav").save("hello.wav")

One generator, `TTS.spoken`, makes every chunk that anybody hears: of `say`, `stream` and `batch`, of the command line
and of the demo; the server, whose batches change while it speaks, uses the two parts it is made of (`speak` and
jobs.InOrder). A chunk is finished when it comes, loudness and limiter included, and no chunk depends on another: what
is streamed is what is saved, sample for sample, and a request gives the same audio alone and in a batch.

T mel frames, Tp of the prompt, S samples at 24 kHz. Nothing is random but the noise, from a generator for each chunk.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import tts_fm
from tts_fm import devices
from tts_fm.audio.files import write_audio
from tts_fm.audio.mel import FRAMES_PER_SECOND, SAMPLE_RATE
from tts_fm.engines import Engine, OnStep
from tts_fm.engines.adapted import AdaptedEngines
from tts_fm.engines.attune import Attuner
from tts_fm.engines.jobs import (
    Chunk,
    InOrder,
    Job,
    Progress,
    Timed,
    chunk_seed,
    counted_on,
    fit_total,
    grouped,
    reporter,
    shifted,
)
from tts_fm.engines.load import load_engine
from tts_fm.engines.phones import heard
from tts_fm.engines.quick import Quick, read_quick
from tts_fm.engines.sound import EDGE_SILENCE, coloured, finished, levelled
from tts_fm.settings import Settings
from tts_fm.text.chunks import ChunkPlan, Watch, each_chunk, phrases
from tts_fm.text.foreign import Foreign, foreign_notes
from tts_fm.text.lexicon import Lexicon
from tts_fm.text.pace import byte_ratio_frames
from tts_fm.text.symbols import SILENCE, UNKNOWN
from tts_fm.text.word_times import Word
from tts_fm.voices.stored import Voice, catalogue, get_voice

BUILTIN = Path(__file__).parent / "assets" / "builtin"
# longest silence, seconds, that is kept before the speech of a chunk: with less behind the prompt the network swallows
# first words (recipes/builtin/LOG.md)
LEAD = 0.24


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
        write_audio(path, self.wave, self.rate, format, provenance(self.voice, self.settings))


@dataclass(frozen=True)
class Request:
    """One thing to say, for TTS.batch."""

    text: str
    voice: Voice | str | None = None
    ref_text: str | None = None
    settings: Settings = Settings()


class TTS:
    """A model that speaks. What computes is passed in (engines/); `load` finds it."""

    def __init__(self, engine: Engine, quick: Quick | None = None) -> None:
        """quick: the model's few-step student, where it has one."""
        self.engine, self.defaults = engine, engine.defaults
        self._process = os.getpid()
        self.lexicon = Lexicon()  # how words are said that the rules say wrongly
        self._engines, self._attuner = AdaptedEngines(engine, quick), Attuner(engine)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        dtype: Any = None,
        engine: str = "auto",
        threads: int | None = None,
        **how: Any,
    ) -> TTS:
        """The built-in model (None), a model folder, or published weights (`variant=`, `vocab=` as for
        load_flow_model).

        device: "cpu", "cuda", "cuda:1", "mps", or "auto": $TTS_FM_DEVICE, or a GPU if there is one, or the CPU.
        engine: "onnx" runs a folder's graphs on the CPU without torch, "torch" its networks on any device, "auto"
        (default) the quicker one that there is; see engines.load.load_engine, also for dtype. threads: of one
        computation with onnx (None = all cores); with 1, as many threads may speak at once as there are cores. Raises
        ModelError.
        """
        from tts_fm.checkpoint.load import find_model

        place = BUILTIN if model is None else find_model(model)
        found = load_engine(place, engine, devices.name_of(device), dtype, threads, **how)
        return cls(found, read_quick(place))

    def voices(self) -> list[str]:
        """Names of the stored voices, the default first."""
        return list(catalogue())

    def voice(self, spec: str | Path | Voice | None = None, text: str | None = None) -> Voice:
        """A stored voice by name, or a recording; see voices.get_voice."""
        return heard(get_voice(spec, text))

    @staticmethod
    def adapt(recordings: Any, out: str | Path, **how: Any) -> Voice:
        """Learn a voice from a person's recordings, keep it in the folder `out`; see train.voice.adapt_voice."""
        tts_fm.adapt_voice(recordings, out, **how)
        return get_voice(out)

    # ---- what users call

    def say(
        self,
        text: str,
        voice: Voice | str | None = None,
        *,
        ref_text: str | None = None,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
        **overrides: Any,
    ) -> Speech:
        """Speak a text of up to 100,000 characters. `overrides` are fields of Settings. Raises ValueError for bad
        input.
        """
        request = Request(text, voice, ref_text, replace(settings or Settings(), **overrides))
        return next(iter(self.batch([request], on_progress=on_progress)))[1]

    def stream(
        self,
        text: str | Iterable[str],
        voice: Voice | str | None = None,
        *,
        ref_text: str | None = None,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
        on_step: OnStep | None = None,
        **overrides: Any,
    ) -> Iterator[Chunk]:
        """The chunks of `say` one by one, each as soon as it is spoken; joined they are what `say` gives. on_step also
        hears the mel that is foreseen at every step. Raises ValueError for bad input at once.

        text: also pieces of a text that is still being written, such as a language model's tokens: each sentence is
        spoken, as a chunk of its own, as soon as it has ended.
        """
        settings = replace(settings or Settings(), **overrides)
        if isinstance(text, str):
            jobs = self.plan(Request(text, voice, ref_text, settings))
            return (chunk for _, chunk in self.spoken(jobs, 0, on_progress, on_step))
        request = Request("", self.voice(voice, ref_text), None, settings)
        return (chunk for _, chunk in self.arriving(text, request, on_progress, on_step))

    def batch(
        self, requests: Sequence[Request], batch_frames: int = 6000, on_progress: Progress | None = None
    ) -> Iterator[tuple[int, Speech]]:
        """Speak many requests, their chunks sorted by length and batched exactly; yields (number of the request,
        Speech) as they finish.

        batch_frames: mel frames, prompts and padding included, in one forward.
        """
        jobs: list[Job] = []
        planned: list[float] = []  # seconds
        for number, request in enumerate(requests):
            began = time.perf_counter()
            jobs += self.plan(request, number)
            planned.append(time.perf_counter() - began)
        done: dict[int, list[Chunk]] = defaultdict(list)
        for job, chunk in self.spoken(jobs, batch_frames, on_progress):
            done[job.request].append(chunk)
            if len(done[job.request]) == job.total:
                chunks = done.pop(job.request)
                seconds = planned[job.request] + sum(chunk.compute_seconds for chunk in chunks)
                yield job.request, finish(job, chunks, seconds)

    # ---- how it is done

    def _check_process(self) -> None:
        """The threads of the libraries that compute do not live on in a forked child, which would wait for them."""
        if os.getpid() != self._process:
            raise RuntimeError("this model was loaded before the process was forked; call TTS.load in the child")

    def plan(self, request: Request, number: int = 0, watch: Watch | None = None) -> list[Job]:
        """Everything before the flow: voice, chunks, durations. Raises ValueError for bad input, and what `watch`
        raises.
        """
        self._check_process()
        voice = self.voice(request.voice, request.ref_text)
        own = {} if voice.adapter is None else dict(voice.adapter.defaults)
        settings = request.settings.with_defaults(self.defaults | own).check()
        self.engine.check(settings)
        lang = settings.lang or voice.lang or self.engine.lang or "en-us"
        prompt = voice.mel[: len(voice.mel) // self.engine.patch * self.engine.patch]  # (Tp, 100)
        tokenizer, budget, speed = self.engine.tokenizer(lang), settings.chunk_seconds, settings.speed
        normalised, first = settings.normalise == "on", settings.first_seconds
        plans: list[ChunkPlan] = []
        timed: list[Timed] = []
        text = self.lexicon.apply(request.text, lang)
        for plan in each_chunk(text, tokenizer, lang, budget, speed, watch, normalised, first):
            plans.append(plan)
            if not self.engine.together:
                timed += self.timed([plan], voice, prompt, lang, speed)
        timed = timed or self.timed(plans, voice, prompt, lang, speed)
        if self.engine.text == "aligned" and not shown(voice):
            prompt = prompt[:0]
        voice, settings = self._attuner.of(voice, settings)
        if settings.duration is not None:
            timed = fit_total(timed, len(prompt), settings.duration - sum(p.pause for p in plans))
        return [
            Job(prompt, ids, durations, frames, chunk_seed(settings, k), None,
                plan, settings, voice, lang, number, k, len(plans))
            for k, (plan, (ids, durations, frames)) in enumerate(zip(plans, timed, strict=True))
        ]  # fmt: skip

    def engine_of(self, voice: Voice, settings: Settings | None = None) -> Engine:
        """What speaks in a voice, with these settings; see AdaptedEngines.of."""
        return self._engines.of(voice, settings)

    def timed(
        self, plans: Sequence[ChunkPlan], voice: Voice, prompt: np.ndarray, lang: str, speed: float
    ) -> list[Timed]:
        """How long the symbols of each chunk last behind a prompt (Tp, 100)."""
        if self.engine.text == "aligned":
            return self._aligned(plans, voice, prompt, speed)
        return [self._by_ratio(plan, prompt, voice, lang, speed) for plan in plans]

    def _aligned(self, plans: Sequence[ChunkPlan], voice: Voice, prompt: np.ndarray, speed: float) -> list[Timed]:
        """Symbols with their frames: one "unknown" symbol under the prompt, silence, the text, silence."""
        unknown, silence = self.engine.vocab.index(UNKNOWN), self.engine.vocab.index(SILENCE)
        texts = [[silence, *plan.ids, silence] for plan in plans]
        result: list[Timed] = []
        for ids, said in zip(texts, self.engine_of(voice).all_durations(texts, prompt, speed), strict=True):
            frames = said.tolist()
            frames[0], frames[-1] = min(frames[0], LEAD * FRAMES_PER_SECOND), EDGE_SILENCE * FRAMES_PER_SECOND / 2
            durations = [float(len(prompt)) if shown(voice) else 0.0, *frames]
            result.append(([unknown, *ids], durations, round(sum(durations))))
        return result

    def _by_ratio(self, plan: ChunkPlan, prompt: np.ndarray, voice: Voice, lang: str, speed: float) -> Timed:
        """F5's rule: as many frames for a byte of text as the prompt has; the transcript of the prompt is part of the
        text.
        """
        if not voice.text:
            raise ValueError("this model needs to know what the reference says: give its transcript (--ref-text)")
        ref_text = voice.text if voice.text.endswith(". ") else voice.text.rstrip().rstrip(".") + ". "
        ids = self.engine.tokenizer(lang).encode(ref_text + plan.text).ids
        return ids, None, len(prompt) + byte_ratio_frames(len(prompt), ref_text, plan.text, speed, compat=False)

    def spoken(
        self,
        jobs: Sequence[Job],
        batch_frames: int = 0,
        on_progress: Progress | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[tuple[Job, Chunk]]:
        """THE generator of chunks: those of every request in their order, each as soon as that is possible, with a job
        of the same request. batch_frames: mel frames in one forward; 0 = chunk by chunk, for those who listen.
        """
        places: dict[int, InOrder] = defaultdict(InOrder)
        done = 0
        for group in grouped(jobs, batch_frames):
            chunks = self.speak(group, shifted(on_progress, done, len(jobs)), on_step)
            done += len(group)
            for job, chunk in zip(group, chunks, strict=True):
                yield from ((job, ready) for ready in places[job.request].put(chunk))

    def arriving(
        self,
        pieces: Iterable[str],
        request: Request,
        on_progress: Progress | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[tuple[Job, Chunk]]:
        """`spoken` for a text that arrives in pieces; totals are how many there are so far. Raises ValueError for a
        fixed duration, and when nothing was to be said at the end."""
        settings = request.settings
        if settings.duration is not None:
            raise ValueError("a text that arrives in pieces has no fixed duration; drop it, or give the whole text")
        order, count = InOrder(), 0
        for text, pause in phrases(pieces):
            if count:  # a first chunk has been heard
                request = replace(request, settings=settings.going_on())
            for job in counted_on(self.plan(replace(request, text=text)), count, pause):
                count += 1
                (chunk,) = self.speak([job], on_progress, on_step)
                yield from ((job, ready) for ready in order.put(chunk))
        if not count:
            raise ValueError("the text is empty; give at least one word")

    def speak(
        self, jobs: Sequence[Job], on_progress: Progress | None = None, on_step: OnStep | None = None
    ) -> list[Chunk]:
        """Flow and vocoder for jobs that share their solver settings: one batch for every padded shape among them."""
        self._check_process()
        chunks: dict[int, Chunk] = {}
        settings = jobs[0].settings
        keys = sorted({job.batch_key[1:] for job in jobs})
        batches = [[job for job in jobs if job.batch_key[1:] == key] for key in keys]
        if settings.adaptive:
            batches = [[job] for job in jobs]
        for batch in batches:
            asked: list[float] = []
            report = reporter(shifted(on_progress, len(chunks), len(jobs)), on_step, batch, asked)
            began = time.perf_counter()
            mels = self.engine_of(batch[0].voice, settings).sample(batch, settings, report)
            forwards, share = settings.forwards(asked), (time.perf_counter() - began) / len(batch)
            began = time.perf_counter()
            for job, chunk in zip(batch, self._finished(batch, mels, forwards), strict=True):
                chunks[id(job)] = replace(chunk, compute_seconds=share + time.perf_counter() - began)
                began = time.perf_counter()
        return [chunks[id(job)] for job in jobs]

    def _finished(self, batch: Sequence[Job], mels: Sequence[np.ndarray], forwards: int) -> Iterator[Chunk]:
        """Chunks from the mels of a batch, one after the other; on a GPU their waves together, the rest in threads."""
        texture, steady = self._engines.texture(batch[0].settings), self.engine.steady
        if not self.engine.together:
            for job, mel in zip(batch, mels, strict=True):
                cut, mel = coloured(job, mel, texture)
                yield finished(job, cut, mel, levelled(job, mel, self.engine.decode(mel), steady), forwards)
            return
        with ThreadPoolExecutor(devices.usable_cores()) as pool:
            cuts, kept = zip(*pool.map(coloured, batch, mels, repeat(texture)), strict=True)
            waves = pool.map(levelled, batch, kept, self.engine.decode_all(kept), repeat(steady))
            yield from map(finished, batch, cuts, kept, waves, repeat(forwards))


def shown(voice: Voice) -> bool:
    """Whether the flow network is given the voice's prompt."""
    return voice.adapter is None or voice.adapter.prompted


def finish(job: Job, chunks: list[Chunk], seconds: float, wave: np.ndarray | None = None) -> Speech:
    """The chunks of one request (`job` is any of its jobs), in order, as one Speech that took so many seconds. wave:
    what stands for their waves, where these are written already.
    """
    wave = np.concatenate([chunk.wave for chunk in chunks]) if wave is None else wave
    forwards = sum(chunk.forwards for chunk in chunks)
    unknown = [symbol for chunk in chunks for symbol in chunk.unknown]
    warnings = warnings_of(job.voice, unknown, [word for chunk in chunks for word in chunk.foreign])
    return Speech(wave, job.voice.name, job.settings, chunks, seconds, forwards, warnings)


def warnings_of(voice: Voice, unknown: Sequence[str], foreign: Sequence[Foreign] = ()) -> list[str]:
    """What the user should know of speech in this voice, with these symbols that the model does not have and these
    words in other letters.
    """
    left_out = [f"the model does not know {' '.join(sorted(set(unknown)))}; left out"] if unknown else []
    return [*voice.warnings, *left_out, *foreign_notes(foreign)]


def provenance(voice: str, settings: Settings) -> dict[str, str]:
    """The metadata of every file and stream: that it is generated, and from what."""
    how = f"voice {voice}, seed {settings.seed}, steps {settings.steps}, cfg {settings.cfg}"
    return {"software": "tts_fm", "comment": f"generated speech; {how}"}
