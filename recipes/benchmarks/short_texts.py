"""Sixty short texts, of one to four words, in five voices: how many does Whisper hear wrong?

    python recipes/benchmarks/short_texts.py                                the first five built-in voices
    python recipes/benchmarks/short_texts.py --voices nova george me.flac   voices or recordings
    python recipes/benchmarks/short_texts.py --steps 8 --seeds 3            and other settings

Prints what was heard wrong and one line of figures. A text that is heard wrong in every voice may be the listener's
fault. Needs the extra `eval`; two minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence

from tts_fm import TTS
from tts_fm.evaluate import metrics

TEXTS = (
    "Yes.", "Stop!", "Really?", "Thank you.", "Good morning!", "Why not?", "Twenty-seven.", "See you tomorrow.",
    "Where is Laura?", "On Thursday.", "I do not know.", "Close the door, please.",
)  # fmt: skip


def same_letters(text: str, heard: str) -> bool:
    """Whether both are the same words; where the spaces are does not matter ("good bye")."""
    return metrics.spelling(text).replace(" ", "") == metrics.spelling(heard).replace(" ", "")


def misheard(
    say: Callable[[str, str, int], tuple[object, int]],
    hear: Callable[..., str],
    voices: Sequence[str],
    seeds: int = 1,
) -> list[tuple[str, str, str]]:
    """(voice, text, what was heard) of all that is heard otherwise. say(text, voice, seed) -> wave and rate."""
    found = []
    for voice in voices:
        for seed in range(seeds):
            for text in TEXTS:
                heard = hear(*say(text, voice, seed))
                if not same_letters(text, heard):
                    found.append((voice, text, heard))
    return found


def main() -> None:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", nargs="+", help="names or recordings (default: the first five built-in voices)")
    parser.add_argument("--steps", type=int, help="of the solver (default: the model's)")
    parser.add_argument("--match", type=float, help="share of the prompt's spectrum that is carried over")
    parser.add_argument("--seeds", type=int, default=1, help="readings of each text in each voice")
    parser.add_argument("--asr", default=metrics.WHISPER_FOLDER, help="Whisper: a folder or a size")
    parser.add_argument("-m", "--model", help="another model (default: the built-in one)")
    args = parsed(parser)
    tts, hear = TTS.load(args.model) if args.model else TTS.load(), metrics.Whisper(args.asr)
    settings = {k: v for k, v in {"steps": args.steps, "match": args.match}.items() if v is not None}

    def say(text: str, voice: str, seed: int) -> tuple[object, int]:
        speech = tts.say(text, voice=voice, seed=seed, **settings)
        return speech.wave, speech.rate

    voices = args.voices or tts.voices()[:5]
    found = misheard(say, hear, voices, args.seeds)
    for voice, text, heard in found:
        print(f"{voice:12} {text!r:28} heard as {heard!r}")
    by_text = Counter(text for _, text, _ in found).most_common(3)
    worst = ", ".join(f"{text} {count}" for text, count in by_text)
    print(f"{len(found)} of {len(TEXTS) * len(voices) * args.seeds} heard wrong ({worst or 'none'}); {hear.name}")


if __name__ == "__main__":
    main()
