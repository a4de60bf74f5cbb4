"""How long symbols last: F5-TTS's rule by bytes, and the bounds that a duration model must keep. Frames are mel frames
(93.75 a second), fractional. It knows symbols, no networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tts_fm.audio.mel import FRAMES_PER_SECOND
from tts_fm.text.symbols import kind_of

PHONE_FLOOR = 1.5  # frames: shorter phones are not heard
PHONE_CAP, PAUSE_CAP = 0.5 * FRAMES_PER_SECOND, 1.5 * FRAMES_PER_SECOND


def byte_ratio_frames(ref_frames: int, ref_text: str, text: str, speed: float = 1.0, compat: bool = True) -> int:
    """Frames of `text` if it is spoken with as many frames per UTF-8 byte as the reference (the rule of F5-TTS,
    utils_infer.py).

    ref_frames: frames of the reference, in F5 samples // 256. ref_text: its transcript exactly as the network is given
    it; F5 ends it in ". " and adds one more space, and these bytes count. speed: 2.0 halves the result. The result
    excludes the reference: F5's `duration` is ref_frames + result. compat: texts under 10 bytes are given speed 0.3
    whatever was asked, as F5 does; False leaves `speed` alone. Raises ValueError for an empty reference (text or
    frames) and for a speed that is not a positive number.
    """
    if ref_frames < 1:
        raise ValueError(f"the reference has {ref_frames} frames; the byte-ratio rule needs at least one")
    if not ref_text:
        raise ValueError("the byte-ratio rule needs the transcript of the reference; give it, or a fixed duration")
    check_speed(speed)
    size = len(text.encode("utf-8", "surrogatepass"))
    if compat and size < 10:
        speed = 0.3
    # this order of operations is F5's
    return int(ref_frames / len(ref_text.encode("utf-8", "surrogatepass")) * size / speed)


def spoken_frames(frames: np.ndarray, symbols: Sequence[str], speed: float = 1.0) -> np.ndarray:
    """What a duration network says of symbols (N,), kept within bounds and divided by `speed`: (N,) float32.

    Caps, before speed: 0.5 s for a phone or stress mark, 1.5 s for a pause: space, punctuation, silence, and a phone
    right before punctuation or silence, which in the corpus holds the pause. Floor, after speed: 1.5 frames for a
    phone. Special symbols such as <unk> have no bounds. Raises ValueError for a speed that is not a positive number.
    """
    check_speed(speed)
    kinds = [kind_of(symbol) for symbol in symbols]
    caps = []
    for k, kind in enumerate(kinds):
        stops = k + 1 == len(kinds) or (kinds[k + 1] == "pause" and not symbols[k + 1].isspace())
        long = kind == "pause" or (kind == "phone" and stops)
        caps.append(math.inf if kind == "special" else PAUSE_CAP if long else PHONE_CAP)
    floors = [PHONE_FLOOR if kind == "phone" else 0.0 for kind in kinds]
    within = np.minimum(np.asarray(frames, np.float32), np.array(caps, np.float32)) / np.float32(speed)
    return np.maximum(within, np.array(floors, np.float32))


def check_speed(speed: float) -> None:
    """Raise ValueError for a speed that is not a positive number."""
    if not (math.isfinite(speed) and speed > 0):
        raise ValueError(
            f"speed must be a positive number, got {speed}; 1.0 is the pace of the reference, 2.0 twice as fast"
        )
