#!/usr/bin/env bash
# Train the built-in voice from its corpus with one command; run it again to go on where it was stopped.
#   recipes/builtin/run.sh CORPUS [RUNS] [ASSETS]
# CORPUS has manifest.jsonl and audio/ (see MODEL_CARD.md); hours of two CPU cores. PYTHON names the interpreter.
set -euo pipefail
corpus=${1:?usage: run.sh CORPUS [RUNS] [ASSETS]}
runs=${2:-runs/builtin}
assets=${3:-tts_fm/assets}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
cd "$here/../.."
[ -f "$runs/cache/index.json" ] || "$python" "$here/cache.py" "$corpus" "$runs/cache"
"$python" "$here/vocoder.py" "$runs/cache" "$runs/vocoder" --layers 8 --steps 24000 --adversarial-from 24000 --threads 2
"$python" "$here/duration.py" "$runs/cache" "$runs/duration"
"$python" "$here/flow.py" "$runs/cache" "$runs/flow" --steps 7000 --decay 0
"$python" "$here/flow.py" "$runs/cache" "$runs/flow" --steps 14400 --decay 2400 --span 0.4 --as-spoken
"$python" "$here/aligner.py" "$runs/cache" "$runs/aligner" --steps 2500
mkdir -p "$assets/aligner"
cp "$runs/aligner/config.json" "$runs/aligner/model.safetensors" "$assets/aligner/"
"$python" "$here/export.py" "$corpus" "$runs" "$assets"
