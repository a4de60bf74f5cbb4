"""Decode the corpus once: waveforms (int16) and log-mels (float16) in two flat files that training maps into memory.

    python recipes/builtin/cache.py CORPUS runs/builtin/cache

Writes wav.i16, mel.f16 and index.json (manifest rows with sample and frame offsets). About 2.3 GB for the 9 hours of the corpus.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np


def decode(root: Path, row: dict) -> tuple[np.ndarray, np.ndarray]:
    """One clip -> (samples int16 (S,), log-mel float16 (S // 256 + 1, 100))."""
    import soundfile
    import torch

    from tts_fm.audio import SAMPLE_RATE, log_mel

    torch.set_num_threads(1)
    wave, rate = soundfile.read(root / row["audio"], dtype="float32")
    if rate != SAMPLE_RATE or wave.ndim != 1:
        raise ValueError(f"{row['audio']}: {rate} Hz with {wave.ndim} axes; the corpus must be 24 kHz mono")
    mel = log_mel(torch.from_numpy(wave)[None])[0]
    return (wave.clip(-1, 1) * 32767).astype(np.int16), mel.numpy().astype(np.float16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    from tqdm import tqdm

    rows = [json.loads(line) for line in (args.corpus / "manifest.jsonl").open(encoding="utf-8")]
    args.out.mkdir(parents=True, exist_ok=True)
    samples = frames = 0
    with (args.out / "wav.i16").open("wb") as wav_file, (args.out / "mel.f16").open("wb") as mel_file, ProcessPoolExecutor() as pool:
        for row, (wave, mel) in zip(rows, tqdm(pool.map(partial(decode, args.corpus), rows, chunksize=32), total=len(rows)), strict=True):
            wav_file.write(wave.tobytes())
            mel_file.write(mel.tobytes())
            row.update(sample=samples, samples=len(wave), frame=frames, frames=len(mel))
            samples, frames = samples + len(wave), frames + len(mel)
    (args.out / "index.json").write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
