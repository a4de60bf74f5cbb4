"""A report as one HTML page: the figures, and for each item its text, what was heard, players and the picture of its
mel. Worst first.

The page needs no network and no script. Sound stays where it is (relative links); pictures are inside, for the first
PICTURES items.
"""

from __future__ import annotations

import base64
import html
import os
import struct
import urllib.parse
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tts_fm import files
from tts_fm.evaluate.report import ItemResult, Report

PICTURES = 60
WIDEST = 1500  # frames of a picture: 16 s
STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;
color:#222;background:#fff}
pre{background:#f4f4f4;padding:1em;overflow-x:auto}
article{border-top:1px solid #ccc;padding:.7em 0}h2{font-size:1em;margin:0}
p{margin:.3em 0}img{display:block;height:100px;max-width:100%;image-rendering:pixelated}
audio{height:2em;vertical-align:middle}
.heard{color:#666}.wrong{color:#a00}"""


def png(grey: np.ndarray) -> bytes:
    """A picture (height, width) uint8 as PNG (ISO/IEC 15948): 8 bit grey, no filter."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = grey.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each begins with its filter's number
    lines[:, 1:] = grey
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def mel_picture(path: Path) -> str:
    """The log-mel of a file as a data URL, low bins below; empty for a file that cannot be read."""
    from tts_fm.audio.files import load
    from tts_fm.audio.mel import MIN_SAMPLES
    from tts_fm.data.corpus import mel_of

    try:
        wave = load(path)
    except ValueError:
        return ""
    mel = mel_of(np.pad(wave, (0, max(0, MIN_SAMPLES - len(wave)))))[:WIDEST]  # (T, 100)
    grey = np.clip((mel.T[::-1] + 11.6) / 14, 0, 1) * 255
    return "data:image/png;base64," + base64.b64encode(png(255 - grey.astype(np.uint8))).decode()


def badness(item: ItemResult) -> tuple:
    """Failed items, then many word errors, then little likeness of the voice."""
    wrong = item.words.edits / max(1, item.words.length) if item.words else 0.0
    return item.error is None, -wrong, 1.0 if item.sim is None else item.sim


def write_page(report: Report, speech: Mapping[str, Path], out: Path) -> None:
    """Write the page `out` in one rename. speech: id -> the file that was measured."""
    title = f"{report.overall.items} items"
    parts = [
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1><pre>{html.escape(report.table())}</pre>"
    ]
    for number, item in enumerate(sorted(report.items, key=badness)):
        parts.append(_article(item, speech[item.id], out.resolve().parent, number < PICTURES))
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, "\n".join([*parts, "</html>\n"]))


def _article(item: ItemResult, path: Path, folder: Path, picture: bool) -> str:
    figures = [f"{item.seconds:.2f} s"]
    if item.words is not None:
        figures.append(f"{item.words.edits} of {item.words.length} words wrong")
    figures += [f"similarity {item.sim:.3f}"] if item.sim is not None else []
    figures += [f"DNSMOS {item.dnsmos['overall']:.2f}"] if item.dnsmos else []
    lines = [f"<article><h2>{html.escape(item.id)}</h2><p>{html.escape(item.text)}</p>"]
    if item.transcript is not None:
        wrong = " wrong" if item.words is not None and item.words.edits else ""
        lines.append(f'<p class="heard{wrong}">heard: {html.escape(item.transcript)}</p>')
    if item.error:
        lines.append(f'<p class="wrong">{html.escape(item.error)}</p>')
    lines.append(f"<p>{', '.join(figures)}</p>")
    if path.is_file():
        lines.append(f"<p>{_player('spoken', path, folder)} {_player('prompt', Path(item.ref_audio), folder)}</p>")
        if picture:
            lines.append(f'<img alt="mel spectrogram of {html.escape(item.id)}" src="{mel_picture(path)}">')
    return "\n".join([*lines, "</article>"])


def _player(what: str, path: Path, folder: Path) -> str:
    link = urllib.parse.quote(os.path.relpath(path.resolve(), folder))
    return f'{what} <audio controls preload="none" aria-label="{what}" src="{link}"></audio>'
