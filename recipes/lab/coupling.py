"""What does minibatch optimal transport do for mels? Deals noise to real batches of the cache in both ways.

    python recipes/builtin/cache.py CORPUS runs/builtin/cache
    python recipes/lab/coupling.py runs/builtin/cache

Batches are those of training: utterances of like length, whole, normalised. Printed for each batch size, over all
batches: the mean squared distance |x1 - x0|^2 a number, with independent noise and with noise dealt by
flow.couple("ot"), how much shorter that is, and the variance over the batch of the velocity x1 - x0 in each frame and
channel, which is what a network has to tell apart. A minute of a core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tts_fm.flow.coupling import couple

MEAN, STD = -2.44, 3.72  # of the corpus' log-mels, as in recipes/builtin/flow.py


def batches(cache: Path, size: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """(mels (B, T, 100) normalised, mask (B, T)) of utterances of like length, drawn at random."""
    rows = [row for row in json.loads((cache / "index.json").read_text("utf-8")) if row["split"] == "train"]
    rows.sort(key=lambda row: row["frames"])
    mels = np.memmap(cache / "mel.f16", dtype=np.float16, mode="r").reshape(-1, 100)
    rng = np.random.default_rng(0)
    found = []
    for at in rng.integers(max(1, len(rows) - size + 1), size=count):
        chosen = rows[int(at) : int(at) + size]
        longest = max(row["frames"] for row in chosen)
        x1, mask = torch.zeros(len(chosen), longest, 100), torch.zeros(len(chosen), longest, dtype=torch.bool)
        for b, row in enumerate(chosen):
            mel = mels[row["frame"] : row["frame"] + row["frames"]].astype(np.float32)
            x1[b, : len(mel)] = (torch.from_numpy(mel) - MEAN) / STD
            mask[b, : len(mel)] = True
        found.append((x1, mask))
    return found


def figures(x0: Tensor, x1: Tensor, mask: Tensor) -> Tensor:
    """Sums over the real frames and channels of a batch: |x1 - x0|^2, its variance over the batch, and 1."""
    u = (x1 - x0).double().masked_fill(~mask[..., None], 0.0)
    there = mask.sum(0).double()[:, None]  # utterances that have this frame
    mean = u.sum(0) / there
    spread = ((u - mean).square() * mask[..., None]).sum()
    return torch.stack([u.square().sum(), spread, mask.sum().double() * u.shape[-1]])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32, 64, 128], help="utterances in a batch")
    parser.add_argument("--count", type=int, default=10, help="batches of each size")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print("| batch | distance | with optimal transport | shorter by | variance | with optimal transport |")
    print("|---" * 6 + "|")
    for size in args.sizes:
        sums = {kind: torch.zeros(3, dtype=torch.float64) for kind in ("independent", "ot")}
        generator = torch.Generator().manual_seed(size)
        for x1, mask in batches(args.cache, size, args.count):
            x0 = torch.randn(x1.shape, generator=generator)
            for kind, total in sums.items():
                total += figures(couple(kind, x0, x1, mask), x1, mask)
        (near, spread), (dealt, dealt_spread) = ((total[:2] / total[2]).tolist() for total in sums.values())
        cells = [f"{near:.4f}", f"{dealt:.4f}", f"{100 * (1 - dealt / near):.2f} %", f"{spread:.4f}"]
        print(f"| {size} | {' | '.join(cells)} | {dealt_spread:.4f} |", flush=True)


if __name__ == "__main__":
    main()
