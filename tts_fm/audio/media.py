"""Sound from MP4, M4A, WebM, AAC and other media files, decoded by PyAV (pip install tts-fm[media]).

Only the first sound track is read, never further than asked; nothing else of the file is looked at.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np


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
