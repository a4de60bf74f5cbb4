"""A recording as it is stored, and as an edit leaves it: at its own rate, with its channels and its depth.

An edit works on one mono wave at 24 kHz. `put_back` takes from its result only what is new, brings that to the
recording's rate and channels, and fades it in and out beside the samples of the recording, which stay exactly what
they were. S samples at 24 kHz, N samples of C channels at the recording's rate.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tts_fm import files
from tts_fm.audio.files import FORMATS, format_of, mono, read_exact, resample, write_audio
from tts_fm.audio.joints import FADE, Kept
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.settings import Settings
from tts_fm.text.word_times import Word

BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ULAW": 16, "ALAW": 16}


@dataclass(frozen=True)
class Recording:
    """What a file holds."""

    samples: np.ndarray  # (N, C), int32 (left-justified) or float
    rate: int
    kept_as: str  # "PCM_24": how a sample is stored
    wave: np.ndarray  # (S,) float32, mono at 24 kHz

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes | BinaryIO, max_seconds: float | None = None) -> Recording:
        """Read and check a file; errors as audio.read_audio."""
        samples, rate, kept_as = read_exact(source, max_seconds)
        return cls(samples, rate, kept_as, resample(mono([as_float(samples)]), rate, SAMPLE_RATE))


@dataclass(frozen=True)
class Change:
    """One stretch that was spoken anew."""

    old: str  # words of the recording that are gone, "" = something was put in
    new: str  # words in their place, "" = they were taken out
    start: float  # seconds in the result
    end: float


@dataclass
class Edited:
    """The changed recording."""

    wave: np.ndarray  # (S,) float32, mono at 24 kHz
    words: list[Word]  # times in the result
    spans: list[Change]
    settings: Settings
    compute_seconds: float
    warnings: list[str] = field(default_factory=list)
    recording: Recording | None = None  # where the recording's own samples are known
    kept: list[Kept] = field(default_factory=list)  # in mono samples at 24 kHz

    @property
    def seconds(self) -> float:
        return len(self.wave) / SAMPLE_RATE

    @property
    def rate(self) -> int:
        """Hz of what is saved."""
        return SAMPLE_RATE if self.recording is None else self.recording.rate

    def samples(self) -> np.ndarray:
        """(N, C): what is saved. The recording's own rate, channels and kind of number where they are known."""
        if self.recording is None:
            return self.wave[:, None]
        return put_back(self.recording, self.wave, self.kept)

    def save(self, path: str | Path | BinaryIO, format: str | None = None) -> None:
        """Write the audio to a path or an open file, with a note in its container that parts of it are generated. WAV
        and FLAC keep the recording's depth where they can.
        """
        parts = ", ".join(f"{span.start:.2f}-{span.end:.2f} s" for span in self.spans)
        s = self.settings
        note = f"edited recording, generated speech at {parts}; seed {s.seed}, steps {s.steps}, cfg {s.cfg}"
        metadata = {"software": "tts_fm", "comment": note}
        if self.recording is None:
            write_audio(path, self.wave, SAMPLE_RATE, format, metadata)
        else:
            write_samples(path, self.samples(), self.rate, self.recording.kept_as, format, metadata)


def as_float(samples: np.ndarray) -> np.ndarray:
    """(N, C) of any kind -> (N, C) float32 in [-1, 1]."""
    return (samples / 2.0**31 if samples.dtype.kind == "i" else samples).astype(np.float32)


def put_back(recording: Recording, wave: np.ndarray, kept: Sequence[Kept]) -> np.ndarray:
    """The result of an edit, `wave` (S',), in the recording's rate, channels and kind of number: (N', C). Inside the
    stretches of `kept` its samples are the recording's own.
    """
    own, scale = recording.samples, recording.rate / SAMPLE_RATE
    fresh = _spread(resample(wave, SAMPLE_RATE, recording.rate), recording)  # (N', C)
    fade = round(FADE * scale)
    parts: list[np.ndarray] = []
    at, last = 0, None  # where the next new stretch begins in `fresh`, and behind which of the recording's samples
    for piece in kept:
        first, end = round(piece.first * scale), round(piece.last * scale)
        end = len(own) if piece.last == len(recording.wave) else end
        start = round(piece.start * scale)
        parts += [_joined(fresh[at:start], own, last, first, fade), own[first:end]]
        at, last = round((piece.start + piece.last - piece.first) * scale), end
    return np.concatenate([*parts, _joined(fresh[at:], own, last, None, fade)])


def _joined(new: np.ndarray, own: np.ndarray, last: int | None, first: int | None, fade: int) -> np.ndarray:
    """What is new, (n, C), faded over from the recording behind its sample `last`, and into it before `first`."""
    result = new.astype(np.float64)
    rise = (np.arange(fade) + 0.5)[:, None] / fade
    if last is not None:
        count = min(fade, len(new), len(own) - last)
        result[:count] += (1 - rise[:count]) * (own[last : last + count] - result[:count])
    if first is not None:
        count = min(fade, len(new), first)
        end = slice(len(result) - count, None)
        result[end] += rise[:count] * (own[first - count : first] - result[end])
    return result.astype(own.dtype) if own.dtype.kind == "f" else np.rint(result).astype(own.dtype)


def _spread(wave: np.ndarray, recording: Recording) -> np.ndarray:
    """A mono wave (n,) in the recording's channels, each as loud as its voice is there, and its kind of number."""
    channels = as_float(recording.samples)  # (N, C)
    one = mono([channels])
    gains = one @ channels / max(float(one @ one), 1e-9)  # (C,)
    spread = wave[:, None].astype(np.float64) * gains
    if recording.samples.dtype.kind == "f":
        return spread.astype(recording.samples.dtype)
    step = 2 ** (32 - BITS.get(recording.kept_as, 16))
    return np.clip(np.rint(spread * (2**31 / step)) * step, -(2**31), 2**31 - step).astype(np.int32)


def write_samples(
    target: str | Path | BinaryIO,
    samples: np.ndarray,
    rate: int,
    kept_as: str,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write (N, C) samples; WAV and FLAC keep them as `kept_as` where they can, else as 24 or 16 bit. Compressed
    formats take their own rates; raw pcm and aac are mono. ValueError and OSError as audio.write_audio.
    """
    import soundfile

    is_file = hasattr(target, "write")
    name = format.lower() if format is not None else "wav" if is_file else format_of(target)  # type: ignore[arg-type]
    if name not in ("wav", "flac", "mp3", "ogg", "opus"):
        write_audio(target, mono([as_float(samples)]), rate, name, metadata)
        return
    container, subtype, rates, _ = FORMATS[name]
    if name in ("wav", "flac"):
        deep = BITS.get(kept_as, 32) > 16
        subtype = kept_as if soundfile.check_format(container, kept_as) else "PCM_24" if deep else "PCM_16"
    else:
        samples = np.clip(as_float(samples), -1, 1)
        if rates and rate not in rates:
            best = min((r for r in rates if r >= rate), default=rates[-1])
            samples = np.stack([resample(channel, rate, best) for channel in samples.T], axis=1)
            rate = best
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", rate, samples.shape[1], subtype, format=container) as sound:
        for key, value in (metadata or {}).items():
            setattr(sound, key, value[:1000])
        for start in range(0, len(samples), 1 << 15):  # libsndfile's Vorbis encoder overflows its stack on long blocks
            sound.write(samples[start : start + (1 << 15)])
    _put(target, memory.getvalue())


def _put(target: Any, data: bytes) -> None:
    if hasattr(target, "write"):
        target.write(data)
    else:
        files.write_bytes(target, data)
