"""Train a small classifier of noisy mels on the cached corpus: accent (US, GB) and pitch (low, mid, high).

    nice -n 10 python recipes/builtin/classifier.py runs/builtin/cache runs/builtin/classifier --minutes 6
    cp -r runs/builtin/classifier/model MODEL/classifier
    tts-fm say "Hello." --model MODEL --guide pitch=low:1.0

One thread; a hundred seconds of a core are enough to hear nine of ten clips rightly. The network hears states of the
straight path at all times, with as little noise as the voice speaks with (--temperature at least), so that its gradient
can steer a velocity (tts_fm/model/classifier.py). Accent is the corpus' own; pitch is the tercile of the median F0 of
the louder half of a clip (librosa's YIN), kept in pitch.json. Run it again to go on from the last checkpoint (exactly
with --steps alone); log.jsonl has the accuracy at five times.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from loop import add_options, train
from torch import Tensor

from tts_fm import files
from tts_fm.audio.mel import FRAMES_PER_SECOND, SAMPLE_RATE
from tts_fm.flow.path import OTPath
from tts_fm.flow.times import draw_times
from tts_fm.model.classifier import NoisyClassifier, load_classifier, save_classifier

log = logging.getLogger("classifier")
ACCENTS = {"en-us": "us", "en-gb": "gb"}
PITCHES = ("low", "mid", "high")
CLASSES = [*(f"accent={name}" for name in ACCENTS.values()), *(f"pitch={name}" for name in PITCHES)]
TIMES = (0.1, 0.3, 0.5, 0.8, 1.0)  # at which it is measured
WINDOW, LOWEST, HIGHEST = 2048, 60.0, 420.0  # samples, Hz, Hz
CROP = (1.0, 3.0)  # seconds


def median_pitch(wave: np.ndarray) -> float:
    """Median F0 in Hz of the louder half of a wave (S,) at 24 kHz, at most 4 s from its middle."""
    import librosa

    middle, most = len(wave) // 2, 2 * SAMPLE_RATE
    wave = wave[max(0, middle - most) : middle + most].astype(np.float32)
    pitch = librosa.yin(wave, fmin=LOWEST, fmax=HIGHEST, sr=SAMPLE_RATE, frame_length=WINDOW, hop_length=WINDOW // 2)
    loud = librosa.feature.rms(y=wave, frame_length=WINDOW, hop_length=WINDOW // 2)[0]
    return float(np.median(pitch[loud >= np.median(loud)]))


def pitches(cache: Path, rows: Sequence[dict], kept: Path) -> list[float]:
    """The median F0 of every row; those that `kept` has are not computed again."""
    known = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    missing = [row for row in rows if row["id"] not in known]
    if missing:
        from tqdm import tqdm

        waves = np.memmap(cache / "wav.i16", dtype=np.int16, mode="r")
        for row in tqdm(missing, unit="clip", desc="pitch", disable=None):
            wave = waves[row["sample"] : row["sample"] + row["samples"]]
            known[row["id"]] = round(median_pitch(wave / np.float32(32768)), 2)
        files.write_json(kept, known)
    return [known[row["id"]] for row in rows]


class Clips:
    """Mels and labels of one split of the cache; a batch depends on (seed, step) only."""

    def __init__(self, cache: Path, split: str, pitch: dict[str, float], edges: Sequence[float]) -> None:
        rows = json.loads((cache / "index.json").read_text("utf-8"))
        self.rows = [row for row in rows if row["split"] == split and row["lang"] in ACCENTS]
        self.mels = np.memmap(cache / "mel.f16", dtype=np.float16, mode="r").reshape(-1, 100)
        accents = [list(ACCENTS).index(row["lang"]) for row in self.rows]
        terciles = np.searchsorted(edges, [pitch[row["id"]] for row in self.rows])
        self.labels = {"accent": torch.tensor(accents), "pitch": torch.from_numpy(terciles)}

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Log-mels (B, T, 100), crops of one length, and the labels (B,) of each question."""
        rng = np.random.default_rng((seed, step))
        frames = int(rng.uniform(*CROP) * FRAMES_PER_SECOND)
        fitting = [i for i, row in enumerate(self.rows) if row["frames"] >= frames] or range(len(self.rows))
        frames = min(frames, *(self.rows[i]["frames"] for i in fitting))
        chosen = rng.choice(fitting, size=size)
        starts = [self.rows[i]["frame"] + int(rng.integers(self.rows[i]["frames"] - frames + 1)) for i in chosen]
        mel = np.stack([self.mels[at : at + frames] for at in starts]).astype(np.float32)
        return torch.from_numpy(mel), {name: labels[chosen] for name, labels in self.labels.items()}


def noisy(mel: Tensor, t: Tensor, model: NoisyClassifier, generator: torch.Generator, temperature: Tensor) -> Tensor:
    """The state of the straight path at t (B,) of log-mels (B, T, 100), from noise of this deviation (B,)."""
    normal = (mel - model.config["mel_mean"]) / model.config["mel_std"]
    noise = torch.randn(mel.shape, generator=generator) * temperature[:, None, None]
    return OTPath().sample(noise.to(normal), normal, t)[0]


def loss_at(model: NoisyClassifier, clips: Clips, step: int, args: argparse.Namespace) -> Tensor:
    """Cross entropy over both questions, at times drawn one from each part of the way."""
    mel, labels = clips.batch(step, args.batch, args.seed)
    generator = torch.Generator().manual_seed(2**32 * (args.seed + 1) + step)
    t = draw_times("uniform", len(mel), generator, stratified=True)
    temperature = args.temperature + (1 - args.temperature) * torch.rand(len(mel), generator=generator)
    device = model.head.weight.device
    said = model(noisy(mel, t, model, generator, temperature).to(device), t.to(device))
    return torch.stack([F.nll_loss(said[name], labels[name].to(device)) for name in labels]).sum()


@torch.inference_mode()
def measure(model: NoisyClassifier, clips: Clips, temperature: float) -> dict[str, float]:
    """Share of whole clips that are heard rightly, for each question at each of TIMES; noise of `temperature`."""
    model.eval()
    right: dict[str, list[float]] = {f"{name}@{t}": [] for name in clips.labels for t in TIMES}
    generator, device = torch.Generator().manual_seed(0), model.head.weight.device
    for number, row in enumerate(clips.rows):
        mel = torch.from_numpy(clips.mels[row["frame"] : row["frame"] + row["frames"]].astype(np.float32))
        t = torch.tensor(TIMES)
        many = mel.expand(len(t), -1, -1)
        states = noisy(many, t, model, generator, torch.full((len(t),), temperature))
        said = model(states.to(device), t.to(device))
        for name, labels in clips.labels.items():
            for time, place in zip(TIMES, said[name].argmax(-1).tolist(), strict=True):
                right[f"{name}@{time}"].append(float(place == int(labels[number])))
    return {name: round(float(np.mean(each)), 3) for name, each in right.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, batch=24, save=500)
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=0.2, help="least deviation of the noise")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = json.loads((args.cache / "index.json").read_text("utf-8"))
    pitch = dict(zip((row["id"] for row in rows), pitches(args.cache, rows, args.out / "pitch.json"), strict=True))
    edges = np.quantile([pitch[row["id"]] for row in rows if row["split"] == "train"], [1 / 3, 2 / 3])
    log.info("pitch: low up to %.0f Hz, high from %.0f Hz", *edges)
    clips, valid = (Clips(args.cache, split, pitch, edges) for split in ("train", "valid"))
    folder = args.out / "model"
    if args.valid_only:
        log.info("%s", json.dumps(measure(load_classifier(folder), valid, args.temperature), indent=1))
        return
    torch.manual_seed(args.seed)  # the weights' first values
    model = NoisyClassifier(CLASSES, args.dim, args.layers)
    log.info("%d parameters, %d clips", sum(p.numel() for p in model.parameters()), len(clips.rows))
    train(
        model,
        lambda step: loss_at(model, clips, step, args),
        lambda: save_classifier(model, folder),
        lambda: measure(model, valid, args.temperature),
        args,
    )


if __name__ == "__main__":
    main()
