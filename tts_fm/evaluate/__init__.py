"""How good speech is: lists.py says what is spoken, metrics.py measures (WER, CER, similarity, DNSMOS), report.py
speaks a list and sums it up with intervals.

It knows texts, waves and a way to speak, and nothing of how a model works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.evaluate.lists import EvalItem as EvalItem
    from tts_fm.evaluate.lists import read_eval_list as read_eval_list
    from tts_fm.evaluate.metrics import WHISPER_FOLDER as WHISPER_FOLDER
    from tts_fm.evaluate.metrics import Errors as Errors
    from tts_fm.evaluate.metrics import Whisper as Whisper
    from tts_fm.evaluate.metrics import word_errors as word_errors
    from tts_fm.evaluate.report import ItemResult as ItemResult
    from tts_fm.evaluate.report import Report as Report
    from tts_fm.evaluate.report import SpeakWith as SpeakWith
    from tts_fm.evaluate.report import Transcribe as Transcribe
    from tts_fm.evaluate.report import evaluate as evaluate
    from tts_fm.evaluate.report import hardware as hardware
    from tts_fm.evaluate.report import summarise as summarise

NAMES = {
    "metrics": "Errors WHISPER_FOLDER Whisper word_errors",
    "lists": "EvalItem read_eval_list",
    "report": "ItemResult Report SpeakWith Transcribe evaluate hardware summarise",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
