"""Mix two trainings of one network, some parts more than others: a voice that ships is such a mixture.

    python recipes/builtin/blend.py OLD NEW OUT --share 0.5
    python recipes/builtin/blend.py OLD NEW OUT --keep adaln time_embed norm_out proj_out

A mean of weights that were trained on from the same ones is often better than either (Wortsman 2022, arXiv 2203.05482).
Training on many more voices brought likeness, but also faults at the ends of sentences: which parts brought which can
be tried in a minute each. OUT becomes a copy of NEW, with `--share` of the way from OLD's weights to NEW's, but OLD's
own in the parts that `--keep` names by the beginnings of their names. What is relative to NEW's weights, its quick
changes for few steps, becomes relative to OUT's: listen and measure. Then: tts-fm export onnx OUT OUT --int8
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tts_fm import files
from tts_fm.checkpoint.load import MODEL
from tts_fm.engines.quick import CONFIG
from tts_fm.engines.quick import FOLDER as QUICK
from tts_fm.voices.adapters import base_digest


def mixed(old: dict[str, Tensor], new: dict[str, Tensor], share: float, keep: Sequence[str] = ()) -> dict[str, Tensor]:
    """`share` of the way from old weights to new ones, which have the same names and shapes, in the types of the new;
    the old ones where a name begins as one of `keep`. ValueError where they are of unlike networks, or a beginning is
    that of none.
    """
    unlike = [n for n in old.keys() | new.keys() if n not in old or n not in new or old[n].shape != new[n].shape]
    if unlike:
        raise ValueError(f"these are unlike networks: {min(unlike)} is not the same in both")
    if stray := [part for part in keep if not any(name.startswith(part) for name in new)]:
        found = ", ".join(sorted({name.partition(".")[0] for name in new}))
        raise ValueError(f"--keep {stray[0]}: no weight's name begins so; they begin with {found}")
    ways = {name: 0.0 if name.startswith(tuple(keep)) else share for name in new}
    return {name: old[name].float().lerp(tensor.float(), ways[name]).to(tensor.dtype) for name, tensor in new.items()}


def blend(old: Path, new: Path, out: Path, share: float = 1.0, keep: Sequence[str] = ()) -> None:
    """The folders of two models mixed into a third one, which must not be there yet."""
    tensors = mixed(load_file(old / MODEL), load_file(new / MODEL), share, keep)
    with safe_open(new / MODEL, "pt") as file:
        metadata = file.metadata()
    with files.making_folder(out) as fresh:
        shutil.copytree(new, fresh, dirs_exist_ok=True)
        save_file(tensors, fresh / MODEL, metadata=metadata)
        if (config := fresh / QUICK / CONFIG).is_file():
            quick = json.loads(config.read_text("utf-8"))
            quick["base"]["digest"] = base_digest(fresh)
            files.write_json(config, quick)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="folder of a model")
    parser.add_argument("new", type=Path, help="folder of one that was trained on from it")
    parser.add_argument("out", type=Path, help="folder that is made")
    parser.add_argument("--share", type=float, default=1.0, help="of the way from OLD to NEW (default: all of it)")
    parser.add_argument("--keep", nargs="+", default=[], metavar="PART", help="beginnings of names that stay OLD's")
    args = parser.parse_args(argv)
    try:
        blend(args.old, args.new, args.out, args.share, args.keep)
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
