"""What is left to do when the networks are done with a chunk: the silence around the speech, its texture and the
prompt's colour before the vocoder; edges, loudness, limiter and word times behind it.

numpy alone, chunk by chunk, so that a chunk sounds the same alone and in a batch; `coloured` and `levelled` may be done
in any thread. T mel frames, S
samples at 24 kHz.
"""

from __future__ import annotations

import numpy as np

from tts_fm.audio.levels import lifted, limit, normalise_loudness
from tts_fm.audio.match import matched
from tts_fm.audio.mel import HOP, SAMPLE_RATE
from tts_fm.audio.steady import steadied
from tts_fm.audio.texture import Tables, textured
from tts_fm.engines.jobs import Chunk, Job, speech_edges
from tts_fm.text.word_times import Word, word_times

EDGE_SILENCE = 0.16  # longest silence, seconds, that is kept after the speech of a chunk


def coloured(job: Job, mel: np.ndarray, texture: Tables) -> tuple[int, np.ndarray]:
    """Frames that are cut from the start of a chunk's mel, and the rest, its end cut too, with the fine structure of
    recordings and in the prompt's colour.
    """
    cut, settings = 0, job.settings
    mel = mel[len(job.prompt) :]
    if settings.duration is None:
        plan = job.plan
        cut, end = speech_edges(mel, plan.before, EDGE_SILENCE if plan.after is None else plan.after)
        mel = mel[cut:end]
    mel = textured(mel, texture, settings.steps or 1)
    return cut, matched(mel, job.prompt if len(job.prompt) else job.voice.mel, settings.match or 0.0)


def levelled(job: Job, mel: np.ndarray, wave: np.ndarray, steady: bool) -> np.ndarray:
    """The vocoder's wave (S,) with its phases steadied and its magnitudes those of the mel, if that is wanted, its
    edges softened, its loudness set, its peaks limited.
    """
    wave = steadied(wave, mel) if steady else wave
    edge = min(240, len(wave) // 2)
    ramp = np.linspace(0.0, 1.0, edge, dtype=np.float32)
    wave[:edge] *= ramp
    wave[len(wave) - edge :] *= ramp[::-1]
    if job.settings.loudness is None:
        return limit(lifted(wave, SAMPLE_RATE), SAMPLE_RATE)
    return normalise_loudness(wave, SAMPLE_RATE, job.settings.loudness)


def finished(job: Job, cut: int, mel: np.ndarray, wave: np.ndarray, forwards: int) -> Chunk:
    """A chunk as it is heard, with the pause before it and the times of its words."""
    pause = round(job.plan.pause * SAMPLE_RATE)
    words: list[Word] = []
    if job.durations is not None:
        # of the silence, then of every unit
        ends = (np.clip((np.cumsum(job.durations[1:]) - cut) * HOP, 0, len(wave)) + pause) / SAMPLE_RATE
        words = word_times(job.plan.text, job.plan.units, ends[1:-1].tolist(), job.lang, first=float(ends[0]))
    unknown, foreign = dict(job.plan.unknown), job.plan.foreign
    return Chunk(job.index, job.total, job.plan.text, wave, 0.0, words, mel, unknown, forwards, pause, foreign)
