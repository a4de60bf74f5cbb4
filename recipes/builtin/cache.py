"""Decode the corpus once: waveforms (int16) and log-mels (float16) in two flat files that training maps into memory.

    python recipes/builtin/cache.py CORPUS runs/builtin/cache

Writes wav.i16, mel.f16 and index.json (manifest rows with sample and frame offsets). About 4.6 GB for the 9 hours of
the corpus: every training clip comes a second time as somebody else's speech (alter.py); rows of these copies have
`altered`. Run it again to go on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tts_fm import files
from tts_fm.audio.mel import N_MELS

WAVES, MELS, INDEX = "wav.i16", "mel.f16", "index.json"
SIZES = (2, 2 * N_MELS)  # bytes of a sample, and of a frame
DONE = "index.done.jsonl"  # rows of clips whose samples and frames are in the files


LEFT_OUT = {"lang": "en-us", "lead_frames": 0, "tail_frames": 0}  # of a manifest's rows, where they are so


def read_rows(corpus: Path) -> list[dict]:
    """The rows of a corpus, whole."""
    with open(corpus / "manifest.jsonl", encoding="utf-8") as file:
        return [LEFT_OUT | json.loads(line) for line in file]


def decode(root: Path, row: dict) -> tuple[np.ndarray, np.ndarray]:
    """One clip -> (samples int16 (S,), log-mel float16 (S // 256 + 1, 100))."""
    import soundfile

    from tts_fm.audio.mel import SAMPLE_RATE, log_mel

    wave, rate = soundfile.read(root / row["audio"], dtype="float32")
    if rate != SAMPLE_RATE or wave.ndim != 1:
        raise ValueError(f"{row['audio']}: {rate} Hz with {wave.ndim} axes; the corpus must be 24 kHz mono")
    if "altered" in row:
        import torch
        from alter import alter

        torch.set_num_threads(1)  # there is a process for every core
        wave = alter(torch.from_numpy(wave), row["altered"]).numpy()
    return (wave.clip(-1, 1) * 32767).astype(np.int16), log_mel(wave).astype(np.float16)


def altered(row: dict, number: int) -> dict | None:
    """The row of a training clip's altered copy; its times are stretched with it."""
    from alter import draw

    if row["split"] != "train":
        return None
    change = draw(np.random.default_rng((7, number)))
    factor = change[0]
    stretched = {key: row[key] * factor for key in ("lead_frames", "tail_frames", "seconds")}
    stretched |= {"speed": row["speed"] / factor, "unit_frames": [n * factor for n in row["unit_frames"]]}
    return row | stretched | {"altered": change, "id": row["id"] + "_altered"}


def ends(row: dict | None) -> tuple[int, int]:
    """Where the samples and frames of a row that is in the files end, in bytes."""
    counts = (0, 0) if row is None else (row["sample"] + row["samples"], row["frame"] + row["frames"])
    return counts[0] * SIZES[0], counts[1] * SIZES[1]


def taken_up(out: Path, rows: Sequence[dict], sound: BinaryIO, mels: BinaryIO) -> list[dict]:
    """The rows that an earlier run has done, if it was to do the same; the files then end behind them."""
    done: list[dict] = []
    path, sizes = out / DONE, (sound.seek(0, 2), mels.seek(0, 2))
    for row, line in zip(rows, path.read_bytes().split(b"\n") if path.is_file() else (), strict=False):
        try:
            made = json.loads(line)
        except ValueError:
            break  # cut short by a kill
        if {name: made.get(name) for name in row} != row or any(np.greater(ends(made), sizes)):
            break
        done.append(made)
    for file, end in zip((sound, mels), ends(done[-1] if done else None), strict=True):
        file.truncate(end)
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in done))
    return done


def decoded(rows: Sequence[dict], corpus: Path, jobs: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All clips in order; by so many processes, or this one where it is one."""
    if jobs == 1:
        yield from map(partial(decode, corpus), rows)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(decode, corpus), rows, chunksize=8)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--no-copies", action="store_true", help="without the altered copies: enough for the vocoder")
    parser.add_argument("--jobs", type=int, help="processes (default: all cores)")
    args = parser.parse_args(argv)
    from tqdm import tqdm

    rows = read_rows(args.corpus)
    if not args.no_copies:
        rows += [copy for number, row in enumerate(rows) if (copy := altered(row, number))]
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / WAVES, "ab") as sound, open(args.out / MELS, "ab") as mels:
        done = taken_up(args.out, rows, sound, mels)
        todo = rows[len(done) :]
        with open(args.out / DONE, "a", encoding="utf-8") as notes:
            for row, (wave, mel) in zip(
                todo, tqdm(decoded(todo, args.corpus, args.jobs), total=len(todo)), strict=True
            ):
                sample, frame = (end // size for end, size in zip(ends(done[-1] if done else None), SIZES, strict=True))
                for file, numbers in ((sound, wave), (mels, mel)):
                    file.write(numbers.tobytes())
                    file.flush()
                made = row | {"sample": sample, "samples": len(wave), "frame": frame, "frames": len(mel)}
                notes.write(json.dumps(made) + "\n")
                notes.flush()
                done.append(made)
    files.write_json(args.out / INDEX, done, indent=None)
    (args.out / DONE).unlink()


if __name__ == "__main__":
    main()
