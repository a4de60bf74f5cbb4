"""Ids of items as names of files: which are safe on any system, and the nearest one that is.

Letters and digits of every script are allowed, in Unicode's composed form (NFC), since macOS decomposes names and
would make two of one. Lengths are in bytes, as file systems count them.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

LONGEST_ID = (128, 200)  # characters, and bytes in UTF-8: file systems allow 255 with the suffixes
# names that Windows keeps for devices
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_REPAIR = "(or use --sanitize-ids)"


def check_id(name: str) -> str | None:
    """What is wrong with an id as a file name on any system; None = nothing."""
    shown = name if len(name) <= 40 else name[:40] + "…"
    first = name[:1].isalnum() and unicodedata.category(name[0])[0] in "LN"
    if not first or not all(char in "._-" or unicodedata.category(char)[0] in "LMN" for char in name):
        return f"id {shown!r} cannot be a file name; letters, digits, . _ and - work, a letter or digit first {_REPAIR}"
    if len(name) > LONGEST_ID[0] or len(name.encode()) > LONGEST_ID[1]:
        return (
            f"id {shown!r} is too long for a file name: {len(name)} characters, {len(name.encode())} bytes; up to "
            f"{LONGEST_ID[0]} and {LONGEST_ID[1]} work {_REPAIR}"
        )
    if unicodedata.normalize("NFC", name) != name:
        return f"id {shown!r} is not in Unicode's composed form (NFC), so macOS would rename the file {_REPAIR}"
    if _RESERVED.fullmatch(name):
        return f"id {name!r} is a device name on Windows; choose another {_REPAIR}"
    if name.endswith("."):
        return f"id {name!r} ends with a full stop, which Windows drops; choose another {_REPAIR}"
    return None


def clean_id(name: str) -> str:
    """The nearest id that check_id accepts."""
    name = unicodedata.normalize("NFC", name)
    kept = (char if char in "._-" or unicodedata.category(char)[0] in "LMN" else " " for char in name)
    name = "_".join("".join(kept).split())
    name = unicodedata.normalize("NFC", name[:120].encode()[: LONGEST_ID[1] - 10].decode("utf-8", "ignore"))
    while name and not (name[0].isalnum() and unicodedata.category(name[0])[0] in "LN"):
        name = name[1:]
    name = name.rstrip("._-") or "item"
    return f"x_{name}" if _RESERVED.fullmatch(name) else name


def nameable(name: str) -> bool:
    """Whether the file system of this machine takes the letters of a name."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def plain_id(name: str) -> str:
    """An id in ASCII letters, for file systems without Unicode; a digest behind it keeps ids apart that are written
    alike, whatever else is in the list.
    """
    from tts_fm.text.foreign import transliterated

    return f"{clean_id(transliterated(name))}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
