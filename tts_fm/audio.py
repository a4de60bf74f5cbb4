"""THE mel and wav conventions: every number about audio lives here.

B batch, T mel frames, S samples. Audio is mono float32 in [-1, 1] at 24 kHz; frame k of a mel is centred on sample 256 k, so S samples
give S // 256 + 1 frames. The mel is that of Vocos and F5-TTS: magnitude (power 1) STFT, HTK mel scale, natural log of clamp(1e-5).

Files are read and written by libsndfile (soundfile) alone, so no ffmpeg is needed: WAV, FLAC, OGG (Vorbis or Opus), MP3, raw PCM16.
Waves are numpy arrays here; only log_mel speaks torch. Resampling is soxr's (VHQ): it needs no torch, takes any pair of rates at the
same cost (torchaudio's kernel grows with rate / gcd) and is what librosa uses. Nothing here knows about speech: see reference.py.
"""

from __future__ import annotations

import io
import logging
import os
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .ogg import steady

if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 24_000  # Hz
N_FFT = 1024  # samples in an analysis window (= win_length)
HOP = 256  # samples between frames
N_MELS = 100
MEL_FLOOR = 1e-5  # magnitudes below this are clamped before the logarithm
FRAMES_PER_SECOND = SAMPLE_RATE / HOP  # 93.75
MIN_SAMPLES = N_FFT // 2 + 1  # the shortest wave that log_mel can reflect at its edges

#: What a network was trained on and a vocoder must agree with; stored beside weights.
MEL_CONVENTION: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE, "n_fft": N_FFT, "win_length": N_FFT, "hop_length": HOP, "n_mels": N_MELS, "mel_scale": "htk",
    "norm": None, "power": 1, "center": True, "log": "natural", "floor": MEL_FLOOR,
}  # fmt: skip

#: format name -> (libsndfile container, subtype, rates the encoder takes or None for any, media type)
FORMATS: dict[str, tuple[str, str, tuple[int, ...] | None, str]] = {
    "wav": ("WAV", "PCM_16", None, "audio/wav"),
    "flac": ("FLAC", "PCM_16", None, "audio/flac"),
    "ogg": ("OGG", "VORBIS", None, "audio/ogg"),
    "opus": ("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000), "audio/ogg; codecs=opus"),
    "mp3": ("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000), "audio/mpeg"),
    "pcm": ("RAW", "PCM_16", None, "audio/pcm"),  # signed 16 bit, little endian, no header
}
METADATA_KEYS = ("title", "comment", "software", "artist", "copyright", "date", "album", "license", "tracknumber", "genre")
MAX_CHANNELS = 8
RATES = (4_000, 384_000)  # Hz, what a file may claim
MAX_SAMPLES = 1 << 29  # frames x channels of one file: 3 h of 48 kHz mono, 2 GiB decoded
READABLE = "give a WAV (PCM or float), FLAC, OGG, Opus or MP3 file"

log = logging.getLogger(__name__)


# --- mel ---------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _mel_transform(device: str):
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(SAMPLE_RATE, N_FFT, N_FFT, HOP, n_mels=N_MELS, power=1.0, center=True, norm=None, mel_scale="htk").to(device)


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log-mel of waveforms, (B, S) float -> (B, S // 256 + 1, 100) float32. ValueError below 513 samples."""
    if wave.ndim != 2 or wave.shape[1] < MIN_SAMPLES:
        raise ValueError(f"log_mel takes (B, S) with S >= {MIN_SAMPLES} samples, not {tuple(wave.shape)}; pad short waves with zeros")
    return _mel_transform(str(wave.device))(wave.float()).clamp(min=MEL_FLOOR).log().transpose(1, 2)  # (B, T, 100)


# --- reading -----------------------------------------------------------------------------------------------------------------------


def _wav_problem(head: BinaryIO) -> str | None:
    """Why a RIFF file is not let through to libsndfile (None = let through): only PCM and float tags, one fmt chunk."""
    riff = head.read(12)
    if riff[8:12] != b"WAVE":
        return "is a RIFF file but not WAV"
    seen = False
    for _ in range(64):  # chunks before the samples
        name, size = head.read(4), head.read(4)
        if len(size) < 4:
            return "ends before its samples"
        length = struct.unpack("<I", size)[0]
        if name == b"data":
            return None if seen else "has no fmt chunk before its samples"
        if name != b"fmt ":
            head.seek(length + length % 2, io.SEEK_CUR)
            continue
        body = head.read(min(length, 40))
        if seen or not 16 <= length <= 4096 or len(body) < min(length, 40):
            return "has a damaged fmt chunk"
        head.seek(length - len(body) + length % 2, io.SEEK_CUR)
        seen = True
        tag, bits = struct.unpack("<H", body[:2])[0], struct.unpack("<H", body[14:16])[0]
        if tag == 0xFFFE and len(body) >= 40 and body[26:40] == b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71":
            tag = struct.unpack("<H", body[24:26])[0]
        if (tag, bits) not in {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}:
            return f"has WAV format tag 0x{tag:04x} with {bits} bits, which is not read"
    return "has too many chunks before its samples"


def _check_magic(file: BinaryIO, name: str) -> None:
    """Refuse what is not audio of a known container, by content and not by name, before libsndfile sees it."""
    magic = file.read(16)
    file.seek(0)
    problem: str | None = None
    if not magic:
        problem = "is empty"
    elif magic[:4] == b"RIFF":
        problem = _wav_problem(file)
        file.seek(0)
    elif magic[4:8] == b"ftyp" or magic[:4] == b"\x1aE\xdf\xa3":
        problem = "is MP4/M4A or WebM/Matroska, which libsndfile does not read"
    elif not (magic[:4] in (b"fLaC", b"OggS") or magic[:3] == b"ID3" or (len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xE6 == 0xE2)):
        problem = "is not audio of a known kind"
    if problem:
        raise ValueError(f"{name} {problem}; {READABLE}")


def _check_header(sound: Any, name: str, max_seconds: float | None) -> int:
    """Refuse by the header alone; returns the number of frames that may be decoded."""
    rate, channels, frames = sound.samplerate, sound.channels, sound.frames
    known = {"WAV", "WAVEX", "FLAC", "OGG", "MP3", "MPEG"}
    if sound.format not in known or "ADPCM" in sound.subtype:
        raise ValueError(f"{name} is {sound.format}/{sound.subtype}; {READABLE}")
    if not RATES[0] <= rate <= RATES[1] or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"{name} claims {rate} Hz and {channels} channels; {RATES[0]} to {RATES[1]} Hz and at most {MAX_CHANNELS} work")
    if frames == 0:
        raise ValueError(f"{name} holds no samples; {READABLE} with speech in it")
    limit = MAX_SAMPLES // channels
    if max_seconds is not None:
        limit = min(limit, int(max_seconds * rate))
    if limit < frames < 1 << 62:  # larger = not known from the header; counted while decoding
        raise ValueError(f"{name} lasts {frames / rate:.1f} s, the limit is {limit / rate:.1f} s; cut it first")
    return limit


def _blocks(sound: Any, limit: int) -> Iterator[np.ndarray]:
    """Mono blocks of at most limit + 1 frames in all, so that a lying header costs no memory."""
    left = limit + 1
    while left > 0:
        block = sound.read(min(1 << 17, left), dtype="float32", always_2d=True)  # (frames, channels)
        if not len(block):
            return
        left -= len(block)
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)


def read_audio(source: str | os.PathLike[str] | bytes | BinaryIO, max_seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Decode an audio file (path, its bytes, or a seekable binary file): (S,) float32, channels averaged, and its own rate in Hz.

    Checked in this order: magic bytes and WAV format tag; rate, channels and length in the header; the samples. ValueError, one line, for
    anything that is missing, damaged, of another kind, longer than max_seconds, or not finite.
    """
    import soundfile

    name = "the given audio" if isinstance(source, bytes) or hasattr(source, "read") else str(source)
    try:
        file: Any = io.BytesIO(source) if isinstance(source, bytes) else source if hasattr(source, "read") else open(source, "rb")
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise ValueError(f"cannot read {name}: {reason}; {READABLE}") from None
    try:
        _check_magic(file, name)
        with soundfile.SoundFile(file) as sound:
            rate = int(sound.samplerate)
            limit = _check_header(sound, name, max_seconds)
            parts = list(_blocks(sound, limit))
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", None) or str(error).splitlines()[0]
        raise ValueError(f"{name} is damaged or not audio ({reason.rstrip('.')}); {READABLE}") from None
    finally:
        if file is not source:
            file.close()
    wave = np.concatenate(parts) if parts else np.zeros(0, np.float32)
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


def load(source: str | os.PathLike[str] | bytes | BinaryIO, rate: int = SAMPLE_RATE, max_seconds: float | None = None) -> np.ndarray:
    """read_audio, then resample: (S,) float32 mono at `rate` Hz."""
    wave, own = read_audio(source, max_seconds)
    return resample(wave, own, rate)


# --- loudness ----------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _k_weighting(rate: int) -> np.ndarray:
    """The two biquads of ITU-R BS.1770-5 annex 1 (high shelf, high pass) at any rate, from the analogue filters behind its 48 kHz table."""
    shelf_filter = (1681.974450955533, 3.999843853973347, 0.7071752369554196, True)
    pass_filter = (38.13547087602444, 0, 0.5003270373238773, False)
    sections = []
    for f0, gain_db, q, shelf in (shelf_filter, pass_filter):
        k = np.tan(np.pi * f0 / rate)
        high, band = (10 ** (gain_db / 20), (10 ** (gain_db / 20)) ** 0.4996667741545416) if shelf else (1.0, 0.0)
        low = 1.0 if shelf else 0.0
        a0 = 1 + k / q + k * k
        a = [1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
        b = [high + band * k / q + low * k * k, 2 * (low * k * k - high), high - band * k / q + low * k * k]
        sections.append([*(np.array(b) / a0 if shelf else b), *a])
    return np.array(sections)


def loudness(wave: Any, rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-5: K-weighting, 400 ms blocks with 75 % overlap, gates at -70 LUFS and -10 LU).

    -inf for silence. A wave below 400 ms is one block.
    """
    from scipy.signal import sosfilt

    power = np.square(sosfilt(_k_weighting(rate), _as_wave(wave).astype(np.float64)))
    size, step = round(0.4 * rate), round(0.1 * rate)
    total = np.concatenate([[0.0], np.cumsum(power)])
    starts = np.arange(0, max(len(power) - size, 0) + 1, step)
    ends = np.minimum(starts + size, len(power))
    blocks = np.maximum(total[ends] - total[starts], 0) / (ends - starts)  # mean square of each block
    blocks = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
    if not len(blocks):
        return float("-inf")
    blocks = blocks[blocks > 0.1 * blocks.mean()]
    return float(-0.691 + 10 * np.log10(blocks.mean()))


def true_peak(wave: np.ndarray, factor: int = 8) -> np.ndarray:
    """Largest magnitude of the oversampled signal around each sample, (S,) -> (S,), linear. In blocks, so memory stays small."""
    from scipy.signal import resample_poly

    block, overlap = 1 << 18, 32  # the interpolation filter reaches 10 samples
    around = np.empty(len(wave))
    for start in range(0, len(wave), block):
        first, end = max(0, start - overlap), min(len(wave), start + block)
        piece = np.asarray(wave[first : end + overlap], np.float64)
        fine = np.abs(resample_poly(piece, factor, 1)).reshape(-1, factor)  # (S, factor): from sample k to before k + 1
        peak = fine.max(axis=1)
        peak[1:] = np.maximum(peak[1:], fine[:-1].max(axis=1))
        around[start:end] = peak[start - first : end - first]
    return around


def limit(wave: Any, rate: int, ceiling_db: float = -1.0) -> np.ndarray:
    """Bring the true peak (between samples too) to at most ceiling_db dBTP, (S,) -> (S,) float32; a wave already below comes back as it is.

    The needed gain is looked up 10 ms ahead and back, and smoothed by a window as long, so it moves slowly and never too late: nothing is
    ever clipped, silence and quiet parts keep their level.
    """
    from scipy.ndimage import convolve1d, minimum_filter1d

    wave = _as_wave(wave)
    if not ceiling_db <= 0:
        raise ValueError(f"ceiling_db is {ceiling_db}; 0 or below works (dB true peak)")
    ceiling = 10 ** (ceiling_db / 20)
    if np.abs(wave).max() < 0.25 * ceiling:  # oversampling cannot find 12 dB more
        return wave
    peaks = true_peak(wave)
    if peaks.max() <= ceiling:
        return wave
    reach = max(1, round(0.01 * rate))
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9))
    window = np.hanning(2 * reach + 3)[1:-1]
    gain = convolve1d(minimum_filter1d(needed, 2 * reach + 1, mode="nearest"), window / window.sum(), mode="nearest")
    out = wave * gain
    over = true_peak(out).max() / ceiling  # the moving gain can lift a peak between samples by a hair
    return (out / max(1.0, over * (1 + 1e-6))).astype(np.float32)


def normalise_loudness(wave: Any, rate: int, target: float = -23.0, ceiling_db: float = -1.0) -> np.ndarray:
    """Scale to `target` LUFS, then limit the true peak: (S,) -> (S,) float32. Silence comes back as it is."""
    wave = _as_wave(wave)
    if not np.isfinite(target) or not -70 <= target <= 0:
        raise ValueError(f"target loudness is {target}; -70 to 0 LUFS works (-23 is broadcast, -16 podcasts)")
    now = loudness(wave, rate)
    if not np.isfinite(now):
        return wave
    return limit(wave * np.float32(10 ** ((target - now) / 20)), rate, ceiling_db)


# --- writing -----------------------------------------------------------------------------------------------------------------------


def format_of(path: str | os.PathLike[str], default: str | None = None) -> str:
    """The format named by a file's suffix ("a/b.MP3" -> "mp3"), or `default`; ValueError names the ones that work."""
    suffix = Path(path).suffix.lower().lstrip(".")
    suffix = {"oga": "ogg", "raw": "pcm", "wave": "wav"}.get(suffix, suffix)
    if suffix in FORMATS:
        return suffix
    if default is not None:
        return default
    raise ValueError(f"{path}: no audio format is called {suffix!r}; name the file .{', .'.join(FORMATS)}, or give the format")


def _as_wave(wave: Any, what: str = "the wave") -> np.ndarray:
    """(S,) float32 from numpy or torch, checked: one dimension, not empty, finite."""
    if hasattr(wave, "detach"):
        wave = wave.detach().cpu().float().numpy()
    array = np.ascontiguousarray(wave, dtype=np.float32)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{what} has shape {array.shape}; one mono wave (S,) with at least one sample is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinite samples")
    return array


def _encode(file: Any, wave: np.ndarray, rate: int, format: str, metadata: Mapping[str, str]) -> None:
    import soundfile

    container, subtype, rates, _ = FORMATS[format]
    if rates and rate not in rates:
        best = min((r for r in rates if r >= rate), default=rates[-1])
        wave, rate = resample(wave, rate, best), best
    peak = float(np.abs(wave).max())
    if peak > 1:
        log.info("peak %.2f is above full scale and was limited", peak)
        wave = limit(wave, rate)
    raw = {"endian": "LITTLE"} if container == "RAW" else {}
    with soundfile.SoundFile(file, "w", rate, 1, subtype, format=container, **raw) as sound:
        for key, value in metadata.items() if container != "RAW" else ():
            setattr(sound, key, "".join(c for c in str(value) if c >= " ")[:1000])
        for start in range(0, len(wave), 1 << 15):  # libsndfile's Vorbis encoder overflows its stack on long blocks
            sound.write(wave[start : start + (1 << 15)])
    if container == "OGG":
        steady(file)  # the same audio is the same file


def write_audio(
    target: str | os.PathLike[str] | BinaryIO, wave: Any, rate: int, format: str | None = None, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a mono wave (S,), numpy or torch, to a path or an open binary file (which need not be seekable).

    format: one of FORMATS; by default the path's suffix, "wav" for a file object. WAV, FLAC and pcm are 16 bit. Opus and MP3 are resampled
    to the next rate their encoder takes. Samples beyond [-1, 1] are limited (see limit), never clipped. metadata: METADATA_KEYS -> text,
    kept in the container (raw pcm has none). A path is written as `<name>.part`, then renamed; on failure nothing stays. ValueError for
    bad arguments, OSError when the file cannot be written.
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
    wave = _as_wave(wave)
    if is_file:
        memory = io.BytesIO()
        _encode(memory, wave, int(rate), format, metadata)
        target.write(memory.getvalue())  # type: ignore[union-attr]
        return
    path = Path(target)  # type: ignore[arg-type]
    part = path.with_name(path.name + ".part")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; name a file in it")
    try:
        part.unlink(missing_ok=True)
        with open(part, "x+b") as file:  # x: never through a link that somebody put there
            _encode(file, wave, int(rate), format, metadata)
        os.replace(part, path)
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error).splitlines()[0]
        raise OSError(f"cannot write {path}: {reason}; give a path in an existing, writable folder with free space") from error
    finally:
        if os.path.lexists(part):
            part.unlink()
