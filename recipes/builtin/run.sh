#!/usr/bin/env bash
# Train the built-in voice from its corpus with one command; run it again to go on where it was stopped.
#   recipes/builtin/run.sh CORPUS [RUNS] [ASSETS]
# CORPUS has manifest.jsonl and audio/ (see MODEL_CARD.md); hours of two CPU cores. PYTHON names the interpreter.
# SMALL=1: two updates of everything, to see that all of it runs (a minute; tones.py makes a corpus for it).
set -euo pipefail
corpus=${1:?usage: run.sh CORPUS [RUNS] [ASSETS]}
runs=${2:-runs/builtin}
assets=${3:-tts_fm/assets}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
cache=() vocoder=(--steps 24000 --adversarial-from 24000 --threads 2) duration=() aligner=(--steps 2500)
flow=(--steps 7000 --decay 0) last=(--steps 14400 --decay 2400)
if [ -n "${SMALL:-}" ]; then
  [ "$assets" != tts_fm/assets ] ||
    { echo "SMALL=1 needs ASSETS: what two updates make must not be shipped" >&2; exit 2; }
  cache=(--no-copies) vocoder=(--steps 2 --adversarial-from 1 --judges-first 0 --batch 2 --channels 2)
  duration=(--steps 2 --save 2 --batch 2) aligner=(--steps 2 --save 2 --batch 2)
  flow=(--steps 1 --decay 0 --batch-frames 900 --eager) last=(--steps 2 --decay 1 --batch-frames 900 --eager)
fi
cd "$here/../.."
[ -f "$runs/cache/index.json" ] || "$python" "$here/cache.py" "$corpus" "$runs/cache" "${cache[@]}"
"$python" "$here/vocoder.py" "$runs/cache" "$runs/vocoder" --layers 8 "${vocoder[@]}"
"$python" "$here/duration.py" "$runs/cache" "$runs/duration" "${duration[@]}"
"$python" "$here/flow.py" "$runs/cache" "$runs/flow" "${flow[@]}"
"$python" "$here/flow.py" "$runs/cache" "$runs/flow" "${last[@]}" --span 0.4 --as-spoken
"$python" "$here/aligner.py" "$runs/cache" "$runs/aligner" "${aligner[@]}"
mkdir -p "$assets/aligner"
cp "$runs/aligner/config.json" "$runs/aligner/model.safetensors" "$assets/aligner/"
"$python" "$here/export.py" "$corpus" "$runs" "$assets"
