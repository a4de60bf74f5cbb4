"""Fold a few-step student into a small change of its teacher, which is then quick at that number of steps.

    python recipes/builtin/fold.py runs/lab/student/model tts_fm/assets/builtin --steps 2 --also 4:0.5
    python recipes/builtin/texture.py CACHE tts_fm/assets/builtin

A student (straighten.py) has as many weights as its teacher and an embedding of the step's length. At a fixed number of
steps each time has one length, so that the embedding can be added to that of the time: a change of one matrix, exact.
Every change is then stored by its largest singular values, as many as keep --keep of its sum of squares, in MODEL/quick
(tts_fm/engines/quick.py): a sixth of the size. A share of what was learnt for one number of steps may be good for
others (--also): measure it. The voice's prompts, durations, guidance and other numbers of steps stay as they are.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from straighten import parse_shares
from torch import Tensor

from tts_fm.checkpoint.load import load_flow_model
from tts_fm.engines.quick import write_quick
from tts_fm.flow.times import f5_grid
from tts_fm.model.dit import DiT
from tts_fm.model.flow_model import FlowModel

log = logging.getLogger(__name__)
LAST = "time_embed.time_mlp.2.weight"  # of the time's embedding: its change takes in that of the step's length


@torch.no_grad()
def without_span(student: FlowModel, grid: Tensor) -> dict[str, Tensor]:
    """The student's weights for a network without an embedding of the step's length, the same at the times of a grid.

    With h_k what the last layer of the time's embedding is given at the k-th time, and e_k the embedding of the step
    from there, W + sum_k e_k p_k, where p_k h_j is 1 for j = k and else 0, gives W h_k + e_k.
    """
    net = student.net
    if not isinstance(net, DiT) or net.span_embed is None:
        raise ValueError("this model is no student: it has no embedding of the step's length")
    seen: list[Tensor] = []
    hook = net.time_embed.time_mlp[2].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    net.time_embed(grid[:-1])
    hook.remove()
    spans = net.span_embed(grid[1:] - grid[:-1])  # (K, D)
    weights = {name: value.clone() for name, value in net.state_dict().items() if not name.startswith("span_embed.")}
    weights[LAST] += spans.T @ torch.linalg.pinv(seen[0].double()).T.to(spans)
    return weights


def change(name: str, difference: Tensor, keep: float) -> dict[str, Tensor]:
    """A weight's change as an adapter stores it: two thin matrices where they are smaller than it, else itself."""
    if difference.ndim > 1:
        matrix = difference.flatten(1)
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        rank = int((s.square().cumsum(0) < keep * s.square().sum()).sum()) + 1
        if rank * sum(matrix.shape) < matrix.numel():
            root = s[:rank].sqrt()
            return {f"{name}.a": root[:, None] * v[:rank], f"{name}.b": u[:, :rank] * root}
    return {name: difference}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("model", type=Path, help="its teacher's folder, in which quick/ is written")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument(
        "--also", type=parse_shares, default={}, metavar="N:SHARE,...", help="steps at which it speaks too, in part"
    )
    parser.add_argument("--keep", type=float, default=0.9, help="share of each change's sum of squares")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not 0 < args.keep <= 1:
        raise ValueError(f"--keep is a share above 0 and up to 1, got {args.keep}")
    steps = {args.steps: 1.0} | {int(n): share for n, share in args.also.items()}
    student, teacher = load_flow_model(args.student), load_flow_model(args.model)
    grid = torch.as_tensor(f5_grid(args.steps), dtype=torch.float32)
    base, tensors = teacher.net.state_dict(), dict[str, Tensor]()
    for name, value in without_span(student, grid).items():
        difference = value.float() - base[name].float()
        if bool(difference.any()):
            tensors |= change(name, difference, args.keep)
    size = write_quick(args.model, {name: value.numpy() for name, value in tensors.items()}, steps)
    log.info("%d changes, %.1f MB", len(tensors), size / 1e6)


if __name__ == "__main__":
    main()
