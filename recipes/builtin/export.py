"""Put the trained parts together as the built-in voice: tts_fm/assets/builtin and tts_fm/assets/voices.

    python recipes/builtin/export.py ../corpus runs/builtin tts_fm/assets

Reads runs/builtin/{flow,vocoder,duration}; weights are stored as float16. The voices are clips of the corpus
(Kokoro-82M, Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from tts_fm.config import ModelConfig, from_dict

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
DEFAULTS = {"steps": 4, "cfg": 0.0, "temperature": 0.5, "match": 1.0}  # measured: LOG.md


def export_flow(run: Path, out: Path, weights: str = "average") -> None:
    """Weights of the last checkpoint, the averaged ("average") or the plain ones ("model"), or another average by its
    decay as it was given -> a model folder.
    """
    import torch

    from tts_fm.checkpoint.load import save_flow_model
    from tts_fm.model.flow_model import FlowModel

    settings = json.loads((run / "settings.json").read_text())
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    model = FlowModel(
        from_dict(ModelConfig, settings["model"]), settings["vocab"], tokenizer={"name": "phoneme", "lang": "en-us"}
    )
    model.load_state_dict(state[weights] if weights in ("average", "model") else state["averages"][weights])
    save_flow_model(out, model, dtype=torch.float16, extra={"defaults": DEFAULTS, "trained_steps": state["step"]})


def export_vocoder(run: Path, out: Path) -> None:
    import torch

    from tts_fm.model.vocoder import COMPUTE, save_vocoder

    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)["ema"]
    save_vocoder(out, state, {"compute": COMPUTE[0]}, torch.float16)


def export_duration(run: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(run / name, out / name)


def export_voices(corpus: Path, out: Path) -> None:
    """For each voice the clip of 4 to 6.5 s whose speech is steadiest: a whole sentence, with the fewest long
    pauses.
    """
    from tts_fm.voices.stored import add_voice

    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").open(encoding="utf-8")]
    shutil.rmtree(out, ignore_errors=True)
    for name, source in VOICES.items():
        fits = [
            r
            for r in rows
            if r["speaker"] == source
            and 4.0 <= r["seconds"] <= 6.5
            and r["text"].endswith(".")
            and '"' not in r["text"]
        ]
        best = min(fits, key=lambda r: (max(r["unit_frames"][:-1]), r["id"]))
        add_voice(name, corpus / best["audio"], best["text"], best["lang"], folder=out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("assets", type=Path)
    parser.add_argument(
        "--weights", default="average", help="which of the flow's: average, model, or a decay of flow.py --averages"
    )
    args = parser.parse_args()
    builtin = args.assets / "builtin"
    export_flow(args.runs / "flow", builtin, args.weights)
    export_vocoder(args.runs / "vocoder", builtin / "vocoder")
    if (args.runs / "duration" / "model.safetensors").exists():
        export_duration(args.runs / "duration", builtin / "duration")
    export_voices(args.corpus, args.assets / "voices")
    for file in args.assets.rglob("*.*"):
        file.chmod(0o644)  # a system-wide install must be readable by all


if __name__ == "__main__":
    main()
