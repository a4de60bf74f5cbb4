"""What every clip of the corpus is: its text, its voice, its pace. The plan, not the run, decides it.

A voice is one of Kokoro's English ones, a convex mixture of two or three, the first of them English, or a new point
outside their hull (kokoro_model.point). Mixtures and points speak EACH clips. HELD_OUT voices are in none of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.kokoro_model import HELD_OUT, POINT
from data_prep.kokoro_texts import short_text
from data_prep.shared import Dropped, draw_split
from tts_fm import checkpoint as hub
from tts_fm.data.manifest import read_manifest
from tts_fm.text.normalise import normalise

LONGEST_TEXT = 220  # characters of one clip
KINDS = {"voice": 0.3, "mixture": 0.3, "point": 0.4}  # shares of the clips
EACH = 4  # clips of a mixture or a point, one behind the other
SHORT = 0.35  # share of texts that are drawn from kokoro_texts
PACE = (0.88, 1.12)


@dataclass(frozen=True)
class Clip:
    """What is to be spoken, and how; everything but the model."""

    id: str
    text: str
    voices: dict[str, float]
    lang: str
    speed: float
    speaker: str
    split: str
    source: str


def read_texts(paths: Iterable[str | os.PathLike[str]], dropped: Dropped) -> list[tuple[str, str]]:
    """(text, source) of manifests (.jsonl) and plain files (a text a line), normalised; what does not fit a clip is
    counted.
    """
    found = []
    for path in map(Path, paths):
        lines = (
            [u.text for u in read_manifest(path)]
            if path.suffix == ".jsonl"
            else hub.resolve(path).read_text("utf-8-sig").split("\n")
        )
        for line in filter(str.strip, lines):
            text = " ".join(normalise(line).split())
            if len(text) <= LONGEST_TEXT and any(char.isalpha() for char in text):
                found.append((text, path.stem))
            else:
                dropped.add(f"no word, or over {LONGEST_TEXT} characters", text[:60])
    return found


def draw_voice(draw: random.Random, kind: str, names: Sequence[str], number: str) -> tuple[str, dict[str, float], str]:
    """(speaker, voices with their weights, language) of a kind; number: what a mixture or a point is called by."""
    english = [name for name in names if name[0] in "ab"]
    first = draw.choice(english)
    lang = "en-gb" if first[0] == "b" else "en-us"
    if kind == "point":
        return f"{POINT}{number}", {f"{POINT}{number}": 1.0}, lang
    others = draw.sample([name for name in names if name != first], min(draw.choice((1, 1, 2)), len(names) - 1))
    if kind == "voice" or not others:
        return first, {first: 1.0}, lang
    shares = [draw.expovariate(1.0) for _ in (first, *others)]  # a uniform draw among all mixtures
    voices = {name: round(share / sum(shares), 3) for name, share in zip((first, *others), shares, strict=True)}
    return f"mix{number}", voices, lang


def make_plan(texts: Sequence[tuple[str, str]], names: Iterable[str], clips: int, seed: int = 0) -> list[Clip]:
    """`clips` clips. What each is depends on its number, the seed and the texts, which are taken in a shuffled order,
    again if needed.
    """
    names = sorted(set(names) - set(HELD_OUT))
    order = random.Random(seed).sample(range(len(texts)), len(texts))
    plan = []
    for number in range(clips):
        draw, group = random.Random(f"{seed} {number}"), number // EACH
        text, source = texts[order[number % len(order)]] if texts else ("", "")
        if not texts or draw.random() < SHORT:
            text, source = short_text(draw)
        voice = random.Random(f"{seed} voice {group}")
        (kind,) = voice.choices(list(KINDS), list(KINDS.values()))
        voice = draw if kind == "voice" else voice  # else the same for the whole group
        speaker, voices, lang = draw_voice(voice, kind, names, f"{seed}_{group:05d}")
        split = draw_split(f"k{seed} {group}", 0.02)  # no new voice is in both
        plan.append(
            Clip(f"k{seed}_{number:05d}", text, voices, lang, round(draw.uniform(*PACE), 3), speaker, split, source)
        )
    return plan


def read_plan(path: str | os.PathLike[str]) -> list[Clip]:
    """The clips of an existing corpus of this form. ValueError for one whose lines do not say voices and speed."""
    rows = read_manifest(path)
    if lacking := [u.id for u in rows if not {"voices", "speed"} <= u.about.keys()]:
        raise ValueError(
            f"{path} is no plan: {lacking[0]} names no voices and speed; give a manifest that this program wrote"
        )
    return [
        Clip(u.id, u.text, u.about["voices"], u.lang, u.about["speed"], u.speaker, u.split, u.about.get("source", ""))
        for u in rows
    ]
