"""Chunks on their way through the networks: what one job is, its seed, its share of a fixed duration, which jobs make
one batch, what is left of the silence around it, and how chunks that were spoken in any order come out in theirs.

It knows no networks. T mel frames, S samples at 24 kHz.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tts_fm.audio.mel import FRAMES_PER_SECOND, SAMPLE_RATE
from tts_fm.engines import OnStep, Utterance
from tts_fm.settings import Settings
from tts_fm.text.chunks import ChunkPlan
from tts_fm.text.foreign import Foreign
from tts_fm.text.word_times import Word
from tts_fm.voices.stored import Voice

# (step, steps, chunks already spoken, chunks in all); may raise to cancel
Progress = Callable[[int, int, int, int], object]
QUIETEST = 0.1  # seconds of a chunk, those with the least sound, that show its noise
# symbols, the frames of each (`aligned` models), frames of prompt and speech together
Timed = tuple[list[int], list[float] | None, int]


@dataclass
class Job(Utterance):
    """A chunk that is ready for the networks, and where it comes from."""

    plan: ChunkPlan = None  # type: ignore[assignment]
    settings: Settings = Settings()
    voice: Voice = None  # type: ignore[assignment]
    lang: str = "en-us"
    request: int = 0  # its number among the requests that are spoken together
    index: int = 0  # of the chunk in its request
    total: int = 1  # chunks of the request

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """What the jobs of one batch share: solver settings, padded shape, weights."""
        adapter = self.voice.adapter
        return self.settings.solver_key(), self.shape, "" if adapter is None else adapter.digest


@dataclass
class Chunk:
    """One spoken stretch of a text, as it is heard: loudness and limiter are applied."""

    index: int
    total: int
    text: str  # normalised
    speech: np.ndarray  # (S,) float32 in [-1, 1], without the pause before it
    start: float  # seconds, in the whole
    words: list[Word]  # times in the whole; empty where the model is not aligned
    mel: np.ndarray  # (T, 100) log-mel of the speech
    unknown: dict[str, int]  # symbols of the text that the model does not have, with their counts
    forwards: int = 0  # of the network; a guided step counts as two
    pause: int = 0  # samples of silence that were asked for before it
    foreign: tuple[Foreign, ...] = ()  # words in other letters
    compute_seconds: float = 0.0  # its share of the time that its batch took, and the time that it took alone

    @property
    def wave(self) -> np.ndarray:
        """(S,) the pause and the speech; made anew each time, for those who cannot write silence as they go."""
        return np.concatenate([np.zeros(self.pause, np.float32), self.speech]) if self.pause else self.speech

    @property
    def samples(self) -> int:
        return self.pause + len(self.speech)

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def emptied(self) -> Chunk:
        """The chunk without what is large: speech and mel of the same length that hold nothing and take no memory."""
        zero = np.zeros((), np.float32)
        return replace(self, speech=np.broadcast_to(zero, self.speech.shape), mel=np.broadcast_to(zero, self.mel.shape))


def moved(chunk: Chunk, start: float) -> Chunk:
    """The chunk with its times shifted to begin at `start` seconds."""
    return replace(chunk, start=start, words=[Word(w.text, w.start + start, w.end + start) for w in chunk.words])


class InOrder:
    """Chunks of one request, spoken in any order, given out in theirs, each with its place in time."""

    def __init__(self, first: int = 0) -> None:
        self._early: dict[int, Chunk] = {}  # those whose turn has not come
        self._next, self._samples = first, 0

    def put(self, chunk: Chunk) -> Iterator[Chunk]:
        """Take a chunk; gives those whose turn has come."""
        self._early[chunk.index] = chunk
        while (ready := self._early.pop(self._next, None)) is not None:
            start = self._samples / SAMPLE_RATE
            self._next, self._samples = self._next + 1, self._samples + ready.samples
            yield moved(ready, start)


def chunk_seed(settings: Settings, index: int) -> int:
    """Seed of one chunk's noise: a hash of seed, item id and chunk number."""
    key = f"{settings.seed}\0{settings.item}\0{index}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:7], "big")


def counted_on(jobs: Sequence[Job], first: int, pause: float = 0.0) -> list[Job]:
    """The jobs of a text's next phrase, of which `first` chunks came before: numbers and seeds go on from there, and so
    many seconds of silence are added before the phrase.
    """
    return [
        replace(
            job,
            index=first + k,
            total=first + len(jobs),
            seed=chunk_seed(job.settings, first + k),
            plan=replace(job.plan, pause=job.plan.pause + (0.0 if k else pause)),
        )
        for k, job in enumerate(jobs)
    ]


def speech_edges(mel: np.ndarray, before: float | None, after: float) -> tuple[int, int]:
    """First frame, and the one behind the last, of the speech in a chunk (T, 100), with so many seconds of the silence
    around it (before None: with all of it). Silent is what is 4.6 nepers (40 dB) under the loudest frames; in a voice
    with noise what is hardly louder than the quietest, if it is 2.3 (20 dB) under the loudest.
    """
    level = mel.mean(-1)
    loudest, quietest = np.quantile(level, 0.95), np.sort(level)[: round(QUIETEST * FRAMES_PER_SECOND)].mean()
    loud = np.flatnonzero(level > np.clip(quietest + 0.9, loudest - 4.6, loudest - 2.3))
    start = 0 if before is None else max(0, int(loud[0]) - 1 - round(before * FRAMES_PER_SECOND))
    return start, min(len(mel), int(loud[-1]) + 2 + round(after * FRAMES_PER_SECOND))


def grouped(jobs: Sequence[Job], batch_frames: int) -> Iterator[list[Job]]:
    """Jobs of like settings and padded shape, `batch_frames` padded frames at a time; 0 = each alone, in order."""
    if not batch_frames:
        yield from ([job] for job in jobs)
        return
    group: list[Job] = []
    for job in sorted(jobs, key=lambda j: (*j.batch_key, j.request, j.index)):
        if group and not (alike(job, group[0]) and job.shape[0] * (len(group) + 1) <= batch_frames):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


def alike(one: Job, other: Job) -> bool:
    """Whether two jobs can be spoken in one batch."""
    return one.batch_key == other.batch_key


def fit_total(timed: list[Timed], prompt: int, seconds: float) -> list[Timed]:
    """Stretch all chunks alike so that together they last `seconds`. Raises ValueError where that is not possible."""
    total = sum(frames - prompt for _, _, frames in timed)
    wanted = seconds * FRAMES_PER_SECOND
    if not 0.2 <= wanted / total <= 5:
        raise ValueError(
            f"the text takes {total / FRAMES_PER_SECOND:.1f} s at speed 1; a duration of {seconds:.1f} s is out of "
            "reach (0.2 to 5 times)"
        )
    result: list[Timed] = []
    for ids, durations, frames in timed:
        new = (frames - prompt) * wanted / total
        if durations is not None:
            factor = new / max(sum(durations[1:]), 1e-6)
            durations = [durations[0], *[d * factor for d in durations[1:]]]
        result.append((ids, durations, prompt + max(1, round(new))))
    return result


def shifted(on_progress: Progress | None, spoken: int, chunks: int) -> Progress | None:
    """Progress of a part as progress of the whole: `spoken` of `chunks` were done before the part."""
    if on_progress is None:
        return None
    return lambda step, steps, done, _: on_progress(step, steps, spoken + done, chunks)


def reporter(
    on_progress: Progress | None, on_step: OnStep | None, jobs: Sequence[Job], asked: list[float] | None = None
) -> OnStep | None:
    """What an engine calls at every step: counts for the one, for the other what each job's speech is foreseen to be,
    without its prompt. The times at which an adaptive solver asked are added to `asked`.
    """
    settings = jobs[0].settings
    if on_progress is None and on_step is None and not settings.adaptive:
        return None
    steps = settings.steps or 0

    def report(step: int, at: float, mels: Callable[[], list[np.ndarray]]) -> None:
        if asked is not None:
            asked.append(at)
        if on_progress is not None:
            on_progress(int(at * steps) if settings.adaptive else step, steps, 0, len(jobs))
        if on_step is not None:
            on_step(step, at, lambda: [mel[len(job.prompt) :] for job, mel in zip(jobs, mels(), strict=True)])

    return report
