"""One loop for every recipe (trainer.py), training that is cut over processes (fsdp.py), and a CTC reader on top
(ctc.py).

It knows a flow model, batches and a TrainConfig, and nothing of corpora on disk or of how speech is sampled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.train.ctc import WithCTC as WithCTC
    from tts_fm.train.ctc import ctc_loss as ctc_loss
    from tts_fm.train.trainer import Diverged as Diverged
    from tts_fm.train.trainer import Trainer as Trainer
    from tts_fm.train.trainer import forward_flops as forward_flops
    from tts_fm.train.trainer import learning_rate as learning_rate
    from tts_fm.train.trainer import noise_generator as noise_generator
    from tts_fm.train.trainer import parameter_groups as parameter_groups
    from tts_fm.train.trainer import speed_up as speed_up

NAMES = {
    "ctc": "WithCTC ctc_loss",
    "trainer": "Diverged Trainer forward_flops learning_rate noise_generator parameter_groups speed_up",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
