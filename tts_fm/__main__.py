"""`python -m tts_fm` is `tts-fm`."""

from __future__ import annotations

import sys

from tts_fm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
