"""What the teacher itself reaches on an evaluation list, and its speech through the vocoder: the ceiling of a voice
that learns from it.

    python -m recipes.builtin.ceiling KOKORO ../shared/eval/dev.jsonl --vocoder tts_fm/assets/builtin/vocoder

KOKORO: model.onnx (or part*.bin) and voices/ (data_prep/kokoro.py). Items whose prompt bears the name of one of its
voices (af_kore.flac) are spoken in that voice, also where it is held out; the others are left out. Measures and tables
are those of `tts-fm eval`. Needs the extra `eval`; two minutes of two cores for 20 sentences.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_prep.kokoro_model import Kokoro, load_voices, open_session
from data_prep.shared import run
from tts_fm.audio.files import load
from tts_fm.audio.mel import SAMPLE_RATE, log_mel
from tts_fm.audio.steady import steadied
from tts_fm.evaluate.lists import EvalItem, read_eval_list
from tts_fm.evaluate.report import METRICS, evaluate
from tts_fm.text.phonemes import phoneme_units

Spoken = tuple[np.ndarray, int, float]


def teacher(kokoro: Kokoro) -> Callable[[EvalItem], Spoken]:
    """Speaks an item in the voice that its prompt is named after."""

    def speak(item: EvalItem) -> Spoken:
        voice, begin = item.ref_audio.stem, time.perf_counter()
        lang = "en-us" if voice.startswith("a") else "en-gb"
        wave = kokoro.speak(phoneme_units(item.text, lang), lang, {voice: 1.0}).wave
        wave = wave / max(1.0, float(np.abs(wave).max()) / 0.98)  # some voices go above full scale
        return wave, SAMPLE_RATE, time.perf_counter() - begin

    return speak


def copied(folder: Path, vocoder: Path, steady: bool) -> Callable[[EvalItem], Spoken]:
    """Takes an item's wave from a folder through a vocoder."""
    import torch

    from tts_fm.model.vocoder import load_vocoder

    model = load_vocoder(vocoder)

    def speak(item: EvalItem) -> Spoken:
        mel, begin = log_mel(load(folder / f"{item.id}.wav")), time.perf_counter()
        wave = model.decode(torch.from_numpy(mel)[None])[0].numpy()
        wave = steadied(wave, mel) if steady else wave
        return wave, SAMPLE_RATE, time.perf_counter() - begin

    return speak


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kokoro", type=Path, help="folder of `data_prep.kokoro download`")
    parser.add_argument("list", type=Path, help="an evaluation list")
    parser.add_argument("--vocoder", type=Path, help="folder of a vocoder")
    parser.add_argument("--steady", action="store_true", help="mend phases and magnitudes, as the voice does")
    parser.add_argument("--measures", default=",".join(METRICS), metavar="A,B")
    parser.add_argument("--asr", metavar="W", help="as for `tts-fm eval`")
    parser.add_argument("--audio", type=Path, default=Path("runs/ceiling"), help="for the waves (default runs/ceiling)")
    args = parser.parse_args(argv)
    from tqdm import tqdm

    voices = load_voices(args.kokoro / "voices", held_out=True)
    items = [item for item in read_eval_list(args.list) if item.ref_audio.stem in voices]
    parts = [str(part) for part in sorted(args.kokoro.glob("part*.bin"))] or [args.kokoro / "model.onnx"]
    ways = {"the teacher": teacher(Kokoro(open_session(parts), voices))}
    if args.vocoder:
        ways[str(args.vocoder)] = copied(args.audio / "1", args.vocoder, args.steady)
    for number, (name, speak) in enumerate(ways.items(), start=1):
        with tqdm(desc=name, total=len(items), unit="sentence") as bar:
            report = evaluate(
                items,
                speak,
                args.asr,
                measures=args.measures.split(","),
                about={"spoken by": name},
                audio=args.audio / str(number),
                on_item=lambda *_, bar=bar: bar.update(),
            )
        print(report.table())
    return None


if __name__ == "__main__":
    raise SystemExit(run(main))
