"""Ogg pages with a fixed serial number: libsndfile draws one from the clock, so that the same audio never gave the same
file twice.

A page is a 27-byte header, a table of segment lengths, and the segments (RFC 3533). Its checksum is CRC-32 with
polynomial 0x04c11db7, most significant bit first, without inversions; zlib's is the same polynomial mirrored, so
mirrored bytes go in and a mirrored number comes out.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

_MIRROR = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def page_checksum(page: bytes) -> int:
    """Checksum of a page whose own checksum field is zero."""
    crc = zlib.crc32(page.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def steady(file: BinaryIO, serial: int = 0) -> None:
    """Give every page of a finished one-stream Ogg file (seekable, read and write) the same serial number. ValueError
    if it is no Ogg.
    """
    file.seek(0)
    data = bytearray(file.read())
    at = 0
    while at < len(data):
        if data[at : at + 4] != b"OggS":
            raise ValueError(f"not an Ogg file: no page at byte {at}")
        segments = data[at + 26]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        data[at + 14 : at + 18] = serial.to_bytes(4, "little")
        data[at + 22 : at + 26] = bytes(4)
        data[at + 22 : at + 26] = page_checksum(bytes(data[at:end])).to_bytes(4, "little")
        at = end
    file.seek(0)
    file.write(data)
