#!/usr/bin/env bash
# What to run first on a machine with a GPU: check, speed, train; each prints a table for docs/gpu.md.
#   recipes/gpu/run.sh train --cache CACHE --out RESULTS [--minutes 8]        the built-in voice, on (pack.py, voice.py)
#   recipes/gpu/run.sh [check] [speed] [train] [--device cuda|cpu] [--small]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m recipes.gpu.parts "$@"
