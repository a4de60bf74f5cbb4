"""Put the trained parts together as the built-in voice: tts_fm/assets/builtin, tts_fm/assets/aligner and
tts_fm/assets/voices.

    python recipes/builtin/export.py runs/builtin tts_fm/assets

Reads runs/builtin/{flow,vocoder,duration,aligner,classifier,cache}; weights are stored as float16. The voices are clips
of the corpus (Kokoro-82M, Apache-2.0). The graphs are made of it by `tts-fm export onnx`.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cache import LEFT_OUT

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.config import ModelConfig, from_dict
from tts_fm.engines.quick import FOLDER as QUICK

VOICES = {  # our name -> the corpus's voice; the first is the default
    "nova": "af_nova",
    "heart": "af_heart",
    "bella": "af_bella",
    "michael": "am_michael",
    "puck": "am_puck",
    "liam": "am_liam",
    "emma": "bf_emma",
    "isabella": "bf_isabella",
    "george": "bm_george",
    "lewis": "bm_lewis",
}
log = logging.getLogger(__name__)
DEFAULTS = {"steps": 4, "cfg": 0.0, "temperature": 0.2, "match": 1.0}  # measured: LOG.md


def export_flow(run: Path, out: Path, weights: str = "average") -> None:
    """Weights of the last checkpoint, the averaged ("average") or the plain ones ("model"), or an average of a length
    such as "0.06" (averages.py) -> a model folder.
    """
    import torch
    from averages import built

    from tts_fm.checkpoint.load import save_flow_model
    from tts_fm.model.flow_model import FlowModel

    settings = json.loads((run / "settings.json").read_text())
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    model = FlowModel(
        from_dict(ModelConfig, settings["model"]), settings["vocab"], tokenizer={"name": "phoneme", "lang": "en-us"}
    )
    model.load_state_dict(state[weights] if weights in ("average", "model") else built(run, float(weights)))
    extra = {"defaults": DEFAULTS, "trained_steps": state["step"], "steady": True}  # its vocoder is a small one
    save_flow_model(out, model, dtype=torch.float16, extra=extra)
    shutil.rmtree(out / QUICK, ignore_errors=True)  # a student of other weights


def export_vocoder(run: Path, out: Path) -> None:
    import torch

    from tts_fm.model.vocoder import COMPUTE, save_vocoder

    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)["ema"]
    save_vocoder(out, state, {"compute": COMPUTE[0]}, torch.float16)


def export_network(run: Path, out: Path) -> None:
    """The duration model, the aligner or the classifier, as its recipe has saved it."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(run / name, out / name)


def clips_of(cache: Path) -> list[dict[str, Any]]:
    """The rows of the cache that are as the teacher spoke them."""
    rows = json.loads((cache / "index.json").read_text("utf-8"))
    return [LEFT_OUT | row for row in rows if "altered" not in row]


def write_clip(cache: Path, row: dict[str, Any], path: Path) -> None:
    """The sound of a row of the cache as a file."""
    from tts_fm.audio.files import write_audio

    wave = np.memmap(cache / "wav.i16", np.int16, "r")[row["sample"] : row["sample"] + row["samples"]]
    write_audio(path, wave.astype(np.float32) / 32767, SAMPLE_RATE)


def best_clip(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of one voice's clips that whose speech is steadiest, a whole sentence of 4 to 6.5 s with the fewest long pauses;
    where there is none, that of the nearest length.
    """

    def rank(row: dict[str, Any]) -> tuple[float, bool, float, str]:
        far = max(4.0 - row["seconds"], row["seconds"] - 6.5, 0.0)
        return far, not row["text"].endswith(".") or '"' in row["text"], max(row["unit_frames"][:-1]), row["id"]

    return min(rows, key=rank)


def export_voices(cache: Path, out: Path) -> None:
    """A clip for each of VOICES that has one. ValueError where none has."""
    from tts_fm.voices.stored import add_voice

    rows = clips_of(cache)
    shutil.rmtree(out, ignore_errors=True)
    for name, source in VOICES.items():
        its = [row for row in rows if row["speaker"] == source]
        if not its:
            log.warning("no clip is by %s: no voice %s", source, name)
            continue
        best = best_clip(its)
        place = cache / "voice.flac"
        write_clip(cache, best, place)
        add_voice(name, place, best["text"], best["lang"], folder=out)
        place.unlink()
    if not out.is_dir():
        raise ValueError(f"{cache} has no clip by any of {', '.join(VOICES.values())}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--vocoder", metavar="RUN", help="nothing but the vocoder, of this folder of `runs`")
    parser.add_argument(
        "--weights", default="average", help="which of the flow's: average, model, or an average's length (averages.py)"
    )
    args = parser.parse_args(argv)
    builtin = args.assets / "builtin"
    if args.vocoder:
        return export_vocoder(args.runs / args.vocoder, builtin / "vocoder")
    export_flow(args.runs / "flow", builtin, args.weights)
    export_vocoder(args.runs / "vocoder", builtin / "vocoder")
    parts = {"duration": builtin / "duration", "aligner": args.assets / "aligner"}
    parts["classifier/model"] = builtin / "classifier"
    for name, out in parts.items():
        if (args.runs / name / "model.safetensors").exists():
            export_network(args.runs / name, out)
    export_voices(args.runs / "cache", args.assets / "voices")
    for file in args.assets.rglob("*.*"):
        file.chmod(0o644)  # a system-wide install must be readable by all


if __name__ == "__main__":
    main()
