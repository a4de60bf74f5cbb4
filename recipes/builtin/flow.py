"""Train the flow model of the built-in voice on the cached corpus.

    python recipes/builtin/flow.py runs/builtin/cache runs/builtin/flow --steps 6000
    python recipes/builtin/flow.py runs/builtin/cache runs/builtin/flow --minutes 7 --fall 0.5 --as-spoken \\
        --start tts_fm/assets/builtin --batch-frames 100000 --workers 8

15M parameters, `aligned` text, patch 2; hours of two CPU cores, or minutes of a GPU (recipes/gpu). With --fall the rate
follows the clock: nobody knows beforehand how many updates fit. LOG.md beside this file has what was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from averages import Powers
from loop import add_clock, share_used

from tts_fm import devices
from tts_fm.checkpoint import load_flow_model
from tts_fm.config import ModelConfig, TrainConfig
from tts_fm.data.batches import Batch, Loader, TrainItem
from tts_fm.model.flow_model import FlowModel
from tts_fm.text.symbols import SILENCE, UNKNOWN
from tts_fm.train.trainer import Trainer

UNIT_FRAMES = 600 / 256  # mel frames in one 25 ms frame of the corpus
NO_LIMIT = 10**8  # steps
SAVE_EVERY = 60  # seconds, of runs that follow the clock
VALID_FRAMES = 8_000  # in a batch


class Corpus:
    """The cached corpus as batches.Items.

    paired: every utterance of a voice that has several comes a second time, behind another one as its prompt: that is
    how it is at inference, and positions go as far as there.
    """

    def __init__(self, cache: Path, split: str, vocab: list[str], paired: bool = False) -> None:
        self.rows = [r for r in json.loads((cache / "index.json").read_text()) if r["split"] == split]
        self.cache = cache
        self.mels = self._map()
        # what is said, what is before it
        self.items: list[tuple[int, int | None]] = [(number, None) for number in range(len(self.rows))]
        rng, voices = np.random.default_rng(0), defaultdict(list)
        for number, row in enumerate(self.rows):
            if "altered" not in row:  # altered copies are one voice each
                voices[row["speaker"]].append(number)
        for numbers in voices.values() if paired else ():
            order = rng.permutation(numbers).tolist()
            if len(order) > 1:
                self.items += zip(order, [*order[1:], order[0]], strict=True)
        frames = [r["frames"] for r in self.rows]
        self.frames = [frames[s] + (0 if p is None else frames[p]) for s, p in self.items]
        self.ids = {symbol: i for i, symbol in enumerate(vocab)}
        self.unknown = self.ids[UNKNOWN]

    def __getstate__(self) -> dict[str, Any]:
        """For a worker, which maps the mels itself: as they are, all of them would be copied."""
        return self.__dict__ | {"mels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.mels = self._map()

    def _map(self) -> np.ndarray:
        return np.memmap(self.cache / "mel.f16", dtype=np.float16, mode="r").reshape(-1, 100)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> TrainItem:
        spoken, prompt = self.items[index]
        item = self.utterance(spoken)
        if prompt is None:
            return item
        before = self.utterance(prompt).mel
        ids, durations = np.concatenate([[self.unknown], item.ids]), np.concatenate([[len(before)], item.durations])
        return TrainItem(np.concatenate([before, item.mel]), ids, durations, prompt=len(before))

    def utterance(self, number: int) -> TrainItem:
        row = self.rows[number]
        mel = self.mels[row["frame"] : row["frame"] + row["frames"]].astype(np.float32)
        symbols = [SILENCE, *row["units"], SILENCE]
        durations = np.array([row["lead_frames"], *row["unit_frames"], row["tail_frames"]]) * UNIT_FRAMES
        return TrainItem(mel, np.array([self.ids[s] for s in symbols]), durations)


def make_vocab(cache: Path) -> list[str]:
    """All units of the corpus, sorted, behind the two special symbols."""
    rows = json.loads((cache / "index.json").read_text())
    return [UNKNOWN, SILENCE, *sorted({unit for row in rows for unit in row["units"]})]


def check_units(cache: Path, vocab: list[str]) -> None:
    """ValueError when the corpus has units that a model to go on from does not know."""
    if new := sorted(set(make_vocab(cache)) - set(vocab)):
        raise ValueError(
            f"{len(new)} units of the corpus are new to the model, as {new[0]!r}; train one from the start"
        )


def model_config(vocab: int) -> ModelConfig:
    return ModelConfig(
        text="aligned",
        vocab=vocab,
        dim=384,
        depth=8,
        heads=6,
        text_dim=192,
        text_layers=3,
        text_frame_layers=1,
        patch=2,
        shared_adaln=True,
        given_flag=True,
        style=192,
        style_rank=128,
        mel_mean=-2.44,
        mel_std=3.72,
    )


class Run(Trainer):
    """A Trainer that may write down averages of the weights (averages.py), and whose rate may fall by the clock."""

    def __init__(self, args: argparse.Namespace, *parts: Any, **more: Any) -> None:
        self.args, self.saved = args, time.time()
        self.powers: Powers | None = None
        super().__init__(*parts, **more)
        if args.snapshots and self.powers is None:
            self.powers = Powers(self.plain.state_dict())
        if self.valid is not None:  # of large batches a validation would take as long as many updates
            maker = self.valid.maker
            few = min(VALID_FRAMES, maker.config.batch_frames)
            self.valid = Loader(maker.items, dataclasses.replace(maker.config, batch_frames=few))

    def rate(self) -> float:
        """With --fall: a warm-up, then constant, then falling to zero over the last share of the minutes."""
        if not self.args.fall:
            return super().rate()
        left = 1 - share_used(self.args, 0.0)
        rise = (self.step + 1) / max(1, self.config.warmup)
        return self.config.learning_rate * min(1.0, rise, max(0.0, left) / self.args.fall)

    def update(self) -> tuple[torch.Tensor, torch.Tensor, list[Batch]]:
        if self.args.fall and time.time() - self.saved > SAVE_EVERY:
            self.save()
            self.saved = time.time()
        found = super().update()
        if self.powers is not None:
            self.powers.follow(self.step + 1)
            if (self.step + 1) % self.args.snapshots == 0:
                self.powers.write(self.folder, self.step + 1)
        return found

    def run(self, until: float = math.inf) -> None:
        super().run(until)
        if self.powers is not None and self.step:
            self.powers.write(self.folder, self.step)

    def validate(self) -> float:
        """On a GPU without compiling: what is compiled is for training, and compiling anew takes longer than this."""
        if self.device.type == "cpu":
            return super().validate()
        with torch.compiler.set_stance("force_eager"):
            return super().validate()

    def more(self) -> dict[str, Any]:
        return super().more() | ({"powers": self.powers.state()} if self.powers is not None else {})

    def take_more(self, state: dict[str, Any]) -> None:
        super().take_more(state)
        if self.args.snapshots and "powers" in state:
            self.powers = Powers(self.plain.state_dict())
            self.powers.restore(state["powers"])


def compile_for_all_lengths(model: FlowModel) -> None:
    """Compile the blocks once for batches of any shape. For fixed shapes, as DiT.compile_blocks does it, a GPU's first
    minutes would go to compiling, for each padded length anew; the convolutions before the blocks make inductor do that
    even so, and stay as they are. What cannot be compiled runs as it is.
    """
    torch._dynamo.config.suppress_errors = True
    for block in model.net.blocks():
        block.compile(dynamic=True)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, help="updates (default: 6000, with --fall as many as fit)")
    parser.add_argument("--decay", type=int, default=1200, help="steps of the falling rate at the end")
    parser.add_argument(
        "--fall", type=float, default=0.0, help="share of --minutes in which the rate falls to zero; instead of --decay"
    )
    parser.add_argument(
        "--snapshots", type=int, default=0, help="write down averages every so many updates (averages.py); 0 = none"
    )
    parser.add_argument("--batch-frames", type=int, default=8000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument(
        "--ema", type=float, default=0.999, help="decay of the averaged weights; less for a short last phase"
    )
    parser.add_argument(
        "--span", type=float, default=0.5, help="least share of an utterance that is hidden; the rest is prompt"
    )
    parser.add_argument(
        "--as-spoken",
        action="store_true",
        help="a last phase: most items as at inference, prompt first and without text",
    )
    parser.add_argument(
        "--times", default="uniform", metavar="LAW", help="of the flow's times, such as shift(0.5) (docs/flow.md)"
    )
    parser.add_argument("--equalise", type=float, default=3.0, help="dB, deviation of the random equaliser; 0 = none")
    parser.add_argument("--room", type=float, default=0.0, help="share of items that sound as in a room")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--valid-every", type=int, default=TrainConfig.valid_every, help="steps")
    add_clock(parser)
    parser.add_argument("--start", type=Path, help="folder of a model whose weights are taken to begin with")
    parser.add_argument("--device", help="cpu, cuda (default: a GPU if there is one)")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches beside the training")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    args = parser.parse_args(argv)
    if math.isinf(args.until):
        args.until = time.time() + 60 * args.minutes
    if args.fall:
        if math.isinf(args.minutes):
            raise ValueError("--fall is a share of --minutes: give them")
        args.decay = 0
    if args.steps is None:
        args.steps = NO_LIMIT if args.fall else 6000
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(
        steps=args.steps,
        decay=args.decay,
        batch_frames=args.batch_frames,
        learning_rate=args.lr,
        ema=args.ema,
        span=(args.span, 1.0),
        equalise=args.equalise,
        time_law=args.times,
        room=args.room,
        workers=args.workers,
        valid_every=args.valid_every,
        save_every=NO_LIMIT if args.fall else TrainConfig.save_every,
    )
    if args.as_spoken:
        spoken: dict[str, Any] = dict(
            prompt_first=0.8, prompt_text_drop=0.9, turned=0.75, revoice=0.5, drop_audio=0.05, drop_both=0.05
        )
        config = dataclasses.replace(config, **spoken)
    torch.manual_seed(config.seed)  # the weights' first values
    if args.start:
        model = load_flow_model(args.start).requires_grad_().train()
        check_units(args.cache, model.vocab)
    else:
        vocab = make_vocab(args.cache)
        model = FlowModel(model_config(len(vocab)), vocab)
    vocab = model.vocab
    settings = {"model": dataclasses.asdict(model.config), "train": dataclasses.asdict(config), "vocab": vocab}
    (args.out / "settings.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False))
    train, valid = Corpus(args.cache, "train", vocab, paired=args.as_spoken), Corpus(args.cache, "valid", vocab)
    on_gpu = devices.pick(args.device).type == "cuda"
    run = Run(args, model, train, valid, config, args.out, compiled=not args.eager and not on_gpu, device=args.device)
    if on_gpu and not args.eager:
        compile_for_all_lengths(model)
    run.run(until=args.until)


if __name__ == "__main__":
    main()
