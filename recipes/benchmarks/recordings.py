"""What becomes of prompts as people send them: formats, bands, noise and broken headers, made from one clean clip.

    python recipes/benchmarks/recordings.py [CLIP.flac] [--text "..."] [--out table.md]

Each line of the table is a recording: who decodes it, what the user is told, and the speech that it gives as a prompt,
by its level (dBFS of the active frames; the aim is -20) and the aligner's score (0 to -1.5: the words are heard; below
-2.2: they are hardly there). "Before" is without any mending: channels averaged, the first 12 s as they are, the
spectrum matched over the whole band, the result not lifted. Needs no torch; rows of MP4 and WebM need tts-fm[media].
"""

from __future__ import annotations

import argparse
import contextlib
import io
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile

from tts_fm.audio.containers import MEDIA, kind_of_file
from tts_fm.audio.files import load, resample
from tts_fm.audio.levels import active_level
from tts_fm.audio.mel import N_MELS, SAMPLE_RATE
from tts_fm.audio.prompt import check_reference
from tts_fm.engines.align import Aligner
from tts_fm.synthesis import TTS
from tts_fm.voices.stored import Voice

CLIP = Path(__file__).parents[2] / "tts_fm" / "assets" / "voices" / "george.flac"
TEXT = "The old lighthouse stood on the cliff, and nobody had climbed its stairs for years."
LONGEST = 12  # seconds of a prompt


def stored(wave: np.ndarray, rate: int = SAMPLE_RATE, form: str = "WAV", kept_as: str | None = "PCM_16") -> bytes:
    """A file of (S,) or (S, C) at 24 kHz, brought to `rate`."""
    if rate != SAMPLE_RATE:
        wave = resample(wave, SAMPLE_RATE, rate)
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate, kept_as, format=form)
    return file.getvalue()


def through_av(wave: np.ndarray, container: str, codec: str, bits: int, rate: int) -> bytes:
    """A file that libsndfile does not read. ModuleNotFoundError without PyAV."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(resample(wave, SAMPLE_RATE, rate)[None], format="fltp", layout="mono")
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return file.getvalue()


def without_size(data: bytes) -> bytes:
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", 0) + data[at + 4 :]


def noise(count: int, level: float, seed: int = 0) -> np.ndarray:
    """(count,) of white noise at so many dBFS."""
    return (10 ** (level / 20) * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def music(seconds: float) -> np.ndarray:
    """Chords of decaying tones."""
    rng, out = np.random.default_rng(1), np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    for at in range(0, len(out) - SAMPLE_RATE // 2, SAMPLE_RATE // 5):
        t, root = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE, 220 * 2 ** (rng.integers(0, 24) / 12)
        for pitch in (root, 1.25 * root, 1.5 * root):
            tone = sum(np.sin(2 * np.pi * pitch * k * t) / k**1.5 for k in range(1, 9))
            out[at : at + len(t)] += 0.05 * tone * np.exp(-4 * t)
    return out


def recordings(clip: np.ndarray) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Names of recordings, and what makes each, from one clean clip (S,) at 24 kHz."""
    level = active_level(clip, SAMPLE_RATE)
    yield "WAV 16 bit, 24 kHz", lambda: stored(clip)
    yield "FLAC 24 bit, 48 kHz, stereo", lambda: stored(np.stack([clip, clip], 1), form="FLAC", kept_as="PCM_24")
    for form, kept_as in (
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_24"),
        ("W64", "FLOAT"),
        ("RF64", "PCM_16"),
    ):
        yield f"{form} {kept_as}", partial(stored, clip, 44_100, form, kept_as)
    for kept_as in ("ULAW", "ALAW"):
        yield f"WAV {kept_as}, 8 kHz", partial(stored, clip, 8_000, "WAV", kept_as)
    yield "WAV IMA ADPCM, 16 kHz", lambda: stored(clip, 16_000, "WAV", "IMA_ADPCM")
    yield "MP3, 24 kHz", lambda: stored(clip, form="MP3", kept_as="MPEG_LAYER_III")
    yield "OGG Vorbis, 24 kHz", lambda: stored(clip, form="OGG", kept_as="VORBIS")
    yield "M4A (AAC), 64 kbit/s", lambda: through_av(clip, "ipod", "aac", 64_000, 44_100)
    yield "WebM (Opus), 12 kbit/s", lambda: through_av(clip, "webm", "libopus", 12_000, 48_000)
    yield "WAV 16 bit, 8 kHz", lambda: stored(clip, 8_000)
    yield "WAV 16 bit, 16 kHz", lambda: stored(clip, 16_000)
    yield "WAV with data size 0", lambda: without_size(stored(clip))
    yield "WAV with its end cut off", lambda: stored(clip)[: len(clip) * 3 // 2]
    yield "stereo of opposite polarity", lambda: stored(np.stack([clip, -clip], 1))
    yield (
        "3 s of room noise (-35 dB), then the voice",
        lambda: stored(np.concatenate([noise(3 * SAMPLE_RATE, level - 35), clip + noise(len(clip), level - 35)])),
    )
    yield (
        "14 s of loud room noise (-15 dB), then the voice",
        lambda: stored(np.concatenate([noise(14 * SAMPLE_RATE, level - 15), clip + noise(len(clip), level - 45)])),
    )
    for below in (30, 20, 10):
        yield f"white noise {below} dB below", partial(stored, clip + noise(len(clip), level - below))
    yield "8 kHz, noise 20 dB below", lambda: stored(clip + noise(len(clip), level - 20), 8_000)
    yield "music alone", lambda: stored(music(6))
    yield (
        "noise alone, in pulses",
        lambda: stored(noise(6 * SAMPLE_RATE, -25) * (np.sin(np.arange(6 * SAMPLE_RATE) / 2_000) > 0)),
    )


@contextlib.contextmanager
def unmended() -> Iterator[None]:
    """Matching over the whole band, and nothing lifted."""
    with (
        patch("tts_fm.synthesis.lifted", lambda wave, rate: wave),
        patch("tts_fm.audio.match.bands_within", lambda mel: N_MELS),
    ):
        yield


def as_it_is(data: bytes) -> np.ndarray:
    """The first seconds of a file as libsndfile gives them, channels averaged: (S,) at 24 kHz."""
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return resample(wave.mean(1), rate, SAMPLE_RATE)[: LONGEST * SAMPLE_RATE]


def measured(tts: TTS, aligner: Aligner, voice: Voice, text: str) -> tuple[str, list[str]]:
    """ "level, score" of the speech that a prompt gives, and its warnings."""
    speech = tts.say(text, voice)
    try:
        score = f"{aligner.align(speech.wave, text).score:.2f}"
    except ValueError:  # no speech in it
        score = "none"
    return f"{active_level(speech.wave, SAMPLE_RATE):.1f}, {score}", speech.warnings


def row(tts: TTS, aligner: Aligner, data: bytes, text: str) -> tuple[str, str, str, str]:
    """Decoded by, before, after, told."""
    by = "PyAV" if kind_of_file(io.BytesIO(data), "x") == MEDIA else "libsndfile"
    try:
        wave = as_it_is(data)
        with unmended():
            before = measured(tts, aligner, Voice("x", wave), text)[0] if np.abs(wave).max() > 1e-4 else "silent"
    except (soundfile.LibsndfileError, ValueError):
        before = "not read"
    try:
        reference = check_reference(data)
    except ValueError as error:
        return by, before, "refused", str(error)
    voice = Voice("x", reference.wave, None, None, tuple(reference.warnings), recorded=True)
    after, warnings = measured(tts, aligner, voice, text)
    return by, before, after, "; ".join(warning.split(":")[0].split(" (")[0] for warning in warnings) or "nothing"


def main() -> None:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path, nargs="?", default=CLIP, help="clean speech (default: a built-in voice's)")
    parser.add_argument("--text", default=TEXT, help="what is spoken with each recording as the prompt")
    parser.add_argument("--out", type=Path, help="where the table goes as well")
    args = parsed(parser)
    tts, aligner = TTS.load(), Aligner.load()
    lines = [
        "| recording | decoded by | before: level, score | after | what is told |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name, make in recordings(load(args.clip, max_seconds=LONGEST)):
        try:
            cells = row(tts, aligner, make(), args.text)
        except ModuleNotFoundError:
            cells = ("PyAV is not installed", "", "", "")
        lines.append(f"| {' | '.join([name, *cells])} |")
        print(lines[-1], flush=True)
    if args.out is not None:
        args.out.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
