"""Count how much smoother than recordings a voice's speech is, and write what makes up for it into its config.json.

    python recipes/builtin/texture.py runs/builtin/cache tts_fm/assets/builtin

For each number of steps (--steps) the voice speaks texts of the corpus behind clips of other texts, without the
prompt's colour, and its modulation spectrum is compared with that of the clips (tts_fm/audio/texture.py). A few-step
student beside it has a table of its own, in quick/config.json. Do it again whenever the weights change. The files are
written when all have been counted. A minute of two cores.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from export import clips_of, write_clip

from tts_fm.audio.mel import FRAMES_PER_SECOND
from tts_fm.audio.texture import QUEFRENCIES, RATES, WINDOW, modulations, table
from tts_fm.checkpoint.load import CONFIG
from tts_fm.engines.load import load_engine
from tts_fm.engines.quick import FOLDER, read_quick
from tts_fm.files import write_json
from tts_fm.model.folder import read_config
from tts_fm.synthesis import TTS
from tts_fm.voices.stored import Voice

log = logging.getLogger(__name__)
COLUMNS = ", ".join(map(str, QUEFRENCIES))
PROMPT, SPOKEN = (2.2, 7.0), (1.5, 8.0)  # seconds of the clips that are prompts and whose texts are spoken


def drawn(rows: Sequence[dict[str, Any]], count: int, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of rows: a prompt, and another of its language whose text is spoken. ValueError where there are none."""
    texts: dict[str, list[dict[str, Any]]] = defaultdict(list)  # by language; prompts are among them
    for row in rows:
        if SPOKEN[0] <= row["seconds"] <= SPOKEN[1]:
            texts[row["lang"]].append(row)
    prompts = [row for row in rows if PROMPT[0] <= row["seconds"] <= PROMPT[1] and len(texts[row["lang"]]) > 1]
    if not prompts:
        raise ValueError(f"the corpus has no two clips of {PROMPT[0]} to {PROMPT[1]} s in one language")
    rng = np.random.default_rng(seed)
    for _ in range(count):
        prompt = prompts[int(rng.integers(len(prompts)))]
        others = [row for row in texts[prompt["lang"]] if row is not prompt]
        yield prompt, others[int(rng.integers(len(others)))]


def spoken(tts: TTS, asked: Sequence[tuple[Voice, str]], steps: int) -> Iterator[np.ndarray]:
    """The log-mels (T, 100) of all chunks, as the networks made them."""
    from tqdm import tqdm

    for number, (voice, text) in enumerate(tqdm(asked, unit="sentence", desc=f"{steps} steps")):
        for chunk in tts.stream(text, voice, steps=steps, seed=number, match=0.0):
            yield chunk.mel


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder of cache.py")
    parser.add_argument("model", type=Path, help="the voice, whose config.json is changed")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8], help="a table for each")
    parser.add_argument("--count", type=int, default=64, help="sentences")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    engine, quick = load_engine(args.model), read_quick(args.model)
    engine.texture = {}
    tts = TTS(engine)  # without the student
    rows = [row for row in clips_of(args.cache) if row["split"] == "train"]
    asked: list[tuple[Voice, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for prompt, text in drawn(rows, args.count, args.seed):
            write_clip(args.cache, prompt, Path(folder) / "prompt.flac")
            asked.append((tts.voice(Path(folder) / "prompt.flac"), text["text"]))
    natural = modulations(voice.mel for voice, _ in asked)
    found = {args.model: {s: table(modulations(spoken(tts, asked, s)), natural) for s in sorted(args.steps)}}
    if quick is not None:
        student = TTS(engine, replace(quick, texture={}))
        found[args.model / FOLDER] = {n: table(modulations(spoken(student, asked, n)), natural) for n in quick.steps}
    for folder, tables in found.items():
        for steps, gains in tables.items():
            log.info("%s: %d steps, gains by cepstral coefficient from %s", folder, steps, COLUMNS)
            for rate, row in zip(RATES, gains, strict=True):
                shown = "  ".join(f"{gain:.2f}" for gain in row)
                log.info("  from %4.1f Hz: %s", rate * FRAMES_PER_SECOND / WINDOW, shown)
        about = read_config(folder / CONFIG)
        write_json(folder / CONFIG, about | {"texture": {str(steps): gains for steps, gains in tables.items()}})


if __name__ == "__main__":
    main()
