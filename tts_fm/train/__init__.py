"""One loop for every recipe (trainer.py) with its optimiser, guard, log and way to stop, training that is cut over
processes (fsdp.py), and a CTC reader on top (ctc.py). Recordings of a person become items (voice_items.py) and those a
voice that stays (voice.py); one recording makes a voice in seconds (sharpen.py).

The loops know a flow model, batches and a TrainConfig, and nothing of corpora on disk or of how speech is sampled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.train.ctc import WithCTC as WithCTC
    from tts_fm.train.ctc import ctc_loss as ctc_loss
    from tts_fm.train.guard import Diverged as Diverged
    from tts_fm.train.guard import Guard as Guard
    from tts_fm.train.optimiser import learning_rate as learning_rate
    from tts_fm.train.optimiser import parameter_groups as parameter_groups
    from tts_fm.train.sharpen import sharpen as sharpen
    from tts_fm.train.sharpen import sharpened as sharpened
    from tts_fm.train.trainer import Trainer as Trainer
    from tts_fm.train.trainer import noise_generator as noise_generator
    from tts_fm.train.voice import adapt_voice as adapt_voice
    from tts_fm.train.voice_items import Prepared as Prepared
    from tts_fm.train.voice_items import prepare as prepare

NAMES = {
    "ctc": "WithCTC ctc_loss",
    "guard": "Diverged Guard",
    "optimiser": "learning_rate parameter_groups",
    "sharpen": "sharpen sharpened",
    "trainer": "Trainer noise_generator",
    "voice": "adapt_voice",
    "voice_items": "Prepared prepare",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
