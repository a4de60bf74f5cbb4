"""A voice of one's own: recordings of a person become training items (prepare.py), and those a voice that stays
(run.py).

It joins what other rooms do: data finds and cuts, edit aligns, evaluate transcribes and tells voices apart, train
learns, adapters.py stores. It knows neither the command line nor the demo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.adapt.prepare import Prepared as Prepared
    from tts_fm.adapt.prepare import prepare as prepare
    from tts_fm.adapt.run import adapt_voice as adapt_voice
    from tts_fm.adapt.run import sharpen as sharpen

NAMES = {"prepare": "Prepared prepare", "run": "adapt_voice sharpen"}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
