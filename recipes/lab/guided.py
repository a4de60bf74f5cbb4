"""Does classifier guidance move what is heard? Speaks sentences with and without guides, and measures.

    python recipes/lab/guided.py dev.jsonl --count 16 --guides pitch=low:1 pitch=high:1 accent=gb:1
    python recipes/lab/guided.py dev.jsonl --count 16 --guides pitch=low:1 --judge runs/builtin/classifier2/model

For each guide (and without one) a row: the median F0 of all sentences by librosa's pYIN, which no classifier has seen;
the share that the classifier hears as British on the clean mels (--judge: by another one, trained from another
--seed), word error rate and DNSMOS. The prompts and the noise are the same in all rows. Some seconds of a core for a
sentence.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tts_fm import TTS
from tts_fm.audio.mel import SAMPLE_RATE, log_mel
from tts_fm.evaluate.lists import EvalItem, read_eval_list
from tts_fm.evaluate.report import SpeakWith, evaluate
from tts_fm.model.classifier import NoisyClassifier, load_classifier
from tts_fm.synthesis import BUILTIN

NONE = "none"


def median_pitch(wave: np.ndarray) -> float:
    """Median F0 in Hz of the voiced frames of a wave (S,); NaN where there are none."""
    import librosa

    pitch, voiced, _ = librosa.pyin(wave, fmin=60, fmax=420, sr=SAMPLE_RATE, frame_length=2048, hop_length=1024)
    return float(np.median(pitch[voiced])) if voiced.any() else float("nan")


@torch.inference_mode()
def heard(judge: NoisyClassifier, wave: np.ndarray) -> dict[str, str]:
    """The likeliest class of each question for a clean wave (S,)."""
    mel = torch.from_numpy(log_mel(wave))[None]
    said = judge((mel - judge.config["mel_mean"]) / judge.config["mel_std"], torch.ones(1))
    return {name: list(judge.places[name])[int(log[0].argmax())] for name, log in said.items()}


class Listener(SpeakWith):
    """Speaks items for tts_fm.evaluate and keeps what else is measured."""

    def __init__(self, tts: TTS, judge: NoisyClassifier, **options: object) -> None:
        super().__init__(tts, **options)  # type: ignore[arg-type]
        self.judge = judge
        self.pitch: list[float] = []
        self.british: list[bool] = []

    def __call__(self, item: EvalItem) -> tuple[np.ndarray, int, float]:
        wave, rate, seconds = super().__call__(item)
        self.pitch.append(median_pitch(wave))
        self.british.append(heard(self.judge, wave).get("accent") == "gb")
        return wave, rate, seconds


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, help="JSONL of sentences and prompts, as for tts-fm eval")
    parser.add_argument("--model", type=Path, default=BUILTIN, help="a folder with classifier/ in it")
    parser.add_argument("--guides", nargs="+", default=["pitch=low:1", "pitch=high:1", "accent=us:1", "accent=gb:1"])
    parser.add_argument("--judge", type=Path, help="folder of the classifier that hears accents (default: the guide)")
    parser.add_argument("--count", type=int, default=16, help="sentences, the first of the list")
    parser.add_argument("--voice", help="speak all of them in a stored voice instead of the list's prompts")
    parser.add_argument("--steps", type=int, help="of the solver (default: the model's)")
    parser.add_argument("--measures", default="wer,dnsmos", help="of tts-fm eval: wer, sim, dnsmos, or nothing")
    args = parser.parse_args(argv)
    items = read_eval_list(args.list)[: args.count]
    if args.voice:
        items = [replace(item, ref_audio=Path(args.voice), ref_text=None) for item in items]
    tts = TTS.load(args.model, engine="torch", device="cpu")
    judge = load_classifier(args.judge or args.model / "classifier")
    measures = [name for name in args.measures.split(",") if name]
    print(f"| {' | '.join(['guide', 'median F0, Hz', 'lower / higher', 'heard as GB', *measures])} |")
    print("|---" * (4 + len(measures)) + "|")
    plain: np.ndarray | None = None
    for guide in [NONE, *args.guides]:
        options = {} if args.steps is None else {"steps": args.steps}
        listener = Listener(tts, judge, **options, guide=None if guide == NONE else guide)
        overall = evaluate(items, listener, measures=measures).overall
        pitch = np.array(listener.pitch)
        plain = pitch if plain is None else plain
        cells = [f"{np.nanmedian(pitch):.1f}", f"{int((pitch < plain).sum())} / {int((pitch > plain).sum())}"]
        cells.append(f"{sum(listener.british)} of {len(listener.british)}")
        figures = [getattr(overall, name) for name in measures]
        cells += [f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" for figure in figures]
        print(f"| {' | '.join([guide, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
