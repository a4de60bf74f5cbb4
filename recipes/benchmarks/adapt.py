"""What adapting to a voice is worth: similarity, word errors and DNSMOS before and after, by the amount of sound.

    python recipes/benchmarks/adapt_recordings.py KOKORO RECORDINGS --texts texts.txt --minutes 20     once, see there
    python recipes/benchmarks/adapt.py RECORDINGS OUT [--voices bf_lily] [--sound clip 1 5 20] [--without-text]
    python recipes/benchmarks/adapt.py RECORDINGS OUT --people me.flac you.flac                        one clip each

"clip" is the voice's prompt alone (about 8 s), numbers are minutes. Each voice speaks 24 sentences that nobody
recorded, cloned from its prompt ("before") and adapted ("after"). Similarity is Resemblyzer's, to the prompt and
to the mean of ten other clips; the ceiling is those clips' own likeness, as recorded and through our vocoder. WER:
Whisper base. Needs the extra [eval]. Rows that are in OUT/results.jsonl are not made again; the table is
printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm.audio.files import load
from tts_fm.audio.mel import SAMPLE_RATE, log_mel
from tts_fm.audio.prompt import check_reference
from tts_fm.data.listing import Recording, read_text
from tts_fm.evaluate.metrics import WHISPER_FOLDER, SpeakerEncoder, Whisper, dnsmos, word_errors
from tts_fm.settings import Settings
from tts_fm.synthesis import TTS, Request
from tts_fm.train.voice import AdaptOptions, adapt_voice
from tts_fm.voices.stored import Voice, get_voice


class Ears:
    """What listens; loaded once."""

    def __init__(self) -> None:
        self.asr, self.encoder = Whisper(WHISPER_FOLDER), SpeakerEncoder()

    def mean(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """The mean embedding of waves at 24 kHz, of length 1."""
        total = np.mean([self.encoder.embed(wave, SAMPLE_RATE) for wave in waves], axis=0)
        return total / np.linalg.norm(total)

    def judge(self, spoken: Sequence[tuple[str, np.ndarray]], prompt: np.ndarray, others: np.ndarray | None) -> dict:
        """Figures of (text, wave) pairs; others: the mean embedding of other clips."""
        edits = words = 0
        to_prompt, to_others, quality = [], [], []
        for text, wave in spoken:
            found = word_errors(text, self.asr(wave, SAMPLE_RATE))
            edits, words = edits + found.edits, words + found.length
            vector = self.encoder.embed(wave, SAMPLE_RATE)
            to_prompt.append(float(vector @ prompt))
            to_others.append(float(vector @ others) if others is not None else float("nan"))
            quality.append(dnsmos(wave, SAMPLE_RATE)["overall"])
        figures: dict[str, Any] = {"wer": edits / max(1, words), "dnsmos": np.mean(quality)}
        figures["sim_prompt"] = np.mean(to_prompt)
        if others is not None:
            figures["sim_mean"] = np.mean(to_others)
        return {key: round(float(value), 4) for key, value in figures.items()}


def recordings_of(folder: Path, sound: str, with_text: bool) -> list[Recording]:
    """The prompt alone ("clip"), or so many minutes of a voice's clips."""
    paths = [folder / "prompt.flac"]
    if sound != "clip":
        paths, seconds = [], 0.0
        for path in sorted((folder / "adapt").glob("*.flac")):
            if seconds >= 60 * float(sound):
                break
            paths.append(path)
            seconds += len(load(path)) / SAMPLE_RATE
        if seconds < 0.95 * 60 * float(sound):
            raise ValueError(f"{folder} has {seconds / 60:.1f} minutes, not {sound}; record more, or leave {sound} out")
    return [Recording(path, read_text(path.with_suffix(".txt")) if with_text else None) for path in paths]


def speak(tts: TTS, voice: Voice, sentences: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """The sentences, each with noise of its own."""
    requests = [Request(text, voice, None, Settings(item=f"s{n}")) for n, text in enumerate(sentences)]
    waves = {number: speech.wave for number, speech in tts.batch(requests)}
    return [(text, waves[number]) for number, text in enumerate(sentences)]


SAME = ("before", "ceiling", "teacher")  # of a voice, whatever it learns from


def row_of(
    args: argparse.Namespace, ears: Ears, tts: TTS, voice: str, folder: Path, sound: str, known: dict[str, Any]
) -> dict[str, Any]:
    """One line of the table: before, after, and the ceiling; known: those of SAME that were measured."""
    sentences = (args.recordings / "sentences.txt").read_text("utf-8").splitlines()[: args.sentences]
    prompt = folder / "prompt.flac" if folder.is_dir() else folder
    lang = args.lang or ("en-gb" if voice.startswith("b") else "en-us" if folder.is_dir() else None)
    wave = check_reference(prompt).wave
    likeness = ears.encoder.embed(wave, SAMPLE_RATE)
    clips = [load(path) for path in sorted((folder / "reference").glob("*.flac"))] if folder.is_dir() else []
    others = ears.mean(clips) if clips else None
    words = prompt.with_suffix(".txt")
    found = (
        recordings_of(folder, sound, not args.without_text)
        if folder.is_dir()
        else [Recording(prompt, None if args.without_text or not words.is_file() else read_text(words))]
    )
    kept: list[Any] = []
    place = args.out / f"{voice}_{sound}{'_without_text' if args.without_text else ''}"
    began = time.perf_counter()
    options = AdaptOptions(name=voice, lang=lang, minutes=args.minutes, updates=args.updates)
    info = adapt_voice(found, place, options, on_progress=told, on_prepared=kept.append)
    seconds = time.perf_counter() - began
    after = get_voice(place)
    cloned = Voice(voice, wave, None, info["lang"])
    row: dict[str, Any] = {"voice": voice, "sound": sound, "text": not args.without_text}
    row |= {"before": known.get("before") or ears.judge(speak(tts, cloned, sentences), likeness, others)}
    row |= {"after": ears.judge(speak(tts, after, sentences), likeness, others)}
    if "ceiling" in known:
        row |= {name: known[name] for name in SAME}
    elif others is not None:
        through = [tts.engine.decode(log_mel(clip)) for clip in clips]
        own = [float(ears.encoder.embed(clip, SAMPLE_RATE) @ others) for clip in clips]
        copied = [float(ears.encoder.embed(clip, SAMPLE_RATE) @ others) for clip in through]
        row |= {"ceiling": round(float(np.mean(copied)), 4), "teacher": round(float(np.mean(own)), 4)}
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    row |= {"updates": info["updates"], "training_s": info["training_seconds"], "all_s": round(seconds), "bytes": size}
    return row | {"kept_s": round(kept[0].seconds, 1), "dropped": len(kept[0].table.dropped)}


def told(stage: str, done: int, total: int, left: float | None) -> None:
    if left is not None and done % 25 == 0:
        print(f"{stage} {done} of {total}, {left:.0f} s left", file=sys.stderr, flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    names = "voice, sound, SIM to mean, SIM to prompt, WER, DNSMOS, ceiling: vocoder / teacher, updates, training s, MB"
    lines = ["| " + names.replace(", ", " | ") + " |", "|" + "---|" * len(names.split(", "))]
    for row in rows:
        pairs = [
            " -> ".join(f"{row[when].get(key, float('nan')):.3f}" for when in ("before", "after"))
            for key in ("sim_mean", "sim_prompt", "wer", "dnsmos")
        ]
        top = f"{row['ceiling']:.3f} / {row['teacher']:.3f}" if "ceiling" in row else "-"
        sound = f"{row['sound']}{'' if row['sound'] == 'clip' else ' min'}{'' if row['text'] else ', no text'}"
        cells = [row["voice"], sound, *pairs, top, row["updates"], row["training_s"], f"{row['bytes'] / 1e6:.2f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="what adapt_recordings.py wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--voices", nargs="+", help="default: all in RECORDINGS")
    parser.add_argument("--sound", nargs="+", default=["clip", "1", "5", "20"], metavar="M", help="clip, or minutes")
    parser.add_argument("--people", nargs="+", type=Path, default=[], metavar="FILE", help="one clip each; only these")
    parser.add_argument("--without-text", action="store_true", help="as if there were no transcripts")
    parser.add_argument("--lang", help="accent of --people (default: what fits better)")
    parser.add_argument("--sentences", type=int, default=24)
    parser.add_argument("--minutes", type=float, help="of training (default: by the amount of sound)")
    parser.add_argument("--updates", type=int)
    args = parsed(parser, argv)
    args.out.mkdir(parents=True, exist_ok=True)
    journal = args.out / "results.jsonl"
    rows = [json.loads(line) for line in journal.read_text("utf-8").splitlines()] if journal.is_file() else []
    done = {(row["voice"], row["sound"], row["text"]) for row in rows}
    names = args.voices or sorted(path.parent.name for path in args.recordings.glob("*/prompt.flac"))
    todo = [(path.stem, path, "clip") for path in args.people] or [
        (name, args.recordings / name, sound) for name in names for sound in args.sound
    ]
    ears, tts = Ears(), TTS.load()
    for voice, folder, sound in todo:
        if (voice, sound, not args.without_text) in done:
            continue
        known = {name: row[name] for row in rows if row["voice"] == voice for name in SAME if name in row}
        rows.append(row_of(args, ears, tts, voice, folder, sound, known))
        with open(journal, "a", encoding="utf-8") as file:
            print(json.dumps(rows[-1]), file=file, flush=True)
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
