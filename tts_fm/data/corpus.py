"""From a manifest to what the trainer reads: symbols encoded once, log-mels made on the fly from the recordings.

T mel frames, N symbols. The three text forms differ here only in what an item's symbols are: characters (or other
tokens of the text) for `filler` and `average`, units with their frames between two silences for `aligned`. It does not
know batches or networks.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from tts_fm.audio.mel import (
    FRAMES_PER_SECOND,
    HOP,
    MEL_FLOOR,
    MIN_SAMPLES,
    N_FFT,
    N_MELS,
    SAMPLE_RATE,
    hann_window,
    mel_filters,
)
from tts_fm.data import storage
from tts_fm.data.batches import TrainItem
from tts_fm.data.device_mel import mirrored
from tts_fm.data.manifest import Utterance
from tts_fm.data.tables import Rows, Words
from tts_fm.data.waves import wave_of
from tts_fm.text.symbols import SILENCE, UNKNOWN
from tts_fm.text.tokens import make_tokenizer

PIECE = 64  # frames transformed at once: what they need stays in the processor's cache
log = logging.getLogger(__name__)


def make_vocab(utterances: Sequence[Utterance], aligned: bool) -> list[str]:
    """All symbols of the texts, sorted: characters with the space first (as F5's LibriTTS list), or units behind <unk>
    and <sil>.

    ValueError when an aligned vocabulary is asked for and not every utterance has its units.
    """
    if not aligned:
        return [" ", *sorted({char for u in utterances for char in u.text} - {" "})]
    if missing := [u.id for u in utterances if not u.aligned]:
        some = ", ".join(missing[:3])
        raise ValueError(
            f"{len(missing)} utterances have no unit times ({some} ...); run `tts-fm align` on the manifest first"
        )
    return [UNKNOWN, SILENCE, *sorted({unit for u in utterances for unit in u.units or ()})]


class ManifestItems:
    """Utterances of a manifest as batches.Items. Only flat tables are kept, which a loader's processes share.

    folder: the manifest's, a path or a URL. tokenizer: {"name": "char" | "pinyin" | "phoneme", "lang": ...}; not used
    when `aligned`. Utterances with more symbols than `frames // patch` positions cannot be spoken and are left out,
    symbols outside the vocabulary are counted: both are logged.
    """

    def __init__(
        self,
        utterances: Iterable[Utterance],
        folder: str | os.PathLike[str],
        vocab: Sequence[str],
        tokenizer: dict[str, Any] | None = None,
        aligned: bool = False,
        patch: int = 1,
    ) -> None:
        index, unknown = {symbol: i for i, symbol in enumerate(vocab)}, Counter[str]()
        self.unknown = index.get(UNKNOWN) if aligned else None
        words = (
            None
            if aligned
            else make_tokenizer((tokenizer or {"name": "char"})["name"], vocab, (tokenizer or {}).get("lang"))
        )
        kept: list[tuple[str, float, int]] = []
        texts: list[tuple[np.ndarray, np.ndarray | None]] = []
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
            kept.append((utterance.place(folder), utterance.seconds, frames))
            texts.append(text)
        if crowded:
            log.warning("%d utterances have more symbols than places for them and are left out", crowded)
        if unknown:
            log.warning(
                "symbols outside the vocabulary: %s", ", ".join(f"{s!r} {n} times" for s, n in unknown.most_common(20))
            )
        if not kept:
            raise ValueError(
                "no utterance can be used; see the warnings above"
                if crowded
                else "there are no utterances in this split"
            )
        self.places = Words(place for place, _, _ in kept)
        self.numbers = torch.tensor([(seconds, frames) for _, seconds, frames in kept], dtype=torch.float64)  # (N, 2)
        self.ids = Rows((ids for ids, _ in texts), np.int32)
        self.durations = Rows((times for _, times in texts if times is not None), np.float64) if aligned else None

    @property
    def frames(self) -> np.ndarray:
        """Mel frames of every utterance, (N,)."""
        return self.numbers[:, 1].numpy().astype(np.int64)

    @property
    def shards(self) -> np.ndarray:
        """Which file every recording is in, (N,), by numbers in the order of the files' names."""
        names = [storage.split(self.places[i])[0] for i in range(len(self))]
        return np.unique(names, return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> TrainItem:
        """Read one recording. ValueError, naming the file, when it is not what the manifest says."""
        return self.many([index])[0]

    def many(self, indices: Sequence[int]) -> list[TrainItem]:
        """Several at once: from a storage they come together."""
        return [
            TrainItem(mel_of(wave)[: int(self.numbers[i, 1])], self.ids[i], self._durations(i))
            for i, wave in zip(indices, self._waves(indices), strict=True)
        ]

    def waves(self, indices: Sequence[int]) -> list[TrainItem]:
        """`many`, with the waves of which the mels are made later."""
        none = np.zeros((0, N_MELS), np.float32)
        return [
            TrainItem(none, self.ids[i], self._durations(i), wave=mirrored(wave, int(self.numbers[i, 1])))
            for i, wave in zip(indices, self._waves(indices), strict=True)
        ]

    def _durations(self, index: int) -> np.ndarray | None:
        return None if self.durations is None else self.durations[index]

    def _waves(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        places = [self.places[i] for i in indices]
        return itertools.starmap(self._wave, zip(indices, places, storage.read_many(places), strict=True))

    def _wave(self, index: int, place: str, data: bytes) -> np.ndarray:
        wave = wave_of(data, place)
        seconds, wanted = len(wave) / SAMPLE_RATE, float(self.numbers[index, 0])
        if abs(seconds - wanted) > 0.05:
            raise ValueError(
                f"{place} lasts {seconds:.2f} s, the manifest says {wanted:.2f} s; prepare the corpus again"
            )
        return np.pad(wave, (0, max(0, MIN_SAMPLES - len(wave))))


@lru_cache(maxsize=1)
def mel_parts() -> list[tuple[slice, slice, np.ndarray]]:
    """The mel filters of audio/mel.py in four parts, each (mel bins, frequencies that it needs, weights)."""
    filters = mel_filters()  # (513, 100)
    parts = []
    for bins in np.array_split(np.arange(N_MELS), 4):
        mine = slice(int(bins[0]), int(bins[-1]) + 1)
        rows = np.flatnonzero(filters[:, mine].any(1))
        used = slice(int(rows[0]), int(rows[-1]) + 1)
        parts.append((mine, used, np.ascontiguousarray(filters[used, mine])))
    return parts


def mel_of(wave: np.ndarray) -> np.ndarray:
    """audio.log_mel, (S,) -> (S // 256 + 1, 100), in a third of the time, for training: by torch's Fourier transform
    and without the zeros of the filters.
    """
    window, parts = hann_window(), mel_parts()
    # (T, 1024)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, N_FFT // 2, mode="reflect"), N_FFT)[::HOP]
    mel = np.empty((len(frames), N_MELS), np.float32)
    windowed, spectrum = torch.empty(PIECE, N_FFT), torch.empty(PIECE, N_FFT // 2 + 1, dtype=torch.complex64)
    magnitude = np.empty(spectrum.shape, np.float32)
    for start in range(0, len(frames), PIECE):
        piece = frames[start : start + PIECE]
        n = len(piece)
        np.multiply(piece, window, out=windowed.numpy()[:n])
        torch.fft.rfft(windowed[:n], out=spectrum[:n])  # MKL's: several times as fast as numpy's
        np.abs(spectrum.numpy()[:n], out=magnitude[:n])
        for bins, used, weights in parts:
            np.matmul(magnitude[:n, used], weights, out=mel[start : start + n, bins])
    np.maximum(mel, MEL_FLOOR, out=mel)
    return np.log(mel, out=mel)


def aligned_text(utterance: Utterance, index: dict[str, int], unknown: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and mel frames of an aligned utterance, silences included; a unit outside the vocabulary becomes <unk>
    and is counted.
    """
    if utterance.units is None or utterance.unit_frames is None:
        raise ValueError(f"{utterance.id} has no unit times; run `tts-fm align` on the manifest first")
    symbols = [SILENCE, *utterance.units, SILENCE]
    unknown.update(s for s in symbols if s not in index)
    frames = np.array([utterance.lead_frames, *utterance.unit_frames, utterance.tail_frames])
    ids = np.array([index.get(symbol, index[UNKNOWN]) for symbol in symbols], np.int32)
    return ids, frames * utterance.frame_seconds * FRAMES_PER_SECOND
