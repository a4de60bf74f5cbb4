#!/usr/bin/env bash
# What a newcomer does: an empty clone of the last commit, and in it every command of README.md and docs/start.md, in
# order, as they stand there. Ends with a line that counts what ran; the exit code says whether all was well.
#
#   tests/newcomer.sh                 in the light environment that the clone's own `make say` installs; the extras
#                                     without torch are added to it when a command needs them
#   tests/newcomer.sh --full VENV     what needs extras runs in VENV, which has them (pip install ".[dev]")
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$root" "$folder/tts_fm"
cd "$folder/tts_fm"
echo "$(git log -1 --format='commit %h, %cs') in $PWD"
# nothing of this shell's Python may help it
unset PYTHONPATH VIRTUAL_ENV PYTHONHOME
"${PYTHON:-python3}" tests/newcomer.py "$@"
