"""From a corpus to batches: manifests, recordings in files, shards or storages, training items, buckets of like length,
what is hidden and what is given, altered voices.

It knows utterances and mels, and nothing of networks or of the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.data.augment import envelope as envelope
    from tts_fm.data.augment import equalised as equalised
    from tts_fm.data.augment import revoiced as revoiced
    from tts_fm.data.augment import roomed as roomed
    from tts_fm.data.augment import stretching as stretching
    from tts_fm.data.batches import Batch as Batch
    from tts_fm.data.batches import Buckets as Buckets
    from tts_fm.data.batches import Items as Items
    from tts_fm.data.batches import Loader as Loader
    from tts_fm.data.batches import TrainItem as TrainItem
    from tts_fm.data.batches import collate as collate
    from tts_fm.data.corpus import ManifestItems as ManifestItems
    from tts_fm.data.corpus import make_vocab as make_vocab
    from tts_fm.data.corpus import mel_of as mel_of
    from tts_fm.data.infill import draw_infill as draw_infill
    from tts_fm.data.infill import hide_prompt_symbols as hide_prompt_symbols
    from tts_fm.data.infill import turn as turn
    from tts_fm.data.manifest import SPLITS as SPLITS
    from tts_fm.data.manifest import Utterance as Utterance
    from tts_fm.data.manifest import from_row as from_row
    from tts_fm.data.manifest import read_manifest as read_manifest
    from tts_fm.data.manifest import statistics as statistics
    from tts_fm.data.manifest import write_manifest as write_manifest
    from tts_fm.data.waves import read_wave as read_wave

NAMES = {
    "augment": "envelope equalised revoiced roomed stretching",
    "batches": "Batch Buckets Items Loader TrainItem collate",
    "corpus": "ManifestItems make_vocab mel_of",
    "infill": "draw_infill hide_prompt_symbols turn",
    "manifest": "SPLITS Utterance from_row read_manifest statistics write_manifest",
    "waves": "read_wave",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
