"""Decode the corpus once: waveforms (int16) and log-mels (float16) in two flat files that training maps into memory.

    python recipes/builtin/cache.py CORPUS runs/builtin/cache

Writes wav.i16, mel.f16 and index.json (manifest rows with sample and frame offsets). About 4.6 GB for the 9 hours of
the corpus: every training clip comes a second time as somebody else's speech, resampled (pitch, formants and pace move
together) and equalised, because the corpus has one teacher's voices only. Rows of these copies have `altered`:
[resampling factor, seed of the equaliser].
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

PITCH = 1.22  # altered copies are resampled by up to this factor, up or down
TILT = 4.0  # dB, deviation of each of the equaliser's points


def alter(wave: np.ndarray, rate: int, factor: float, seed: int) -> np.ndarray:
    """Somebody else's speech: `factor` times as long (lower when > 1), through a smooth random equaliser and gain. (S,)
    -> (factor S,).
    """
    from librosa import resample
    from scipy.fft import irfft, next_fast_len, rfft

    wave = resample(wave, orig_sr=rate, target_sr=rate * factor, res_type="soxr_hq")
    rng = np.random.default_rng(seed)
    # over the square root of the frequency, about as wide as voices differ
    points, values = np.linspace(0, 1, 8), rng.normal(0, TILT, 8)
    size = next_fast_len(len(wave) + rate // 10)
    gain = np.interp(np.sqrt(np.linspace(0, 1, size // 2 + 1)), points, values) - values.mean() + rng.uniform(-6, 3)
    wave = irfft(rfft(wave, size) * 10 ** (gain / 20), size)[: len(wave)]
    return (wave * min(1.0, 0.98 / max(np.abs(wave).max(), 1e-6))).astype(np.float32)


def decode(root: Path, row: dict) -> tuple[np.ndarray, np.ndarray]:
    """One clip -> (samples int16 (S,), log-mel float16 (S // 256 + 1, 100))."""
    import soundfile

    from tts_fm.audio.mel import SAMPLE_RATE, log_mel

    wave, rate = soundfile.read(root / row["audio"], dtype="float32")
    if rate != SAMPLE_RATE or wave.ndim != 1:
        raise ValueError(f"{row['audio']}: {rate} Hz with {wave.ndim} axes; the corpus must be 24 kHz mono")
    if "altered" in row:
        wave = alter(wave, rate, *row["altered"])
    return (wave.clip(-1, 1) * 32767).astype(np.int16), log_mel(wave).astype(np.float16)


def altered(row: dict, number: int) -> dict | None:
    """The row of a training clip's altered copy; its times are stretched with it. The factor stays away from 1, where
    nothing is new.
    """
    if row["split"] != "train":
        return None
    rng = np.random.default_rng((7, number))
    factor = float(np.exp(rng.choice([-1, 1]) * rng.uniform(np.log(1.04), np.log(PITCH))))
    stretched = {key: row[key] * factor for key in ("lead_frames", "tail_frames", "seconds")}
    stretched |= {"speed": row["speed"] / factor, "unit_frames": [n * factor for n in row["unit_frames"]]}
    return row | stretched | {"altered": [factor, number], "id": row["id"] + "_altered"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--no-copies", action="store_true", help="without the altered copies: enough for the vocoder")
    parser.add_argument("--jobs", type=int, help="processes (default: all cores)")
    args = parser.parse_args(argv)
    from tqdm import tqdm

    rows = [json.loads(line) for line in (args.corpus / "manifest.jsonl").open(encoding="utf-8")]
    if not args.no_copies:
        rows += [copy for number, row in enumerate(rows) if (copy := altered(row, number))]
    args.out.mkdir(parents=True, exist_ok=True)
    samples = frames = 0
    with (
        (args.out / "wav.i16").open("wb") as wav_file,
        (args.out / "mel.f16").open("wb") as mel_file,
        ProcessPoolExecutor(args.jobs) as pool,
    ):
        for row, (wave, mel) in zip(
            rows, tqdm(pool.map(partial(decode, args.corpus), rows, chunksize=32), total=len(rows)), strict=True
        ):
            wav_file.write(wave.tobytes())
            mel_file.write(mel.tobytes())
            row.update(sample=samples, samples=len(wave), frame=frames, frames=len(mel))
            samples, frames = samples + len(wave), frames + len(mel)
    (args.out / "index.json").write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
