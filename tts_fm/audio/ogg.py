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


class Steady:
    """Pages of a one-stream Ogg file as they come, given the same serial number; what is no whole page yet is held."""

    def __init__(self, serial: int = 0) -> None:
        self._serial, self._held = serial.to_bytes(4, "little"), bytearray()

    def put(self, data: bytes) -> bytes:
        """The pages that are whole with these bytes. ValueError for what is no Ogg."""
        self._held += data
        pages = bytearray()
        while (end := page_end(self._held)) <= len(self._held):
            page = self._held[:end]
            page[14:18], page[22:26] = self._serial, bytes(4)
            page[22:26] = page_checksum(bytes(page)).to_bytes(4, "little")
            pages += page
            del self._held[:end]
        return bytes(pages)


def page_end(data: bytes | bytearray) -> int:
    """Bytes of the page at the start of the data; more than there are where its header is not whole."""
    if not b"OggS".startswith(bytes(data[:4])):
        raise ValueError("not an Ogg file: where a page should be there is none")
    if len(data) < 27 or len(data) < 27 + data[26]:
        return len(data) + 1
    return 27 + data[26] + sum(data[27 : 27 + data[26]])


def steady(file: BinaryIO, serial: int = 0) -> None:
    """Give every page of a finished one-stream Ogg file (seekable, read and write) the same serial number. ValueError
    if it is no Ogg.
    """
    file.seek(0)
    pages = Steady(serial).put(file.read())
    file.seek(0)
    file.write(pages)
