"""The corpus of the built-in voice spoken on a GPU: the teacher, on torch, writes what recipes/builtin/cache.py would.

    python -m recipes.gpu.speak plan KOKORO PLAN --texts FILE ... [--calls 8000]    here: what is to be said, by whom
    python -m recipes.gpu.speak cache KOKORO PLAN CACHE [--minutes 2] [--jobs 14]    there: wav.i16, mel.f16, index.json

KOKORO: part*.bin or model.onnx, and voices/ (data_prep/kokoro.py). Only `plan` needs espeak-ng, so the far machine
needs numpy, torch and onnx alone. Calls of the teacher are taken in the order of the plan until the minutes are over. A
voice says up to four texts in one go, which are cut apart where it pauses; some voices are then made somebody else's,
resampled and equalised, as cache.py's altered copies are. The silence before the first word is cut to .12 to .28 s,
which is what inference leaves.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.kokoro_model import FRAME, Spoken
from recipes.builtin.alter import alter, draw
from recipes.builtin.generator import log_mels
from tts_fm import devices
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.text.symbols import is_pause

KINDS = {"voice": 0.1, "mixture": 0.25, "point": 0.65}
SHORT = 0.3  # share of the texts: drawn short ones
TOGETHER = {1: 0.2, 2: 0.2, 3: 0.3, 4: 0.3}  # texts that a voice speaks in one go: shares
LONGEST = 260  # characters of them: to speak a long clip takes a card hardly longer than a short one
ALTERED = 0.3  # share of the groups
LEAD = (5, 11)  # frames of silence before the first word, at most; between two texts that are cut apart, so many
BEHIND = (4, 12)  # frames of silence behind the last word where two texts are cut apart
QUIET = -40.0  # dB to the mean of all frames: a pause with a frame as quiet as this is cut there
FADE = np.linspace(0, 1, 192, dtype=np.float32)  # at a cut


# --- the plan


def plan(kokoro: Path, texts: Sequence[Path], calls: int, seed: int, each: int) -> list[dict[str, Any]]:
    """Rows: id, lang, voices, speed, speaker, split, `parts`: what is said in one go; and `altered` for some."""
    from data_prep.kokoro_model import load_voices
    from data_prep.kokoro_plan import PACE, draw_voice, read_texts
    from data_prep.kokoro_texts import short_text
    from data_prep.shared import Dropped, draw_split
    from tts_fm.text.phonemes import phoneme_units

    names = sorted(load_voices(kokoro / "voices"))
    found = read_texts(texts, Dropped())
    in_turn, rows = cycle(random.Random(seed).sample(found, len(found))), []
    for number in range(calls):
        dice, group = random.Random(f"g{seed} {number}"), number // each
        voice = random.Random(f"g{seed} voice {group}")
        (kind,) = voice.choices(list(KINDS), list(KINDS.values()))
        speaker, voices, lang = draw_voice(voice, kind, names, f"g{seed}_{group:05d}")
        (most,) = dice.choices(list(TOGETHER), list(TOGETHER.values()))
        parts: list[dict[str, Any]] = []
        for _ in range(most):
            text, source = short_text(dice) if dice.random() < SHORT else next(in_turn)
            if parts and sum(len(part["text"]) for part in parts) + len(text) > LONGEST:
                break
            if units := phoneme_units(text, lang):
                silence = {"lead": dice.randint(*LEAD), "behind": dice.randint(*BEHIND)}
                parts.append({"text": text, "units": units, "source": source} | silence)
        row: dict[str, Any] = {"id": f"g{seed}_{number:05d}", "lang": lang, "voices": voices, "speaker": speaker}
        row |= {"speed": round(dice.uniform(*PACE), 3), "split": draw_split(f"g{seed} {group}", 0.01), "parts": parts}
        if voice.random() < ALTERED and row["split"] == "train":
            change = draw(np.random.default_rng((seed, group)))
            row |= {"altered": change, "speaker": f"{speaker}_{group}_altered"}
        if parts:
            rows.append(row)
    return rows


# --- speaking


def cuts(spoken: Spoken, parts: Sequence[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    """The texts behind whose last phone is a quiet pause: the frame in which they end, and that in which the next
    begins. What is loud between its first quiet frame and its last, as a breath, is in neither.
    """
    edges, power = np.cumsum([spoken.lead, *spoken.frames]), np.square(spoken.wave).reshape(-1, FRAME).mean(1) + 1e-12
    level, found, end = 10 * np.log10(power / power.mean()), {}, 0
    for number, part in enumerate(parts[:-1]):
        heard = [n for n, unit in enumerate(part["units"]) if not is_pause(unit)]
        phones = end + (heard[-1] + 1 if heard else len(part["units"]))
        end += len(part["units"]) + 1  # the space before the next text
        first, last = int(edges[phones]) + 1, int(edges[end]) - 1
        quiet = np.flatnonzero(level[first:last] <= QUIET) + first
        if phones < end - 1 and len(quiet):
            found[number] = int(quiet[0]) + 1, int(quiet[-1])
    return found


def apart(spoken: Spoken, parts: Sequence[dict[str, Any]]) -> list[tuple[list[dict[str, Any]], Spoken]]:
    """What was spoken in one go, cut in its quiet pauses: so many clips, each with its texts. Silence is put where the
    pause is shorter than the `lead` of the text behind it, or the `behind` of the text before it. Texts between which
    there is no quiet pause stay together.
    """
    edges, places, found = np.cumsum([spoken.lead, *spoken.frames]), cuts(spoken, parts), []
    ends = np.cumsum([len(part["units"]) + 1 for part in parts])  # units, the space behind each text among them
    first, unit, after = 0, 0, 0
    for number in [*places, len(parts) - 1]:
        some, end = list(parts[first : number + 1]), int(ends[number]) - 1
        begin = max(after, int(edges[unit]) - some[0]["lead"])
        lead = some[0]["lead"] if first else int(edges[unit]) - begin
        stop, next_begin = places.get(number, (int(edges[-1]) + spoken.tail, 0))
        frames = np.diff(np.minimum(edges[unit : end + 1], stop)).tolist()
        wave, tail, silence = spoken.wave[begin * FRAME : stop * FRAME].copy(), max(0, stop - int(edges[end])), 0
        if number in places:
            wave[-len(FADE) :] *= FADE[::-1]
            pauses = next(n for n, name in enumerate(reversed(some[-1]["units"])) if not is_pause(name))
            frames[-1] += (silence := max(0, some[-1]["behind"] - (stop - int(edges[end - pauses]))))
            tail, silence = tail + 1, silence + 1
        if first:
            wave[: len(FADE)] *= FADE
        before = (lead - (int(edges[unit]) - begin)) * FRAME
        found.append((some, Spoken(np.pad(wave, (before, silence * FRAME)), lead, frames, tail)))
        first, unit, after = number + 1, end + 1, next_begin
    return found


def units_of(parts: Sequence[dict[str, Any]]) -> list[str]:
    """Of texts that are said one behind the other."""
    return [unit for part in parts for unit in (*part["units"], " ")][:-1]


def weights_of(kokoro: Path) -> list[Path]:
    """The files of the teacher's network."""
    return sorted(kokoro.glob("part*.bin")) or [kokoro / "model.onnx"]


def speak(kokoro: Any, row: dict[str, Any]) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
    """The waves, where the device is, each with its row, which has its times in frames."""
    parts = row["parts"]
    spoken = kokoro.speak(units_of(parts), row["lang"], row["voices"], row["speed"])
    for number, (some, said) in enumerate(apart(spoken, parts)):
        wave = torch.from_numpy(said.wave).to(kokoro.session.device)
        about = {key: row[key] for key in ("lang", "speaker", "split", "speed")}
        about |= {"id": f"{row['id']}_{number}", "source": some[0]["source"]}
        about |= {"text": " ".join(part["text"] for part in some), "units": units_of(some)}
        factor = 1.0
        if altered := row.get("altered"):
            factor = altered[0]
            wave = alter(wave, altered)
            about["speed"] = row["speed"] / factor
        wave = wave / max(1.0, float(wave.abs().max()) / 0.98)
        times = {"lead_frames": said.lead * factor, "unit_frames": [n * factor for n in said.frames]}
        yield wave, about | times | {"tail_frames": said.tail * factor, "seconds": len(wave) / SAMPLE_RATE}


def _worker(number: int, jobs: int, kokoro: Path, plan: Path, out: Path, device: str, until: float) -> None:
    """Every jobs-th group of the plan into out/part-N.*"""
    from data_prep.kokoro_model import Kokoro, load_voices
    from data_prep.kokoro_torch import Graph

    torch.set_num_threads(1)
    graph = Graph(b"".join(part.read_bytes() for part in weights_of(kokoro)), device, seed=number)
    teacher, rows = Kokoro(graph, load_voices(kokoro / "voices")), []
    with gzip.open(plan, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    samples = frames = calls = 0
    with open(out / f"part-{number:02d}.wav", "wb") as sound, open(out / f"part-{number:02d}.mel", "wb") as mels:
        for line in lines[number::jobs]:
            if time.time() > until:
                break
            try:
                said = list(speak(teacher, json.loads(line)))
            except ValueError as error:
                print(f"not spoken: {error}", flush=True)
                continue
            for wave, row in said:
                rounded = (wave.clamp(-1, 1) * 32767).round()  # as a file would be
                mel = log_mels(rounded[None] / 32767)[0].half().cpu().numpy()
                pcm = rounded.to(torch.int16).cpu().numpy()
                if not np.isfinite(mel).all() or np.abs(pcm).max() < 500:
                    continue
                sound.write(pcm.tobytes())
                mels.write(mel.tobytes())
                rows.append(row | {"sample": samples, "samples": len(pcm), "frame": frames, "frames": len(mel)})
                samples, frames = samples + len(pcm), frames + len(mel)
            calls += 1
            if calls % 50 == 0:
                hours = samples / SAMPLE_RATE / 3600
                print(f"worker {number}: {calls} calls, {len(rows)} clips, {hours:.2f} h of speech", flush=True)
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


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The options of `plan`."""
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--calls", type=int, default=8_000, help="of the teacher, each up to four texts")
    parser.add_argument("--each", type=int, default=1, help="calls for a mixture or a new voice")
    parser.add_argument("--seed", type=int, default=0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one, two = verbs.add_parser("plan"), verbs.add_parser("cache")
    for verb in (one, two):
        verb.add_argument("kokoro", type=Path)
        verb.add_argument("plan", type=Path, help="a .jsonl.gz")
    add_plan(one)
    two.add_argument("out", type=Path)
    two.add_argument("--device", help="cpu, cuda (default: a GPU if there is one)")
    two.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) - 2))
    two.add_argument("--minutes", type=float, default=2.0)
    args = parser.parse_args(argv)
    if args.verb == "cache":
        cache(args.kokoro, args.plan, args.out, str(devices.pick(args.device)), args.jobs, args.minutes)
        return
    rows = plan(args.kokoro, args.texts, args.calls, args.seed, args.each)
    with gzip.open(args.plan, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    texts = [part for row in rows for part in row["parts"]]
    print(f"{len(rows)} calls, {len(texts)} texts, {sum(len(part['units']) for part in texts):,} units")


if __name__ == "__main__":
    from data_prep.shared import run as exit_with

    raise SystemExit(exit_with(main))
