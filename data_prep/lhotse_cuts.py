"""Manifests to lhotse CutSets and back (https://github.com/lhotse-speech/lhotse; pip install lhotse).

    python -m data_prep.lhotse_cuts export data/libritts.jsonl data/cuts.jsonl.gz
    python -m data_prep.lhotse_cuts import data/cuts.jsonl.gz data/libritts.jsonl [--text-field normalized_text]
      [--audio data/pieces]

A cut is one utterance: a MonoCut over a whole recording with one supervision. Its split, unit times and own notes go
along (units as the alignment "phone", the rest as custom fields), so that export and import give the same manifest.
Cuts of other origin: those that are a part of a recording are written as WAV files below --audio; without it, and where
they have no or several supervisions or no file, they are dropped and counted (`lhotse cut trim-to-supervisions` makes
one cut of each supervision).
"""

from __future__ import annotations

import argparse
import itertools
import re
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.shared import Dropped, conclude, draw_split, log, run
from tts_fm import files
from tts_fm.data.manifest import SPLITS, Utterance, read_manifest
from tts_fm.errors import MissingDependency, ModelError

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

ALIGNMENT = "phone"  # the name of the units among a supervision's alignments
ESPEAK = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")  # a language as we write it; "English" is not


def need_lhotse() -> Any:
    """lhotse, or MissingDependency."""
    try:
        import lhotse
    except ImportError as error:
        raise MissingDependency(f"CutSets need lhotse ({error}): pip install lhotse") from error
    return lhotse


def to_cut(utterance: Utterance, folder: Path) -> MonoCut:
    """An utterance of the manifest in `folder` as a cut. ValueError when its audio cannot be read."""
    import soundfile

    lhotse = need_lhotse()
    from lhotse.audio import AudioSource
    from lhotse.supervision import AlignmentItem

    path = utterance.path(folder).resolve()
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be read ({error})") from None
    alignment, at = None, utterance.lead_frames * utterance.frame_seconds
    if utterance.units is not None and utterance.unit_frames is not None:
        items = []
        for unit, frames in zip(utterance.units, utterance.unit_frames, strict=True):
            items.append(AlignmentItem(unit, at, frames * utterance.frame_seconds))
            at += frames * utterance.frame_seconds
        alignment = {ALIGNMENT: items}
    custom: dict[str, Any] = {"split": utterance.split, "about": utterance.about}
    if utterance.units is not None:
        # exactly, beside the alignment's seconds
        ours = ("units", "unit_frames", "lead_frames", "tail_frames", "frame_seconds")
        custom |= {name: list(v) if isinstance(v := getattr(utterance, name), tuple) else v for name in ours}
    source = AudioSource("file", list(range(info.channels)), str(path))
    recording = lhotse.Recording(utterance.id, [source], info.samplerate, info.frames, info.frames / info.samplerate)
    said = lhotse.SupervisionSegment(
        utterance.id,
        utterance.id,
        0.0,
        recording.duration,
        channel=0,
        text=utterance.text,
        language=utterance.lang,
        speaker=utterance.speaker,
        alignment=alignment,
        custom=custom,
    )
    return lhotse.MonoCut(utterance.id, 0.0, recording.duration, 0, [said], recording=recording)


def from_cut(cut: Any, text_field: str | None = None, lang: str = "en-us", audio: Path | None = None) -> Utterance:
    """A cut as an utterance, its audio as an absolute path. ValueError saying why it is none, in the words of a reason
    for dropping.
    """
    if len(cut.supervisions) != 1:
        raise ValueError("no supervision" if not cut.supervisions else "several supervisions")
    said, recording = cut.supervisions[0], getattr(cut, "recording", None)
    custom = said.custom or {}
    text = said.text if text_field is None else custom.get(text_field)
    if not text:
        raise ValueError("no text" if text_field is None else f"no {text_field}")
    if recording is None or len(recording.sources) != 1 or recording.sources[0].type != "file" or recording.transforms:
        raise ValueError("its audio is not one plain file")
    path, seconds = Path(recording.sources[0].source).absolute(), recording.duration
    if cut.start > 1e-3 or abs(cut.duration - recording.duration) > 1e-3:
        path, seconds = write_piece(cut, path, audio), cut.duration
    split = custom.get("split") if custom.get("split") in SPLITS else draw_split(cut.id, 0.02)
    times = {
        name: custom[name]
        for name in ("units", "unit_frames", "lead_frames", "tail_frames", "frame_seconds")
        if name in custom
    }
    if not times and said.alignment and ALIGNMENT in said.alignment:
        times = unit_times(said.alignment[ALIGNMENT], seconds)
    times |= {name: tuple(times[name]) for name in ("units", "unit_frames") if times.get(name) is not None}
    name = re.sub(r"[/\\\x00-\x1f\x7f]", "-", cut.id)
    spoken = said.language if said.language and ESPEAK.fullmatch(said.language) else lang
    return Utterance(
        id=name,
        audio=str(path),
        text=" ".join(text.split()),
        speaker=said.speaker or "unknown",
        seconds=round(seconds, 6),
        split=str(split),
        lang=spoken,
        about=dict(custom.get("about") or {}),
        **times,
    ).check()


def unit_times(items: Sequence[Any], seconds: float) -> dict[str, Any]:
    """Another program's alignment as our fields, in frames of 1 ms. A pause between two units goes to the one before
    it.
    """
    starts = [item.start for item in items] + [items[-1].start + items[-1].duration]
    frames = tuple(round(1000 * max(0.0, after - at), 3) for at, after in itertools.pairwise(starts))
    return {
        "units": tuple(item.symbol for item in items),
        "unit_frames": frames,
        "lead_frames": round(1000 * starts[0], 3),
        "tail_frames": round(1000 * max(0.0, seconds - starts[-1]), 3),
        "frame_seconds": 0.001,
    }


def write_piece(cut: Any, path: Path, audio: Path | None) -> Path:
    """The part of a recording that a cut is, as a file of its own below `audio`."""
    from tts_fm.audio.files import read_audio, write_audio

    if audio is None:
        raise ValueError("part of a recording (--audio FOLDER writes it as a file)")
    wave, rate = read_audio(path)
    place = audio.absolute() / (re.sub(r"[^A-Za-z0-9._-]", "_", cut.id) + ".wav")
    place.parent.mkdir(parents=True, exist_ok=True)
    write_audio(place, wave[round(cut.start * rate) : round(cut.end * rate)], rate)
    return place


def export_cuts(manifest: Path, out: Path) -> int:
    """Write a manifest as a CutSet (.jsonl or .jsonl.gz) in one rename; returns the number of cuts. ValueError,
    ModelError.
    """
    if not out.name.endswith((".jsonl", ".jsonl.gz")):
        raise ValueError(f"{out} must end in .jsonl or .jsonl.gz")
    lhotse = need_lhotse()
    cuts: CutSet = lhotse.CutSet.from_cuts([to_cut(u, manifest.parent) for u in read_manifest(manifest)])
    with files.writing_together(out.parent) as beside:  # lhotse goes by the name's ending
        cuts.to_file(beside / out.name)
    log.info("%s: %d cuts", out, len(cuts))
    return len(cuts)


def import_cuts(
    cuts: Path,
    out: Path,
    text_field: str | None = None,
    lang: str = "en-us",
    audio: Path | None = None,
    most_dropped: float = 0.02,
) -> list[Utterance]:
    """Write a CutSet as a manifest; what cannot be one utterance is dropped and counted. ValueError, ModelError."""
    lhotse = need_lhotse()
    if not cuts.is_file():
        raise ModelError(f"no CutSet {cuts}")
    begin, dropped, kept = time.perf_counter(), Dropped(), []
    try:
        found: Iterable[Any] = list(lhotse.CutSet.from_file(cuts))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
        raise ValueError(
            f"{cuts} is no CutSet that lhotse reads ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None
    for cut in found:
        try:
            kept.append(from_cut(cut, text_field, lang, audio))
        except ValueError as reason:
            dropped.add(str(reason).splitlines()[0], cut.id)
    return conclude(out, kept, dropped, most_dropped, begin)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m data_prep.lhotse_cuts", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    out = verbs.add_parser("export", help="manifest -> CutSet")
    out.add_argument("manifest", type=Path)
    out.add_argument("cuts", type=Path, help="file to write, .jsonl.gz")
    back = verbs.add_parser("import", help="CutSet -> manifest")
    back.add_argument("cuts", type=Path)
    back.add_argument("manifest", type=Path, help="file to write")
    back.add_argument(
        "--text-field",
        help="a custom field of the supervisions instead of their text, such as normalized_text (LibriTTS)",
    )
    back.add_argument(
        "--lang", default="en-us", help="espeak's name of the language where a cut has none (default en-us)"
    )
    back.add_argument("--audio", type=Path, metavar="FOLDER", help="write cuts that are parts of recordings there")
    back.add_argument("--most-dropped", type=float, default=0.02, metavar="SHARE")
    args = parser.parse_args(argv)
    if args.verb == "export":
        export_cuts(args.manifest, args.cuts)
    else:
        import_cuts(args.cuts, args.manifest, args.text_field, args.lang, args.audio, args.most_dropped)


if __name__ == "__main__":
    raise SystemExit(run(main))
