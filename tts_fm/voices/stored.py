"""Named voices: stored prompts that ship with the package, and those that a user adds.

A voice is a folder entry NAME.flac (24 kHz mono, checked and trimmed) and a line in voices.json {NAME: {"text", "lang",
"about"}}. A voice that a model was adapted to has a folder NAME/ as well (adapters.py), and its line says "adapted".
Names are matched against what is stored; user text never becomes a path.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import re
import shutil
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm import files
from tts_fm.audio.files import load, write_audio
from tts_fm.audio.mel import SAMPLE_RATE, log_mel
from tts_fm.audio.prompt import check_reference
from tts_fm.voices.adapters import INFO, PROMPT, Adapter, install, is_voice, read_voice

BUILTIN = Path(__file__).parents[1] / "assets" / "voices"
log = logging.getLogger(__name__)
_told: set[str] = set()  # warnings that were given
KEPT = 32  # stored voices that stay decoded, at most 2 MB each
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Voice:
    """A prompt that is ready to be continued."""

    name: str
    wave: np.ndarray  # (S,) float32, 24 kHz
    text: str | None = None  # its transcript, where known
    lang: str | None = None  # accent to phonemise with, "en-us" or "en-gb"; None = the model's
    warnings: tuple[str, ...] = field(default=())
    recorded: bool = False  # a recording in which speech has not been looked for yet (engines/phones.py)
    shipped: bool = False  # one of the package, from whose recordings the built-in model has learnt
    adapter: Adapter | None = None  # what makes a model speak in this voice; None = its prompt alone

    @cached_property
    def mel(self) -> np.ndarray:
        """(Tp, 100) log-mel of the prompt; made once."""
        return log_mel(self.wave)


def user_folder() -> Path:
    """Where `tts-fm voice add` keeps voices: $TTS_FM_HOME/voices, or ~/.local/share/tts_fm/voices."""
    home = os.environ.get("TTS_FM_HOME")
    if home:
        return Path(home) / "voices"
    try:
        return Path.home() / ".local" / "share" / "tts_fm" / "voices"
    except RuntimeError:  # no HOME, and a user whom the system does not know
        raise ValueError("there is no home folder to keep voices in; set TTS_FM_HOME to one") from None


def catalogue() -> dict[str, tuple[Path, dict[str, Any]]]:
    """Every known voice: name -> (folder, entry). A user's voice hides a built-in one of the same name."""
    known: dict[str, tuple[Path, dict[str, Any]]] = {}
    for user in (False, True):
        try:
            folder = user_folder() if user else BUILTIN
            known.update({name: (folder, entry) for name, entry in read_index(folder).items()})
        except ValueError as error:  # the voices of the other folder speak none the less
            if str(error) not in _told:
                _told.add(str(error))
                log.warning("%s", error)
    return known


def read_index(folder: Path) -> dict[str, dict[str, Any]]:
    """What a folder's voices.json holds; nothing where there is none. ValueError, with its path, if it is damaged."""
    index = folder / "voices.json"
    try:
        entries = json.loads(index.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise ValueError(f"the voices in {index} are left out: {reason}; repair or remove that file") from None
    if not isinstance(entries, dict) or not all(NAME.fullmatch(k) and isinstance(v, dict) for k, v in entries.items()):
        raise ValueError(
            f'the voices in {index} are left out: it must hold {{NAME: {{"text": ...}}}}; repair or remove that file'
        )
    return entries


def get_voice(spec: str | os.PathLike[str] | Voice | None, text: str | None = None) -> Voice:
    """A named voice, the folder or zip of an adapted one, or a recording checked by check_reference. None = the first
    built-in voice.

    Raises ValueError naming the nearest voice, or saying what is wrong with the recording, ModelError for an adapted
    voice that is damaged.
    """
    if isinstance(spec, Voice):
        return spec
    known = catalogue()
    if spec is None:
        if not known:
            raise ValueError("there is no default voice in this install; give a recording")
        spec = next(iter(known))
    name = os.fspath(spec)
    if name in known:
        folder, entry = known[name]
        file = folder / (name if entry.get("adapted") else f"{name}.flac")
        if not file.exists():
            raise ValueError(f"the voice {name!r} has lost its file {file}; add it again, or remove the voice")
        if entry.get("adapted"):
            return _adapted(file, _changed(file), name)
        return _stored(name, file, file.stat().st_mtime_ns, entry.get("text"), entry.get("lang"))
    if not Path(name).exists() and NAME.fullmatch(name):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
        raise ValueError(f"there is no voice {name!r}, nor a file of that name; {hint}")
    if is_voice(name):
        return _adapted(Path(name), _changed(Path(name)))
    reference = check_reference(name, text)
    return Voice(Path(name).stem, reference.wave, reference.text, None, tuple(reference.warnings), recorded=True)


@lru_cache(maxsize=KEPT)
def _stored(name: str, file: Path, changed: int, text: str | None, lang: str | None) -> Voice:
    """A stored voice, decoded once as long as its file does not change."""
    return Voice(name, load(file), text, lang, shipped=file.parent == BUILTIN)


def _changed(place: Path) -> tuple[int, ...]:
    """When a voice's zip, or its folder and what may be edited in it, changed."""
    return tuple(path.stat().st_mtime_ns for path in (place, place / INFO) if path.exists())


@lru_cache(maxsize=KEPT)
def _adapted(place: Path, changed: tuple[int, ...], name: str | None = None) -> Voice:
    """An adapted voice, read once as long as it does not change. name: None = its own."""
    found = read_voice(place)
    info = found.info
    return Voice(name or info["name"], found.wave, info.get("text"), info.get("lang"), (), adapter=found.adapter)


def voice_digest(spec: str | None) -> str:
    """What a voice that is named, or given by a path, depends on; "none" where there is nothing."""
    known = catalogue()
    name = next(iter(known), None) if spec is None else spec
    if name in known:
        folder, entry = known[name]
        adapter = get_voice(name).adapter  # as it is now: its voice.json may have been edited
        now = entry if adapter is None else entry | {"adapted": adapter.digest}
        return _file_digest(folder / f"{name}.flac") + json.dumps(now, sort_keys=True)
    if name and is_voice(name):
        adapter = get_voice(name).adapter
        return adapter.digest if adapter is not None else "none"
    return _file_digest(Path(name)) if name and os.path.isfile(name) else "none"


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_adapted(name: str, source: str | os.PathLike[str], prompted: bool | None = None) -> Voice:
    """Store an adapted voice (its folder or zip) as a voice of the user, in place of one of that name. prompted: None =
    as it was made. ValueError for a bad name, ModelError for a voice that is damaged.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a voice; use up to 64 letters, digits, - and _")
    folder = user_folder()
    folder.mkdir(parents=True, exist_ok=True)
    info = install(source, folder / name, prompted)
    found = read_voice(folder / name)
    files.copy(folder / name / PROMPT, folder / f"{name}.flac")
    index = folder / "voices.json"
    entries = read_index(index.parent)
    about = f"adapted to {info.get('minutes', 0):g} minutes of recordings"
    entries[name] = {
        "text": info.get("text"),
        "lang": info.get("lang"),
        "about": about,
        "adapted": found.adapter.digest,
    }
    files.write_json(index, entries)
    return get_voice(name)


def add_voice(
    name: str,
    source: str | os.PathLike[str],
    text: str | None = None,
    lang: str | None = None,
    folder: Path | None = None,
) -> list[str]:
    """Store a recording as a voice of the user; returns the warnings of the check. Raises ValueError for a bad name or
    recording.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a voice; use up to 64 letters, digits, - and _")
    folder = user_folder() if folder is None else folder
    reference = check_reference(source, text)
    folder.mkdir(parents=True, exist_ok=True)
    write_audio(folder / f"{name}.flac", reference.wave, SAMPLE_RATE, "flac")
    index = folder / "voices.json"
    entries = read_index(index.parent)
    entries[name] = {"text": reference.text, "lang": lang}
    files.write_json(index, entries)
    shutil.rmtree(folder / name, ignore_errors=True)  # of an adapted voice of that name
    return reference.warnings


def remove_voice(name: str) -> None:
    """Delete a voice that the user added. Raises ValueError where there is none."""
    index = user_folder() / "voices.json"
    entries = read_index(index.parent)
    if name not in entries:
        raise ValueError(f"there is no added voice {name!r}; there are {', '.join(entries) or 'none'}")
    del entries[name]
    files.write_json(index, entries)
    (user_folder() / f"{name}.flac").unlink(missing_ok=True)
    shutil.rmtree(user_folder() / name, ignore_errors=True)
