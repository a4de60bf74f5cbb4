"""The corpus of the built-in voice spoken on a GPU: the teacher, on torch, writes what recipes/builtin/cache.py would.

    python -m recipes.gpu.speak plan KOKORO PLAN --texts FILE ... [--clips 20000]    here: what is to be said, by whom
    python -m recipes.gpu.speak cache KOKORO PLAN CACHE [--minutes 2] [--jobs 14]    there: wav.i16, mel.f16, index.json

KOKORO: part*.bin or model.onnx, and voices/ (data_prep/kokoro.py). Only `plan` needs espeak-ng, so the far machine
needs numpy, torch and onnx alone. Clips are taken in the order of the plan until the minutes are over. They come in
groups of one voice; some groups are somebody else's speech, resampled and equalised, as cache.py's altered copies are.
The silence before the first word is cut to .12 to .28 s, which is what inference leaves.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import time
from collections.abc import Sequence
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.builtin.alter import alter, draw
from recipes.builtin.generator import log_mels
from tts_fm import devices
from tts_fm.audio.mel import SAMPLE_RATE

FRAME = 600  # samples in a frame of the plan's durations
KINDS = {"voice": 0.1, "mixture": 0.25, "point": 0.65}
SHORT, JOINED = 0.25, 0.6  # shares of the texts: drawn short ones; two of the others as one, where they fit
LONGEST = 170  # characters of two together: to speak a long clip takes a card as long as a short one
ALTERED = 0.3  # share of the groups
LEAD = (5, 11)  # frames of silence before the first word, at most


# --- the plan


def plan(kokoro: Path, texts: Sequence[Path], clips: int, seed: int, each: int) -> list[dict[str, Any]]:
    """Rows: id, text, units, lang, voices, speed, speaker, split, and `altered` for some."""
    from data_prep.kokoro_model import load_voices
    from data_prep.kokoro_plan import PACE, draw_voice, read_texts
    from data_prep.kokoro_texts import short_text
    from data_prep.shared import Dropped, draw_split
    from tts_fm.text.phonemes import phoneme_units

    names = sorted(load_voices(kokoro / "voices"))
    found = read_texts(texts, Dropped())
    order, rows = random.Random(seed).sample(range(len(found)), len(found)), []
    in_turn = cycle(order)
    for number in range(clips):
        dice, group = random.Random(f"g{seed} {number}"), number // each
        voice = random.Random(f"g{seed} voice {group}")
        (kind,) = voice.choices(list(KINDS), list(KINDS.values()))
        speaker, voices, lang = draw_voice(voice, kind, names, f"g{seed}_{group:05d}")
        text, source = short_text(dice) if dice.random() < SHORT else found[next(in_turn)]
        if dice.random() < JOINED and len(both := f"{text} {found[next(in_turn)][0]}") <= LONGEST:
            text = both
        row: dict[str, Any] = {
            "id": f"g{seed}_{number:05d}",
            "text": text,
            "units": phoneme_units(text, lang),
            "lang": lang,
        }
        row |= {"voices": voices, "speed": round(dice.uniform(*PACE), 3), "speaker": speaker, "source": source}
        row |= {"split": draw_split(f"g{seed} {group}", 0.01), "lead": dice.randint(*LEAD)}
        if voice.random() < ALTERED and row["split"] == "train":
            change = draw(np.random.default_rng((seed, group)))
            row |= {"altered": change, "speaker": f"{speaker}_{group}_altered"}
        if row["units"]:
            rows.append(row)
    return rows


# --- speaking


def speak_one(kokoro: Any, row: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """The wave, where the device is, and the row with its times in frames."""
    spoken = kokoro.speak(row["units"], row["lang"], row["voices"], row["speed"])
    wave = torch.from_numpy(spoken.wave).to(kokoro.session.device)
    lead = min(spoken.lead, row["lead"])
    wave = wave[(spoken.lead - lead) * FRAME :]
    times = {"lead_frames": lead, "unit_frames": spoken.frames, "tail_frames": spoken.tail}
    about = {key: row[key] for key in ("id", "text", "units", "lang", "speaker", "split", "speed", "source")}
    if altered := row.get("altered"):
        factor = altered[0]
        wave = alter(wave, altered)
        times = {"lead_frames": lead * factor, "unit_frames": [n * factor for n in spoken.frames],
                 "tail_frames": spoken.tail * factor}  # fmt: skip
        about["speed"] = row["speed"] / factor
    wave = wave / max(1.0, float(wave.abs().max()) / 0.98)
    return wave, about | times | {"seconds": len(wave) / SAMPLE_RATE}


def _worker(number: int, jobs: int, kokoro: Path, plan: Path, out: Path, device: str, until: float) -> None:
    """Every jobs-th group of the plan into out/part-N.*"""
    from data_prep.kokoro_model import Kokoro, load_voices
    from data_prep.kokoro_torch import Graph

    torch.set_num_threads(1)
    parts = sorted(kokoro.glob("part*.bin")) or [kokoro / "model.onnx"]
    graph = Graph(b"".join(part.read_bytes() for part in parts), device, seed=number)
    teacher, rows = Kokoro(graph, load_voices(kokoro / "voices")), []
    with gzip.open(plan, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    samples = frames = failed = 0
    with open(out / f"part-{number:02d}.wav", "wb") as sound, open(out / f"part-{number:02d}.mel", "wb") as mels:
        for line in lines[number::jobs]:
            if time.time() > until:
                break
            try:
                wave, row = speak_one(teacher, json.loads(line))
            except ValueError as error:
                failed += 1
                print(f"not spoken: {error}", flush=True)
                continue
            rounded = (wave.clamp(-1, 1) * 32767).round()  # as a file would be
            mel = log_mels(rounded[None] / 32767)[0].half().cpu().numpy()
            pcm = rounded.to(torch.int16).cpu().numpy()
            if not np.isfinite(mel).all() or np.abs(pcm).max() < 500:
                failed += 1
                continue
            sound.write(pcm.tobytes())
            mels.write(mel.tobytes())
            rows.append(row | {"sample": samples, "samples": len(pcm), "frame": frames, "frames": len(mel)})
            samples, frames = samples + len(pcm), frames + len(mel)
            if len(rows) % 100 == 0:
                print(f"worker {number}: {len(rows)} clips, {samples / SAMPLE_RATE / 60:.0f} min of speech", flush=True)
    (out / f"part-{number:02d}.json").write_text(json.dumps(rows), "utf-8")


def cache(kokoro: Path, plan: Path, out: Path, device: str, jobs: int, minutes: float) -> float:
    """Speak for some minutes and join what the workers made. Returns the hours of speech."""
    out.mkdir(parents=True, exist_ok=True)
    until, context = time.time() + 60 * minutes, get_context("forkserver")
    context.set_forkserver_preload(["onnx", "recipes.builtin.generator", "data_prep.kokoro_torch"])
    workers = [context.Process(target=_worker, args=(n, jobs, kokoro, plan, out, device, until)) for n in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rows, samples, frames = [], 0, 0
    with open(out / "wav.i16", "wb") as sound, open(out / "mel.f16", "wb") as mels:
        for number in range(jobs):
            index = out / f"part-{number:02d}.json"
            if not index.is_file():
                print(f"worker {number} failed; the others' clips are used", flush=True)
                continue
            some = json.loads(index.read_text("utf-8"))
            rows += [row | {"sample": row["sample"] + samples, "frame": row["frame"] + frames} for row in some]
            for suffix, file in (("wav", sound), ("mel", mels)):
                with open(out / f"part-{number:02d}.{suffix}", "rb") as part:
                    shutil.copyfileobj(part, file, 1 << 24)
            samples, frames = samples + sum(r["samples"] for r in some), frames + sum(r["frames"] for r in some)
            for suffix in ("wav", "mel", "json"):
                (out / f"part-{number:02d}.{suffix}").unlink()
    if not rows:
        raise ValueError(f"no clip of {plan} could be spoken; the lines above say why")
    (out / "index.json").write_text(json.dumps(rows), "utf-8")
    hours = samples / SAMPLE_RATE / 3600
    print(f"{len(rows)} clips, {hours:.2f} h, {len({r['speaker'] for r in rows})} voices", flush=True)
    return hours


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one, two = verbs.add_parser("plan"), verbs.add_parser("cache")
    for verb in (one, two):
        verb.add_argument("kokoro", type=Path)
        verb.add_argument("plan", type=Path, help="a .jsonl.gz")
    one.add_argument("--texts", type=Path, nargs="+", required=True)
    one.add_argument("--clips", type=int, default=20_000)
    one.add_argument("--each", type=int, default=2, help="clips of a mixture or a new voice")
    one.add_argument("--seed", type=int, default=0)
    two.add_argument("out", type=Path)
    two.add_argument("--device", help="cpu, cuda (default: a GPU if there is one)")
    two.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) - 2))
    two.add_argument("--minutes", type=float, default=2.0)
    args = parser.parse_args(argv)
    if args.verb == "cache":
        cache(args.kokoro, args.plan, args.out, str(devices.pick(args.device)), args.jobs, args.minutes)
        return
    rows = plan(args.kokoro, args.texts, args.clips, args.seed, args.each)
    with gzip.open(args.plan, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{len(rows)} clips, {sum(len(row['units']) for row in rows):,} units")


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
