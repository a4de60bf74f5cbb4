"""Recordings with their words: change.py speaks other words into a recording. When each word is said, the aligner finds
(engines/align.py).

It knows a voice model and an aligner, and nothing of lists, servers or pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.edit.change import MARGIN as MARGIN
    from tts_fm.edit.change import differences as differences
    from tts_fm.edit.change import edit as edit
    from tts_fm.edit.change import layout as layout
    from tts_fm.edit.change import read as read
    from tts_fm.edit.change import word_ranges as word_ranges
    from tts_fm.edit.recording import Edited as Edited
    from tts_fm.edit.recording import Recording as Recording
    from tts_fm.engines.align import BUILTIN as BUILTIN
    from tts_fm.engines.align import DOUBTFUL as DOUBTFUL
    from tts_fm.engines.align import FLOOR as FLOOR
    from tts_fm.engines.align import STATES as STATES
    from tts_fm.engines.align import Aligner as Aligner
    from tts_fm.engines.align import Alignment as Alignment
    from tts_fm.engines.align import align_utterance as align_utterance
    from tts_fm.engines.align import quiet_frames as quiet_frames
    from tts_fm.engines.align import whole_words as whole_words

NAMES = {
    ".engines.align": "Aligner Alignment BUILTIN DOUBTFUL FLOOR STATES align_utterance quiet_frames whole_words",
    "change": "MARGIN differences edit layout read word_ranges",
    "recording": "Edited Recording",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
