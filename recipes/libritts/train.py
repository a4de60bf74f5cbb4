"""Train a recipe on a manifest. Run the same command again to go on where it was stopped.

    python -m recipes.libritts.train tiny data/libritts.jsonl runs/tiny
    torchrun --nproc-per-node 8 -m recipes.libritts.train f5_small data/libritts.jsonl runs/f5_small --set
      train.workers=4

SIGTERM (a preempted node) finishes the update, saves and exits with 0. The run folder holds settings.json, last.pt and
log.jsonl.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import sys
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # run as a file, this folder would hide the package `recipes`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from recipes.libritts.recipes import RECIPES, Recipe, get
from tts_fm import files
from tts_fm.config import ModelConfig, from_dict, to_dict
from tts_fm.data.manifest import Utterance, read_manifest
from tts_fm.data.storage import folder_of

if TYPE_CHECKING:
    from tts_fm.data.corpus import ManifestItems
    from tts_fm.model.flow_model import FlowModel
    from tts_fm.train.trainer import Trainer

SETTINGS = "settings.json"
log = logging.getLogger(__name__)


def settle(
    recipe: Recipe, utterances: Sequence[Utterance], out: Path, vocab: Sequence[str] | None = None
) -> tuple[Recipe, list[str]]:
    """The recipe with its vocabulary: the run folder's where there is one, else `vocab`, else what the texts hold.

    ValueError when the run folder belongs to another network.
    """
    from tts_fm.data.corpus import make_vocab

    if (out / SETTINGS).is_file():
        kept = json.loads((out / SETTINGS).read_text("utf-8"))
        symbols, model = kept["vocab"], from_dict(ModelConfig, kept["model"])
        if dataclasses.replace(recipe.model, vocab=len(symbols)) != model:
            changed = [k for k, v in to_dict(model).items() if k != "vocab" and to_dict(recipe.model)[k] != v]
            raise ValueError(
                f"{out} was begun with another network ({', '.join(changed)} differ); name another run folder"
            )
        if vocab is not None and list(vocab) != symbols:
            raise ValueError(f"{out} was begun with another vocabulary; name another run folder")
    else:
        symbols = list(vocab) if vocab is not None else make_vocab(utterances, recipe.model.text == "aligned")
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, vocab=len(symbols))), list(symbols)


def build(recipe: Recipe, vocab: list[str]) -> FlowModel:
    """The network with the first weights that the recipe's seed gives; torch's own generator stays as it was."""
    from tts_fm import devices
    from tts_fm.model.flow_model import FlowModel

    with devices.seeded("cpu", recipe.train.seed):
        return FlowModel(recipe.model, vocab, tokenizer=recipe.tokenizer)


def extended(model: FlowModel, vocab: Sequence[str]) -> FlowModel:
    """A model that also knows the symbols of `vocab` that it lacked: new rows of the embedding start as the mean of the
    old ones.
    """
    import torch

    from tts_fm.model.flow_model import FlowModel

    new = [symbol for symbol in dict.fromkeys(vocab) if symbol not in set(model.vocab)]
    if not new:
        return model
    wide = FlowModel(
        dataclasses.replace(model.config, vocab=len(model.vocab) + len(new)),
        [*model.vocab, *new],
        model.tokenizer_settings,
    )
    state = model.net.state_dict()
    rows = state["text_embed.text_embed.weight"]  # (1 + V, E), the filler first
    state["text_embed.text_embed.weight"] = torch.cat([rows, rows[1:].mean(0, keepdim=True).expand(len(new), -1)])
    wide.net.load_state_dict(state)
    log.info("%d symbols added to the vocabulary: %s", len(new), " ".join(map(repr, new[:40])))
    return wide


def published(path: str, variant: str, vocab: str | None, utterances: Sequence[Utterance]) -> FlowModel:
    """Published weights, ready to be trained further on `utterances`."""
    from tts_fm.checkpoint.load import load_flow_model
    from tts_fm.text.tokens import make_tokenizer

    model = load_flow_model(path, variant=None if Path(path).is_dir() else variant, vocab=vocab)
    tokenizer = make_tokenizer(model.tokenizer_settings["name"], model.vocab, model.tokenizer_settings.get("lang"))
    lacking = [symbol for u in utterances for symbol in tokenizer.encode(u.text).unknown]
    return extended(model, lacking).train()


def train(
    recipe: Recipe,
    manifest: str | Path,
    out: Path,
    until: float = math.inf,
    vocab: Sequence[str] | None = None,
    init: str | None = None,
    init_variant: str = "f5-v1",
    init_vocab: str | None = None,
    compiled: bool = False,
    device: str | None = None,
) -> int:
    """Train to the end, to the time `until` or to a SIGTERM; returns the step that was reached. ValueError, ModelError,
    Diverged.
    """
    import torch
    from accelerate import PartialState

    from tts_fm.data.corpus import ManifestItems
    from tts_fm.train.trainer import Trainer

    device = None if device in (None, "auto") else device
    state = PartialState(cpu=device == "cpu" or not torch.accelerator.is_available())
    recipe = recipe.for_processes(state.num_processes)
    utterances = read_manifest(manifest, audio=state.is_main_process)
    model = None
    if recipe.published:
        if init is None:
            raise ValueError(
                f"{recipe.name} starts from published weights: give --init FILE and --init-vocab vocab.txt"
            )
        model = published(init, init_variant, init_vocab, utterances)
        recipe, vocab = (
            dataclasses.replace(recipe, model=dataclasses.replace(model.config, dropout=recipe.model.dropout)),
            model.vocab,
        )
    recipe, symbols = settle(recipe, utterances, out, vocab)
    if model is None:
        model = build(recipe, symbols)
    aligned = recipe.model.text == "aligned"
    train_set, valid_set = (
        ManifestItems(
            [u for u in utterances if u.split == split],
            folder_of(manifest),
            symbols,
            recipe.tokenizer,
            aligned,
            recipe.model.patch,
        )
        if any(u.split == split for u in utterances)
        else None
        for split in ("train", "valid")
    )
    if train_set is None:
        raise ValueError(f"{manifest} has no utterances of the split train")
    trainer = Trainer(model, train_set, valid_set, recipe.train, out, compiled=compiled, device=device)
    if state.is_main_process:
        write_settings(out, recipe, symbols, manifest)
    if recipe.train.tensorboard and valid_set is not None:
        trainer.on_valid = pictures(trainer, valid_set)
    trainer.run(until)
    trainer.accelerator.end_training()
    return trainer.step


def pictures(trainer: Trainer, items: ManifestItems) -> Callable[[FlowModel, int], None]:
    """At every validation, in TensorBoard: the mel of the first validation item (below) and what the averaged model
    says in its place (above), given the first three tenths of it; and how that sounds (Griffin-Lim: a run has no
    vocoder of its own)."""
    import torch

    from tts_fm.audio.mel import SAMPLE_RATE
    from tts_fm.model.vocoder import GriffinLim

    def show(model: FlowModel, step: int) -> None:
        item, patch = items[0], model.config.patch
        frames = len(item.mel) // patch * patch
        prompt = frames * 3 // 10 // patch * patch
        mel = torch.from_numpy(item.mel[:frames])  # (T, 100)
        durations = None if item.durations is None else torch.as_tensor(item.durations, dtype=torch.float32)[None]
        spoken = model.sample(
            mel[None, :prompt],
            torch.as_tensor(item.ids, dtype=torch.int64)[None],
            [frames],
            steps=8,
            cfg=2.0,
            seeds=[0],
            durations=durations,
            prompt_frames=[prompt],
        )[0]
        picture = torch.cat([mel, spoken.float().cpu()], dim=1).T.flip(0)  # (200, T), low bins below
        assert trainer.log is not None
        board = trainer.log.board(step)
        board.add_audio("speech", GriffinLim().decode(spoken[None].float().cpu())[0].clamp(-1, 1), step, SAMPLE_RATE)
        board.add_image("mel", ((picture + 11.6) / 14).clamp(0, 1)[None], step)

    return show


def write_settings(out: Path, recipe: Recipe, vocab: list[str], manifest: str | Path) -> None:
    """settings.json, in one rename: all that export.py needs."""
    settings: dict[str, Any] = {
        "recipe": recipe.name,
        "model": to_dict(recipe.model),
        "train": to_dict(recipe.train),
        "vocab": vocab,
        "tokenizer": recipe.tokenizer,
        "defaults": recipe.defaults,
        "manifest": str(manifest),
    }
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / SETTINGS, settings)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m recipes.libritts.train", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help=", ".join(RECIPES))
    parser.add_argument("manifest", help="file or URL; its recordings may be in tar shards (data_prep.shards)")
    parser.add_argument("out", type=Path, help="run folder")
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="train.steps=100", help="change a field"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop (and save) after this long")
    parser.add_argument("--vocab", type=Path, help="vocab.txt to use instead of the manifest's own symbols")
    parser.add_argument("--init", help="published weights to start from (recipe finetune), or one of our model folders")
    parser.add_argument("--init-variant", default="f5-v1")
    parser.add_argument("--init-vocab")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--device", help="cpu, or cuda: with several processes one each (default: GPUs if there are)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the blocks")
    args = parser.parse_args(argv)
    recipe = get(args.recipe, args.changes)
    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    from tts_fm.text.tokens import load_vocab

    vocab, until = None if args.vocab is None else load_vocab(args.vocab), time.time() + 60 * args.minutes
    train(
        recipe,
        args.manifest,
        args.out,
        until,
        vocab,
        args.init,
        args.init_variant,
        args.init_vocab,
        args.compile,
        args.device,
    )


if __name__ == "__main__":
    from data_prep.shared import run

    raise SystemExit(run(main))
