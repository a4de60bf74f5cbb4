"""What kind of audio file it is, judged by its content before a decoder sees it; and WAV files whose header lies.

Let through are the containers that libsndfile reads well: WAV, RF64, W64, AIFF, AU, CAF, FLAC, OGG, MP3, with PCM,
float, mu-law, A-law or ADPCM samples. MP4, M4A, WebM, AAC and others of the kind are told apart, for media.py.
Nothing is decoded here.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

READABLE = "give a WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF, W64 or RF64 file"
LIBSNDFILE, MEDIA = "libsndfile", "media"  # who decodes it

_PCM = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}
_PACKED = {(2, 4), (6, 8), (7, 8), (0x11, 4)}  # MS ADPCM, A-law, mu-law, IMA ADPCM
_GUID_TAIL = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
_W64 = b"riff\x2e\x91\xcf\x11"
_OPEN_ENDED = (0, 0xFFFFFFFF)  # sizes that writers leave when they do not know how much will come


def kind_of_file(file: BinaryIO, name: str) -> str:
    """LIBSNDFILE or MEDIA for a seekable file, which is rewound. ValueError, one line, for what is neither."""
    magic = file.read(16)
    file.seek(0)
    problem: str | None = None
    if not magic:
        problem = "is empty"
    elif magic[:4] in (b"RIFF", b"RF64"):
        problem = _wav_problem(file)
        file.seek(0)
    elif (
        magic[4:8] == b"ftyp"
        or magic[:4] in (b"\x1aE\xdf\xa3", b"ADIF", b"FLV\x01", b"\x30\x26\xb2\x75")
        or _is_adts(magic)
    ):
        return MEDIA
    elif magic[:4] == b"FORM" and magic[8:12] not in (b"AIFF", b"AIFC"):
        problem = "is an IFF file but not AIFF"
    elif not (
        magic[:4] in (b"fLaC", b"OggS", b"FORM", b".snd", b"caff")
        or magic[:8] == _W64
        or magic[:3] == b"ID3"
        or (len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xE6 == 0xE2)
    ):
        problem = "is not audio of a known kind"
    if problem:
        raise ValueError(f"{name} {problem}; {READABLE}")
    return LIBSNDFILE


def _is_adts(magic: bytes) -> bool:
    """Bare AAC: a sync word whose layer is 0."""
    return len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xF6 == 0xF0


def _wav_problem(head: BinaryIO) -> str | None:
    """Why a RIFF file is not let through to libsndfile (None = let through): known format tags, one fmt chunk."""
    riff = head.read(12)
    if riff[8:12] != b"WAVE":
        return "is a RIFF file but not WAV"
    seen = False
    for _ in range(64):  # chunks before the samples
        name, size = head.read(4), head.read(4)
        if len(size) < 4:
            return "ends before its samples"
        length = struct.unpack("<I", size)[0]
        if name == b"data":
            return None if seen else "has no fmt chunk before its samples"
        if name != b"fmt ":
            head.seek(length + length % 2, io.SEEK_CUR)
            continue
        body = head.read(min(length, 40))
        if seen or not 16 <= length <= 4096 or len(body) < min(length, 40):
            return "has a damaged fmt chunk"
        head.seek(length - len(body) + length % 2, io.SEEK_CUR)
        seen = True
        tag, bits = struct.unpack("<H", body[:2])[0], struct.unpack("<H", body[14:16])[0]
        if tag == 0xFFFE and len(body) >= 40 and body[26:40] == _GUID_TAIL:
            tag = struct.unpack("<H", body[24:26])[0]
        if (tag, bits) not in _PCM | _PACKED:
            return f"has WAV format tag 0x{tag:04x} with {bits} bits, which is not read"
        if (tag, bits) in _PACKED and struct.unpack("<H", body[12:14])[0] == 0:
            return "has blocks of no size"
    return "has too many chunks before its samples"


def mended_wav(file: BinaryIO) -> tuple[BinaryIO, str | None]:
    """A WAV file whose header says how much sound it holds, and what was wrong (None: nothing). A size of 0, as
    streaming writers leave it, or of more than the file has, as a broken recording has, becomes what is there.
    """
    magic = file.read(12)
    if magic[:4] != b"RIFF" or magic[8:12] != b"WAVE":
        file.seek(0)
        return file, None
    file.seek(0, io.SEEK_END)
    whole, at = file.tell(), 12
    for _ in range(64):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            there = whole - at - 8
            if there <= 0 or length == there or (length not in _OPEN_ENDED and length < there):
                break
            file.seek(0)
            data = bytearray(file.read())
            data[at + 4 : at + 8] = struct.pack("<I", min(there, 0xFFFFFFFE))
            data[4:8] = struct.pack("<I", min(len(data) - 8, 0xFFFFFFFE))
            what = "its header gives no length" if length in _OPEN_ENDED else "its end is missing"
            return io.BytesIO(bytes(data)), f"{what}: what is there is used"
        at += 8 + length + length % 2
    file.seek(0)
    return file, None
