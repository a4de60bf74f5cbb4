"""`tts-fm align`: unit and word times for every line of a manifest, so that `aligned` recipes can learn from it."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.cli.common import check_writable
from tts_fm.cli.terminal import new_verb, note, result, result_json
from tts_fm.devices import name_of

if TYPE_CHECKING:
    from tts_fm.data.manifest import Utterance
    from tts_fm.engines.align import Aligner

EXAMPLES = """examples:
  tts-fm align data/libritts.jsonl                       writes data/libritts.aligned.jsonl
  tts-fm align mine.jsonl -o timed.jsonl --workers 8
A line whose recording or text is unfit is named, left out and counted. Exit codes: 0 all aligned, 2 a fault in the
manifest, 3 some lines
were left out, 4 the aligner's files, 5 a missing package, 130 interrupted (nothing is written).
"""
Done = tuple["Utterance | None", str]  # the line with its times, or what is wrong with it


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "align", "put phone and word times into a manifest", epilog=EXAMPLES)
    parser.add_argument(
        "manifest", metavar="MANIFEST", help="JSONL with id, audio, text, speaker, seconds (data_prep writes such)"
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT", help="where the result goes (default: MANIFEST with .aligned before its suffix)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--lang", metavar="CODE", help="accent of all lines, such as en-gb (default: each line's own)")
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="S",
        help="leave lines out whose text is not what is said: a score below S (default: -2.2; right texts: 0 to -1.5)",
    )
    parser.add_argument("--aligner", metavar="DIR", help="folder of another aligner (default: the built-in one)")
    parser.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:1, mps (default: $TTS_FM_DEVICE, or a GPU if there is one)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Align everything, write the manifest in one rename; 3 when lines were left out."""
    from tqdm import tqdm

    from tts_fm.data.manifest import read_manifest, write_manifest
    from tts_fm.engines.align import DOUBTFUL, Aligner
    from tts_fm.text.phonemes import phoneme_units

    source = Path(args.manifest)
    out = (
        Path(args.out)
        if args.out is not None
        else source.with_name(f"{source.stem}.aligned{source.suffix or '.jsonl'}")
    )
    if args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}")
    utterances = read_manifest(source)
    if out.exists() and out.samefile(source):
        raise ValueError(f"the result would replace {source}; name another file with -o")
    check_writable(out)
    args.device = name_of(args.device)
    Aligner.load(args.aligner, args.device)  # is told now, not by every worker
    for lang in sorted({args.lang or u.lang for u in utterances}):
        phoneme_units("a", lang)
    lines, lowest = line_numbers(source), DOUBTFUL if args.min_score is None else args.min_score
    done, faults = [], 0
    with tqdm(
        total=len(utterances), unit="line", desc="aligning", disable=True if args.quiet else None, file=sys.stderr
    ) as bar:
        for line, before, (after, fault) in zip(lines, utterances, timed(utterances, source.parent, args), strict=True):
            bar.update()
            if after is not None and after.about["x_align_score"] < lowest:
                fault = f"the text is not what is said (score {after.about['x_align_score']} below {lowest:g})"
            if fault:
                faults += 1
                bar.clear()
                note(f"left out: {source}:{line}: {before.id}: {fault}")
            elif after is not None:
                done.append(rebased(after, source.parent, out.parent))
    if done:
        write_manifest(out, done)
    if args.json:
        result_json({"aligned": len(done), "left_out": faults, "out": str(out) if done else None})
    elif done:
        result(str(out))
    if faults:
        note(f"error: {faults} of {len(utterances)} lines were left out" + ("" if done else "; nothing is written"))
    elif not args.quiet:
        note(f"{len(done)} lines aligned")
    return 3 if faults else 0


def line_numbers(source: Path) -> list[int]:
    """Where the utterances of a good manifest stand: every line that is not blank, counted from 1."""
    return [number for number, line in enumerate(source.read_bytes().split(b"\n"), start=1) if line.strip()]


def rebased(utterance: Utterance, old: Path, new: Path) -> Utterance:
    """The same for a manifest in another folder: its audio is found from there."""
    from tts_fm.data.storage import is_url

    place = utterance.place(old)
    if is_url(place) or Path(utterance.audio).is_absolute() or old.resolve() == new.resolve():
        return utterance
    return dataclasses.replace(utterance, audio=os.path.relpath(Path(place).resolve(), new.resolve()))


def timed(utterances: Sequence[Utterance], folder: Path, args: argparse.Namespace) -> Iterator[Done]:
    """Each utterance with its times, in order, from args.workers processes."""
    work = partial(one, folder=str(folder), lang=args.lang, aligner=args.aligner, device=args.device)
    workers = min(args.workers, len(utterances))
    if workers == 1:
        yield from map(work, utterances)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_single) as pool:
        try:
            yield from pool.map(work, utterances, chunksize=max(1, min(16, len(utterances) // (4 * workers))))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def one(utterance: Utterance, folder: str, lang: str | None, aligner: str | None, device: str = "cpu") -> Done:
    """One utterance with its times, or what is wrong with it."""
    from tts_fm.engines.align import align_utterance
    from tts_fm.files import is_full

    try:
        return align_utterance(_aligner(aligner, device), utterance, folder, lang), ""
    except (ValueError, OSError) as error:
        if is_full(error):
            raise
        return None, " ".join(str(error).split())


@cache
def _aligner(folder: str | None, device: str) -> Aligner:
    from tts_fm.engines.align import Aligner

    return Aligner.load(folder, device)


def _single() -> None:
    """A worker is one thread; Ctrl-C is the parent's business."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"  # neither engine has been imported
