"""From a manifest to what the trainer reads: symbols encoded once, log-mels made on the fly from the recordings.

T mel frames, N symbols. The three text forms differ here only in what an item's symbols are: characters (or other tokens of the text) for
`filler` and `average`, units with their frames between two silences for `aligned`. It does not know batches or networks.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tts_fm.audio import FRAMES_PER_SECOND, HOP, MIN_SAMPLES, SAMPLE_RATE, load, log_mel
from tts_fm.batches import Item
from tts_fm.manifest import Utterance
from tts_fm.text.tokens import make_tokenizer

UNKNOWN, SILENCE = "<unk>", "<sil>"  # speech without a transcript; silence before and after the symbols
log = logging.getLogger(__name__)


def make_vocab(utterances: Sequence[Utterance], aligned: bool) -> list[str]:
    """All symbols of the texts, sorted: characters with the space first (as F5's LibriTTS list), or units behind <unk> and <sil>.

    ValueError when an aligned vocabulary is asked for and not every utterance has its units.
    """
    if not aligned:
        return [" ", *sorted({char for u in utterances for char in u.text} - {" "})]
    if missing := [u.id for u in utterances if not u.aligned]:
        some = ", ".join(missing[:3])
        raise ValueError(f"{len(missing)} utterances have no unit times ({some} ...); run `tts-fm align` on the manifest first")
    return [UNKNOWN, SILENCE, *sorted({unit for u in utterances for unit in u.units or ()})]


class ManifestItems:
    """Utterances of a manifest as batches.Items.

    folder: the manifest's. tokenizer: {"name": "char" | "pinyin" | "phoneme", "lang": ...}; not used when `aligned`. Utterances with more
    symbols than `frames // patch` positions cannot be spoken and are left out, symbols outside the vocabulary are counted: both are logged.
    """

    def __init__(self, utterances: Sequence[Utterance], folder: str | os.PathLike[str], vocab: Sequence[str], tokenizer: dict | None = None,
                 aligned: bool = False, patch: int = 1) -> None:
        self.folder, index, unknown = Path(folder), {symbol: i for i, symbol in enumerate(vocab)}, Counter[str]()
        self.unknown = index.get(UNKNOWN) if aligned else None
        self.utterances: list[Utterance] = []
        self.frames: list[int] = []
        self.texts: list[tuple[np.ndarray, np.ndarray | None]] = []
        words = None if aligned else make_tokenizer((tokenizer or {"name": "char"})["name"], vocab, (tokenizer or {}).get("lang"))
        crowded = 0
        for utterance in utterances:
            frames = round(utterance.seconds * SAMPLE_RATE) // HOP + 1
            text: tuple[np.ndarray, np.ndarray | None]
            if words is None:
                text = aligned_text(utterance, index, unknown)
            else:
                encoded = words.encode(utterance.text)
                unknown.update(encoded.unknown)
                text = np.array(encoded.ids, np.int32), None
            if not aligned and len(text[0]) > frames // patch:
                crowded += 1
                continue
            self.utterances.append(utterance)
            self.frames.append(frames)
            self.texts.append(text)
        if crowded:
            log.warning("%d utterances have more symbols than places for them and are left out", crowded)
        if unknown:
            log.warning("symbols outside the vocabulary: %s", ", ".join(f"{s!r} {n} times" for s, n in unknown.most_common(20)))
        if not self.utterances:
            raise ValueError("no utterance can be used; see the warnings above" if utterances else "there are no utterances in this split")

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Item:
        """Read one recording. ValueError, naming the file, when it is not what the manifest says."""
        import torch

        utterance, frames = self.utterances[index], self.frames[index]
        path = utterance.path(self.folder)
        wave = load(path)
        seconds = len(wave) / SAMPLE_RATE
        if abs(seconds - utterance.seconds) > 0.05:
            raise ValueError(f"{path} lasts {seconds:.2f} s, the manifest says {utterance.seconds:.2f} s; prepare the corpus again")
        wave = np.pad(wave, (0, max(0, MIN_SAMPLES - len(wave))))
        mel = log_mel(torch.from_numpy(wave)[None])[0, :frames].numpy()  # (T, 100)
        return Item(mel, *self.texts[index])


def aligned_text(utterance: Utterance, index: dict[str, int], unknown: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and mel frames of an aligned utterance, silences included; a unit outside the vocabulary becomes <unk> and is counted."""
    if utterance.units is None or utterance.unit_frames is None:
        raise ValueError(f"{utterance.id} has no unit times; run `tts-fm align` on the manifest first")
    symbols = [SILENCE, *utterance.units, SILENCE]
    unknown.update(s for s in symbols if s not in index)
    frames = np.array([utterance.lead_frames, *utterance.unit_frames, utterance.tail_frames])
    ids = np.array([index.get(symbol, index[UNKNOWN]) for symbol in symbols], np.int32)
    return ids, frames * utterance.frame_seconds * FRAMES_PER_SECOND
