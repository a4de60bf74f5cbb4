"""From the name of a model file to a checked file on this disk: plain paths, hf://owner/repo[@revision]/file, https
URLs.

Downloads use the standard library alone, so that no hub client is needed: https only (http on the loopback for tests
and mirrors), never slower than a least speed, never larger than was said, checked by length and SHA-256, renamed into
the cache when whole. Environment: TTS_FM_CACHE (folder), TTS_FM_OFFLINE or HF_HUB_OFFLINE (1 = never ask the network),
HF_ENDPOINT (a mirror), HF_TOKEN (sent to the endpoint only, never shown). A file in the cache is not asked for again,
so name a commit instead of a branch where it matters. Nothing here knows what a model is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.hub.fetch import download as download
    from tts_fm.hub.fetch import resolve as resolve
    from tts_fm.hub.fetch import resolve_folder as resolve_folder
    from tts_fm.hub.names import cache_dir as cache_dir
    from tts_fm.hub.names import is_offline as is_offline
    from tts_fm.hub.names import is_remote as is_remote
    from tts_fm.hub.names import parse_hf as parse_hf

NAMES = {"fetch": "download resolve resolve_folder", "names": "cache_dir is_offline is_remote parse_hf"}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
