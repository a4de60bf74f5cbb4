"""The second pass over the corpus: only clips in which Whisper hears every word and whose sound is good are kept.

Reads OUT/spoken.jsonl, notes a verdict for every clip in OUT/heard.jsonl as it comes (a killed run goes on where it
was), and writes OUT/manifest.jsonl. Needs the extra `eval`; Whisper: python recipes/builtin/asr.py FOLDER.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from data_prep.kokoro_model import POINT
from data_prep.shared import Dropped
from tts_fm.audio.files import read_audio
from tts_fm.data.manifest import Utterance, read_manifest, write_manifest
from tts_fm.evaluate import metrics

SPOKEN, HEARD, KEPT = "spoken.jsonl", "heard.jsonl", "manifest.jsonl"
LEAST_SOUND = 3.2  # DNSMOS
LEAST_SHARE = 0.5  # of a drawn voice's clips that must be kept; else none is
log = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """What was heard in a clip, how many words of its text were not, and its DNSMOS."""

    id: str
    heard: str
    wrong: int
    sound: float


class Ears(Protocol):
    """What listens to a clip."""

    def transcribe(self, wave: np.ndarray, rate: int) -> str: ...

    def sound(self, wave: np.ndarray, rate: int) -> float: ...


class Listener:
    """Whisper and DNSMOS, one thread."""

    def __init__(self, asr: str | None) -> None:
        logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # it reports every clip
        self.transcribe = metrics.Whisper(asr or metrics.WHISPER_FOLDER, threads=1)

    def sound(self, wave: np.ndarray, rate: int) -> float:
        return metrics.dnsmos(wave, rate)["overall"]


@lru_cache(maxsize=1)
def open_ears(asr: str | None) -> Ears:
    """One for each process."""
    return Listener(asr)


def words_wrong(text: str, heard: str) -> int:
    """Word errors, none where the letters are the same: "B B C" may be heard as "BBC"."""
    if metrics.spelling(text).replace(" ", "") == metrics.spelling(heard).replace(" ", ""):
        return 0
    return metrics.word_errors(text, heard).edits


def judge(row: Utterance, folder: Path, asr: str | None) -> Verdict:
    wave, rate = read_audio(row.path(folder))
    ears = open_ears(asr)
    heard = ears.transcribe(wave, rate)
    return Verdict(row.id, heard, words_wrong(row.text, heard), round(ears.sound(wave, rate), 3))


def _judged(rows: Sequence[Utterance], folder: Path, asr: str | None, jobs: int) -> Iterator[Verdict]:
    rest = [[value] * len(rows) for value in (folder, asr)]
    if jobs == 1:
        yield from map(judge, rows, *rest)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(judge, rows, *rest, chunksize=4)


def _known(path: Path) -> dict[str, Verdict]:
    found = {}
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            verdict = Verdict(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut short by a kill
        found[verdict.id] = verdict
    return found


def kept(rows: Sequence[Utterance], verdicts: dict[str, Verdict], dropped: Dropped) -> list[Utterance]:
    """The rows that stay; the others are counted in `dropped`, by reason."""
    good, groups = set(), defaultdict(list)
    for row in rows:
        groups[row.speaker].append(row.id)
        verdict = verdicts[row.id]
        if verdict.wrong:
            dropped.add("heard otherwise", f"{row.id}: {row.text!r} as {verdict.heard!r}")
        elif verdict.sound < LEAST_SOUND:
            dropped.add(f"DNSMOS below {LEAST_SOUND}", f"{row.id}: {verdict.sound}")
        else:
            good.add(row.id)
    for speaker, ids in groups.items():
        if speaker.startswith(POINT) and good & set(ids) and len(good & set(ids)) < LEAST_SHARE * len(ids):
            dropped.add("a drawn voice that is seldom good", speaker)
            good -= set(ids)
    return [row for row in rows if row.id in good]


def filter_corpus(folder: Path, jobs: int = 1, asr: str | None = None) -> list[Utterance]:
    """Judge what is new in OUT/spoken.jsonl and write OUT/manifest.jsonl. ValueError when no clip is good."""
    rows, verdicts, dropped = read_manifest(folder / SPOKEN), _known(folder / HEARD), Dropped()
    todo = [row for row in rows if row.id not in verdicts]
    log.info("%d clips to hear, %d heard already", len(todo), len(rows) - len(todo))
    begin, seconds = time.perf_counter(), 0.0
    with open(folder / HEARD, "a", encoding="utf-8") as file:
        file.write("\n")  # a kill may have cut the last line short
        for number, (row, verdict) in enumerate(zip(todo, _judged(todo, folder, asr, jobs), strict=True), start=1):
            verdicts[row.id], seconds = verdict, seconds + row.seconds
            file.write(json.dumps(verdict._asdict(), ensure_ascii=False) + "\n")
            file.flush()
            if number % 100 == 0 or number == len(todo):
                speed = seconds / (time.perf_counter() - begin)
                log.info("%d of %d heard, %.1f s of speech a second", number, len(todo), speed)
    whole = kept(rows, verdicts, dropped)
    for line in dropped.lines():
        log.info(line)
    if not whole:
        raise ValueError(f"none of the {len(rows)} clips in {folder} is good enough; look at {HEARD} there")
    write_manifest(folder / KEPT, whole)
    log.info("%s: %d of %d clips, %.2f h", folder / KEPT, len(whole), len(rows), sum(r.seconds for r in whole) / 3600)
    return whole
