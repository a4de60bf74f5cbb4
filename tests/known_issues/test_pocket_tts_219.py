"""kyutai-labs/pocket-tts#219 (also coqui-ai/TTS#883): `pip install` of a program for CPUs brought 3 GB of libraries
for GPUs.

Here a plain install brings no torch, by no way that a requirement of ours opens.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
HEAVY = ("torch", "nvidia", "scipy", "librosa", "numba", "gradio", "transformers", "tts-fm")


def test_a_plain_install_is_small():
    needed = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["dependencies"]
    assert needed and not [line for line in needed if line.startswith(HEAVY)]
