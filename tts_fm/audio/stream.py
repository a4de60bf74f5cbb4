"""Audio written while it is made: to a file, a pipe or memory, piece by piece, in memory that does not grow with it.

WAV and PCM are written here, 16 bit, mono; the other formats by libsndfile, AAC by PyAV. A WAV header says how many
samples follow: exactly where that is known beforehand or the file can be gone back in, else 0xFFFFFFFF, which players
take for "until the end". Into a pipe all formats but FLAC are sent while they are made: what an encoder would write
into the head of the file at its end is left out there, so MP3 has a constant bit rate, from which readers tell its
length. S samples.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tts_fm import files
from tts_fm.audio.files import FORMATS, for_encoder, int16, open_encoder
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.audio.ogg import Steady, steady

UNKNOWN = 0xFFFFFFFF  # the size of a chunk of RIFF that nobody knows yet
AT_ONCE = ("wav", "pcm", "mp3", "opus", "ogg", "aac")  # formats that need no length in their head
PAGE_SECONDS = 0.2  # of Opus in one Ogg page of a pipe: what may be held back until more is written
BLOCK = 1 << 15  # samples in one write


def pcm16(wave: np.ndarray) -> bytes:
    """(S,) float in [-1, 1] -> the bytes of 16 bit little endian."""
    return int16(wave).astype("<i2").tobytes()


def wav_header(samples: int | None, metadata: Mapping[str, str], rate: int = SAMPLE_RATE) -> bytes:
    """The head of a 16 bit mono WAV of so many samples (None = not known), with its metadata as a LIST chunk."""
    info = b"INFO"
    for name, key in ((b"ISFT", "software"), (b"ICMT", "comment")):
        text = metadata.get(key, "").encode("ascii", "replace")[:1000] + b"\0"
        info += name + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    head += b"LIST" + struct.pack("<I", len(info)) + info + b"data"
    size, whole = (UNKNOWN, UNKNOWN) if samples is None else (2 * samples, len(head) + 4 + 2 * samples)
    return b"RIFF" + struct.pack("<I", whole) + head + struct.pack("<I", size)


class AudioStream:
    """Takes waves one after another. A context manager: at its end what was begun is completed, on an error a file is
    taken away again.

    target: a path, written beside itself and renamed at the end, or an open binary file, which may be a pipe. samples:
    how many there will be, where that is known. Raises ValueError for an unknown format, OSError where writing fails.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        format: str,
        metadata: Mapping[str, str] | None = None,
        samples: int | None = None,
        rate: int = SAMPLE_RATE,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"unknown audio format {format!r}; one of {', '.join(FORMATS)} works")
        self.format, self.metadata, self.expected, self.rate = format, metadata or {}, samples, rate
        self.path = None if hasattr(target, "write") else Path(target)
        self.part = None if self.path is None else files.part_of(self.path)
        self._target: Any = target if self.path is None else None
        self._file: Any = None  # what bytes go to
        self._start: int | None = None  # place of the header, where it can be gone back to
        self._sink: _Sink | None = None  # and, for formats of libsndfile's, what it writes to
        self._encoder: Any = None
        self.samples = 0  # written so far

    def __enter__(self) -> AudioStream:
        with self._named():
            if self.part is not None:
                self.part.unlink(missing_ok=True)
                self._file = open(self.part, "x+b")  # x: never through a link that somebody put there
            elif self.format in ("wav", "pcm"):
                self._file = self._target
            elif self.format in AT_ONCE and _place(self._target) is None:
                self._file = _Onward(self._target, FORMATS[self.format][0] == "OGG")
            else:
                self._file = tempfile.TemporaryFile()
            try:
                self._begin()
            except BaseException:
                self._drop()
                raise
        return self

    def write(self, wave: np.ndarray, pause: int = 0) -> None:
        """(S,) float32 in [-1, 1], behind what was written and so many samples of silence."""
        for start in range(0, pause, BLOCK):
            self.write(np.zeros(min(BLOCK, pause - start), np.float32))
        with self._named():
            for start in range(0, len(wave), BLOCK):  # libsndfile's Vorbis encoder overflows its stack on long blocks
                piece = wave[start : start + BLOCK]
                if self._sink is None:
                    write_all(self._file, pcm16(piece))
                else:
                    self._sink.calling(self._encoder.write, for_encoder(piece, self.format))
            self.samples += len(wave)
            if self._file is self._target or isinstance(self._file, _Onward):
                self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with self._named():
                    self._complete()
        finally:
            self._drop()

    def _begin(self) -> None:
        if self.format == "wav":
            self._start = _place(self._file)
            write_all(self._file, wav_header(self.expected, self.metadata, self.rate))
        elif self.format != "pcm":
            self._sink = _Sink(self._file)
            onward = isinstance(self._file, _Onward)
            self._encoder = open_encoder(self._sink, self.rate, self.format, self.metadata, constant=onward)
            if onward and self.format == "opus":
                _short_pages(self._encoder)

    def _complete(self) -> None:
        if self._sink is not None:
            encoder, self._encoder = self._encoder, None
            self._sink.calling(encoder.close)
            if FORMATS[self.format][0] == "OGG" and not isinstance(self._file, _Onward):
                steady(self._file)  # the same audio is the same file
        if self._start is not None and self.samples != self.expected:
            self._file.flush()
            self._file.seek(self._start)
            write_all(self._file, wav_header(self.samples, self.metadata, self.rate))
            self._file.seek(0, io.SEEK_END)
        if self.part is not None and self.path is not None:
            self._file.close()
            files.keep(self.part, self.path)
            return
        if self._file is not self._target and not isinstance(self._file, _Onward):
            self._file.seek(0)
            while block := self._file.read(1 << 20):
                write_all(self._target, block)
        self._target.flush()

    def _drop(self) -> None:
        """Close, and take away what was not completed."""
        if self._encoder is not None and self._sink is not None:
            encoder, self._encoder = self._encoder, None
            with contextlib.suppress(OSError):  # it is taken away
                self._sink.calling(encoder.close)
        if self._file is not None and self._file is not self._target:
            with contextlib.suppress(OSError):
                self._file.close()
        if self.part is not None:
            self.part.unlink(missing_ok=True)

    @property
    def _name(self) -> str:
        """Where it goes, for a message."""
        name = getattr(self._target, "name", None) if self.path is None else str(self.path)
        return "standard output" if name == "<stdout>" else name if isinstance(name, str) else "the audio stream"

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the file system say which file it was; a pipe that nobody reads stays a BrokenPipeError."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, self._name) from error


def write_all(file: Any, data: bytes) -> None:
    """Write all of it: a file without a buffer (PYTHONUNBUFFERED) may take a part and say so."""
    left = memoryview(data)
    while left:
        written = file.write(left)
        left = left[len(left) if written is None else written :]


def _place(file: Any) -> int | None:
    """Where an open file stands, if it can be gone back in and written there; None for pipes and for files that only
    grow.
    """
    try:
        if not file.seekable():
            return None
        if os.name != "nt" and not isinstance(file, io.BytesIO):
            import fcntl

            if fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_APPEND:
                return None
        return int(file.tell())
    except (OSError, ValueError, AttributeError):
        return None


def _short_pages(encoder: Any) -> None:
    """Ask libsndfile for an Ogg page every PAGE_SECONDS instead of every second; without its help they stay long."""
    import soundfile

    with contextlib.suppress(AttributeError):  # soundfile has no name of its own for this command
        library = soundfile._snd
        command, seconds = 0x1302, soundfile._ffi.new("double *", 1000 * PAGE_SECONDS)  # SFC_SET_OGG_PAGE_LATENCY_MS
        library.sf_command(encoder._file, command, seconds, soundfile._ffi.sizeof("double"))


class _Onward:
    """What an encoder takes for a file that it can go back in: bytes are passed on to a pipe as they are written, and
    what would overwrite bytes that have gone is dropped.
    """

    def __init__(self, target: Any, ogg: bool) -> None:
        self._target, self._steady = target, Steady() if ogg else None
        self._at = self._end = 0

    def write(self, data: Any) -> int:
        new = bytes(data)[max(0, self._end - self._at) :]
        self._at += len(bytes(data))
        self._end = max(self._end, self._at)
        if new:
            write_all(self._target, new if self._steady is None else self._steady.put(new))
        return len(bytes(data))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._target.flush()

    def close(self) -> None:
        """The pipe stays open."""


class _Sink:
    """A file as libsndfile sees it. What goes wrong inside its calls is kept and raised outside: from a callback of C
    no exception comes back.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._error: OSError | None = None

    def calling(self, function: Any, *arguments: Any) -> None:
        """Call libsndfile; OSError where the file could not take what it wrote."""
        try:
            function(*arguments)
        except Exception:
            if self._error is None:
                raise
        if self._error is not None:
            raise self._error

    def _guarded(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except OSError as error:
            self._error = self._error or error
            return 0

    def write(self, data: Any) -> int:
        return int(self._guarded(self._file.write, data) or 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._guarded(self._file.seek, offset, whence))

    def tell(self) -> int:
        return int(self._guarded(self._file.tell))

    def read(self, count: int = -1) -> bytes:
        return self._guarded(self._file.read, count) or b""

    def readinto(self, buffer: Any) -> int:
        return int(self._guarded(self._file.readinto, buffer))

    def flush(self) -> None:
        self._guarded(self._file.flush)
