"""The Gradio demo, from a checkout: `python demo/app.py`. The same as `tts-fm demo`; the code is in tts_fm/demo."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tts_fm.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
