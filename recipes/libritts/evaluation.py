"""Evaluation lists from a manifest, their synthesis and their score.

    python -m recipes.libritts.evaluation list data/libritts.jsonl eval.jsonl --items 100        cross-sentence: each
      text in the voice
    python -m recipes.libritts.evaluation list lst.tsv eval.jsonl --librispeech-pc DIR           of another recording of
      its speaker
    python -m recipes.libritts.evaluation list meta.lst eval.jsonl --prompted                    Seed-TTS's .lst,
      ZipVoice's .tsv
    python -m recipes.libritts.evaluation speak models/tiny eval.jsonl speech [--shard 0/2]
    python -m recipes.libritts.evaluation score eval.jsonl speech report.json [--asr FOLDER] [--measures wer sim]
      [--shard 0/2]

`speak` and `score` skip what is there, so that they can be stopped and run on several machines; report.html goes with
report.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file, this folder would hide the package `recipes`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from recipes.libritts.scoring import MEASURES, append, score
from tts_fm import files
from tts_fm.data.manifest import Utterance, read_manifest

PROMPT = (3.0, 10.0)  # seconds of a prompt (F5-TTS's cross-sentence list: about 3 to 10)
TARGET = (4.0, 10.0)
log = logging.getLogger(__name__)


def cross_sentence(
    utterances: Sequence[Utterance], folder: Path, items: int, split: str | None = None
) -> list[dict[str, Any]]:
    """Pairs of two recordings of one speaker: {"id", "text", "ref_audio", "ref_text"}, the same for the same manifest.

    split: None = the first of test, valid and train in which a speaker has two recordings. A prompt has 3 to 10 s, a
    target 4 to 10; where the corpus is small any length serves. ValueError when no speaker has two.
    """
    if split is None:
        speakers = {s: Counter(u.speaker for u in utterances if u.split == s) for s in ("test", "valid", "train")}
        split = next((s for s, counts in speakers.items() if max(counts.values(), default=0) > 1), "test")
        if split != "test":
            log.warning("no speaker of the split test has two recordings: the list is made of the split %s", split)
    pool = sorted((u for u in utterances if u.split == split), key=lambda u: (draw_key(u.id), u.id))
    pairs = []
    for target in (
        (u for u in pool if TARGET[0] <= u.seconds <= TARGET[1]) if any(u.seconds >= TARGET[0] for u in pool) else pool
    ):
        others = [u for u in pool if u.speaker == target.speaker and u.id != target.id]
        others = [u for u in others if PROMPT[0] <= u.seconds <= PROMPT[1]] or others
        if others:
            prompt = min(others, key=lambda u: (draw_key(target.id + u.id), u.id))
            name = re.sub(r"[^A-Za-z0-9._-]", "_", target.id)
            pairs.append(
                {
                    "id": name,
                    "text": target.text,
                    "ref_audio": str(prompt.path(folder).resolve()),
                    "ref_text": prompt.text,
                }
            )
        if len(pairs) == items:
            break
    if not pairs:
        raise ValueError(
            f"no speaker of the split {split} has two recordings, so there is no prompt from another sentence"
        )
    return pairs


def prompted_list(path: Path) -> list[dict[str, Any]]:
    """Seed-TTS's list (id|prompt text|prompt audio|text, a fifth cell is passed over) or ZipVoice's (the same between
    tabs).

    Audio paths are relative to the list's folder. ValueError as file:line.
    """
    rows, faults, mark = [], [], "\t" if path.suffix == ".tsv" else "|"
    for number, line in enumerate(path.read_text("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.rstrip("\r").split(mark)]
        if len(cells) not in ((4,) if mark == "\t" else (4, 5)):
            faults.append(
                f"{path}:{number}: {len(cells)} cells between {mark!r}, four are needed: id, prompt text, prompt "
                "audio, text"
            )
        elif not (path.parent / cells[2]).is_file():
            faults.append(f"{path}:{number}: no audio {path.parent / cells[2]}")
        else:
            name = re.sub(r"[^A-Za-z0-9._-]", "_", cells[0].removesuffix(".wav"))
            rows.append(
                {
                    "id": name,
                    "text": cells[3],
                    "ref_audio": str((path.parent / cells[2]).resolve()),
                    "ref_text": cells[1],
                }
            )
    if faults:
        raise ValueError("\n".join(faults[:20]))
    return rows


def draw_key(text: str) -> str:
    """A hash by which things are shuffled the same way every time."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def librispeech_pc(path: Path, root: Path) -> list[dict[str, Any]]:
    """F5's list: six cells between tabs a line, prompt id, seconds, text, then target id, seconds, text. ValueError as
    file:line.
    """
    rows, faults = [], []
    for number, line in enumerate(path.read_text("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split("\t")
        if len(cells) != 6:
            faults.append(f"{path}:{number}: {len(cells)} cells between tabs, six are needed")
            continue
        speaker, chapter = ([*cells[0].split("-"), ""])[:2]
        places = [root / speaker / chapter / f"{cells[0]}{ending}" for ending in (".flac", ".wav")]
        audio = next((place for place in places if place.is_file()), None)
        if audio is None:
            faults.append(f"{path}:{number}: no audio of {cells[0]} in {root / speaker / chapter}")
            continue
        rows.append({"id": cells[3], "text": cells[5], "ref_audio": str(audio.resolve()), "ref_text": cells[2]})
    if faults:
        raise ValueError("\n".join(faults[:20]))
    return rows


def write_list(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    log.info("%s: %d items", path, len(rows))


def speak(
    model: Path, items: Path, out: Path, shard: tuple[int, int] = (0, 1), device: str = "auto", seed: int = 0
) -> int:
    """Speak the items of a list that are not in `out` yet; returns how many were. An item that cannot be spoken is
    logged.

    What it took (seconds, network forwards) and the settings are noted in <out>/spoken.<shard>.jsonl.
    """
    from tts_fm import TTS
    from tts_fm.audio.files import write_audio
    from tts_fm.evaluate.lists import read_eval_list
    from tts_fm.evaluate.report import SpeakWith

    say, done = SpeakWith(TTS.load(model, device=device), seed=seed), 0
    out.mkdir(parents=True, exist_ok=True)
    for item in read_eval_list(items)[shard[0] :: shard[1]]:
        path = out / f"{item.id}.wav"
        if path.is_file():
            continue
        try:
            wave, rate, seconds = say(item)
        except ValueError as error:
            log.warning("%s: %s", item.id, error)
            continue
        write_audio(path, wave, rate)
        about = say.about | {"model": str(model), "device": device, "forwards": say.forwards}
        append(
            out / f"spoken.{shard[0]}of{shard[1]}.jsonl", {"id": item.id, "seconds": round(seconds, 4), "about": about}
        )
        done += 1
    log.info("%s: %d spoken", out, done)
    return done


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; write 0/4 to 3/4")
    return int(match[1]), int(match[2])


def main(argv: Sequence[str] | None = None) -> None:
    name = "python -m recipes.libritts.evaluation"
    parser = argparse.ArgumentParser(name, description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("list")
    make.add_argument("source", type=Path, help="manifest, or F5's LibriSpeech-PC list")
    make.add_argument("out", type=Path)
    make.add_argument("--items", type=int, default=100)
    make.add_argument("--split")
    make.add_argument(
        "--prompted", action="store_true", help="the source is a list of Seed-TTS's (.lst) or ZipVoice's (.tsv) form"
    )
    make.add_argument("--librispeech-pc", type=Path, metavar="DIR", help="LibriSpeech's test-clean")
    say = verbs.add_parser("speak")
    say.add_argument("model", type=Path)
    say.add_argument("items", type=Path)
    say.add_argument("out", type=Path)
    say.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N")
    say.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    say.add_argument("--seed", type=int, default=0)
    judge = verbs.add_parser("score")
    judge.add_argument("items", type=Path)
    judge.add_argument("speech", type=Path)
    judge.add_argument("report", type=Path)
    judge.add_argument("--asr", help="folder of a Whisper in CTranslate2 form, or a size")
    judge.add_argument("--measures", nargs="+", default=list(MEASURES))
    judge.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N")
    args = parser.parse_args(argv)
    if args.verb == "list":
        rows = (
            librispeech_pc(args.source, args.librispeech_pc)
            if args.librispeech_pc
            else prompted_list(args.source)
            if args.prompted
            else cross_sentence(read_manifest(args.source), args.source.parent, args.items, args.split)
        )
        write_list(args.out, rows)
    elif args.verb == "speak":
        speak(args.model, args.items, args.out, args.shard, args.device, args.seed)
    else:
        print(score(args.items, args.speech, args.report, args.asr, args.measures, args.shard))


if __name__ == "__main__":
    from data_prep.shared import run

    raise SystemExit(run(main))
