"""Rows of unlike length in two flat tensors. A loader's processes share a tensor's memory, where Python objects would
be copied into each of them; with millions of utterances that takes longer than the first epoch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch


class Rows:
    """Arrays of one type, by number."""

    def __init__(self, rows: Iterable[np.ndarray], kind: type[np.generic]) -> None:
        found = [np.asarray(row, kind) for row in rows]
        ends = np.cumsum([0, *map(len, found)], dtype=np.int64)
        self.values = torch.from_numpy(np.concatenate(found) if found else np.zeros(0, kind))
        self.ends = torch.from_numpy(ends)  # (rows + 1,)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[int(self.ends[index]) : int(self.ends[index + 1])].numpy()


class Words:
    """Strings, by number."""

    def __init__(self, words: Iterable[str]) -> None:
        self.rows = Rows((np.frombuffer(word.encode("utf-8", "surrogatepass"), np.uint8) for word in words), np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> str:
        return self.rows[index].tobytes().decode("utf-8", "surrogatepass")
