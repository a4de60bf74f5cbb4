"""What a batch has to do: rounds of items that are spoken together, and the digests that tell what is done already.

A round is planned from the whole list, never from what is left of it, so the audio of an item does not depend on kills,
resumes, shards or workers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tts_fm.batch.journal import Record
from tts_fm.batch.lists import Item
from tts_fm.batch.rounds import Options

CHARS_PER_SECOND = 14.0  # of speech; only orders the work and estimates what is left of it
ROUND_SECONDS = 240.0  # of estimated speech after which a round is closed: bounds memory, and what a kill can cost


def cost(item: Item) -> float:
    """Estimated seconds of speech."""
    return sum(0.5 + len(part.text) / CHARS_PER_SECOND for part in item.parts)


def rounds(items: Sequence[Item], batch: int) -> list[list[Item]]:
    """Items that are spoken together: of one group, like settings, like lengths, at most `batch` of them and about
    ROUND_SECONDS of speech. They are spoken from the last round to the first.
    """
    made: list[list[Item]] = []
    filled = 0.0
    for item in sorted(items, key=lambda item: (-item.group, item.settings.solver_key(), cost(item), item.id)):
        full = made and (len(made[-1]) >= batch or filled + cost(item) > ROUND_SECONDS)
        if not made or full or made[-1][0].group != item.group:
            made.append([])
            filled = 0.0
        made[-1].append(item)
        filled += cost(item)
    return made


def model_digest(spec: str | os.PathLike[str] | None, extra: str = "") -> str:
    """Hash of a model's files (weights, configuration, vocabulary, vocoder, durations), so that another model's items
    are made anew.
    """
    from tts_fm.checkpoint.load import find_model
    from tts_fm.synthesis import BUILTIN

    place = BUILTIN if spec is None else find_model(spec)
    kinds = (".safetensors", ".json", ".txt")
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix in kinds and p.is_file())
    total = hashlib.sha256(extra.encode())
    for path in files:
        total.update(f"{'' if path == place else path.relative_to(place).as_posix()}\0{_file_digest(path)}\0".encode())
    return total.hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def voice_digests(items: Sequence[Item]) -> dict[str | None, str]:
    """Hash of the recording, or of the adapter, behind every voice of the items."""
    from tts_fm.voices.stored import voice_digest

    return {voice: voice_digest(voice) for voice in {part.voice for item in items for part in item.parts}}


def item_digest(item: Item, options: Options, voices: dict[str | None, str]) -> str:
    """Hash of everything that the files of an item depend on, but the model."""
    parts = [[part.text, voices[part.voice], part.ref_text] for part in item.parts]
    written = [options.format, options.subtitles, options.verify]
    all_of_it = json.dumps([2, parts, item.settings.changed(), written], sort_keys=True)
    return hashlib.sha256(all_of_it.encode()).hexdigest()[:32]


def state(item: Item, record: Record | None, digest: str, model: str, out: Path, options: Options) -> str:
    """ "done", "failed" (before, and not to be tried again) or "todo"."""
    if record is None or options.overwrite or record.get("hash") != digest or record.get("model") != model:
        return "todo"
    if record.get("status") != "ok":
        return "todo" if options.retry_failed else "failed"
    path = out / f"{item.id}.{options.format}"
    whole = not path.is_symlink() and path.is_file() and path.stat().st_size == record.get("bytes")
    return (
        "done"
        if whole and (options.subtitles is None or (out / f"{item.id}.{options.subtitles}").is_file())
        else "todo"
    )
