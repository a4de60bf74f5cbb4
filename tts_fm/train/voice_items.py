"""Recordings become training items: pieces with their words, aligned, and of one person.

    find and cut (data) -> words where none are given (an ASR) -> times of every symbol (the aligner) -> who speaks (a
      speaker encoder) -> items, and a table of what was dropped and why

The ASR and the encoder are passed in as functions, because both are optional packages. S samples at 24 kHz, T mel
frames.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tts_fm.audio.mel import FRAMES_PER_SECOND, HOP, SAMPLE_RATE
from tts_fm.data.batches import TrainItem
from tts_fm.data.corpus import mel_of
from tts_fm.data.listing import Recording
from tts_fm.data.recordings import LONGEST, PAUSE, Piece, Table, clock, cut, decoded, evened, fault_of
from tts_fm.engines.align import DOUBTFUL, LANGS, Alignment
from tts_fm.engines.align import LONGEST as LONGEST_ALIGNED
from tts_fm.errors import MissingDependency
from tts_fm.text.symbols import is_pause

if TYPE_CHECKING:
    from tts_fm.engines.align import Aligner

TRIED = 5  # pieces by which the accent is chosen
ALIKE = 0.62  # similarity of a piece to the person's others below which somebody else speaks
APART = 0.12  # and how far below the usual one
ACROSS = 0.75  # mean similarity of two groups of pieces above which they may be one person
GAP = 0.15  # and how far below that within each group it must lie for two people
MOST_OTHERS = 0.35  # share of pieces by others above which the recordings are of several people
ENOUGH = 2400.0  # seconds of sound after which no further recordings are read
PROMPT = (4.0, 9.0)  # seconds of a good prompt
Transcribe = Callable[[np.ndarray, int], str]  # (wave, rate) -> text
Embed = Callable[[np.ndarray, int], np.ndarray]  # (wave, rate) -> (E,) of length 1
Tell = Callable[[str, int, int], None]  # (what is done, how many of them, in all); may raise to stop


@dataclass(frozen=True)
class Clip:
    """A piece with its training item."""

    piece: Piece
    item: TrainItem
    score: float  # of the alignment
    lang: str


@dataclass
class Prepared:
    """What a voice is learnt from."""

    clips: list[Clip]
    table: Table
    lang: str
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(clip.piece.seconds for clip in self.clips)

    def prompt(self) -> Clip:
        """The clip that the voice will speak behind: of a good length, and said most clearly."""
        fit = [clip for clip in self.clips if PROMPT[0] <= clip.piece.seconds <= PROMPT[1]]
        return max(fit or self.clips, key=lambda clip: clip.score if fit else clip.piece.seconds)

    def lines(self) -> list[str]:
        """The table, notes, and what to expect."""
        return [*self.table.lines(), *self.notes, expectation(self.seconds)]


def expectation(seconds: float) -> str:
    """What so much speech is worth (similarity of Resemblyzer; measured with recipes/benchmarks/adapt.py)."""
    if seconds < 30:
        return f"{clock(seconds)} of speech: closer than cloning; a minute or more would come closer still"
    if seconds < 180:
        return f"{clock(seconds)} of speech: clearly closer than cloning; five minutes give most of what can be had"
    return f"{clock(seconds)} of speech: enough for most of what the vocoder allows"


def prepare(
    recordings: Sequence[Recording],
    vocab: Sequence[str],
    aligner: Aligner,
    lang: str | None = None,
    transcribe: Callable[[], Transcribe] | None = None,
    embed: Callable[[], Embed] | None = None,
    on_progress: Tell | None = None,
) -> Prepared:
    """Training items of one person's recordings.

    vocab: the model's symbols. lang: the accent, "en-us" or "en-gb"; None = the one that fits better. transcribe,
    embed: make what listens, called only when it is needed; a missing package is noted for `embed`, an error for
    `transcribe`. ValueError when nothing is left, with the reasons, or when several people speak.
    """
    table = Table()
    tell = on_progress or (lambda *_: None)
    pieces, whole, read = [], [], 0.0
    for number, recording in enumerate(recordings):
        tell("reading", number, len(recordings))
        if read > ENOUGH:
            table.drop(recording.id, 0.0, f"not read: {clock(ENOUGH)} of sound before it are enough")
            continue
        wave = decoded(recording, table)
        if wave is None:
            continue
        read += len(wave) / SAMPLE_RATE
        if recording.text and len(wave) <= LONGEST_ALIGNED * SAMPLE_RATE:
            whole.append(Piece(recording.id, wave, recording.text))
        else:
            pieces += list(_pieces(recording.id, wave, table))
    whole = [piece for piece in whole if _fit(piece, table)]
    pieces = _with_words(pieces, table, transcribe, tell)
    if lang is None:
        lang = accent([*whole, *pieces], aligner)
    clips = []
    for number, piece in enumerate([*whole, *pieces]):
        tell("aligning", number, len(whole) + len(pieces))
        clips += _aligned(piece, vocab, aligner, lang, table)
    notes: list[str] = []
    clips = _of_one_person(clips, table, embed, notes, tell)
    if not clips:
        raise ValueError(
            "nothing can be learnt from these recordings:\n" + "\n".join(table.lines()[1:] or ["all are empty"])
        )
    for clip in clips:
        table.kept.append((clip.piece.id, clip.piece.seconds))
    return Prepared(clips, table, lang, notes)


def _pieces(name: str, wave: np.ndarray, table: Table) -> list[Piece]:
    found = []
    for start, end in cut(wave):
        piece = Piece(f"{name}@{clock(start / SAMPLE_RATE)}", wave[start:end])
        if _fit(piece, table):
            found.append(replace(piece, wave=evened(piece.wave)))
    return found


def _fit(piece: Piece, table: Table) -> bool:
    fault = fault_of(piece.wave)
    if fault is not None:
        table.drop(piece.id, piece.seconds, fault)
    return fault is None


def _with_words(
    pieces: list[Piece], table: Table, transcribe: Callable[[], Transcribe] | None, tell: Tell
) -> list[Piece]:
    if not pieces:
        return []
    if transcribe is None:
        raise MissingDependency(
            'recordings without text need an ASR: pip install "tts-fm[eval]", or put a .txt beside each of them'
        )
    listen, found = transcribe(), []
    for number, piece in enumerate(pieces):
        tell("transcribing", number, len(pieces))
        text = " ".join(listen(piece.wave, SAMPLE_RATE).split())
        if any(char.isalpha() for char in text):
            found.append(replace(piece, text=text))
        else:
            table.drop(piece.id, piece.seconds, "no words are heard")
    return found


def accent(pieces: Sequence[Piece], aligner: Aligner) -> str:
    """The accent whose phones fit a few pieces better."""
    scores = dict.fromkeys(LANGS, 0.0)
    for piece in pieces[:: max(1, len(pieces) // TRIED)][:TRIED]:
        for lang in LANGS:
            try:
                scores[lang] += aligner.align(evened(piece.wave), piece.text or "", lang).score
            except ValueError:
                continue
    return max(LANGS, key=lambda lang: scores[lang])


def _aligned(piece: Piece, vocab: Sequence[str], aligner: Aligner, lang: str, table: Table) -> list[Clip]:
    """The clips of a piece: itself, or several where it is long."""
    wave = evened(piece.wave)
    try:
        found = aligner.align(wave, piece.text or "", lang)
    except ValueError as error:
        why = textwrap.shorten(str(error), 200, placeholder="...")
        table.drop(piece.id, piece.seconds, f"text and sound do not fit ({why})")
        return []
    if found.score < DOUBTFUL:
        table.drop(piece.id, piece.seconds, "the text is not what is heard")
        return []
    parts = [found] if piece.seconds <= LONGEST else split(found)
    clips, at = [], 0.0
    for part in parts:
        length = part.lead + sum(part.frames) + part.tail
        low, high = round(at), min(round(at + length), len(wave) // HOP)
        at += length
        whole = len(parts) == 1
        name = piece.id if whole else f"{piece.id}@{clock(low * HOP / SAMPLE_RATE)}"
        inside = wave if whole else evened(wave[low * HOP : high * HOP])
        fault = fault_of(inside)
        if fault is not None:
            table.drop(name, len(inside) / SAMPLE_RATE, fault)
            continue
        text = piece.text if whole else " ".join(word.text for word in part.words)
        clip = Piece(name, inside, text)
        clips.append(Clip(clip, item_of(inside, part, vocab), part.score, lang))
    return clips


def split(found: Alignment) -> list[Alignment]:
    """An alignment cut into stretches of 3 to 12 s in the middle of its pauses."""
    edges = np.cumsum([found.lead, *found.frames])  # (N + 1,) mel frames
    least = PAUSE / 100 * FRAMES_PER_SECOND
    wide = [n for n, unit in enumerate(found.units) if is_pause(unit) and found.frames[n] >= least]
    parts, first, begin = [], 0, 0.0
    lead = found.lead
    for n in wide:
        middle = (edges[n] + edges[n + 1]) / 2
        if middle - begin < 6 * FRAMES_PER_SECOND or n <= first:
            continue
        words = [w for w in found.words if begin <= w.start * FRAMES_PER_SECOND < middle]
        parts.append(
            Alignment(found.units[first:n], found.frames[first:n], lead, middle - edges[n], words, found.score)
        )
        first, begin, lead = n + 1, middle, edges[n + 1] - middle
    words = [w for w in found.words if w.start * FRAMES_PER_SECOND >= begin]
    if first < len(found.units):
        parts.append(Alignment(found.units[first:], found.frames[first:], lead, found.tail, words, found.score))
    return parts


def item_of(wave: np.ndarray, found: Alignment, vocab: Sequence[str]) -> TrainItem:
    """A wave (S,) and the times of its units as the network sees them, silence at the ends cut to what synthesis
    has."""
    before, after = found.silence()
    mel = mel_of(np.ascontiguousarray(wave[before * HOP : len(wave) - after * HOP]))
    half = mel.astype(np.float16).astype(np.float32)  # as it is stored between runs
    return TrainItem(half, *found.symbols(vocab))


def _of_one_person(
    clips: list[Clip], table: Table, embed: Callable[[], Embed] | None, notes: list[str], tell: Tell
) -> list[Clip]:
    """The clips without those whose voice is apart from the rest."""
    if len(clips) < 3:
        return clips
    try:
        if embed is None:
            raise MissingDependency("no speaker encoder")
        encode = embed()
    except MissingDependency:
        notes.append('not checked: whether one person speaks (pip install "tts-fm[eval]")')
        return clips
    vectors = []
    for number, clip in enumerate(clips):
        tell("comparing voices", number, len(clips))
        vectors.append(encode(clip.piece.wave, SAMPLE_RATE))
    usual = likeness(np.stack(vectors))
    apart = (usual < ALIKE) | (usual < np.median(usual) - APART) | second_voice(np.stack(vectors))
    if apart.mean() > MOST_OTHERS or float(np.median(usual)) < ALIKE:
        some = ", ".join(c.piece.id for c, a in zip(clips, apart, strict=True) if a)[:120]
        raise ValueError(
            f"several people speak in these recordings: {int(apart.sum())} of {len(clips)} pieces differ from the rest "
            f"in their voice ({some}); give those of one"
        )
    for clip, other in zip(clips, apart, strict=True):
        if other:
            table.drop(clip.piece.id, clip.piece.seconds, "another speaker")
    return [clip for clip, other in zip(clips, apart, strict=True) if not other]


def second_voice(vectors: np.ndarray) -> np.ndarray:
    """Which pieces are a second person's: (N, E) of length 1 -> (N,) bool, none where one person speaks.

    Two people who speak about as much are each like half of the pieces, so that none stands out: the pieces are parted
    into two groups (average linkage), which are two people if they are far less alike than each is within itself.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    second = fcluster(linkage(vectors, "average", "cosine"), 2, "maxclust") == 2
    if not 1 < second.sum() < len(vectors) - 1:  # a single piece is told by its likeness
        return np.zeros(len(vectors), dtype=bool)
    alike = vectors @ vectors.T
    within = [alike[np.ix_(group, group)][~np.eye(group.sum(), dtype=bool)].mean() for group in (second, ~second)]
    across = float(alike[np.ix_(second, ~second)].mean())
    if across > ACROSS or across > min(within) - GAP:
        return np.zeros(len(vectors), dtype=bool)
    return second if 2 * second.sum() <= len(second) else ~second


def likeness(vectors: np.ndarray) -> np.ndarray:
    """How like the others each is: (N, E) of length 1 -> (N,), the median of its similarities."""
    alike = vectors @ vectors.T
    return np.array([np.median(np.delete(row, n)) for n, row in enumerate(alike)])
