"""Sound as numbers: the mel and wave conventions, files, loudness, checks of a reference recording, and joints.

It knows nothing of text and of networks. mel.py owns the conventions, files.py reads and writes, levels.py measures
loudness and limits peaks, ogg.py makes Ogg files the same every time, prompt.py checks a recording that is to be
cloned, texture.py gives made speech the fine structure of recordings, match.py the prompt's spectrum and steady.py
steady phases, joints.py joins new sound to old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.audio.containers import READABLE as READABLE
    from tts_fm.audio.files import FORMATS as FORMATS
    from tts_fm.audio.files import MAX_CHANNELS as MAX_CHANNELS
    from tts_fm.audio.files import MAX_SAMPLES as MAX_SAMPLES
    from tts_fm.audio.files import METADATA_KEYS as METADATA_KEYS
    from tts_fm.audio.files import RATES as RATES
    from tts_fm.audio.files import format_of as format_of
    from tts_fm.audio.files import load as load
    from tts_fm.audio.files import read_audio as read_audio
    from tts_fm.audio.files import resample as resample
    from tts_fm.audio.files import write_audio as write_audio
    from tts_fm.audio.joints import Place as Place
    from tts_fm.audio.joints import splice as splice
    from tts_fm.audio.levels import limit as limit
    from tts_fm.audio.levels import loudness as loudness
    from tts_fm.audio.levels import normalise_loudness as normalise_loudness
    from tts_fm.audio.levels import true_peak as true_peak
    from tts_fm.audio.match import TOGETHER as TOGETHER
    from tts_fm.audio.match import by_covariance as by_covariance
    from tts_fm.audio.match import loud as loud
    from tts_fm.audio.match import matched as matched
    from tts_fm.audio.mel import FRAMES_PER_SECOND as FRAMES_PER_SECOND
    from tts_fm.audio.mel import HOP as HOP
    from tts_fm.audio.mel import MEL_CONVENTION as MEL_CONVENTION
    from tts_fm.audio.mel import MEL_FLOOR as MEL_FLOOR
    from tts_fm.audio.mel import MIN_SAMPLES as MIN_SAMPLES
    from tts_fm.audio.mel import N_FFT as N_FFT
    from tts_fm.audio.mel import N_MELS as N_MELS
    from tts_fm.audio.mel import SAMPLE_RATE as SAMPLE_RATE
    from tts_fm.audio.mel import as_wave as as_wave
    from tts_fm.audio.mel import from_spectrum as from_spectrum
    from tts_fm.audio.mel import log_mel as log_mel
    from tts_fm.audio.prompt import CHARS_PER_SECOND as CHARS_PER_SECOND
    from tts_fm.audio.prompt import TARGET_LUFS as TARGET_LUFS
    from tts_fm.audio.prompt import check_reference as check_reference

NAMES = {
    "containers": "READABLE",
    "files": "FORMATS MAX_CHANNELS MAX_SAMPLES METADATA_KEYS RATES format_of load read_audio resample write_audio",
    "joints": "Place splice",
    "levels": "limit loudness normalise_loudness true_peak",
    "match": "TOGETHER by_covariance loud matched",
    "mel": "FRAMES_PER_SECOND HOP MEL_CONVENTION MEL_FLOOR MIN_SAMPLES N_FFT N_MELS SAMPLE_RATE as_wave from_spectrum "
    "log_mel",
    "prompt": "CHARS_PER_SECOND TARGET_LUFS check_reference",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
