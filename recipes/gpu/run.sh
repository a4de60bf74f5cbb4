#!/usr/bin/env bash
# What to run first on a machine with a GPU: suite, check, speed, train; the last three print tables for docs/gpu.md.
#   recipes/gpu/run.sh suite [--device cpu]             tests that a card takes part in, within 90 s (SUITE_SECONDS)
#   recipes/gpu/run.sh check speed --seconds 100 [--trace FILE.json.gz]
#   recipes/gpu/run.sh train --cache CACHE --out RESULTS [--minutes 8]        the built-in voice, on (pack.py, voice.py)
#   recipes/gpu/run.sh teach run TEACHER RUNS OUT --start MODEL               its teacher speaks there first (teach.py)
#   recipes/gpu/run.sh [check] [speed] [train] [--device cuda|cpu] [--small]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"  # numpy's products are small; threads have chunks of their own
python=${PYTHON:-python3}
if [[ "${1:-}" = teach ]]; then
  if [[ "${2:-}" = run && "$*" != *"--device cpu"* ]]; then  # many processes will want torch from a cold disk: 6 s
    where=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')
    find "$where" "$where"/../nvidia -name '*.so*' -type f 2>/dev/null | xargs -P 8 -n 8 cat > /dev/null || true
  fi
  exec "$python" -m recipes.gpu.teach "${@:2}"
fi
if [[ "${1:-}" != suite ]]; then exec "$python" -m recipes.gpu.parts "$@"; fi
shift
cd "$here"
many=()
if "$python" -c "import xdist" 2>/dev/null; then many=(-n 4 --dist loadfile); fi
exec timeout "${SUITE_SECONDS:-90}" "$python" -m pytest -q -p no:cacheprovider --bare --device cuda "${many[@]}" "$@" \
  tests/test_{on_device,devices,model_replay,model_layers,model_golden,duration,vocoder}.py
