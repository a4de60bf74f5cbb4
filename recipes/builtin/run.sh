#!/usr/bin/env bash
# The built-in voice from nothing to its figures with one command (stages.py, --help); again: where it was stopped.
#   recipes/builtin/run.sh RUNS --kokoro KOKORO --texts FILE ...      hours of two CPU cores
#   recipes/builtin/run.sh RUNS --corpus CORPUS
#   SMALL=1 recipes/builtin/run.sh RUNS                               two updates of everything, on tones (two minutes)
# PYTHON names the interpreter.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-}
[ -n "$python" ] || { [ -x "$here/.venv/bin/python" ] && python="$here/.venv/bin/python" || python=python3; }
exec "$python" -m recipes.builtin.stages "$@"
