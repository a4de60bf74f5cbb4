"""What `tts-fm book` and dubbing share: who reads, which units are spoken, and by which model."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.cli.common import device_from, model_from

if TYPE_CHECKING:
    from tts_fm.book.document import Book
    from tts_fm.book.plan import BookPlan, Voices
    from tts_fm.settings import Settings


def voices_from(args: argparse.Namespace) -> Voices:
    """Who reads, every voice checked."""
    from tts_fm.book.plan import Voices
    from tts_fm.book.scripts import Cast, read_cast
    from tts_fm.cli.adapt import sharper
    from tts_fm.cli.say import voice_from
    from tts_fm.voices.stored import get_voice

    cast = read_cast(Path(args.cast)) if args.cast else Cast()
    if args.quotes:
        cast = replace(cast, quotes=args.quotes)
    narrator = voice_from(args)
    named = [cast.narrator, cast.quotes, *cast.roles.values(), *cast.chapters.values()]
    for voice in dict.fromkeys(v for v in named if v):
        get_voice(voice)
    get_voice(narrator, args.ref_text)

    def learnt(voices: dict[Any, str]) -> dict[Any, str]:
        return {key: str(sharper(args, voice, None)[0]) for key, voice in voices.items()}

    if args.sharpen:
        once = learnt({key: voice for key in ("narrator", "quotes") if (voice := getattr(cast, key))})
        cast = replace(cast, roles=learnt(cast.roles), chapters=learnt(cast.chapters), **once)
    return Voices(*sharper(args, narrator, args.ref_text), cast)


def make_plan(args: argparse.Namespace, book: Book, settings: Settings) -> tuple[BookPlan, Voices]:
    """The units to speak."""
    from tts_fm.book.document import chapter_numbers
    from tts_fm.book.plan import plan_book, read_pauses
    from tts_fm.book.scripts import apply_cast
    from tts_fm.text.lexicon import find_lexicon

    voices = voices_from(args)
    apply_cast(book, voices.cast)
    wanted = chapter_numbers(args.chapters, book) if args.chapters else None
    plan = plan_book(book, settings, voices, find_lexicon(args.lexicon), wanted, read_pauses(args.pauses or ""))
    if not plan.units:
        raise ValueError("these chapters hold nothing that can be spoken (see --list)")
    return plan, voices


def default_voice() -> str:
    """The name of the voice that speaks when none is named."""
    from tts_fm.voices.stored import catalogue

    return next(iter(catalogue()), "")


def digest_of(args: argparse.Namespace) -> str:
    """Hash of the model that the arguments ask for, and of the kind of device, which rounds in its own way."""
    from tts_fm.batch.plan import model_digest

    kind = device_from(args).split(":")[0]
    if args.model is not None and os.path.exists(args.model):
        args.model = os.path.abspath(args.model)
    return model_digest(model_from(args), f"{args.variant} {args.dtype} {args.engine} {kind}")
