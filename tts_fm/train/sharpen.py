"""One recording of a few seconds becomes a voice that is closer than its clone: `adapt_voice` with the one clip, which
takes less than half a minute of two cores. A stored voice keeps what was learnt; that of any other recording is kept in
the cache, where it is found again, without torch, as long as recording, transcript and model are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm import files
from tts_fm.audio.files import write_audio
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.checkpoint.load import find_model
from tts_fm.checkpoint.names import cache_dir
from tts_fm.data.listing import Recording
from tts_fm.devices import importing
from tts_fm.synthesis import BUILTIN
from tts_fm.voices.adapters import WORK, base_digest, is_voice
from tts_fm.voices.stored import Voice

if TYPE_CHECKING:
    from tts_fm.train.voice import Tell

MAKE = 1  # goes up with what sharpening does, so that voices of before are learnt anew
KEPT, DAYS = 32, 7  # voices in the cache, some 1.6 MB each, beside those that somebody asked for in the last days


def sharpen(
    name: str, minutes: float | None = None, on_progress: Tell | None = None, prompted: bool = True
) -> dict[str, Any]:
    """Adapt to the prompt of a stored voice of the user, and let the voice speak with it from then on. ValueError where
    there is no such voice, or too little can be heard in it.
    """
    from tts_fm.voices.stored import add_adapted, catalogue, user_folder

    known = catalogue().get(name)
    if known is None or known[0] != user_folder():
        raise ValueError(f"there is no added voice {name!r}; tts-fm voice add {name} FILE stores one")
    folder, entry = known
    work = folder / f".{name}-sharpen"
    one = Recording(folder / f"{name}.flac", entry.get("text"))
    how = {"name": name, "lang": entry.get("lang"), "minutes": minutes, "prompted": prompted}
    need_training()
    info = learn(one, work, how, on_progress=on_progress)
    add_adapted(name, work)
    shutil.rmtree(work, ignore_errors=True)
    return info


def sharpened(
    voice: Voice,
    model: str | os.PathLike[str] | None = None,
    asr: str | None = None,
    on_progress: Tell | None = None,
) -> Path:
    """The folder of the adapted voice that was learnt from a voice's prompt; learnt now where the cache has none.

    voice: of voices.get_voice, one that speaks from its prompt alone. model: the base, None = the built-in one. asr:
    what writes the transcript where there is none. ValueError for what no voice can be learnt from, ModelError for a
    model that cannot be adapted.
    """
    if voice.adapter is not None:
        raise ValueError(f"the voice {voice.name!r} was learnt from recordings already; it needs no sharpening")
    base = BUILTIN if model is None else find_model(model)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", voice.name).strip("-")[:64] or "voice"
    place = cache_dir() / "sharpened" / _key(voice, base) / name
    if is_learnt(place):
        with contextlib.suppress(OSError):  # a cache that somebody else owns
            os.utime(place.parent)
        return place
    need_training()
    place.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(place.parent / "lock"):  # who asks for the same voice meanwhile waits for it
        if not is_learnt(place):
            recording = place.with_suffix(".flac")
            if not recording.exists():  # else it is of a run that was killed, which goes on
                write_audio(recording, voice.wave, SAMPLE_RATE)
            how = {"name": voice.name, "lang": voice.lang}
            learn(Recording(recording, voice.text), place, how, model, asr, on_progress)
            shutil.rmtree(place / "samples", ignore_errors=True)
            recording.unlink()
    _tidy(place.parents[1])
    return place


def learn(
    one: Recording,
    out: Path,
    how: dict[str, Any],
    model: str | os.PathLike[str] | None = None,
    asr: str | None = None,
    on_progress: Tell | None = None,
) -> dict[str, Any]:
    """`adapt_voice` with one recording; how: fields of AdaptOptions."""
    from tts_fm.train.voice import AdaptOptions, adapt_voice

    return adapt_voice([one], out, AdaptOptions(**how), model, asr, on_progress)


def is_learnt(place: Path) -> bool:
    """Whether there is a voice whose learning has ended."""
    return is_voice(place) and not (place / WORK).exists()


def need_training() -> None:
    """MissingDependency without what trains."""
    with importing("sharpening a voice", "train"):
        import filelock  # noqa: F401

        import tts_fm.train.voice  # noqa: F401


def _key(voice: Voice, base: Path) -> str:
    """What a sharpened voice depends on."""
    said = "\0".join([str(MAKE), base_digest(base), voice.name, voice.text or "", voice.lang or ""])
    return hashlib.sha256(said.encode() + voice.wave.tobytes()).hexdigest()[:32]


def _tidy(folder: Path) -> None:
    """Remove the voices that nobody has asked for the longest; a list that is being spoken may need all of its own."""
    found = sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime)
    old = [place for place in found if place.stat().st_mtime < time.time() - 86_400 * DAYS]
    for place in old[: max(0, len(found) - KEPT)]:
        with contextlib.suppress(BlockingIOError), files.locked(place / "lock", wait=False):
            shutil.rmtree(place, ignore_errors=True)
