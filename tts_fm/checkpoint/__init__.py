"""From the name of a model to a model: a checked file on this disk (names.py, fetch.py, transfer.py: plain paths,
hf://owner/repo[@revision]/file, https URLs), and model folders and published files (load.py).

Downloads use the standard library alone, so that no hub client is needed: https only (http on the loopback for tests
and mirrors), never slower than a least speed, never larger than was said, checked by length and SHA-256, renamed into
the cache when whole. Environment: TTS_FM_CACHE (folder), TTS_FM_OFFLINE or HF_HUB_OFFLINE (1 = never ask the network),
HF_ENDPOINT (a mirror), HF_TOKEN (sent to the endpoint only, never shown). A file in the cache is not asked for again,
so name a commit instead of a branch where it matters. Of what is in a file only load.py knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.checkpoint.fetch import download as download
    from tts_fm.checkpoint.fetch import resolve as resolve
    from tts_fm.checkpoint.fetch import resolve_folder as resolve_folder
    from tts_fm.checkpoint.load import convert_pt as convert_pt
    from tts_fm.checkpoint.load import load_flow_model as load_flow_model
    from tts_fm.checkpoint.load import save_flow_model as save_flow_model
    from tts_fm.checkpoint.names import cache_dir as cache_dir
    from tts_fm.checkpoint.names import is_offline as is_offline
    from tts_fm.checkpoint.names import is_remote as is_remote
    from tts_fm.checkpoint.names import parse_hf as parse_hf

NAMES = {
    "fetch": "download resolve resolve_folder",
    "load": "convert_pt load_flow_model save_flow_model",
    "names": "cache_dir is_offline is_remote parse_hf",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
