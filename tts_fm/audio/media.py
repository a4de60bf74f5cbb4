"""Sound from MP4, M4A, WebM, AAC and other media files, decoded by PyAV (pip install tts-fm[media]); and AAC, encoded.

Of a file only the first sound track is read, never further than asked; nothing else of it is looked at.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from tts_fm.errors import MissingDependency

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # of ISO/IEC 14496-3
AAC_BITS = 96_000  # a second


def decode(file: BinaryIO, name: str, rates: tuple[int, int], most: int) -> tuple[np.ndarray, int]:
    """(channels, S) float32 of at most `most` + 1 samples a channel, and the rate in Hz. ValueError, one line, for what
    cannot be decoded; without PyAV the line says how to convert the file.
    """
    try:
        import av
    except ImportError:
        raise ValueError(
            f"{name} is MP4, M4A, WebM or AAC, which needs: pip install 'tts-fm[media]'; or convert it: "
            f"ffmpeg -i {_quoted(name)} -vn reference.wav"
        ) from None
    try:
        with av.open(file, "r", metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise ValueError(f"{name} holds no sound")
            stream = container.streams.audio[0]
            rate = int(stream.rate or 0)
            if not rates[0] <= rate <= rates[1]:
                raise ValueError(f"{name} claims {rate} Hz; {rates[0]} to {rates[1]} Hz work")
            resampler: Any = av.AudioResampler(format="fltp", rate=rate)
            parts, count = [], 0
            for frame in container.decode(stream):
                for plain in resampler.resample(frame):
                    part = plain.to_ndarray().reshape(len(plain.layout.channels), -1)
                    parts.append(part.astype(np.float32))
                    count += part.shape[1]
                if count > most:
                    break
    except av.FFmpegError as error:
        raise ValueError(f"{name} is damaged or not audio ({error.strerror or error}); export it as WAV") from None
    if not parts:
        raise ValueError(f"{name} holds no samples; export it as WAV")
    return np.concatenate(parts, axis=1)[:, : most + 1], rate


def _quoted(name: str) -> str:
    """A file's name as a shell takes it."""
    import shlex

    return shlex.quote(name if not name.startswith("the given") else "FILE")


class AacEncoder:
    """AAC in ADTS frames, which a player can begin anywhere: mono waves go in, bytes into an open file. It has the
    methods of soundfile.SoundFile that writing needs. MissingDependency without PyAV.
    """

    def __init__(self, file: BinaryIO, rate: int) -> None:
        need_aac()
        import av

        self._container = av.open(file, "w", format="adts")
        self._stream: Any = self._container.add_stream("aac", rate=rate, layout="mono", bit_rate=AAC_BITS)
        self._rate, self._written = rate, 0

    def write(self, wave: np.ndarray) -> None:
        """(S,) float in [-1, 1]."""
        import av

        if not len(wave):
            return
        frame = av.AudioFrame.from_ndarray(np.asarray(wave, np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._written
        self._written += len(wave)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the last frame."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> AacEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def need_aac() -> None:
    """Raise MissingDependency where AAC cannot be made."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise MissingDependency("aac needs: pip install 'tts-fm[media]'; mp3 and opus do without") from None
