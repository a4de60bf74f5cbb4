"""Sound files of a book: AAC, MP3 and Opus with chapter marks, written block after block.

PyAV encodes, mutagen writes what players show. Memory does not grow with the book, and the same sound gives the same
bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.errors import MissingDependency
from tts_fm.files import writing

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Codec:
    """How a kind of file is encoded."""

    container: str
    codec: str
    layout: str  # of samples that it takes
    rate: int
    bits: int  # a second
    options: tuple[tuple[str, str], ...] = ()


CODECS = {
    "m4b": Codec("ipod", "aac", "fltp", 24_000, 64_000, (("aac_coder", "fast"),)),
    "m4a": Codec("ipod", "aac", "fltp", 24_000, 64_000, (("aac_coder", "fast"),)),
    "mp3": Codec("mp3", "libmp3lame", "s16p", 24_000, 64_000, (("compression_level", "7"),)),
    "opus": Codec("ogg", "libopus", "s16", 24_000, 32_000, (("compression_level", "5"),)),
    "acx": Codec("mp3", "libmp3lame", "s16p", 44_100, 192_000),
}


@dataclass(frozen=True)
class Mark:
    """A chapter in a sound file."""

    title: str
    start: float  # seconds
    end: float


@dataclass(frozen=True)
class Tags:
    """What players show."""

    title: str
    album: str = ""
    author: str = ""
    narrator: str = ""
    language: str = ""
    track: tuple[int, int] | None = None  # number, of how many
    cover: tuple[bytes, str] | None = None
    comment: str = ""


class SoundFile:
    """An open sound file; `write` takes (S,) int16 at 24 kHz. It appears under its name when all went well."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.codec = path, CODECS[kind]
        self.written = 0  # samples at 24 kHz
        self._place = writing(path)
        self.marks: list[Mark] = []
        self.tags: Tags | None = None

    def __enter__(self) -> SoundFile:
        av = need_av()
        self.part = self._place.__enter__()
        codec = self.codec
        options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if codec.container == "ipod" else {})
        try:
            self.container: Any = av.open(os.fspath(self.part), "w", format=codec.container, options=options)
            self.stream: Any = self.container.add_stream(codec.codec, rate=codec.rate, layout="mono")
            self.stream.bit_rate = codec.bits
            self.stream.codec_context.options = {**dict(codec.options), "flags": "+bitexact"}
            self.resampler: Any = av.AudioResampler(format=codec.layout, layout="mono", rate=codec.rate)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise OSError(f"cannot write {self.path}: {error}") from error
        return self

    def write(self, pcm: np.ndarray) -> None:
        """Append sound."""
        av = need_av()
        for start in range(0, len(pcm), 1 << 16):
            block = pcm[start : start + (1 << 16)]
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, self.written
            self.written += len(block)
            self._encode(self.resampler.resample(frame))

    def _encode(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            for packet in self.stream.encode(frame):
                self.container.mux(packet)

    @property
    def seconds(self) -> float:
        return self.written / SAMPLE_RATE

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
            else:
                with suppress(Exception):  # it is taken away
                    self.container.close()
        except Exception as fault:
            self._place.__exit__(type(fault), fault, fault.__traceback__)
            raise
        self._place.__exit__(kind, error, trace)

    def _complete(self) -> None:
        self._encode(self.resampler.resample(None))
        self._encode([None])
        if self.codec.container == "ipod" and self.marks:
            self.container.set_chapters(_av_chapters(self.marks))
        self.container.close()
        if self.tags is not None:
            write_tags(self.part, self.codec.container, self.tags, self.marks)


def _av_chapters(marks: Sequence[Mark]) -> list[Any]:
    from fractions import Fraction

    return [
        {"id": k, "start": round(m.start * 1000), "end": round(m.end * 1000), "time_base": Fraction(1, 1000),
         "metadata": {"title": m.title}}
        for k, m in enumerate(marks, 1)
    ]  # fmt: skip


def write_tags(path: Path, container: str, tags: Tags, marks: Sequence[Mark] = ()) -> None:
    """Put title, author, cover and chapters into a finished file; m4b has its chapters already."""
    try:
        import mutagen
    except ImportError as error:
        raise MissingDependency(f'tags need mutagen ({error}): pip install "tts-fm[book]"') from None
    try:
        {"ipod": _tag_mp4, "mp3": _tag_mp3, "ogg": _tag_opus}[container](path, tags, marks)
    except mutagen.MutagenError as error:
        if isinstance(cause := error.__context__, OSError):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise OSError(f"cannot write the tags of {path}: {error}") from error


def _tag_mp4(path: Path, tags: Tags, marks: Sequence[Mark]) -> None:
    from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm

    file = MP4(path)
    values = {"\xa9nam": tags.title, "\xa9alb": tags.album or tags.title, "\xa9ART": tags.author, "aART": tags.author,
              "\xa9wrt": tags.narrator, "\xa9cmt": tags.comment, "\xa9gen": "Audiobook"}  # fmt: skip
    for key, value in values.items():
        if value:
            file[key] = [value]
    file["stik"] = [2]  # an audiobook
    if tags.track:
        file["trkn"] = [tags.track]
    if tags.language:
        file["----:com.apple.iTunes:LANGUAGE"] = [MP4FreeForm(tags.language.encode())]
    if tags.narrator:
        file["----:com.apple.iTunes:NARRATOR"] = [MP4FreeForm(tags.narrator.encode())]
    if tags.cover:
        form = MP4Cover.FORMAT_PNG if tags.cover[1] == "image/png" else MP4Cover.FORMAT_JPEG
        file["covr"] = [MP4Cover(tags.cover[0], form)]
    file.save()


def _tag_mp3(path: Path, tags: Tags, marks: Sequence[Mark]) -> None:
    from mutagen import id3

    file = id3.ID3()
    texts = {"TIT2": tags.title, "TALB": tags.album or tags.title, "TPE1": tags.author, "TPE2": tags.author,
             "TCOM": tags.narrator, "TCON": "Audiobook", "TLAN": tags.language[:3]}  # fmt: skip
    for name, value in texts.items():
        if value:
            file.add(getattr(id3, name)(encoding=3, text=[value]))
    if tags.track:
        file.add(id3.TRCK(encoding=3, text=["/".join(map(str, tags.track))]))
    if tags.comment:
        file.add(id3.COMM(encoding=3, lang="eng", desc="", text=[tags.comment]))
    if tags.cover:
        file.add(id3.APIC(encoding=3, mime=tags.cover[1], type=3, desc="", data=tags.cover[0]))
    if marks:
        names = [f"chp{k}" for k in range(len(marks))]
        file.add(id3.CTOC(element_id="toc", flags=3, child_element_ids=names, sub_frames=[]))
        for name, mark in zip(names, marks, strict=True):
            title = id3.TIT2(encoding=3, text=[mark.title])
            file.add(id3.CHAP(element_id=name, start_time=round(mark.start * 1000), end_time=round(mark.end * 1000),
                              start_offset=0xFFFFFFFF, end_offset=0xFFFFFFFF, sub_frames=[title]))  # fmt: skip
    file.save(path, v2_version=4)


def _tag_opus(path: Path, tags: Tags, marks: Sequence[Mark]) -> None:
    import base64

    from mutagen.flac import Picture
    from mutagen.oggopus import OggOpus

    file = OggOpus(path)
    values = {"TITLE": tags.title, "ALBUM": tags.album or tags.title, "ARTIST": tags.author, "PERFORMER": tags.narrator,
              "GENRE": "Audiobook", "LANGUAGE": tags.language, "COMMENT": tags.comment}  # fmt: skip
    for key, value in values.items():
        if value:
            file[key] = [value]
    if tags.track:
        file["TRACKNUMBER"], file["TRACKTOTAL"] = [str(tags.track[0])], [str(tags.track[1])]
    for number, mark in enumerate(marks, 1):
        whole = round(mark.start * 1000)
        clock = f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
        file[f"CHAPTER{number:03d}"] = [clock]
        file[f"CHAPTER{number:03d}NAME"] = [mark.title]
    if tags.cover:
        picture = Picture()
        picture.data, picture.mime, picture.type = tags.cover[0], tags.cover[1], 3
        file["METADATA_BLOCK_PICTURE"] = [base64.b64encode(picture.write()).decode()]
    file.save()


def need_av() -> Any:
    """PyAV, or MissingDependency."""
    try:
        import av
    except ImportError as error:
        raise MissingDependency(f'audiobooks need PyAV ({error}): pip install "tts-fm[book]"') from None
    return av
