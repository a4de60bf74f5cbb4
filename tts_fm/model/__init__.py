"""The networks, and their samples: transformers (dit, unett), text conditioning, durations, an aligner, the vocoder.

It knows mels and ids, and nothing of written text, of files of sound or of training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.model.aligner import AlignerModel as AlignerModel
    from tts_fm.model.aligner import load_aligner as load_aligner
    from tts_fm.model.aligner import save_aligner as save_aligner
    from tts_fm.model.dit import Block as Block
    from tts_fm.model.dit import DiT as DiT
    from tts_fm.model.dit import Modulation as Modulation
    from tts_fm.model.dit import position_mask as position_mask
    from tts_fm.model.duration import DurationModel as DurationModel
    from tts_fm.model.duration import load_duration_model as load_duration_model
    from tts_fm.model.duration import save_duration_model as save_duration_model
    from tts_fm.model.flow_model import FlowModel as FlowModel
    from tts_fm.model.layers import Attention as Attention
    from tts_fm.model.layers import FeedForward as FeedForward
    from tts_fm.model.layers import GlobalResponseNorm as GlobalResponseNorm
    from tts_fm.model.layers import TimeEmbedding as TimeEmbedding
    from tts_fm.model.layers import rotary_angles as rotary_angles
    from tts_fm.model.layers import rotate as rotate
    from tts_fm.model.published import check_variant as check_variant
    from tts_fm.model.published import e2 as e2
    from tts_fm.model.published import f5_v0 as f5_v0
    from tts_fm.model.published import f5_v1 as f5_v1
    from tts_fm.model.published import published_config as published_config
    from tts_fm.model.text import TextConditioning as TextConditioning
    from tts_fm.model.text import aligned_index as aligned_index
    from tts_fm.model.text import average_index as average_index
    from tts_fm.model.unett import UNetT as UNetT
    from tts_fm.model.vocoder import GriffinLim as GriffinLim
    from tts_fm.model.vocoder import Vocoder as Vocoder
    from tts_fm.model.vocoder import convert_vocos as convert_vocos
    from tts_fm.model.vocoder import load_vocoder as load_vocoder
    from tts_fm.model.vocoder import save_vocoder as save_vocoder
    from tts_fm.model.vocoder import vocoder_from_state as vocoder_from_state

NAMES = {
    "aligner": "AlignerModel load_aligner save_aligner",
    "dit": "Block DiT Modulation position_mask",
    "duration": "DurationModel load_duration_model save_duration_model",
    "flow_model": "FlowModel",
    "layers": "Attention FeedForward GlobalResponseNorm TimeEmbedding rotary_angles rotate",
    "published": "check_variant e2 f5_v0 f5_v1 published_config",
    "text": "TextConditioning aligned_index average_index",
    "unett": "UNetT",
    "vocoder": "GriffinLim Vocoder convert_vocos load_vocoder save_vocoder vocoder_from_state",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
