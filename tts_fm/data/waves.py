"""A manifest's recordings as samples: from files, shards and storages alike. No torch is needed."""

from __future__ import annotations

import os
import struct

import numpy as np

from tts_fm.audio.files import load
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.data import storage


def wave_of(data: bytes, place: str) -> np.ndarray:
    """A recording from its bytes, as audio.load makes it of the file, with a short cut for the plainest (24 kHz, mono,
    16 bit, a header of 44 bytes), which LibriTTS's are. ValueError names the place.
    """
    size = len(data) - 44
    plain = (
        struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            size + 36,
            b"WAVE",
            b"fmt ",
            16,
            1,
            1,
            SAMPLE_RATE,
            2 * SAMPLE_RATE,
            2,
            16,
            b"data",
            size,
        )
        if size > 0
        else b""
    )
    if plain and size % 2 == 0 and data[:44] == plain:
        return np.frombuffer(data, "<i2", offset=44) * np.float32(2**-15)
    try:
        return load(data)
    except ValueError as error:
        raise ValueError(str(error).replace("the given audio", place)) from None


def read_wave(place: str | os.PathLike[str]) -> np.ndarray:
    """The recording at a place (storage.py), (S,) at 24 kHz. ValueError names the place."""
    return wave_of(storage.read(os.fspath(place)), os.fspath(place))
