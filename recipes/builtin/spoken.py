"""Mels as the vocoder gets them when the whole voice speaks: what its discriminators may judge beside recordings.

    python recipes/builtin/spoken.py runs/builtin/cache tts_fm/assets/builtin runs/builtin/spoken

The voice says texts of the corpus behind clips of other texts, by turns in each of --steps solver steps, with all that
is done to a mel after the flow (texture, the prompt's colour). There is no true wave in time with these mels. Writes
mel.f16 and index.json (`frame` and `frames` of every chunk). A third of the time that it speaks, on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from export import clips_of, write_clip
from texture import drawn

from tts_fm import files
from tts_fm.engines.load import load_engine
from tts_fm.engines.quick import read_quick
from tts_fm.synthesis import TTS


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder of cache.py")
    parser.add_argument("model", type=Path, help="the voice")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--count", type=int, default=600, help="sentences")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    from tqdm import tqdm

    tts = TTS(load_engine(args.model), read_quick(args.model))
    rows = [row for row in clips_of(args.cache) if row["split"] == "train"]
    args.out.mkdir(parents=True, exist_ok=True)
    index, frame = [], 0
    with (args.out / "mel.f16").open("wb") as file, tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "prompt.flac"
        for number, (prompt, text) in enumerate(
            tqdm(drawn(rows, args.count, args.seed), total=args.count, unit="sentence")
        ):
            write_clip(args.cache, prompt, clip)
            steps = args.steps[number % len(args.steps)]
            for chunk in tts.stream(text["text"], tts.voice(clip), steps=steps, seed=number):
                file.write(chunk.mel.astype(np.float16).tobytes())
                index.append({"frame": frame, "frames": len(chunk.mel), "steps": steps, "text": chunk.text})
                frame += len(chunk.mel)
    files.write_json(args.out / "index.json", index)


if __name__ == "__main__":
    main()
