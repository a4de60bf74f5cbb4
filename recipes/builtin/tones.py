"""A corpus of tones in the form of the voice's, to rehearse its recipes: a clip a named voice, and some to validate.

python recipes/builtin/tones.py CORPUS        (what SMALL=1 recipes/builtin/run.sh RUNS begins with)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tts_fm.audio.files import write_audio

RATE, FRAME = 24_000, 600  # samples a second, and in 25 ms
TEXT = "So we say, so we say."
WORDS, LONG = ["s", "o͡ʊ", " ", "w", "iː", " ", "s", "e͡ɪ"], [7, 13, 1, 6, 12, 1, 7, 15]  # frames each
UNITS, FRAMES = [*WORDS, ",", " ", *WORDS, "."], [*LONG, 4, 2, *LONG, 8]
LEAD, TAIL = 16, 20


def write(folder: Path, speakers: list[str], valid: int = 2) -> Path:
    """manifest.jsonl and audio/ with a clip of 4.3 seconds for every speaker, the last `valid` ones to validate."""
    rows = []
    for number, speaker in enumerate(speakers):
        time = np.arange((LEAD + sum(FRAMES) + TAIL) * FRAME) / RATE
        name = f"audio/{number:03d}.flac"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_audio(folder / name, 0.2 * np.sin(2 * np.pi * (120 + 15 * number) * time), RATE)
        rows.append(
            {
                "id": f"tone_{number:03d}",
                "audio": name,
                "text": TEXT,
                "speaker": speaker,
                "lang": "en-us",
                "speed": 1.0,
                "seconds": len(time) / RATE,
                "split": "valid" if number >= len(speakers) - valid else "train",
                "units": UNITS,
                "unit_frames": FRAMES,
                "lead_frames": LEAD,
                "tail_frames": TAIL,
            }
        )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    args = parser.parse_args(argv)
    from export import VOICES

    write(args.corpus, [*VOICES.values(), "tone_a", "tone_a"])


if __name__ == "__main__":
    main()
