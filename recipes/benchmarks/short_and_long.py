"""Texts at both ends: ten of one or two words, and a passage of 400 words, each spoken, heard by an ASR and compared
with the prompt.

    python recipes/benchmarks/short_and_long.py [--prompt VOICE.flac ...]      # default: the default voice

Prints for every short text its length, its level, how loud its last 10 ms are (a cut end is loud) and what the ASR
heard; for the passage its word error rate, the longest quiet stretch and the speaker similarity of its chunks to the
prompt. Needs the `eval` extra.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tts_fm import TTS
from tts_fm.evaluate import metrics

SHORT = ["Hello.", "Yes!", "Tomorrow?", "No.", "Thank you.", "Good morning!", "Stop!", "Why not?", "Seven.", "Really?"]
STEP = 480  # samples of a level measurement, 20 ms


def longest_quiet(wave: np.ndarray) -> float:
    """Seconds of the longest stretch that is 30 dB below the loudest 20 ms: (S,)."""
    frames = wave[: len(wave) // STEP * STEP].reshape(-1, STEP)
    level = np.sqrt((frames**2).mean(1))
    loud = np.flatnonzero(level > level.max() * 10 ** (-30 / 20))
    return float((np.diff(loud) - 1).max(initial=0)) * STEP / 24_000


def main() -> None:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", action="append", help="voice or recording for the passage")
    parser.add_argument("--passage", type=Path, default=Path(__file__).with_name("passage.txt"))
    args = parsed(parser)
    tts, encoder, asr = TTS.load(), metrics.SpeakerEncoder(), metrics.Whisper(metrics.WHISPER_FOLDER)
    for text in SHORT:
        speech = tts.say(text)
        level, end = np.sqrt((speech.wave**2).mean()), np.abs(speech.wave[-240:]).max()
        print(
            f"{text:14} {speech.seconds:.2f} s  level {level:.3f}  end {end:.3f}  heard: "
            f"{asr(speech.wave, speech.rate)}",
            flush=True,
        )
    text = args.passage.read_text(encoding="utf-8")
    for prompt in args.prompt or [tts.voices()[0]]:
        voice = encoder.embed(np.asarray(tts.voice(prompt).wave), 24_000)
        speech = tts.say(text, voice=prompt)
        errors = metrics.word_errors(text, asr(speech.wave, speech.rate))
        near = [float(voice @ encoder.embed(chunk.wave, speech.rate)) for chunk in speech.chunks]
        rates = f"WER {errors.edits / errors.length:.3f}, RTF {speech.compute_seconds / speech.seconds:.3f}"
        quiet = longest_quiet(speech.wave)
        print(
            f"{Path(prompt).stem}: {errors.length} words in {speech.seconds:.1f} s, {rates}, longest quiet {quiet:.2f} "
            "s; similarity of "
            f"{len(near)} chunks to the prompt: least {min(near):.3f}, mean {np.mean(near):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
