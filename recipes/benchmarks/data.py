"""How fast corpora are prepared and batches are made. One run, nothing else running.

    python recipes/benchmarks/data.py data/LibriTTS [--parts dev-clean] [--batches 40] [--workers 2]

Prints hours of audio prepared per minute and core; mel frames that the loader makes of recordings, and that it only
reads (train.mel_on_device), per second of processor time (which other programs disturb little); the former per second
of the clock with worker processes; and, in the same run, the frames that training the recipe `tiny` takes per second of
processor time, with the ratio of the two.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if TYPE_CHECKING:
    from tts_fm.data.batches import Batch
    from tts_fm.data.corpus import ManifestItems
    from tts_fm.data.manifest import Utterance


def main() -> None:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--parts", nargs="+")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--batch-frames", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    args = parsed(parser)
    import torch

    from data_prep.libritts import prepare_libritts
    from tts_fm.config import TrainConfig
    from tts_fm.data.batches import Loader
    from tts_fm.data.corpus import ManifestItems, make_vocab

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        found = prepare_libritts(args.corpus, Path(folder) / "m.jsonl", args.parts, jobs=1, most_dropped=0.5)
        took = time.perf_counter() - begin
        hours = sum(u.seconds for u in found) / 3600
        print(f"prepare: {hours / (took / 60):.2f} hours of audio a minute and core ({len(found)} recordings)")
        items = ManifestItems(found, folder, make_vocab(found, aligned=False))
        loader = Loader(items, TrainConfig(batch_frames=args.batch_frames))
        for number in range(3):
            loader[number]  # the recordings are in memory from now on, as far as it holds them
        made, took = measured(loader[number] for number in range(3, 3 + args.batches))
        print(f"load: {made / took:.0f} mel frames a second of processor time")
        waves = Loader(items, TrainConfig(batch_frames=args.batch_frames, mel_on_device=True))
        read, its = measured(waves[number] for number in range(3, 3 + args.batches))
        print(f"load: {read / its:.0f} of which the mel is made on the device (train.mel_on_device)")
        if args.workers:
            stream = loader.stream(range(10**9), args.workers)
            next(stream)  # the workers have started
            begin = time.perf_counter()
            frames = sum(int(batch.mask.sum()) for batch in itertools.islice(stream, args.batches))
            print(
                f"load: {frames / (time.perf_counter() - begin):.0f} mel frames a second of the clock with "
                f"{args.workers} workers"
            )
        used, spent = training(items, found, Path(folder), args.device)
        print(f"train: {used / spent:.0f} mel frames a second of processor time (recipe tiny)")
        print(f"loading feeds {made / took / (used / spent):.1f} times what training takes")


def measured(batches: Iterator[Batch]) -> tuple[int, float]:
    """Real frames of some batches and the seconds of processor time that making them took."""
    begin = time.process_time()
    frames = sum(int(batch.mask.sum()) for batch in batches)
    return frames, time.process_time() - begin


def training(
    items: ManifestItems, found: list[Utterance], folder: Path, device: str | None, updates: int = 10
) -> tuple[int, float]:
    """The same for updates of the recipe tiny on batches that are ready: no loading in it."""
    from recipes.libritts.recipes import get
    from recipes.libritts.train import build, settle
    from tts_fm.train.trainer import Trainer

    recipe, vocab = settle(get("tiny"), found, folder / "run")
    trainer = Trainer(build(recipe, vocab), items, None, recipe.train, folder / "run", device=device)
    ready = [trainer.loader[number] for number in range(updates + 1)]
    trainer.batches = iter(ready)
    trainer.update()
    begin = time.process_time()
    for trainer.step in range(1, updates + 1):
        trainer.update()
    return sum(int(batch.mask.sum()) for batch in ready[1:]), time.process_time() - begin


if __name__ == "__main__":
    main()
