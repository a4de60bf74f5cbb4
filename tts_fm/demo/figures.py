"""Pictures of speech, drawn with numpy and Pillow (which Gradio brings): waveform above, mel below, time and words
between.

T mel frames (93.75 a second), S samples at 24 kHz. Knows nothing of models or pages.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from tts_fm.audio.mel import HOP

if TYPE_CHECKING:
    from PIL import ImageDraw
    from PIL.Image import Image

    from tts_fm.engines.jobs import Chunk
    from tts_fm.text.word_times import Word

INK, PAPER, WAVE, GRID, MARK = (34, 34, 40), (255, 255, 255), (41, 98, 160), (205, 208, 214), (255, 226, 160)
# Anchors of a colour scale from dark violet to pale yellow, rising evenly in brightness (readable without colour
# vision).
ANCHORS = np.array(
    [(13, 8, 35), (60, 20, 95), (120, 35, 115), (180, 55, 105), (230, 95, 85), (250, 160, 95), (253, 225, 155)],
    np.float64,
)
SILENT = -11.5  # log-mel of silence
FLOOR, CEILING = -9.0, 2.5  # log-mel values that get the darkest and the brightest colour


def colours(mel: np.ndarray) -> np.ndarray:
    """Log-mel (T, 100) -> (100, T, 3) uint8, low frequencies at the bottom."""
    level = np.clip((np.nan_to_num(mel, nan=FLOOR).T[::-1] - FLOOR) / (CEILING - FLOOR), 0, 1) * (len(ANCHORS) - 1)
    return np.stack([np.interp(level, np.arange(len(ANCHORS)), ANCHORS[:, c]) for c in range(3)], -1).astype(np.uint8)


def speech_picture(
    wave: np.ndarray,
    mel: np.ndarray,
    words: Sequence[Word] = (),
    marks: Sequence[tuple[float, float]] = (),
    rate: int = 24_000,
    width: int = 800,
) -> Image:
    """Waveform, time axis with words, and mel of one piece of speech: a PIL image `width` pixels wide. marks: seconds
    that stand out.
    """
    from PIL import Image, ImageDraw

    high, low, axis = 100, 200, 50
    picture = Image.new("RGB", (width, high + axis + low), PAPER)
    draw = ImageDraw.Draw(picture)
    seconds = max(len(wave) / rate, 1e-3)
    for start, end in marks:
        draw.rectangle([(start / seconds * width, 0), (end / seconds * width, high)], fill=MARK)
    _draw_wave(draw, wave, width, high)
    _draw_axis(draw, seconds, words, width, high, axis)
    if len(mel):
        picture.paste(Image.fromarray(colours(mel)).resize((width, low), Image.Resampling.BILINEAR), (0, high + axis))
    return picture


def silent_mel(frames: int) -> np.ndarray:
    """(frames, 100) of silence."""
    return np.full((max(0, frames), 100), SILENT, np.float32)


def chunk_mel(chunk: Chunk) -> np.ndarray:
    """The mel of a chunk with its pause in front, so that the picture's two halves share one time axis: (T, 100)."""
    frames = round(chunk.samples / HOP)
    joined = np.concatenate([silent_mel(frames - len(chunk.mel)), chunk.mel])
    return joined[:frames] if frames else chunk.mel


def _draw_wave(draw: ImageDraw.ImageDraw, wave: np.ndarray, width: int, height: int) -> None:
    """The extremes of every pixel column."""
    middle = height / 2
    draw.line([(0, middle), (width, middle)], fill=GRID)
    if not len(wave):
        return
    edges = np.linspace(0, len(wave), width + 1).astype(int)
    for x, (a, b) in enumerate(itertools.pairwise(edges)):
        part = wave[a : max(b, a + 1)]
        if len(part):
            draw.line([(x, middle - float(part.max()) * middle), (x, middle - float(part.min()) * middle)], fill=WAVE)


def _draw_axis(
    draw: ImageDraw.ImageDraw, seconds: float, words: Sequence[Word], width: int, top: int, height: int
) -> None:
    """Ticks with seconds, and those words that have room."""
    from PIL import ImageFont

    font, small = ImageFont.load_default(17), ImageFont.load_default(13)
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600) if seconds / s <= 10)
    for k in range(int(seconds / step) + 1):
        x = k * step / seconds * width
        draw.line([(x, top), (x, top + 5)], fill=INK)
        draw.text((min(x + 3, width - 34), top + 4), f"{k * step:g} s", fill=INK, font=small)
    edge = 0.0
    for word in words:
        x = word.start / seconds * width
        room = (word.end - word.start) / seconds * width
        length = draw.textlength(word.text, font=font)
        if x >= edge and length <= max(room, 24) + 12 and x + length <= width:
            draw.line([(x, top + height - 4), (x + room, top + height - 4)], fill=WAVE, width=2)
            draw.text((x, top + height - 28), word.text, fill=INK, font=font)
            edge = x + length + 3


def steps_picture(mels: Sequence[np.ndarray], captions: Sequence[str], width: int = 1000) -> Image:
    """Mels of one piece of speech at several moments, in rows of three, each under its caption."""
    from PIL import Image, ImageDraw, ImageFont

    columns = min(3, len(mels))
    cell, low, head, gap = (width - 8 * (columns - 1)) // columns, 130, 28, 8
    rows = -(-len(mels) // columns)
    picture = Image.new("RGB", (width, rows * (low + head + gap)), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    for k, (mel, caption) in enumerate(zip(mels, captions, strict=True)):
        x, y = k % columns * (cell + 8), k // columns * (low + head + gap)
        draw.text((x, y), caption, fill=INK, font=font)
        picture.paste(Image.fromarray(colours(mel)).resize((cell, low), Image.Resampling.BILINEAR), (x, y + head))
    return picture


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An accessible HTML table; every cell is escaped. Empty text where there are no rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    label = escape(caption, quote=True)
    return (
        '<div class="tts-table" tabindex="0" role="region" '
        f'aria-label="{label}"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def word_table(words: Sequence[Word]) -> str:
    """When each word is heard, as a table."""
    rows = [(word.text, f"{word.start:.2f}", f"{word.end:.2f}") for word in words]
    return table("Word times", ("Word", "Start (s)", "End (s)"), rows)
