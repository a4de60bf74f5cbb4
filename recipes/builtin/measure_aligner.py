"""How far the aligner's boundaries lie from the true ones, on clips of the corpus that it was not trained on.

    python recipes/builtin/measure_aligner.py CORPUS --clips 100 --out runs/builtin/alignment.json

Text and audio alone are given to the aligner; a clip whose text espeak now reads as other units than the corpus has is
counted and left out of the boundary figures. "phones": edges of phones; "all": those of stress marks, spaces and
punctuation too. Also: scores of the right transcripts, and of the transcript of another clip of about the same length.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path

import numpy as np
from cache import read_rows

from tts_fm.audio.files import load
from tts_fm.audio.mel import FRAMES_PER_SECOND
from tts_fm.engines.align import Aligner, Alignment
from tts_fm.text.symbols import STRESS, is_pause


def boundaries(row: dict, found: Alignment) -> tuple[np.ndarray, np.ndarray]:
    """Distances of all boundaries in ms (N + 1,), and which of them are edges of a phone."""
    true = np.cumsum([row["lead_frames"], *row["unit_frames"]]) * 25.0
    said = np.cumsum([found.lead, *found.frames]) * 1000 / FRAMES_PER_SECOND
    phone = np.array([not is_pause(unit) and unit not in STRESS for unit in row["units"]])
    return np.abs(said - true), np.append(phone, False) | np.append(False, phone)


def figures(distances: list[np.ndarray]) -> dict[str, float]:
    """Median and mean in ms, and shares within 25 and 50 ms."""
    each = np.concatenate(distances)
    shares = {f"within_{ms}_ms": round(float((each <= ms).mean()), 4) for ms in (25, 50)}
    return {
        "boundaries": len(each),
        "median_ms": round(float(np.median(each)), 2),
        "mean_ms": round(float(each.mean()), 2),
        **shares,
    }


def measure(aligner: Aligner, corpus: Path, rows: list[dict]) -> dict:
    """All figures on `rows` of the corpus."""
    everything, phones, right, wrong, other = [], [], [], [], 0
    by_length = sorted(range(len(rows)), key=lambda i: rows[i]["seconds"])
    follower = dict(zip(by_length, by_length[1:] + by_length[:1], strict=True))
    began = time.perf_counter()
    for i, row in enumerate(rows):
        wave = load(corpus / row["audio"])
        found = aligner.align(wave, row["text"], row["lang"])
        right.append(found.score)
        with contextlib.suppress(ValueError):  # more text than it can hold: noticed all the same
            wrong.append(aligner.align(wave, rows[follower[i]]["text"], row["lang"]).score)
        if found.units != row["units"]:
            other += 1
            continue
        distance, phone = boundaries(row, found)
        everything.append(distance)
        phones.append(distance[phone])
    taken = time.perf_counter() - began
    if not everything:
        raise ValueError(
            f"every clip is read otherwise than its units say ({other} of {len(rows)}); nothing to measure"
        )
    scores = {
        name: {str(q): round(float(np.percentile(s, q)), 2) for q in (1, 50, 99)}
        for name, s in (("right", right), ("wrong", wrong))
    }
    return {
        "clips": len(rows),
        "read_otherwise": other,
        "phones": figures(phones),
        "all": figures(everything),
        "score_percentiles": scores,
        "seconds_of_audio": round(sum(r["seconds"] for r in rows), 1),
        "seconds_taken": round(taken, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--aligner", type=Path, help="folder (default: the built-in aligner)")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    rows = read_rows(args.corpus)
    rows = [row for row in rows if row["split"] == "valid"][: args.clips]
    report = json.dumps(measure(Aligner.load(args.aligner), args.corpus, rows), indent=1)
    print(report)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
