"""Audio files: read with checks before anything is decoded, resampled, and written whole or not at all.

Files are read and written by libsndfile (soundfile), so no ffmpeg is needed: WAV, FLAC, OGG (Vorbis or Opus), MP3,
raw PCM16, and to read AIFF, AU, CAF, W64, RF64; MP4, M4A, WebM and AAC are read through PyAV where it is installed.
Resampling is soxr's (VHQ): it needs no torch, takes any pair of rates at the same cost (torchaudio's kernel grows
with rate / gcd) and is what librosa uses. Nothing here knows about speech: see prompt.py.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tts_fm import files
from tts_fm.audio.containers import MEDIA, READABLE, kind_of_file, mended_wav
from tts_fm.audio.levels import limit
from tts_fm.audio.media import AAC_RATES, AacEncoder, decode
from tts_fm.audio.mel import SAMPLE_RATE, as_wave
from tts_fm.audio.ogg import steady

#: format name -> (libsndfile container, subtype, rates the encoder takes or None for any, media type)
FORMATS: dict[str, tuple[str, str, tuple[int, ...] | None, str]] = {
    "wav": ("WAV", "PCM_16", None, "audio/wav"),
    "flac": ("FLAC", "PCM_16", None, "audio/flac"),
    "ogg": ("OGG", "VORBIS", None, "audio/ogg"),
    "opus": ("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000), "audio/ogg; codecs=opus"),
    "mp3": ("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000), "audio/mpeg"),
    "pcm": ("RAW", "PCM_16", None, "audio/pcm"),  # signed 16 bit, little endian, no header
    "aac": ("ADTS", "AAC", AAC_RATES, "audio/aac"),  # by PyAV
}
MP3_LIVE: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": 0.6}  # 64 kbit/s at 24 kHz
METADATA_KEYS = (
    "title",
    "comment",
    "software",
    "artist",
    "copyright",
    "date",
    "album",
    "license",
    "tracknumber",
    "genre",
)
EXACT = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # kept as they are
MAX_CHANNELS = 8
RATES = (4_000, 384_000)  # Hz, what a file may claim
MAX_SAMPLES = 1 << 29  # frames x channels of one file: 3 h of 48 kHz mono, 2 GiB decoded
log = logging.getLogger(__name__)


def _check_header(sound: Any, name: str, max_seconds: float | None) -> int:
    """Refuse by the header alone; returns the number of frames that may be decoded."""
    rate, channels, frames = sound.samplerate, sound.channels, sound.frames
    known = {"WAV", "WAVEX", "FLAC", "OGG", "MP3", "MPEG", "AIFF", "AU", "CAF", "W64", "RF64"}
    if sound.format not in known:
        raise ValueError(f"{name} is {sound.format}/{sound.subtype}; {READABLE}")
    if not RATES[0] <= rate <= RATES[1] or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(
            f"{name} claims {rate} Hz and {channels} channels; {RATES[0]} to {RATES[1]} Hz and at most {MAX_CHANNELS} "
            "work"
        )
    if frames == 0:
        raise ValueError(f"{name} holds no samples; {READABLE} with speech in it")
    limit = MAX_SAMPLES // channels
    if max_seconds is not None:
        limit = min(limit, int(max_seconds * rate))
    if limit < frames < 1 << 62:  # larger = not known from the header; counted while decoding
        raise ValueError(f"{name} lasts {frames / rate:.1f} s, the limit is {limit / rate:.1f} s; cut it first")
    return limit


def _blocks(sound: Any, limit: int, dtype: str = "float32") -> Iterator[np.ndarray]:
    """Blocks (frames, channels) of at most limit + 1 frames in all, so that a lying header costs no memory."""
    left = limit + 1
    while left > 0:
        block = sound.read(min(1 << 17, left), dtype=dtype, always_2d=True)
        if not len(block):
            return
        left -= len(block)
        yield block


def mono(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of the channels; of two that cancel each other (one has the opposite polarity), their difference."""
    parts: list[np.ndarray] = []
    sign: float | None = None  # of the second channel
    for block in blocks:
        if block.shape[1] != 2:
            parts.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
            continue
        if sign is None:
            each, both = float(np.square(block).mean()), float(np.square(block.mean(axis=1)).mean())
            sign = None if each < 1e-8 else -1.0 if both < 0.05 * each else 1.0
        parts.append((block[:, 0] + (sign or 1.0) * block[:, 1]) / 2)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def read_audio(
    source: str | os.PathLike[str] | bytes | BinaryIO, max_seconds: float | None = None
) -> tuple[np.ndarray, int]:
    """Decode an audio file (path, its bytes, or a seekable binary file): (S,) float32, channels averaged, and its own
    rate in Hz. A WAV file whose header lies about its length gives what is there, and logs a warning.

    Checked in this order: magic bytes and WAV format tag; rate, channels and length in the header; the samples.
    ValueError, one line, for anything that is missing, damaged, of another kind, longer than max_seconds, or not
    finite.
    """
    return _decoded(
        source, max_seconds, lambda sound, limit: mono(_blocks(sound, limit)), lambda channels: mono([channels.T])
    )


def read_exact(
    source: str | os.PathLike[str] | bytes | BinaryIO, max_seconds: float | None = None
) -> tuple[np.ndarray, int, str]:
    """As `read_audio`, but every channel as it is stored: (S, C) samples, int32 (left-justified) or float, the rate in
    Hz, and libsndfile's name of how a sample is kept ("PCM_24"), "PCM_16" for what is compressed with losses.
    """
    subtype = "PCM_16"

    def stored(sound: Any, limit: int) -> np.ndarray:
        nonlocal subtype
        subtype = sound.subtype if sound.subtype in EXACT else "PCM_16"
        blocks = list(_blocks(sound, limit, {"FLOAT": "float32", "DOUBLE": "float64"}.get(subtype, "int32")))
        return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.int32)

    def whole(channels: np.ndarray) -> np.ndarray:
        return np.rint(np.clip(channels.T.astype(np.float64), -1, 1) * (2**31 - 1)).astype(np.int32)

    samples, rate = _decoded(source, max_seconds, stored, whole)
    return samples, rate, subtype


def _decoded(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    max_seconds: float | None,
    of_sound: Callable[[Any, int], np.ndarray],
    of_media: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, int]:
    """What `of_sound` makes of an open file and the most frames it may read, or `of_media` of decoded channels (C, S)
    float32; and the rate. Checks and errors are read_audio's.
    """
    import soundfile

    name = "the given audio" if isinstance(source, bytes) or hasattr(source, "read") else str(source)
    try:
        file: Any = (
            io.BytesIO(source)
            if isinstance(source, bytes)
            else source
            if hasattr(source, "read")
            else open(source, "rb")  # noqa: SIM115 - closed below
        )
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise ValueError(f"cannot read {name}: {reason}; {READABLE}") from None
    try:
        if kind_of_file(file, name) == MEDIA:
            limit = MAX_SAMPLES if max_seconds is None else int(max_seconds * RATES[1])
            channels, rate = decode(file, name, RATES, limit)
            limit = limit if max_seconds is None else int(max_seconds * rate)
            wave = of_media(channels)
        else:
            readable, mended = mended_wav(file)
            if mended:
                log.warning("%s: %s", name, mended)
            with soundfile.SoundFile(readable) as sound:
                rate = int(sound.samplerate)
                limit = _check_header(sound, name, max_seconds)
                wave = of_sound(sound, limit)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", None) or str(error).splitlines()[0]
        raise ValueError(f"{name} is damaged or not audio ({reason.rstrip('.')}); {READABLE}") from None
    finally:
        if file is not source:
            file.close()
    if len(wave) > limit:
        raise ValueError(f"{name} lasts more than {limit / rate:.1f} s, the limit; cut it first")
    if not len(wave):
        raise ValueError(f"{name} holds no samples; {READABLE} with speech in it")
    if not np.isfinite(wave).all():
        raise ValueError(f"{name} holds samples that are not numbers (NaN or infinite); export it again as PCM")
    return wave, rate


def resample(wave: np.ndarray, old: int, new: int) -> np.ndarray:
    """(S,) at old Hz -> (round(S new / old),) float32 at new Hz; the same array when the rates agree."""
    if old == new:
        return wave
    import soxr

    return np.asarray(soxr.resample(np.asarray(wave, np.float32), old, new, quality="VHQ"), np.float32)


def load(
    source: str | os.PathLike[str] | bytes | BinaryIO, rate: int = SAMPLE_RATE, max_seconds: float | None = None
) -> np.ndarray:
    """read_audio, then resample: (S,) float32 mono at `rate` Hz."""
    wave, own = read_audio(source, max_seconds)
    return resample(wave, own, rate)


# --- writing


def format_of(path: str | os.PathLike[str], default: str | None = None) -> str:
    """The format named by a file's suffix ("a/b.MP3" -> "mp3"), or `default`; ValueError names the ones that work."""
    suffix = Path(path).suffix.lower().lstrip(".")
    suffix = {"oga": "ogg", "raw": "pcm", "wave": "wav"}.get(suffix, suffix)
    if suffix in FORMATS:
        return suffix
    if default is not None:
        return default
    raise ValueError(
        f"{path}: no audio format is called {suffix!r}; name the file .{', .'.join(FORMATS)}, or give the format"
    )


def open_encoder(file: Any, rate: int, format: str, metadata: Mapping[str, str], constant: bool = False) -> Any:
    """A soundfile.SoundFile, or for aac what has its methods, that encodes mono at `rate` into a seekable binary file.
    constant: MP3 at MP3_LIVE instead of a variable bit rate. ValueError where the format has no such rate,
    MissingDependency for aac without PyAV.
    """
    import soundfile

    container, subtype, rates, _ = FORMATS[format]
    if rates and rate not in rates:
        raise ValueError(f"{format} takes {', '.join(map(str, rates))} Hz, not {rate}")
    if format == "aac":
        return AacEncoder(file, rate)
    raw = {"endian": "LITTLE"} if container == "RAW" else {}
    live = MP3_LIVE if constant and format == "mp3" else {}
    sound = soundfile.SoundFile(file, "w", rate, 1, subtype, format=container, **raw, **live)
    for key, value in metadata.items() if container != "RAW" else ():
        setattr(sound, key, "".join(c for c in str(value) if c >= " ")[:1000])
    return sound


def int16(wave: np.ndarray) -> np.ndarray:
    """(S,) float in [-1, 1] -> 16 bit, rounded to the nearest: the one way in which samples become whole numbers."""
    return np.clip(np.rint(wave * 32767.0), -32768, 32767).astype(np.int16)


def for_encoder(wave: np.ndarray, format: str) -> np.ndarray:
    """What libsndfile is given: whole numbers for formats of 16 bit, since it would round them down."""
    return int16(wave) if FORMATS[format][1] == "PCM_16" else wave


def _encode(file: Any, wave: np.ndarray, rate: int, format: str, metadata: Mapping[str, str]) -> None:
    container, _, rates, _ = FORMATS[format]
    if rates and rate not in rates:
        best = min((r for r in rates if r >= rate), default=rates[-1])
        wave, rate = resample(wave, rate, best), best
    peak = float(np.abs(wave).max())
    if peak > 1:
        log.info("peak %.2f is above full scale and was limited", peak)
        wave = limit(wave, rate)
    wave = for_encoder(wave, format)
    with open_encoder(file, rate, format, metadata) as sound:
        for start in range(0, len(wave), 1 << 15):  # libsndfile's Vorbis encoder overflows its stack on long blocks
            sound.write(wave[start : start + (1 << 15)])
    if container == "OGG":
        steady(file)  # the same audio is the same file


def write_audio(
    target: str | os.PathLike[str] | BinaryIO,
    wave: Any,
    rate: int,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a mono wave (S,), numpy or torch, to a path or an open binary file (which need not be seekable).

    format: one of FORMATS; by default the path's suffix, "wav" for a file object. WAV, FLAC and pcm are 16 bit. Opus
    and MP3 are resampled to the next rate their encoder takes. Samples beyond [-1, 1] are limited (see limit), never
    clipped. metadata: METADATA_KEYS -> text, kept in the container (raw pcm has none). A path is written as
    `<name>.part`, then renamed; on failure nothing stays. ValueError for bad arguments, OSError when the file cannot be
    written.
    """
    import soundfile

    is_file = hasattr(target, "write")
    format = format.lower() if format is not None else "wav" if is_file else format_of(target)  # type: ignore[arg-type]
    if format not in FORMATS:
        raise ValueError(f"unknown audio format {format!r}; one of {', '.join(FORMATS)} works")
    metadata = metadata or {}
    if unknown := set(metadata) - set(METADATA_KEYS):
        raise ValueError(f"unknown metadata {', '.join(sorted(unknown))}; {', '.join(METADATA_KEYS)} work")
    if not isinstance(rate, int | np.integer) or not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"rate is {rate!r}; {RATES[0]} to {RATES[1]} Hz works")
    wave = as_wave(wave)
    if is_file:
        memory = io.BytesIO()
        _encode(memory, wave, int(rate), format, metadata)
        target.write(memory.getvalue())  # type: ignore[union-attr]
        return
    path = Path(target)  # type: ignore[arg-type]
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; name a file in it")
    try:
        memory = io.BytesIO()  # libsndfile tells less of a full disk than the system does
        _encode(memory, wave, int(rate), format, metadata)
        files.write_bytes(path, memory.getvalue())
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error).splitlines()[0]
        raise OSError(
            f"cannot write {path}: {reason}; give a path in an existing, writable folder with free space"
        ) from error
