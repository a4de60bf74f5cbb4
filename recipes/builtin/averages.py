"""Averages of a run's weights over any length, built after the run (Karras 2024, arXiv 2312.02696, section 3).

    python recipes/builtin/flow.py ... --snapshots 1000
    python recipes/builtin/averages.py runs/builtin/flow runs/averages 0.03 0.06 0.12     a model folder for each length

An average of power g after t updates takes update i with the share (i / t)^(g + 1) - ((i - 1) / t)^(g + 1), whose
standard deviation, as a share of the run, is its length. flow.py keeps two of them and, every so many updates, writes
them down; whichever mean of those comes nearest to the shares of another length, in the sense of least squares, is the
average of that length. The usual one of decay d, which is min(d, (1 + t) / (10 + t)), has a length of .09 until then.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tts_fm import files
from tts_fm.train.optimiser import follow

KEPT = (0.05, 0.1)  # lengths of the averages that are kept during a run
LONGEST = 0.28  # length; all updates alike are 1 / sqrt(12)
FOLDER = "averages"  # of a run
NEAR = 0.2  # relative distance of shares above which an average is told to be another than was asked for


def power(length: float) -> float:
    """g of a length. ValueError outside what is sensible."""
    if not 0.001 <= length <= LONGEST:
        raise ValueError(f"the length of an average is a share of the run from 0.001 to {LONGEST}, not {length}")
    inverse = length**-2  # the variance of the density (g + 1) x^g is (g + 1) / ((g + 2)^2 (g + 3))
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def shares(length: float, update: int, size: int) -> np.ndarray:
    """(size,) how much each of the first `size` updates counts in an average after `update` of them."""
    parts = np.minimum(np.arange(size + 1), update) / update
    return np.diff(parts ** (power(length) + 1))


class Powers:
    """The two averages of some tensors, which are followed where they are."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights
        self.kept = {length: {name: value.clone() for name, value in weights.items()} for length in KEPT}

    def follow(self, update: int) -> None:
        """Take in the weights after update 1, 2, ..."""
        for length, average in self.kept.items():
            follow(average.values(), self.weights.values(), (1 - 1 / update) ** (power(length) + 1))

    def state(self) -> dict[str, dict[str, Tensor]]:
        """For a checkpoint."""
        return {str(length): average for length, average in self.kept.items()}

    def restore(self, state: dict[str, dict[str, Tensor]]) -> None:
        for length, average in self.kept.items():
            for name, value in state[str(length)].items():
                average[name].copy_(value)

    def write(self, run: Path, update: int) -> None:
        """Both, as they are after an update, in the run's folder."""
        from safetensors.torch import save_file

        tensors = {f"{length}/{name}": v.cpu() for length, kept in self.state().items() for name, v in kept.items()}
        with files.writing(run / FOLDER / f"{update}.safetensors", parents=True) as part:
            save_file(tensors, part)


def mixture(stored: Sequence[tuple[float, int]], length: float) -> tuple[np.ndarray, float]:
    """How much of each stored average, a length and an update, makes the average of a length after the last of these
    updates; and how far its shares are from that, relatively.
    """
    last = max(update for _, update in stored)
    columns = np.stack([shares(kept, update, last) for kept, update in stored], axis=1)
    wanted = shares(length, last, last)
    found = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    found /= found.sum()
    return found, float(np.linalg.norm(columns @ found - wanted) / np.linalg.norm(wanted))


def built(run: Path, length: float) -> dict[str, Tensor]:
    """The averaged weights of a length at the end of a run. ValueError where the run has kept too little for it."""
    from safetensors.torch import load_file

    state = files.read_state(run / "last.pt")
    end = math.inf if state is None else state["step"]  # what lies behind is of before the run was begun anew
    updates = sorted(int(path.stem) for path in (run / FOLDER).glob("*.safetensors") if int(path.stem) <= end)
    if not updates:
        raise ValueError(f"{run / FOLDER} holds no averages; train with --snapshots")
    found, distance = mixture([(kept, update) for update in updates for kept in KEPT], length)
    if distance > NEAR:
        raise ValueError(
            f"{run / FOLDER} cannot give an average of length {length:g} (its shares would be {distance:.0%} off): "
            "take one nearer to 0.05 to 0.1, or train with --snapshots at fewer updates"
        )
    total: dict[str, Tensor] = {}
    for update, parts in zip(updates, found.reshape(-1, len(KEPT)), strict=True):
        tensors = load_file(run / FOLDER / f"{update}.safetensors")
        for kept, part in zip(KEPT, parts.tolist(), strict=True):
            for key, value in tensors.items():
                its, _, name = key.partition("/")
                if its == str(kept):
                    total[name] = total.get(name, torch.zeros_like(value)) + part * value
    return total


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("lengths", nargs="+", help="shares of the run, such as 0.05")
    args = parser.parse_args(argv)
    from export import export_flow

    for length in args.lengths:
        export_flow(args.run, args.out / length, length)
        print(args.out / length)


if __name__ == "__main__":
    main()
