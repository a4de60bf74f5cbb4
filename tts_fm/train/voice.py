"""Recordings become a voice that stays: prepared, learnt from, stored with a sample before and after.

Everything under way lies in VOICE/.work: what was prepared, the state of training, a lock. Killed at any moment, the
same call goes on there and ends with the same adapter, bit for bit; a finished voice has no .work. S samples at 24 kHz.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm import files
from tts_fm.audio.files import load
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.audio.prompt import check_reference
from tts_fm.checkpoint.load import find_model, load_flow_model
from tts_fm.data.batches import TrainItem
from tts_fm.data.listing import Recording, find_recordings
from tts_fm.data.recordings import Piece, Table
from tts_fm.engines.align import Aligner
from tts_fm.errors import MissingDependency, ModelError
from tts_fm.model.duration import load_duration_model
from tts_fm.synthesis import BUILTIN, TTS, Speech
from tts_fm.train.adapt import AdaptConfig, VoiceTrainer, config_for
from tts_fm.train.pace import learn_pace, pace_updates
from tts_fm.train.voice_items import Clip, Embed, Prepared, Transcribe, item_of, prepare
from tts_fm.voices.adapters import WORK, base_digest, write_voice
from tts_fm.voices.stored import BUILTIN as STORED
from tts_fm.voices.stored import Voice, get_voice

SAMPLE_TEXTS = (  # the first is kept in VOICE/samples
    "The birch canoe slid on the smooth planks, and it was easy to tell the depth of the well.",
    "Four hours of steady work faced us before the heavy rain began.",
    "A large size in stockings is hard to sell, but the young girl gave no clear response.",
)
LOCK = "lock"
HELD, LEAST_FOR_HELD = 0.1, 8  # share of clips that are held out, and how many there must be
CLOSER = 0.01  # of similarity, by which `match` must bring a voice nearer to its recordings to be used
PROMPTLESS = 0.5  # share of items without a prompt for a voice that will speak without one
LONGEST_SOUND = 1800.0  # seconds of speech that are used; more gives no more
log = logging.getLogger(__name__)
Parts = tuple[list[TrainItem], list[TrainItem], list[TrainItem]]  # own clips, those of others, those held out
Tell = Callable[[str, int, int, float | None], None]  # (what is done, how far, of how many, seconds left); may raise


@dataclass(frozen=True)
class AdaptOptions:
    """What is asked of an adaptation besides the recordings."""

    name: str | None = None  # of the voice; None = that of its folder
    lang: str | None = None  # "en-us" or "en-gb"; None = the accent that fits better
    minutes: float | None = None  # of training on this machine; None = by the amount of sound
    updates: int | None = None  # the same as a number; with it (or without both) the result does not depend on speed
    prompted: bool = True  # False: speak without a prompt, at half the cost and a little less like the person
    consent: str | None = None  # who agreed, and to what; kept in the voice
    licence: str | None = None
    seed: int = 0

    def check(self) -> AdaptOptions:
        """Raise ValueError for what cannot be; returns self."""
        if self.lang not in (None, "en-us", "en-gb"):
            raise ValueError(f"lang is {self.lang!r}; en-us and en-gb work")
        if self.minutes is not None and not 0.1 <= self.minutes <= 600:
            raise ValueError(f"minutes of training must be from 0.1 to 600, got {self.minutes:g}")
        if self.updates is not None and not 1 <= self.updates <= 20_000:
            raise ValueError(f"updates must be from 1 to 20000, got {self.updates}")
        for key in ("consent", "licence", "name"):
            if (value := getattr(self, key)) is not None and not 1 <= len(value.strip()) <= 2000:
                raise ValueError(f"{key} must have 1 to 2000 characters")
        return self


def adapt_voice(
    recordings: str | os.PathLike[str] | Sequence[Recording],
    out: str | os.PathLike[str],
    options: AdaptOptions | None = None,
    model: str | os.PathLike[str] | None = None,
    asr: str | None = None,
    on_progress: Tell | None = None,
    on_prepared: Callable[[Prepared], None] | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Learn a voice from recordings and store it in the folder `out`; returns what voice.json holds.

    recordings: a sound file, a folder or a list (data/listing.py), eight seconds to thirty minutes of one person.
    model: the base, None = the built-in one. asr: of evaluate.metrics.Whisper, for recordings without text.
    on_prepared: hears what was kept and dropped, before training; with dry_run that is the end, and nothing is written.
    ValueError for recordings that nothing can be learnt from, ModelError for a model that cannot be adapted.
    """
    options = (options or AdaptOptions()).check()
    tell = on_progress or (lambda *_: None)
    base = BUILTIN if model is None else find_model(model)
    if not base.is_dir() or not (base / "duration").is_dir():
        raise ModelError(
            f"{base} cannot be adapted: a model folder with durations can; for F5 weights see recipes/libritts"
        )
    found = find_recordings(recordings) if isinstance(recordings, str | os.PathLike) else list(recordings)
    place = Path(out)
    if dry_run:
        prepared = _prepare(found, base, options, asr, tell)
        if on_prepared is not None:
            on_prepared(prepared)
        return {}
    if place.exists() and not place.is_dir():
        raise ValueError(f"{place} is a file; name a folder for the voice")
    with locked(place / WORK):
        key = _key(found, base, options)
        kept = _restored(place / WORK, key)
        prepared = kept or _prepare(found, base, options, asr, tell)
        if kept is None:
            _keep(place / WORK, key, prepared)
        if on_prepared is not None:
            on_prepared(prepared)
        info = _learn(prepared, place, base, options, tell)
        shutil.rmtree(place / WORK, ignore_errors=True)
    return info


# ---- preparation, and where it is kept


def _prepare(found: Sequence[Recording], base: Path, options: AdaptOptions, asr: str | None, tell: Tell) -> Prepared:
    from tts_fm.text.tokens import load_vocab

    def hear() -> Transcribe:
        from tts_fm.evaluate.metrics import WHISPER_FOLDER, Whisper

        return Whisper(asr or WHISPER_FOLDER)

    def steps(what: str, number: int, total: int) -> None:
        tell(what, number, total, None)

    vocab = load_vocab(base / "vocab.txt")
    return prepare(found, vocab, Aligner.load(), options.lang, hear, speaker_encoder, steps)


def speaker_encoder() -> Embed:
    """The function that tells voices apart. MissingDependency."""
    from tts_fm.evaluate.metrics import SpeakerEncoder

    return SpeakerEncoder().embed


def _key(found: Sequence[Recording], base: Path, options: AdaptOptions) -> str:
    """What the work depends on; with another key it begins anew."""
    sounds = [[str(r.path.resolve()), r.path.stat().st_size, r.path.stat().st_mtime_ns, r.text] for r in found]
    chosen = [options.lang, options.minutes, options.updates, options.seed, options.prompted]
    return hashlib.sha256(json.dumps([2, sounds, base_digest(base), chosen]).encode()).hexdigest()


def _keep(work: Path, key: str, prepared: Prepared) -> None:
    """Write what was prepared; the index last, so that half of it counts for nothing."""
    from safetensors.numpy import save

    for old in work.iterdir():
        if old.name != LOCK:
            old.unlink()
    arrays: dict[str, np.ndarray] = {}
    rows = []
    for number, clip in enumerate(prepared.clips):
        assert clip.item.durations is not None
        arrays |= {f"{number}.mel": clip.item.mel.astype(np.float16), f"{number}.ids": clip.item.ids.astype(np.int64)}
        arrays |= {f"{number}.durations": clip.item.durations.astype(np.float64), f"{number}.wave": clip.piece.wave}
        rows.append({"id": clip.piece.id, "text": clip.piece.text, "score": clip.score})
    files.write_bytes(work / "clips.safetensors", save(arrays))
    index: dict[str, Any] = {"key": key, "lang": prepared.lang, "notes": prepared.notes, "clips": rows}
    index |= {"kept": prepared.table.kept, "dropped": prepared.table.dropped}
    files.write_json(work / "index.json", index, indent=None)


def _restored(work: Path, key: str) -> Prepared | None:
    """What an earlier run has prepared from the same recordings, or None."""
    from safetensors.numpy import load_file

    try:
        index = json.loads((work / "index.json").read_text("utf-8"))
        if index["key"] != key:
            return None
        arrays = load_file(work / "clips.safetensors")
    except (OSError, ValueError, KeyError):
        return None
    clips = []
    for number, row in enumerate(index["clips"]):
        mel, ids, durations, wave = (arrays[f"{number}.{part}"] for part in ("mel", "ids", "durations", "wave"))
        item = TrainItem(mel.astype(np.float32), ids, durations)
        clips.append(Clip(Piece(row["id"], wave, row["text"]), item, row["score"], index["lang"]))
    table = Table([tuple(row) for row in index["kept"]], [tuple(row) for row in index["dropped"]])
    return Prepared(clips, table, index["lang"], index["notes"])


@contextlib.contextmanager
def locked(work: Path) -> Iterator[None]:
    """For the time of a run: nobody else works in this folder. ValueError when somebody does. A folder in which nothing
    was kept is removed again."""
    made = not work.parent.exists()
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write {work.parent}: {error.strerror}; name another folder") from None
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.locked(work / LOCK, wait=False))
        except BlockingIOError:
            raise ValueError(f"another run is at work on {work.parent}; wait, or name another folder") from None
        try:
            yield
        finally:
            if work.is_dir() and [p.name for p in work.iterdir()] == [LOCK]:
                shutil.rmtree(work, ignore_errors=True)
            if made:
                with contextlib.suppress(OSError):
                    work.parent.rmdir()


# ---- learning


def _learn(prepared: Prepared, place: Path, base: Path, options: AdaptOptions, tell: Tell) -> dict[str, Any]:
    began = time.perf_counter()
    name = options.name or place.resolve().name
    clips, held = _split(prepared)
    prompt = prepared.prompt()
    seconds = min(LONGEST_SOUND, prepared.seconds)
    config = config_for(seconds, [len(clip.item.mel) for clip in clips])
    config = replace(config, updates=options.updates or config.updates, seed=options.seed)
    if not options.prompted:
        config = replace(config, drop_audio=PROMPTLESS)
    flow = load_flow_model(base)
    others = _others(flow.vocab)
    parts: Parts = [clip.item for clip in clips], others, [clip.item for clip in held]
    if options.minutes is not None:
        config = replace(config, updates=_affordable(base, parts, config, 60 * options.minutes, place / WORK))
    trainer = VoiceTrainer(flow, *parts, config, place / WORK)
    learnt = trainer.run(lambda done, total, _, left: tell("training", done, total, left))
    changes = {f"flow/{key}": value.float().cpu().numpy() for key, value in learnt.items()}
    paces, errors = learn_pace(
        load_duration_model(base / "duration"),
        parts[0],
        parts[2],
        prompt.item.mel,
        pace_updates(seconds),
        options.seed,
        lambda done, total: tell("learning the pace", done, total, None),
    )
    changes |= {f"duration/{key}": value.float().cpu().numpy() for key, value in paces.items()}
    losses = trainer.log["valid"]
    figures: dict[str, float] = {"loss_before": losses[0], "loss_after": min(losses)} if losses else {}
    figures |= {f"symbol_ms_{when}": value for when, value in errors.items()}
    info: dict[str, Any] = {
        "name": name, "lang": prepared.lang, "text": prompt.piece.text,
        "base": {"name": "builtin" if base == BUILTIN else base.resolve().name, "digest": base_digest(base)},
        "scale": config.alpha / config.rank, "prompted": options.prompted,
        "minutes": round(prepared.seconds / 60, 2), "clips": len(prepared.clips), "updates": trainer.update,
        "figures": figures,
        "licence": options.licence, "consent": options.consent,
    }  # fmt: skip
    reference = check_reference(prompt.piece.wave)
    write_voice(place, info, changes, reference.wave, SAMPLE_RATE)
    info["match"], found = _samples(place, base, prepared.clips, prepared.lang, tell)
    figures |= found
    info["training_seconds"] = round(time.perf_counter() - began)
    write_voice(place, info, changes, reference.wave, SAMPLE_RATE)
    return info


def _split(prepared: Prepared) -> tuple[list[Clip], list[Clip]]:
    """(clips to learn from, clips to measure on): every tenth is held out where there are enough."""
    clips = prepared.clips
    if len(clips) < LEAST_FOR_HELD:
        return clips, []
    every = max(2, round(1 / HELD)) if len(clips) >= 20 else len(clips) // 2
    held = [clip for n, clip in enumerate(clips) if n % every == every - 1][:8]
    return [clip for clip in clips if not any(clip is other for other in held)], held


def _others(vocab: Sequence[str]) -> list[TrainItem]:
    """Items of the stored voices of the package, so that cloning others is not forgotten; [] where there are none."""
    index = STORED / "voices.json"
    if not index.is_file():
        return []
    aligner, items = Aligner.load(), []
    for name, entry in json.loads(index.read_text("utf-8")).items():
        wave, text, lang = load(STORED / f"{name}.flac"), entry.get("text"), entry.get("lang") or "en-us"
        if text:
            items.append(item_of(wave, aligner.align(wave, text, lang), vocab))
    return items


def _affordable(base: Path, parts: Parts, config: AdaptConfig, seconds: float, work: Path) -> int:
    """How many updates fit into so much time on this machine; measured once, then kept with the work."""
    file = work / "updates.json"
    if file.is_file():
        return int(json.loads(file.read_text("utf-8")))
    probe = VoiceTrainer(load_flow_model(base), *parts, replace(config, updates=20_000), work / "probe")
    probe.step()
    began = time.perf_counter()
    for _ in range(3):
        probe.step()
    updates = int(np.clip(seconds / ((time.perf_counter() - began) / 3), 20, 2000))
    files.write_json(file, updates)
    return updates


def _samples(place: Path, base: Path, clips: Sequence[Clip], lang: str, tell: Tell) -> tuple[float, dict[str, float]]:
    """Sentences with the base model and with the voice, the first in VOICE/samples; how far the voice shall take on its
    prompt's spectrum, and the similarity to the recordings before and after.

    What training reaches decides: a voice from one clip of a room still lacks the room's colour, which `match` lends
    it; one from minutes of sound has it, and is better without. Both are spoken, and the one that is more alike stays.
    Without a speaker encoder nothing can be told apart, and it is off.
    """
    from tts_fm.settings import Settings

    tts, after = TTS.load(base), get_voice(place)
    before = Voice(after.name, after.wave, after.text, lang)
    encode: Embed | None = None
    with contextlib.suppress(MissingDependency):
        encode = speaker_encoder()
    texts = SAMPLE_TEXTS if encode else SAMPLE_TEXTS[:1]
    done, total = itertools.count(1), len(texts) * (3 if encode else 2)
    tell("speaking samples", 0, total, None)

    def spoken(voice: Voice, match: float | None = None) -> list[Speech]:
        said = []
        for text in texts:
            said.append(tts.say(text, voice, settings=Settings(match=match)))
            tell("speaking samples", next(done), total, None)
        return said

    first, best, match = spoken(before), spoken(after, 0.0), 0.0
    figures: dict[str, float] = {}
    if encode:
        mean = np.mean([encode(clip.piece.wave, SAMPLE_RATE) for clip in clips[:20]], axis=0)
        mean = mean / max(1e-6, float(np.linalg.norm(mean)))

        def alike(said: list[Speech]) -> float:
            return float(np.mean([encode(s.wave, s.rate) @ mean for s in said]))

        matched = spoken(after, 1.0)
        if alike(matched) > alike(best) + CLOSER:
            best, match = matched, 1.0
        figures = {"similarity_before": round(alike(first), 3), "similarity_after": round(alike(best), 3)}
    folder = place / "samples"
    folder.mkdir(exist_ok=True)
    first[0].save(folder / "before.flac")
    best[0].save(folder / "after.flac")
    return match, figures
