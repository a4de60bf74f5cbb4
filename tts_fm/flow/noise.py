"""Noise from a seed, in numpy: the numbers that torch draws on a CPU, so that a seed means the same speech in every
engine, with torch installed or not.
"""

from __future__ import annotations

import math

import numpy as np

ROW = 16  # torch pairs the numbers of a row of 16: the first 8 give radii, the last 8 angles


def seeded_normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 of this shape: what `torch.randn(shape)` draws from a CPU generator with this seed, to
    1e-6 (Mersenne Twister, uniform numbers of 24 bits, Box-Muller). Of fewer than 16 numbers they are the first of 16,
    where torch draws others."""
    count = math.prod(shape)
    size = max(count, ROW)
    spare = ROW if size % ROW else 0  # torch draws the last row anew where the numbers do not fill it
    generator = np.random.RandomState(seed & 0xFFFFFFFF)
    drawn = generator.randint(0, 1 << 32, size + spare, dtype=np.uint32)
    uniform = (drawn & 0xFFFFFF).astype(np.float32) / np.float32(1 << 24)
    whole = size // ROW * ROW
    normal = np.empty(size, np.float32)
    normal[:whole] = _box_muller(uniform[:whole])
    if spare:
        normal[-ROW:] = _box_muller(uniform[size:])
    return normal[:count].reshape(shape)


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    """(16 R,) on [0, 1) -> (16 R,) standard normal, row by row."""
    rows = uniform.reshape(-1, 2, ROW // 2)
    radius, angle = np.sqrt(-2 * np.log(1 - rows[:, 0])), np.float32(2 * np.pi) * rows[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
