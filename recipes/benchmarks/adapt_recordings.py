"""Recordings of voices that the built-in model never heard, for recipes/benchmarks/adapt.py: Kokoro speaks its held-out
voices.

    python recipes/benchmarks/adapt_recordings.py KOKORO OUT --texts texts.txt --minutes 20 [--voices bf_lily ...]

KOKORO is the folder of `python -m data_prep.kokoro download`, or has voices/ and is given --model PART ... . Texts: a
line each, or a manifest (.jsonl). For each voice OUT/VOICE/ gets prompt.flac (about 8 s), adapt/NNN.flac with NNN.txt
beside it (--minutes of them), and reference/NN.flac, ten other clips that similarity is measured to; OUT/sentences.txt
has 24 further sentences, which nobody speaks here. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import random
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from data_prep.kokoro_model import HELD_OUT, RATE, Kokoro, load_voices, open_session
from data_prep.kokoro_plan import read_texts
from data_prep.shared import Dropped, run
from tts_fm.audio.files import write_audio
from tts_fm.text.phonemes import phoneme_units

SENTENCES, REFERENCES = 24, 10
PROMPT = (7.0, 10.0)  # seconds
log = logging.getLogger(__name__)


def chosen_texts(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """(24 sentences to measure on, texts to record), from a fixed shuffle; no text is in both."""
    texts = sorted({text for text, _ in read_texts(paths, Dropped()) if 40 <= len(text) <= 160})
    if len(texts) < SENTENCES + REFERENCES + 10:
        raise ValueError(f"{len(texts)} texts of 40 to 160 characters; give more (--texts)")
    random.Random(18).shuffle(texts)
    return texts[:SENTENCES], texts[SENTENCES:]


def clip(kokoro: Kokoro, voice: str, text: str, path: Path) -> float:
    """Speak a text into a file, unless it is there, and its transcript beside it; returns its seconds."""
    if not path.is_file():
        lang = "en-gb" if voice[0] == "b" else "en-us"
        spoken = kokoro.speak(phoneme_units(text, lang), lang, {voice: 1.0})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(text + "\n", "utf-8")
        write_audio(path, spoken.wave, RATE)
    return float(soundfile.info(path).duration)


def record(kokoro: Kokoro, voice: str, texts: Sequence[str], out: Path, minutes: float) -> float:
    """All recordings of one voice; returns the minutes for adapting. Texts are used in one order, so longer sets begin
    with shorter ones."""
    line: Iterator[str] = iter(texts)
    for number in range(REFERENCES):
        clip(kokoro, voice, next(line), out / "reference" / f"{number:02d}.flac")
    for text in line:  # the first of a good length is the prompt
        if PROMPT[0] <= clip(kokoro, voice, text, out / "prompt.flac") <= PROMPT[1]:
            break
        (out / "prompt.flac").unlink()
    seconds = 0.0
    for number, text in enumerate(line):
        if seconds >= 60 * minutes:
            break
        seconds += clip(kokoro, voice, text, out / "adapt" / f"{number:03d}.flac")
    return seconds / 60


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("kokoro", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--voices", nargs="+", default=list(HELD_OUT), choices=HELD_OUT)
    parser.add_argument("--model", nargs="+", metavar="FILE", help="the export, or the parts of one")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    sentences, texts = chosen_texts(args.texts)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "sentences.txt").write_text("\n".join(sentences) + "\n", "utf-8")
    session = open_session(args.model or [str(args.kokoro / "model.onnx")], args.threads)
    kokoro = Kokoro(session, load_voices(args.kokoro / "voices", held_out=True))
    for voice in args.voices:
        found = record(kokoro, voice, texts, args.out / voice, args.minutes)
        log.warning("%s: %.1f minutes", voice, found)


if __name__ == "__main__":
    raise SystemExit(run(main))
