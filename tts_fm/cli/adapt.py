"""`tts-fm adapt`: recordings of a person become a voice that stays; and `--sharpen` of the verbs that speak."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tts_fm.cli.terminal import new_verb, note, result, result_json
from tts_fm.devices import importing

EPILOG = """examples:
  tts-fm adapt recordings/ -o me --consent "my own voice"      then: tts-fm say "Hello." --voice me
  tts-fm adapt talk.wav -o me --dry-run                        what would be kept, what dropped, and why
  tts-fm voice add me me                                       by name everywhere: say, lists, server, demo, books
Killed at any moment, the same line goes on where it was."""


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "adapt", "learn a person's voice from recordings. Ask its owner first", EPILOG)
    parser.add_argument(
        "recordings",
        metavar="RECORDINGS",
        help="a sound file, a folder (NAME.txt beside NAME.wav is its transcript) or a list (CSV, JSONL: audio,text): "
        "eight seconds to thirty minutes of one person. Without text an ASR writes it",
    )
    parser.add_argument("-o", "--out", metavar="VOICE", required=True, help="the folder that becomes the voice")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be kept and dropped")
    parser.add_argument("--consent", metavar="TEXT", help="who agreed, and to what; kept in the voice")
    parser.add_argument("--licence", "--license", metavar="TEXT", help="what others may do with the voice; kept in it")
    parser.add_argument("--name", metavar="NAME", help="of the voice (default: that of its folder)")
    parser.add_argument(
        "--lang", metavar="CODE", help="accent, en-us or en-gb (default: what fits the recordings better)"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="of training on this machine (default: by the amount of sound)"
    )
    parser.add_argument("--updates", type=int, metavar="N", help="the same as a number of updates")
    parser.add_argument(
        "--no-prompt",
        action="store_true",
        help="a voice that speaks without a prompt: half the cost, a little less alike",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("-m", "--model", metavar="M", help="base model's folder (default: the built-in one)")
    parser.add_argument("--asr", metavar="M", help="Whisper model for recordings without text: folder or size name")
    parser.add_argument("--json", action="store_true", help="print what voice.json holds")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Adapt, and print the voice's folder."""
    with importing("adapting", "train"):
        from tts_fm.train.voice import AdaptOptions, adapt_voice
    options = AdaptOptions(
        args.name, args.lang, args.minutes, args.updates, not args.no_prompt, args.consent, args.licence, args.seed
    ).check()
    with Bar(args.quiet) as bar:

        def prepared(found: Any) -> None:
            bar.clear()
            if not args.quiet or args.dry_run:
                for line in found.lines():
                    (result if args.dry_run else note)(line)

        info = adapt_voice(args.recordings, args.out, options, args.model, args.asr, bar.update, prepared, args.dry_run)
    if args.dry_run:
        return 0
    if args.json:
        result_json(info)
    else:
        result(args.out)
    if not args.quiet:
        for line in summary(info, Path(args.out)):
            note(line)
    return 0


def add_sharpen(group: Any) -> None:
    """--sharpen, for verbs that speak in a voice from a recording."""
    group.add_argument(
        "--sharpen",
        action="store_true",
        help="learn each voice from its recording first: closer than cloning, half a minute, kept for the next time",
    )


def sharper(
    args: argparse.Namespace, spec: str | None, text: str | None, number: int = 1, of: int = 1
) -> tuple[str | None, str | None]:
    """What names a voice, and the transcript to give with it: as they are, or with --sharpen the folder of the voice
    that was learnt from the recording. It is the `number`-th of so many. ValueError, which names the voice,
    MissingDependency.
    """
    from tts_fm.cli.common import model_from
    from tts_fm.train.sharpen import sharpened
    from tts_fm.voices.adapters import read_voice
    from tts_fm.voices.stored import get_voice

    if not args.sharpen or (voice := get_voice(spec, text)).adapter is not None:
        return spec, text
    if getattr(args, "runner", "local") != "local":
        raise ValueError("--sharpen keeps voices on this machine, where Ray's workers do not see them; leave one out")
    with Bar(args.quiet, f"voice {number} of {of}: " if of > 1 else "") as bar:
        try:
            place = sharpened(voice, model_from(args), getattr(args, "asr", None), bar.update)
        except ValueError as error:
            reason = str(error).splitlines()[-1]
            raise ValueError(f"the voice {voice.name!r} cannot be sharpened: {reason}") from error
    if not args.quiet:
        for warning in voice.warnings:
            note(f"warning: {warning}")
        if bar.stage:
            note(f"{voice.name} is sharpened{alike(read_voice(place).info['figures'])}")
    return str(place), None


def alike(figures: dict[str, float]) -> str:
    """ ": similarity 0.82 -> 0.87", or nothing where it was not measured."""
    if "similarity_after" not in figures:
        return ""
    return f": similarity {figures['similarity_before']:.2f} -> {figures['similarity_after']:.2f}"


def summary(info: dict[str, Any], place: Path) -> list[str]:
    """What became of it, for people."""
    figures, size = info["figures"], sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    rows = [f"learnt in {info['updates']} updates, {info['training_seconds']} s; {size / 1e6:.1f} MB in {place}"]
    if "similarity_after" in figures:
        rows.append(
            f"similarity of a sentence to the recordings: {figures['similarity_before']:.2f} cloned, "
            f"{figures['similarity_after']:.2f} adapted; hear both in {place / 'samples'}"
        )
    if not info["consent"]:
        rows.append("no consent is noted in the voice; --consent TEXT keeps who agreed to it")
    return [*rows, f'try it: tts-fm say "Hello." --voice {place}']


class Bar:
    """What is being done, how far it is and how long it takes yet: a line on the terminal, or one a stage elsewhere."""

    def __init__(self, quiet: bool, which: str = "") -> None:
        """which: of several voices, such as "voice 2 of 9: ", before everything."""
        self.quiet, self.which, self.live = quiet, which, sys.stderr.isatty()
        self.shown = self.stage = ""

    def __enter__(self) -> Bar:
        return self

    def update(self, stage: str, done: int, total: int, left: float | None) -> None:
        """As adapt_voice calls it."""
        if self.quiet:
            return
        if self.live:
            time = f", {left // 60:.0f}:{left % 60:02.0f} left" if left is not None else ""
            line = f"{self.which}{stage} {done} of {total}{time}"
            print(f"\r{line:<{len(self.shown)}}", end="", file=sys.stderr, flush=True)
            self.shown = line
        elif stage != self.stage or (total and done == total):
            note(f"{self.which}{stage} {done} of {total}" if done else f"{self.which}{stage} ...")
        self.stage = stage

    def clear(self) -> None:
        """Make room for other lines."""
        if self.live and self.shown:
            print(f"\r{' ' * len(self.shown)}\r", end="", file=sys.stderr, flush=True)
            self.shown = ""

    def __exit__(self, *_: object) -> None:
        self.clear()
