"""How fast corpora are prepared and batches are made. One run, nothing else running.

    python recipes/benchmarks/data.py data/LibriTTS [--parts dev-clean] [--batches 40] [--workers 2] [--consumed 4000]

Prints hours of audio prepared per minute and core, and mel frames per second that the loader makes from recordings, alone and with worker
processes. `--consumed`: frames/s that the training takes (the log of a run says it), for the ratio of the two.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--parts", nargs="+")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--batch-frames", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--consumed", type=float, help="mel frames per second that the training takes")
    args = parser.parse_args()
    import torch

    from data_prep.libritts import prepare_libritts
    from tts_fm.batches import Loader
    from tts_fm.config import TrainConfig
    from tts_fm.corpus import ManifestItems, make_vocab

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        found = prepare_libritts(args.corpus, Path(folder) / "m.jsonl", args.parts, jobs=1, most_dropped=0.5)
        took = time.perf_counter() - begin
        hours = sum(u.seconds for u in found) / 3600
        print(f"prepare: {hours / (took / 60):.2f} hours of audio a minute and core ({len(found)} recordings)")
        items = ManifestItems(found, folder, make_vocab(found, aligned=False))
        loader = Loader(items, TrainConfig(batch_frames=args.batch_frames))
        for workers in dict.fromkeys((0, args.workers)):
            stream = loader.stream(range(10**9), workers)
            next(stream)  # the workers have started
            begin = time.perf_counter()
            frames = sum(int(batch.mask.sum()) for batch in itertools.islice(stream, args.batches))
            rate = frames / (time.perf_counter() - begin)
            ratio = "" if args.consumed is None else f", {rate / args.consumed:.1f} times what is consumed"
            print(f"load: {rate:.0f} mel frames a second with {workers} workers{ratio}")


if __name__ == "__main__":
    main()
